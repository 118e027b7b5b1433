"""Spans: one trace for one operation, over every process that works on it.

Spans carry ids, serials, codes and amounts; never a card, an identity or a phone number. The trace of the first
request is stored with the operation, and the resolver continues it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from jzb.v1.names import OperationKind
from service.problems import Problem
from service.telemetry import catalogue

if TYPE_CHECKING:
    from bankclient import Answer
    from ledger import State

tracer = trace.get_tracer("jzb")

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""The codes of a refusal that is an error to whoever runs the service."""

_exports = False
"""Whether this process sends its traces anywhere."""


def start_exporting() -> None:
    """Make spans below the present one from now on."""
    global _exports
    _exports = True


def count_outcome(kind: str, state: State) -> None:
    """Count that a money call has reached a state. The label has the contract's name for the journal's ``kind``."""
    catalogue.OUTCOMES.add(OperationKind(kind).name, state.value)


@contextmanager
def below(name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[trace.Span]:
    """A span below the present one. There is none below one that is not recorded: it would cost and show nothing.

    A `Problem` that ends it is a refusal, which is an event of the span; any other exception is an error.
    """
    present = trace.get_current_span()
    if not present.is_recording() and (present.get_span_context().is_valid or not _exports):
        yield present
        return
    with tracer.start_as_current_span(name, kind=kind, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except Problem as problem:
            refused(span, problem)
            raise
        except Exception as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def refused(span: trace.Span, problem: Problem) -> None:
    """Note on a span why a request was refused. It is an error of ours only where the service or the bank was away."""
    span.set_attribute("jzb.reason", problem.reason)
    if problem.code in AWAY:
        span.set_status(Status(StatusCode.ERROR, problem.reason))
    else:
        span.add_event("refused", {"jzb.reason": problem.reason})


@contextmanager
def bank_call(interface: str, serial: str | None) -> Iterator[Callable[[Answer[Any]], None]]:
    """Around every call of the bank (`bankclient.Around`): a span with the interface, the serial, the bank's code and
    the tries, and how long it took.
    """
    began_s = time.perf_counter()
    with below("bank call", SpanKind.CLIENT) as span:
        span.set_attribute("jzb.interface", interface)
        if serial is not None:
            span.set_attribute("jzb.serial", serial)

        def answered(answer: Answer[Any]) -> None:
            span.set_attribute("jzb.bank_code", answer.code)
            span.set_attribute("jzb.attempts", answer.attempts)
            span.set_attribute("jzb.outcome", answer.outcome.value)
            outcome = answer.outcome.value
            catalogue.BANK_CALL_DURATION.record(time.perf_counter() - began_s, interface, outcome, span=span)
            catalogue.BANK_ANSWERS.add(interface, outcome, answer.code or catalogue.NONE)

        yield answered


def step_took(step: str, began_s: float) -> None:
    """Measure a step of a money call that began at ``began_s`` of the performance counter."""
    catalogue.STEP_DURATION.record(time.perf_counter() - began_s, step)


def http_request(status: int | None, seconds: float) -> None:
    """Measure an HTTP request to the bank (`bankclient.connection.Measured`)."""
    shown = catalogue.NONE if status is None else str(status)
    catalogue.HTTP_REQUEST_DURATION.record(seconds, "POST", shown)


def context_from(carrier: Mapping[str, str]) -> Context:
    """The trace context that a caller, or a stored operation, carries."""
    return propagate.extract(carrier)


def carrier() -> dict[str, str]:
    """The present trace context, to be stored with an operation."""
    fields: dict[str, str] = {}
    propagate.inject(fields)
    return fields


def trace_id() -> str:
    """The present trace id in hex, empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""

"""Spans: one trace for one operation, over every process that works on it.

Spans carry ids, serials, codes and amounts; never a card, an identity or a phone number. The trace of the first
request is stored with the operation, and the resolver continues it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from bankclient import AnswerOutcome, wall_clock_ns
from jzb.v1.names import OperationKind
from service.personal import masked
from service.problems import Problem
from service.telemetry import catalogue, spans

if TYPE_CHECKING:
    from bankclient import Answer
    from ledger import State

TRACEPARENT = "traceparent"
"""The header of W3C Trace Context, which OpenTelemetry uses; the only one that is taken or stored."""

tracer = spans.Tracer(0.0, ())
"""The tracer of this process (`set_up`). Until then it makes ids and records nothing: log lines need no more."""

_propagator = TraceContextTextMapPropagator()

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""The codes of a refusal that is an error to whoever runs the service."""

LINKS_MAX = 64
"""So many calls of a batch are linked to its span; `jzb.steps` has how many steps there were."""

ERROR_TYPE = "error.type"
RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
SERVER_ADDRESS = "server.address"
"""Attributes as OpenTelemetry's conventions name them; a test holds them against the installed conventions."""

_exports = False
"""Whether this process sends its traces anywhere."""


def set_up(ratio: float, takers: Sequence[spans.Ended]) -> None:
    """Record this share of the traces, and give each span that has ended to the ``takers``. Without any, every
    operation has a trace id all the same: it is what its log lines have in common.
    """
    global _exports, tracer
    provider = spans.TracerProvider(ratio if takers else 0.0, takers)
    tracer, _exports = provider.tracer, bool(takers)
    trace.set_tracer_provider(provider)


def count_outcome(kind: str, state: State) -> None:
    """Count that a money call has reached a state. The label has the contract's name for the journal's ``kind``."""
    catalogue.OUTCOMES.add(OperationKind(kind).name, state.value)


def below(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[trace.Span]:
    """A span below the present one. There is none below one that is not recorded: it would cost and show nothing.

    A `Problem` that ends it is a refusal, which is an event of the span; any other exception is an error.
    """
    present = trace.get_current_span()
    if not present.is_recording() and (present.get_span_context().is_valid or not _exports):
        return nullcontext(present)
    return _Noting(tracer.start_span(name, kind=kind, attributes=attributes))


def later(
    name: str, plan: Mapping[str, Any], attributes: Mapping[str, AttributeValue]
) -> AbstractContextManager[trace.Span]:
    """A span of later work on an operation, by its stored ``plan``: a question about a call belongs to the trace of the
    call ("trace"); what goes on by itself is a trace of its own with a link to its beginning ("linked").

    What makes the work be done now, such as the RPC of somebody who asked for it, is linked, too.
    """
    parent = context_from(plan.get("trace", {}))
    trace_id = _context_of(parent).trace_id
    others = (_context_of(context_from(plan.get("linked", {}))), trace.get_current_span().get_span_context())
    links = [trace.Link(one) for one in others if one.is_valid and one.trace_id != trace_id]
    return _Noting(tracer.start_span(name, context=parent, attributes=attributes, links=links))


def root(name: str, attributes: Mapping[str, AttributeValue] | None = None) -> AbstractContextManager[trace.Span]:
    """A span with which a trace begins: of work that nobody has asked for."""
    return _Noting(tracer.start_span(name, context=Context(), attributes=attributes))


class _Noting:
    """Makes a span the present one for the life of a block, notes what the block ended with, and ends it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> trace.Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        detach(self._token)
        # What is no Exception has cut the work off.
        if isinstance(error, Exception):
            note(self._span, error)
        self._span.end()


def _context_of(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def note(span: trace.Span, error: Exception) -> None:
    """Note on a span what it ended with: a `Problem` is a refusal, which is an event, anything else an error."""
    if isinstance(error, Problem):
        refused(span, error)
    else:
        failed(span, error)


def refused(span: trace.Span, problem: Problem) -> None:
    """Note on a span why a request was refused. It is an error of ours only where the service or the bank was away."""
    if not span.is_recording():
        return
    span.set_attribute("jzb.reason", problem.reason)
    if problem.code in AWAY:
        span.set_attribute(ERROR_TYPE, problem.reason)
        span.set_status(Status(StatusCode.ERROR, problem.reason))
    else:
        span.add_event("refused", {"jzb.reason": problem.reason})


def failed(span: trace.Span, error: Exception) -> None:
    """Note on a span an error that nobody foresaw. Its text may quote a request."""
    kind = type(error)
    noted = {
        "exception.type": f"{kind.__module__}.{kind.__qualname__}",
        "exception.message": masked(str(error)),
        "exception.stacktrace": masked("".join(traceback.format_exception(error))),
    }
    span.add_event("exception", noted)
    span.set_attribute(ERROR_TYPE, type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def origin() -> SpanContext | None:
    """The span that a step of the ledger comes from, if it is recorded (`ledger.Writer`)."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def batch(origins: Sequence[SpanContext | None], seconds: float) -> None:
    """Measure a batch that was committed just now. Its span is a trace of its own, which links what is recorded of the
    calls in it; without any there is none.
    """
    recorded = [one for one in origins if one is not None]
    span = _batch_span(len(origins), recorded, seconds) if recorded else None
    catalogue.BATCH_SIZE.record(len(origins))
    catalogue.BATCH_DURATION.record(seconds, span=span)


def _batch_span(steps: int, recorded: Sequence[SpanContext], seconds: float) -> trace.Span:
    now_ns = wall_clock_ns()
    span = tracer.start_span(
        "ledger batch",
        context=Context(),
        attributes={"jzb.steps": steps},
        links=[trace.Link(one) for one in recorded[:LINKS_MAX]],
        start_time=now_ns - int(seconds * 1e9),
    )
    span.end(now_ns)
    return span


@contextmanager
def bank_call(interface: str, serial: str | None) -> Iterator[Callable[[Answer[Any]], None]]:
    """Around every call of the bank (`bankclient.Around`): a span with the interface, the serial, the bank's code and
    the tries, and how long it took. A refusal of the bank is an event, an answer that did not come an error.
    """
    began_s = time.perf_counter()
    attributes = {"jzb.interface": interface} if serial is None else {"jzb.interface": interface, "jzb.serial": serial}
    with below(f"bank {interface}", SpanKind.CLIENT, attributes) as span:

        def answered(answer: Answer[Any]) -> None:
            outcome = answer.outcome
            if span.is_recording():
                span.set_attributes(
                    {"jzb.bank_code": answer.code, "jzb.attempts": answer.attempts, "jzb.outcome": outcome.value}
                )
                if outcome is AnswerOutcome.REFUSED:
                    span.add_event("refused", {"jzb.bank_code": answer.code})
                elif outcome is not AnswerOutcome.DONE:
                    span.set_attribute(ERROR_TYPE, outcome.value)
                    span.set_status(Status(StatusCode.ERROR, outcome.value))
            catalogue.BANK_CALL_DURATION.record(time.perf_counter() - began_s, interface, outcome.value, span=span)
            catalogue.BANK_ANSWERS.add(interface, outcome.value, answer.code or catalogue.NONE)

        yield answered


def step_took(step: str, began_s: float) -> None:
    """Measure a step of a money call that began at ``began_s`` of the performance counter."""
    catalogue.STEP_DURATION.record(time.perf_counter() - began_s, step)


def http_request(status: int | None, seconds: float) -> None:
    """Measure an HTTP request to the bank (`bankclient.connection.Measured`)."""
    shown = catalogue.NONE if status is None else str(status)
    catalogue.HTTP_REQUEST_DURATION.record(seconds, "POST", shown)


def context_from(carrier: Mapping[str, str]) -> Context:
    """The trace context that a stored operation carries, as `carrier` made it."""
    return _propagator.extract(carrier, Context())


def serve(name: str, metadata: Iterable[tuple[str, str | bytes]]) -> trace.Span:
    """The span of an RPC, in the trace that its caller has sent with it. It is not made the present one."""
    return tracer.start_span(name, _sent_with(metadata), SpanKind.SERVER)


def _sent_with(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """The trace context that a caller has sent with its call. Its trace id is taken, and nothing else: whether the
    trace is recorded is for our own ratio to say, and what else is in ``tracestate`` and ``baggage`` stays outside.
    """
    for key, value in metadata:
        if key == TRACEPARENT and isinstance(value, str):
            sent = _context_of(_propagator.extract({TRACEPARENT: value}, Context()))
            if not sent.is_valid:
                break
            flags = spans.RECORDED if tracer.admits(sent.trace_id) else spans.UNRECORDED
            parent = SpanContext(sent.trace_id, sent.span_id, is_remote=True, trace_flags=flags)
            return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
    return Context()


def carrier() -> dict[str, str]:
    """The present trace context, to be stored with an operation."""
    fields: dict[str, str] = {}
    _propagator.inject(fields)
    return fields


def trace_id() -> str:
    """The present trace id in hex, empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""

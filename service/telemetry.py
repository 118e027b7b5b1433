"""Traces, metrics and logs: one trace for one operation, over every process that works on it.

Spans carry ids, serials, codes and amounts; never a card, an identity or a phone number. The trace of the first
request is stored with the operation, and the resolver continues it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, Status, StatusCode

from jzb.v1.names import OperationKind
from service.problems import Problem
from service.settings import TelemetrySettings

if TYPE_CHECKING:
    from bankclient import Answer
    from ledger import InDoubt, State, Writer

tracer = trace.get_tracer("jzb")
meter = metrics.get_meter("jzb")

SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0),
)
"""Upper bounds of a duration's buckets. Each is at most twice the one before, which bounds the error of a quantile; the
SDK's own are meant for milliseconds and have one bucket for all below five seconds."""

SIZES = tuple(float(2**power) for power in range(11))

request_seconds = meter.create_histogram(
    "jzb.request.duration",
    unit="s",
    description="RPCs by method and status code, and how long they took",
    explicit_bucket_boundaries_advisory=SECONDS,
)
refusals = meter.create_counter("jzb.refusals", description="RPCs that ended in an error, by method and reason")
outcomes = meter.create_counter("jzb.outcomes", description="Money calls by kind and the state they reached")
bank_seconds = meter.create_histogram(
    "jzb.bank.duration",
    unit="s",
    description="Bank calls by interface and outcome, and how long they took",
    explicit_bucket_boundaries_advisory=SECONDS,
)
bank_answers = meter.create_counter("jzb.bank.answers", description="Bank calls by interface, outcome and code")
batch_sizes = meter.create_histogram(
    "jzb.ledger.batch.size",
    description="Steps taken into one commit",
    explicit_bucket_boundaries_advisory=SIZES,
)
batch_seconds = meter.create_histogram(
    "jzb.ledger.batch.duration",
    unit="s",
    description="Duration of one commit",
    explicit_bucket_boundaries_advisory=SECONDS,
)


_exports = False
"""Whether this process sends its traces anywhere."""

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""The codes of a refusal that is an error to whoever runs the service."""

FLUSH_S = 3.0
"""How long the end of the process waits for what is not exported yet."""


def set_up(settings: TelemetrySettings, platform: str) -> Callable[[], None]:
    """Start exporting when an endpoint is set, and configure logging; returns what flushes at the end."""
    _set_up_logs(settings)
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, ParentBasedTraceIdRatio

    resource = Resource.create(
        {"service.name": "jzb-ledger", "service.version": version("jzb-ledger"), "jzb.platform": platform}
    )
    if settings.otlp_endpoint is None:
        # Every operation has a trace id all the same: it is what its log lines have in common.
        trace.set_tracer_provider(
            TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
        )
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    base = settings.otlp_endpoint.rstrip("/")
    traces = TracerProvider(
        resource=resource, sampler=ParentBasedTraceIdRatio(settings.sample_ratio), shutdown_on_exit=False
    )
    global _exports
    _exports = True
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
    trace.set_tracer_provider(traces)
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{base}/v1/metrics"), export_interval_millis=settings.metrics_interval_s * 1000
    )
    numbers = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    metrics.set_meter_provider(numbers)

    def flush() -> None:
        # A collector that is away would hold the process up for half a minute.
        stopping = [threading.Thread(target=one.shutdown, daemon=True) for one in (traces, numbers)]
        for one in stopping:
            one.start()
        deadline_s = time.monotonic() + FLUSH_S
        for one in stopping:
            one.join(max(0.0, deadline_s - time.monotonic()))

    return flush


def _set_up_logs(settings: TelemetrySettings) -> None:
    """Our lines on standard output, those of libraries on standard error, and both of the same form."""
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*common, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def watch_doubt(latest: Callable[[], InDoubt | None]) -> None:
    """Export the money in doubt in fen and the age of the oldest such operation in seconds."""

    def amount(_: CallbackOptions) -> Iterable[Observation]:
        found = latest()
        return [Observation(found.amount_fen)] if found else []

    def age(_: CallbackOptions) -> Iterable[Observation]:
        found = latest()
        return [Observation(found.oldest_s)] if found else []

    meter.create_observable_gauge("jzb.doubt.amount", [amount], unit="fen", description="Money whose fate is unknown")
    meter.create_observable_gauge("jzb.doubt.age", [age], unit="s", description="Age of the oldest unknown outcome")


def count_outcome(kind: str, state: State) -> None:
    """Count that a money call has reached a state. The label has the contract's name for the journal's ``kind``."""
    outcomes.add(1, {"kind": OperationKind(kind).name, "state": state.value})


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


def watch_load(under_way: Callable[[], int], breaker_states: Callable[[], Mapping[str, int]], writer: Writer) -> None:
    """Export the money calls under way, the steps that wait for the ledger, and the breaker of each interface."""

    def calls(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(under_way())]

    def steps(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(writer.waiting)]

    def breakers(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(state, {"interface": interface}) for interface, state in breaker_states().items()]

    meter.create_observable_gauge("jzb.calls.under_way", [calls], description="Money calls under way")
    meter.create_observable_gauge("jzb.ledger.queue", [steps], description="Steps that wait for their batch")
    meter.create_observable_gauge(
        "jzb.bank.breaker", [breakers], description="By interface: 0 closed, 1 one call on trial, 2 open"
    )


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
            labels = {"interface": interface, "outcome": answer.outcome.value}
            bank_seconds.record(time.perf_counter() - began_s, labels)
            bank_answers.add(1, {**labels, "code": answer.code})

        yield answered


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


def _add_trace_id(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if current := trace_id():
        event["trace_id"] = current
    return event

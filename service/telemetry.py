"""Traces, metrics and logs: one trace for one operation, over every process that works on it.

Spans carry ids, serials, codes and amounts; never a card, an identity or a phone number. The trace of the first
request is stored with the operation, and the resolver continues it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from service.settings import TelemetrySettings

if TYPE_CHECKING:
    from bankclient import Answer, BankClient, Request
    from ledger import InDoubt, Writer
    from service.admission import Admission

tracer = trace.get_tracer("jzb")
meter = metrics.get_meter("jzb")

request_seconds = meter.create_histogram(
    "jzb.request.duration", unit="s", description="RPCs by method and status code, and how long they took"
)
refusals = meter.create_counter("jzb.refusals", description="RPCs that ended in an error, by method and reason")
outcomes = meter.create_counter("jzb.outcomes", description="Money calls by kind and the state they reached")
bank_seconds = meter.create_histogram(
    "jzb.bank.duration", unit="s", description="Bank calls by interface, outcome and code"
)
batch_sizes = meter.create_histogram("jzb.ledger.batch.size", description="Steps taken into one commit")
batch_seconds = meter.create_histogram("jzb.ledger.batch.duration", unit="s", description="Duration of one commit")


_exports = False
"""Whether this process sends its traces anywhere."""

FLUSH_S = 3.0
"""How long the end of the process waits for what is not exported yet."""


def set_up(settings: TelemetrySettings, platform: str) -> Callable[[], None]:
    """Start exporting when an endpoint is set, and configure logging; returns what flushes at the end."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(message)s")
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False)
            if settings.log_json
            else structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
    )
    if settings.otlp_endpoint is None:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    resource = Resource.create({"service.name": "jzb-ledger", "jzb.platform": platform})
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


def watch_doubt(latest: Callable[[], InDoubt | None], now: Callable[[], float]) -> None:
    """Export the money in doubt in fen and the age of the oldest such operation in seconds."""

    def amount(_: CallbackOptions) -> Iterable[Observation]:
        found = latest()
        return [Observation(found.amount_fen)] if found else []

    def age(_: CallbackOptions) -> Iterable[Observation]:
        found = latest()
        return [Observation(max(0.0, now() - found.oldest.timestamp()) if found.oldest else 0.0)] if found else []

    meter.create_observable_gauge("jzb.doubt.amount", [amount], unit="fen", description="Money whose fate is unknown")
    meter.create_observable_gauge("jzb.doubt.age", [age], unit="s", description="Age of the oldest unknown outcome")


def below(name: str, kind: SpanKind = SpanKind.INTERNAL) -> AbstractContextManager[trace.Span]:
    """A span below the present one. There is none below one that is not recorded: it would cost and show nothing."""
    present = trace.get_current_span()
    if not present.is_recording() and (present.get_span_context().is_valid or not _exports):
        return nullcontext(present)
    return tracer.start_as_current_span(name, kind=kind)


def watch_load(admission: Admission, writer: Writer) -> None:
    """Export the money calls under way, the steps that wait for the ledger, and the breaker of each interface."""

    def calls(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(admission.calls.inside)]

    def steps(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(writer.waiting)]

    def breakers(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(state, {"interface": interface}) for interface, state in admission.states().items()]

    meter.create_observable_gauge("jzb.calls.under_way", [calls], description="Money calls under way")
    meter.create_observable_gauge("jzb.ledger.queue", [steps], description="Steps that wait for their batch")
    meter.create_observable_gauge(
        "jzb.bank.breaker", [breakers], description="By interface: 0 closed, 1 one call on trial, 2 open"
    )


async def bank_call(bank: BankClient, message: Request[Any], serial: str | None = None) -> Answer[Any]:
    """Call the bank inside a span with the interface, the serial, the bank's code and the tries; measure it."""
    began_s = time.perf_counter()
    with below("bank call", SpanKind.CLIENT) as span:
        span.set_attribute("jzb.interface", message.code)
        if serial is not None:
            span.set_attribute("jzb.serial", serial)
        answer = await bank.call(message, serial)
        span.set_attribute("jzb.bank_code", answer.code)
        span.set_attribute("jzb.attempts", answer.attempts)
        span.set_attribute("jzb.outcome", answer.outcome.value)
    bank_seconds.record(
        time.perf_counter() - began_s,
        {"interface": message.code, "outcome": answer.outcome.value, "code": answer.code},
    )
    return answer


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

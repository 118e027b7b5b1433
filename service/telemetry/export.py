"""Where traces and metrics go: OTLP to a collector, and `GET /metrics` for Prometheus. Both may be on.

Both read the same series (`metrics`). Prometheus's names follow OpenTelemetry's rule: dots become underscores, and the
unit is the suffix. A scraper that accepts OpenMetrics gets exemplars; `opentelemetry-exporter-prometheus` drops them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar as ExemplarData
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Gauge as GaugeData
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as MetricData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ExemplarSample

from bankclient import wall_clock_ns
from service.settings import TelemetrySettings, is_loopback
from service.telemetry import events, logs, metrics, spans, tracing
from service.telemetry.catalogue import METRICS
from service.telemetry.kept import SERVICE_NAME, KeptSpans
from service.telemetry.metrics import Buckets, Counter, Histogram, Metric, Observable, ObservedCounter
from service.telemetry.sender import SpanSender
from service.telemetry.turns import Turns

FLUSH_S: Final = 3.0
"""How long the end of the process waits for what is not exported yet."""

SUFFIXES: Final = {"s": "seconds", "By": "bytes", "fen": "fen", "": ""}
"""A unit as Prometheus's names have it."""


def set_up(settings: TelemetrySettings, platform: str, kept: KeptSpans | None = None) -> Callable[[], None]:
    """Start exporting where the settings say so, and configure logging; returns what flushes and ends it.

    ``kept`` gets every span that is recorded. Raises OSError when the address of `/metrics` is taken.
    """
    logs.set_up(settings)
    resource = Resource.create(
        {"service.name": SERVICE_NAME, "service.version": version("jzb-ledger"), "jzb.platform": platform}
    )
    endings: list[Callable[[], None]] = []
    takers: list[spans.Ended] = []
    if settings.metrics_listen is not None:
        endings.append(serve_metrics(settings.metrics_listen, resource)[1])
    if kept is not None:
        takers.append(kept.keep)
    if settings.otlp_endpoint is not None:
        import requests
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        base = settings.otlp_endpoint.rstrip("/")
        sending = SpanSender(f"{base}/v1/traces", resource, settings.spans_interval_s)
        takers.append(sending.take)
        # Of proxies and authorities the environment says nothing here, as in `SpanSender`.
        session = requests.Session()
        session.trust_env = False
        exporter = OTLPMetricExporter(f"{base}/v1/metrics", session=session)
        pushing = _Pushing(exporter, resource, settings.metrics_interval_s)
        endings += [sending.end, pushing.end]
    tracing.set_up(settings.sample_ratio, takers)
    if endings:
        metrics.start_recording()

    def flush() -> None:
        # A collector that is away would hold the process up for half a minute.
        stopping = [threading.Thread(target=end, daemon=True) for end in endings]
        for one in stopping:
            one.start()
        deadline_s = time.monotonic() + FLUSH_S
        for one in stopping:
            one.join(max(0.0, deadline_s - time.monotonic()))

    return flush


def prometheus_name(metric: Metric) -> str:
    """The name of its family; a counter's series end in `_total` besides, a histogram's in `_bucket` and so on."""
    name, suffix = metric.name.replace(".", "_"), SUFFIXES[metric.unit]
    return name if not suffix or name.endswith(f"_{suffix}") else f"{name}_{suffix}"


def series_name(metric: Metric) -> str:
    """The name that a query begins with: that of a counter or a gauge, the buckets of a histogram."""
    return f"{prometheus_name(metric)}{ {'counter': '_total', 'histogram': '_bucket'}.get(metric.instrument, '') }"


def label_name(attribute: str) -> str:
    """An attribute as Prometheus names its label."""
    return attribute.replace(".", "_")


def families(resource: Resource) -> Iterator[Family]:
    """Everything that Prometheus is told, now. Every series has the platform as a label."""
    attributes = {label_name(key): str(value) for key, value in resource.attributes.items()}
    yield InfoMetricFamily("target", "Whose metrics these are.", value=attributes)
    platform = attributes["jzb_platform"]
    for metric in METRICS:
        names = ["platform", *(label_name(attribute.name) for attribute in metric.attributes)]
        common: dict[str, Any] = {"labels": names, "unit": SUFFIXES[metric.unit]}
        name = prometheus_name(metric)
        if isinstance(metric, Histogram):
            histogram = HistogramMetricFamily(name, metric.meaning, **common)
            for labels, buckets in metric.points().items():
                histogram.add_metric([platform, *labels], _cumulated(metric.bounds, buckets), buckets.sum)
            yield histogram
        else:
            assert isinstance(metric, (Counter, Observable))
            kind = CounterMetricFamily if metric.instrument == "counter" else GaugeMetricFamily
            family = kind(name, metric.meaning, **common)
            for labels, value in metric.points().items():
                family.add_metric([platform, *labels], value)
            yield family


def _cumulated(bounds: tuple[float, ...], buckets: Buckets) -> list[Any]:
    count, found = 0, []
    for bound, in_bucket, one in zip((*bounds, float("inf")), list(buckets.counts), buckets.exemplars, strict=True):
        count += in_bucket
        exemplar = None
        if one is not None:
            ids = {"trace_id": format_trace_id(one.trace_id), "span_id": format_span_id(one.span_id)}
            exemplar = ExemplarSample(ids, one.value, one.at_ns / 1e9)
        found.append((_as_text(bound), count, exemplar))
    return found


def _as_text(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


class _Families(Collector):
    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def collect(self) -> Iterable[Family]:
        return families(self._resource)


def serve_metrics(listen: str, resource: Resource) -> tuple[str, Callable[[], None]]:
    """Serve `GET /metrics` from a thread; returns its address and what ends it. The Accept header decides on the
    format. Raises OSError when the address is taken.
    """
    host, _, port = listen.rpartition(":")
    registry = CollectorRegistry()
    registry.register(_Families(resource))
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as taken:
        raise OSError(f"cannot listen on {listen} (JZB_TELEMETRY__METRICS_LISTEN): {taken.strerror}") from None
    url = f"http://{host}:{server.server_port}/metrics"
    events.METRICS_SERVED.log(url=url)
    if not is_loopback(listen):
        events.METRICS_OPEN.log(url=url)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return url, end


class _Pushing:
    """Sends the metrics to a collector, again and again and once at the end, from a thread.

    The SDK's own periodic reader takes its numbers from the SDK's instruments alone.
    """

    def __init__(self, exporter: MetricExporter, resource: Resource, interval_s: float) -> None:
        self._exporter = exporter
        self._resource = resource
        self._began_ns = self._sent_ns = wall_clock_ns()
        self._turns = Turns("metrics-to-collector", interval_s, self._send)

    def end(self) -> None:
        """Send once more."""
        self._turns.end()
        self._exporter.shutdown()

    def _send(self) -> None:
        now_ns = wall_clock_ns()
        try:
            result = self._exporter.export(_data(self._resource, self._began_ns, self._sent_ns, now_ns))
        except Exception:
            result = MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            # What could not be sent keeps its exemplars for the next time.
            self._sent_ns = now_ns
        else:
            events.METRICS_NOT_SENT.log()


def _data(resource: Resource, began_ns: int, sent_ns: int, now_ns: int) -> MetricsData:
    """Everything that a collector is told, with the exemplars since ``sent_ns``."""
    found = []
    for metric in METRICS:
        names = [attribute.name for attribute in metric.attributes]
        data: GaugeData | HistogramData | Sum
        if isinstance(metric, Histogram):
            histograms = [
                _histogram(metric, dict(zip(names, labels, strict=True)), buckets, (began_ns, sent_ns, now_ns))
                for labels, buckets in metric.points().items()
            ]
            data = HistogramData(histograms, AggregationTemporality.CUMULATIVE)
        else:
            assert isinstance(metric, (Counter, Observable))
            numbers = [
                NumberDataPoint(dict(zip(names, labels, strict=True)), began_ns, now_ns, value)
                for labels, value in metric.points().items()
            ]
            if isinstance(metric, (Counter, ObservedCounter)):
                data = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
            else:
                data = GaugeData(numbers)
        if data.data_points:
            found.append(MetricData(metric.name, metric.meaning, metric.unit, data))
    scope = ScopeMetrics(InstrumentationScope("jzb"), found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _histogram(
    metric: Histogram, attributes: dict[str, str], buckets: Buckets, times_ns: tuple[int, int, int]
) -> HistogramDataPoint:
    began_ns, sent_ns, now_ns = times_ns
    counts = list(buckets.counts)
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=began_ns,
        time_unix_nano=now_ns,
        count=sum(counts),
        sum=buckets.sum,
        bucket_counts=counts,
        explicit_bounds=metric.bounds,
        min=float("inf"),
        max=float("-inf"),
        exemplars=[
            ExemplarData({}, one.value, one.at_ns, one.span_id, one.trace_id)
            for one in buckets.exemplars
            if one is not None and one.at_ns >= sent_ns
        ],
    )

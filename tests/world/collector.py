"""An OpenTelemetry collector of the test's own: takes OTLP over HTTP and keeps what arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE_ID = "4bf92f3577b34da60000000000000736"
CALLER_SPAN = "00f067aa0ba902b7"
SAMPLED = (("traceparent", f"00-{TRACE_ID}-{CALLER_SPAN}-01"),)
QUICK_EXPORT = {"JZB_TELEMETRY__SPANS_INTERVAL_S": "0.1"}
RARE = 1e-9
"""A ratio by which no trace is recorded but those whose id ends in so many zeros, as `TRACE_ID` does."""


class Collector:
    """``received`` is everything that arrived, as text, to search in; ``exemplars`` are those of each histogram so far,
    which an export holds no longer than until the next, as trace id and span id.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.exemplars: dict[str, set[tuple[str, str]]] = {}
        self.received: list[str] = []
        self.resources: list[dict[str, str]] = []

    def named(self, name: str) -> list[Span]:
        """All spans of this name, in order of arrival."""
        return [span for span in self.spans if span.name == name]

    def points(self, metric: str) -> list[tuple[dict[str, str], float]]:
        """The newest points of a metric: labels with the value, or with the count of a histogram."""
        found = self.metrics.get(metric)
        if found is None:
            return []
        if found.HasField("histogram"):
            return [(labels_of(point.attributes), float(point.count)) for point in found.histogram.data_points]
        points = found.sum.data_points if found.HasField("sum") else found.gauge.data_points
        return [(labels_of(point.attributes), _number(point)) for point in points]

    def quantile(self, metric: str, quantile: float, **labels: str) -> float:
        """A quantile of a histogram as Prometheus computes it: linear within the bucket that it falls into."""
        points = self.metrics[metric].histogram.data_points
        point = next(one for one in points if labels.items() <= labels_of(one.attributes).items())
        rank, below, lower = quantile * point.count, 0, 0.0
        for upper, count in zip(point.explicit_bounds, point.bucket_counts, strict=False):
            if count and below + count >= rank:
                return float(lower + (upper - lower) * (rank - below) / count)
            below, lower = below + count, upper
        return float(point.explicit_bounds[-1])

    async def _traces(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        self.received.append(str(batch))
        for resource in batch.resource_spans:
            self.resources.append(labels_of(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        batch = ExportMetricsServiceRequest.FromString(await request.read())
        self.received.append(str(batch))
        for resource in batch.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}
                for metric in scope.metrics:
                    self.exemplars.setdefault(metric.name, set()).update(
                        (exemplar.trace_id.hex(), exemplar.span_id.hex())
                        for point in metric.histogram.data_points
                        for exemplar in point.exemplars
                    )
        return web.Response()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector._traces)
    app.router.add_post("/v1/metrics", collector._metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def labels_of(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes of a span or a point as text."""
    return {pair.key: _text(pair.value) for pair in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return str(getattr(value, kind)) if kind else ""


def _number(point: NumberDataPoint) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)

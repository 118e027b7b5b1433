"""The newest spans of this process, kept in memory and read over HTTP, so that `jzb trace` works on a bare machine.

`jzb run` alone keeps them: a service in production exports its spans. They are read the way Jaeger's are
(`GET /api/traces/{id}`), and on loopback only. A request that names another host is refused, so that no page in a
browser reads them under a name of its own. Spans carry nothing personal (`service.telemetry`).
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from service.telemetry.spans import Span

SPANS_MAX: Final = 20_000
"""Of these the oldest traces go first: some minutes of a busy trial, and some tens of megabytes."""

OF_A_TRACE_MAX: Final = 1_000

LOOPBACK: Final = "127.0.0.1"

SERVICE_NAME: Final = "jzb-ledger"
"""The service of every span, as Jaeger lists it."""


class KeptSpans:
    """The newest spans, by trace."""

    def __init__(self) -> None:
        self._traces: OrderedDict[int, list[Span]] = OrderedDict()
        self._count = 0
        self._lock = Lock()

    def keep(self, span: Span) -> None:
        """Keep a span that has ended, and let the oldest trace go where there are too many."""
        with self._lock:
            spans = self._traces.setdefault(span.context.trace_id, [])
            if len(spans) >= OF_A_TRACE_MAX:
                return
            spans.append(span)
            self._count += 1
            while self._count > SPANS_MAX:
                _, gone = self._traces.popitem(last=False)
                self._count -= len(gone)

    def trace(self, trace_id: int) -> list[Span]:
        """The spans of a trace that have ended, empty when none is kept."""
        with self._lock:
            return list(self._traces.get(trace_id, ()))

    def traces(self) -> list[list[Span]]:
        """All that are kept, the oldest first."""
        with self._lock:
            return [list(spans) for spans in self._traces.values()]


@contextmanager
def served(kept: KeptSpans) -> Iterator[str]:
    """Answer `GET /api/traces/{id}` on a free port of loopback for the life of the block; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").partition(":")[0]
            found = re.fullmatch(r"/api/traces/([0-9a-f]{1,32})", self.path)
            if host not in (LOOPBACK, "localhost"):
                self._answer(HTTPStatus.FORBIDDEN, _error("this address is read on this machine only"))
            elif found is None:
                self._answer(HTTPStatus.NOT_FOUND, _error("there is /api/traces/{trace id}, and nothing else"))
            elif spans := kept.trace(int(found[1], 16)):
                self._answer(HTTPStatus.OK, {"data": [as_jaeger(spans)]})
            else:
                self._answer(HTTPStatus.NOT_FOUND, _error("trace not found"))

        def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
            content = json.dumps(body, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who looks at a trace is no event of the service."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="kept-spans")
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _error(message: str) -> dict[str, Any]:
    return {"data": None, "errors": [{"msg": message}]}


def as_jaeger(spans: list[Span]) -> dict[str, Any]:
    """Spans of one trace in the form of Jaeger's query API, as far as `service.process.trace` reads it."""
    process = {"serviceName": SERVICE_NAME, "tags": []}
    return {
        "traceID": format_trace_id(spans[0].context.trace_id),
        "spans": [_span(span) for span in spans],
        "processes": {"p1": process},
    }


def _span(span: Span) -> dict[str, Any]:
    context, start_ns = span.context, span.start_time
    references = [{"refType": "FOLLOWS_FROM", **_ids(link.context)} for link in span.links]
    if span.parent is not None:
        references.insert(0, {"refType": "CHILD_OF", **_ids(span.parent)})
    tags: dict[str, Any] = dict(span.attributes)
    if span.kind is not SpanKind.INTERNAL:
        tags["span.kind"] = span.kind.name.lower()
    if span.status is not None and span.status.status_code is StatusCode.ERROR:
        tags |= {"error": True, "otel.status_code": "ERROR", "otel.status_description": span.status.description or ""}
    return {
        **_ids(context),
        "operationName": span.name,
        "references": references,
        "startTime": start_ns // 1000,
        "duration": ((span.end_time or start_ns) - start_ns) // 1000,
        "tags": _tags(tags),
        "logs": [
            {"timestamp": event.timestamp // 1000, "fields": _tags({"event": event.name, **event.attributes})}
            for event in span.events
        ],
        "processID": "p1",
    }


def _ids(context: SpanContext) -> dict[str, str]:
    return {"traceID": format_trace_id(context.trace_id), "spanID": format_span_id(context.span_id)}


def _tags(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in attributes.items()]

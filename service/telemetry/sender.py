"""Sends spans to an OTLP collector, from a thread of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import httpx
import tenacity
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from service.telemetry import catalogue, events, spans
from service.telemetry.spans import Span
from service.telemetry.turns import Turns

WAITING_MAX: Final = 16_384
"""Spans that wait for the collector; of more the oldest are lost. Some seconds of a busy service, some 20 MB."""

REQUEST_MAX: Final = 2_048
"""Spans of one request."""

TURN: Final = 64
"""After so many spans the event loop gets its turn: it would wait for Python's lock till the whole request is made."""

TIMEOUT_S: Final = 10.0

TRIES: Final = 4
"""Of one request, over some seconds. What is lost then are traces, never money."""

RETRIED: Final = (429, 502, 503, 504)
"""What a collector answers that may take the request later, as OTLP has it."""


REQUEST_RESOURCE_SPANS: Final = ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER
RESOURCE_SPANS_SCOPE_SPANS: Final = trace_pb2.ResourceSpans.SCOPE_SPANS_FIELD_NUMBER
SCOPE_SPANS_SPANS: Final = trace_pb2.ScopeSpans.SPANS_FIELD_NUMBER


class NotTaken(Exception):
    """The collector did not take the spans; the text says why."""


class _Later(NotTaken):
    """The collector may take them later."""


class SpanSender:
    """Sends what has ended every ``interval_s`` seconds, and once at the end.

    Spans are handed over without a word to the thread, which costs a payment next to nothing.
    """

    def __init__(self, url: str, resource: Resource, interval_s: float) -> None:
        self._url = url
        attributes = trace_pb2.ResourceSpans()
        for key, value in resource.attributes.items():
            attributes.resource.attributes.add(key=key).value.string_value = str(value)
        self._resource = attributes.SerializeToString()
        self._scope = trace_pb2.ScopeSpans(scope=InstrumentationScope(name="jzb")).SerializeToString()
        self._waiting: deque[Span] = deque()
        self.lost = 0
        self._held = ExitStack()
        # What the environment says of proxies and certificates does not count.
        self._client = self._held.enter_context(httpx.Client(timeout=TIMEOUT_S, trust_env=False))
        self._held.enter_context(catalogue.SPANS_LOST.observed(lambda: self.lost))
        self._turns = Turns("spans-to-collector", interval_s, self._send_all)

    def take(self, span: Span) -> None:
        """Send this span with the next request."""
        self._waiting.append(span)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.lost += 1

    def end(self) -> None:
        """Send what waits, and end."""
        self._turns.end()
        self._held.close()

    def _send_all(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), REQUEST_MAX)
            chunk = [self._waiting.popleft() for _ in range(count)]
            try:
                self._send(self._encoded(chunk))
            except Exception as error:
                # Whatever it is: the thread goes on, and what comes next is sent.
                is_told = isinstance(error, (NotTaken, httpx.HTTPError)) and str(error)
                self.lost += count
                events.SPANS_NOT_SENT.log(why=str(error) if is_told else type(error).__name__, lost=self.lost)
                return

    def _send(self, body: bytes) -> None:
        """Raises `NotTaken` or httpx.HTTPError."""
        is_ending = self._turns.is_ending
        trying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((_Later, httpx.TransportError)),
            wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=2.0, jitter=0.5),
            # The end of the process waits for no collector.
            stop=tenacity.stop_any(tenacity.stop_after_attempt(TRIES), tenacity.stop_when_event_set(is_ending)),
            sleep=tenacity.sleep_using_event(is_ending),
            reraise=True,
        )
        trying(self._post, body)

    def _post(self, body: bytes) -> None:
        answer = self._client.post(self._url, content=body, headers={"Content-Type": "application/x-protobuf"})
        if answer.status_code in RETRIED:
            raise _Later(f"HTTP {answer.status_code}")
        if not answer.is_success:
            raise NotTaken(f"HTTP {answer.status_code}")

    def _encoded(self, chunk: Sequence[Span]) -> bytes:
        found = []
        for number, span in enumerate(chunk, 1):
            found.append(_field(SCOPE_SPANS_SPANS, spans.encoded(span)))
            if number % TURN == 0:
                time.sleep(0)
        scope_spans = b"".join((self._scope, *found))
        of_resource = self._resource + _field(RESOURCE_SPANS_SCOPE_SPANS, scope_spans)
        return _field(REQUEST_RESOURCE_SPANS, of_resource)


def _field(number: int, content: bytes) -> bytes:
    """A field of the wire that holds a message: its number with the type "length-delimited", its length, and it."""
    return b"".join((bytes((number << 3 | 2,)), _varint(len(content)), content))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)

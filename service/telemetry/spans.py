"""Spans: OpenTelemetry's interface over objects that cost a payment little, and their form on OTLP's wire.

OpenTelemetry's SDK does the same, and takes some five times as long for a span that is exported
(docs/decisions/0006-spans-are-made-here.md). What a span means stays as its specification has it: ids of 16 and 8
bytes, times in ns since 1970, and of a trace all spans or none are recorded.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util import types
from opentelemetry.util._decorator import _agnosticcontextmanager

from bankclient import wall_clock_ns

RECORDED: Final = TraceFlags(TraceFlags.SAMPLED)
UNRECORDED: Final = TraceFlags(TraceFlags.DEFAULT)

RATIO_BITS: Final = 64
"""Of a trace id, those that decide whether it is recorded: the random ones, as OpenTelemetry's own sampler has it."""


class Event(NamedTuple):
    """Something that happened in a span, at a time in ns since 1970."""

    name: str
    timestamp: int
    attributes: Mapping[str, types.AttributeValue]


Ended = Callable[["Span"], object]
"""Takes a span that has ended. Called on the thread that ended it, so it is to be quick."""


class Span(trace.Span):
    """A span that is recorded. Nothing changes once it has ended."""

    __slots__ = (
        "_ended",
        "attributes",
        "context",
        "end_time",
        "events",
        "kind",
        "links",
        "name",
        "parent",
        "start_time",
        "status",
    )

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int,
        ended: Sequence[Ended],
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.start_time = start_time
        self.end_time: int | None = None
        self.attributes: dict[str, types.AttributeValue] = {}
        self.events: Sequence[Event] = ()
        self.links: Sequence[Link] = ()
        self.status: Status | None = None
        self._ended = ended

    def get_span_context(self) -> SpanContext:
        """The ids by which others refer to it."""
        return self.context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self.end_time is None

    def end(self, end_time: int | None = None) -> None:
        """End it, at a time in ns since 1970, and hand it on."""
        if self.end_time is None:
            self.end_time = wall_clock_ns() if end_time is None else end_time
            for take in self._ended:
                take(self)

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Note a value."""
        if self.end_time is None:
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Note several values."""
        if self.end_time is None:
            self.attributes.update(attributes)

    def add_event(self, name: str, attributes: types.Attributes = None, timestamp: int | None = None) -> None:
        """Note that something has happened."""
        if self.end_time is None:
            at = wall_clock_ns() if timestamp is None else timestamp
            self.events = (*self.events, Event(name, at, attributes or {}))

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Note a span that this one has to do with."""
        if self.end_time is None:
            self.links = (*self.links, Link(context, attributes))

    def update_name(self, name: str) -> None:
        """Give it another name."""
        if self.end_time is None:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it ended."""
        if self.end_time is None:
            self.status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Note an exception as an event, as OpenTelemetry's conventions name it."""
        kind = type(exception)
        found = {
            "exception.type": f"{kind.__module__}.{kind.__qualname__}",
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            **(attributes or {}),
        }
        self.add_event("exception", found, timestamp)


class Tracer(trace.Tracer):
    """Begins spans. A trace is recorded with the probability ``ratio``, by its id; with its parent, where there is one;
    and where it links a span that is recorded, or that link would lead nowhere.
    """

    def __init__(self, ratio: float, ended: Sequence[Ended]) -> None:
        self._bound = round(ratio * (1 << RATIO_BITS))
        self._ended = ended

    def admits(self, trace_id: int) -> bool:
        """Whether a trace with this id that begins here is recorded."""
        return trace_id & ((1 << RATIO_BITS) - 1) < self._bound

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A span below that of the context, else of the present one; it is not made the present one."""
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, is_recorded = parent.trace_id, parent.trace_flags.sampled
        else:
            parent, trace_id = None, _random(128)
            is_recorded = any(link.context.trace_flags.sampled for link in links or ()) or self.admits(trace_id)
        if not is_recorded:
            return NonRecordingSpan(SpanContext(trace_id, _random(64), False, UNRECORDED))
        began_ns = wall_clock_ns() if start_time is None else start_time
        span = Span(name, SpanContext(trace_id, _random(64), False, RECORDED), parent, kind, began_ns, self._ended)
        if attributes:
            span.attributes.update(attributes)
        if links:
            span.links = links
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """A span that is the present one for the life of the block."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


class TracerProvider(trace.TracerProvider):
    """Gives every library of the process the one tracer."""

    def __init__(self, ratio: float, ended: Sequence[Ended]) -> None:
        self.tracer = Tracer(ratio, ended)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes = None,
    ) -> trace.Tracer:
        """The tracer."""
        return self.tracer


def _random(bits: int) -> int:
    # An id of zeros means none.
    return random.getrandbits(bits) or 1


KINDS: Final = {kind: getattr(trace_pb2.Span, f"SPAN_KIND_{kind.name}") for kind in SpanKind}

CODES: Final = {code: getattr(trace_pb2.Status, f"STATUS_CODE_{code.name}") for code in StatusCode}

HAS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
IS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def encoded(span: Span) -> bytes:
    """A span that has ended as a `Span` of OTLP.

    Of two messages that follow each other on the wire a reader makes one, with the repeated fields of both; so what
    spans have in common is encoded once.
    """
    parent = span.parent
    head = trace_pb2.Span(
        trace_id=span.context.trace_id.to_bytes(16, "big"),
        span_id=span.context.span_id.to_bytes(8, "big"),
        parent_span_id=b"" if parent is None else parent.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=KINDS[span.kind],
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time or span.start_time,
        flags=HAS_REMOTE | IS_REMOTE if parent is not None and parent.is_remote else HAS_REMOTE,
    )
    if span.events or span.links or span.status is not None:
        _add_the_rare(head, span)
    return b"".join((head.SerializeToString(), *[_attribute(*pair) for pair in span.attributes.items()]))


def _add_the_rare(head: trace_pb2.Span, span: Span) -> None:
    for event in span.events:
        added = head.events.add(name=event.name, time_unix_nano=event.timestamp)
        for key, value in event.attributes.items():
            _put(added.attributes, key, value)
    for link in span.links:
        other = link.context
        head.links.add(
            trace_id=other.trace_id.to_bytes(16, "big"),
            span_id=other.span_id.to_bytes(8, "big"),
            flags=HAS_REMOTE | IS_REMOTE if other.is_remote else HAS_REMOTE,
        )
    if span.status is not None:
        head.status.code = CODES[span.status.status_code]
        head.status.message = _unicode(span.status.description or "")


@lru_cache(maxsize=4096, typed=True)
def _attribute(key: str, value: types.AttributeValue) -> bytes:
    """An attribute as a `Span` that has nothing else: most come again with every payment."""
    alone = trace_pb2.Span()
    _put(alone.attributes, key, value)
    return alone.SerializeToString()


def _put(pairs: Any, key: str, value: types.AttributeValue) -> None:
    # An attribute without a value is none.
    if value is not None:
        _set(pairs.add(key=key).value, value)


def _unicode(value: str) -> str:
    """A text that can be written: half a letter, as an exception may quote it, would keep back all spans with it."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _set(shown: AnyValue, value: types.AttributeValue) -> None:
    # A bool is an int as well.
    if isinstance(value, str):
        shown.string_value = _unicode(value)
    elif isinstance(value, bool):
        shown.bool_value = value
    elif isinstance(value, int):
        shown.int_value = value
    elif isinstance(value, float):
        shown.double_value = value
    elif isinstance(value, bytes):
        shown.bytes_value = value
    elif isinstance(value, Sequence):
        for one in value:
            _set(shown.array_value.values.add(), one)

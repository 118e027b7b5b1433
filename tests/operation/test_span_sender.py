"""Spans on the wire: what a collector reads of them, and what becomes of them while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanOnWire
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from service.telemetry import sender, spans
from service.telemetry.sender import SpanSender
from service.telemetry.spans import Span, Tracer
from tests.world.collector import collecting, labels_of
from tests.world.process import until

ELSEWHERE = SpanContext(0xABC << 64 | 1, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def ended(count: int = 1, **attributes: AttributeValue) -> list[Span]:
    """Spans that have ended."""
    found: list[Span] = []
    tracer = Tracer(1.0, [found.append])
    for number in range(count):
        tracer.start_span(f"span {number}", attributes=attributes).end()
    return found


def read(span: Span) -> SpanOnWire:
    """A span as a collector reads it."""
    return SpanOnWire.FromString(spans.encoded(span))


def test_a_span_arrives_as_it_was_made() -> None:
    found: list[Span] = []
    tracer = Tracer(1.0, [found.append])
    with tracer.start_as_current_span("Pay", kind=SpanKind.SERVER) as pay:
        call = tracer.start_span("bank 6034", kind=SpanKind.CLIENT, links=[Link(ELSEWHERE)], start_time=1_000)
        call.set_attributes({"jzb.interface": "6034"})
        call.add_event("refused", {"jzb.bank_code": "ERR044"}, timestamp=2_000)
        call.set_status(StatusCode.ERROR, "REFUSED")
        call.end(3_000)
    one = read(found[0])
    context, parent = found[0].context, pay.get_span_context()
    assert (one.trace_id, one.span_id, one.parent_span_id) == (
        parent.trace_id.to_bytes(16, "big"),
        context.span_id.to_bytes(8, "big"),
        parent.span_id.to_bytes(8, "big"),
    )
    assert (one.name, one.kind) == ("bank 6034", SpanOnWire.SPAN_KIND_CLIENT)
    assert (one.start_time_unix_nano, one.end_time_unix_nano) == (1_000, 3_000)
    assert labels_of(one.attributes) == {"jzb.interface": "6034"}
    assert [(event.name, event.time_unix_nano, labels_of(event.attributes)) for event in one.events] == [
        ("refused", 2_000, {"jzb.bank_code": "ERR044"})
    ]
    (link,) = one.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (f"{0xABC:016x}{1:016x}", f"{0xDEF:016x}")
    assert link.flags & SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert (one.status.code, one.status.message) == (Status.STATUS_CODE_ERROR, "REFUSED")
    assert read(found[1]).kind == SpanOnWire.SPAN_KIND_SERVER
    assert not read(found[1]).parent_span_id


def test_each_kind_of_value_stays_what_it_is() -> None:
    (span,) = ended(text="中", yes=True, one=1, part=1.0, raw=b"\x00", several=("a", "b"))
    values = {pair.key: pair.value for pair in read(span).attributes}
    assert {name: value.WhichOneof("value") for name, value in values.items()} == {
        "text": "string_value",
        "yes": "bool_value",
        "one": "int_value",
        "part": "double_value",
        "raw": "bytes_value",
        "several": "array_value",
    }
    assert [value.string_value for value in values["several"].array_value.values] == ["a", "b"]


async def test_a_text_that_is_no_unicode_arrives_as_far_as_it_can_be_written() -> None:
    async with collecting() as collector:
        sending = SpanSender(f"{collector.url}/v1/traces", Resource({}), 60.0)
        for span in (*ended(name="half \ud800 a letter"), *ended()):
            sending.take(span)
        await asyncio.to_thread(sending.end)
    assert labels_of(collector.spans[0].attributes) == {"name": "half ? a letter"}
    assert len(collector.spans) == 2


async def test_what_cannot_be_written_is_lost_and_what_comes_next_is_sent() -> None:
    async with collecting() as collector:
        sending = SpanSender(f"{collector.url}/v1/traces", Resource({}), 0.01)
        sending.take(ended(too_large=2**70)[0])
        await until(lambda: sending.lost == 1, "it is counted")
        sending.take(ended()[0])
        await until(lambda: len(collector.spans) == 1, "the next one is sent")
        await asyncio.to_thread(sending.end)


def test_nothing_changes_once_a_span_has_ended() -> None:
    (span,) = ended(kept="yes")
    before = spans.encoded(span)
    span.set_attribute("late", "no")
    span.set_attributes({"late": "no"})
    span.add_event("late")
    span.add_link(ELSEWHERE)
    span.set_status(StatusCode.ERROR)
    span.update_name("late")
    span.end()
    assert spans.encoded(span) == before


def test_an_exception_is_an_event_as_the_conventions_have_it() -> None:
    found: list[Span] = []
    with pytest.raises(ValueError, match="wrong"), Tracer(1.0, [found.append]).start_as_current_span("work"):
        raise ValueError("wrong")
    (event,) = read(found[0]).events
    said = labels_of(event.attributes)
    assert event.name == "exception"
    assert (said["exception.type"], said["exception.message"]) == ("builtins.ValueError", "wrong")
    assert "raise ValueError" in said["exception.stacktrace"]


async def test_more_than_one_request_holds_arrives_whole_with_its_resource() -> None:
    many = 2 * sender.REQUEST_MAX + 5
    async with collecting() as collector:
        sending = SpanSender(f"{collector.url}/v1/traces", Resource({"service.name": "jzb-ledger"}), 60.0)
        for span in ended(many, number=300):
            sending.take(span)
        await asyncio.to_thread(sending.end)
    assert [span.name for span in collector.spans] == [f"span {number}" for number in range(many)]
    assert collector.resources == [{"service.name": "jzb-ledger"}] * 3
    assert sending.lost == 0


@asynccontextmanager
async def answering(status: Callable[[int], int]) -> AsyncIterator[tuple[str, list[int]]]:
    """A collector that answers its requests, numbered from 1, with these statuses: its address, and how many spans came
    with each.
    """
    came: list[int] = []

    async def take(request: web.Request) -> web.Response:
        body = ExportTraceServiceRequest.FromString(await request.read())
        came.append(sum(len(scope.spans) for one in body.resource_spans for scope in one.scope_spans))
        return web.Response(status=status(len(came)))

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces", came
    finally:
        await runner.cleanup()


async def test_a_collector_that_is_busy_gets_the_same_spans_again() -> None:
    async with answering(lambda number: 503 if number == 1 else 200) as (url, came):
        sending = SpanSender(url, Resource({}), 0.01)
        for span in ended(3):
            sending.take(span)
        await until(lambda: bool(came) and sum(came[1:]) == 3, "what was not taken is sent again")
        await asyncio.to_thread(sending.end)
    assert sending.lost == 0


async def test_spans_that_a_collector_refuses_are_counted_as_lost_and_the_next_are_sent() -> None:
    async with answering(lambda number: 400 if number == 1 else 200) as (url, came):
        sending = SpanSender(url, Resource({}), 0.01)
        sending.take(ended()[0])
        await until(lambda: sending.lost == 1, "the refused one is counted")
        sending.take(ended()[0])
        await until(lambda: len(came) == 2, "the next one is sent")
        await asyncio.to_thread(sending.end)
    assert (came, sending.lost) == ([1, 1], 1)


async def test_while_a_collector_is_away_the_oldest_spans_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "WAITING_MAX", 10)
    async with collecting() as collector:
        sending = SpanSender(f"{collector.url}/v1/traces", Resource({}), 60.0)
        for span in ended(12):
            sending.take(span)
        await asyncio.to_thread(sending.end)
    assert [span.name for span in collector.spans] == [f"span {number}" for number in range(2, 12)]
    assert sending.lost == 2

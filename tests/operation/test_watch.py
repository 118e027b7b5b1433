"""Watching and waiting, as clients in any language see it: real gRPC, real payments."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from jzb.v1 import core_pb2, operation_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.settings import GrpcSettings
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace, open_marketplace, read_one
from tests.world.orders import prepay
from tests.world.process import shop_on, until

Request = operation_pb2.WatchOperationsRequest
Message = operation_pb2.WatchOperationsResponse
Stream = grpc.aio.UnaryStreamCall[Request, Message]
DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED
RESERVED, UNKNOWN = core_pb2.OPERATION_STATE_RESERVED, core_pb2.OPERATION_STATE_UNKNOWN
PAY = core_pb2.OPERATION_KIND_PAY_T1


async def open_trade(shop: Marketplace) -> Marketplace:
    """A buyer with 100.00 and a seller."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return shop


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    return await open_trade(shop)


def watch(shop: Marketplace, **request: Any) -> Stream:
    return shop.operations.WatchOperations(Request(**request), timeout=TIMEOUT_S)


async def events(stream: Stream, count: int) -> list[Message]:
    """The next ``count`` messages that are events, then the end of the watch."""
    found: list[Message] = []
    while len(found) < count:
        message = await read_one(stream)
        if message.HasField("operation"):
            found.append(message)
    stream.cancel()
    return found


# The beginning, the end, and what is in between.


async def test_headers_come_at_once_and_then_a_cursor_alone_while_nothing_happens(market: Marketplace) -> None:
    stream = watch(market)
    async with asyncio.timeout(5.0):
        await stream.initial_metadata()
        first = await read_one(stream)
    assert first.cursor
    assert [field.name for field, _ in first.ListFields()] == ["cursor"]
    stream.cancel()


async def test_a_watch_from_now_that_breaks_before_its_first_event_misses_nothing(market: Marketplace) -> None:
    stream = watch(market, member_id="seller")
    cursor = (await read_one(stream)).cursor
    stream.cancel()
    paid = await market.pay("buyer", "seller", 1_00)
    seen = await events(watch(market, member_id="seller", cursor=cursor), 2)
    assert [(event.operation.operation_id, event.state) for event in seen] == [
        (paid.operation_id, RESERVED),
        (paid.operation_id, DONE),
    ]


async def test_a_watch_that_sees_nothing_moves_its_cursor_on(database: str) -> None:
    async with open_marketplace(database, watch={"heartbeat_s": 0.1}) as shop:
        await open_trade(shop)
        quiet = watch(shop, member_id="nobody")
        first = (await read_one(quiet)).cursor
        paid = await shop.pay("buyer", "seller", 1_00)
        ends = (await events(watch(shop, cursor=first), 2))[-1]
        assert ends.operation.operation_id == paid.operation_id
        async with asyncio.timeout(5.0):
            while (message := await read_one(quiet)).cursor != ends.cursor:
                assert not message.HasField("operation")
        quiet.cancel()


async def test_a_list_and_a_watch_from_its_cursor_leave_nothing_out(market: Marketplace) -> None:
    ids = [(await market.pay("buyer", "seller", 1_00)).operation_id for _ in range(3)]
    request = operation_pb2.ListOperationsRequest(page_size=2, kind=PAY)
    first = await market.operations.ListOperations(request, timeout=TIMEOUT_S)
    between = await market.pay("buyer", "seller", 2_00)
    request.page_token = first.next_page_token
    second = await market.operations.ListOperations(request, timeout=TIMEOUT_S)
    assert [one.operation_id for one in (*first.operations, *second.operations)] == ids[::-1]
    assert first.cursor == second.cursor
    seen = await events(watch(market, cursor=second.cursor, kinds=[PAY]), 2)
    assert {event.operation.operation_id for event in seen} == {between.operation_id}


# What an event shows.


def assert_whole(operation: core_pb2.Operation) -> None:
    """State, outcome, times and parts are of one moment."""
    expected = {RESERVED: {core_pb2.PART_STATE_RESERVED}, DONE: {core_pb2.PART_STATE_POSTED}}
    expected |= {UNKNOWN: {core_pb2.PART_STATE_RESERVED}, REFUSED: {core_pb2.PART_STATE_VOIDED}}
    assert {part.state for part in operation.parts} == expected[operation.state], operation
    assert operation.HasField("final_time") == (operation.state in (DONE, REFUSED))
    if operation.HasField("final_time"):
        assert operation.final_time == operation.update_time


async def test_an_event_shows_its_operation_as_a_whole_while_payments_run_and_afterwards(market: Marketplace) -> None:
    count = 24
    start = (await read_one(watch(market))).cursor
    live = asyncio.ensure_future(events(watch(market, cursor=start, kinds=[PAY]), 2 * count))
    requests = [
        market.pay_request("buyer", "seller", 1, remark="" if n % 4 else "[[refuse:ERR044]]") for n in range(count)
    ]
    calls = [asyncio.ensure_future(market.payments.Pay(request, timeout=TIMEOUT_S)) for request in requests]
    replays = [await events(watch(market, cursor=start, kinds=[PAY]), 1 + 2 * n) for n in range(5)]
    await asyncio.gather(*calls, return_exceptions=True)
    replays.append(await events(watch(market, cursor=start, kinds=[PAY]), 2 * count))
    for seen in (await live, *replays):
        for event in seen:
            assert_whole(event.operation)
            # As of the event, or of a later one.
            assert event.operation.state == event.state or event.state == RESERVED
            assert event.operation.update_time.ToDatetime() >= event.event_time.ToDatetime()
    assert {event.operation.state for event in replays[-1]} == {DONE, REFUSED}


async def test_an_event_has_its_own_time_and_the_state_it_brought(market: Marketplace) -> None:
    started = datetime.now(UTC)
    request = market.pay_request("buyer", "seller", 1_00, remark="[[lose_after]]")
    lost = (await market.refusal(market.payments.Pay(request, timeout=TIMEOUT_S))).operation
    await market.until_final(lost.operation_id)
    seen = await events(watch(market, from_start=True, operation_id=lost.operation_id), 3)
    assert [event.state for event in seen] == [RESERVED, UNKNOWN, DONE]
    times = [event.event_time.ToDatetime(UTC) for event in seen]
    assert started < times[0] < times[1] < times[2] < datetime.now(UTC)
    final = await market.operation(lost.operation_id)
    assert (seen[0].event_time, seen[-1].event_time) == (final.create_time, final.final_time)
    # Read afterwards, each is shown as it is now.
    assert all(event.operation == final for event in seen)


async def test_a_watch_is_told_what_its_filters_want_and_nothing_else(market: Marketplace) -> None:
    await market.merchant("other")
    first = (await read_one(watch(market))).cursor
    order_no = await prepay(market, "buyer", "seller", 10_00)
    paid = await market.pay("buyer", "other", 1_00)
    refused = market.pay_request("buyer", "seller", 2_00, remark="[[refuse:ERR044]]")
    refusal = (await market.refusal(market.payments.Pay(refused, timeout=TIMEOUT_S))).operation
    end = (await read_one(watch(market))).cursor

    async def seen(**filters: Any) -> list[tuple[str, int]]:
        """Up to the end, from the pages that are read."""
        found: list[tuple[str, int]] = []
        stream = watch(market, cursor=first, **filters)
        async for message in stream:
            if message.HasField("operation"):
                found.append((message.operation.operation_id, message.state))
            if message.cursor == end:
                break
        stream.cancel()
        return found

    everything = await seen()
    assert len(everything) == 6
    assert await seen(member_id="buyer") == everything
    assert await seen(member_id="other") == [(paid.operation_id, RESERVED), (paid.operation_id, DONE)]
    assert await seen(states=[REFUSED]) == [(refusal.operation_id, REFUSED)]
    assert await seen(states=[DONE, REFUSED], kinds=[PAY]) == [
        (paid.operation_id, DONE),
        (refusal.operation_id, REFUSED),
    ]
    assert await seen(order_no=order_no, member_id="seller") == everything[:2]
    assert await seen(order_no=order_no, kinds=[PAY]) == []
    assert await seen(operation_id=paid.operation_id.upper(), states=[DONE]) == [(paid.operation_id, DONE)]


# Who is slow, who is elsewhere, who pings.


async def test_a_client_that_does_not_read_is_told_and_goes_on_from_its_cursor(database: str) -> None:
    async with open_marketplace(database, watch={"lag_max": 20}) as shop:
        await open_trade(shop)
        narrow = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{shop.service.port}", options=narrow) as channel:
            stub = type(shop.operations)(channel)
            stream = stub.WatchOperations(Request(kinds=[PAY]), timeout=TIMEOUT_S)
            start = (await read_one(stream)).cursor
            # Until its window is full, and what is kept for it too.
            for _ in range(4):
                await asyncio.gather(*(shop.pay("buyer", "seller", 1) for _ in range(10)))
            read: list[Message] = []

            async def read_all() -> None:
                while True:
                    read.append(await read_one(stream))

            told = await shop.refusal(read_all())
            cursor = read[-1].cursor
        assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "WATCH_TOO_SLOW")
        assert told.metadata["cursor"] == cursor
        assert 0 < len(read) < 80 - 20
        rest = await events(watch(shop, cursor=cursor, kinds=[PAY]), 80 - len(read))
        everything = await events(watch(shop, cursor=start, kinds=[PAY]), 80)
        assert [one.cursor for one in (*read, *rest)] == [one.cursor for one in everything]


async def test_a_watch_and_a_wait_at_one_process_see_what_another_does(database: str) -> None:
    async with (
        Sandbox(SandboxSettings(**LENIENT)) as bank,
        shop_on(database, bank) as here,
        shop_on(database, bank) as there,
    ):
        await open_trade(here)
        stream = watch(here)
        await read_one(stream)
        request = there.pay_request("buyer", "seller", 1_00, remark="[[delay:0.5]]")
        paying = asyncio.ensure_future(there.payments.Pay(request, timeout=TIMEOUT_S))
        seen = await events(stream, 1)
        assert (seen[0].operation.request_id, seen[0].state) == (request.request_id, RESERVED)
        waited = await wait(here, request_id=request.request_id)
        assert waited == (await paying).operation
        assert waited.state == DONE


async def ping(port: int, count: int, every_s: float) -> tuple[int, bytes]:
    """Ping an idle HTTP/2 connection; returns how many pings were answered, and why it was ended, if it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # The preface and empty settings (RFC 9113, 3.4).
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b""))
    answered, why = 0, b""

    async def listen() -> None:
        nonlocal answered, why
        while True:
            head = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            answered += head[3] == 6 and head[4] == 1
            if head[3] == 7:
                why = body[8:]

    listening = asyncio.ensure_future(listen())
    for number in range(count):
        writer.write(frame(6, number.to_bytes(8, "big")))
        await asyncio.sleep(every_s)
    await asyncio.wait([listening], timeout=0.5)
    listening.cancel()
    writer.close()
    return answered, why


def frame(kind: int, body: bytes) -> bytes:
    """A frame of stream 0 without flags."""
    return struct.pack(">I", len(body))[1:] + bytes((kind, 0)) + b"\0" * 4 + body


async def test_callers_may_ping_idle_connections_but_not_without_end(database: str) -> None:
    assert GrpcSettings().ping_min_s < 10.0, "the shortest interval that clients of most languages take"
    async with open_marketplace(database, grpc={"ping_min_s": 0.05}) as shop:
        assert await ping(shop.service.port, 8, 0.1) == (8, b"")
        _, why = await ping(shop.service.port, 8, 0.0)
        assert why == b"too_many_pings"


# Waiting for one.


async def wait(shop: Marketplace, timeout_s: float = TIMEOUT_S, **key: str) -> core_pb2.Operation:
    request = operation_pb2.WaitOperationRequest(key=operation_pb2.OperationKey(**key))
    found: core_pb2.Operation = (await shop.operations.WaitOperation(request, timeout=timeout_s)).operation
    return found


async def lost_payment(shop: Marketplace) -> core_pb2.Operation:
    request = shop.pay_request("buyer", "seller", 1_00, remark="[[lose_after]]")
    return (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).operation


async def test_a_wait_for_what_has_ended_is_answered_at_once(market: Marketplace) -> None:
    paid = await market.pay("buyer", "seller", 1_00)
    assert await wait(market, 2.0, operation_id=paid.operation_id) == paid
    assert await wait(market, 2.0, serial=paid.serial) == paid


async def test_a_wait_ends_as_soon_as_the_bank_has_spoken(market: Marketplace) -> None:
    lost = await lost_payment(market)
    waiting = asyncio.ensure_future(wait(market, operation_id=lost.operation_id))
    await until(lambda: market.service.components.feed._watches, "it waits")
    assert not waiting.done()
    resolved = await market.until_final(lost.operation_id)
    async with asyncio.timeout(2.0):
        assert await waiting == resolved
    assert resolved.state == DONE


async def test_a_wait_is_answered_before_its_deadline_with_the_state_as_it_is(market: Marketplace) -> None:
    lost = await lost_payment(market)
    found = await wait(market, 1.0, request_id=lost.request_id)
    assert (found.operation_id, found.state) == (lost.operation_id, UNKNOWN)
    assert_whole(found)


async def test_nobody_waits_for_an_operation_that_is_not_there(market: Marketplace) -> None:
    refusal = await market.refusal(wait(market, request_id="nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")

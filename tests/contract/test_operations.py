"""Operations found, listed, watched and resolved, seen from outside."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable

import grpc
import pytest

from jzb.v1 import core_pb2, operation_pb2
from service.rpc.pages import page_token
from tests.world.freezes import freeze, pay_frozen
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import confirm, prepay
from tests.world.process import until

Key = operation_pb2.OperationKey


async def get(shop: Marketplace, key: operation_pb2.OperationKey) -> core_pb2.Operation:
    request = operation_pb2.GetOperationRequest(key=key)
    found: core_pb2.Operation = (await shop.operations.GetOperation(request, timeout=TIMEOUT_S)).operation
    return found


async def listed(shop: Marketplace, request: operation_pb2.ListOperationsRequest) -> list[core_pb2.Operation]:
    """All pages."""
    found: list[core_pb2.Operation] = []
    while True:
        page = await shop.operations.ListOperations(request, timeout=TIMEOUT_S)
        assert len(page.operations) <= (request.page_size or 50)
        found += page.operations
        if not page.next_page_token:
            return found
        assert page.operations
        request.page_token = page.next_page_token


async def watched(shop: Marketplace, count: int, cursor: str = "", member_id: str = "") -> list[tuple[str, str, str]]:
    """The next ``count`` events: cursor, operation id, state."""
    request = operation_pb2.WatchOperationsRequest(cursor=cursor, from_start=True, member_id=member_id)
    found: list[tuple[str, str, str]] = []
    stream = shop.operations.WatchOperations(request, timeout=TIMEOUT_S)
    async for event in stream:
        if not event.HasField("operation"):
            continue
        state = core_pb2.OperationState.Name(event.state).removeprefix("OPERATION_STATE_")
        found.append((event.cursor, event.operation.operation_id, state))
        if len(found) == count:
            stream.cancel()
            return found
    raise AssertionError(f"the stream ended after {len(found)} events")


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    """A buyer with 100.00 and a seller."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return shop


async def test_an_operation_is_found_by_its_id_its_request_id_and_any_of_its_serials(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 50_00)
    operation = await pay_frozen(market, order_no, [("seller", 10_00), ("seller", 5_00)], fee_fen=1_00)
    keys = [Key(operation_id=operation.operation_id), Key(request_id=operation.request_id)]
    keys += [Key(serial=serial) for serial in (operation.serial, *(part.serial for part in operation.parts))]
    for key in keys:
        assert await get(market, key) == operation
    assert operation.order_no == order_no
    assert len(operation.trace_id) in (0, 32)
    assert operation.HasField("final_time")
    assert not operation.HasField("next_query_time")


async def test_an_operation_nobody_asked_for_is_not_found(market: Marketplace) -> None:
    for key in (Key(operation_id=str(uuid.uuid4())), Key(request_id="nobody"), Key(serial="X285500000000000000000")):
        calls: tuple[Awaitable[object], ...] = (
            market.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S),
            market.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S),
        )
        for call in calls:
            refusal = await market.refusal(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_the_list_has_every_operation_once_newest_first(market: Marketplace) -> None:
    ids = [(await market.pay("buyer", "seller", 1_00)).operation_id for _ in range(7)]
    found = await listed(market, operation_pb2.ListOperationsRequest(page_size=3, member_id="buyer"))
    kinds = [operation.kind for operation in found]
    assert [operation.operation_id for operation in found[:7]] == ids[::-1]
    assert kinds[7:] == [core_pb2.OPERATION_KIND_TOP_UP, core_pb2.OPERATION_KIND_OPEN_MEMBER]


async def test_all_filters_of_a_list_must_match(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 10_00)
    done = await confirm(market, order_no, 10_00)
    await market.pay("buyer", "seller", 5_00)
    request = market.pay_request("buyer", "seller", 1_00, remark="[[refuse:ERR044]]")
    await market.refusal(market.payments.Pay(request, timeout=TIMEOUT_S))
    wanted = operation_pb2.ListOperationsRequest

    async def count(request: operation_pb2.ListOperationsRequest) -> int:
        return len(await listed(market, request))

    assert await count(wanted(order_no=order_no)) == 2
    assert await count(wanted(order_no=order_no, kind=core_pb2.OPERATION_KIND_CONFIRM_ORDER)) == 1
    assert await count(wanted(kind=core_pb2.OPERATION_KIND_PAY_T1)) == 2
    assert await count(wanted(state=core_pb2.OPERATION_STATE_REFUSED)) == 1
    assert await count(wanted(kind=core_pb2.OPERATION_KIND_PAY_T1, state=core_pb2.OPERATION_STATE_DONE)) == 1
    assert await count(wanted(member_id="seller", kind=core_pb2.OPERATION_KIND_TOP_UP)) == 0
    assert await count(wanted(bank_day=done.bank_day, order_no=order_no)) == 2
    assert await count(wanted(bank_day="2001-01-01")) == 0


async def test_a_token_is_good_for_its_own_list_only(market: Marketplace) -> None:
    for _ in range(3):
        await market.pay("buyer", "seller", 1_00)
    first = await market.operations.ListOperations(
        operation_pb2.ListOperationsRequest(page_size=2, member_id="buyer"), timeout=TIMEOUT_S
    )
    for token, member_id in ((first.next_page_token, "seller"), ("AAAA", "buyer"), ("***", "buyer"), ("张", "buyer")):
        request = operation_pb2.ListOperationsRequest(page_size=2, member_id=member_id, page_token=token)
        refusal = await market.refusal(market.operations.ListOperations(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert refusal.metadata["field"] == "page_token"
    request = operation_pb2.ListOperationsRequest(page_size=5, member_id="buyer", page_token=first.next_page_token)
    rest = await market.operations.ListOperations(request, timeout=TIMEOUT_S)
    assert len(rest.operations) == 3
    assert not rest.next_page_token


async def test_a_watch_goes_on_from_its_cursor_and_misses_nothing(market: Marketplace) -> None:
    for _ in range(4):
        await market.pay("buyer", "seller", 1_00)
    everything = await watched(market, 15)
    resumed: list[tuple[str, str, str]] = []
    for size in (1, 5, 9):
        resumed += await watched(market, size, resumed[-1][0] if resumed else "")
    assert resumed == everything
    assert len({cursor for cursor, _, _ in everything}) == len(everything)
    states: dict[str, list[str]] = {}
    for _, operation_id, state in everything:
        states.setdefault(operation_id, []).append(state)
    assert all(one in (["RESERVED", "DONE"], ["DONE"]) for one in states.values())


async def test_a_watch_under_way_sees_concurrent_payments_each_state_once(market: Marketplace) -> None:
    before = await watched(market, 1)
    opened = asyncio.ensure_future(watched(market, 6 + 5 * 2, member_id="buyer"))
    await asyncio.gather(*(market.pay("buyer", "seller", 1_00) for _ in range(6)))
    events = [event for event in await opened if event[0] >= before[0][0]]
    pairs = [(operation_id, state) for _, operation_id, state in events]
    assert len(set(pairs)) == len(pairs) == 16


async def test_a_watch_shows_an_unknown_outcome_and_then_its_end(market: Marketplace) -> None:
    stream = market.operations.WatchOperations(
        operation_pb2.WatchOperationsRequest(from_start=True, member_id="seller"), timeout=TIMEOUT_S
    )
    seen: list[int] = []

    async def follow() -> None:
        async for event in stream:
            if event.operation.kind == core_pb2.OPERATION_KIND_PAY_T1:
                seen.append(event.state)
            if len(seen) == 3:
                return

    following = asyncio.ensure_future(follow())
    request = market.pay_request("buyer", "seller", 1_00, remark="[[lose_after]]")
    lost = await market.refusal(market.payments.Pay(request, timeout=TIMEOUT_S))
    await market.until_final(lost.operation.operation_id)
    await following
    stream.cancel()
    assert seen == [
        core_pb2.OPERATION_STATE_RESERVED,
        core_pb2.OPERATION_STATE_UNKNOWN,
        core_pb2.OPERATION_STATE_DONE,
    ]


@pytest.mark.parametrize("cursor", ["%%%", "AAAA", "LTE", "张", page_token("²")])
async def test_a_damaged_cursor_is_refused(market: Marketplace, cursor: str) -> None:
    request = operation_pb2.WatchOperationsRequest(cursor=cursor)

    async def first() -> operation_pb2.WatchOperationsResponse:
        async for event in market.operations.WatchOperations(request, timeout=TIMEOUT_S):
            return event
        raise AssertionError("the stream ended")

    refusal = await market.refusal(first())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert refusal.metadata["field"] == "cursor"


async def test_resolving_a_final_operation_asks_nobody(market: Marketplace) -> None:
    operation = await market.pay("buyer", "seller", 1_00)
    assert await market.resolve(operation.operation_id) == operation
    assert market.calls_received("SingleTransactionStatusQuery") == 0


async def test_resolving_by_hand_does_not_make_not_found_count_sooner(database: str) -> None:
    async with open_marketplace(database, resolver={"not_found_interval_s": 3600.0, "not_found_times": 2}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        request = shop.pay_request("buyer", "seller", 60_00, remark="[[lose_before]]")
        lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        for _ in range(5):
            found = await shop.resolve(lost.operation.operation_id)
        assert found.state == core_pb2.OPERATION_STATE_UNKNOWN
        assert found.query_attempts == 5
        assert (await shop.balance("buyer")).held_fen == 60_00


async def test_unknown_outcomes_are_resolved_without_being_told_to(database: str) -> None:
    async with open_marketplace(database, resolver={"ask_after_s": 0.1}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        losts = [
            await shop.refusal(
                shop.payments.Pay(shop.pay_request("buyer", "seller", 10_00, 1_00, remark=fault), timeout=TIMEOUT_S)
            )
            for fault in ("[[lose_after]]", "[[lose_before]]", "[[lose_after]] [[not_found_first:2]]")
        ]

        async def states() -> list[int]:
            return [(await shop.operation(lost.operation.operation_id)).state for lost in losts]

        async def all_final() -> bool:
            return core_pb2.OPERATION_STATE_UNKNOWN not in await states()

        await until(all_final, "all are resolved")
        done, refused = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED
        assert await states() == [done, refused, done]
        assert (await shop.balance("buyer")).available_fen == 80_00
        await shop.assert_agrees()

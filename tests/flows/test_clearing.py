"""The night's clearing (6108), seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from bankclient import STATED_FEN_MAX, yuan
from jzb.v1 import clearing_pb2, core_pb2, operation_pb2
from ledger.names import RequestId
from sandbox.clock import BankClock
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.server import running
from tests.world.freezes import freeze_request
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace, bank_says, open_marketplace, service_settings
from tests.world.process import until
from tests.world.withdrawals import withdraw


async def clear_day(shop: Marketplace, day: str, request_id: str = "") -> clearing_pb2.ClearDayResponse:
    request = clearing_pb2.ClearDayRequest(request_id=request_id or shop.request_id(), bank_day=day)
    answer: clearing_pb2.ClearDayResponse = await shop.clearing.ClearDay(request, timeout=TIMEOUT_S)
    return answer


async def days(shop: Marketplace) -> list[clearing_pb2.ClearingDay]:
    return list((await shop.clearing.ListDays(clearing_pb2.ListDaysRequest(), timeout=TIMEOUT_S)).days)


async def freeze_as(shop: Marketplace, member_id: str, request_id: str) -> None:
    """Freeze 1.00 under a request id of the caller's choice."""
    request = freeze_request(shop, member_id, 1_00)
    request.request_id = request_id
    await shop.freezes.Freeze(request, timeout=TIMEOUT_S)


@pytest.fixture
async def two_days(database: str) -> AsyncIterator[tuple[Marketplace, str, str]]:
    """A seller who was paid 100.00 three days ago and 20.00 two days ago; both days wait."""
    clock = BankClock(lambda: datetime.now(UTC) - timedelta(days=3))
    async with open_marketplace(database, {"clear_same_day": False}, clock=clock) as shop:
        shop.sandbox.bank.hold_clearing(True)
        first = (await shop.top_up(await shop.merchant("seller"), 100_00, 10_00)).bank_day
        shop.sandbox.bank.move_clock(1)
        second = (await shop.top_up("seller", 20_00)).bank_day
        shop.sandbox.bank.move_clock(2)
        yield shop, first, second


async def test_cleared_money_turns_from_waiting_to_withdrawable(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    (day,) = await days(shop)
    assert (day.uncleared_fen, day.in_transit_fen) == (100_00, 100_00)
    answer = await clear_day(shop, day.bank_day)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert answer.day.state == clearing_pb2.CLEARING_STATE_DONE
    seller = await shop.balance("seller")
    assert (seller.available_fen, seller.withdrawable_fen, seller.uncleared_fen) == (100_00, 100_00, 0)
    assert await days(shop) == []
    await shop.assert_agrees()


async def test_a_day_is_done_only_when_the_mirror_has_entered_what_the_bank_has_cleared(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    (listed,) = await days(shop)
    assert (listed.state, listed.HasField("query_time")) == (clearing_pb2.CLEARING_STATE_UNSPECIFIED, False)
    day = clearing_pb2.GetDayRequest(bank_day=listed.bank_day)
    before = (await shop.clearing.GetDay(day, timeout=TIMEOUT_S)).day
    assert (before.state, before.uncleared_fen) == (clearing_pb2.CLEARING_STATE_CLEARED_AT_BANK, 100_00)
    await clear_day(shop, listed.bank_day)
    after = (await shop.clearing.GetDay(day, timeout=TIMEOUT_S)).day
    assert (after.state, after.uncleared_fen) == (clearing_pb2.CLEARING_STATE_DONE, 0)


async def test_a_day_that_the_channels_have_not_paid_stays_pending_with_what_it_lacks(
    two_days: tuple[Marketplace, str, str],
) -> None:
    shop, first, _ = two_days
    answer = await clear_day(shop, first)
    assert not answer.HasField("operation")
    assert answer.day.state == clearing_pb2.CLEARING_STATE_PENDING
    assert (answer.day.bank_total_fen, answer.day.shortfall_fen) == (100_00, 100_00)
    assert answer.day.bank_message == "在途资金未到账"
    assert (await shop.balance("seller")).withdrawable_fen == 0
    await shop.assert_agrees()
    shop.sandbox.bank.hold_clearing(False)
    answer = await clear_day(shop, first)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert answer.day.shortfall_fen == 0


async def test_days_are_cleared_in_order_and_none_is_skipped(two_days: tuple[Marketplace, str, str]) -> None:
    shop, first, second = two_days
    shop.sandbox.bank.hold_clearing(False)
    assert [day.bank_day for day in await days(shop)] == [first, second]
    refusal = await shop.refusal(clear_day(shop, second))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLEARING_OUT_OF_ORDER")
    assert (refusal.metadata["bank_day"], refusal.metadata["first_open_day"]) == (second, first)
    await clear_day(shop, first)
    seller = await shop.balance("seller")
    assert (seller.withdrawable_fen, seller.uncleared_fen) == (90_00, 20_00)
    await clear_day(shop, second)
    seller = await shop.balance("seller")
    assert (seller.withdrawable_fen, seller.uncleared_fen) == (110_00, 0)
    await shop.assert_agrees()


async def test_a_day_is_entered_once_however_often_it_is_asked_for(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    (day,) = await days(shop)
    request_id = shop.request_id()
    results = await asyncio.gather(*(clear_day(shop, day.bank_day, request_id) for _ in range(5)))
    assert len({result.operation.operation_id for result in results}) == 1
    again = await clear_day(shop, day.bank_day)
    assert again.operation.operation_id == results[0].operation.operation_id
    assert again.operation.state == core_pb2.OPERATION_STATE_DONE
    assert again.day.state == clearing_pb2.CLEARING_STATE_DONE
    assert (await shop.balance("seller")).withdrawable_fen == 100_00
    await shop.assert_agrees()


async def test_two_who_clear_a_day_at_once_get_the_operation_of_the_one_that_did(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    (day,) = await days(shop)
    request_ids = [shop.request_id() for _ in range(5)]
    results = await asyncio.gather(*(clear_day(shop, day.bank_day, request_id) for request_id in request_ids))
    (entered,) = {result.operation.operation_id for result in results}
    assert results[0].operation.request_id in request_ids
    # The ids that came second are not used up: they are answered with the day's operation as often as they are sent.
    for request_id in request_ids:
        assert (await clear_day(shop, day.bank_day, request_id)).operation.operation_id == entered
    assert (await shop.balance("seller")).withdrawable_fen == 100_00
    await shop.assert_agrees()


async def test_no_request_id_of_a_caller_keeps_the_service_from_clearing_a_day_by_itself(
    two_days: tuple[Marketplace, str, str],
) -> None:
    shop, first, second = two_days
    shop.sandbox.bank.hold_clearing(False)
    for request_id in ("adoption:own-funds", f"clearing:{first}"):
        await freeze_as(shop, "seller", request_id)
    await shop.service.components.clearing.clear_past_days()
    assert await days(shop) == []
    # Nor does what the service has done by itself take an id away from a caller.
    for day in (first, second):
        entered = (await clear_day(shop, day, f"clearing-{day}")).operation
        assert (entered.kind, entered.request_id) == (core_pb2.OPERATION_KIND_CLEARING, "")
    assert (await clear_day(shop, second, f"clearing:{second}")).operation == entered
    await shop.assert_agrees()


async def test_payments_go_on_while_a_day_is_cleared_and_both_sides_agree_on_what_waits(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    (day,) = await days(shop)
    await asyncio.gather(clear_day(shop, day.bank_day), *(shop.pay("buyer", "seller", 1_00, 10) for _ in range(20)))
    assert (await shop.balance("buyer")).available_fen == 80_00
    assert (await shop.balance("seller")).available_fen == 18_00
    await shop.assert_agrees()


async def test_a_withdrawal_does_not_wait_until_the_money_of_all_others_was_moved(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.merchant("seller", 100_00)
    await shop.merchant("other", 50_00)
    (day,) = await days(shop)
    reads = shop.service.components.reads
    waiting_pockets, may_go_on = reads.waiting_pockets, asyncio.Event()

    async def long_in_coming(*asked: Any) -> Any:
        await may_go_on.wait()
        return await waiting_pockets(*asked)

    monkeypatch.setattr(reads, "waiting_pockets", long_in_coming)
    clearing = asyncio.create_task(clear_day(shop, day.bank_day))
    await until(lambda: _is_entered(shop), "the day is entered")
    withdrawal = await withdraw(shop, "seller", 90_00)
    seller, other = await shop.balance("seller"), await shop.balance("other")
    assert (seller.withdrawable_fen, seller.uncleared_fen) == (10_00, 0)
    assert (other.withdrawable_fen, other.uncleared_fen) == (0, 50_00)
    may_go_on.set()
    assert (await clearing).operation.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.until_final(withdrawal.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def _is_entered(shop: Marketplace) -> bool:
    return await shop.service.components.reads.cleared_through() is not None


async def test_money_held_over_a_clearing_is_withdrawable_when_it_comes_back(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 60_00, remark="[[lose_before]]")
    lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    await shop.clear()
    buyer = await shop.balance("buyer")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen, buyer.held_fen) == (40_00, 0, 60_00)
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    buyer = await shop.balance("buyer")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen) == (100_00, 0)
    await shop.assert_agrees()


@pytest.mark.parametrize("day", ["2026-02-30", "9999-12-31"])
async def test_a_day_that_is_none_or_not_over_is_refused(shop: Marketplace, day: str) -> None:
    refusal = await shop.refusal(clear_day(shop, day))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BANK_DAY_INVALID")
    assert refusal.violations.keys() == {"bank_day"}


def twice(answer: dict[str, Any]) -> None:
    answer["TranItemArray"] *= 2


def of_another_day(answer: dict[str, Any]) -> None:
    answer["TranItemArray"][0]["Date"] = "20240101"


def too_much(answer: dict[str, Any]) -> None:
    answer["TranItemArray"][0]["TotalAmt"] = yuan(STATED_FEN_MAX + 1)


@pytest.mark.parametrize("said", [twice, of_another_day, too_much])
async def test_a_day_is_cleared_by_one_row_of_its_own_and_no_other(shop: Marketplace, said: Any) -> None:
    await shop.merchant("seller", 100_00)
    (day,) = await days(shop)
    with bank_says(shop.sandbox, "BankClearQuery", said):
        assert (await shop.refusal(clear_day(shop, day.bank_day))).reason == "BANK_UNAVAILABLE"
    assert (await clear_day(shop, day.bank_day)).day.bank_total_fen == 100_00
    await shop.assert_agrees()


async def test_the_most_that_the_bank_may_state_can_be_cleared(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    (day,) = await days(shop)

    def most(answer: dict[str, Any]) -> None:
        answer["TranItemArray"][0]["TotalAmt"] = yuan(STATED_FEN_MAX)

    with bank_says(shop.sandbox, "BankClearQuery", most):
        answer = await clear_day(shop, day.bank_day)
    assert (answer.operation.state, answer.operation.amount_fen) == (core_pb2.OPERATION_STATE_DONE, STATED_FEN_MAX)


def endless(answer: dict[str, Any]) -> None:
    answer["EndFlag"] = "0"


def doubled(answer: dict[str, Any]) -> None:
    answer["AcctArray"] *= 2


def rich(answer: dict[str, Any]) -> None:
    own = [row for row in answer["AcctArray"] if row["AcctAvailBal"] != "0.00"]
    answer["AcctArray"] += [{**row, "SubAcctNo": "9930000000009999"} for row in own]
    for row in answer["AcctArray"]:
        row["AcctAvailBal"] = yuan(STATED_FEN_MAX)


@pytest.mark.parametrize("said", [endless, doubled, rich])
async def test_opening_funds_that_are_listed_twice_or_cannot_be_are_not_taken_over(database: str, said: Any) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        with bank_says(sandbox, "CustAcctIdBalanceQuery", said):
            async with running(service_settings(database, sandbox)) as service:
                assert not await service.components.clearing.enter_opening_balance()
        async with running(service_settings(database, sandbox)) as service:
            assert await service.components.clearing.enter_opening_balance()
            adopted = await service.components.reads.operation(request_id=RequestId("adoption own-funds"))
    assert adopted is not None
    assert adopted.amount_fen == 100_000_000


async def test_opening_funds_are_taken_over_once_whatever_their_operation_was_called_when_they_were(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The books are those of a service that called it by its older name.
    monkeypatch.setattr("service.inflows.clearing.OPENING_BALANCE_ID_BEFORE", "adoption own-funds")
    monkeypatch.setattr("service.inflows.clearing.OPENING_BALANCE_ID", "adoption of another name")
    assert await shop.service.components.clearing.enter_opening_balance()
    request = operation_pb2.ListOperationsRequest(kind=core_pb2.OPERATION_KIND_OPENING_BALANCE)
    (adopted,) = (await shop.operations.ListOperations(request, timeout=TIMEOUT_S)).operations
    assert (adopted.request_id, adopted.amount_fen) == ("", 100_000_000)


async def test_opening_funds_are_taken_over_though_a_caller_has_used_their_older_name(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.buyer("buyer", 10_00)
    await freeze_as(shop, "buyer", "adoption:own-funds")
    assert await shop.service.components.clearing.enter_opening_balance()
    monkeypatch.setattr("service.inflows.clearing.OPENING_BALANCE_ID", "adoption of another name")
    assert await shop.service.components.clearing.enter_opening_balance()
    assert await shop.service.components.reads.operation(request_id=RequestId("adoption of another name")) is not None

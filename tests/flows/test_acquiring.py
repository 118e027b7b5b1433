"""Orders of the bank's acquiring products (6145, 6146, 6147), seen from outside."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Literal

import grpc
import pytest

from jzb.v1 import acquiring_pb2, acquiring_pb2_grpc, balance_pb2, clearing_pb2, core_pb2, freeze_pb2
from sandbox.clock import BankClock
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.acquiring import CLOUD, acquire, build_request, rebook_request, record, record_request, share
from tests.world.freezes import freeze_request, frozen_order, pay_frozen, release_request
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace, open_marketplace
from tests.world.process import orphans_are_due, service_process, shop_on, until
from tests.world.verifying import named, sub_account

FROZEN = acquiring_pb2.ORDER_CREDIT_FROZEN
ASK, SUPPLY, REBOOK = "ChargeDetailQuery", "PlatformAccountSupply", "AccountRegulation"


def fee_taken(database: str, when: Literal["at_entry", "at_release"]) -> AbstractAsyncContextManager[Marketplace]:
    """A bank, and a service, that take the fee of a frozen share then."""
    return open_marketplace(database, {"acquired_fee": when}, rules={"acquired_fee": when})


async def totals(shop: Marketplace) -> dict[int, int]:
    answer = await shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
    return {row.account_kind: row.balance_fen for row in answer.rows}


async def test_an_order_that_the_bank_has_booked_is_entered_without_a_call_that_changes_anything(
    shop: Marketplace,
) -> None:
    await shop.merchant("A")
    await shop.buyer("B")
    request = await acquire(shop, share("A", 60_00, 1_00, "S1"), share("B", 40_00, 0, "S2", credit=FROZEN))
    answer = await record(shop, request)
    assert answer.operation.kind == core_pb2.OPERATION_KIND_RECORD_ORDER
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert (answer.operation.amount_fen, answer.operation.fee_fen) == (100_00, 1_00)
    assert [(one.order_no, one.booked_member_id, one.state) for one in answer.bookings] == [
        ("S1", "A", acquiring_pb2.BOOKING_STATE_BOOKED),
        ("S2", "B", acquiring_pb2.BOOKING_STATE_BOOKED),
    ]
    first, second = await shop.balance("A"), await shop.balance("B")
    assert (first.uncleared_fen, first.withdrawable_fen) == (59_00, 0)
    assert (second.frozen_fen, second.available_fen) == (40_00, 0)
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_IN_TRANSIT] == -100_00
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 1_00
    assert (shop.calls_received(ASK), shop.calls_received(SUPPLY)) == (2, 0)
    await shop.assert_agrees()


async def test_an_order_that_the_bank_missed_is_fetched_and_then_entered(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00, 50), missed=True)
    answer = await record(shop, request)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert (shop.calls_received(ASK), shop.calls_received(SUPPLY)) == (2, 1)
    assert (await shop.balance("A")).available_fen == 49_50
    await shop.assert_agrees()


async def test_its_money_becomes_withdrawable_with_the_clearing_of_its_day(shop: Marketplace) -> None:
    await shop.merchant("A")
    await record(shop, await acquire(shop, share("A", 50_00, 50)))
    await shop.clear()
    assert (await shop.balance("A")).withdrawable_fen == 49_50
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_IN_TRANSIT] == 0
    await shop.assert_agrees()


async def test_an_order_entered_after_the_clearing_of_its_day_is_withdrawable_at_once(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=1)
    async with open_marketplace(database, {"clear_same_day": False}, clock=BankClock(lambda: began)) as shop:
        await shop.merchant("A", 1_00)
        request = await acquire(shop, share("A", 50_00))
        day = shop.sandbox.clock.today()
        shop.sandbox.bank.move_clock(1)
        clear = clearing_pb2.ClearDayRequest(request_id=shop.request_id(), bank_day=str(day))
        await shop.clearing.ClearDay(clear, timeout=TIMEOUT_S)
        await record(shop, request)
        assert (await shop.balance("A")).withdrawable_fen == 51_00
        await shop.assert_agrees()


async def test_a_lost_answer_of_the_fetching_is_unknown_and_settled_by_asking(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00, 50), missed=True)
    shop.sandbox.faults.add("lose_after", code="6147")
    lost = await shop.refusal(record(shop, request))
    assert (lost.code, lost.outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.balance("A")).available_fen == 0
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received(SUPPLY) == 1
    again = await record(shop, request)
    assert [one.booked_member_id for one in again.bookings] == ["A"]
    assert (await shop.balance("A")).available_fen == 49_50
    await shop.assert_agrees()


async def test_a_fetching_that_never_arrived_is_sent_again_with_its_serial(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00), missed=True)
    shop.sandbox.faults.add("lose_before", code="6147")
    lost = await shop.refusal(record(shop, request))
    assert lost.reason == "BANK_OUTCOME_UNKNOWN"
    found = await shop.until_final(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    serials = {one.serial for one in shop.sandbox.requests if one.service_id == SUPPLY}
    assert serials == {lost.operation.serial}
    assert (await shop.balance("A")).available_fen == 50_00
    await shop.assert_agrees()


async def test_an_order_that_the_bank_books_later_than_it_took_the_call_is_waited_for(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00), missed=True)
    shop.sandbox.faults.add("refuse:ERR020", code="6146", times=5, after=1)
    late = await shop.refusal(record(shop, request))
    assert late.reason == "BANK_OUTCOME_UNKNOWN"
    assert (await shop.until_final(late.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("A")).available_fen == 50_00
    await shop.assert_agrees()


async def test_the_resolver_fetches_a_missed_order_by_itself_after_a_lost_answer(database: str) -> None:
    async with open_marketplace(database, resolver={"ask_after_s": 0.05}) as shop:
        await shop.merchant("A")
        request = await acquire(shop, share("A", 50_00), missed=True)
        shop.sandbox.faults.add("lose_before", code="6147")
        lost = await shop.refusal(record(shop, request))
        async with asyncio.timeout(10):
            while (await shop.balance("A")).available_fen < 50_00:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await shop.operation(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        await shop.assert_agrees()


async def test_a_bank_that_does_not_answer_the_first_question_leaves_nothing_behind(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00), missed=True)
    shop.sandbox.faults.add("http500", code="6146")
    told = await shop.refusal(record(shop, request))
    assert (told.reason, told.outcome) == ("BANK_UNAVAILABLE", core_pb2.OUTCOME_NO_EFFECT)
    assert shop.calls_received(SUPPLY) == 0
    entered = await record(shop, request)
    assert entered.operation.state == core_pb2.OPERATION_STATE_DONE
    # The parts of the try that never left are there, too.
    assert [part.state for part in entered.operation.parts] == [
        core_pb2.PART_STATE_VOIDED,
        core_pb2.PART_STATE_POSTED,
    ]
    assert [one.booked_member_id for one in entered.bookings] == ["A"]
    await shop.assert_agrees()


async def test_an_order_that_nobody_has_paid_is_refused_and_can_be_recorded_once_it_is(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = record_request(shop, "T-1", share("A", 50_00))
    refused = await shop.refusal(record(shop, request))
    assert (refused.reason, refused.metadata["bank_code"]) == ("BANK_REFUSED", "ERR115")
    assert refused.outcome == core_pb2.OUTCOME_NO_EFFECT
    remark = (await shop.acquiring.BuildOrderRemark(build_request(50_00, share("A", 50_00)), timeout=TIMEOUT_S)).remark
    shop.sandbox.bank.acquire("YST1", "T-1", 50_00, remark)
    request.request_id = shop.request_id()
    assert (await record(shop, request)).operation.state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_an_order_number_is_entered_once_however_many_ask(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00), missed=True)

    async def other() -> str:
        copy = acquiring_pb2.RecordOrderRequest()
        copy.CopyFrom(request)
        copy.request_id = shop.request_id()
        try:
            return core_pb2.OperationState.Name((await record(shop, copy)).operation.state)
        except grpc.aio.AioRpcError as error:
            return error.code().name

    ends = await asyncio.gather(*(other() for _ in range(5)))
    assert sorted(ends) == ["ALREADY_EXISTS"] * 4 + ["OPERATION_STATE_DONE"]
    request.request_id = shop.request_id()
    again = await shop.refusal(record(shop, request))
    assert (again.reason, again.metadata["order_no"]) == ("ACQUIRED_ORDER_RECORDED", request.order_no)
    assert (await shop.balance("A")).available_fen == 50_00
    await shop.assert_agrees()


async def test_a_sub_order_number_of_another_order_is_not_entered_again(shop: Marketplace) -> None:
    await shop.merchant("A")
    await record(shop, await acquire(shop, share("A", 50_00, 0, "S1")))
    twice = await shop.refusal(record(shop, record_request(shop, "T-2", share("A", 50_00, 0, "S1"))))
    assert (twice.reason, twice.metadata["order_no"]) == ("ACQUIRED_ORDER_RECORDED", "S1")
    await shop.assert_agrees()


@pytest.mark.parametrize("said", [share("A", 50_01, 50), share("A", 50_00, 51), share("A", 50_00, 50, credit=FROZEN)])
async def test_an_order_that_the_bank_has_booked_otherwise_is_not_entered_and_both_are_told(
    shop: Marketplace, said: acquiring_pb2.OrderShare
) -> None:
    await shop.merchant("A")
    right = await acquire(shop, share("A", 50_00, 50))
    wrong = record_request(shop, right.order_no, said)
    refused = await shop.refusal(record(shop, wrong))
    assert (refused.reason, refused.outcome) == ("ACQUIRED_ORDER_DIFFERS", core_pb2.OUTCOME_NO_EFFECT)
    assert "the bank has 50.00 with fee 0.50 and PayMode 1" in refused.message
    assert (await shop.balance("A")).available_fen == 0
    assert (await record(shop, right)).operation.state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_parked_money_is_moved_to_the_right_member_less_the_fee_once(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    request = await acquire(shop, share("A", 60_00, 1_00, "S1"), paid_for="9930000000009999")
    answer = await record(shop, request)
    assert [(one.booked_member_id, one.state) for one in answer.bookings] == [("", acquiring_pb2.BOOKING_STATE_PARKED)]
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_ACQUIRING_PARKING] == 60_00
    assert (await shop.balance("A")).available_fen == 0
    await shop.assert_agrees()

    moved = (await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)).operation
    assert (moved.kind, moved.state) == (core_pb2.OPERATION_KIND_REBOOK_ORDER, core_pb2.OPERATION_STATE_DONE)
    assert (moved.original_serial, moved.payer_member_id) == (answer.operation.serial, "")
    assert (await shop.balance("A")).uncleared_fen == 59_00
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_ACQUIRING_PARKING] == 0
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 1_00
    await shop.assert_agrees()

    again = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S))
    assert (again.reason, again.code) == ("ACQUIRED_ORDER_REBOOKED", grpc.StatusCode.ALREADY_EXISTS)
    assert shop.calls_received(REBOOK) == 1


@pytest.mark.parametrize(("when", "frozen_fen"), [("at_entry", 59_00), ("at_release", 60_00)])
async def test_a_parked_share_that_is_to_be_frozen_is_frozen_for_the_right_member(
    database: str, when: Literal["at_entry", "at_release"], frozen_fen: int
) -> None:
    async with fee_taken(database, when) as shop:
        await named(shop, "A", collects=True)
        request = await acquire(shop, share("A", 60_00, 1_00, "S1", credit=FROZEN), booked_to="parking", missed=True)
        await record(shop, request)
        await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)
        balance = await shop.balance("A")
        assert (balance.frozen_fen, balance.available_fen) == (frozen_fen, 0)
        await shop.assert_agrees()


async def test_a_lost_answer_of_the_move_is_unknown_and_settled_by_asking_for_the_order(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await record(shop, await acquire(shop, share("A", 60_00, 1_00, "S1"), booked_to="parking"))
    request = rebook_request(shop, "S1", "A")
    request.remark = "[[lose_after]]"
    lost = await shop.refusal(shop.acquiring.RebookOrder(request, timeout=TIMEOUT_S))
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.balance("A")).available_fen == 0
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("A")).available_fen == 59_00
    await shop.assert_agrees()


async def test_a_move_that_never_arrived_is_given_up_and_may_be_asked_for_anew(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await record(shop, await acquire(shop, share("A", 60_00, 0, "S1"), booked_to="parking"))
    shop.sandbox.faults.add("lose_before", code="6145")
    lost = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S))
    assert lost.reason == "BANK_OUTCOME_UNKNOWN"
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)
    assert (await shop.balance("A")).available_fen == 60_00
    await shop.assert_agrees()


async def test_money_at_a_wrong_member_is_moved_without_its_fee_while_it_is_there(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await shop.buyer("B")
    await shop.merchant("C")
    wrong = await sub_account(shop, "B")
    for number in ("S1", "S2"):
        answer = await record(shop, await acquire(shop, share("A", 60_00, 1_00, number), booked_to=wrong))
        assert [one.booked_member_id for one in answer.bookings] == ["B"]
    assert (await shop.balance("B")).available_fen == 118_00
    await shop.assert_agrees()
    await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)
    assert [(await shop.balance(one)).available_fen for one in "AB"] == [59_00, 59_00]
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 2_00
    await shop.pay("B", "C", 10_00)
    short = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S2", "A"), timeout=TIMEOUT_S))
    assert (short.reason, short.amounts) == ("INSUFFICIENT_FUNDS", {"needed": 59_00, "left": 49_00})
    await shop.assert_agrees()


@pytest.mark.parametrize(("when", "frozen_fen"), [("at_entry", 59_00), ("at_release", 60_00)])
async def test_frozen_money_at_a_wrong_member_stays_frozen_under_its_order(
    database: str, when: Literal["at_entry", "at_release"], frozen_fen: int
) -> None:
    async with fee_taken(database, when) as shop:
        await named(shop, "A", collects=True)
        await shop.buyer("B")
        wrong = await sub_account(shop, "B")
        await record(shop, await acquire(shop, share("A", 60_00, 1_00, "S1", credit=FROZEN), booked_to=wrong))
        assert (await shop.balance("B")).frozen_fen == frozen_fen
        await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)
        assert [(await shop.balance(one)).frozen_fen for one in "AB"] == [frozen_fen, 0]
        await shop.freezes.Release(release_request(shop, "S1", frozen_fen), timeout=TIMEOUT_S)
        assert [(await shop.balance(one)).available_fen for one in "AB"] == [59_00, 0]
        assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 1_00
        await shop.assert_agrees()


async def test_orders_that_need_no_move_or_are_not_known_are_refused_by_name(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await shop.merchant("nameless")
    await record(shop, await acquire(shop, share("A", 60_00, 0, "S1"), share("A", 40_00, 0, "S2")))
    in_place = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S))
    assert in_place.reason == "ACQUIRED_ORDER_IN_PLACE"
    unknown = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S9", "A"), timeout=TIMEOUT_S))
    assert (unknown.reason, unknown.metadata["order_no"]) == ("ACQUIRED_ORDER_NOT_FOUND", "S9")
    nameless = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S1", "nameless"), timeout=TIMEOUT_S))
    assert nameless.reason == "MEMBER_NAME_MISSING"
    await named(shop, "other", collects=True)
    refused = await shop.refusal(shop.acquiring.RebookOrder(rebook_request(shop, "S1", "other"), timeout=TIMEOUT_S))
    assert (refused.reason, refused.metadata["bank_code"]) == ("BANK_REFUSED", "ERR127")
    await shop.assert_agrees()


async def test_amounts_that_cannot_be_are_refused_before_the_bank_is_asked(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = record_request(shop, "T-1", share("A", 50_00, 0, "S1"), share("A", 10_00, 0, "S2"))
    request.amount_fen = 60_01
    sums = await shop.refusal(record(shop, request))
    assert (sums.reason, sums.amounts) == ("ORDER_AMOUNTS_DIFFER", {"amount": 60_01, "sum": 60_00})
    fee = await shop.refusal(record(shop, record_request(shop, "T-1", share("A", 1, 2))))
    assert (fee.reason, fee.amounts) == ("FEE_EXCEEDS_AMOUNT", {"amount": 1, "fee": 2})
    mixed = record_request(shop, "T-1", share("A", 1, 0, "S1"), share("A", 1))
    assert (await shop.refusal(record(shop, mixed))).reason == "REQUEST_INVALID"
    assert shop.calls_received(ASK) == 0


async def test_a_frozen_share_takes_its_number_as_a_freeze_does(shop: Marketplace) -> None:
    await shop.merchant("A")
    await record(shop, await acquire(shop, share("A", 50_00, 0, "S1", credit=FROZEN)))
    taken = await shop.refusal(record(shop, record_request(shop, "S1", share("A", 1, credit=FROZEN))))
    assert taken.reason in ("ORDER_EXISTS", "ACQUIRED_ORDER_RECORDED")
    await shop.assert_agrees()


async def test_the_fee_of_a_frozen_share_stays_frozen_with_it_until_the_first_release(shop: Marketplace) -> None:
    await shop.merchant("A")
    await record(shop, await acquire(shop, share("A", 60_00, 1_00, "S1", credit=FROZEN)))
    assert (await shop.balance("A")).frozen_fen == 60_00
    assert (await totals(shop)).get(balance_pb2.ACCOUNT_KIND_FEE, 0) == 0
    await shop.assert_agrees()
    for fee_fen in (2_00, 50):
        other = await shop.refusal(shop.freezes.Release(release_request(shop, "S1", 60_00, fee_fen), timeout=TIMEOUT_S))
        assert (other.reason, other.outcome) == ("INTERFACE_NOT_ENABLED", core_pb2.OUTCOME_NO_EFFECT)
    too_little = await shop.refusal(shop.freezes.Release(release_request(shop, "S1", 99), timeout=TIMEOUT_S))
    assert too_little.reason == "REQUEST_INVALID"
    released = (await shop.freezes.Release(release_request(shop, "S1", 20_00), timeout=TIMEOUT_S)).operation
    assert (released.amount_fen, released.fee_fen) == (20_00, 1_00)
    assert (await shop.balance("A")).available_fen == 19_00
    # The order's fee is paid, and a release has none of its own.
    second = await shop.refusal(shop.freezes.Release(release_request(shop, "S1", 40_00, 1), timeout=TIMEOUT_S))
    assert second.reason == "INTERFACE_NOT_ENABLED"
    await shop.freezes.Release(release_request(shop, "S1", 40_00), timeout=TIMEOUT_S)
    balance = await shop.balance("A")
    assert (balance.available_fen, balance.frozen_fen) == (59_00, 0)
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 1_00
    order = (await shop.freezes.GetFreeze(freeze_pb2.GetFreezeRequest(order_no="S1"), timeout=TIMEOUT_S)).order
    assert (order.frozen_fen, order.released_fen, order.remaining_fen) == (60_00, 60_00, 0)
    await shop.assert_agrees()


async def test_the_fee_of_a_frozen_share_goes_with_its_payment_and_once_when_the_answer_is_lost(
    shop: Marketplace,
) -> None:
    await named(shop, "B")
    await shop.merchant("C")
    await record(shop, await acquire(shop, share("B", 60_00, 1_00, "S1", credit=FROZEN)))
    pay = freeze_pb2.PayFrozenRequest(
        request_id=shop.request_id(),
        order_no="S1",
        payees=[freeze_pb2.FrozenPayee(member_id="C", amount_fen=30_00)],
        remark="[[lose_after]]",
    )
    lost = await shop.refusal(shop.freezes.PayFrozen(pay, timeout=TIMEOUT_S))
    # Whether the fee has gone is not known: no other call may take it, or go without it.
    early = await shop.refusal(shop.freezes.Release(release_request(shop, "S1", 10_00), timeout=TIMEOUT_S))
    assert early.reason == "ORDER_INSUFFICIENT"
    paid = await shop.until_final(lost.operation.operation_id)
    assert (paid.state, paid.fee_fen) == (core_pb2.OPERATION_STATE_DONE, 1_00)
    await shop.freezes.Release(release_request(shop, "S1", 29_00), timeout=TIMEOUT_S)
    assert [(await shop.balance(one)).available_fen for one in "BC"] == [29_00, 30_00]
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 1_00
    await shop.assert_agrees()


async def test_what_an_order_has_frozen_is_released_and_paid_by_the_number_of_its_share(database: str) -> None:
    async with fee_taken(database, "at_entry") as shop:
        await released_and_paid_in_parts(shop)


async def released_and_paid_in_parts(shop: Marketplace) -> None:
    """A share whose fee was taken when it came, and a fee of the release's own."""
    await named(shop, "B")
    await shop.merchant("C")
    await record(shop, await acquire(shop, share("B", 60_00, 1_00, "S1", credit=FROZEN), share("C", 40_00, 0, "S2")))
    release = freeze_pb2.ReleaseRequest(request_id=shop.request_id(), order_no="S1", amount_fen=20_00, fee_fen=2_00)
    await shop.freezes.Release(release, timeout=TIMEOUT_S)
    pay = freeze_pb2.PayFrozenRequest(
        request_id=shop.request_id(),
        order_no="S1",
        payees=[freeze_pb2.FrozenPayee(member_id="C", amount_fen=30_00)],
    )
    await shop.freezes.PayFrozen(pay, timeout=TIMEOUT_S)
    left = (await shop.freezes.GetFreeze(freeze_pb2.GetFreezeRequest(order_no="S1"), timeout=TIMEOUT_S)).order
    assert (left.member_id, left.frozen_fen, left.released_fen, left.paid_fen) == ("B", 59_00, 20_00, 30_00)
    assert left.remaining_fen == 9_00
    assert [(await shop.balance(one)).available_fen for one in "BC"] == [18_00, 70_00]
    plain = await shop.refusal(shop.freezes.GetFreeze(freeze_pb2.GetFreezeRequest(order_no="S2"), timeout=TIMEOUT_S))
    assert plain.reason == "ORDER_NOT_FOUND"
    await shop.assert_agrees()


async def test_what_was_moved_while_frozen_is_released_to_the_right_member(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await shop.buyer("B")
    wrong = await sub_account(shop, "B")
    await record(shop, await acquire(shop, share("A", 60_00, 0, "S1", credit=FROZEN), booked_to=wrong))
    await shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S)
    release = freeze_pb2.ReleaseRequest(request_id=shop.request_id(), order_no="S1", amount_fen=60_00)
    await shop.freezes.Release(release, timeout=TIMEOUT_S)
    assert [(await shop.balance(one)).available_fen for one in "AB"] == [60_00, 0]
    await shop.assert_agrees()


async def test_frozen_money_that_is_being_moved_is_held_and_not_unknown(shop: Marketplace) -> None:
    await named(shop, "A", collects=True)
    await shop.buyer("B")
    wrong = await sub_account(shop, "B")
    await record(shop, await acquire(shop, share("A", 60_00, 0, "S1", credit=FROZEN), booked_to=wrong))
    shop.sandbox.faults.add("lose_after", service_id=REBOOK)
    lost = await shop.refusal(
        shop.acquiring.RebookOrder(rebook_request(shop, "S1", "A"), timeout=TIMEOUT_S),
    )
    found = await frozen_order(shop, "S1")
    assert (found.member_id, found.remaining_fen, found.held_fen) == ("B", 0, 60_00)
    await shop.until_final(lost.operation.operation_id)
    found = await frozen_order(shop, "S1")
    assert (found.member_id, found.remaining_fen, found.held_fen) == ("A", 60_00, 0)


async def test_a_freeze_is_released_and_paid_though_an_order_acquired_later_has_its_number(shop: Marketplace) -> None:
    await shop.buyer("B", 100_00)
    await shop.merchant("A")
    request = await acquire(shop, share("A", 60_00, 1_00))
    await shop.freezes.Freeze(freeze_request(shop, "B", 40_00, request.order_no), timeout=TIMEOUT_S)
    await record(shop, request)
    found = await frozen_order(shop, request.order_no)
    assert (found.member_id, found.frozen_fen, found.remaining_fen) == ("B", 40_00, 40_00)
    await shop.freezes.Release(release_request(shop, request.order_no, 30_00), timeout=TIMEOUT_S)
    await pay_frozen(shop, request.order_no, [("A", 10_00)])
    assert [(await shop.balance(one)).available_fen for one in "AB"] == [69_00, 90_00]
    await shop.assert_agrees()


async def test_a_dry_run_asks_nobody_and_records_nothing(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = record_request(shop, "T-1", share("A", 50_00))
    request.validate_only = True
    answer = await record(shop, request)
    assert (answer.operation.operation_id, list(answer.bookings)) == ("", [])
    assert shop.calls_received(ASK) == 0


async def test_the_banks_own_word_on_an_order_can_be_had(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = await acquire(shop, share("A", 50_00, 50), booked_to="parking")
    question = acquiring_pb2.GetBankOrderRequest(channel=CLOUD, order_no=request.order_no)
    found = await shop.acquiring.GetBankOrder(question, timeout=TIMEOUT_S)
    assert (found.state, found.amount_fen, found.fee_fen) == (acquiring_pb2.BANK_ORDER_STATE_BOOKED, 50_00, 50)
    assert (found.named_member_id, found.booked_member_id) == ("A", "")
    assert found.booked_sub_account == "9930000000000022"
    assert found.bank_day == str(shop.sandbox.clock.today())
    assert found.credit == acquiring_pb2.ORDER_CREDIT_AVAILABLE
    question.order_no = "T-9"
    unknown = await shop.refusal(shop.acquiring.GetBankOrder(question, timeout=TIMEOUT_S))
    assert (unknown.reason, unknown.code) == ("ACQUIRED_ORDER_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_killed_while_the_bank_fetches_the_order_another_process_enters_it_once(database: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await shop.merchant("A")
            request = await acquire(shop, share("A", 50_00, 50), missed=True)
        bank.faults.add("delay:5", code="6147")
        async with service_process(database, bank) as service:
            stub = acquiring_pb2_grpc.AcquiringServiceStub(service.channel)
            call = asyncio.ensure_future(stub.RecordOrder(request))
            await until(lambda: any(one.service_id == SUPPLY for one in bank.requests), "the bank is told to fetch")
            await until(lambda: bank.books.in_transit_days(), "the bank has booked the order")
            await service.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        await orphans_are_due(database)
        async with shop_on(database, bank) as shop:

            async def has_money() -> bool:
                return (await shop.balance("A")).available_fen == 49_50

            await until(has_money, "the resolver enters the order")
            assert shop.calls_received(SUPPLY) == 1
            await shop.assert_agrees()

"""A member is closed when nothing needs it any more, and never while something is being opened with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from unittest.mock import patch

import grpc
import pytest

from jzb.v1 import batch_pb2, batch_pb2_grpc, core_pb2, member_pb2, suspense_pb2, topup_pb2
from ledger import NewOperation, Step, StepOutcome
from service.bankday import bank_today
from service.process.server import running
from tests.sandbox.choices import BankChoices
from tests.world.acquiring import acquire, record, share
from tests.world.binding import OTHER_CARD, bound, unbind
from tests.world.freezes import freeze, release_request
from tests.world.marketplace import (
    TIMEOUT_S,
    Marketplace,
    Refusal,
    open_marketplace,
    service_settings,
)
from tests.world.orders import cancel, confirm, order, prepay, prepay_request
from tests.world.refunds import refund
from tests.world.suspense import clear, in_suspense
from tests.world.topups import split_request
from tests.world.withdrawals import withdraw, withdraw_request

DONE, RELEASED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_RELEASED
OPEN, CLOSED = member_pb2.MEMBER_STATE_OPEN, member_pb2.MEMBER_STATE_CLOSED
LINK: BankChoices = {"service_ids": {"6167": "LinkSameNameSubAccounts"}}
REFUNDED = {"close_while_refundable": True}


@pytest.fixture
async def market(database: str) -> AsyncIterator[Marketplace]:
    """A buyer with 100.00 that can be withdrawn, and two shops; what could be given back does not keep a member."""
    async with open_marketplace(database, rules=REFUNDED) as shop:
        await shop.buyer("buyer", 100_00, withdrawable=True)
        await shop.merchant("shoes")
        await shop.merchant("hats")
        yield shop


def closing(shop: Marketplace, member_id: str) -> member_pb2.CloseMemberRequest:
    return member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id=member_id)


async def close(shop: Marketplace, member_id: str) -> member_pb2.MemberState.ValueType:
    answer = await shop.members.CloseMember(closing(shop, member_id), timeout=TIMEOUT_S)
    state: member_pb2.MemberState.ValueType = answer.member.state
    return state


@contextmanager
def days_later(days: int, than: date | None = None) -> Iterator[None]:
    """Members are closed so many days later than today, or than another day."""
    day = (than or bank_today()) + timedelta(days=days)
    with patch("service.path.parties.days_now", lambda: (day, day)):
        yield


async def kept(shop: Marketplace, member_id: str, reason: str = "MEMBER_STILL_NEEDED") -> Refusal:
    """Why a member is not closed; nothing was recorded and the bank was not asked."""
    sent = len(shop.sandbox.requests)
    refusal = await shop.refusal(close(shop, member_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert not refusal.operation.operation_id
    assert len(shop.sandbox.requests) == sent
    return refusal


def told(refusal: Refusal, need: str) -> tuple[str, str, str]:
    """How many, how much in fen, and the first few of one kind of need."""
    assert need in refusal.metadata["needed_by"].split(",")
    count, fen, first = (refusal.metadata.get(f"{need}_{what}", "") for what in ("count", "fen", "first"))
    return count, fen, first


async def test_the_payee_of_a_prepaid_order_is_not_closed_until_the_order_is_ended(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "shoes", 40_00)
    refusal = await kept(market, "shoes")
    assert told(refusal, "to_collect") == ("1", "4000", order_no)
    assert refusal.message == (
        "MEMBER_STILL_NEEDED: member shoes is still needed:"
        f" 40.00 in escrow for orders that it is to collect ({order_no})"
    )
    assert refusal.amounts == {"to_collect": 40_00}
    # Confirmed in part, and the rest goes back: nothing is left in escrow for ever.
    await confirm(market, order_no, 15_00)
    assert told(await kept(market, "shoes", "MEMBER_NOT_EMPTY"), "to_collect") == ("1", "2500", order_no)
    await cancel(market, order_no, 25_00)
    await withdraw_all(market, "shoes")
    with days_later(10):
        assert await close(market, "shoes") == CLOSED
    await market.assert_agrees()


async def withdraw_all(shop: Marketplace, member_id: str) -> None:
    await shop.clear()
    fen = (await shop.balance(member_id)).withdrawable_fen
    if fen:
        taken = await withdraw(shop, member_id, fen)
        assert (await shop.until_final(taken.operation_id)).state == DONE


async def test_the_payee_of_orders_that_a_batch_prepaid_is_told_the_first_five_and_how_many(
    market: Marketplace,
) -> None:
    order_nos = [f"B{number}" for number in range(7)]
    batch = batch_pb2.BatchPrepayRequest(
        request_id=market.request_id(),
        payer_member_id="buyer",
        orders=[
            batch_pb2.OrderToPrepay(payee_member_id="shoes", order_no=order_no, amount_fen=1_00)
            for order_no in order_nos
        ],
    )
    await batch_pb2_grpc.BatchServiceStub(market.channel).BatchPrepay(batch, timeout=TIMEOUT_S)
    refusal = await kept(market, "shoes")
    assert told(refusal, "to_collect") == ("7", "700", "B0,B1,B2,B3,B4")
    assert "(B0, B1, B2, B3, B4 and 2 more)" in refusal.message
    assert await close(market, "hats") == CLOSED


async def test_a_member_with_money_in_any_pocket_is_told_of_each(market: Marketplace) -> None:
    frozen_no = await freeze(market, "buyer", 10_00)
    order_no = await prepay(market, "buyer", "shoes", 40_00)
    refusal = await kept(market, "buyer", "MEMBER_NOT_EMPTY")
    assert refusal.metadata["balance_fen"] == "10000"
    assert refusal.amounts == {"available": 50_00, "frozen": 10_00, "escrow": 40_00}
    assert told(refusal, "frozen") == ("1", "1000", frozen_no)
    assert told(refusal, "escrow") == ("1", "4000", order_no)
    await market.freezes.Release(release_request(market, frozen_no, 10_00), timeout=TIMEOUT_S)
    await cancel(market, order_no, 40_00)
    await withdraw_all(market, "buyer")
    with days_later(10):
        assert await close(market, "buyer") == CLOSED
    await market.assert_agrees()


async def lost_top_up(shop: Marketplace) -> Refusal:
    request = shop.top_up_request("shoes", 5_00, remark="[[lose_after]]")
    return await shop.refusal(shop.top_ups.TopUp(request, timeout=TIMEOUT_S))


async def lost_split(shop: Marketplace) -> Refusal:
    request: topup_pb2.SplitTopUpRequest = split_request(
        shop, ("hats", 1_00, 0), ("shoes", 5_00, 0), remark="[[lose_after]]"
    )
    return await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))


async def lost_payment(shop: Marketplace) -> Refusal:
    request = shop.pay_request("buyer", "shoes", 5_00, remark="[[lose_after]]")
    return await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))


async def lost_prepayment(shop: Marketplace) -> Refusal:
    request = prepay_request(shop, "buyer", "shoes", "O-lost", 5_00, remark="[[lose_after]]")
    return await shop.refusal(shop.payments.PrepayOrder(request, timeout=TIMEOUT_S))


@pytest.mark.parametrize("lost", [lost_top_up, lost_split, lost_payment, lost_prepayment])
async def test_a_member_that_an_operation_in_doubt_names_is_not_closed(
    market: Marketplace, lost: Callable[[Marketplace], Coroutine[Any, Any, Refusal]]
) -> None:
    in_doubt = (await lost(market)).operation
    count, _, first = told(await kept(market, "shoes"), "under_way")
    assert (count, first) == ("1", in_doubt.operation_id)
    assert (await market.until_final(in_doubt.operation_id)).state == DONE
    # Now the money itself stands in the way, or the order.
    assert (await market.refusal(close(market, "shoes"))).reason in ("MEMBER_NOT_EMPTY", "MEMBER_STILL_NEEDED")


async def test_a_withdrawal_keeps_its_member_until_it_can_no_longer_come_back(market: Marketplace) -> None:
    accepted = await withdraw(market, "buyer", 100_00)
    assert told(await kept(market, "buyer"), "under_way")[2] == accepted.operation_id
    assert (await market.until_final(accepted.operation_id)).state == DONE
    # It is asked for three days long whether a withdrawal came back (`returns.days`).
    booked = date.fromisoformat((await market.operation(accepted.operation_id)).bank_day)
    with days_later(3, booked):
        assert told(await kept(market, "buyer"), "may_return") == ("1", "10000", accepted.serial)
    with days_later(4, booked):
        assert await close(market, "buyer") == CLOSED
    await market.assert_agrees()


async def test_what_can_still_be_given_back_keeps_both_sides_unless_a_rule_lets_them_go(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("shoes")
        payment = await shop.pay("buyer", "shoes", 100_00)
        buyer = await kept(shop, "buyer")
        assert told(buyer, "refundable") == ("1", "10000", payment.serial)
        assert told(buyer, "revocable")[:2] == ("1", "10000")
        assert told(await kept(shop, "shoes", "MEMBER_NOT_EMPTY"), "refundable") == ("1", "10000", payment.serial)
        await refund(shop, payment.serial, 100_00)
        assert "refundable" not in (await kept(shop, "buyer", "MEMBER_NOT_EMPTY")).metadata["needed_by"]
        # Whole, the payment no longer needs the payee.
        assert await close(shop, "shoes") == CLOSED


async def test_what_can_no_longer_be_refunded_keeps_nobody(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("shoes")
        await shop.pay("buyer", "shoes", 100_00)
        with days_later(30):
            assert "refundable" in (await kept(shop, "buyer")).metadata["needed_by"]
        # The bank may be on the day before, on which it still gives the payment back.
        last = bank_today() + timedelta(days=30)
        with patch("service.path.parties.days_now", lambda: (last, last + timedelta(days=1))):
            assert "refundable" in (await kept(shop, "buyer")).metadata["needed_by"]
        with days_later(31):
            assert await close(shop, "buyer") == CLOSED


async def test_money_that_the_bank_has_parked_keeps_the_member_that_it_is_for(market: Marketplace) -> None:
    request = await acquire(market, share("shoes", 60_00, 1_00), paid_for="9930000000009999")
    await record(market, request)
    assert told(await kept(market, "shoes"), "parked") == ("1", "6000", request.order_no)


async def test_money_of_suspense_that_can_be_put_back_keeps_its_member(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer")
        (transfer,) = await in_suspense(shop, 30_00)
        cleared = await clear(shop, transfer, "buyer", 30_00)
        refusal = await kept(shop, "buyer", "MEMBER_NOT_EMPTY")
        assert told(refusal, "undoable") == ("1", "3000", cleared.serial)
        undo = suspense_pb2.ReverseSuspenseAllocationRequest(
            request_id=shop.request_id(), allocation_serial=cleared.serial, amount_fen=30_00
        )
        await shop.suspense.ReverseSuspenseAllocation(undo, timeout=TIMEOUT_S)
        assert await close(shop, "buyer") == CLOSED


@contextmanager
def before(shop: Marketplace, kind: str, act: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Between the moment an operation of this kind has read its facts and the one it is reserved, something happens."""
    writer = shop.service.components.writer
    submit = writer.submit
    happened = False

    async def submitted(step: Step) -> StepOutcome:
        nonlocal happened
        if isinstance(step.operation, NewOperation) and step.operation.kind == kind and not happened:
            happened = True
            await act()
        return await submit(step)

    with patch.object(writer, "submit", submitted):
        yield
    assert happened


async def test_an_order_that_comes_between_the_look_and_the_closing_stops_the_closing(market: Marketplace) -> None:
    async def prepaid() -> None:
        await market.payments.PrepayOrder(prepay_request(market, "buyer", "shoes", "O-race", 40_00), timeout=TIMEOUT_S)

    request = closing(market, "shoes")
    sent = market.calls_received("OpenCustAcctId")
    with before(market, "CLOSE_MEMBER", prepaid):
        refusal = await market.refusal(market.members.CloseMember(request, timeout=TIMEOUT_S))
    assert refusal.reason == "MEMBER_STILL_NEEDED"
    assert told(refusal, "to_collect") == ("1", "4000", "O-race")
    assert refusal.operation.state == RELEASED
    assert market.calls_received("OpenCustAcctId") == sent
    # The same request says the same, and closes the member once nothing needs it.
    refusal = await market.refusal(market.members.CloseMember(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.operation.state) == ("MEMBER_STILL_NEEDED", RELEASED)
    await cancel(market, "O-race", 40_00)
    assert (await market.members.CloseMember(request, timeout=TIMEOUT_S)).member.state == CLOSED
    await market.assert_agrees()


async def test_an_order_that_was_planned_before_its_payee_was_closed_is_refused(market: Marketplace) -> None:
    async def closed() -> None:
        assert await close(market, "shoes") == CLOSED

    request = prepay_request(market, "buyer", "shoes", "O-race", 40_00)
    sent = market.calls_received("MembershipTrancheFreeze")
    with before(market, "PREPAY_ORDER", closed):
        refusal = await market.refusal(market.payments.PrepayOrder(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_CLOSING")
    assert (refusal.metadata["member_id"], refusal.outcome) == ("shoes", core_pb2.OUTCOME_NO_EFFECT)
    assert market.calls_received("MembershipTrancheFreeze") == sent
    assert (await market.refusal(order(market, "O-race"))).reason == "ORDER_NOT_FOUND"
    assert (await market.balance("buyer")).available_fen == 100_00
    await market.assert_agrees()


async def test_nothing_is_opened_with_a_member_whose_closing_is_in_doubt(market: Marketplace) -> None:
    market.sandbox.faults.add("lose_before", code="6000")
    lost = await market.refusal(close(market, "shoes"))
    assert lost.reason == "BANK_OUTCOME_UNKNOWN"
    batch = batch_pb2.BatchPrepayRequest(
        request_id=market.request_id(),
        payer_member_id="buyer",
        orders=[
            batch_pb2.OrderToPrepay(payee_member_id=name, order_no=market.order_no(), amount_fen=1_00)
            for name in ("hats", "shoes")
        ],
    )
    calls: list[Awaitable[object]] = [
        market.top_up("shoes", 1_00),
        market.pay("buyer", "shoes", 1_00),
        prepay(market, "buyer", "shoes", 1_00),
        batch_pb2_grpc.BatchServiceStub(market.channel).BatchPrepay(batch, timeout=TIMEOUT_S),
        market.top_ups.SplitTopUp(split_request(market, ("hats", 1_00, 0), ("shoes", 1_00, 1_00)), timeout=TIMEOUT_S),
    ]
    for call in calls:
        refusal = await market.refusal(call)
        assert (refusal.reason, refusal.metadata["member_id"]) == ("MEMBER_CLOSING", "shoes")
        assert refusal.metadata["used_by_operation_id"] == lost.operation.operation_id
        assert refusal.metadata["used_by_state"] == "UNKNOWN"
    second = await market.refusal(close(market, "shoes"))
    assert told(second, "under_way")[2] == lost.operation.operation_id
    # The bank never heard of it: the member is open as before.
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    await market.pay("buyer", "shoes", 1_00)
    await market.assert_agrees()


async def test_what_a_second_process_opens_and_what_the_first_closes_never_both_go_ahead(database: str) -> None:
    async with open_marketplace(database, rules=REFUNDED) as shop:
        await shop.buyer("buyer", 100_00)
        async with (
            running(service_settings(database, shop.sandbox, rules=REFUNDED)) as other,
            grpc.aio.insecure_channel(f"127.0.0.1:{other.port}") as channel,
        ):
            second = Marketplace(database, shop.sandbox, other, channel)
            for number in range(6):
                payee = await shop.merchant(f"shop_{number}")
                calls = [
                    second.payments.PrepayOrder(
                        prepay_request(shop, "buyer", payee, f"O{number}-{each}", 1_00), timeout=TIMEOUT_S
                    )
                    for each in range(3)
                ]
                close_it = shop.members.CloseMember(closing(shop, payee), timeout=TIMEOUT_S)
                closed, *prepaid = await asyncio.gather(close_it, *calls, return_exceptions=True)
                is_closed = not isinstance(closed, BaseException)
                assert is_closed != any(not isinstance(one, BaseException) for one in prepaid)
                got = await shop.members.GetMember(member_pb2.GetMemberRequest(member_id=payee), timeout=TIMEOUT_S)
                assert got.member.state == (CLOSED if is_closed else OPEN)
        await shop.assert_agrees()


async def test_a_card_is_not_unbound_while_a_withdrawal_to_it_is_under_way(database: str) -> None:
    async with open_marketplace(database, rules=REFUNDED) as shop:
        await shop.buyer("buyer", 100_00, withdrawable=True)
        card, other = await bound(shop, "buyer"), await bound(shop, "buyer", OTHER_CARD)
        request = withdraw_request(shop, "buyer", 40_00)
        request.ClearField("card_number")
        request.ClearField("card_holder_name")
        request.card_id = card.card_id
        accepted = (await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)).operation
        sent = shop.calls_received("UnbindRelateAcct")
        refusal = await shop.refusal(unbind(shop, card))
        assert (refusal.reason, refusal.metadata["under_way_first"]) == ("MEMBER_STILL_NEEDED", accepted.operation_id)
        assert shop.calls_received("UnbindRelateAcct") == sent
        assert (await shop.until_final(accepted.operation_id)).state == DONE
        # One that names its card by number may be to any of them.
        by_number = await withdraw(shop, "buyer", 10_00)
        refusal = await shop.refusal(unbind(shop, other))
        assert (refusal.reason, refusal.metadata["under_way_first"]) == ("MEMBER_STILL_NEEDED", by_number.operation_id)
        assert (await shop.until_final(by_number.operation_id)).state == DONE
        await unbind(shop, other)
        assert told(await kept(shop, "buyer", "MEMBER_NOT_EMPTY"), "card") == ("1", "0", card.card_id)


async def test_a_member_that_is_being_opened_is_not_linked_meanwhile(database: str) -> None:
    async with open_marketplace(database, LINK, bank=LINK) as shop:
        request = member_pb2.OpenMemberRequest(
            request_id=shop.request_id(), member_id="private", property=member_pb2.MEMBER_PROPERTY_ORDINARY
        )
        shop.sandbox.faults.add("lose_after", code="6000")
        lost = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
        link = member_pb2.LinkSameNameRequest(
            request_id=shop.request_id(), ordinary_member_id="private", merchant_member_id="trade"
        )
        refusal = await shop.refusal(shop.members.LinkSameName(link, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.metadata["member_id"]) == ("MEMBER_STILL_NEEDED", "private")
        assert refusal.metadata["under_way_first"] == lost.operation.operation_id
        assert (await shop.until_final(lost.operation.operation_id)).state == DONE
        assert (await shop.members.LinkSameName(link, timeout=TIMEOUT_S)).operation.state == DONE

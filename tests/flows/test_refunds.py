"""Refunds of completed payments (6164 sources 1, 2 and 6), seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from jzb.v1 import core_pb2, payment_pb2, refund_pb2
from sandbox.clock import BankClock
from tests.world.freezes import freeze, pay_frozen
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import confirm, prepay
from tests.world.refunds import refund, refund_request, refundable


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    """A buyer with 100.00 and a seller."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return shop


@asynccontextmanager
async def bank_of_days_ago(database: str, days: int, window_days: int = 30) -> AsyncIterator[Marketplace]:
    """A marketplace whose bank is ``days`` behind us; `bank.move_clock` brings it to today."""
    async with open_marketplace(
        database,
        {"refund_window_days": window_days, "clear_same_day": False},
        clock=BankClock(lambda: datetime.now(UTC) - timedelta(days=days)),
        rules={"refund_window_days": window_days},
    ) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        yield shop


async def test_a_part_of_a_payment_goes_back_with_its_share_of_the_fee(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    own_funds_fen = market.sandbox.books.functional_fen("10")
    operation = await refund(market, payment.serial, 50_00, 5_00)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (operation.payer_member_id, operation.payee_member_id) == ("seller", "buyer")
    # The seller gives what is not fee, the platform's own funds the fee (quick start, 6164).
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.uncleared_fen) == (50_00, 50_00)
    assert (await market.balance("seller")).available_fen == 45_00
    assert own_funds_fen - market.sandbox.books.functional_fen("10") == 5_00
    assert market.sandbox.books.functional_fen("3") == 10_00
    await market.assert_agrees()


async def test_a_confirmed_order_is_refunded_whole(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    payment = await confirm(market, order_no, 40_00, 4_00)
    await refund(market, payment.serial, 40_00, 4_00)
    assert (await market.balance("buyer")).available_fen == 100_00
    assert (await market.balance("seller")).available_fen == 0
    found = await refundable(market, payment.serial)
    assert (found.amount_fen, found.remaining_fen, found.remaining_fee_fen) == (40_00, 0, 0)
    assert (found.payer_member_id, found.payee_member_id, found.order_no) == ("buyer", "seller", order_no)
    await market.assert_agrees()


async def test_each_part_of_an_order_that_was_confirmed_in_parts_has_its_own_limit(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    first, second = await confirm(market, order_no, 30_00), await confirm(market, order_no, 10_00)
    refusal = await market.refusal(refund(market, second.serial, 10_01))
    assert (refusal.reason, refusal.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 10_01, "left": 10_00})
    await refund(market, first.serial, 30_00)
    await refund(market, second.serial, 10_00)
    assert (await market.balance("buyer")).available_fen == 100_00
    await market.assert_agrees()


async def test_a_t0_payment_is_refunded_like_a_t1_payment(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, settlement=payment_pb2.SETTLEMENT_T0)
    payment = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
    await refund(shop, payment.serial, 30_00)
    buyer = await shop.balance("buyer")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen) == (70_00, 30_00)
    await shop.assert_agrees()


async def test_one_row_of_a_frozen_payment_is_refunded_a_call(market: Marketplace) -> None:
    await market.merchant("other")
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("seller", 50_00), ("other", 30_00)], fee_fen=8_00)
    row = next(part for part in operation.parts if part.payee_member_id == "other")
    await refund(market, row.serial, 20_00)
    assert (await market.balance("other")).available_fen == 10_00
    assert (await market.balance("seller")).available_fen == 50_00
    assert (await market.balance("buyer")).available_fen == 20_00
    refusal = await market.refusal(refund(market, row.serial, 10_01))
    assert (refusal.reason, refusal.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 10_01, "left": 10_00})
    await market.assert_agrees()


async def test_the_fee_of_a_frozen_payment_is_refunded_by_itself_out_of_the_fee_account(market: Marketplace) -> None:
    # Quick start, 6164 branch 6: the amount to give back of the fee stands in ReturnAmt, ReturnCommission is 0.
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("seller", 50_00)], fee_fen=8_00)
    own_funds_fen = market.sandbox.books.functional_fen("10")
    await refund(market, operation.serial, 5_00)
    assert market.sandbox.books.functional_fen("3") == 3_00
    assert market.sandbox.books.functional_fen("10") == own_funds_fen
    assert (await market.balance("buyer")).available_fen == 5_00
    assert (await market.balance("seller")).available_fen == 50_00
    refusal = await market.refusal(refund(market, operation.serial, 3_01))
    assert (refusal.reason, refusal.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 3_01, "left": 3_00})
    await market.assert_agrees()


async def test_a_row_of_a_frozen_payment_has_no_fee_to_refund(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("seller", 50_00)], fee_fen=8_00)
    for serial in (operation.parts[0].serial, operation.serial):
        refusal = await market.refusal(refund(market, serial, 5_00, 1))
        assert (refusal.reason, refusal.amounts) == ("FEE_REFUND_EXCEEDS_FEE", {"needed": 1, "left": 0})
        assert not refusal.operation.operation_id
        assert refusal.next_step.endswith("; the request id is not used up")
    assert market.calls_received("MemberTransactionRefund") == 0
    await market.assert_agrees()


async def test_amount_and_fee_are_limited_apart(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    await refund(market, payment.serial, 30_00, 8_00)
    fee = await market.refusal(refund(market, payment.serial, 30_00, 2_01))
    assert (fee.code, fee.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEE_REFUND_EXCEEDS_FEE")
    assert fee.amounts == {"needed": 2_01, "left": 2_00}
    assert fee.operation.state == core_pb2.OPERATION_STATE_REFUSED
    assert fee.next_step.endswith("; use a new request id")
    amount = await market.refusal(refund(market, payment.serial, 70_01, 0))
    assert (amount.code, amount.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_EXCEEDS_PAYMENT")
    assert amount.amounts == {"needed": 70_01, "left": 70_00}
    assert amount.metadata["payment_serial"] == payment.serial
    above = await market.refusal(refund(market, payment.serial, 1_00, 1_01))
    assert (above.code, above.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEE_EXCEEDS_AMOUNT")
    await market.assert_agrees()


async def test_a_refund_of_the_fee_alone_takes_nothing_from_the_seller(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    await refund(market, payment.serial, 10_00, 10_00)
    assert (await market.balance("seller")).available_fen == 90_00
    assert (await market.balance("buyer")).available_fen == 10_00
    await market.assert_agrees()


async def test_concurrent_refunds_of_the_amount_together_never_exceed_the_payment(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00)
    results = await asyncio.gather(*(refund(market, payment.serial, 30_00) for _ in range(10)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 3
    found = await refundable(market, payment.serial)
    assert (found.remaining_fen, found.held_fen) == (10_00, 0)
    assert (await market.balance("buyer")).available_fen == 90_00
    await market.assert_agrees()


async def test_concurrent_refunds_of_the_fee_together_never_exceed_the_fee(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    results = await asyncio.gather(
        *(refund(market, payment.serial, 10_00, 4_00) for _ in range(5)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 2
    found = await refundable(market, payment.serial)
    assert (found.remaining_fen, found.remaining_fee_fen) == (80_00, 2_00)
    await market.assert_agrees()


async def test_second_refund_cannot_exceed_what_is_left_while_the_first_is_pending(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    request = refund_request(market, payment.serial, 60_00, 8_00, remark="[[lose_after]]")
    lost = await market.refusal(market.refunds.Refund(request, timeout=TIMEOUT_S))
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    found = await refundable(market, payment.serial)
    assert (found.remaining_fen, found.remaining_fee_fen) == (40_00, 2_00)
    assert (found.held_fen, found.held_fee_fen) == (60_00, 8_00)
    assert [part.serial for part in found.held_parts] == [lost.operation.serial]
    amount = await market.refusal(refund(market, payment.serial, 40_01))
    assert (amount.reason, amount.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 40_01, "left": 40_00})
    fee = await market.refusal(refund(market, payment.serial, 30_00, 2_01))
    assert (fee.reason, fee.amounts) == ("FEE_REFUND_EXCEEDS_FEE", {"needed": 2_01, "left": 2_00})
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await market.balance("buyer")).available_fen == 60_00
    await market.assert_agrees()


async def test_a_pending_refund_that_never_happened_gives_its_limits_back(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00, 10_00)
    request = refund_request(market, payment.serial, 60_00, 8_00, remark="[[lose_before]]")
    lost = await market.refusal(market.refunds.Refund(request, timeout=TIMEOUT_S))
    assert (await refundable(market, payment.serial)).remaining_fen == 40_00
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    found = await refundable(market, payment.serial)
    assert (found.remaining_fen, found.remaining_fee_fen, found.held_fen) == (100_00, 10_00, 0)
    await refund(market, payment.serial, 100_00, 10_00)
    await market.assert_agrees()


async def test_a_row_of_a_frozen_payment_whose_refund_answer_is_lost_is_refunded_once(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("seller", 50_00)], fee_fen=8_00)
    losts = []
    for serial, fen in ((operation.parts[0].serial, 50_00), (operation.serial, 8_00)):
        request = refund_request(market, serial, fen, remark="[[lose_after]]")
        losts.append(await market.refusal(market.refunds.Refund(request, timeout=TIMEOUT_S)))
    for lost in losts:
        assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.frozen_fen) == (58_00, 42_00)
    await market.assert_agrees()


async def test_a_seller_who_has_spent_the_money_cannot_refund_it(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    payment = await shop.pay("buyer", "seller", 100_00, 10_00)
    await freeze(shop, "seller", 60_00)
    refusal = await shop.refusal(refund(shop, payment.serial, 50_00, 5_00))
    assert (refusal.reason, refusal.amounts) == ("INSUFFICIENT_FUNDS", {"needed": 45_00, "left": 30_00})
    assert refusal.metadata["member_id"] == "seller"
    assert (await refundable(shop, payment.serial)).remaining_fen == 100_00
    await shop.assert_agrees()


async def test_a_fee_cannot_be_refunded_beyond_the_platforms_own_funds(database: str) -> None:
    async with open_marketplace(database, {"own_funds_fen": 4_00}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        payment = await shop.pay("buyer", "seller", 100_00, 10_00)
        refusal = await shop.refusal(refund(shop, payment.serial, 50_00, 5_00))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ADVANCE_INSUFFICIENT")
        assert refusal.amounts == {"needed": 5_00, "left": 4_00}
        await refund(shop, payment.serial, 50_00, 4_00)
        assert shop.sandbox.books.functional_fen("10") == 0
        await shop.assert_agrees()


async def test_a_payment_of_31_days_ago_is_past_its_window_and_one_of_30_days_is_not(database: str) -> None:
    async with bank_of_days_ago(database, 31) as shop:
        old = await shop.pay("buyer", "seller", 10_00)
        shop.sandbox.bank.move_clock(1)
        young = await shop.pay("buyer", "seller", 10_00)
        shop.sandbox.bank.move_clock(30)
        refusal = await shop.refusal(refund(shop, old.serial, 1_00))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_WINDOW_CLOSED")
        assert refusal.metadata["window_days"] == "30"
        assert refusal.metadata["bank_day"] == old.bank_day
        assert shop.calls_received("MemberTransactionRefund") == 0
        await refund(shop, young.serial, 1_00)
        today = datetime.now(UTC) + timedelta(hours=8)
        assert (await refundable(shop, young.serial)).last_refund_day == f"{today:%Y-%m-%d}"
        assert (await shop.balance("buyer")).available_fen == 81_00


async def test_past_three_months_the_original_day_goes_with_the_refund(database: str) -> None:
    # The sandbox refuses such a refund without its ReservedMsg (quick start, 6164).
    async with bank_of_days_ago(database, 100, window_days=180) as shop:
        payment = await shop.pay("buyer", "seller", 10_00, 1_00)
        shop.sandbox.bank.move_clock(100)
        assert (await refund(shop, payment.serial, 10_00, 1_00)).state == core_pb2.OPERATION_STATE_DONE
        assert (await shop.balance("buyer")).available_fen == 100_00


async def test_only_completed_payments_can_be_refunded(market: Marketplace) -> None:
    top_up = await market.top_up("seller", 10_00)
    unknown = await market.refusal(
        market.payments.Pay(market.pay_request("buyer", "seller", 10_00, remark="[[lose_before]]"), timeout=TIMEOUT_S)
    )
    order_no = await prepay(market, "buyer", "seller", 10_00)
    paid = await confirm(market, order_no, 10_00)
    back = await refund(market, paid.serial, 1_00)
    for serial in ("X285509999999999999999", top_up.serial, back.serial):
        for call in (refund(market, serial, 1_00), refundable(market, serial)):
            refusal = await market.refusal(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "PAYMENT_NOT_FOUND")
    in_doubt = await market.refusal(refund(market, unknown.operation.serial, 1_00))
    assert (in_doubt.reason, in_doubt.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 1_00, "left": 0})
    await market.until_final(unknown.operation.operation_id)
    gone = await market.refusal(refund(market, unknown.operation.serial, 1_00))
    assert gone.reason == "PAYMENT_NOT_FOUND"
    await market.assert_agrees()


async def test_the_same_refund_sent_twenty_times_at_once_acts_once(market: Marketplace) -> None:
    payment = await market.pay("buyer", "seller", 100_00)
    request = refund_request(market, payment.serial, 5_00)
    answers: list[Any] = await asyncio.gather(*(market.refunds.Refund(request, timeout=TIMEOUT_S) for _ in range(20)))
    assert len({answer.operation.operation_id for answer in answers}) == 1
    assert (await refundable(market, payment.serial)).remaining_fen == 95_00
    assert (await market.balance("buyer")).available_fen == 5_00
    await market.assert_agrees()


async def test_the_refunds_of_a_payment_are_listed_newest_first_page_by_page(shop: Marketplace) -> None:
    await shop.buyer("buyer", 300_00)
    await shop.merchant("seller")
    first, other = await shop.pay("buyer", "seller", 100_00), await shop.pay("buyer", "seller", 100_00)
    done = [await refund(shop, first.serial, fen) for fen in (1_00, 2_00, 3_00)]
    await refund(shop, other.serial, 50_00)
    lost = refund_request(shop, first.serial, 4_00, remark="[[lose_before]]")
    in_doubt = (await shop.refusal(shop.refunds.Refund(lost, timeout=TIMEOUT_S))).operation
    found: list[core_pb2.Operation] = []
    token = ""
    while True:
        request = refund_pb2.ListRefundsRequest(payment_serial=first.serial, page_size=3, page_token=token)
        page = await shop.refunds.ListRefunds(request, timeout=TIMEOUT_S)
        assert len(page.refunds) <= 3
        found += page.refunds
        if not (token := page.next_page_token):
            break
    expected = [in_doubt, *reversed(done)]
    assert [one.operation_id for one in found] == [one.operation_id for one in expected]
    assert {one.original_serial for one in found} == {first.serial}
    nothing = refund_pb2.ListRefundsRequest(payment_serial="0000")
    refusal = await shop.refusal(shop.refunds.ListRefunds(nothing, timeout=TIMEOUT_S))
    assert refusal.reason == "PAYMENT_NOT_FOUND"
    wrong = refund_pb2.ListRefundsRequest(payment_serial=first.serial, page_token="x")
    assert (await shop.refusal(shop.refunds.ListRefunds(wrong, timeout=TIMEOUT_S))).reason == "PAGE_TOKEN_INVALID"

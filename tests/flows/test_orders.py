"""Orders through escrow (6034 flags 1, 2, 3), seen from outside."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from jzb.v1 import core_pb2
from tests.world.freezes import freeze
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import cancel, cancel_request, confirm, confirm_request, order, prepay, prepay_request


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    """A buyer with 100.00 and a seller."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return shop


async def test_a_prepaid_order_leaves_available_and_stands_in_escrow(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.escrow_fen, buyer.frozen_fen, buyer.held_fen) == (60_00, 40_00, 0, 0)
    assert (await market.balance("seller")).available_fen == 0
    found = await order(market, order_no)
    assert (found.prepaid_fen, found.remaining_fen) == (40_00, 40_00)
    assert (found.payer_member_id, found.payee_member_id) == ("buyer", "seller")
    await market.assert_agrees()


async def test_a_confirmed_order_pays_90_to_the_seller_and_10_to_the_platform(market: Marketplace) -> None:
    # Quick start, 6034: of 100 with fee 10 the payee gets 90.
    order_no = await prepay(market, "buyer", "seller", 100_00)
    operation = await confirm(market, order_no, 100_00, 10_00)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    seller = await market.balance("seller")
    assert (seller.available_fen, seller.withdrawable_fen) == (90_00, 0)
    assert market.sandbox.books.functional_fen("3") == 10_00
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.escrow_fen) == (0, 0)
    await market.assert_agrees()


async def test_an_order_is_confirmed_and_cancelled_in_parts_until_nothing_is_left(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    await confirm(market, order_no, 25_00, 2_50)
    await cancel(market, order_no, 10_00)
    await confirm(market, order_no, 5_00)
    found = await order(market, order_no)
    assert (found.prepaid_fen, found.confirmed_fen, found.cancelled_fen) == (40_00, 30_00, 10_00)
    assert (found.remaining_fen, found.held_fen) == (0, 0)
    assert (await market.balance("buyer")).available_fen == 70_00
    assert (await market.balance("seller")).available_fen == 27_50
    refusal = await market.refusal(confirm(market, order_no, 1))
    assert refusal.amounts == {"needed": 1, "left": 0}
    await market.assert_agrees()


async def test_a_cancelled_order_gives_the_buyer_back_everything(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    operation = await cancel(market, order_no, 40_00)
    # Quick start, 6034 flag 3: payer and payee keep their places.
    assert (operation.payer_member_id, operation.payee_member_id) == ("buyer", "seller")
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.escrow_fen) == (100_00, 0)
    await market.assert_agrees()


async def test_confirm_after_cancel_finds_nothing_left(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    await cancel(market, order_no, 40_00)
    sent = market.calls_received("MemberTransaction")
    refusal = await market.refusal(confirm(market, order_no, 40_00))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ORDER_INSUFFICIENT")
    assert refusal.amounts == {"needed": 40_00, "left": 0}
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert market.calls_received("MemberTransaction") == sent
    await market.assert_agrees()


async def test_cancel_after_confirm_finds_nothing_left(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    await confirm(market, order_no, 40_00)
    refusal = await market.refusal(cancel(market, order_no, 40_00))
    assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 40_00, "left": 0})
    assert (await market.balance("seller")).available_fen == 40_00
    await market.assert_agrees()


async def test_a_confirm_of_more_than_is_left_names_what_is_left(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    await confirm(market, order_no, 30_00)
    refusal = await market.refusal(confirm(market, order_no, 10_01))
    assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 10_01, "left": 10_00})
    assert (await order(market, order_no)).remaining_fen == 10_00
    await market.assert_agrees()


async def test_confirm_and_cancel_at_once_give_the_money_to_one_side_only(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    results = await asyncio.gather(
        confirm(market, order_no, 40_00), cancel(market, order_no, 40_00), return_exceptions=True
    )
    assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 1
    buyer, seller = await market.balance("buyer"), await market.balance("seller")
    assert sorted([buyer.available_fen - 60_00, seller.available_fen]) == [0, 40_00]
    await market.assert_agrees()


async def test_a_confirm_in_doubt_keeps_a_second_one_out(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    lost = await market.refusal(
        market.payments.ConfirmOrder(
            confirm_request(market, order_no, 40_00, 4_00, remark="[[lose_after]]"), timeout=TIMEOUT_S
        )
    )
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    found = await order(market, order_no)
    assert (found.remaining_fen, found.held_fen) == (0, 40_00)
    refusal = await market.refusal(confirm(market, order_no, 40_00))
    assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 40_00, "left": 0})
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await market.balance("seller")).available_fen == 36_00
    await market.assert_agrees()


@pytest.mark.parametrize("step", ["prepay", "cancel"])
async def test_a_lost_answer_is_unknown_then_done_and_equal(market: Marketplace, step: str) -> None:
    if step == "prepay":
        request = prepay_request(market, "buyer", "seller", market.order_no(), 40_00, remark="[[lose_after]]")
        lost = await market.refusal(market.payments.PrepayOrder(request, timeout=TIMEOUT_S))
        during, after = (60_00, 40_00, 0), (60_00, 0, 40_00)
    else:
        order_no = await prepay(market, "buyer", "seller", 40_00)
        again = cancel_request(market, order_no, 40_00, remark="[[lose_after]]")
        lost = await market.refusal(market.payments.CancelOrder(again, timeout=TIMEOUT_S))
        during, after = (60_00, 40_00, 0), (100_00, 0, 0)
    assert lost.reason == "BANK_OUTCOME_UNKNOWN"
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen, buyer.escrow_fen) == during
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen, buyer.escrow_fen) == after
    await market.assert_agrees()


async def test_an_order_number_is_used_once_by_orders_and_freezes_alike(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 10_00)
    request = prepay_request(market, "buyer", "seller", order_no, 10_00)
    refusal = await market.refusal(market.payments.PrepayOrder(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ORDER_EXISTS")
    frozen_no = await freeze(market, "buyer", 10_00)
    request = prepay_request(market, "buyer", "seller", frozen_no, 10_00)
    assert (await market.refusal(market.payments.PrepayOrder(request, timeout=TIMEOUT_S))).reason == "ORDER_EXISTS"
    assert (await market.balance("buyer")).available_fen == 80_00
    await market.assert_agrees()


async def test_an_order_number_is_free_again_when_the_bank_has_refused_the_order(market: Marketplace) -> None:
    order_no = market.order_no()
    refused = prepay_request(market, "buyer", "seller", order_no, 10_00, remark="[[refuse:ERR044]]")
    assert (await market.refusal(market.payments.PrepayOrder(refused, timeout=TIMEOUT_S))).reason == "BANK_REFUSED"
    again = prepay_request(market, "buyer", "seller", order_no, 10_00)
    answer = await market.payments.PrepayOrder(again, timeout=TIMEOUT_S)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    await market.assert_agrees()


async def test_an_order_nobody_has_prepaid_is_not_found(market: Marketplace) -> None:
    calls = [confirm(market, "O-none", 1), cancel(market, "O-none", 1), order(market, "O-none")]
    for call in calls:
        refusal = await market.refusal(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
    frozen_no = await freeze(market, "buyer", 10_00)
    assert (await market.refusal(confirm(market, frozen_no, 10_00))).reason == "ORDER_NOT_FOUND"
    assert (await market.refusal(order(market, frozen_no))).reason == "ORDER_NOT_FOUND"


async def test_a_prepayment_beyond_what_is_available_is_refused_with_both_amounts(market: Marketplace) -> None:
    await prepay(market, "buyer", "seller", 70_00)
    refusal = await market.refusal(prepay(market, "buyer", "seller", 30_01))
    assert (refusal.reason, refusal.amounts) == ("INSUFFICIENT_FUNDS", {"needed": 30_01, "left": 30_00})
    await market.assert_agrees()


async def test_a_confirm_takes_no_fee_above_its_amount(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "seller", 40_00)
    refusal = await market.refusal(confirm(market, order_no, 10_00, 10_01))
    assert (refusal.reason, refusal.amounts) == ("FEE_EXCEEDS_AMOUNT", {"amount": 10_00, "fee": 10_01})
    assert (await order(market, order_no)).remaining_fen == 40_00


async def test_money_in_escrow_at_clearing_stays_there_and_comes_back_waiting(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        order_no = await prepay(shop, "buyer", "seller", 40_00)
        await shop.clear()
        buyer = await shop.balance("buyer")
        assert (buyer.withdrawable_fen, buyer.uncleared_fen, buyer.escrow_fen) == (60_00, 0, 40_00)
        await cancel(shop, order_no, 40_00)
        buyer = await shop.balance("buyer")
        assert (buyer.withdrawable_fen, buyer.uncleared_fen, buyer.escrow_fen) == (60_00, 40_00, 0)
        await shop.assert_agrees()

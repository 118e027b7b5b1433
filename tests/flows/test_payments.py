"""Payments between members (6034), seen from outside."""

from __future__ import annotations

import asyncio

import grpc

from jzb.v1 import core_pb2, payment_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace


async def test_a_t1_payment_moves_net_to_the_payee_and_fee_to_the_platform(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    operation = await shop.pay("buyer", "seller", 30_00, 3_00)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("buyer")).available_fen == 70_00
    seller = await shop.balance("seller")
    assert (seller.available_fen, seller.withdrawable_fen) == (27_00, 0)
    await shop.assert_agrees()


async def test_the_same_request_id_sent_twenty_times_at_once_acts_once(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 10_00)
    answers = await asyncio.gather(*(shop.payments.Pay(request, timeout=TIMEOUT_S) for _ in range(20)))
    assert len({answer.operation.operation_id for answer in answers}) == 1
    assert all(answer.operation.state == core_pb2.OPERATION_STATE_DONE for answer in answers)
    assert shop.calls_received("MemberTransaction") == 1
    assert (await shop.balance("buyer")).available_fen == 90_00
    await shop.assert_agrees()


async def test_two_confirms_of_one_order_at_once_pay_it_once(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    order_no = shop.order_no()
    await shop.payments.PrepayOrder(
        payment_pb2.PrepayOrderRequest(
            request_id=shop.request_id(),
            payer_member_id="buyer",
            payee_member_id="seller",
            order_no=order_no,
            amount_fen=40_00,
        ),
        timeout=TIMEOUT_S,
    )
    confirms = [
        shop.payments.ConfirmOrder(
            payment_pb2.ConfirmOrderRequest(request_id=shop.request_id(), order_no=order_no, amount_fen=40_00),
            timeout=TIMEOUT_S,
        )
        for _ in range(2)
    ]
    results = await asyncio.gather(*confirms, return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(refused) == 1
    assert refused[0].code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (await shop.balance("seller")).available_fen == 40_00
    await shop.assert_agrees()


async def test_of_100_paid_with_fee_10_the_payee_gets_90(shop: Marketplace) -> None:
    # Quick start, 6034, TranFee: its own example.
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    operation = await shop.pay("buyer", "seller", 100_00, 10_00)
    assert [(part.amount_fen, part.fee_fen) for part in operation.parts] == [(100_00, 10_00)]
    assert (await shop.balance("buyer")).available_fen == 0
    assert (await shop.balance("seller")).available_fen == 90_00
    assert shop.sandbox.books.functional_fen("3") == 10_00
    await shop.assert_agrees()


async def test_without_a_fee_the_payee_gets_all(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    await shop.pay("buyer", "seller", 100_00)
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


async def test_a_t0_payment_takes_withdrawable_money_that_can_be_withdrawn_the_same_day(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, 3_00, settlement=payment_pb2.SETTLEMENT_T0)
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.kind == core_pb2.OPERATION_KIND_PAY_T0
    seller = await shop.balance("seller")
    assert (seller.available_fen, seller.withdrawable_fen) == (27_00, 27_00)
    assert (await shop.balance("buyer")).withdrawable_fen == 70_00
    await shop.assert_agrees()


async def test_a_t0_payment_out_of_waiting_money_is_refused_although_it_is_available(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, settlement=payment_pb2.SETTLEMENT_T0)
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WITHDRAWABLE_INSUFFICIENT")
    assert refusal.amounts == {"needed": 30_00, "left": 0}
    assert shop.calls_received("MemberTransaction") == 0
    await shop.assert_agrees()


async def test_a_t1_payment_spends_waiting_money_before_withdrawable_money(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.top_up("buyer", 20_00)
    await shop.merchant("seller")
    await shop.pay("buyer", "seller", 15_00)
    buyer = await shop.balance("buyer")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen) == (100_00, 5_00)
    await shop.pay("buyer", "seller", 15_00)
    buyer = await shop.balance("buyer")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen) == (90_00, 0)
    await shop.assert_agrees()


async def test_the_spend_order_is_a_setting_that_both_sides_can_share(database: str) -> None:
    async with open_marketplace(
        database, {"spend_order": "withdrawable_first"}, rules={"spend_order": "withdrawable_first"}
    ) as shop:
        await shop.buyer("buyer", 100_00, withdrawable=True)
        await shop.top_up("buyer", 20_00)
        await shop.merchant("seller")
        await shop.pay("buyer", "seller", 15_00)
        buyer = await shop.balance("buyer")
        assert (buyer.withdrawable_fen, buyer.uncleared_fen) == (85_00, 20_00)
        await shop.assert_agrees()


async def test_an_ordinary_member_cannot_collect_and_a_merchant_cannot_pay(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    await shop.buyer("friend")
    await shop.merchant("seller", 10_00)
    await shop.merchant("shop_9")
    collects = await shop.refusal(shop.pay("buyer", "friend", 1_00))
    assert (collects.code, collects.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_CANNOT_COLLECT")
    assert (collects.metadata["member_id"], collects.metadata["property"]) == ("friend", "00")
    pays = await shop.refusal(shop.pay("seller", "shop_9", 1_00))
    assert (pays.code, pays.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_CANNOT_PAY")
    assert (pays.metadata["member_id"], pays.metadata["property"]) == ("seller", "SH")
    assert (await shop.refusal(shop.pay("buyer", "buyer", 1_00))).reason == "SAME_MEMBER"
    assert shop.calls_received("MemberTransaction") == 0
    await shop.assert_agrees()


async def test_a_payment_beyond_what_is_available_is_refused_with_both_amounts_and_for_ever(shop: Marketplace) -> None:
    await shop.buyer("buyer", 90_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 100_00, 10_00)
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
    assert refusal.amounts == {"needed": 100_00, "left": 90_00}
    assert refusal.metadata["member_id"] == "buyer"
    assert "member buyer" in refusal.message
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert shop.calls_received("MemberTransaction") == 0
    await shop.top_up("buyer", 50_00)
    again = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (again.reason, again.amounts) == (refusal.reason, refusal.amounts)
    assert (again.metadata, again.message) == (refusal.metadata, refusal.message)
    await shop.assert_agrees()


async def test_a_fee_above_the_amount_is_refused_with_both_amounts(shop: Marketplace) -> None:
    await shop.buyer("buyer", 90_00)
    await shop.merchant("seller")
    refusal = await shop.refusal(shop.pay("buyer", "seller", 10_00, 10_01))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEE_EXCEEDS_AMOUNT")
    assert refusal.amounts == {"amount": 10_00, "fee": 10_01}


async def test_holds_count_as_gone_while_a_payment_is_unknown(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 60_00, 6_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (lost.code, lost.outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, core_pb2.OUTCOME_UNKNOWN)
    assert lost.operation.state == core_pb2.OPERATION_STATE_UNKNOWN
    buyer = await shop.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen) == (40_00, 60_00)
    assert (await shop.balance("seller")).available_fen == 0
    refusal = await shop.refusal(shop.pay("buyer", "seller", 40_01))
    assert (refusal.reason, refusal.amounts) == ("INSUFFICIENT_FUNDS", {"needed": 40_01, "left": 40_00})
    # The same request id is told the same and never sent as new business.
    again = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert again.operation.operation_id == lost.operation.operation_id
    assert shop.calls_received("MemberTransaction") == 1
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    buyer = await shop.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen) == (40_00, 0)
    assert (await shop.balance("seller")).available_fen == 54_00
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received("MemberTransaction") == 1
    await shop.assert_agrees()


async def test_twenty_payments_at_once_out_of_money_for_ten_pay_ten(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    results = await asyncio.gather(
        *(shop.pay("buyer", "seller", 10_00, 1_00) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 10
    assert (await shop.balance("buyer")).available_fen == 0
    assert (await shop.balance("seller")).available_fen == 90_00
    await shop.assert_agrees()

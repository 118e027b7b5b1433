"""Payments between members (6034), seen from outside."""

from __future__ import annotations

import asyncio

import grpc

from jzb.v1 import core_pb2, payment_pb2
from tests.service.marketplace import TIMEOUT_S, Marketplace


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

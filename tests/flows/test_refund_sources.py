"""Refunds of orders that the platform settled and of rows of batches (6164 sources 3, 4 and 5), seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from jzb.v1 import batch_pb2, batch_pb2_grpc, core_pb2, member_pb2, payment_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import prepay
from tests.world.refunds import refund, refund_request, refundable
from tests.world.verifying import named


@pytest.fixture
async def market(database: str) -> AsyncIterator[Marketplace]:
    """A buyer with 500.00 and two sellers, at a bank that takes batches of direct payments too."""
    async with open_marketplace(database, rules={"batch_direct_pay": True, "close_while_refundable": True}) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "shoes", collects=True)
        await named(shop, "hats", collects=True)
        yield shop


async def settled_order(shop: Marketplace) -> core_pb2.Part:
    """Source 3: an order of 100.00 with a fee of 10.00, confirmed by the platform."""
    order_no = await prepay(shop, "buyer", "shoes", 100_00)
    request = payment_pb2.SettleOrderRequest(
        request_id=shop.request_id(),
        order_no=order_no,
        end=payment_pb2.ORDER_END_CONFIRM,
        amount_fen=100_00,
        fee_fen=10_00,
    )
    operation: core_pb2.Operation = (await shop.payments.SettleOrder(request, timeout=TIMEOUT_S)).operation
    return operation.parts[0]


async def confirmed_row(shop: Marketplace) -> core_pb2.Part:
    """Source 4: the first of two orders confirmed at once."""
    orders = [await prepay(shop, "buyer", "shoes", 100_00), await prepay(shop, "buyer", "hats", 50_00)]
    request = batch_pb2.BatchConfirmRequest(
        request_id=shop.request_id(),
        orders=[
            batch_pb2.OrderToConfirm(order_no=orders[0], amount_fen=100_00, fee_fen=10_00),
            batch_pb2.OrderToConfirm(order_no=orders[1], amount_fen=50_00),
        ],
    )
    batches = batch_pb2_grpc.BatchServiceStub(shop.channel)
    operation: core_pb2.Operation = (await batches.BatchConfirm(request, timeout=TIMEOUT_S)).operation
    return operation.parts[0]


async def paid_row(shop: Marketplace) -> core_pb2.Part:
    """Source 5: the first of two members paid at once."""
    request = batch_pb2.BatchPayRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payments=[
            batch_pb2.PaymentOfBatch(
                payee_member_id="shoes", order_no=shop.order_no(), amount_fen=100_00, fee_fen=10_00
            ),
            batch_pb2.PaymentOfBatch(payee_member_id="hats", order_no=shop.order_no(), amount_fen=50_00),
        ],
    )
    batches = batch_pb2_grpc.BatchServiceStub(shop.channel)
    operation: core_pb2.Operation = (await batches.BatchPay(request, timeout=TIMEOUT_S)).operation
    return operation.parts[0]


Paid = Callable[[Marketplace], Awaitable[core_pb2.Part]]

every_source = pytest.mark.parametrize("paid", [settled_order, confirmed_row, paid_row])


@every_source
async def test_a_part_and_its_fee_go_back_and_the_advance_gives_the_fee(market: Marketplace, paid: Paid) -> None:
    part = await paid(market)
    before = (await market.balance("buyer")).available_fen
    advance = market.sandbox.books.functional_fen("10")
    operation = await refund(market, part.serial, 30_00, 3_00)
    assert (operation.state, operation.original_serial) == (core_pb2.OPERATION_STATE_DONE, part.serial)
    assert (await market.balance("buyer")).available_fen == before + 30_00
    assert (await market.balance("shoes")).available_fen == 63_00
    assert market.sandbox.books.functional_fen("10") == advance - 3_00
    left = await refundable(market, part.serial)
    assert (left.remaining_fen, left.remaining_fee_fen) == (70_00, 7_00)
    await market.assert_agrees()


@every_source
async def test_amount_and_fee_stay_within_the_row_of_the_payment(market: Marketplace, paid: Paid) -> None:
    part = await paid(market)
    await market.top_up("shoes", 200_00)
    await refund(market, part.serial, 60_00, 4_00)
    over = await market.refusal(refund(market, part.serial, 40_01))
    assert (over.reason, over.amounts) == ("REFUND_EXCEEDS_PAYMENT", {"needed": 40_01, "left": 40_00})
    fee = await market.refusal(refund(market, part.serial, 10_00, 6_01))
    assert (fee.reason, fee.amounts) == ("FEE_REFUND_EXCEEDS_FEE", {"needed": 6_01, "left": 6_00})
    assert market.calls_received("MemberTransactionRefund") == 1
    await market.assert_agrees()


@every_source
async def test_a_refund_whose_answer_is_lost_is_found_again(market: Marketplace, paid: Paid) -> None:
    part = await paid(market)
    request = refund_request(market, part.serial, 100_00, 10_00, remark="[[lose_after]]")
    lost = await market.refusal(market.refunds.Refund(request, timeout=TIMEOUT_S))
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await market.balance("shoes")).held_fen == 90_00
    found = await market.resolve(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    assert market.calls_received("MemberTransactionRefund") == 1
    assert (await market.balance("shoes")).available_fen == 0
    await market.assert_agrees()


async def test_rows_of_one_batch_are_refunded_one_by_one_and_at_once(market: Marketplace) -> None:
    part = await confirmed_row(market)
    results = await asyncio.gather(
        *(refund(market, part.serial, 30_00, 3_00) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, grpc.aio.AioRpcError) for one in results) == 2
    assert (await refundable(market, part.serial)).remaining_fen == 10_00
    # The other row has a limit of its own.
    assert (await market.balance("hats")).available_fen == 50_00
    await market.assert_agrees()


async def test_a_batch_as_a_whole_cannot_be_refunded(market: Marketplace) -> None:
    await confirmed_row(market)
    (call,) = (one.serial for one in market.sandbox.requests if one.service_id == "MembershipBatchTransactions")
    told = await market.refusal(refund(market, call, 1_00))
    assert told.reason == "PAYMENT_NOT_FOUND"


async def test_a_refund_to_a_member_that_was_closed_since_is_not_sent(market: Marketplace) -> None:
    await market.buyer("guest", 10_00)
    payment = await market.pay("guest", "shoes", 10_00)
    close = member_pb2.CloseMemberRequest(request_id=market.request_id(), member_id="guest")
    await market.members.CloseMember(close, timeout=TIMEOUT_S)
    told = await market.refusal(refund(market, payment.serial, 10_00))
    assert told.reason == "MEMBER_CLOSED"
    assert market.calls_received("MemberTransactionRefund") == 0

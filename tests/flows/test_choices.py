"""What the bank's documents leave open, and what this service does of it until the bank has answered (docs/bank.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import grpc
import pytest

from jzb.v1 import core_pb2, freeze_pb2, payment_pb2
from tests.world.batches import batches, prepay_request
from tests.world.batches import confirm_request as confirm_batch
from tests.world.freezes import freeze
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace, refusal_of
from tests.world.orders import settle_request
from tests.world.verifying import named

DONE = core_pb2.OPERATION_STATE_DONE


async def prepaid(shop: Marketplace, fen: int = 100_00) -> str:
    """An order in escrow from buyer to seller."""
    order_no = shop.order_no()
    request = payment_pb2.PrepayOrderRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payee_member_id="seller",
        order_no=order_no,
        amount_fen=fen,
    )
    await shop.payments.PrepayOrder(request, timeout=TIMEOUT_S)
    return order_no


def ends(shop: Marketplace, order_no: str, fen: int) -> list[Callable[[], Awaitable[Any]]]:
    """Every call that takes so much out of an order in escrow, to be sent."""
    confirm = payment_pb2.ConfirmOrderRequest(request_id=shop.request_id(), order_no=order_no, amount_fen=fen)
    cancel = payment_pb2.CancelOrderRequest(request_id=shop.request_id(), order_no=order_no, amount_fen=fen)
    settle = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, fen)
    return [
        lambda: shop.payments.ConfirmOrder(confirm, timeout=TIMEOUT_S),
        lambda: shop.payments.CancelOrder(cancel, timeout=TIMEOUT_S),
        lambda: shop.payments.SettleOrder(settle, timeout=TIMEOUT_S),
    ]


async def test_a_part_of_an_order_is_not_sent_before_the_bank_has_said_that_it_may_be(database: str) -> None:
    async with open_marketplace(database, {"order_in_parts": False}, rules={"order_in_parts": False}) as shop:
        await named(shop, "buyer", 500_00)
        for member_id in ("seller", "shoes", "hats"):
            await named(shop, member_id, collects=True)
        order_no = await prepaid(shop)
        calls = shop.calls_received("MemberTransaction")
        for call in ends(shop, order_no, 99_99):
            refused = await shop.refusal(call())
            assert (refused.reason, refused.outcome) == ("INTERFACE_NOT_ENABLED", core_pb2.OUTCOME_NO_EFFECT)
            assert refused.metadata["setting"] == "JZB_RULES__ORDER_IN_PARTS"
        assert shop.calls_received("MemberTransaction") == calls
        assert (await shop.balance("buyer")).escrow_fen == 100_00
        more = await shop.refusal(ends(shop, order_no, 100_01)[0]())
        assert more.reason == "ORDER_INSUFFICIENT"
        assert (await ends(shop, order_no, 100_00)[0]()).operation.state == DONE
        two = prepay_request(shop)
        await batches(shop).BatchPrepay(two, timeout=TIMEOUT_S)
        shoes, hats = (order.order_no for order in two.orders)
        part = confirm_batch(shop, shoes, hats)
        assert (await shop.refusal(batches(shop).BatchConfirm(part, timeout=TIMEOUT_S))).reason == refused.reason
        await shop.assert_agrees()


async def test_a_part_that_the_bank_refuses_leaves_the_order_whole_in_escrow(database: str) -> None:
    async with open_marketplace(database, {"order_in_parts": False}) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "seller", collects=True)
        order_no = await prepaid(shop)
        for call in ends(shop, order_no, 40_00):
            refused = await shop.refusal(call())
            assert (refused.reason, refused.metadata["bank_code"]) == ("BANK_REFUSED", "ERR126")
        order = (await shop.payments.GetOrder(payment_pb2.GetOrderRequest(order_no=order_no), timeout=TIMEOUT_S)).order
        assert (order.remaining_fen, order.held_fen) == (100_00, 0)
        assert (await ends(shop, order_no, 100_00)[0]()).operation.state == DONE
        await shop.assert_agrees()


@pytest.mark.parametrize(("here", "there"), [(5, 5), (6, 5), (6, 6)])
async def test_frozen_money_goes_to_five_payees_unless_the_bank_has_granted_more(
    database: str, here: int, there: int
) -> None:
    async with open_marketplace(database, {"payees_max": there}, rules={"payees_max": here}) as shop:
        await shop.buyer("buyer", 100_00)
        payees = [freeze_pb2.FrozenPayee(member_id=f"s{n}", amount_fen=10_00) for n in range(6)]
        for payee in payees:
            await shop.merchant(payee.member_id)
        order_no = await freeze(shop, "buyer", 100_00)

        def pay(number: int) -> Any:
            request = freeze_pb2.PayFrozenRequest(
                request_id=shop.request_id(), order_no=order_no, payees=payees[:number]
            )
            return shop.freezes.PayFrozen(request, timeout=TIMEOUT_S)

        if here < 6:
            assert (await shop.refusal(pay(6))).violations.keys() == {"payees"}
        elif there < 6:
            refused = await shop.refusal(pay(6))
            assert (refused.reason, refused.metadata["bank_code"]) == ("BANK_REFUSED", "EF0048")
        else:
            assert (await pay(6)).operation.state == DONE
        assert (await shop.balance("buyer")).frozen_fen == (40_00 if there == 6 else 100_00)
        if there < 6:
            assert (await pay(5)).operation.state == DONE
        await shop.assert_agrees()


UNCONFIRMED = {"top_up_amount_confirmed": False}


def top_up(shop: Marketplace, member_id: str, fen: int, fee_fen: int, remark: str = "") -> Any:
    return shop.top_ups.TopUp(shop.top_up_request(member_id, fen, fee_fen, remark), timeout=TIMEOUT_S)


@pytest.mark.parametrize(("reading", "other"), [("gross", "net"), ("net", "gross")])
async def test_a_bank_that_reads_top_ups_otherwise_makes_one_of_them_wrong_and_not_a_second(
    database: str, reading: Literal["gross", "net"], other: Literal["gross", "net"]
) -> None:
    rules = {**UNCONFIRMED, "top_up_amount": reading}
    async with open_marketplace(database, {"top_up_amount": other}, rules=rules) as shop:
        await shop.merchant("A", 50_00)
        await shop.merchant("B")
        first = (await top_up(shop, "A", 100_00, 10_00)).operation
        for member_id in ("A", "B"):
            refused = await shop.refusal(top_up(shop, member_id, 20_00, 1_00))
            assert (refused.reason, refused.outcome) == ("TOP_UP_READING_UNCONFIRMED", core_pb2.OUTCOME_NO_EFFECT)
            assert refused.metadata["first_top_up_serial"] == first.serial
            assert f"the bank reads MemberFillAmt as {other}, not {reading}" in refused.message
        # Without a fee there is nothing to misread.
        assert (await top_up(shop, "B", 20_00, 0)).operation.state == DONE
        assert shop.calls_received("MemberRechargeThirdPay") == 3


async def test_once_the_first_top_up_with_a_fee_is_found_equal_the_others_go_unasked(database: str) -> None:
    async with open_marketplace(database, rules=UNCONFIRMED) as shop:
        await shop.merchant("A")
        await top_up(shop, "A", 100_00, 10_00)
        questions = shop.calls_received("CustAcctIdBalanceQuery")
        for _ in range(3):
            assert (await top_up(shop, "A", 20_00, 1_00)).operation.state == DONE
        assert shop.calls_received("CustAcctIdBalanceQuery") <= questions + 1
        await shop.assert_agrees()


async def test_no_second_top_up_with_a_fee_is_sent_while_the_first_is_in_doubt(database: str) -> None:
    async with open_marketplace(database, rules=UNCONFIRMED) as shop:
        await shop.merchant("A")
        never = await shop.refusal(top_up(shop, "A", 10_00, 1_00, remark="[[refuse:ERR044]]"))
        assert never.reason == "BANK_REFUSED"
        doubtful = await shop.refusal(top_up(shop, "A", 100_00, 10_00, remark="[[lose_after]]"))
        assert doubtful.reason == "BANK_OUTCOME_UNKNOWN"
        early = await shop.refusal(top_up(shop, "A", 20_00, 1_00))
        assert (early.reason, early.outcome) == ("TOP_UP_READING_UNCONFIRMED", core_pb2.OUTCOME_NO_EFFECT)
        assert (await shop.until_final(doubtful.operation.operation_id)).state == DONE
        assert (await top_up(shop, "A", 20_00, 1_00)).operation.state == DONE
        await shop.assert_agrees()


async def test_of_five_callers_at_once_one_sends_the_first_top_up_with_a_fee(database: str) -> None:
    async with open_marketplace(database, rules=UNCONFIRMED) as shop:
        await shop.merchant("A")
        results = await asyncio.gather(
            *(top_up(shop, "A", 10_00, 1_00, remark="[[delay:0.3]]") for _ in range(5)), return_exceptions=True
        )
        assert sum(not isinstance(one, BaseException) for one in results) == 1
        for one in results:
            if isinstance(one, grpc.aio.AioRpcError):
                assert refusal_of(one).reason == "TOP_UP_READING_UNCONFIRMED"
        assert shop.calls_received("MemberRechargeThirdPay") == 1
        await shop.assert_agrees()

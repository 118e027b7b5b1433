"""Orders whose buyer is silent, ended by the platform (6031), and how a lost one is found again (6072)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from bankclient import SubAccountTransactionsRow
from jzb.v1 import core_pb2, payment_pb2
from ledger.names import Serial
from service.questions.booked import Sought, find, noted
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says
from tests.world.orders import settle_request
from tests.world.verifying import named

SERVICE = "PlatformOrderManagement"
LIST = "BankTransactionDetailsQuery"


@pytest.fixture
async def order_no(shop: Marketplace) -> str:
    """An order of 100.00 that waits for its buyer."""
    await named(shop, "buyer", 100_00)
    await named(shop, "seller", collects=True)
    number = shop.order_no()
    request = payment_pb2.PrepayOrderRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payee_member_id="seller",
        order_no=number,
        amount_fen=100_00,
    )
    await shop.payments.PrepayOrder(request, timeout=TIMEOUT_S)
    return number


async def settled(shop: Marketplace, request: payment_pb2.SettleOrderRequest, fault: str = "") -> core_pb2.Operation:
    """The operation when it is final, its answer lost on the way if so told."""
    if fault:
        shop.sandbox.faults.add(fault, service_id=SERVICE)
        refusal = await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))
        assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
        return await shop.until_final(refusal.operation.operation_id)
    operation: core_pb2.Operation = (await shop.payments.SettleOrder(request, timeout=TIMEOUT_S)).operation
    return operation


@pytest.mark.parametrize("fault", ["", "lose_after"])
async def test_the_platform_confirms_a_part_and_returns_the_rest(shop: Marketplace, order_no: str, fault: str) -> None:
    operation = await settled(shop, settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 70_00, 7_00), fault)
    assert (operation.kind, operation.state) == (
        core_pb2.OPERATION_KIND_SETTLE_CONFIRM,
        core_pb2.OPERATION_STATE_DONE,
    )
    assert operation.bank_serial
    operation = await settled(shop, settle_request(shop, order_no, payment_pb2.ORDER_END_CANCEL, 30_00), fault)
    assert operation.kind == core_pb2.OPERATION_KIND_SETTLE_CANCEL
    assert (await shop.balance("seller")).available_fen == 63_00
    assert (await shop.balance("buyer")).available_fen == 30_00
    answer = await shop.payments.GetOrder(payment_pb2.GetOrderRequest(order_no=order_no), timeout=TIMEOUT_S)
    order = answer.order
    assert (order.confirmed_fen, order.cancelled_fen, order.remaining_fen) == (70_00, 30_00, 0)
    await shop.assert_agrees()


async def test_a_lost_confirmation_is_found_though_its_serial_in_the_list_cannot_be_read(
    shop: Marketplace, order_no: str
) -> None:
    def without(*names: str) -> Callable[[dict[str, Any]], None]:
        def change(answer: dict[str, Any]) -> None:
            for row in answer["TranItemArray"]:
                row.update(dict.fromkeys(names, "x"))

        return change

    request = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 20_00)
    shop.sandbox.faults.add("lose_after", service_id=SERVICE)
    lost = (await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))).operation.operation_id
    with bank_says(shop.sandbox, LIST, without("FrontSeqNo", "TranDate")):
        for _ in range(5):
            # It may be this one, or one that was posted before: not found is not what the bank says.
            assert (await shop.resolve(lost)).state == core_pb2.OPERATION_STATE_UNKNOWN
    with bank_says(shop.sandbox, LIST, without("FrontSeqNo")):
        assert (await shop.until_final(lost)).state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_a_lost_confirmation_is_not_taken_for_an_earlier_one_of_the_same_amount(
    shop: Marketplace, order_no: str
) -> None:
    first = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 20_00)
    assert (await settled(shop, first)).state == core_pb2.OPERATION_STATE_DONE
    never_arrived = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 20_00)
    assert (await settled(shop, never_arrived, "lose_before")).state == core_pb2.OPERATION_STATE_REFUSED
    lost = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 20_00)
    assert (await settled(shop, lost, "lose_after")).state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("seller")).available_fen == 40_00
    await shop.assert_agrees()


async def test_of_two_lost_alike_where_the_bank_did_one_one_is_done(shop: Marketplace, order_no: str) -> None:
    shop.sandbox.faults.add("lose_before", service_id=SERVICE)
    shop.sandbox.faults.add("lose_after", service_id=SERVICE, after=1)
    ids = []
    for _ in range(2):
        request = settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 20_00)
        refusal = await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))
        assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
        ids.append(refusal.operation.operation_id)
    states = [(await shop.until_final(operation_id)).state for operation_id in reversed(ids)]
    assert sorted(states) == [core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED]
    assert (await shop.balance("seller")).available_fen == 20_00
    await shop.assert_agrees()


async def test_more_than_the_order_holds_is_refused_here(shop: Marketplace, order_no: str) -> None:
    for end in (payment_pb2.ORDER_END_CONFIRM, payment_pb2.ORDER_END_CANCEL):
        request = settle_request(shop, order_no, end, 100_01)
        refusal = await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 100_01, "left": 100_00})
    request = settle_request(shop, "unknown", payment_pb2.ORDER_END_CONFIRM, 1)
    assert (await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))).reason == "ORDER_NOT_FOUND"
    request = settle_request(shop, order_no, payment_pb2.ORDER_END_CANCEL, 10_00, 1_00)
    assert (await shop.refusal(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))).reason == "REQUEST_INVALID"
    assert shop.calls_received(SERVICE) == 0


DAY, SERIAL = date(2026, 11, 23), "26112300000000000007"


def row(remark: str, fen: int = 20_00, booking_type: str = "7", number: int = 1) -> SubAccountTransactionsRow:
    return SubAccountTransactionsRow(
        BookingFlag="1",
        TranStatus="0",
        TranAmt=fen,
        TranDate="20261123",
        TranTime="093000",
        FrontSeqNo=f"261123{number:010d}",
        BookingType=booking_type,
        Remark=remark,
    )


LIKE = ("7", "O1", 20_00)


@pytest.mark.parametrize(
    ("rows", "posted", "ahead", "found"),
    [
        ([row(noted("O1", Serial(SERIAL), "note"))], 1, 1, True),
        ([row(noted("O1", Serial("26112300000000000008"), "note"))], 0, 0, False),
        ([row(f"O9 for {SERIAL}")], 0, 0, False),
        ([row(noted("O1", Serial(SERIAL), ""), fen=19_99)], 0, 0, False),
        ([row("O1")], 0, 0, True),
        ([row("O1")], 1, 0, False),
        ([row("O1"), row("O1", number=2)], 1, 0, True),
        ([row("O1"), row("O1", number=2)], 1, 1, False),
        ([row("O1", booking_type="8")], 0, 0, False),
        ([row("O12")], 0, 0, False),
        ([], 0, 0, False),
    ],
)
def test_a_row_is_taken_for_a_part_by_its_serial_or_when_nothing_else_explains_it(
    rows: Any, posted: int, ahead: int, found: bool
) -> None:
    (result,) = find([Sought(Serial(SERIAL), LIKE)], rows, {(LIKE, DAY): posted}, {LIKE: ahead})
    assert (result is not None) == found


async def test_a_confirmation_that_the_bank_has_booked_before_is_not_taken_for_a_lost_one(
    shop: Marketplace, order_no: str
) -> None:
    # A bank that shows the order number as the remark shows both alike.
    confirmed = payment_pb2.ConfirmOrderRequest(
        request_id=shop.request_id(), order_no=order_no, amount_fen=30_00, remark=order_no
    )
    await shop.payments.ConfirmOrder(confirmed, timeout=TIMEOUT_S)
    lost = await settled(shop, settle_request(shop, order_no, payment_pb2.ORDER_END_CONFIRM, 30_00), "lose_before")
    assert lost.state == core_pb2.OPERATION_STATE_REFUSED
    assert (await shop.balance("seller")).available_fen == 30_00
    assert (await shop.balance("buyer")).escrow_fen == 70_00
    await shop.assert_agrees()

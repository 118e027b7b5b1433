"""Several orders of one payer in one call (6052, 6120, 6133), with a result for each row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from jzb.v1 import batch_pb2, core_pb2, payment_pb2
from ledger.names import Serial
from tests.world.batches import batches, confirm_request, prepaid, prepay_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.verifying import MODES, SERVICE_IDS, Mode, named, verification

SERVICES = {
    "none": "MembershipBatchTransactions",
    "sms": "MbrBatchTransVerifiedTextMsgs",
    "password": SERVICE_IDS["6133"],
}


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Marketplace]:
    """An open marketplace with every mode, a buyer with 500.00 and two sellers."""
    async with open_marketplace(
        database,
        {"service_ids": SERVICE_IDS},
        bank={"service_ids": SERVICE_IDS},
        rules={"verification": MODES, "batch_direct_pay": True},
    ) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "shoes", collects=True)
        await named(shop, "hats", collects=True)
        yield shop


async def settled(shop: Marketplace, call: Any, *, lost: bool) -> core_pb2.Operation:
    """The operation of a call when it is done: at once, or after its answer was lost and the bank was asked."""
    if not lost:
        operation: core_pb2.Operation = (await call).operation
        return operation
    refusal = await shop.refusal(call)
    assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    return await shop.until_final(refusal.operation.operation_id)


def lose(shop: Marketplace, mode: Mode, *, lost: bool) -> None:
    if lost:
        shop.sandbox.faults.add("lose_after", service_id=SERVICES[mode])


async def order(shop: Marketplace, order_no: str) -> payment_pb2.Order:
    """An order as the mirror has it."""
    answer = await shop.payments.GetOrder(payment_pb2.GetOrderRequest(order_no=order_no), timeout=TIMEOUT_S)
    found: payment_pb2.Order = answer.order
    return found


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("mode", MODES)
async def test_two_orders_are_prepaid_and_confirmed_at_once_with_a_result_for_each(
    shop: Marketplace, mode: Mode, lost: bool
) -> None:
    request = prepay_request(shop, await verification(shop, mode, "buyer", 150_00))
    lose(shop, mode, lost=lost)
    operation = await settled(shop, batches(shop).BatchPrepay(request, timeout=TIMEOUT_S), lost=lost)
    assert operation.kind == core_pb2.OPERATION_KIND_BATCH_PREPAY
    assert (operation.amount_fen, operation.fee_fen) == (150_00, 0)
    shoes, hats = (row.order_no for row in request.orders)
    assert [part.order_no for part in operation.parts] == [shoes, hats]
    assert [part.state for part in operation.parts] == [core_pb2.PART_STATE_POSTED] * 2
    assert (await shop.balance("buyer")).escrow_fen == 150_00

    confirm = confirm_request(shop, shoes, hats, await verification(shop, mode, "buyer", 130_00))
    lose(shop, mode, lost=lost)
    operation = await settled(shop, batches(shop).BatchConfirm(confirm, timeout=TIMEOUT_S), lost=lost)
    assert [(part.payee_member_id, part.amount_fen, part.fee_fen) for part in operation.parts] == [
        ("shoes", 80_00, 8_00),
        ("hats", 50_00, 0),
    ]
    assert len({part.serial for part in operation.parts} | {operation.serial}) == 3
    assert shop.calls_received(SERVICES[mode]) == 2
    assert (await shop.balance("shoes")).available_fen == 72_00
    assert (await shop.balance("hats")).available_fen == 50_00
    left = await order(shop, shoes)
    assert (left.payer_member_id, left.payee_member_id) == ("buyer", "shoes")
    assert (left.prepaid_fen, left.confirmed_fen, left.remaining_fen) == (100_00, 80_00, 20_00)
    await shop.assert_agrees()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_batch_pays_members_directly_where_the_bank_has_opened_it(shop: Marketplace, lost: bool) -> None:
    request = batch_pb2.BatchPayRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payments=[
            batch_pb2.PaymentOfBatch(
                payee_member_id="shoes", order_no=shop.order_no(), amount_fen=100_00, fee_fen=10_00
            ),
            batch_pb2.PaymentOfBatch(payee_member_id="shoes", order_no=shop.order_no(), amount_fen=20_00),
        ],
    )
    lose(shop, "none", lost=lost)
    operation = await settled(shop, batches(shop).BatchPay(request, timeout=TIMEOUT_S), lost=lost)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("buyer")).available_fen == 380_00
    assert (await shop.balance("shoes")).available_fen == 110_00
    await shop.assert_agrees()


async def test_direct_payment_in_a_batch_is_off_until_the_platform_says_it_has_it(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("shoes")
        request = batch_pb2.BatchPayRequest(
            request_id=shop.request_id(),
            payer_member_id="buyer",
            payments=[
                batch_pb2.PaymentOfBatch(order_no=order_no, payee_member_id="shoes", amount_fen=1_00)
                for order_no in ("A1", "A2")
            ],
        )
        refusal = await shop.refusal(batches(shop).BatchPay(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.metadata["setting"]) == (
            "INTERFACE_NOT_ENABLED",
            "JZB_RULES__BATCH_DIRECT_PAY",
        )
        assert shop.calls_received(SERVICES["none"]) == 0


async def test_a_batch_that_one_row_breaks_moves_nothing_and_is_not_sent(shop: Marketplace) -> None:
    request = prepay_request(shop)
    request.orders[1].amount_fen = 400_01
    refusal = await shop.refusal(batches(shop).BatchPrepay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.amounts) == ("INSUFFICIENT_FUNDS", {"needed": 500_01, "left": 500_00})

    shoes, hats = await prepaid(shop)
    confirm = confirm_request(shop, shoes, hats)
    confirm.orders[1].amount_fen = 50_01
    refusal = await shop.refusal(batches(shop).BatchConfirm(confirm, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 50_01, "left": 50_00})
    assert (await order(shop, shoes)).remaining_fen == 100_00
    assert shop.calls_received(SERVICES["none"]) == 1

    again = prepay_request(shop)
    again.orders[1].order_no = hats
    assert (await shop.refusal(batches(shop).BatchPrepay(again, timeout=TIMEOUT_S))).reason == "ORDER_EXISTS"
    assert shop.calls_received(SERVICES["none"]) == 1
    await shop.assert_agrees()


async def test_a_batch_the_bank_refuses_gives_every_row_back(shop: Marketplace) -> None:
    request = prepay_request(shop)
    shop.sandbox.faults.add("refuse:ERR044", service_id=SERVICES["none"])
    refusal = await shop.refusal(batches(shop).BatchPrepay(request, timeout=TIMEOUT_S))
    assert refusal.reason == "BANK_REFUSED"
    assert [part.state for part in refusal.operation.parts] == [core_pb2.PART_STATE_VOIDED] * 2
    assert (await shop.balance("buyer")).available_fen == 500_00
    # The numbers are free again.
    request.request_id = shop.request_id()
    await batches(shop).BatchPrepay(request, timeout=TIMEOUT_S)
    await shop.assert_agrees()


async def test_a_batch_of_which_the_bank_did_the_first_row_ends_row_by_row(shop: Marketplace) -> None:
    for fault in ("part_of_batch", "lose_after"):
        shop.sandbox.faults.add(fault, service_id=SERVICES["none"])
    request = prepay_request(shop)
    refusal = await shop.refusal(batches(shop).BatchPrepay(request, timeout=TIMEOUT_S))
    assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    operation = await shop.until_final(refusal.operation.operation_id)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert [part.state for part in operation.parts] == [core_pb2.PART_STATE_POSTED, core_pb2.PART_STATE_VOIDED]
    assert (await shop.balance("buyer")).available_fen == 400_00
    assert (await order(shop, request.orders[0].order_no)).remaining_fen == 100_00
    # The number of the row that was not done is free, and nobody's order.
    shoes, hats = (one.order_no for one in request.orders)
    for call in (order(shop, hats), batches(shop).BatchConfirm(confirm_request(shop, shoes, hats), timeout=TIMEOUT_S)):
        assert (await shop.refusal(call)).reason == "ORDER_NOT_FOUND"
    again = prepay_request(shop)
    again.orders[1].order_no = request.orders[1].order_no
    await batches(shop).BatchPrepay(again, timeout=TIMEOUT_S)
    await shop.assert_agrees()


@pytest.mark.parametrize("status", ["0", "1"])
async def test_one_word_of_6110_for_a_batch_is_not_taken_for_all_its_rows(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    handle = shop.sandbox.bank.handle

    def knows_batches(service_id: str, *asked: Any) -> dict[str, object]:
        answer = handle(service_id, *asked)
        if service_id == "SingleTransactionStatusQuery":
            said = {"BookingFlag": "5", "TranStatus": status, "TranAmt": "150.00"}
            answer |= {"TxnReturnCode": "000000", "TxnReturnMsg": "交易成功", **said}
        return answer

    monkeypatch.setattr(shop.sandbox.bank, "handle", knows_batches)
    for fault in ("part_of_batch", "lose_after"):
        shop.sandbox.faults.add(fault, service_id=SERVICES["none"])
    refusal = await shop.refusal(batches(shop).BatchPrepay(prepay_request(shop), timeout=TIMEOUT_S))
    operation = await shop.until_final(refusal.operation.operation_id)
    assert [part.state for part in operation.parts] == [core_pb2.PART_STATE_POSTED, core_pb2.PART_STATE_VOIDED]
    assert (await shop.balance("buyer")).available_fen == 400_00
    await shop.assert_agrees()


async def test_a_batch_that_never_arrived_is_refused_once_the_list_has_missed_it_often_enough(
    shop: Marketplace,
) -> None:
    shop.sandbox.faults.add("lose_before", service_id=SERVICES["none"])
    refusal = await shop.refusal(batches(shop).BatchPrepay(prepay_request(shop), timeout=TIMEOUT_S))
    assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await shop.balance("buyer")).available_fen == 350_00
    operation = await shop.until_final(refusal.operation.operation_id)
    assert operation.state == core_pb2.OPERATION_STATE_REFUSED
    assert (await shop.balance("buyer")).available_fen == 500_00
    await shop.assert_agrees()


async def test_orders_of_a_batch_are_ended_one_by_one_as_any_other(shop: Marketplace) -> None:
    shoes, hats = await prepaid(shop)
    await shop.payments.ConfirmOrder(
        payment_pb2.ConfirmOrderRequest(request_id=shop.request_id(), order_no=shoes, amount_fen=100_00, fee_fen=1_00),
        timeout=TIMEOUT_S,
    )
    await shop.payments.CancelOrder(
        payment_pb2.CancelOrderRequest(request_id=shop.request_id(), order_no=hats, amount_fen=50_00),
        timeout=TIMEOUT_S,
    )
    assert (await shop.balance("buyer")).available_fen == 400_00
    assert (await shop.balance("shoes")).available_fen == 99_00
    assert (await order(shop, hats)).cancelled_fen == 50_00
    await shop.assert_agrees()


async def test_orders_of_two_payers_do_not_fit_into_one_batch(shop: Marketplace) -> None:
    await shop.buyer("second", 200_00)
    shoes, _ = await prepaid(shop)
    _, hats = await prepaid(shop, payer="second")
    refusal = await shop.refusal(batches(shop).BatchConfirm(confirm_request(shop, shoes, hats), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["payer_member_id"]) == ("ORDERS_OF_SEVERAL_PAYERS", "second")
    refusal = await shop.refusal(batches(shop).BatchConfirm(confirm_request(shop, shoes, "none"), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
    refusal = await shop.refusal(
        batches(shop).BatchConfirm(confirm_request(shop, shoes, hats, fee_fen=80_01), timeout=TIMEOUT_S)
    )
    assert refusal.reason == "FEE_EXCEEDS_AMOUNT"


async def test_a_row_keeps_its_refundable_limits_under_its_own_serial(shop: Marketplace) -> None:
    shoes, hats = await prepaid(shop)
    confirm = confirm_request(shop, shoes, hats)
    operation = (await batches(shop).BatchConfirm(confirm, timeout=TIMEOUT_S)).operation
    payments = [await shop.service.components.reads.payment(Serial(part.serial)) for part in operation.parts]
    assert [(p.refundable_fen, p.refundable_fee_fen, p.part.order_no) for p in payments if p] == [
        (80_00, 8_00, shoes),
        (50_00, 0, hats),
    ]

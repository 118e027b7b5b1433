"""Which order numbers may come again (catalogue: OrderNo of 6034, EjzbOrderNo of 6129), and who has one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from datetime import date
from typing import Any

import grpc
import pytest

from jzb.v1 import batch_pb2, batch_pb2_grpc, core_pb2, operation_pb2, topup_pb2
from ledger import FloorBroken, Member
from ledger.accounts import top_up_order
from ledger.names import MemberCode, Serial, SubAccount
from ledger.rules import Book, enter, post, reserve, void
from sandbox.records import Order
from service.plans.plan import Facts, Serials
from service.plans.topups import split_top_up
from tests.world.freezes import freeze, freeze_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal, open_marketplace
from tests.world.orders import confirm, order, prepay, prepay_request
from tests.world.refunds import refund
from tests.world.suspense import clear as allocate_suspense
from tests.world.suspense import clearing, in_suspense
from tests.world.topups import split_request
from tests.world.verifying import SERVICE_IDS

DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED
LOST = "BANK_OUTCOME_UNKNOWN"


@pytest.fixture
async def market(database: str) -> AsyncIterator[Marketplace]:
    """A marketplace with every batch, a buyer with 100.00 and two sellers."""
    async with open_marketplace(
        database,
        {"service_ids": SERVICE_IDS},
        bank={"service_ids": SERVICE_IDS},
        rules={"batch_direct_pay": True},
    ) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("shoes")
        await shop.merchant("hats")
        yield shop


def topped_up(shop: Marketplace, order_no: str, fen: int = 1_00, remark: str = "") -> topup_pb2.TopUpRequest:
    request = shop.top_up_request("buyer", fen, remark=remark)
    request.order_no = order_no
    return request


def split(shop: Marketplace, whole: str, *shares: str) -> topup_pb2.SplitTopUpRequest:
    request = split_request(shop, *((name, 1_00, 0) for name in ("shoes", "hats")[: len(shares)]))
    request.order_no = whole
    for share, order_no in zip(request.shares, shares, strict=True):
        share.order_no = order_no
    return request


def batch_prepay(shop: Marketplace, *order_nos: str) -> batch_pb2.BatchPrepayRequest:
    return batch_pb2.BatchPrepayRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        orders=[
            batch_pb2.OrderToPrepay(payee_member_id=payee, order_no=order_no, amount_fen=1_00)
            for payee, order_no in zip(("shoes", "hats"), order_nos, strict=True)
        ],
    )


def batch_pay(shop: Marketplace, *order_nos: str) -> batch_pb2.BatchPayRequest:
    return batch_pb2.BatchPayRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payments=[
            batch_pb2.PaymentOfBatch(payee_member_id=payee, order_no=order_no, amount_fen=1_00)
            for payee, order_no in zip(("shoes", "hats"), order_nos, strict=True)
        ],
    )


async def exists(shop: Marketplace, call: Awaitable[Any]) -> Refusal:
    """The refusal of a number that is taken."""
    refusal = await shop.refusal(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ORDER_EXISTS")
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert refusal.amounts == {}
    return refusal


def names(refusal: Refusal, operation: core_pb2.Operation, state: str = "DONE") -> bool:
    """Whether an error says which operation has the number."""
    told = {name: refusal.metadata.get(f"used_by_{name}") for name in ("operation_id", "request_id", "kind", "state")}
    return told == {
        "operation_id": operation.operation_id,
        "request_id": operation.request_id,
        "kind": core_pb2.OperationKind.Name(operation.kind).removeprefix("OPERATION_KIND_"),
        "state": state,
    }


async def under(shop: Marketplace, order_no: str) -> list[str]:
    request = operation_pb2.ListOperationsRequest(order_no=order_no)
    answer = await shop.operations.ListOperations(request, timeout=TIMEOUT_S)
    kinds = [core_pb2.OperationKind.Name(one.kind).removeprefix("OPERATION_KIND_") for one in answer.operations]
    return sorted(kinds)


async def test_a_second_top_up_under_one_number_is_refused_here_and_names_the_first(market: Marketplace) -> None:
    first = (await market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S)).operation
    asked = market.calls_received("MemberRechargeThirdPay")
    again = topped_up(market, "A", 2_00)
    refusal = await exists(market, market.top_ups.TopUp(again, timeout=TIMEOUT_S))
    assert names(refusal, first)
    assert refusal.metadata["order_no"] == "A"
    assert refusal.operation.state == REFUSED
    # The same request gets the same answer for ever.
    assert names(await exists(market, market.top_ups.TopUp(again, timeout=TIMEOUT_S)), first)
    checked = topped_up(market, "A")
    checked.validate_only = True
    assert names(await exists(market, market.top_ups.TopUp(checked, timeout=TIMEOUT_S)), first)
    assert market.calls_received("MemberRechargeThirdPay") == asked
    assert (await market.balance("buyer")).available_fen == 101_00
    await market.assert_agrees()


async def test_one_order_is_topped_up_prepaid_and_paid_in_parts_under_one_number(market: Marketplace) -> None:
    await market.top_ups.TopUp(topped_up(market, "A", 50_00), timeout=TIMEOUT_S)
    await market.payments.PrepayOrder(prepay_request(market, "buyer", "shoes", "A", 40_00), timeout=TIMEOUT_S)
    payments = []
    for fen in (7_00, 7_00, 3_00):
        request = market.pay_request("buyer", "hats", fen)
        request.order_no = "A"
        payments.append((await market.payments.Pay(request, timeout=TIMEOUT_S)).operation)
    assert [payment.state for payment in payments] == [DONE, DONE, DONE]
    await confirm(market, "A", 40_00)
    # Payments under the number are none of the order's, and each is refunded by itself.
    assert (await order(market, "A")).confirmed_fen == 40_00
    await refund(market, payments[1].serial, 7_00)
    assert (await market.balance("hats")).available_fen == 10_00
    assert await under(market, "A") == sorted(
        ["TOP_UP", "PREPAY_ORDER", "CONFIRM_ORDER", "PAY_T1", "PAY_T1", "PAY_T1", "REFUND"]
    )
    await market.assert_agrees()


async def test_a_direct_payment_leaves_its_number_to_orders_freezes_and_top_ups(market: Marketplace) -> None:
    for order_no in ("A", "B", "C"):
        request = market.pay_request("buyer", "shoes", 1_00)
        request.order_no = order_no
        await market.payments.Pay(request, timeout=TIMEOUT_S)
    await market.payments.PrepayOrder(prepay_request(market, "buyer", "shoes", "A", 1_00), timeout=TIMEOUT_S)
    await market.freezes.Freeze(freeze_request(market, "buyer", 1_00, "B"), timeout=TIMEOUT_S)
    await market.top_ups.TopUp(topped_up(market, "C"), timeout=TIMEOUT_S)
    await market.assert_agrees()


async def test_what_the_bank_keeps_under_a_number_shares_one_set_of_them(market: Marketplace) -> None:
    (transfer,) = await in_suspense(market, 10_00)
    batches = batch_pb2_grpc.BatchServiceStub(market.channel)
    taken = {
        await prepay(market, "buyer", "shoes", 1_00): "PREPAY_ORDER",
        await freeze(market, "buyer", 1_00): "FREEZE",
        "P1": "BATCH_PREPAY",
        "D1": "BATCH_PAY",
        "S1": "ALLOCATE_SUSPENSE",
    }
    await batches.BatchPrepay(batch_prepay(market, "P1", "P2"), timeout=TIMEOUT_S)
    await batches.BatchPay(batch_pay(market, "D1", "D2"), timeout=TIMEOUT_S)
    await allocate_suspense(market, transfer, "buyer", 1_00, order_no="S1")
    sent = len(market.sandbox.requests)
    for order_no, kind in taken.items():
        for call in (
            market.payments.PrepayOrder(prepay_request(market, "buyer", "shoes", order_no, 1_00), timeout=TIMEOUT_S),
            market.freezes.Freeze(freeze_request(market, "buyer", 1_00, order_no), timeout=TIMEOUT_S),
            batches.BatchPrepay(batch_prepay(market, market.order_no(), order_no), timeout=TIMEOUT_S),
            batches.BatchPay(batch_pay(market, market.order_no(), order_no), timeout=TIMEOUT_S),
            market.suspense.AllocateSuspense(
                clearing(market, transfer, "buyer", 1_00, order_no=order_no), timeout=TIMEOUT_S
            ),
        ):
            refusal = await exists(market, call)
            assert (refusal.metadata["order_no"], refusal.metadata["used_by_kind"]) == (order_no, kind)
        # And a top-up may have it.
        checked = topped_up(market, order_no)
        checked.validate_only = True
        await market.top_ups.TopUp(checked, timeout=TIMEOUT_S)
    assert len(market.sandbox.requests) == sent
    await market.assert_agrees()


async def test_top_ups_split_top_ups_and_their_shares_share_one_set_of_numbers(market: Marketplace) -> None:
    single = (await market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S)).operation
    whole = (await market.top_ups.SplitTopUp(split(market, "W", "W1", "W2"), timeout=TIMEOUT_S)).operation
    sent = len(market.sandbox.requests)
    for request in (split(market, "A", "X1", "X2"), split(market, "X", "X1", "A")):
        assert names(await exists(market, market.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)), single)
    for request in (split(market, "W", "X1", "X2"), split(market, "X", "X1", "W2"), split(market, "W1", "X1", "X2")):
        assert names(await exists(market, market.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)), whole)
    for order_no in ("W", "W1", "W2"):
        refusal = await exists(market, market.top_ups.TopUp(topped_up(market, order_no), timeout=TIMEOUT_S))
        assert names(refusal, whole)
    assert len(market.sandbox.requests) == sent
    await market.assert_agrees()


async def test_a_share_may_have_the_number_of_the_whole_order(market: Marketplace) -> None:
    whole = (await market.top_ups.SplitTopUp(split(market, "W", "W1", "W"), timeout=TIMEOUT_S)).operation
    assert whole.state == DONE
    assert names(await exists(market, market.top_ups.TopUp(topped_up(market, "W"), timeout=TIMEOUT_S)), whole)
    await market.assert_agrees()


async def test_a_number_is_free_again_when_the_bank_has_refused_its_top_up(market: Marketplace) -> None:
    refused = topped_up(market, "A", remark="[[refuse:ERR044]]")
    assert (await market.refusal(market.top_ups.TopUp(refused, timeout=TIMEOUT_S))).reason == "BANK_REFUSED"
    assert (await market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S)).operation.state == DONE
    await market.assert_agrees()


@pytest.mark.parametrize(("fault", "end"), [("[[lose_before]]", REFUSED), ("[[lose_after]]", DONE)])
async def test_a_number_whose_top_up_is_in_doubt_is_taken_and_free_again_if_nothing_happened(
    market: Marketplace, fault: str, end: int
) -> None:
    lost = await market.refusal(market.top_ups.TopUp(topped_up(market, "A", remark=fault), timeout=TIMEOUT_S))
    assert lost.reason == LOST
    refusal = await exists(market, market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S))
    assert names(refusal, lost.operation, "UNKNOWN")
    ended = await market.until_final(lost.operation.operation_id)
    assert ended.state == end
    if end == DONE:
        assert names(await exists(market, market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S)), ended)
    else:
        assert (await market.top_ups.TopUp(topped_up(market, "A"), timeout=TIMEOUT_S)).operation.state == DONE
    await market.assert_agrees()


@pytest.mark.parametrize(("fault", "end"), [("[[lose_before]]", REFUSED), ("[[lose_after]]", DONE)])
async def test_a_number_whose_prepayment_is_in_doubt_is_taken_and_free_again_if_nothing_happened(
    market: Marketplace, fault: str, end: int
) -> None:
    request = prepay_request(market, "buyer", "shoes", "A", 1_00, remark=fault)
    lost = await market.refusal(market.payments.PrepayOrder(request, timeout=TIMEOUT_S))
    assert lost.reason == LOST
    frozen = freeze_request(market, "buyer", 1_00, "A")
    assert names(await exists(market, market.freezes.Freeze(frozen, timeout=TIMEOUT_S)), lost.operation, "UNKNOWN")
    assert (await market.until_final(lost.operation.operation_id)).state == end
    frozen = freeze_request(market, "buyer", 1_00, "A")
    if end == DONE:
        await exists(market, market.freezes.Freeze(frozen, timeout=TIMEOUT_S))
    else:
        assert (await market.freezes.Freeze(frozen, timeout=TIMEOUT_S)).operation.state == DONE
    await market.assert_agrees()


async def test_a_number_that_only_the_bank_knows_is_refused_by_the_bank_and_nothing_moves(market: Marketplace) -> None:
    # As of books from before top-ups took their numbers, and of books that were lost.
    market.sandbox.bank.store.put(Order("top_up", "OLD", "6129"))
    market.sandbox.bank.store.commit()
    refusal = await market.refusal(market.top_ups.TopUp(topped_up(market, "OLD"), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR127")
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    await market.assert_agrees()


async def test_a_lost_batch_does_not_take_the_row_of_a_direct_payment_with_its_number_for_its_own(
    market: Marketplace,
) -> None:
    payment = market.pay_request("buyer", "shoes", 1_00, remark="D1")
    payment.order_no = "D1"
    await market.payments.Pay(payment, timeout=TIMEOUT_S)
    batch = batch_pay(market, "D1", "D2")
    market.sandbox.faults.add("lose_before", code="6052")
    lost = await market.refusal(batch_pb2_grpc.BatchServiceStub(market.channel).BatchPay(batch, timeout=TIMEOUT_S))
    assert lost.reason == LOST
    # 6072 lists one payment of 1.00 under D1, and it is not the batch's.
    assert (await market.until_final(lost.operation.operation_id)).state == REFUSED
    assert (await market.balance("shoes")).available_fen == 1_00
    assert (await market.balance("buyer")).available_fen == 99_00
    await market.assert_agrees()


DAY = date(2026, 11, 30)


@pytest.mark.parametrize("refused", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}])
@pytest.mark.parametrize("shares", [("S1", "S2", "S3"), ("W", "S2", "S3"), ("S1", "S2", "W")])
def test_a_split_keeps_the_number_of_the_whole_order_while_one_share_stands(
    shares: tuple[str, ...], refused: set[int]
) -> None:
    def drafts(whole: str, order_nos: tuple[str, ...], day: str) -> tuple[Any, ...]:
        members = {
            MemberCode(name): Member(member_id=MemberCode(name), sub_account=SubAccount(f"99{name}"), property="SH")
            for name in "abc"
        }
        request = topup_pb2.SplitTopUpRequest(
            order_no=whole,
            channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1"),
            shares=[
                topup_pb2.TopUpShare(member_id=name, amount_fen=100, order_no=order_no)
                for name, order_no in zip("abc", order_nos, strict=False)
            ],
        )
        serials = Serials(Serial(f"X{day}"), tuple(Serial(f"{day}{number}") for number in range(len(order_nos))))
        return split_top_up(request, Facts(members), serials).drafts

    book = Book()
    rows = drafts("W", shares, "1")
    for number, (row, holds) in enumerate(zip(rows, reserve(book, rows), strict=True)):
        if number in refused:
            void(book, holds)
        else:
            post(book, row, holds, DAY)
    for number, order_no in enumerate(shares):
        (other,) = drafts(f"other{number}", (order_no,), f"2{number}")
        if order_no != "W" and number in refused:
            enter(book, other, DAY)
        else:
            with pytest.raises(FloorBroken):
                enter(book, other, DAY)
    (whole,) = drafts("W", ("new",), "3")
    with pytest.raises(FloorBroken):
        enter(book, whole, DAY)
    assert book.of(top_up_order("W")).remaining_fen < 100


def test_a_split_of_which_no_share_stands_gives_every_number_back() -> None:
    members = {
        MemberCode(name): Member(member_id=MemberCode(name), sub_account=SubAccount(f"99{name}"), property="SH")
        for name in "ab"
    }
    request = topup_pb2.SplitTopUpRequest(
        order_no="W",
        channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1"),
        shares=[topup_pb2.TopUpShare(member_id=name, amount_fen=100, order_no=f"S{name}") for name in "ab"],
    )
    rows = split_top_up(request, Facts(members), Serials(Serial("X1"), (Serial("11"), Serial("12")))).drafts
    book = Book()
    for holds in reserve(book, rows):
        void(book, holds)
    assert [book.of(top_up_order(number)).remaining_fen for number in ("W", "Sa", "Sb")] == [100, 100, 100]

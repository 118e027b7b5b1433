"""Freezes, releases and payments out of frozen money (6007, 6163), seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import grpc
import pytest

from jzb.v1 import core_pb2
from tests.world.freezes import freeze, freeze_request, frozen_order, pay_frozen, pay_frozen_request, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.orders import prepay


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    """A buyer with 200.00, and three sellers."""
    await shop.buyer("buyer", 200_00)
    for member_id in ("A", "B", "C"):
        await shop.merchant(member_id)
    return shop


async def test_frozen_money_is_not_available_and_no_fee_is_taken(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.frozen_fen, buyer.escrow_fen) == (100_00, 100_00, 0)
    assert market.sandbox.books.functional_fen("3") == 0
    found = await frozen_order(market, order_no)
    assert (found.member_id, found.frozen_fen, found.remaining_fen) == ("buyer", 100_00, 100_00)
    await market.assert_agrees()


async def test_a_release_of_100_with_fee_10_brings_90_back(market: Marketplace) -> None:
    # Quick start, 6007: its own example.
    order_no = await freeze(market, "buyer", 100_00)
    answer = await market.freezes.Release(release_request(market, order_no, 100_00, 10_00), timeout=TIMEOUT_S)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.frozen_fen) == (190_00, 0)
    assert market.sandbox.books.functional_fen("3") == 10_00
    await market.assert_agrees()


async def test_frozen_money_is_paid_to_two_members_with_the_fee_on_top(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("A", 50_00), ("B", 30_00)], fee_fen=8_00)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (await market.balance("A")).available_fen == 50_00
    assert (await market.balance("B")).available_fen == 30_00
    assert market.sandbox.books.functional_fen("3") == 8_00
    found = await frozen_order(market, order_no)
    assert (found.paid_fen, found.remaining_fen) == (88_00, 12_00)
    await market.freezes.Release(release_request(market, order_no, 12_00), timeout=TIMEOUT_S)
    found = await frozen_order(market, order_no)
    assert (found.frozen_fen, found.paid_fen, found.released_fen, found.remaining_fen) == (100_00, 88_00, 12_00, 0)
    assert (await market.balance("buyer")).available_fen == 112_00
    await market.assert_agrees()


async def test_every_row_and_the_fee_of_a_frozen_payment_have_serials_of_their_own(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    operation = await pay_frozen(market, order_no, [("A", 50_00), ("A", 20_00), ("B", 1_00)], fee_fen=1_00)
    rows = [part for part in operation.parts if part.payee_member_id]
    assert [(part.payee_member_id, part.amount_fen) for part in rows] == [("A", 50_00), ("A", 20_00), ("B", 1_00)]
    assert operation.serial not in {part.serial for part in rows}
    assert len({part.serial for part in operation.parts}) == 4
    await market.assert_agrees()


async def test_a_frozen_payment_beyond_the_freeze_counts_the_fee_and_names_what_is_left(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    refusal = await market.refusal(pay_frozen(market, order_no, [("A", 60_00), ("B", 35_00)], fee_fen=5_01))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ORDER_INSUFFICIENT")
    assert refusal.amounts == {"needed": 100_01, "left": 100_00}
    assert refusal.metadata["order_no"] == order_no
    assert (await market.balance("A")).available_fen == 0
    assert market.calls_received("MembershipTrancheFreeze") == 1
    await market.assert_agrees()


async def test_a_release_beyond_what_is_left_is_refused_with_both_amounts(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    await pay_frozen(market, order_no, [("A", 60_00)])
    request = release_request(market, order_no, 40_01)
    refusal = await market.refusal(market.freezes.Release(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.amounts) == ("ORDER_INSUFFICIENT", {"needed": 40_01, "left": 40_00})
    await market.assert_agrees()


async def test_a_release_and_a_payment_of_the_same_money_at_once_move_it_once(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    release = market.freezes.Release(release_request(market, order_no, 100_00), timeout=TIMEOUT_S)
    results = await asyncio.gather(release, pay_frozen(market, order_no, [("A", 100_00)]), return_exceptions=True)
    assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 1
    assert (await frozen_order(market, order_no)).remaining_fen == 0
    await market.assert_agrees()


@pytest.mark.parametrize("step", ["freeze", "release", "pay"])
async def test_a_lost_answer_is_unknown_then_done_and_equal(market: Marketplace, step: str) -> None:
    lose = "[[lose_after]]"
    call: Awaitable[object]
    if step == "freeze":
        call = market.freezes.Freeze(freeze_request(market, "buyer", 100_00, remark=lose), timeout=TIMEOUT_S)
        after = (100_00, 100_00)
    else:
        order_no = await freeze(market, "buyer", 100_00)
        if step == "release":
            call = market.freezes.Release(release_request(market, order_no, 40_00, 4_00, lose), timeout=TIMEOUT_S)
            after = (136_00, 60_00)
        else:
            request = pay_frozen_request(market, order_no, [("A", 30_00), ("B", 20_00)], 5_00, lose)
            call = market.freezes.PayFrozen(request, timeout=TIMEOUT_S)
            after = (100_00, 45_00)
    lost = await market.refusal(call)
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await market.balance("buyer")).held_fen == lost.operation.amount_fen
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.frozen_fen, buyer.held_fen) == (*after, 0)
    await market.assert_agrees()


async def test_a_freeze_in_doubt_is_neither_available_nor_frozen_yet(market: Marketplace) -> None:
    request = freeze_request(market, "buyer", 150_00, remark="[[lose_before]]")
    lost = await market.refusal(market.freezes.Freeze(request, timeout=TIMEOUT_S))
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    buyer = await market.balance("buyer")
    assert (buyer.available_fen, buyer.frozen_fen, buyer.held_fen) == (50_00, 0, 150_00)
    assert (await market.refusal(freeze(market, "buyer", 50_01))).amounts == {"needed": 50_01, "left": 50_00}
    assert (await frozen_order(market, request.order_no)).remaining_fen == 0
    # The bank never had it: after its "no such record" has come often enough, nothing happened.
    assert (await market.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    assert (await market.balance("buyer")).available_fen == 200_00
    await market.assert_agrees()


async def test_a_merchants_money_can_be_frozen_and_released_but_not_paid(market: Marketplace) -> None:
    await market.top_up("A", 50_00)
    order_no = await freeze(market, "A", 50_00)
    assert (await market.refusal(pay_frozen(market, order_no, [("B", 10_00)]))).reason == "MEMBER_CANNOT_PAY"
    await market.freezes.Release(release_request(market, order_no, 50_00), timeout=TIMEOUT_S)
    assert (await market.balance("A")).available_fen == 50_00
    await market.assert_agrees()


async def test_frozen_money_goes_to_merchants_other_than_its_owner_only(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 100_00)
    await market.buyer("friend")
    assert (await market.refusal(pay_frozen(market, order_no, [("friend", 1_00)]))).reason == "MEMBER_CANNOT_COLLECT"
    assert (await market.refusal(pay_frozen(market, order_no, [("buyer", 1_00)]))).reason == "SAME_MEMBER"
    assert (await market.refusal(pay_frozen(market, order_no, [("nobody", 1_00)]))).reason == "MEMBER_NOT_FOUND"
    assert (await frozen_order(market, order_no)).remaining_fen == 100_00
    await market.assert_agrees()


async def test_a_prepaid_order_is_no_freeze(market: Marketplace) -> None:
    order_no = await prepay(market, "buyer", "A", 10_00)
    for call in (frozen_order(market, order_no), pay_frozen(market, order_no, [("A", 1_00)])):
        refusal = await market.refusal(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")


async def test_a_freeze_number_is_used_once(market: Marketplace) -> None:
    order_no = await freeze(market, "buyer", 10_00)
    request = freeze_request(market, "buyer", 10_00, order_no)
    refusal = await market.refusal(market.freezes.Freeze(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ORDER_EXISTS")
    assert refusal.metadata["order_no"] == order_no
    assert (await market.balance("buyer")).frozen_fen == 10_00
    await market.assert_agrees()

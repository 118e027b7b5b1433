"""Bound cards: listed (6098), mended (6138), unbound (6065) and paid out to (6033), seen from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc
import pytest

from jzb.v1 import card_pb2, core_pb2, withdrawal_pb2
from sandbox.records import BoundCard
from tests.world.binding import (
    BOUND,
    OTHER_BANK,
    OTHER_CARD,
    UNBOUND,
    bank_cards,
    bound,
    check,
    get,
    listed,
    lost,
    refresh,
    sms_request,
    unbind,
)
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace


def correction(shop: Marketplace, card: card_pb2.Card, **more: str) -> card_pb2.CorrectCardBranchRequest:
    fields = {"branch_name": "平安银行新支行", "cnaps_no": "000000000003", **more}
    return card_pb2.CorrectCardBranchRequest(request_id=shop.request_id(), card_id=card.card_id, **fields)


def withdrawal(shop: Marketplace, member_id: str, card_id: str, fen: int, remark: str = "") -> Any:
    request = withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(), member_id=member_id, card_id=card_id, amount_fen=fen, remark=remark
    )
    return shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)


def at_the_bank(shop: Marketplace, card: BoundCard) -> None:
    """What somebody else than this service has done with a card."""
    shop.sandbox.bank.store.put(card)
    shop.sandbox.bank.store.commit()


@pytest.mark.parametrize("loses", [False, True])
async def test_a_branch_is_mended_without_a_new_check(shop: Marketplace, loses: bool) -> None:
    await shop.merchant("seller")
    card = await bound(shop, "seller")
    call = shop.cards.CorrectCardBranch(correction(shop, card), timeout=TIMEOUT_S)
    operation = await lost(shop, "6138", call) if loses else (await call).operation
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    mended = await get(shop, card.card_id)
    assert (mended.state, mended.branch_name, mended.cnaps_no) == (BOUND, "平安银行新支行", "000000000003")
    assert [(one.branch, one.cnaps) for one in bank_cards(shop)] == [("平安银行新支行", "000000000003")]


async def test_a_branch_needs_a_routing_number_and_a_bound_card(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, sms_request(shop, "seller"))
    refusal = await shop.refusal(shop.cards.CorrectCardBranch(correction(shop, card, cnaps_no=""), timeout=TIMEOUT_S))
    assert refusal.reason == "REQUEST_INVALID"
    refusal = await shop.refusal(shop.cards.CorrectCardBranch(correction(shop, card), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["state"]) == ("CARD_NOT_BOUND", "CHECKING")


@pytest.mark.parametrize("loses", [False, True])
async def test_a_card_is_unbound_once(shop: Marketplace, loses: bool) -> None:
    await shop.merchant("seller")
    card = await bound(shop, "seller")
    call = unbind(shop, card)
    operation = await lost(shop, "6065", call) if loses else (await call).operation
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    gone = await get(shop, card.card_id)
    assert gone.state == UNBOUND
    assert gone.HasField("end_time")
    assert await listed(shop, "seller") == []
    assert bank_cards(shop) == []
    assert (await shop.refusal(unbind(shop, card))).reason == "CARD_NOT_BOUND"


async def test_a_card_stays_bound_while_money_is_on_its_way_to_it(database: str) -> None:
    async with open_marketplace(database, {"withdrawal_delay_s": 3600.0, "bound_cards_only": True}) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
        accepted = (await withdrawal(shop, "seller", card.card_id, 60_00)).operation
        assert accepted.state == core_pb2.OPERATION_STATE_ACCEPTED
        refusal = await shop.refusal(unbind(shop, card))
        assert (refusal.reason, refusal.metadata["under_way_first"]) == ("MEMBER_STILL_NEEDED", accepted.operation_id)
        assert (await get(shop, card.card_id)).state == BOUND
        await shop.assert_agrees()
        shop.sandbox.bank.decide_withdrawal(accepted.serial, "success")
        assert (await shop.until_final(accepted.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        assert (await unbind(shop, card)).card.state == UNBOUND
        await shop.assert_agrees()


@pytest.mark.parametrize("loses", [False, True])
async def test_money_is_paid_out_to_a_card_by_its_card_id(database: str, loses: bool) -> None:
    async with open_marketplace(database, {"bound_cards_only": True}) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
        call = withdrawal(shop, "seller", card.card_id, 60_00, remark="[[lose_after]]" if loses else "")
        if loses:
            refusal = await shop.refusal(call)
            assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
            assert (await shop.balance("seller")).held_fen == 60_00
            operation_id = refusal.operation.operation_id
        else:
            operation_id = (await call).operation.operation_id
        assert (await shop.until_final(operation_id)).state == core_pb2.OPERATION_STATE_DONE
        assert (await shop.balance("seller")).available_fen == 40_00
        await shop.assert_agrees()


async def test_money_goes_to_no_card_of_another_member_nor_to_one_that_is_not_bound(database: str) -> None:
    async with open_marketplace(database, {"bound_cards_only": True}) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        await shop.merchant("other")
        others = await bound(shop, "other")
        checking = await check(shop, sms_request(shop, "seller", OTHER_CARD))
        for card in (others, checking):
            refusal = await shop.refusal(withdrawal(shop, "seller", card.card_id, 60_00))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CARD_NOT_BOUND")
        nobodys = "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11"
        assert (await shop.refusal(withdrawal(shop, "seller", nobodys, 60_00))).reason == "CARD_NOT_FOUND"
        assert shop.calls_received("MembershipWithdrawCash") == 0
        assert (await shop.balance("seller")).withdrawable_fen == 100_00
        await shop.assert_agrees()


async def test_a_card_that_was_bound_outside_is_learnt_from_the_banks_list(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await bound(shop, "seller")
    (here,) = bank_cards(shop)
    at_the_bank(shop, replace(here, card_no=OTHER_CARD, bank_type="2", branch="某某银行", super_bank="000000000002"))
    cards = await refresh(shop, "seller")
    assert [card.masked_number for card in cards] == ["****0001", "****0002"]
    learnt = cards[1]
    assert (learnt.check, learnt.state, learnt.bank_type) == (card_pb2.CARD_CHECK_BANK_LIST, BOUND, OTHER_BANK)
    assert (learnt.branch_name, learnt.super_bank_no) == ("某某银行", "000000000002")
    assert await refresh(shop, "seller") == cards
    # It is as good as one that was bound here.
    await shop.top_up("seller", 10_00)
    await shop.clear()
    paid = (await withdrawal(shop, "seller", learnt.card_id, 10_00)).operation
    assert (await shop.until_final(paid.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await unbind(shop, learnt)).card.state == UNBOUND
    await shop.assert_agrees()


async def test_a_card_that_the_bank_lists_no_more_is_unbound_here(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await bound(shop, "seller")
    (there,) = bank_cards(shop)
    at_the_bank(shop, replace(there, unbound=True))
    assert await refresh(shop, "seller") == []
    assert (await get(shop, card.card_id)).state == UNBOUND


async def test_a_question_for_the_list_that_gets_no_answer_changes_nothing(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await bound(shop, "seller")
    shop.sandbox.faults.add("http500", code="6098", times=None)
    request = card_pb2.RefreshCardsRequest(request_id=shop.request_id(), member_id="seller")
    refusal = await shop.refusal(shop.cards.RefreshCards(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
    assert await listed(shop, "seller") == [card]
    shop.sandbox.faults.clear()
    assert list((await shop.cards.RefreshCards(request, timeout=TIMEOUT_S)).cards) == [card]

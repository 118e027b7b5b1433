"""Cards bound by a small transfer (6055, 6061, 6064), seen from outside: out of the bank's pocket, or from the card."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from jzb.v1 import card_pb2, core_pb2
from tests.world.binding import (
    BOUND,
    CARD,
    CHECKING,
    FAILED,
    OTHER_BANK,
    OTHER_CARD,
    PAY_IN,
    PAY_OUT,
    LaterClock,
    check,
    get,
    last_code,
    listed,
    lost,
    paid_out_fen,
    pay_in,
    refresh,
    sms_request,
    transfer_request,
    with_amount,
    with_code,
)
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace

AGAIN_AT_ONCE = {"pay_out_interval_s": 0.0}
"""A mirror that leaves it to the bank when the next pay-out may be."""


def transfer(shop: Marketplace, request: card_pb2.CheckCardByTransferRequest) -> Any:
    return shop.cards.CheckCardByTransfer(request, timeout=TIMEOUT_S)


async def state_of(shop: Marketplace, card: card_pb2.Card) -> card_pb2.CardTransferState.ValueType:
    request = card_pb2.GetCardTransferRequest(card_id=card.card_id)
    state: card_pb2.CardTransferState.ValueType = (await shop.cards.GetCardTransfer(request, timeout=TIMEOUT_S)).state
    return state


async def test_a_card_is_bound_by_the_amount_that_reached_it_and_no_member_pays_it(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    assert (card.state, card.check, card.pay_in_fen) == (CHECKING, card_pb2.CARD_CHECK_PAY_OUT, 0)
    life = card.check_end_time.ToDatetime() - card.create_time.ToDatetime()
    assert 48 * 3600 - 1 < life.total_seconds() < 48 * 3600 + 5
    assert await state_of(shop, card) == card_pb2.CARD_TRANSFER_STATE_ARRIVED
    assert (await with_amount(shop, card, await paid_out_fen(shop))).card.state == BOUND
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


async def test_a_wrong_amount_is_counted_and_the_right_one_still_binds(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    right = await paid_out_fen(shop)
    refusal = await shop.refusal(with_amount(shop, card, right % 50 + 1))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR126")
    standing = await get(shop, card.card_id)
    assert (standing.state, standing.wrong_answers) == (CHECKING, 1)
    assert (await with_amount(shop, card, right)).card.state == BOUND


async def test_five_wrong_amounts_end_a_check(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    right = await paid_out_fen(shop)
    for _ in range(5):
        assert (await shop.refusal(with_amount(shop, card, right % 50 + 1))).metadata["bank_code"] == "ERR126"
    refusal = await shop.refusal(with_amount(shop, card, right))
    assert (refusal.reason, refusal.metadata["ended_by"]) == ("CARD_CHECK_ENDED", "wrong answers")
    assert await listed(shop, "seller") == []


async def test_an_amount_is_good_for_48_hours_at_the_bank(database: str) -> None:
    clock = LaterClock()
    async with open_marketplace(database, clock=clock, cards=AGAIN_AT_ONCE) as shop:
        await shop.merchant("seller")
        in_time = await check(shop, transfer_request(shop, "seller", PAY_OUT))
        clock.forward(48 * 3600 - 30)
        assert (await with_amount(shop, in_time, await paid_out_fen(shop))).card.state == BOUND
        late = await check(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD))
        clock.forward(48 * 3600 + 1)
        refusal = await shop.refusal(with_amount(shop, late, await paid_out_fen(shop)))
        assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR147")
        assert (await get(shop, late.card_id)).state == FAILED


async def test_an_amount_that_is_late_by_the_mirrors_clock_is_not_sent(database: str) -> None:
    async with open_marketplace(database, cards={"transfer_life_s": 0.05}) as shop:
        await shop.merchant("seller")
        card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
        await asyncio.sleep(0.1)
        refusal = await shop.refusal(with_amount(shop, card, await paid_out_fen(shop)))
        assert (refusal.reason, refusal.metadata["ended_by"]) == ("CARD_CHECK_ENDED", "time")


async def test_the_bank_pays_out_to_a_member_once_in_24_hours(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await shop.merchant("other")
    first = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    refusal = await shop.refusal(transfer(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CARD_TRANSFER_TOO_SOON")
    assert refusal.metadata["card_id"] == first.card_id
    assert refusal.retry_after_s is not None
    assert 23.9 * 3600 < refusal.retry_after_s <= 24 * 3600
    # A pay-in costs the bank nothing, and another member has 24 hours of its own.
    assert (await check(shop, transfer_request(shop, "seller", PAY_IN, OTHER_CARD))).state == CHECKING
    assert (await check(shop, transfer_request(shop, "other", PAY_OUT))).state == CHECKING


async def test_the_bank_says_itself_when_a_pay_out_is_too_soon_and_24_hours_later_pays(database: str) -> None:
    clock = LaterClock()
    async with open_marketplace(database, clock=clock, cards=AGAIN_AT_ONCE) as shop:
        await shop.merchant("seller")
        await check(shop, transfer_request(shop, "seller", PAY_OUT))
        clock.forward(24 * 3600 - 60)
        refusal = await shop.refusal(transfer(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD)))
        assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR145")
        clock.forward(61)
        assert (await check(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD))).state == CHECKING


async def test_a_card_is_bound_once_its_holder_has_paid_in_exactly_what_was_asked(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    card = await check(shop, transfer_request(shop, "seller", PAY_IN))
    assert (card.state, card.check) == (CHECKING, card_pb2.CARD_CHECK_PAY_IN)
    assert 1 <= card.pay_in_fen <= 50
    refusal = await shop.refusal(with_amount(shop, card, 0))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR265")
    assert (await get(shop, card.card_id)).wrong_answers == 0
    await pay_in(shop, "seller", card.pay_in_fen)
    assert (await with_amount(shop, card, 0)).card.state == BOUND
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


async def test_an_amount_is_given_for_a_pay_out_and_none_for_a_pay_in(shop: Marketplace) -> None:
    await shop.merchant("seller")
    out = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    into = await check(shop, transfer_request(shop, "seller", PAY_IN, OTHER_CARD))
    for card, fen in ((out, 0), (into, into.pay_in_fen)):
        refusal = await shop.refusal(with_amount(shop, card, fen))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
        assert "received_fen" in refusal.violations


async def test_an_answer_fits_only_the_kind_of_check_it_is_for(shop: Marketplace) -> None:
    await shop.merchant("seller")
    by_sms = await check(shop, sms_request(shop, "seller"))
    by_amount = await check(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD))
    for call in (with_amount(shop, by_sms, 1), with_code(shop, by_amount, await last_code(shop))):
        refusal = await shop.refusal(call)
        assert (refusal.reason, refusal.metadata["ended_by"]) == ("CARD_CHECK_ENDED", "kind")
    assert (await shop.refusal(state_of(shop, by_sms))).reason == "CARD_CHECK_ENDED"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "one of its routing numbers"),
        (
            {"identity_type": card_pb2.IDENTITY_TYPE_SOCIAL_CREDIT_CODE, "super_bank_no": "000000000002"},
            "needs its CNAPS number",
        ),
    ],
)
async def test_another_banks_card_needs_a_routing_number_and_a_companys_account_the_cnaps_number(
    shop: Marketplace, fields: dict[str, Any], says: str
) -> None:
    await shop.merchant("seller")
    request = transfer_request(shop, "seller", PAY_OUT, bank_type=OTHER_BANK, **fields)
    refusal = await shop.refusal(transfer(shop, request))
    assert refusal.reason == "REQUEST_INVALID"
    assert says in str(refusal.violations)
    enough = transfer_request(shop, "seller", PAY_OUT, bank_type=OTHER_BANK, **{**fields, "cnaps_no": "000000000001"})
    card = await check(shop, enough)
    assert (await with_amount(shop, card, await paid_out_fen(shop))).card.state == BOUND


async def test_a_pay_out_whose_answer_is_lost_is_found_by_6061_and_its_amount_binds(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    ended = await lost(shop, "6055", transfer(shop, transfer_request(shop, "seller", PAY_OUT)))
    assert ended.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received("SmallAmountTransferQuery") == 1
    (card,) = await listed(shop, "seller")
    assert (card.state, card.HasField("check_end_time")) == (CHECKING, True)
    assert (await with_amount(shop, card, await paid_out_fen(shop))).card.state == BOUND
    await shop.assert_agrees()


async def test_a_pay_out_that_the_bank_never_saw_ends_refused_and_is_begun_anew_at_once(shop: Marketplace) -> None:
    await shop.merchant("seller")
    shop.sandbox.faults.add("lose_before", code="6055")
    refusal = await shop.refusal(transfer(shop, transfer_request(shop, "seller", PAY_OUT)))
    ended = await shop.until_final(refusal.operation.operation_id)
    assert ended.state == core_pb2.OPERATION_STATE_REFUSED
    assert await listed(shop, "seller") == []
    card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    assert (await with_amount(shop, card, await paid_out_fen(shop))).card.state == BOUND


async def test_a_pay_in_whose_answer_is_lost_ends_refused_and_is_begun_anew(shop: Marketplace) -> None:
    await shop.merchant("seller")
    ended = await lost(shop, "6055", transfer(shop, transfer_request(shop, "seller", PAY_IN)))
    assert ended.state == core_pb2.OPERATION_STATE_REFUSED
    assert await listed(shop, "seller") == []
    card = await check(shop, transfer_request(shop, "seller", PAY_IN))
    await pay_in(shop, "seller", card.pay_in_fen)
    assert (await with_amount(shop, card, 0)).card.state == BOUND


@pytest.mark.parametrize("direction", [PAY_OUT, PAY_IN])
async def test_an_amount_whose_answer_is_lost_has_bound_the_card(
    shop: Marketplace, direction: card_pb2.TransferDirection.ValueType
) -> None:
    await shop.merchant("seller", 100_00)
    card = await check(shop, transfer_request(shop, "seller", direction))
    received_fen = 0
    if direction == PAY_IN:
        await pay_in(shop, "seller", card.pay_in_fen, CARD)
    else:
        received_fen = await paid_out_fen(shop)
    ended = await lost(shop, "6064", with_amount(shop, card, received_fen))
    assert ended.state == core_pb2.OPERATION_STATE_DONE
    assert (await get(shop, card.card_id)).state == BOUND
    assert [one.card_id for one in await refresh(shop, "seller")] == [card.card_id]
    await shop.assert_agrees()


async def test_a_wrong_amount_whose_answer_is_lost_binds_nothing(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, transfer_request(shop, "seller", PAY_OUT))
    right = await paid_out_fen(shop)
    ended = await lost(shop, "6064", with_amount(shop, card, right % 50 + 1))
    assert ended.state == core_pb2.OPERATION_STATE_REFUSED
    assert (await get(shop, card.card_id)).state == CHECKING
    assert (await with_amount(shop, card, right)).card.state == BOUND

"""Cards bound by an SMS code (6066, 6067), seen from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from jzb.v1 import card_pb2, core_pb2
from tests.world.binding import (
    BOUND,
    CARD,
    CHECKING,
    FAILED,
    OTHER_BANK,
    OTHER_CARD,
    LaterClock,
    bank_cards,
    bound,
    check,
    get,
    last_code,
    listed,
    lost,
    other_than,
    sms_request,
    unbind,
    with_code,
)
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace

CHECK = "BindRelateAcctUnionPay"


def sms(shop: Marketplace, request: card_pb2.CheckCardBySmsRequest) -> Any:
    return shop.cards.CheckCardBySms(request, timeout=TIMEOUT_S)


async def test_a_card_is_bound_by_the_code_that_its_holder_got(shop: Marketplace) -> None:
    await shop.merchant("seller")
    begun = await sms(shop, sms_request(shop, "seller"))
    assert begun.operation.state == core_pb2.OPERATION_STATE_DONE
    card = begun.card
    assert (card.state, card.check, card.member_id) == (CHECKING, card_pb2.CARD_CHECK_SMS, "seller")
    life_s = card.check_end_time.ToDatetime() - card.create_time.ToDatetime()
    assert 119 < life_s.total_seconds() < 125
    assert bank_cards(shop) == []
    confirmed = await with_code(shop, card, await last_code(shop))
    assert confirmed.operation.state == core_pb2.OPERATION_STATE_DONE
    assert confirmed.card.state == BOUND
    assert confirmed.card.HasField("bind_time")
    assert not confirmed.card.HasField("check_end_time")
    assert await get(shop, card.card_id) == confirmed.card
    assert await listed(shop, "seller") == [confirmed.card]
    assert [one.card_no for one in bank_cards(shop)] == [CARD]


async def test_the_same_check_sent_twenty_times_at_once_texts_one_code(shop: Marketplace) -> None:
    await shop.merchant("seller")
    request = sms_request(shop, "seller")
    answers = await asyncio.gather(*(sms(shop, request) for _ in range(20)))
    assert len({answer.card.card_id for answer in answers}) == 1
    assert len(await listed(shop, "seller")) == 1


async def test_a_code_is_good_for_120_seconds_at_the_bank(database: str) -> None:
    clock = LaterClock()
    async with open_marketplace(database, clock=clock) as shop:
        await shop.merchant("seller")
        in_time = await check(shop, sms_request(shop, "seller"))
        clock.forward(115)
        assert (await with_code(shop, in_time, await last_code(shop))).card.state == BOUND
        late = await check(shop, sms_request(shop, "seller", OTHER_CARD))
        clock.forward(121)
        refusal = await shop.refusal(with_code(shop, late, await last_code(shop)))
        assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR163")
        assert (await get(shop, late.card_id)).state == FAILED
        assert (await bound(shop, "seller", OTHER_CARD)).card_id != late.card_id


async def test_a_code_that_is_late_by_the_mirrors_clock_is_not_sent(database: str) -> None:
    async with open_marketplace(database, cards={"sms_life_s": 0.05}) as shop:
        await shop.merchant("seller")
        card = await check(shop, sms_request(shop, "seller"))
        await asyncio.sleep(0.1)
        refusal = await shop.refusal(with_code(shop, card, await last_code(shop)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CARD_CHECK_ENDED")
        assert (refusal.metadata["ended_by"], refusal.outcome) == ("time", core_pb2.OUTCOME_NO_EFFECT)
        assert await listed(shop, "seller") == []
        assert bank_cards(shop) == []


async def test_a_wrong_code_is_counted_and_the_right_one_still_binds(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, sms_request(shop, "seller"))
    code = await last_code(shop)
    for tries in range(1, 5):
        refusal = await shop.refusal(with_code(shop, card, other_than(code)))
        assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR138")
        standing = await get(shop, card.card_id)
        assert (standing.state, standing.wrong_answers) == (CHECKING, tries)
    assert (await with_code(shop, card, code)).card.state == BOUND


async def test_five_wrong_codes_end_a_check_though_the_right_one_comes_sixth(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, sms_request(shop, "seller"))
    code = await last_code(shop)
    for _ in range(5):
        assert (await shop.refusal(with_code(shop, card, other_than(code)))).metadata["bank_code"] == "ERR138"
    refusal = await shop.refusal(with_code(shop, card, code))
    assert (refusal.reason, refusal.metadata["ended_by"]) == ("CARD_CHECK_ENDED", "wrong answers")
    assert await listed(shop, "seller") == []
    assert (await bound(shop, "seller")).card_id != card.card_id


async def test_a_card_is_checked_six_times_a_day_whoever_asks(database: str) -> None:
    clock = LaterClock()
    async with open_marketplace(database, clock=clock) as shop:
        for member_id in ("seller", "other"):
            await shop.merchant(member_id)
        for number in range(6):
            await check(shop, sms_request(shop, ("seller", "other")[number % 2]))
            clock.forward(121)
        refusal = await shop.refusal(sms(shop, sms_request(shop, "seller")))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CARD_CHECKS_USED_UP")
        assert refusal.metadata["limit"] == "6"
        assert CARD not in refusal.message
        assert shop.calls_received(CHECK) == 6
        assert (await bound(shop, "seller", OTHER_CARD)).state == BOUND


async def test_a_card_that_is_bound_is_not_checked_again(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await bound(shop, "seller")
    refusal = await shop.refusal(sms(shop, sms_request(shop, "seller")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CARD_ALREADY_BOUND")
    assert refusal.metadata["card_id"] == card.card_id
    refusal = await shop.refusal(with_code(shop, card, await last_code(shop)))
    assert (refusal.reason, refusal.metadata["ended_by"]) == ("CARD_CHECK_ENDED", "bound")


async def test_one_card_belongs_to_one_customer(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await shop.merchant("other")
    card = await bound(shop, "seller")
    refusal = await shop.refusal(sms(shop, sms_request(shop, "other")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CARD_BOUND_ELSEWHERE")
    assert refusal.metadata["member_id"] == "seller"
    await unbind(shop, card)
    assert (await bound(shop, "other")).member_id == "other"


async def test_one_card_serves_two_customers_where_the_bank_allows_it(database: str) -> None:
    async with open_marketplace(database, {"shared_cards": True}, cards={"shared": True}) as shop:
        await shop.merchant("seller")
        await shop.merchant("other")
        assert (await bound(shop, "seller")).card_id != (await bound(shop, "other")).card_id
        assert len(bank_cards(shop)) == 2


async def test_another_banks_card_needs_its_super_network_number(shop: Marketplace) -> None:
    await shop.merchant("seller")
    refusal = await shop.refusal(sms(shop, sms_request(shop, "seller", bank_type=OTHER_BANK, cnaps_no="000000000001")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert "super-network number" in str(refusal.violations)
    assert shop.calls_received(CHECK) == 0
    card = await bound(shop, "seller", bank_type=OTHER_BANK, super_bank_no="000000000002")
    assert (card.bank_type, card.super_bank_no) == (OTHER_BANK, "000000000002")


async def test_the_first_card_fixes_the_holder_of_the_next(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await bound(shop, "seller")
    refusal = await shop.refusal(sms(shop, sms_request(shop, "seller", OTHER_CARD, holder="测试乙")))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR175")
    assert [card.masked_number for card in await listed(shop, "seller")] == ["****0001"]
    assert (await bound(shop, "seller", OTHER_CARD)).masked_number == "****0002"


async def test_a_check_whose_answer_is_lost_ends_refused_and_is_begun_anew(database: str) -> None:
    clock = LaterClock()
    async with open_marketplace(database, clock=clock) as shop:
        await shop.merchant("seller")
        ended = await lost(shop, "6066", sms(shop, sms_request(shop, "seller")))
        assert ended.state == core_pb2.OPERATION_STATE_REFUSED
        assert await listed(shop, "seller") == []
        early = await shop.refusal(sms(shop, sms_request(shop, "seller")))
        assert early.metadata["bank_code"] == "ERR135"
        clock.forward(121)
        assert (await bound(shop, "seller")).state == BOUND
        assert [one.card_no for one in bank_cards(shop)] == [CARD]


async def test_a_check_whose_answer_is_lost_is_done_when_the_bank_turns_out_to_have_bound_the_card(
    shop: Marketplace,
) -> None:
    await shop.merchant("seller")
    shop.sandbox.faults.add("lose_after", code="6066")
    refusal = await shop.refusal(sms(shop, sms_request(shop, "seller")))
    (card,) = await listed(shop, "seller")
    assert card.state == CHECKING
    # The code of the text is good, whether or not this service has heard of it.
    assert (await with_code(shop, card, await last_code(shop))).card.state == BOUND
    assert (await shop.until_final(refusal.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await get(shop, card.card_id)).state == BOUND


async def test_a_code_whose_answer_is_lost_has_bound_the_card(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, sms_request(shop, "seller"))
    code = await last_code(shop)
    ended = await lost(shop, "6067", with_code(shop, card, code))
    assert ended.state == core_pb2.OPERATION_STATE_DONE
    assert [one.state for one in await listed(shop, "seller")] == [BOUND]


async def test_a_wrong_code_whose_answer_is_lost_binds_nothing_and_the_right_one_does(shop: Marketplace) -> None:
    await shop.merchant("seller")
    card = await check(shop, sms_request(shop, "seller"))
    code = await last_code(shop)
    ended = await lost(shop, "6067", with_code(shop, card, other_than(code)))
    assert ended.state == core_pb2.OPERATION_STATE_REFUSED
    assert (await get(shop, card.card_id)).state == CHECKING
    assert (await with_code(shop, card, code)).card.state == BOUND

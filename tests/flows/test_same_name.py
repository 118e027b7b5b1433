"""Twins: the ordinary sub-account and the merchant of one customer, linked (6167), seen from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest

from jzb.v1 import core_pb2, member_pb2
from tests.sandbox.choices import BankChoices
from tests.world.binding import BOUND, OTHER_CARD, bound, check, listed, lost, sms_request, unbind
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.verifying import MODES, Mode, verification

LINK = "LinkSameNameSubAccounts"
SERVICE_IDS = {"6167": LINK}
"""An id for the interface that has no public one; bank and service are told the same."""

DONE = core_pb2.OPERATION_STATE_DONE


def twin_market(database: str, **settings: Any) -> AbstractAsyncContextManager[Marketplace]:
    """A marketplace whose bank links twins and verifies payments."""
    bank: BankChoices = {"service_ids": SERVICE_IDS}
    return open_marketplace(database, bank, bank=bank, rules={"verification": MODES}, **settings)


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Marketplace]:
    async with twin_market(database) as shop:
        yield shop


def link_request(
    shop: Marketplace, ordinary: str = "private", merchant: str = "trade"
) -> member_pb2.LinkSameNameRequest:
    return member_pb2.LinkSameNameRequest(
        request_id=shop.request_id(),
        ordinary_member_id=ordinary,
        merchant_member_id=merchant,
        ordinary_nickname="私名",
        merchant_nickname="商名",
    )


def link(shop: Marketplace, ordinary: str = "private", merchant: str = "trade") -> Any:
    return shop.members.LinkSameName(link_request(shop, ordinary, merchant), timeout=TIMEOUT_S)


async def get(shop: Marketplace, member_id: str) -> member_pb2.Member:
    answer = await shop.members.GetMember(member_pb2.GetMemberRequest(member_id=member_id), timeout=TIMEOUT_S)
    found: member_pb2.Member = answer.member
    return found


async def test_a_customer_gets_both_sub_accounts_at_once(shop: Marketplace) -> None:
    answer = await link(shop)
    assert answer.operation.state == DONE
    ordinary, merchant = answer.ordinary, answer.merchant
    assert (ordinary.property, ordinary.same_name_member_id) == (member_pb2.MEMBER_PROPERTY_ORDINARY, "trade")
    assert (merchant.property, merchant.same_name_member_id) == (member_pb2.MEMBER_PROPERTY_MERCHANT, "private")
    assert ordinary.sub_account != merchant.sub_account
    assert (await get(shop, "private"), await get(shop, "trade")) == (ordinary, merchant)
    await shop.top_up("private", 10_00)
    await shop.assert_agrees()


@pytest.mark.parametrize("known", ["private", "trade"])
async def test_the_missing_one_is_added_to_the_one_that_has_money_already(shop: Marketplace, known: str) -> None:
    if known == "private":
        await shop.buyer(known, 10_00)
    else:
        await shop.merchant(known, 10_00)
    before = await get(shop, known)
    answer = await link(shop)
    assert answer.operation.state == DONE
    assert (await get(shop, known)).sub_account == before.sub_account
    assert {answer.ordinary.same_name_member_id, answer.merchant.same_name_member_id} == {"private", "trade"}
    assert (await shop.balance(known)).available_fen == 10_00
    await shop.assert_agrees()


@pytest.mark.parametrize("known", ["", "private", "trade"])
async def test_twins_whose_answer_is_lost_are_found_by_both_member_codes(shop: Marketplace, known: str) -> None:
    if known == "private":
        await shop.buyer(known)
    elif known == "trade":
        await shop.merchant(known)
    assert (await lost(shop, "6167", link(shop))).state == DONE
    assert shop.calls_received("QueryCustAcctIdByThirdCustId") == 2
    assert (await get(shop, "private")).same_name_member_id == "trade"
    assert (await get(shop, "trade")).same_name_member_id == "private"
    await shop.top_up("private", 10_00)
    await shop.pay("private", "trade", 10_00)
    await shop.assert_agrees()


async def test_twins_that_the_bank_never_saw_end_refused_and_are_linked_anew(shop: Marketplace) -> None:
    shop.sandbox.faults.add("lose_before", code="6167")
    refusal = await shop.refusal(link(shop))
    ended = await shop.until_final(refusal.operation.operation_id)
    assert ended.state == core_pb2.OPERATION_STATE_REFUSED
    assert (await shop.refusal(get(shop, "private"))).reason == "MEMBER_NOT_FOUND"
    assert (await link(shop)).operation.state == DONE


async def test_without_its_service_id_linking_is_refused_and_the_setting_is_named(database: str) -> None:
    async with open_marketplace(database) as shop:
        refusal = await shop.refusal(link(shop))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INTERFACE_NOT_ENABLED")
        assert (refusal.metadata["interface"], refusal.outcome) == ("6167", core_pb2.OUTCOME_NO_EFFECT)
        assert "JZB_BANK__SERVICE_IDS" in refusal.metadata["setting"]
        assert (await shop.refusal(get(shop, "private"))).reason == "MEMBER_NOT_FOUND"


async def test_nobody_is_linked_twice_nor_with_a_member_that_cannot_be_its_twin(shop: Marketplace) -> None:
    await link(shop)
    refusal = await shop.refusal(link(shop, "private", "trade_2"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SAME_NAME_LINKED")
    assert (refusal.metadata["member_id"], refusal.metadata["same_name_member_id"]) == ("private", "trade")
    assert (await shop.refusal(link(shop, "alone", "alone"))).reason == "SAME_MEMBER"
    await shop.buyer("buyer")
    await shop.merchant("seller")
    # A merchant is no ordinary member, and two that exist already are not linked.
    for ordinary, merchant in (("seller", "new"), ("new", "buyer"), ("buyer", "seller")):
        refusal = await shop.refusal(link(shop, ordinary, merchant))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "MEMBER_EXISTS")
    close = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id="seller")
    await shop.members.CloseMember(close, timeout=TIMEOUT_S)
    assert (await shop.refusal(link(shop, "new", "seller"))).reason == "MEMBER_CLOSED"
    assert shop.calls_received(LINK) == 1


async def test_the_ordinary_twin_pays_the_merchant_as_anybody_does(shop: Marketplace) -> None:
    await link(shop)
    await shop.top_up("private", 100_00)
    assert (await shop.pay("private", "trade", 30_00)).state == DONE
    assert (await shop.balance("private")).available_fen == 70_00
    assert (await shop.balance("trade")).available_fen == 30_00
    await shop.assert_agrees()


async def test_a_merchant_pays_its_ordinary_twin_only_verified(shop: Marketplace) -> None:
    await link(shop)
    await shop.top_up("trade", 100_00)
    refusal = await shop.refusal(shop.pay("trade", "private", 30_00))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VERIFICATION_REQUIRED")
    assert (refusal.metadata["payer_member_id"], refusal.metadata["payee_member_id"]) == ("trade", "private")
    assert shop.calls_received("MemberTransaction") == 0
    assert (await shop.balance("trade")).available_fen == 100_00
    await shop.assert_agrees()


@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("mode", ["sms", "password"])
async def test_verified_money_goes_from_a_merchant_to_its_ordinary_twin(
    shop: Marketplace, mode: Mode, loses: bool
) -> None:
    await link(shop)
    await shop.top_up("trade", 100_00)
    request = shop.pay_request("trade", "private", 30_00, 1_00)
    request.verification.CopyFrom(await verification(shop, mode, "trade", 30_00, "private"))
    call = shop.payments.Pay(request, timeout=TIMEOUT_S)
    interface = {"sms": "6101", "password": "6006"}[mode]
    operation = await lost(shop, interface, call) if loses else (await call).operation
    assert operation.state == DONE
    assert (await shop.balance("trade")).available_fen == 70_00
    assert (await shop.balance("private")).available_fen == 29_00
    await shop.assert_agrees()


async def test_a_merchant_pays_no_other_ordinary_member_however_verified(shop: Marketplace) -> None:
    await link(shop)
    await shop.top_up("trade", 100_00)
    await shop.buyer("stranger")
    request = shop.pay_request("trade", "stranger", 30_00)
    request.verification.CopyFrom(await verification(shop, "sms", "trade", 30_00, "private"))
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_CANNOT_PAY")
    await shop.assert_agrees()


async def test_one_check_of_a_card_serves_both_twins(shop: Marketplace) -> None:
    await link(shop)
    first = await bound(shop, "trade")
    second = await check(shop, sms_request(shop, "private"))
    assert (second.state, second.card_id == first.card_id) == (BOUND, False)
    assert [card.state for card in await listed(shop, "private")] == [BOUND]
    # Each twin unbinds for itself, and a card new to both is checked.
    await unbind(shop, first)
    assert [card.state for card in await listed(shop, "private")] == [BOUND]
    assert (await check(shop, sms_request(shop, "private", OTHER_CARD))).state != BOUND


async def test_a_card_of_a_twin_whose_answer_is_lost_is_bound(shop: Marketplace) -> None:
    await link(shop)
    await bound(shop, "trade")
    call = shop.cards.CheckCardBySms(sms_request(shop, "private"), timeout=TIMEOUT_S)
    assert (await lost(shop, "6066", call)).state == DONE
    assert [card.state for card in await listed(shop, "private")] == [BOUND]

"""Members and their sub-accounts (6000, 6092), seen from outside."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from jzb.v1 import core_pb2, member_pb2
from service.rpc.pages import page_token
from tests.world.freezes import freeze, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says, open_marketplace

ORDINARY = member_pb2.MEMBER_PROPERTY_ORDINARY
MERCHANT = member_pb2.MEMBER_PROPERTY_MERCHANT


def open_request(
    shop: Marketplace, member_id: str, kind: member_pb2.MemberProperty.ValueType = ORDINARY, nickname: str = ""
) -> member_pb2.OpenMemberRequest:
    return member_pb2.OpenMemberRequest(
        request_id=shop.request_id(), member_id=member_id, property=kind, nickname=nickname
    )


async def close(shop: Marketplace, member_id: str) -> member_pb2.CloseMemberResponse:
    request = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id=member_id)
    answer: member_pb2.CloseMemberResponse = await shop.members.CloseMember(request, timeout=TIMEOUT_S)
    return answer


async def get(shop: Marketplace, member_id: str) -> member_pb2.Member:
    request = member_pb2.GetMemberRequest(member_id=member_id)
    found: member_pb2.Member = (await shop.members.GetMember(request, timeout=TIMEOUT_S)).member
    return found


@pytest.mark.parametrize("kind", [ORDINARY, MERCHANT])
async def test_a_member_is_opened_with_the_number_that_the_bank_gives(
    shop: Marketplace, kind: member_pb2.MemberProperty.ValueType
) -> None:
    answer = await shop.members.OpenMember(open_request(shop, "m_1", kind), timeout=TIMEOUT_S)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert answer.member.state == member_pb2.MEMBER_STATE_OPEN
    assert answer.member.property == kind
    assert len(answer.member.sub_account) == 16
    assert await get(shop, "m_1") == answer.member
    assert (await shop.balance("m_1")).available_fen == 0
    await shop.assert_agrees()


async def test_the_same_opening_sent_twenty_times_at_once_opens_one_sub_account(shop: Marketplace) -> None:
    request = open_request(shop, "m_1")
    answers = await asyncio.gather(*(shop.members.OpenMember(request, timeout=TIMEOUT_S) for _ in range(20)))
    assert len({answer.member.sub_account for answer in answers}) == 1
    assert shop.calls_received("OpenCustAcctId") == 1


async def test_a_member_code_is_used_once(shop: Marketplace) -> None:
    await shop.buyer("m_1")
    refusal = await shop.refusal(shop.members.OpenMember(open_request(shop, "m_1", MERCHANT), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "MEMBER_EXISTS")
    assert refusal.metadata["sub_account"] == (await get(shop, "m_1")).sub_account
    assert (await get(shop, "m_1")).property == ORDINARY


async def test_one_member_code_opened_by_two_requests_at_once_is_one_member(shop: Marketplace) -> None:
    results = await asyncio.gather(
        *(shop.members.OpenMember(open_request(shop, "m_1"), timeout=TIMEOUT_S) for _ in range(2)),
        return_exceptions=True,
    )
    errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(errors) == 1
    assert (await get(shop, "m_1")).state == member_pb2.MEMBER_STATE_OPEN
    await shop.assert_agrees()


async def test_an_opening_whose_answer_is_lost_is_found_by_its_member_code(shop: Marketplace) -> None:
    request = open_request(shop, "m_1", MERCHANT, nickname="[[lose_after]]")
    lost = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.refusal(get(shop, "m_1"))).reason == "MEMBER_NOT_FOUND"
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received("QueryCustAcctIdByThirdCustId") >= 1
    assert (await get(shop, "m_1")).property == MERCHANT
    await shop.top_up("m_1", 5_00)
    await shop.assert_agrees()


async def test_an_opening_that_the_bank_never_saw_is_refused_in_the_end_and_can_be_asked_again(
    shop: Marketplace,
) -> None:
    request = open_request(shop, "m_1", nickname="[[lose_before]]")
    lost = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    answer = await shop.members.OpenMember(open_request(shop, "m_1"), timeout=TIMEOUT_S)
    assert answer.member.state == member_pb2.MEMBER_STATE_OPEN


async def test_a_closed_member_moves_no_money_any_more(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    await shop.merchant("seller")
    closed = await close(shop, "seller")
    assert closed.member.state == member_pb2.MEMBER_STATE_CLOSED
    assert closed.member.HasField("close_time")
    for call in (shop.pay("buyer", "seller", 1_00), shop.top_up("seller", 1_00), close(shop, "seller")):
        refusal = await shop.refusal(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_CLOSED")
    assert (await get(shop, "seller")).state == member_pb2.MEMBER_STATE_CLOSED
    await shop.assert_agrees()


async def test_a_closing_whose_answer_is_lost_is_done_once_the_bank_does_not_know_the_member(
    shop: Marketplace,
) -> None:
    await shop.merchant("seller")
    shop.sandbox.faults.add("lose_after", code="6000")
    lost = await shop.refusal(close(shop, "seller"))
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await get(shop, "seller")).state == member_pb2.MEMBER_STATE_CLOSED


async def test_a_member_with_money_of_any_kind_is_not_closed(database: str) -> None:
    async with open_marketplace(database, rules={"close_while_refundable": True}) as shop:
        await not_closed_with_money(shop)


async def not_closed_with_money(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    sent = shop.calls_received("OpenCustAcctId")
    refusal = await shop.refusal(close(shop, "buyer"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_NOT_EMPTY")
    assert refusal.metadata["balance_fen"] == "1000"
    order_no = await freeze(shop, "buyer", 10_00)
    assert (await shop.refusal(close(shop, "buyer"))).reason == "MEMBER_NOT_EMPTY"
    await shop.merchant("seller")
    await shop.freezes.Release(release_request(shop, order_no, 10_00), timeout=TIMEOUT_S)
    request = shop.pay_request("buyer", "seller", 10_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (await shop.refusal(close(shop, "buyer"))).reason == "MEMBER_NOT_EMPTY"
    assert shop.calls_received("OpenCustAcctId") == sent + 1
    await shop.until_final(lost.operation.operation_id)
    assert (await close(shop, "buyer")).member.state == member_pb2.MEMBER_STATE_CLOSED


async def test_an_unknown_member_is_not_found_by_any_call(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    calls = [
        get(shop, "nobody"),
        close(shop, "nobody"),
        shop.balance("nobody"),
        shop.top_up("nobody", 1),
        shop.pay("buyer", "nobody", 1),
        freeze(shop, "nobody", 1),
    ]
    for call in calls:
        refusal = await shop.refusal(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")
        assert refusal.metadata["member_id"] == "nobody"
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT


async def test_members_are_listed_in_pages_each_once(shop: Marketplace) -> None:
    names = [await shop.merchant(f"m_{number}") for number in range(5)]
    listed: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        request = member_pb2.ListMembersRequest(page_size=2, page_token=token)
        page = await shop.members.ListMembers(request, timeout=TIMEOUT_S)
        assert len(page.members) <= 2
        listed += [member.member_id for member in page.members]
        token, pages = page.next_page_token, pages + 1
    assert listed == names
    damaged = member_pb2.ListMembersRequest(page_token="%%%")
    refusal = await shop.refusal(shop.members.ListMembers(damaged, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("number", ["", "null", "9930 1", "9" * 33])
async def test_what_is_no_sub_account_number_makes_nobody_a_member(shop: Marketplace, number: str) -> None:
    request = open_request(shop, "m_1")
    with bank_says(shop.sandbox, "OpenCustAcctId", lambda answer: answer.update(SubAcctNo=number)):
        refusal = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
    assert refusal.reason == "BANK_OUTCOME_UNKNOWN"
    with bank_says(shop.sandbox, "QueryCustAcctIdByThirdCustId", lambda answer: answer.update(SubAcctNo=number)):
        assert (await shop.resolve(refusal.operation.operation_id)).state == core_pb2.OPERATION_STATE_UNKNOWN
    assert (await shop.until_final(refusal.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert len((await get(shop, "m_1")).sub_account) == 16


async def test_the_number_of_another_member_is_not_given_to_a_second_one(shop: Marketplace) -> None:
    await shop.buyer("m_1")
    taken = (await get(shop, "m_1")).sub_account
    request = open_request(shop, "m_2")
    with bank_says(shop.sandbox, "OpenCustAcctId", lambda answer: answer.update(SubAcctNo=taken)):
        refusal = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.operation.state) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OPERATION_STATE_UNKNOWN)
    with bank_says(shop.sandbox, "QueryCustAcctIdByThirdCustId", lambda answer: answer.update(SubAcctNo=taken)):
        asked = await shop.resolve(refusal.operation.operation_id)
    assert asked.state == core_pb2.OPERATION_STATE_UNKNOWN
    assert "which is of m_1 here" in asked.message
    assert (await shop.until_final(refusal.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await get(shop, "m_2")).sub_account != taken
    await shop.assert_agrees()


@pytest.mark.parametrize("start", ["\0", "a\x7f", "\u2028"])
async def test_a_token_with_a_control_character_is_refused(shop: Marketplace, start: str) -> None:
    request = member_pb2.ListMembersRequest(page_token=page_token(start, member_pb2.ListMembersRequest()))
    refusal = await shop.refusal(shop.members.ListMembers(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["field"]) == ("PAGE_TOKEN_INVALID", "page_token")

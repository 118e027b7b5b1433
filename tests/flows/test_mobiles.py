"""The mobile to which the bank texts a member's codes is changed (6083, 6084), seen from outside."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from jzb.v1 import core_pb2, member_pb2
from sandbox.records import Member
from service.process.server import running
from tests.world.binding import MOBILE, bound, check, last_code, lost, other_than, sms_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace, service_settings

NEW_MOBILE = "15400000002"

OLD = member_pb2.MOBILE_PROOF_OLD_MOBILE
BY_CARD = member_pb2.MOBILE_PROOF_CARD

DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED


async def opened(shop: Marketplace, member_id: str, mobile: str = MOBILE) -> None:
    request = member_pb2.OpenMemberRequest(
        request_id=shop.request_id(),
        member_id=member_id,
        property=member_pb2.MEMBER_PROPERTY_MERCHANT,
        mobile=mobile,
    )
    await shop.members.OpenMember(request, timeout=TIMEOUT_S)


def ask(shop: Marketplace, member_id: str, proof: member_pb2.MobileProof.ValueType = OLD, card_id: str = "") -> Any:
    """Have the code texted (6083)."""
    request = member_pb2.RequestMobileChangeRequest(
        member_id=member_id, proof=proof, mobile=NEW_MOBILE, card_id=card_id
    )
    return shop.members.RequestMobileChange(request, timeout=TIMEOUT_S)


def hand_in(
    shop: Marketplace, member_id: str, order_no: str, code: str, proof: member_pb2.MobileProof.ValueType = OLD
) -> Any:
    """Hand the code in (6084)."""
    request = member_pb2.ConfirmMobileChangeRequest(
        request_id=shop.request_id(),
        member_id=member_id,
        proof=proof,
        mobile=NEW_MOBILE,
        message_order_no=order_no,
        code=code,
    )
    return shop.members.ConfirmMobileChange(request, timeout=TIMEOUT_S)


def mobile_at_bank(shop: Marketplace, member_id: str) -> str:
    return next(member.mobile for member in shop.sandbox.bank.store.all(Member) if member.code == member_id)


async def test_a_code_to_the_old_mobile_changes_to_the_new_one(shop: Marketplace) -> None:
    await opened(shop, "seller")
    sent = await ask(shop, "seller")
    assert sent.mobile == MOBILE[-4:]
    assert mobile_at_bank(shop, "seller") == MOBILE
    answer = await hand_in(shop, "seller", sent.message_order_no, await last_code(shop, "mobile"))
    assert answer.operation.state == DONE
    assert mobile_at_bank(shop, "seller") == NEW_MOBILE
    assert (await ask(shop, "seller")).mobile == NEW_MOBILE[-4:]


async def test_who_has_lost_the_old_mobile_proves_it_by_a_bound_card(shop: Marketplace) -> None:
    await opened(shop, "seller")
    card = await bound(shop, "seller")
    sent = await ask(shop, "seller", BY_CARD, card.card_id)
    assert sent.mobile == NEW_MOBILE[-4:]
    code = await last_code(shop, "mobile")
    assert (await hand_in(shop, "seller", sent.message_order_no, code, BY_CARD)).operation.state == DONE
    assert mobile_at_bank(shop, "seller") == NEW_MOBILE


async def test_the_proof_by_card_needs_a_bound_card_of_the_member(shop: Marketplace) -> None:
    await opened(shop, "seller")
    await opened(shop, "other")
    others = await bound(shop, "other")
    refusal = await shop.refusal(ask(shop, "seller", BY_CARD))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert (await shop.refusal(ask(shop, "seller", OLD, others.card_id))).reason == "REQUEST_INVALID"
    assert (await shop.refusal(ask(shop, "seller", BY_CARD, others.card_id))).reason == "CARD_NOT_BOUND"
    nobodys = "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11"
    assert (await shop.refusal(ask(shop, "seller", BY_CARD, nobodys))).reason == "CARD_NOT_FOUND"
    assert shop.calls_received("ApplyForChangeOfCellPhoneNum") == 0


async def test_a_member_whose_mobile_the_bank_does_not_know_gets_no_text(shop: Marketplace) -> None:
    await opened(shop, "seller", mobile="")
    refusal = await shop.refusal(ask(shop, "seller"))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR137")


async def test_a_wrong_code_changes_nothing_and_the_right_one_does(shop: Marketplace) -> None:
    await opened(shop, "seller")
    order_no = (await ask(shop, "seller")).message_order_no
    code = await last_code(shop, "mobile")
    refusal = await shop.refusal(hand_in(shop, "seller", order_no, other_than(code)))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR138")
    assert mobile_at_bank(shop, "seller") == MOBILE
    assert (await hand_in(shop, "seller", order_no, code)).operation.state == DONE


async def test_a_code_is_good_for_one_change_of_one_member(shop: Marketplace) -> None:
    await opened(shop, "seller")
    await opened(shop, "other")
    order_no = (await ask(shop, "seller")).message_order_no
    code = await last_code(shop, "mobile")
    assert (await shop.refusal(hand_in(shop, "other", order_no, code))).metadata["bank_code"] == "ERR137"
    await hand_in(shop, "seller", order_no, code)
    assert (await shop.refusal(hand_in(shop, "seller", order_no, code))).metadata["bank_code"] == "ERR163"
    assert mobile_at_bank(shop, "other") == MOBILE


async def test_a_text_whose_answer_is_lost_is_asked_for_again(shop: Marketplace) -> None:
    await opened(shop, "seller")
    shop.sandbox.faults.add("lose_after", code="6083")
    refusal = await shop.refusal(ask(shop, "seller"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    # The bank has sent the text: neither "cannot be reached" nor "not sent" would be true.
    assert "nothing was reserved; what may have been sent to the bank moves no money" in refusal.next_step
    assert "cannot be reached" not in refusal.message
    order_no = (await ask(shop, "seller")).message_order_no
    done = await hand_in(shop, "seller", order_no, await last_code(shop, "mobile"))
    assert done.operation.state == DONE


@pytest.mark.parametrize("proof", [OLD, BY_CARD])
async def test_a_change_whose_answer_is_lost_is_seen_in_the_rows_of_the_bound_cards(
    shop: Marketplace, proof: member_pb2.MobileProof.ValueType
) -> None:
    await opened(shop, "seller")
    card = await bound(shop, "seller")
    order_no = (await ask(shop, "seller", proof, card.card_id if proof == BY_CARD else "")).message_order_no
    code = await last_code(shop, "mobile")
    ended = await lost(shop, "6084", hand_in(shop, "seller", order_no, code, proof))
    assert ended.state == DONE
    assert shop.calls_received("MemberBindQuery") == 1
    assert mobile_at_bank(shop, "seller") == NEW_MOBILE


async def test_a_change_that_the_bank_refused_in_a_lost_answer_ends_refused(shop: Marketplace) -> None:
    await opened(shop, "seller")
    await bound(shop, "seller")
    order_no = (await ask(shop, "seller")).message_order_no
    code = await last_code(shop, "mobile")
    ended = await lost(shop, "6084", hand_in(shop, "seller", order_no, other_than(code)))
    assert ended.state == REFUSED
    assert mobile_at_bank(shop, "seller") == MOBILE
    assert (await hand_in(shop, "seller", order_no, code)).operation.state == DONE


async def test_a_lost_change_of_a_member_without_a_card_cannot_be_seen_and_is_changed_again(
    shop: Marketplace,
) -> None:
    await opened(shop, "seller")
    order_no = (await ask(shop, "seller")).message_order_no
    ended = await lost(shop, "6084", hand_in(shop, "seller", order_no, await last_code(shop, "mobile")))
    assert ended.state == REFUSED
    # The bank has the new one all the same; asking again does no harm.
    assert (await ask(shop, "seller")).mobile == NEW_MOBILE[-4:]


async def test_without_a_vault_key_no_card_and_no_mobile_is_taken_and_the_setting_is_named(database: str) -> None:
    async with open_marketplace(database) as keyed:
        await opened(keyed, "seller")
        keyless = service_settings(database, keyed.sandbox, vault={"keys": []})
        async with running(keyless) as service, grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            shop = Marketplace(database, keyed.sandbox, service, channel)
            shop._numbers = keyed._numbers
            with pytest.raises(grpc.aio.AioRpcError, match="INTERFACE_NOT_ENABLED"):
                await opened(shop, "another")
            order_no = (await ask(shop, "seller")).message_order_no
            code = await last_code(shop, "mobile")
            for call in (hand_in(shop, "seller", order_no, code), check(shop, sms_request(shop, "seller"))):
                refusal = await shop.refusal(call)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INTERFACE_NOT_ENABLED")
                assert refusal.metadata["setting"] == "JZB_VAULT__KEYS"
            assert mobile_at_bank(shop, "seller") == MOBILE
            # Money moves without one.
            await shop.top_up("seller", 10_00)
            await shop.assert_agrees()

"""Codes that do not prove that nothing happened: no hold is given back before the bank was asked.

The bank's table of codes is not public. Whatever is no known clean refusal may come after the bank has acted: its own
exceptions (transport.md 3.5) as well as a code that nobody has heard of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bankclient import CLEAN_REFUSALS, UNKNOWN_CODES
from jzb.v1 import core_pb2, member_pb2, payment_pb2
from sandbox.codes import MESSAGES
from tests.world.acquiring import acquire, record, record_request, share
from tests.world.batches import batches, prepay_request
from tests.world.binding import sms_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.verifying import named

DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED

UNLISTED = "ERR777"
UNPROVEN = ("ERR248", "ERR196", "ERR199", "ERR200", "ERR226", UNLISTED)


async def test_a_payment_that_the_bank_made_and_answered_with_an_exception_is_done_in_both_books(
    shop: Marketplace,
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    for number, code in enumerate(UNPROVEN, 1):
        request = shop.pay_request("buyer", "seller", 1_00, remark=f"[[answer:{code}]]")
        doubtful = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (doubtful.reason, doubtful.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN), code
        assert doubtful.operation.bank_code == code
        assert (await shop.balance("buyer")).held_fen == 1_00
        assert (await shop.until_final(doubtful.operation.operation_id)).state == DONE
        assert (await shop.balance("seller")).available_fen == number * 1_00
    assert shop.calls_received("MemberTransaction") == len(UNPROVEN)
    await shop.assert_agrees()


async def test_a_refusal_with_a_code_that_proves_nothing_gives_the_hold_back_when_6110_says_so(
    shop: Marketplace,
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    for code in UNPROVEN:
        request = shop.pay_request("buyer", "seller", 1_00, remark=f"[[refuse:{code}]]")
        doubtful = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (doubtful.reason, doubtful.operation.bank_code) == ("BANK_OUTCOME_UNKNOWN", code)
        assert (await shop.balance("buyer")).held_fen == 1_00
        assert (await shop.until_final(doubtful.operation.operation_id)).state == REFUSED
    buyer = await shop.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen) == (100_00, 0)
    await shop.assert_agrees()


async def test_a_code_that_the_bank_has_confirmed_to_be_clean_is_refused_at_once(database: str) -> None:
    async with open_marketplace(database, bank={"clean_refusals": [UNLISTED]}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        request = shop.pay_request("buyer", "seller", 1_00, remark=f"[[refuse:{UNLISTED}]]")
        refused = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refused.reason, refused.outcome) == ("BANK_REFUSED", core_pb2.OUTCOME_NO_EFFECT)
        assert (await shop.balance("buyer")).held_fen == 0


async def opens_member(shop: Marketplace) -> Any:
    request = member_pb2.OpenMemberRequest(
        request_id=shop.request_id(), member_id="late", property=member_pb2.MEMBER_PROPERTY_MERCHANT
    )
    return shop.members.OpenMember(request, timeout=TIMEOUT_S)


async def settles_order(shop: Marketplace) -> Any:
    order_no = shop.order_no()
    prepay = payment_pb2.PrepayOrderRequest(
        request_id=shop.request_id(),
        order_no=order_no,
        payer_member_id="buyer",
        payee_member_id="shoes",
        amount_fen=10_00,
    )
    await shop.payments.PrepayOrder(prepay, timeout=TIMEOUT_S)
    request = payment_pb2.SettleOrderRequest(
        request_id=shop.request_id(), order_no=order_no, end=payment_pb2.ORDER_END_CONFIRM, amount_fen=10_00
    )
    return shop.payments.SettleOrder(request, timeout=TIMEOUT_S)


async def prepays_two(shop: Marketplace) -> Any:
    return batches(shop).BatchPrepay(prepay_request(shop), timeout=TIMEOUT_S)


async def checks_card(shop: Marketplace) -> Any:
    return shop.cards.CheckCardBySms(sms_request(shop, "hats"), timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    ("interface", "prepare", "answered"),
    [
        ("6000", opens_member, DONE),
        ("6031", settles_order, DONE),
        ("6052", prepays_two, DONE),
        # 6098 lists bound cards: a check that has only begun is not there.
        ("6066", checks_card, REFUSED),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_6110_cannot_answer_is_asked_for_where_it_can_be_seen(
    database: str, interface: str, prepare: Callable[[Marketplace], Awaitable[Any]], answered: int
) -> None:
    async with open_marketplace(database) as shop:
        await named(shop, "buyer", 400_00)
        for member_id in ("shoes", "hats"):
            await named(shop, member_id, collects=True)
        for fault, end in ((f"refuse:{UNLISTED}", REFUSED), (f"answer:{UNLISTED}", answered)):
            call = await prepare(shop)
            shop.sandbox.faults.add(fault, code=interface)
            doubtful = await shop.refusal(call)
            assert (doubtful.reason, doubtful.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
            assert (await shop.until_final(doubtful.operation.operation_id)).state == end
            await shop.assert_agrees()


async def test_an_order_that_6147_refuses_for_no_known_reason_ends_by_what_6146_says(shop: Marketplace) -> None:
    await shop.merchant("hats")
    request = await acquire(shop, share("hats", 50_00), missed=True)
    shop.sandbox.faults.add(f"refuse:{UNLISTED}", code="6147")
    doubtful = await shop.refusal(record(shop, request))
    assert (doubtful.reason, doubtful.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.until_final(doubtful.operation.operation_id)).state == REFUSED
    shop.sandbox.faults.add(f"answer:{UNLISTED}", code="6147")
    answer = await record(shop, record_request(shop, request.order_no, *request.shares))
    assert answer.operation.state == DONE
    assert (await shop.balance("hats")).available_fen == 50_00
    await shop.assert_agrees()


def test_the_sandbox_refuses_by_clean_codes_but_for_these() -> None:
    assert set(MESSAGES) - set(CLEAN_REFUSALS) == {"ERR025", "ERR108", "ERR160", "ERR923", "ERR957"}
    assert set(MESSAGES) - set(CLEAN_REFUSALS) <= set(UNKNOWN_CODES)

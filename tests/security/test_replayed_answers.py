"""Somebody between service and bank, without a key, has old signed answers stand for money that never moved."""

from __future__ import annotations

from typing import Any

import pytest

from bankclient import BankCertificate, canonical_string
from jzb.v1 import core_pb2
from tests.world.doubts import STATUS_QUERY, UNKNOWN, assert_in_doubt
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.middleman import Middleman, folded, shop_behind_a_middleman

PAYMENT = "MemberTransaction"


async def in_doubt(shop: Marketplace, fen: int) -> core_pb2.Operation:
    """A payment whose answer does not come."""
    request = shop.pay_request("buyer", "seller", fen)
    return assert_in_doubt(await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S)))


def is_signed_by_the_bank(shop: Marketplace, answer: dict[str, Any]) -> bool:
    certificate = BankCertificate.load(shop.sandbox.keyring.bank_certificate_path)
    return certificate.verify(canonical_string(answer), answer["RsaSign"])


def without_its_serial(answer: dict[str, Any]) -> dict[str, Any]:
    """The same signed text, cut so that CnsmrSeqNo is a part of the field before it."""
    return folded(answer, "BookingFlag", "CnsmrSeqNo")


def in_a_key(answer: dict[str, Any]) -> dict[str, Any]:
    """The same signed text, cut so that CnsmrSeqNo is a part of the next field's name, which nobody reads."""
    kept = {name: value for name, value in answer.items() if name not in ("CnsmrSeqNo", "FailMsg")}
    return {**kept, f"CnsmrSeqNo={answer['CnsmrSeqNo']}&FailMsg": answer["FailMsg"]}


async def shop_with_two_members(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")


async def status_answer(shop: Marketplace, middleman: Middleman) -> dict[str, Any]:
    """What the bank has signed about a payment of 30.00 whose own answer was kept back."""
    middleman.lose(PAYMENT)
    first = await in_doubt(shop, 30_00)
    assert (await shop.resolve(first.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    middleman.behave()
    return middleman.seen[STATUS_QUERY][-1]


@pytest.mark.parametrize("forged", [without_its_serial, in_a_key], ids=lambda one: one.__name__)
async def test_a_payment_that_was_swallowed_is_not_done_by_the_answer_about_another(database: str, forged: Any) -> None:
    async with shop_behind_a_middleman(database) as (shop, middleman):
        await shop_with_two_members(shop)
        replayed = forged(await status_answer(shop, middleman))
        assert is_signed_by_the_bank(shop, replayed)

        middleman.swallow(PAYMENT)
        second = await in_doubt(shop, 30_00)
        middleman.change(STATUS_QUERY, lambda answer: replayed)
        asked = await shop.resolve(second.operation_id)
        assert asked.state == UNKNOWN
        assert (await shop.balance("buyer")).held_fen == 30_00

        middleman.behave()
        assert (await shop.until_final(second.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
        await shop.assert_agrees()


async def test_a_payment_that_was_made_is_not_refused_by_the_answer_about_another(database: str) -> None:
    async with shop_behind_a_middleman(database) as (shop, middleman):
        await shop_with_two_members(shop)
        # The bank has no record of what it never saw, and says so with its signature.
        middleman.swallow(PAYMENT)
        lost = await in_doubt(shop, 30_00)
        await shop.until_final(lost.operation_id)
        refusal = middleman.seen[STATUS_QUERY][-1]
        middleman.behave()

        middleman.lose(PAYMENT)
        made = await in_doubt(shop, 30_00)
        middleman.change(STATUS_QUERY, lambda answer: refusal)
        for _ in range(5):
            assert (await shop.resolve(made.operation_id)).state == UNKNOWN
        middleman.behave()
        assert (await shop.until_final(made.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        await shop.assert_agrees()


async def test_the_honest_answer_still_settles_what_the_middle_man_could_not(database: str) -> None:
    async with shop_behind_a_middleman(database) as (shop, middleman):
        await shop_with_two_members(shop)
        await status_answer(shop, middleman)
        assert (await shop.pay("buyer", "seller", 20_00)).state == core_pb2.OPERATION_STATE_DONE
        await shop.assert_agrees()

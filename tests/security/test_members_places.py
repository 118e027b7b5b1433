"""Whoever has the service's database user wants a member's payments to go to another sub-account."""

from __future__ import annotations

import psycopg
import pytest

from jzb.v1 import member_pb2
from ledger import SealKeys, vouching
from service.vault import key_bytes, new_key
from tests.security.forging import PAYMENT, sub_account
from tests.world.marketplace import SEAL_KEY, TIMEOUT_S, Marketplace


def as_the_service(shop: Marketplace, *statements: str) -> None:
    dsn = shop.service.components.settings.database_url.get_secret_value()
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_no_payment_goes_to_another_sub_account_than_the_service_has_recorded(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    await shop.merchant("thief")
    thiefs, sellers = await sub_account(shop, "thief"), await sub_account(shop, "seller")
    as_the_service(
        shop,
        # Each sub-account is some member's: the thief's member gives its own away, and another's MAC comes along.
        "UPDATE member SET sub_account = 'none' WHERE member_id = 'thief'",
        f"UPDATE member SET sub_account = '{thiefs}', mac = (SELECT mac FROM member WHERE member_id = 'thief')"
        " WHERE member_id = 'seller'",
        "INSERT INTO membership (platform, member_id, sub_account, property, is_open, same_name, at)"
        f" VALUES ('9930', 'seller', '{thiefs}', 'SH', true, '', now())",
    )
    for payer, payee in (("buyer", "seller"), ("seller", "buyer")):
        refused = await shop.refusal(shop.pay(payer, payee, 10_00))
        assert refused.reason == "SERVICE_FAULT"
    assert shop.calls_received(PAYMENT) == 0
    books = shop.sandbox.bank.store.books
    assert books.sub_account(thiefs).available_fen == books.sub_account(sellers).available_fen == 0


@pytest.mark.parametrize("change", ["property = '00'", "closed_at = now()"])
async def test_nor_is_a_member_taken_for_another_kind_or_for_closed(shop: Marketplace, change: str) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    as_the_service(shop, f"UPDATE member SET {change} WHERE member_id = 'seller'")
    refused = await shop.refusal(shop.pay("buyer", "seller", 10_00))
    assert refused.reason == "SERVICE_FAULT"


async def test_a_member_that_the_service_has_closed_is_closed_and_not_forged(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    close = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id="seller")
    await shop.members.CloseMember(close, timeout=TIMEOUT_S)
    refused = await shop.refusal(shop.pay("buyer", "seller", 10_00))
    assert refused.reason == "MEMBER_CLOSED"


async def test_a_rotation_puts_members_under_the_newest_key_and_not_those_that_were_changed(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await shop.merchant("other")
    as_the_service(shop, "UPDATE member SET sub_account = 'stolen' WHERE member_id = 'other'")
    with vouching.connected(shop.dsn) as connection:
        fresh = key_bytes(new_key())
        found = vouching.rotated(connection, SealKeys("9930", [fresh, key_bytes(SEAL_KEY)]))
        assert (found.members, found.is_whole) == (["other"], False)
        assert vouching.rotated(connection, SealKeys("9930", [fresh])).members == ["other"]
        before = connection.execute("SELECT mac FROM member WHERE member_id = 'other'").fetchone()
        # What is vouched for is what the journal has.
        said = vouching.said(connection, SealKeys("9930", [fresh]), [], last_batch=True)
        assert said.members == ["other"]
        assert connection.execute("SELECT mac FROM member WHERE member_id = 'other'").fetchone() == before

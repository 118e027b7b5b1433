"""What the tests share in which somebody writes to the database: how, and what a thief has got by it."""

from __future__ import annotations

import psycopg

from ledger.names import MemberCode, SubAccount
from tests.world.marketplace import Marketplace

PAYMENT = "MemberTransaction"
"""What the bank calls the interface of a payment (6034)."""


async def sub_account(shop: Marketplace, member_id: str) -> SubAccount:
    code = MemberCode(member_id)
    return (await shop.service.components.reads.members([code]))[code].sub_account


async def thiefs_money(shop: Marketplace) -> int:
    """What the bank's own books say."""
    return shop.sandbox.bank.store.books.sub_account(await sub_account(shop, "thief")).available_fen


def written(shop: Marketplace, *statements: str) -> None:
    """Write with more rights than the service has: with a superuser's."""
    with psycopg.connect(shop.dsn) as connection:
        for statement in statements:
            connection.execute(statement)

"""Members of a marketplace at the sandbox, with money."""

from __future__ import annotations

from tests.sandbox.wire import Member, Merchant


async def shop_and_buyer(bank: Merchant, money_fen: int = 10000) -> tuple[Member, Member]:
    buyer, shop = await bank.member("buyer", "00"), await bank.member("shop", "SH")
    await bank.top_up(buyer, money_fen)
    return buyer, shop


async def rich_member(bank: Merchant) -> Member:
    """A member with 100 yuan to withdraw."""
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000)
    await bank.control("POST", "clock", {"advance_days": 1})
    return member

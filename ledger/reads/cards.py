"""Cards, as those who bind and pay out ask for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.cards import Card, CardState, CheckedBy
from ledger.database import reading, seconds
from ledger.names import MemberCode
from ledger.schema import card


class Cards:
    """One platform's cards."""

    def __init__(self, engine: AsyncEngine, platform: str) -> None:
        self._engine = engine
        self._platform = platform

    async def card(self, card_id: UUID) -> Card | None:
        """The card of this id, or None."""
        found = await self._cards(self._select().where(card.c.card_id == card_id))
        return found[0] if found else None

    async def of_member(self, member_id: MemberCode, states: Collection[CardState] = ()) -> list[Card]:
        """A member's cards in these states, or all, oldest first."""
        query = self._select().where(card.c.member_id == member_id).order_by(card.c.card_id)
        if states:
            query = query.where(card.c.state.in_([state.value for state in states]))
        return await self._cards(query)

    async def bound(self, digests: Collection[bytes]) -> list[Card]:
        """Who has bound the card that has one of these digests."""
        wanted = (card.c.digest.in_(list(digests)), card.c.state == CardState.BOUND.value)
        return await self._cards(self._select().where(*wanted))

    async def checks_today(self, digests: Collection[bytes], checked_by: CheckedBy, zone: str) -> int:
        """How often the bank was asked to check that card on the day that it is in the time zone ``zone``."""
        query = select(func.count()).where(
            card.c.platform == self._platform,
            card.c.digest.in_(list(digests)),
            card.c.checked_by == checked_by.value,
            card.c.created_at >= func.date_trunc("day", func.now(), zone),
            card.c.state != CardState.UNSENT.value,
        )
        async with reading(self._engine) as connection:
            return int((await connection.execute(query)).scalar_one())

    async def last_check(self, member_id: MemberCode, checked_by: CheckedBy) -> Card | None:
        """A member's latest check of that kind that the bank did not refuse."""
        found = await self._cards(
            self._select()
            .where(
                card.c.member_id == member_id,
                card.c.checked_by == checked_by.value,
                card.c.state.not_in([CardState.UNSENT.value, CardState.FAILED.value]),
            )
            .order_by(card.c.created_at.desc(), card.c.card_id.desc())
            .limit(1)
        )
        return found[0] if found else None

    async def sealed_otherwise(self, key_id: str, limit: int) -> list[Card]:
        """Up to ``limit`` cards that are sealed with another key than this."""
        return await self._cards(self._select().where(card.c.key_id != key_id).order_by(card.c.card_id).limit(limit))

    async def reseal(self, old: Card, key_id: str, digest: bytes, sealed: bytes) -> bool:
        """Put the same card under another key; False when somebody else has done so meanwhile."""
        change = (
            update(card)
            .where(card.c.platform == self._platform, card.c.card_id == old.card_id, card.c.key_id == old.key_id)
            .values(key_id=key_id, digest=digest, sealed=sealed)
        )
        async with reading(self._engine) as connection:
            return bool((await connection.execute(change)).rowcount)

    def _select(self) -> Select[Any]:
        return select(
            card,
            seconds(func.now() - card.c.created_at).label("age_s"),
            seconds(card.c.ends_at - func.now()).label("left_s"),
        ).where(card.c.platform == self._platform)

    async def _cards(self, query: Select[Any]) -> list[Card]:
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_card(dict(row)) for row in rows]


def _card(row: dict[str, Any]) -> Card:
    del row["platform"]
    return Card(
        **{
            **row,
            "digest": bytes(row["digest"]),
            "sealed": bytes(row["sealed"]),
            "checked_by": CheckedBy(row["checked_by"]),
            "state": CardState(row["state"]),
        }
    )

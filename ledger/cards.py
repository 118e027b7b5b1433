"""Cards of members, as far as the mirror must know them: who has bound which, and how a check under way stands.

What is personal comes here sealed and leaves sealed: this room has no key. ``digest`` is a keyed digest of the card's
number, by which a card is recognised without being opened. A row is one attempt to bind a card, from the bank's check
to the end of the binding; rows are written with the steps of operations, by the writer alone, but for `Cards.reseal`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.database import reading, seconds
from ledger.schema import card


class CardState(StrEnum):
    """How far a binding is. It leaves CHECKING once, and BOUND for UNBOUND only."""

    CHECKING = "checking"
    BOUND = "bound"
    UNBOUND = "unbound"
    FAILED = "failed"
    """The bank refused the check, or ended it."""
    UNSENT = "unsent"
    """The call that was to begin the check never reached the bank."""


class CheckedBy(StrEnum):
    """How the bank makes sure that a card is its holder's."""

    SMS = "sms"
    PAY_OUT = "pay-out"
    PAY_IN = "pay-in"
    BANK = "bank"
    """Not known here: the card was bound before, and taken over from the bank's list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One binding. The last fields are the ledger's; a step that records a card leaves them out.

    ``serial`` is that of the call that began the check, ``masked`` shows the number's last four digits, ``wrong``
    counts wrong answers, ``pay_in_fen`` is what the holder was told to pay in. Past ``ends_at`` a check can no longer
    succeed. ``age_s`` is how long ago the row was written, ``left_s`` how long the check may still take, both in
    seconds when it was read: the database wrote these times, and is asked what they come to.
    """

    card_id: UUID
    member_id: str
    key_id: str
    digest: bytes
    sealed: bytes
    masked: str
    bank_type: str
    branch_name: str = ""
    cnaps_no: str = ""
    super_bank_no: str = ""
    checked_by: CheckedBy
    serial: str = ""
    state: CardState = CardState.CHECKING
    wrong: int = 0
    pay_in_fen: int = 0
    ends_at: datetime | None = None
    created_at: datetime | None = None
    bound_at: datetime | None = None
    ended_at: datetime | None = None
    age_s: float = field(default=0.0, compare=False)
    left_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChange:
    """What a step changes of a card; what is None stays.

    ``state`` is taken only where `CardState` allows it: a word that comes late undoes nothing. ``life_s`` is how long
    the check may take from now on; ``wrong`` is added.
    """

    card_id: UUID
    state: CardState | None = None
    wrong: int = 0
    life_s: float | None = None
    pay_in_fen: int | None = None
    branch_name: str | None = None
    cnaps_no: str | None = None
    super_bank_no: str | None = None


class Cards:
    """One platform's cards."""

    def __init__(self, engine: AsyncEngine, platform: str) -> None:
        self._engine = engine
        self._platform = platform

    async def card(self, card_id: UUID) -> Card | None:
        """The card of this id, or None."""
        found = await self._cards(self._select().where(card.c.card_id == card_id))
        return found[0] if found else None

    async def of_member(self, member_id: str, states: Collection[CardState] = ()) -> list[Card]:
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

    async def last_check(self, member_id: str, checked_by: CheckedBy) -> Card | None:
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

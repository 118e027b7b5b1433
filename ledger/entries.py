"""Statements and balances of the past: what each posted part has moved on each sub-account, in the journal's order.

The journal has no index by which a sub-account's legs are found in order, since every payment would pay for it. Instead
`Entries.fill` goes through the journal behind it, batch by batch in the order of commits, and writes four tables (see
`ledger.schema`): `entry`, `balance_day`, `kind_day` and `filled`, how far it has come. Nothing else writes them. One
statement fills them for a number of whole batches, so that they agree with one another at any moment; processes take
turns at it by an advisory lock, which no payment waits for. Whoever reads goes on with it first, as far as the books
are committed.

The order is that of the key: the time of the batch (no two have the same), the operation, the part. New batches come
behind all others, so an entry's place, and what was there after it, never change.

As of a *time* means: all batches up to it. As of the end of a *bank day* means: all postings with that bank day or an
earlier one, whenever they were committed. Both count what is posted; what is held lies still where it was held.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

from psycopg import OperationalError

from ledger import entry_statements as sql
from ledger.accounts import Kind
from ledger.errors import LedgerUnavailable
from ledger.lookups import fetched
from ledger.names import NO_SUB_ACCOUNT, BankSerial, MemberCode, RequestId, Serial, SubAccount
from ledger.session import Pool

EVENTS: Final = 512
"""So many events are filled at once, and as many are read for a trial balance of a time between."""

PAGE: Final = 500

FILL_S: Final = 5.0
"""For how long a reader goes on filling before it gives up."""


class Pockets(NamedTuple):
    """Amounts of a sub-account in fen. What operations hold is in the pocket that it was held in."""

    withdrawable_fen: int
    uncleared_fen: int
    frozen_fen: int
    escrow_fen: int

    @property
    def available_fen(self) -> int:
        """What can be spent, less what is held."""
        return self.withdrawable_fen + self.uncleared_fen


class Place(NamedTuple):
    """Where an entry is among those of its member. Places are in the journal's order, and never change."""

    at: datetime
    operation_id: UUID
    part: int
    sub_account: SubAccount


BEGINNING: Final = Place(datetime.min.replace(tzinfo=UTC), UUID(int=0), 0, NO_SUB_ACCOUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A posted part of an operation as one sub-account sees it: what it ``moved``, and what was there ``after`` it.

    The serials are the part's, or those of its operation where it has none. ``payer`` to ``fee_fen`` are the part's,
    ``reference`` and ``labels``, "key=value" each, are the caller's own for the operation.
    """

    place: Place
    bank_day: date
    moved: Pockets
    after: Pockets
    request_id: RequestId
    kind: str
    serial: Serial
    bank_serial: BankSerial
    order_no: str
    payer: MemberCode
    payee: MemberCode
    amount_fen: int
    fee_fen: int
    reference: str
    labels: tuple[str, ...]
    members: frozenset[MemberCode]
    """All that the operation and the part name."""


@dataclass(frozen=True, slots=True)
class PastBalance:
    """What a member had. ``at`` is a moment of which that is true, and stays true; None in books without an event."""

    pockets: Pockets
    at: datetime | None


@dataclass(frozen=True, slots=True)
class PastTotals:
    """Debits and credits of all accounts in fen, by kind; see `PastBalance` for ``at``."""

    by_kind: dict[Kind, tuple[int, int]]
    at: datetime | None


class Entries:
    """One platform's entries, filled and read on connections of ``pool``. Everything raises `LedgerUnavailable`, also
    when there is more to fill than can be waited for.
    """

    def __init__(self, pool: Pool, platform: str) -> None:
        self._pool = pool
        self._platform = platform
        self._filling = asyncio.Lock()

    async def fill(self) -> None:
        """Go on to the end of the books, at half of one connection's speed: for the background."""
        while True:
            began_s = time.monotonic()
            async with self._filling:
                is_full = await self._fill()
            if not is_full:
                return
            await asyncio.sleep(time.monotonic() - began_s)

    async def catch_up(self) -> datetime | None:
        """Go on to the end of the books, for a reader; returns the time of the last batch that they have now."""
        ends_s = time.monotonic() + FILL_S
        async with self._filling:
            while await self._fill():
                if time.monotonic() > ends_s:
                    behind = await self._filled()
                    raise LedgerUnavailable(
                        f"statements go up to {behind.at if behind else 'nothing'} yet: they are being made"
                    )
        last = await self._filled()
        return last.at if last else None

    async def balance(
        self, member_id: MemberCode, *, at: datetime | None = None, bank_day: date | None = None
    ) -> PastBalance:
        """What a member had as of a time, or else as of the end of a bank day. Nothing for one that is not there."""
        if bank_day is not None:
            await self.catch_up()
            ((until, *amounts),) = await self._rows(sql.AS_OF_DAY, member_id=member_id, bank_day=bank_day)
            return PastBalance(Pockets(*amounts), until)
        until = await self._settled(at)
        (amounts,) = await self._rows(sql.AS_OF_TIME, member_id=member_id, at=until or BEGINNING.at)
        return PastBalance(Pockets(*amounts), until)

    async def totals(self, *, at: datetime | None = None, bank_day: date | None = None) -> PastTotals:
        """Debits and credits by kind of account, as of a time or of the end of a bank day."""
        if bank_day is not None:
            await self.catch_up()
            rows = await self._rows(sql.KIND_DAYS, bank_day=bank_day)
            found = {Kind(kind): (debit_fen, credit_fen) for _, kind, debit_fen, credit_fen in rows if kind is not None}
            return PastTotals(found, rows[0][0])
        until = await self._settled(at)
        if until is None:
            return PastTotals({}, None)
        before = await self._filled(until)
        found = before.by_kind() if before else {}
        if before is None or before.at < until:
            after = before.event if before else 0
            for kind, debit_fen, credit_fen in await self._rows(sql.KINDS_AFTER, after=after, at=until):
                debits_fen, credits_fen = found.get(Kind(kind), (0, 0))
                found[Kind(kind)] = debits_fen + debit_fen, credits_fen + credit_fen
        return PastTotals(found, until)

    async def entries(
        self,
        member_id: MemberCode,
        *,
        after: Place = BEGINNING,
        until: datetime | None = None,
        first_day: date | None = None,
        last_day: date | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Entry, None]:
        """A member's entries behind ``after`` in their order, up to the end of the books or to ``until``; of these bank
        days, and the first so many. Reads page by page, as fast as they are taken.
        """
        ends = await self.catch_up()
        if ends is None:
            return
        days: dict[str, Any] = {"member_id": member_id, "first_day": first_day, "last_day": last_day}
        if first_day is not None or last_day is not None:
            ((first_at, last_at),) = await self._rows(sql.SPAN, **days)
            if first_at is None:
                return
            ends = min(ends, last_at)
            after = max(after, BEGINNING._replace(at=first_at))
        ends = ends if until is None else min(ends, until)
        left = sys.maxsize if limit is None else limit
        while left:
            size = min(PAGE, left)
            place = {"at": after.at, "operation_id": after.operation_id, "part": after.part, "after": after.sub_account}
            rows = await self._rows(sql.ENTRIES, **days, **place, until=ends, limit=size, along_index=True)
            for row in rows:
                entry = _entry(row)
                yield entry
                after = entry.place
            if len(rows) < size:
                return
            left -= size

    async def _settled(self, at: datetime | None) -> datetime | None:
        """The moment of which is read what is asked for as of ``at``: nothing can come any more that is as old."""
        last = await self._filled()
        if at is not None and last is not None and at < last.at:
            return at
        # What is being written now may be older than the clock.
        ends = await self.catch_up()
        return ends if at is None or ends is None else min(at, ends)

    async def _filled(self, at: datetime | None = None) -> _Filled | None:
        rows = await self._rows(sql.FILLED, at=at)
        return _Filled(*rows[0]) if rows else None

    async def _fill(self) -> bool:
        """Fill some batches; whether there may be more."""
        # Mostly there is nothing, and no turn to be waited for.
        if not (await self._rows(sql.IS_BEHIND))[0][0]:
            return False
        limit = EVENTS
        while True:
            try:
                async with self._pool.connection() as connection, connection.transaction():
                    await connection.execute(sql.TURN, [self._platform])
                    cursor = await connection.execute(sql.FILL, {"platform": self._platform, "limit": limit})
                    seen, ended = await cursor.fetchone() or (0, 0)
            except OperationalError as failure:
                raise LedgerUnavailable(str(failure)) from None
            if seen < limit or ended:
                return bool(seen == limit)
            # One batch is larger than that.
            limit *= 2

    async def _rows(self, query: LiteralString, *, along_index: bool = False, **values: Any) -> list[Any]:
        return await fetched(self._pool, query, {"platform": self._platform, **values}, along_index=along_index)


@dataclass(frozen=True, slots=True)
class _Filled:
    """A row of the table."""

    event: int
    at: datetime
    kinds: list[str]
    debits_fen: list[int]
    credits_fen: list[int]

    def by_kind(self) -> dict[Kind, tuple[int, int]]:
        rows = zip(self.kinds, self.debits_fen, self.credits_fen, strict=True)
        return {Kind(kind): (debit_fen, credit_fen) for kind, debit_fen, credit_fen in rows}


def _entry(row: Sequence[Any]) -> Entry:
    at, operation_id, part, sub_account, bank_day, *rest = row
    moved, after, rest = Pockets(*rest[:4]), Pockets(*rest[4:8]), rest[8:]
    request_id, kind, serial, own_serial, bank_serial, order_no, payer, payee, own_payer, own_payee, *rest = rest
    amount_fen, fee_fen, reference, labels = rest
    return Entry(
        place=Place(at, operation_id, part, sub_account),
        bank_day=bank_day,
        moved=moved,
        after=after,
        request_id=request_id,
        kind=kind,
        serial=own_serial or serial,
        bank_serial=bank_serial,
        order_no=order_no,
        payer=own_payer,
        payee=own_payee,
        amount_fen=amount_fen,
        fee_fen=fee_fen,
        reference=reference,
        labels=tuple(labels or ()),
        members=frozenset(filter(None, (payer, payee, own_payer, own_payee))),
    )

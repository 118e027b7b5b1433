"""What every request looks up, for many requests at once: members by their code, balances by sub-account.

Past SQLAlchemy, whose work on a query is several times that of the query.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import tenacity
from psycopg import OperationalError

from ledger import arrays
from ledger.coalesce import Coalesced
from ledger.comparison import Amounts, Comparison, Result
from ledger.errors import LedgerUnavailable
from ledger.names import MemberCode, SubAccount
from ledger.operations import Member
from ledger.session import Pool

ALONG_INDEX: LiteralString = "SET LOCAL enable_bitmapscan = off"

# Lateral, so that the plan is one index look-up a key whatever the planner believes about the table.

MEMBERS: LiteralString = """
SELECT m.member_id, m.sub_account, m.property, m.closed_at IS NULL, m.same_name, m.opened_at, m.closed_at, m.mac
FROM unnest(%s::text[]) AS wanted (member_id)
CROSS JOIN LATERAL (
  SELECT * FROM member WHERE platform = %s AND member_id = wanted.member_id OFFSET 0
) m
"""

SUMS: LiteralString = """
  SELECT
    coalesce(sum(balance_fen - held_fen) FILTER (WHERE kind IN ('withdrawable', 'waiting')), 0)::bigint,
    coalesce(sum(balance_fen - held_fen) FILTER (WHERE kind = 'withdrawable'), 0)::bigint,
    coalesce(sum(balance_fen - held_fen) FILTER (WHERE kind = 'waiting'), 0)::bigint,
    coalesce(sum(balance_fen - held_fen) FILTER (WHERE kind = 'frozen'), 0)::bigint,
    coalesce(sum(balance_fen - held_fen) FILTER (WHERE kind = 'escrow'), 0)::bigint,
    coalesce(sum(held_fen) FILTER (WHERE kind IN ('withdrawable', 'waiting')), 0)::bigint,
    coalesce(sum(held_fen) FILTER (WHERE kind = 'withdrawable'), 0)::bigint,
    coalesce(sum(held_fen) FILTER (WHERE kind = 'frozen'), 0)::bigint,
    coalesce(sum(held_fen) FILTER (WHERE kind = 'escrow'), 0)::bigint
  FROM account
"""

BALANCES: LiteralString = f"""
SELECT wanted.owner, wanted.owner, b.*
FROM unnest(%s::text[]) AS wanted (owner)
CROSS JOIN LATERAL ({SUMS} WHERE platform = %s AND owner = wanted.owner AND has_money) b
"""

BALANCES_OF: LiteralString = f"""
SELECT
  m.member_id, m.sub_account, b.*, now(), c.result, c.compared_at, c.mirror_available_fen, c.mirror_withdrawable_fen,
  c.mirror_frozen_fen, c.bank_available_fen, c.bank_withdrawable_fen, c.bank_frozen_fen, c.in_doubt_fen
FROM unnest(%s::text[]) AS wanted (member_id)
CROSS JOIN LATERAL (
  SELECT * FROM member WHERE platform = %s AND member_id = wanted.member_id OFFSET 0
) m
CROSS JOIN LATERAL ({SUMS} WHERE platform = m.platform AND owner = m.sub_account AND has_money) b
LEFT JOIN LATERAL (
  SELECT * FROM comparison WHERE sub_account = m.sub_account AND platform = m.platform OFFSET 0
) c ON true
"""


RESULTS = {result.value: result for result in Result}

READ_AT = 11
"""Where the amounts of a row of `BALANCES_OF` end. The time of the read follows, then the last comparison."""


@dataclass(frozen=True, slots=True)
class MemberBalance:
    """A member's money in fen. ``held`` is spoken for by operations that are not final, and is in none of the
    others. ``compared`` is the last comparison with the bank, where it was looked up and there is one. ``read_at`` is
    when the member was looked up, by the clock of the database: what was committed by then is in the amounts.
    """

    sub_account: SubAccount
    available_fen: int = 0
    withdrawable_fen: int = 0
    uncleared_fen: int = 0
    frozen_fen: int = 0
    escrow_fen: int = 0
    held_spendable_fen: int = 0
    held_withdrawable_fen: int = 0
    held_frozen_fen: int = 0
    held_escrow_fen: int = 0
    compared: Comparison | None = None
    read_at: datetime | None = None

    @property
    def held_fen(self) -> int:
        """Everything that is spoken for."""
        return self.held_spendable_fen + self.held_frozen_fen + self.held_escrow_fen


class Lookups:
    """One platform's look-ups, on a connection of ``pool`` each."""

    def __init__(self, pool: Pool, platform: str) -> None:
        self.platform = platform
        self._pool = pool
        self.members: Coalesced[MemberCode, Member] = Coalesced(self._members)
        """The members that have these codes."""
        self.balances: Coalesced[SubAccount, MemberBalance] = Coalesced(self._balances)
        """The balances of these sub-accounts."""
        self.balances_of: Coalesced[MemberCode, MemberBalance] = Coalesced(self._balances_of)
        """The balances of the members that have these codes."""

    async def _members(self, member_ids: Collection[MemberCode]) -> dict[MemberCode, Member]:
        return {
            row[0]: Member(
                member_id=row[0],
                sub_account=row[1],
                property=row[2],
                is_open=row[3],
                same_name=row[4],
                opened_at=row[5],
                closed_at=row[6],
                mac=bytes(row[7]),
            )
            for row in await self._rows(MEMBERS, member_ids)
        }

    async def _balances(self, sub_accounts: Collection[SubAccount]) -> dict[SubAccount, MemberBalance]:
        return {row[0]: MemberBalance(*row[1:]) for row in await self._rows(BALANCES, sub_accounts)}

    async def _balances_of(self, member_ids: Collection[MemberCode]) -> dict[MemberCode, MemberBalance]:
        return {row[0]: _balance(row) for row in await self._rows(BALANCES_OF, member_ids)}

    async def _rows(self, query: LiteralString, keys: Collection[str]) -> list[Any]:
        return await fetched(self._pool, query, [arrays.texts(keys), self.platform])


async def fetched(
    pool: Pool, query: LiteralString, values: Sequence[Any] | Mapping[str, Any], *, along_index: bool = False
) -> list[Any]:
    """The rows of a query on a connection of ``pool``. Raises `LedgerUnavailable`.

    ``along_index`` is for a page of one key's rows in the order of an index. The planner goes by the average key: of
    one with very many rows it would read and sort all, for each page.
    """
    try:
        return await _tried(pool, query, values, along_index)
    except OperationalError as failure:
        raise LedgerUnavailable(str(failure)) from None


# A connection may have broken while nobody used it; the pool makes another.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(OperationalError), stop=tenacity.stop_after_attempt(3), reraise=True
)
async def _tried(
    pool: Pool, query: LiteralString, values: Sequence[Any] | Mapping[str, Any], along_index: bool
) -> list[Any]:
    async with pool.connection() as connection, AsyncExitStack() as stack:
        if along_index:
            await stack.enter_async_context(connection.transaction())
            await connection.execute(ALONG_INDEX)
        cursor = await connection.execute(query, values)
        return await cursor.fetchall()


def _balance(row: Sequence[Any]) -> MemberBalance:
    read_at, result, compared_at, *amounts, in_doubt_fen = row[READ_AT:]
    compared = None
    if result is not None:
        mirror, bank = Amounts(*amounts[:3]), Amounts(*amounts[3:])
        compared = Comparison(row[1], mirror, bank, in_doubt_fen, RESULTS[result], compared_at)
    return MemberBalance(*(*row[1:READ_AT], compared, read_at))

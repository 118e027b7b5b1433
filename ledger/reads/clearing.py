"""What waits for a bank day to be cleared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import select, text

from ledger.accounts import Account, Kind, day_text
from ledger.operations import Member
from ledger.reads.queries import Queries, member_of
from ledger.reads.work import WAITING_DAYS
from ledger.schema import account, platform


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingDay:
    """What waits for a bank day to be cleared: owed by channels, and credited to members."""

    bank_day: date
    in_transit_fen: int
    uncleared_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True)
class SpenderAfterClearing:
    """A member who gave ``spent_fen`` of the money that waited for a bank day on a later one, and has ``held_fen`` held
    that it may still give.
    """

    member: Member
    spent_fen: int
    held_fen: int


_SPENDERS_AFTER_CLEARING = text("""
    WITH late AS (
      SELECT m.*,
        (
          SELECT coalesce(sum(l.amount_fen), 0)::bigint
          FROM (
            (
              SELECT id FROM operation
              WHERE payer = m.member_id AND payer <> '' AND platform = :platform
              ORDER BY id DESC
              LIMIT :newest
            )
            UNION
            -- An operation of several payers names them in its parts alone.
            (
              SELECT operation_id FROM reference
              WHERE value = m.member_id AND kind = 'member' AND platform = :platform
              ORDER BY operation_id DESC
              LIMIT :newest
            )
          ) spent
          JOIN leg l ON l.operation_id = spent.id AND l.platform = :platform
          JOIN resolution r USING (operation_id, part, platform)
          WHERE r.bank_day > :bank_day AND l.debit LIKE 'waiting:' || m.sub_account || ':%'
            AND split_part(l.debit, ':', 3) <= :ref AND l.credit <> 'withdrawable:' || m.sub_account
        ) AS spent_fen,
        (
          SELECT coalesce(sum(a.held_fen), 0)::bigint
          FROM account a
          WHERE a.owner = m.sub_account AND a.kind = 'waiting' AND a.platform = :platform AND a.has_money
            AND a.ref <= :ref
        ) AS held_fen
      FROM member m
      WHERE m.platform = :platform AND m.sub_account IN (
        SELECT owner FROM account WHERE platform = :platform AND kind = 'waiting' AND ref > :ref AND has_money
      )
    )
    SELECT * FROM late WHERE spent_fen > 0 OR held_fen > 0 ORDER BY member_id
""")


SPENDS_READ = 10_000
"""So many of a member's newest operations are looked at for what it spent on its latest bank day."""


class Clearing(Queries):
    """Money that waits for its clearing."""

    async def cleared_through(self) -> date | None:
        """The last bank day that was cleared."""
        rows = await self._rows(select(platform.c.cleared_through).where(platform.c.platform == self._platform))
        return rows[0]["cleared_through"] if rows else None

    async def waiting_days(self) -> list[WaitingDay]:
        """The bank days with money that waits for clearing, oldest first."""
        rows = await self._rows(text(WAITING_DAYS), platform=self._platform)
        return [WaitingDay(**row) for row in rows]

    async def waiting_pockets(self, until: date, limit: int) -> list[tuple[Account, int]]:
        """Pockets of bank days up to ``until`` that still hold money nobody has spoken for, and how much."""
        rows = await self._rows(
            select(account.c.owner, account.c.ref, (account.c.balance_fen - account.c.held_fen).label("remaining"))
            .where(
                account.c.platform == self._platform,
                account.c.kind == Kind.UNCLEARED.value,
                account.c.ref <= f"{until:%Y%m%d}",
                account.c.has_money,
                account.c.balance_fen > account.c.held_fen,
            )
            .limit(limit)
        )
        return [(Account(Kind.UNCLEARED, row["owner"], row["ref"]), row["remaining"]) for row in rows]

    async def spenders_after_clearing(self, bank_day: date) -> list[SpenderAfterClearing]:
        """The members who gave money that waited for ``bank_day`` or an earlier day on a later bank day, or have some
        held that they may still give, and who have money waiting of a later day.
        """
        rows = await self._rows(
            _SPENDERS_AFTER_CLEARING,
            platform=self._platform,
            bank_day=bank_day,
            ref=day_text(bank_day),
            newest=SPENDS_READ,
        )
        return [SpenderAfterClearing(member_of(row), row["spent_fen"], row["held_fen"]) for row in rows]

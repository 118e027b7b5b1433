"""The books as a whole: trial balance, seals, proof."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, text, union_all

from ledger.accounts import Kind
from ledger.findings import Finding, Summary
from ledger.journal import require_sealed
from ledger.memory import BEFORE_ANYTHING
from ledger.reads.queries import Queries
from ledger.schema import account, audit_entry, event, leg, seal
from ledger.seals import BEGINNING, Seal
from ledger.trail_end import TrailEnd
from ledger.verify import audit

_END = text("""
    SELECT p.batches, s.at, s.digest, array_prepend(coalesce(s.mac, ''), ARRAY(
        SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || p.batches AND v.platform = p.platform
      )) AS macs
    FROM platform p
    LEFT JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
    WHERE p.platform = :platform AND p.batches > 0
""")
"""Where the chain of seals ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One kind of account in the trial balance. ``balance_fen`` is credits less debits; all rows sum to zero.

    ``read_at`` is when it was read, by the clock of the database; it is the same in all rows.
    """

    kind: Kind
    accounts: int
    debits_fen: int
    credits_fen: int
    balance_fen: int
    held_fen: int
    read_at: datetime


class Books(Queries):
    """The whole journal."""

    def audit(self, noted: bytes = b"", unsealed: int = 0) -> AsyncGenerator[Finding | Summary, None]:
        """See `ledger.verify.audit`."""
        return audit(self._engine, self._platform, noted, unsealed, self._keys)

    async def last_seal(self) -> Seal | None:
        """The end of the chain of seals, None when nothing is sealed yet."""
        rows = await self._rows(
            select(seal.c.batch, seal.c.at, seal.c.digest)
            .where(seal.c.platform == self._platform)
            .order_by(seal.c.batch.desc())
            .limit(1)
        )
        return Seal(rows[0]["batch"], rows[0]["at"], bytes(rows[0]["digest"])) if rows else None

    async def digest_of(self, batch: int) -> bytes | None:
        """The digest of a batch, None where there is no such batch."""
        rows = await self._rows(select(seal.c.digest).where(seal.c.platform == self._platform, seal.c.batch == batch))
        return bytes(rows[0]["digest"]) if rows else None

    async def last_entry(self) -> TrailEnd | None:
        """The end of the audit trail, None while nothing is in it."""
        rows = await self._rows(
            select(audit_entry.c.number, audit_entry.c.digest)
            .where(audit_entry.c.platform == self._platform)
            .order_by(audit_entry.c.number.desc())
            .limit(1)
        )
        return TrailEnd(rows[0]["number"], bytes(rows[0]["digest"])) if rows else None

    async def digest_of_entry(self, number: int) -> bytes | None:
        """The digest of an entry of the audit trail, None where there is no such entry."""
        of_entry = (audit_entry.c.platform == self._platform, audit_entry.c.number == number)
        rows = await self._rows(select(audit_entry.c.digest).where(*of_entry))
        return bytes(rows[0]["digest"]) if rows else None

    async def require_ours(self) -> None:
        """Raise `LedgerCorrupt` where the last batch has no MAC under the keys: nothing can be booked on it."""
        if self._keys is None:
            return
        for row in await self._rows(_END, platform=self._platform):
            head = Seal(row["batches"], row["at"] or BEFORE_ANYTHING, row["digest"] or BEGINNING)
            require_sealed(self._keys, head, row["macs"])

    async def last_event(self) -> int:
        """The newest cursor, 0 when nothing has happened yet."""
        rows = await self._rows(select(func.max(event.c.seq).label("seq")).where(event.c.platform == self._platform))
        return rows[0]["seq"] or 0

    async def trial_balance(self) -> list[TrialRow]:
        """Debits and credits of the whole journal by kind of account; the balances sum to zero."""
        sides = union_all(
            select(
                leg.c.debit.label("name"), leg.c.amount_fen.label("debit_fen"), literal(0).label("credit_fen")
            ).where(leg.c.platform == self._platform),
            select(leg.c.credit, literal(0), leg.c.amount_fen).where(leg.c.platform == self._platform),
        ).subquery()
        totals = (
            select(
                sides.c.name,
                func.sum(sides.c.debit_fen).label("debits_fen"),
                func.sum(sides.c.credit_fen).label("credits_fen"),
            )
            .group_by(sides.c.name)
            .subquery()
        )
        rows = await self._rows(
            select(
                account.c.kind,
                func.count().label("accounts"),
                func.coalesce(func.sum(totals.c.debits_fen), 0).label("debits_fen"),
                func.coalesce(func.sum(totals.c.credits_fen), 0).label("credits_fen"),
                func.sum(account.c.balance_fen).label("balance_fen"),
                func.sum(account.c.held_fen).label("held_fen"),
                func.now().label("read_at"),
            )
            .select_from(account.outerjoin(totals, totals.c.name == account.c.name))
            .where(account.c.platform == self._platform)
            .group_by(account.c.kind)
            .order_by(account.c.kind)
        )
        return [
            TrialRow(
                kind=Kind(row["kind"]),
                accounts=row["accounts"],
                debits_fen=int(row["debits_fen"]),
                credits_fen=int(row["credits_fen"]),
                balance_fen=int(row["balance_fen"]),
                held_fen=int(row["held_fen"]),
                read_at=row["read_at"],
            )
            for row in rows
        ]

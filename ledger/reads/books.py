"""The books as a whole: seals, proof."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from datetime import date, datetime

from sqlalchemy import func, select, text

from ledger.findings import Finding, Summary
from ledger.journal import require_sealed
from ledger.memory import BEFORE_ANYTHING
from ledger.reads.queries import Queries
from ledger.schema import audit_entry, event, seal
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


_BOOKED_DAYS = text("""
    SELECT
      (SELECT min(bank_day) FROM resolution WHERE platform = :platform) AS first_day,
      (SELECT max(bank_day) FROM resolution WHERE platform = :platform) AS last_day
""")

_HAS_POSTINGS = text("""
    SELECT EXISTS (
      SELECT FROM resolution r
      JOIN operation o ON o.platform = r.platform AND o.id = r.operation_id
      WHERE r.platform = :platform AND r.bank_day = :bank_day AND r.verdict = 'posted' AND o.kind = ANY(:kinds)
    ) AS found
""")

_ENTERED = text("""
    SELECT count(*) AS entered FROM resolution WHERE platform = :platform AND bank_day = :bank_day
""")

_HAD_MEMBERS = text("""
    SELECT EXISTS (SELECT FROM member WHERE platform = :platform AND opened_at < :before) AS found
""")


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

    async def booked_days(self) -> tuple[date, date] | None:
        """The first and the last bank day of which the journal has a posting, None before there is any."""
        (row,) = await self._rows(_BOOKED_DAYS, platform=self._platform)
        return None if row["first_day"] is None else (row["first_day"], row["last_day"])

    async def has_postings(self, bank_day: date, kinds: Collection[str]) -> bool:
        """Whether operations of one of these kinds were posted on a bank day."""
        rows = await self._rows(_HAS_POSTINGS, platform=self._platform, bank_day=bank_day, kinds=list(kinds))
        return bool(rows[0]["found"])

    async def entered_on(self, bank_day: date) -> int:
        """How much has been posted or let go on a bank day, to be compared: it grows with each posting."""
        rows = await self._rows(_ENTERED, platform=self._platform, bank_day=bank_day)
        return int(rows[0]["entered"])

    async def had_members(self, before: datetime) -> bool:
        """Whether any member was opened before a moment."""
        rows = await self._rows(_HAD_MEMBERS, platform=self._platform, before=before)
        return bool(rows[0]["found"])

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

"""The audit trail: who has called what is for few, written before the call acts, and how it ended. Only added to.

Each entry has a number, a digest over itself and the one before, and a MAC over that digest, so that an entry that is
changed, taken out or put in is found (`check`, which `jzb verify` runs): whoever can write to the database alone can
make digests, and no MAC (`ledger.macs`). Nothing is added behind an end that somebody else has put there. What is cut
off at the end is missed by the process that wrote it, by anchors (docs/seals.md), and beside the service's log, which
has a line for each call. Entries are few, so that they take turns by a lock of their own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.database import reading
from ledger.errors import LedgerCorrupt
from ledger.findings import Finding
from ledger.macs import SealKeys
from ledger.trail_end import BEGINNING, TrailEnd, last

KEPT: Final = "the audit trail is as it was written"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedCall:
    """A call as the trail names it. ``subject`` is its request id, or what else it names; ``digest`` is of its request.

    ``began`` is the number of the entry that this one ends, with the ``outcome``: "OK" or a reason. Of an entry that is
    written before a call it is 0.
    """

    caller: str
    person: str
    method: str
    subject: str
    digest: bytes = b""
    began: int = 0
    outcome: str = ""


_LAST = text(last(":platform"))

_ADD = text("""
    INSERT INTO audit_entry (platform, number, at, caller, person, method, subject, request, began, outcome, digest,
      mac)
    VALUES (:platform, :number, :at, :caller, :person, :method, :subject, :request, :began, :outcome, :digest,
      :mac)
""")

_DIGEST = text("SELECT digest FROM audit_entry WHERE platform = :platform AND number = :number")

_ALL = text("""
    SELECT number, at, caller, person, method, subject, request, began, outcome, digest
    FROM audit_entry
    WHERE platform = :platform
    ORDER BY number
""")


class AuditTrail:
    """One platform's. Without ``keys`` entries have no MAC."""

    def __init__(self, engine: AsyncEngine, platform: str, keys: SealKeys | None) -> None:
        self._engine = engine
        self._platform = platform
        self._keys = keys
        self._own = TrailEnd(0, BEGINNING)

    async def add(self, call: AuditedCall) -> int:
        """Write an entry; returns its number once it is committed.

        Raises `LedgerUnavailable`, and `LedgerCorrupt` behind an end that nobody with the keys has put there, and where
        the last entry of this process is gone.
        """
        async with reading(self._engine) as connection:
            # Each statement is to see what was committed while it waited for its turn.
            await connection.execution_options(isolation_level="READ COMMITTED")
            turn = {"name": f"audit {self._platform}"}
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), turn)
            end = await self._head(connection)
            if self._keys is not None and not end.is_ours(self._keys):
                raise LedgerCorrupt(f"entry {end.number} of the audit trail has no right MAC: run `jzb verify`")
            await self._require_own(connection, end)
            number, before = end.number, end.digest
            at = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
            values = (at, call.caller, call.person, call.method, call.subject, call.digest, call.began, call.outcome)
            digest = following(before, self._platform, number + 1, values)
            names = ("at", "caller", "person", "method", "subject", "request", "began", "outcome")
            named = dict(zip(names, values, strict=True))
            await connection.execute(
                _ADD,
                {
                    "platform": self._platform,
                    "number": number + 1,
                    "digest": digest,
                    "mac": b"" if self._keys is None else self._keys.of_entry(number + 1, digest),
                    **named,
                },
            )
            await connection.commit()
        self._own = TrailEnd(int(number) + 1, digest)
        return self._own.number

    async def last(self) -> TrailEnd:
        """The end of the trail. Raises `LedgerUnavailable`."""
        async with reading(self._engine) as connection:
            return await self._head(connection)

    async def _require_own(self, connection: AsyncConnection, end: TrailEnd) -> None:
        """What this process has written is still there: else the trail was cut, or an older server has come back."""
        own, found = self._own, end.digest
        if own.number not in (0, end.number):
            of_own = {"platform": self._platform, "number": own.number}
            found = (await connection.execute(_DIGEST, of_own)).scalar_one_or_none() or b""
        if own.number and found != own.digest:
            raise LedgerCorrupt(
                f"entry {own.number} of the audit trail, which this process has written, is gone: the trail ends with"
                f" entry {end.number}. Run `jzb verify`, and compare with the log"
            )

    async def _head(self, connection: AsyncConnection) -> TrailEnd:
        return await _end(connection, self._platform)


async def _end(connection: AsyncConnection, platform: str) -> TrailEnd:
    row = (await connection.execute(_LAST, {"platform": platform})).one_or_none()
    return TrailEnd(0, BEGINNING) if row is None else TrailEnd(*row)


def following(before: bytes, platform: str, number: int, values: Sequence[Any]) -> bytes:
    """The digest of an entry: over the one before, and its own values as JSON (docs/seals.md)."""
    at, *others = values
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    content = [platform, number, micros, *(one.hex() if isinstance(one, bytes) else one for one in others)]
    return sha256(before + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).digest()


async def check(connection: AsyncConnection, platform: str, keys: SealKeys | None) -> AsyncGenerator[Finding, None]:
    """What contradicts the chain, from its first entry on; with ``keys`` also an end that nobody with them has made."""
    number, digest = 0, BEGINNING
    async for row in await connection.stream(_ALL, {"platform": platform}):
        found, *values, kept = row
        if found != number + 1:
            yield Finding(KEPT, f"before entry {found}", f"entry {number + 1}", f"entry {found}")
        due = following(digest, platform, found, values)
        if due != kept:
            yield Finding(KEPT, f"entry {found}", due.hex(), kept.hex())
        number, digest = found, kept
    if keys is not None and not (await _end(connection, platform)).is_ours(keys):
        yield Finding(KEPT, f"entry {number}, the last", "a MAC under one of the keys", "none that is right")

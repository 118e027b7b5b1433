"""The audit trail: who has called what is for few, written before the call acts, and how it ended. Only added to.

Each entry has a number and a digest over itself and the one before, so that an entry that is changed, taken out or put
in is found (`check`, which `jzb verify` runs). What is cut off at the end is found by the service's log, which has a
line for each call. Entries are few, so that they take turns by a lock of their own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.database import reading
from ledger.findings import Finding

BEGINNING: Final = bytes(32)
"""What the first entry follows."""

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


class TrailEnd(NamedTuple):
    """The last entry."""

    number: int
    digest: bytes


_LAST = text("SELECT number, digest FROM audit_entry WHERE platform = :platform ORDER BY number DESC LIMIT 1")

_ADD = text("""
    INSERT INTO audit_entry (platform, number, at, caller, person, method, subject, request, began, outcome, digest)
    VALUES (:platform, :number, :at, :caller, :person, :method, :subject, :request, :began, :outcome, :digest)
""")

_ALL = text("""
    SELECT number, at, caller, person, method, subject, request, began, outcome, digest
    FROM audit_entry
    WHERE platform = :platform
    ORDER BY number
""")


class AuditTrail:
    """One platform's."""

    def __init__(self, engine: AsyncEngine, platform: str) -> None:
        self._engine = engine
        self._platform = platform

    async def add(self, call: AuditedCall) -> int:
        """Write an entry; returns its number once it is committed. Raises `LedgerUnavailable`."""
        async with reading(self._engine) as connection:
            # Each statement is to see what was committed while it waited for its turn.
            await connection.execution_options(isolation_level="READ COMMITTED")
            turn = {"name": f"audit {self._platform}"}
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), turn)
            number, before = await self._head(connection)
            at = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
            values = (at, call.caller, call.person, call.method, call.subject, call.digest, call.began, call.outcome)
            digest = following(before, self._platform, number + 1, values)
            names = ("at", "caller", "person", "method", "subject", "request", "began", "outcome")
            named = dict(zip(names, values, strict=True))
            await connection.execute(
                _ADD, {"platform": self._platform, "number": number + 1, "digest": digest, **named}
            )
            await connection.commit()
        return int(number) + 1

    async def last(self) -> TrailEnd:
        """The end of the trail. Raises `LedgerUnavailable`."""
        async with reading(self._engine) as connection:
            return await self._head(connection)

    async def _head(self, connection: AsyncConnection) -> TrailEnd:
        row = (await connection.execute(_LAST, {"platform": self._platform})).one_or_none()
        return TrailEnd(0, BEGINNING) if row is None else TrailEnd(row[0], row[1])


def following(before: bytes, platform: str, number: int, values: Sequence[Any]) -> bytes:
    """The digest of an entry: over the one before, and its own values as JSON (docs/seals.md)."""
    at, *others = values
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    content = [platform, number, micros, *(one.hex() if isinstance(one, bytes) else one for one in others)]
    return sha256(before + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).digest()


async def check(connection: AsyncConnection, platform: str) -> AsyncGenerator[Finding, None]:
    """What contradicts the chain, from its first entry on."""
    number, digest = 0, BEGINNING
    async for row in await connection.stream(_ALL, {"platform": platform}):
        found, *values, kept = row
        if found != number + 1:
            yield Finding(KEPT, f"before entry {found}", f"entry {number + 1}", f"entry {found}")
        due = following(digest, platform, found, values)
        if due != kept:
            yield Finding(KEPT, f"entry {found}", due.hex(), kept.hex())
        number, digest = found, kept

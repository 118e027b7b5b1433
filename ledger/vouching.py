"""Puts MACs over what is in the books already: at the migration that brought them, for a new key, and by a person.

Who runs this has the keys and says by it that the books are right: whatever is vouched for is carried on. It writes to
`vouched`, which the service's role may only read, and to the MACs of members.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from ledger import seals, session
from ledger.errors import LedgerUnavailable
from ledger.journal import operation_from_row
from ledger.macs import MILESTONE, SealKeys
from ledger.memory import BEFORE_ANYTHING
from ledger.names import MemberCode, SubAccount
from ledger.operations import Member, Operation
from ledger.seals import BEGINNING, Seal
from ledger.statements import OPERATION_ROW
from ledger.trail_end import TrailEnd, last

_OPENED = f"""
SELECT {OPERATION_ROW}, opened.digest, array_prepend(opened.mac, ARRAY(
    SELECT v.mac FROM vouched v WHERE v.subject = 'opening ' || o.serial AND v.platform = o.platform
  ))
FROM due d
JOIN operation o ON o.platform = d.platform AND o.id = d.operation_id
CROSS JOIN LATERAL (
  SELECT substring(evidence FOR 32) AS digest, mac
  FROM (
    SELECT seq, evidence, mac, lag(state) OVER (ORDER BY seq) AS before
    FROM event e
    WHERE e.platform = o.platform AND e.operation_id = o.id
  ) told
  WHERE before IS NULL OR before = 'released'
  ORDER BY seq DESC
  LIMIT 1
) opened
WHERE d.platform = %s
ORDER BY o.id
"""
"""Every operation that is not final, with what its opening has: the digest of its plan, and MACs."""

_HEAD = """
SELECT p.batches, s.at, s.digest, array_prepend(coalesce(s.mac, ''), ARRAY(
    SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || p.batches AND v.platform = p.platform
  ))
FROM platform p
LEFT JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
WHERE p.platform = %s AND p.batches > 0
"""

_SEALS = """
SELECT s.batch, s.at, s.leaves, s.digest, array_prepend(s.mac, ARRAY(
    SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || s.batch AND v.platform = s.platform
  ))
FROM seal s
WHERE s.platform = %s
ORDER BY s.batch
"""

_MEMBERS = """
SELECT m.member_id, m.sub_account, m.property, m.closed_at IS NULL, m.mac,
  coalesce((m.sub_account, m.property, m.closed_at IS NULL) = (s.sub_account, s.property, s.is_open), false)
FROM member m
LEFT JOIN LATERAL (
  SELECT sub_account, property, is_open
  FROM membership
  WHERE platform = m.platform AND member_id = m.member_id
  ORDER BY at DESC NULLS LAST, seq DESC
  LIMIT 1
) s ON true
WHERE m.platform = %s
ORDER BY m.member_id
"""
"""Every member, and whether it is as the journal has it, which is sealed."""

_RECORD = "UPDATE member SET mac = %s WHERE platform = %s AND member_id = %s"

_END = last("%s")

_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

_VOUCH = "INSERT INTO vouched (platform, subject, mac) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


@dataclass(slots=True)
class Vouched:
    """What was found: how many MACs were put, and what is left without a right one."""

    put: int = 0
    openings: list[Operation] = field(default_factory=list)
    last_batch: int | None = None
    """The number of the last batch, where that has no right MAC."""
    last_entry: int | None = None
    """The number of the last entry of the audit trail, where that has no right MAC."""
    members: list[MemberCode] = field(default_factory=list)
    """The members whose sub-account has no right MAC."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that is carried on has a right MAC."""
        return not (self.openings or self.members) and self.last_batch is None and self.last_entry is None


def platforms(connection: psycopg.Connection[Any]) -> list[str]:
    """Whose books the database has."""
    return [row[0] for row in connection.execute("SELECT platform FROM platform ORDER BY platform").fetchall()]


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection for one transaction. Raises `LedgerUnavailable`."""
    try:
        with session.opened_blocking(dsn, autocommit=False) as connection:
            yield connection
    except psycopg.OperationalError as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None


def migrated(connection: psycopg.Connection[Any], keys: SealKeys) -> Vouched:
    """Put MACs over all that is open, and over the last batch, in books that had none until now."""
    return _vouch(connection, keys, lambda operation, macs: not any(macs), lambda _, macs: not any(macs), None, None)


def proved(connection: psycopg.Connection[Any], keys: SealKeys) -> None:
    """Put MACs over members that had none until now, and along the chain of seals (`milestones`)."""
    # Nobody opens anything meanwhile.
    connection.execute(_TURN, [keys.platform])
    _vouch_members(connection, keys, lambda member: not member.mac, Vouched())
    milestones(connection, keys)


def rotated(connection: psycopg.Connection[Any], keys: SealKeys) -> Vouched:
    """Put a MAC under the newest key over what has one under an older key: that one is then needed no more."""
    return _vouch(connection, keys, keys.opened, keys.sealed, lambda end: end.is_ours(keys), keys.recorded)


def said(connection: psycopg.Connection[Any], keys: SealKeys, ids: Collection[UUID], *, last_batch: bool) -> Vouched:
    """Put MACs over the operations that a person names, as they are now; over the last batch and the end of the audit
    trail if it is said, and over members that are as the journal has them.
    """
    is_named: Callable[[Operation, Sequence[bytes]], bool] = lambda operation, _: operation.id in ids  # noqa: E731
    return _vouch(connection, keys, is_named, lambda *_: last_batch, lambda _: last_batch, lambda _: last_batch)


def milestones(connection: psycopg.Connection[Any], keys: SealKeys) -> int:
    """Put a MAC under the newest key over every `MILESTONE`th seal that has none: what is older than the key is proved
    by the chain from there on (`ledger.proofs`). Of a chain that is broken nothing before the break, and of one whose
    end has no right MAC nothing at all. Returns how many were put.
    """
    found: list[Seal] = []
    before, macs = Seal(0, BEFORE_ANYTHING, BEGINNING), ()
    with connection.cursor(name="seals") as cursor:
        for batch, at, leaves, digest, macs in cursor.execute(_SEALS, [keys.platform]):
            seal = Seal(batch, at, digest)
            if seals.follow(before._replace(batch=batch - 1), keys.platform, at, leaves) != seal:
                found.clear()
            if batch % MILESTONE == 0 and not keys.sealed(seal, macs, newest=True):
                found.append(seal)
            before = seal
    if not keys.sealed(before, macs):
        return 0
    for seal in found:
        connection.execute(_VOUCH, [keys.platform, f"batch {seal.batch}", keys.of_seal(seal)])
    return len(found)


def _vouch(
    connection: psycopg.Connection[Any],
    keys: SealKeys,
    is_vouched: Callable[[Operation, Sequence[bytes]], bool],
    is_head_vouched: Callable[[Seal, Sequence[bytes]], bool],
    is_end_vouched: Callable[[TrailEnd], bool] | None,
    is_member_vouched: Callable[[Member], bool] | None,
) -> Vouched:
    found = Vouched()
    # Nobody opens anything meanwhile.
    connection.execute(_TURN, [keys.platform])
    for *columns, digest, macs in connection.execute(_OPENED, [keys.platform]).fetchall():
        operation = operation_from_row(columns)
        if keys.opened(operation, macs, newest=True):
            continue
        if digest in (b"", operation.plan_digest) and is_vouched(operation, macs):
            connection.execute(_VOUCH, [keys.platform, f"opening {operation.serial}", keys.of_opening(operation)])
            found.put += 1
        elif not keys.opened(operation, macs):
            found.openings.append(operation)
    for batch, at, digest, macs in connection.execute(_HEAD, [keys.platform]).fetchall():
        head = Seal(batch, at or BEFORE_ANYTHING, digest or BEGINNING)
        if keys.sealed(head, macs, newest=True):
            continue
        if is_head_vouched(head, macs):
            connection.execute(_VOUCH, [keys.platform, f"batch {batch}", keys.of_seal(head)])
            found.put += 1
        elif not keys.sealed(head, macs):
            found.last_batch = batch
    if is_member_vouched is not None:
        _vouch_members(connection, keys, is_member_vouched, found)
    # The migration that brings MACs comes before the one that brings the trail.
    row = None if is_end_vouched is None else connection.execute(_END, [keys.platform]).fetchone()
    if is_end_vouched is not None and row is not None:
        end = TrailEnd(*row)
        if end.macs and not keys.entered(end.number, end.digest, end.macs, newest=True):
            if is_end_vouched(end):
                mac = keys.of_entry(end.number, end.digest)
                connection.execute(_VOUCH, [keys.platform, f"audit {end.number}", mac])
                found.put += 1
            else:
                found.last_entry = end.number
    return found


def _vouch_members(
    connection: psycopg.Connection[Any], keys: SealKeys, is_vouched: Callable[[Member], bool], found: Vouched
) -> None:
    for member_id, sub_account, kind, is_open, mac, is_journals in connection.execute(
        _MEMBERS, [keys.platform]
    ).fetchall():
        code = MemberCode(member_id)
        member = Member(
            member_id=code, sub_account=SubAccount(sub_account), property=kind, is_open=is_open, mac=bytes(mac)
        )
        if keys.recorded(member, newest=True):
            continue
        if is_journals and is_vouched(member):
            connection.execute(_RECORD, [keys.of_member(member), keys.platform, member_id])
            found.put += 1
        elif not keys.recorded(member):
            found.members.append(code)

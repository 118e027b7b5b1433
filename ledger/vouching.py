"""Puts MACs over what is in the books already: at the migration that brought them, for a new key, and by a person.

Who runs this has the keys and says by it that the books are right: whatever is vouched for is carried on. It writes to
`vouched` alone, which the service's role may only read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from ledger import session
from ledger.errors import LedgerUnavailable
from ledger.journal import operation_from_row
from ledger.macs import SealKeys
from ledger.memory import BEFORE_ANYTHING
from ledger.operations import Operation
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

_END = last("%s")

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

    @property
    def is_whole(self) -> bool:
        """Whether everything that is carried on has a right MAC."""
        return not self.openings and self.last_batch is None and self.last_entry is None


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
    return _vouch(connection, keys, lambda operation, macs: not any(macs), lambda _, macs: not any(macs), None)


def rotated(connection: psycopg.Connection[Any], keys: SealKeys) -> Vouched:
    """Put a MAC under the newest key over what has one under an older key: that one is then needed no more."""
    return _vouch(connection, keys, keys.opened, keys.sealed, lambda end: end.is_ours(keys))


def said(connection: psycopg.Connection[Any], keys: SealKeys, ids: Collection[UUID], *, last_batch: bool) -> Vouched:
    """Put MACs over the operations that a person names, as they are now; over the last batch and the end of the audit
    trail if it is said.
    """
    is_named: Callable[[Operation, Sequence[bytes]], bool] = lambda operation, _: operation.id in ids  # noqa: E731
    return _vouch(connection, keys, is_named, lambda *_: last_batch, lambda _: last_batch)


def _vouch(
    connection: psycopg.Connection[Any],
    keys: SealKeys,
    is_vouched: Callable[[Operation, Sequence[bytes]], bool],
    is_head_vouched: Callable[[Seal, Sequence[bytes]], bool],
    is_end_vouched: Callable[[TrailEnd], bool] | None,
) -> Vouched:
    found = Vouched()
    # Nobody opens anything meanwhile.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [keys.platform])
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

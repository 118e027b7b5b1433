"""Replays the seals: the chain from its first batch on, and beside it every row of the journal in the order of time.

Has hashing and SQL of its own, so that it would not repeat an error of `ledger.seals`. It holds one batch at a time,
however long the journal is; PostgreSQL sorts on disk what does not fit into its memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.findings import Finding, Summary
from ledger.macs import SealKeys
from ledger.seals import Seal

LINKED = "a seal follows from the one before"
COMPLETE = "no seal is missing"
KEPT = "sealed rows are as they were written"
SEALED = "every row is sealed"
NOTED = "the digest noted elsewhere is in the chain"
ALL_SEALED = "no more batches are from before there were seals than was said"
THERE = "the platform has books"
OURS = "who has the keys has written the end of the chain"

NAMES = ("operation", "transaction", "hold", "resolution", "leg", "event", "membership")
LEAF_BYTES = 37
HASH_BYTES = 16

PLATFORM = text("""
    SELECT batches, unsealed, (SELECT count(*) FROM membership WHERE platform = :platform AND at IS NULL)
    FROM platform
    WHERE platform = :platform
""")

OTHERS = text("SELECT string_agg(platform, ', ' ORDER BY platform) FROM platform")

SEALS = text("""
    SELECT batch, at, leaves, digest, mac, ARRAY(
        SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || s.batch AND v.platform = s.platform
      ) AS vouched
    FROM seal s
    WHERE platform = :platform
    ORDER BY batch
""")

SEALED_OPERATION: LiteralString = """
        CASE WHEN caller = '' AND person = '' THEN
          json_build_array(request_id, encode(fingerprint, 'hex'), kind, payer, payee, order_no, amount_fen, fee_fen)
        ELSE
          json_build_array(
            request_id, encode(fingerprint, 'hex'), kind, payer, payee, order_no, amount_fen, fee_fen, caller, person
          )
        END
"""
SEALED_TRANSACTION: LiteralString = (
    "json_build_array(part, serial, payer, payee, amount_fen, fee_fen, corrects, order_no)"
)
SEALED_RESOLUTION: LiteralString = """
        CASE WHEN bank_serial = '' THEN
          json_build_array(part, verdict, bank_day)
        ELSE
          json_build_array(part, verdict, bank_day, bank_serial)
        END
"""
SEALED_EVENT: LiteralString = "json_build_array(state, reason, bank_code, bank_message, encode(evidence, 'hex'))"
"""What is sealed of a row of these tables."""

ROWS = text(f"""
    SELECT at, id, name, sealed
    FROM (
      SELECT
        created_at AS at, id, 0 AS name, 0 AS one, 0::bigint AS two, '' AS three,
        {SEALED_OPERATION} AS sealed
      FROM operation
      WHERE platform = :platform
      UNION ALL
      SELECT
        reserved_at, operation_id, 1, part, 0, '',
        {SEALED_TRANSACTION}
      FROM transaction
      WHERE platform = :platform
      UNION ALL
      SELECT t.reserved_at, h.operation_id, 2, h.part, 0, h.account, json_build_array(h.part, h.account, h.amount_fen)
      FROM hold h
      JOIN transaction t USING (platform, operation_id, part)
      WHERE h.platform = :platform
      UNION ALL
      SELECT
        at, operation_id, 3, part, 0, '',
        {SEALED_RESOLUTION}
      FROM resolution
      WHERE platform = :platform
      UNION ALL
      SELECT
        r.at, l.operation_id, 4, l.part, l.leg, '',
        json_build_array(l.part, l.leg, l.debit, l.credit, l.amount_fen)
      FROM leg l
      JOIN resolution r USING (platform, operation_id, part)
      WHERE l.platform = :platform
      UNION ALL
      SELECT
        at, operation_id, 5, 0, seq, '',
        {SEALED_EVENT}
      FROM event
      WHERE platform = :platform
      UNION ALL
      SELECT
        coalesce(at, 'epoch'), operation_id, 6, 0, seq, '',
        json_build_array(member_id, sub_account, property, is_open, same_name)
      FROM membership
      WHERE platform = :platform AND (at IS NOT NULL OR operation_id IS NOT NULL)
    ) written
    ORDER BY at, id, name, one, two, three COLLATE "C"
""")
"""All that is sealed. A hold has the time of its transaction, a leg that of its resolution; one whose row is gone is
found by the check that every row names what is there.
"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The rows of one operation in one table that a batch wrote: how many, and the hash over them."""

    rows: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.rows} row{'' if self.rows == 1 else 's'}, {self.hash.hex()}"


Key = tuple[UUID, int]
"""An operation and the number of a table."""


@dataclass(slots=True)
class Batch:
    """What has the same time."""

    at: datetime
    leaves: dict[Key, Leaf] = field(default_factory=dict)


async def replay(
    connection: AsyncConnection,
    platform: str,
    summary: Summary,
    noted: bytes = b"",
    unsealed: int = 0,
    keys: SealKeys | None = None,
) -> AsyncIterator[Finding]:
    """What contradicts the seals, in the order of the batches; ``summary`` counts what went by.

    The connection must see one state of the database throughout (REPEATABLE READ). ``noted`` is a digest that some
    seal must have; ``unsealed`` is how many batches are known to be from before there were seals. With ``keys`` the
    last seal must have its MAC.
    """
    head = (await connection.execute(PLATFORM, {"platform": platform})).one_or_none()
    batches, before, members_before = head or (0, 0, 0)
    summary.batches, summary.batches_unsealed, summary.members_unsealed = batches, before, members_before
    if head is None:
        others = (await connection.execute(OTHERS)).scalar_one()
        if others is not None:
            yield Finding(THERE, f"platform {platform}", "books", f"none; there are those of {others}")
    if before != unsealed:
        yield Finding(ALL_SEALED, "the first batches", str(unsealed), f"{before} of {batches}")
    number, digest, earlier = before, bytes(32), before > 0
    proved, is_proved = 0, False
    written = _written(connection, platform, summary)
    batch = await anext(written, None)
    is_found = not noted
    async for seal in await connection.stream(SEALS, {"platform": platform}):
        place = f"batch {seal.batch} of {_iso(seal.at)}"
        if seal.batch != number + 1:
            yield Finding(COMPLETE, f"before {place}", f"batch {number + 1}", f"batch {seal.batch}")
        else:
            follows = _digest(digest, platform, seal.batch, seal.at, seal.leaves)
            if follows != seal.digest:
                yield Finding(LINKED, place, follows.hex(), seal.digest.hex())
        while batch is not None and batch.at < seal.at:
            for finding in _unsealed(batch, earlier=earlier):
                yield finding
            batch = await anext(written, None)
        found: dict[Key, Leaf] = {}
        if batch is not None and batch.at == seal.at:
            found, batch = batch.leaves, await anext(written, None)
        for finding in _compared(place, _leaves(seal.leaves), found):
            yield finding
        number, digest, earlier = seal.batch, seal.digest, False
        is_proved = keys is None or keys.sealed(Seal(seal.batch, seal.at, seal.digest), [seal.mac, *seal.vouched])
        proved = seal.batch if is_proved else proved
        is_found = is_found or digest == noted
        summary.sealed_since = summary.sealed_since or seal.at
        summary.sealed_until, summary.digest = seal.at, seal.digest
    while batch is not None:
        for finding in _unsealed(batch, earlier=earlier):
            yield finding
        batch = await anext(written, None)
    if number > before and not is_proved:
        # The digest of a batch covers all before it, and so does its MAC.
        yield Finding(OURS, f"batches {proved + 1} to {number}", "a MAC under one of the keys", "none that is right")
    if number != batches:
        yield Finding(COMPLETE, "the last batch", f"batch {batches}", f"batch {number}")
    if not is_found:
        yield Finding(NOTED, "the chain of seals", noted.hex(), f"no seal has it; the last is {digest.hex()}")


async def _written(connection: AsyncConnection, platform: str, summary: Summary) -> AsyncIterator[Batch]:
    """The journal, batch by batch."""
    batch: Batch | None = None
    key: Key | None = None
    rows, hashed = 0, hashlib.sha256()
    async for at, operation_id, name, sealed in await connection.stream(ROWS, {"platform": platform}):
        if batch is None or batch.at != at or key != (operation_id, name):
            if batch is not None and key is not None:
                batch.leaves[key] = Leaf(rows, hashed.digest()[:HASH_BYTES])
                if batch.at != at:
                    yield batch
            if batch is None or batch.at != at:
                batch = Batch(at)
            key, rows, hashed = (operation_id, name), 0, hashlib.sha256()
        if rows:
            hashed.update(b"]\n[")
        hashed.update("\n".join(json.dumps(value, ensure_ascii=False) for value in sealed).encode())
        rows += 1
        summary.operations += name == NAMES.index("operation")
        summary.transactions += name == NAMES.index("transaction")
        summary.legs += name == NAMES.index("leg")
    if batch is not None and key is not None:
        batch.leaves[key] = Leaf(rows, hashed.digest()[:HASH_BYTES])
        yield batch


def _digest(before: bytes, platform: str, number: int, at: datetime, leaves: bytes) -> bytes:
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    name = platform.encode()
    whole = hashlib.sha256(before)
    for part in (number.to_bytes(8), microseconds.to_bytes(8, signed=True), len(name).to_bytes(2), name, leaves):
        whole.update(part)
    return whole.digest()


def _leaves(sealed: bytes) -> dict[Key, Leaf]:
    """The leaves of a seal. What is cut short is left out: the chain is broken there anyway."""
    found: dict[Key, Leaf] = {}
    for begin in range(0, len(sealed) - LEAF_BYTES + 1, LEAF_BYTES):
        leaf = sealed[begin : begin + LEAF_BYTES]
        found[UUID(bytes=leaf[:16]), leaf[16]] = Leaf(int.from_bytes(leaf[17:21]), leaf[21:])
    return found


def _compared(place: str, sealed: dict[Key, Leaf], found: dict[Key, Leaf]) -> Iterator[Finding]:
    for key, leaf in sealed.items():
        seen = found.get(key)
        if seen == leaf:
            continue
        if seen is None:
            what = "missing: no row"
        elif seen.rows == leaf.rows:
            what = f"changed: {seen}"
        else:
            what = f"{'missing' if seen.rows < leaf.rows else 'inserted'}: {seen}"
        yield Finding(KEPT, f"{place}, {_named(key)}", str(leaf), what)
    for key in found.keys() - sealed.keys():
        yield Finding(SEALED, f"{place}, {_named(key)}", "no row", f"inserted: {found[key]}")


def _unsealed(batch: Batch, *, earlier: bool) -> Iterator[Finding]:
    """What has no seal. ``earlier`` than the first seal it needs none, but for memberships: they came after seals."""
    for key, leaf in batch.leaves.items():
        if earlier and key[1] != NAMES.index("membership"):
            continue
        yield Finding(SEALED, f"{_iso(batch.at)}, {_named(key)}", "no row", f"inserted: {leaf}")


def _named(key: Key) -> str:
    operation_id, name = key
    return f"{NAMES[name] if name < len(NAMES) else f'table {name}'} of operation {operation_id}"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()

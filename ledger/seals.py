"""How a batch is sealed: a hash over the seal before it and over every row that the batch added. Pure.

A seal has one *leaf* for each operation and table that the batch wrote: which, how many rows, and a hash over them. So
a later look finds not only that something was changed but where. `ledger.replay` computes the same with code of its
own; docs/seals.md says how in words.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

TABLES = ("operation", "transaction", "hold", "resolution", "leg", "event", "membership")
"""A leaf has the place of its table in here. Of an operation only what never changes is sealed."""

BEGINNING = bytes(32)
"""What the first seal of a platform follows."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LEAF = struct.Struct(">16sBI16s")
"""Operation, table, number of rows, the first half of the SHA-256 over them."""
HEAD = struct.Struct(">32sqqH")
"""The digest before, the batch's number, its time in microseconds since 1970, the length of the platform's name."""

# A newline never stands in JSON's own strings: with it for a comma, one run over a whole batch can be cut into leaves.
_to_json = json.JSONEncoder(ensure_ascii=False, separators=("\n", ":"), check_circular=False).encode
_BETWEEN_LEAVES = b"]]\n[["

Row = tuple[Any, ...]
"""The operation's id, then the values that are sealed: texts, integers, booleans, None."""


class Seal(NamedTuple):
    """What the next seal follows: the number and the time of a batch, and its digest."""

    batch: int
    at: datetime
    digest: bytes


def leaves(tables: Sequence[Iterable[Row]]) -> bytes:
    """The leaves over a batch's rows, which come as one series of `Row` a table, in the order of `TABLES`."""
    heads: list[tuple[bytes, int, int]] = []
    groups: list[list[Row]] = []
    for number, rows in enumerate(tables):
        found: dict[UUID, list[Row]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(row[1:])
        for operation_id, group in found.items():
            # Events and memberships stay as they came; all others have a key, and the database knows no other order.
            if len(group) > 1 and number < TABLES.index("event"):
                group.sort()
            heads.append((operation_id.bytes, number, len(group)))
            groups.append(group)
    if not groups:
        return b""
    text = _to_json(groups)
    if "\\u0000" in text:
        text = _to_json([[tuple(map(_storable, row)) for row in group] for group in groups])
    bodies = text.encode("utf-8", "replace")[3:-3].split(_BETWEEN_LEAVES)
    pack = LEAF.pack
    return b"".join(
        [pack(*head, sha256(body).digest()[:16]) for head, body in zip(heads, bodies, strict=True)],
    )


def follow(before: Seal, platform: str, at: datetime, leaves: bytes) -> Seal:
    """The seal of the batch after ``before``, written at ``at``."""
    name = platform.encode()
    batch = before.batch + 1
    head = HEAD.pack(before.digest, batch, (at - EPOCH) // MICROSECOND, len(name))
    return Seal(batch, at, sha256(head + name + leaves).digest())


def _storable(value: object) -> object:
    """A text as `ledger.arrays.texts` lets it into the database."""
    return value.replace("\0", "?") if isinstance(value, str) else value

"""Whether what the database says of an operation is what was sealed, asked before somebody is told of it.

Whoever can write to the database can enter an operation that is done, or give one another state. So an answer is told
only where each row it is made of has its place in a seal (`ledger.seals`) that has a MAC (`ledger.macs`), and where its
state is that of the last sealed event. Anything else is shown as in doubt: UNKNOWN, with the reason `REASON_FAULT`. It
costs two statements an answer at most, since leaves that were proved are kept, and a first payment nothing: what is new
has nothing to prove.

A seal whose own MAC is under a key that is gone counts where the chain leads on to one with a right MAC: within
`MILESTONE` batches, since a rotation puts one at least that often (`ledger.vouching`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger import seals
from ledger.database import reading
from ledger.journal import full_operation_from_row
from ledger.macs import MILESTONE, SealKeys
from ledger.memory import BEFORE_ANYTHING
from ledger.operations import REASON_FAULT, FullOperation, PartState, State
from ledger.replay import SEALED_EVENT, SEALED_OPERATION, SEALED_RESOLUTION, SEALED_TRANSACTION
from ledger.seals import BEGINNING, LEAF, TABLES, Seal
from ledger.statements import FULL_OPERATIONS

DOUBTED: Final = (
    "it is not as the service opened it, or its state is not the one that was sealed: somebody else has written to the"
    " database. What the bank has of it is in the bank's lists"
)

_KEPT_BYTES: Final = 8 << 20
"""Leaves that were proved are kept up to so many bytes: of pages that are looked at again, the rows alone are read. Of
batches of one operation that is 15 MiB of memory.
"""

_OPERATION, _TRANSACTION, _RESOLUTION, _EVENT = (
    TABLES.index(name) for name in ("operation", "transaction", "resolution", "event")
)
_TOLD: Final = (_OPERATION, _TRANSACTION, _RESOLUTION, _EVENT)
"""The tables that an answer is made of."""

_ROWS = text(f"""
    SELECT at, operation_id, name, sealed
    FROM (
      SELECT
        created_at AS at, id AS operation_id, {_OPERATION} AS name, 0::bigint AS place,
        {SEALED_OPERATION} AS sealed
      FROM operation
      WHERE platform = :platform AND id = ANY (:ids)
      UNION ALL
      SELECT
        reserved_at, operation_id, {_TRANSACTION}, part,
        {SEALED_TRANSACTION}
      FROM transaction
      WHERE platform = :platform AND operation_id = ANY (:ids)
      UNION ALL
      SELECT at, operation_id, {_RESOLUTION}, part, {SEALED_RESOLUTION}
      FROM resolution
      WHERE platform = :platform AND operation_id = ANY (:ids)
      UNION ALL
      SELECT
        at, operation_id, {_EVENT}, seq,
        {SEALED_EVENT}
      FROM event
      WHERE platform = :platform AND operation_id = ANY (:ids)
    ) written
    ORDER BY name, place
""")

_MACS = """array_prepend(s.mac, ARRAY(
    SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || s.batch AND v.platform = s.platform
))"""

SEALS = text(f"""
    SELECT s.batch, s.at, s.leaves, s.digest, {_MACS} AS macs, before.digest AS follows
    FROM unnest(CAST(:times AS timestamptz[])) AS wanted (at)
    -- Lateral and with an offset, so that each is one index look-up whatever is believed of the table.
    CROSS JOIN LATERAL (
      SELECT * FROM seal WHERE platform = :platform AND at = wanted.at OFFSET 0
    ) s
    LEFT JOIN LATERAL (
      SELECT digest FROM seal WHERE platform = :platform AND batch = s.batch - 1 OFFSET 0
    ) before ON true
""")

_FOLLOWING = text(f"""
    SELECT s.batch, s.at, s.leaves, s.digest, {_MACS} AS macs
    FROM seal s
    WHERE s.platform = :platform AND s.batch > :batch AND s.batch <= :upto
    ORDER BY s.batch
""")

_FIRST = text("""
    SELECT p.unsealed, (SELECT s.at FROM seal s WHERE s.platform = p.platform ORDER BY s.batch LIMIT 1) AS at
    FROM platform p
    WHERE p.platform = :platform
""")


@dataclass(slots=True)
class _Written:
    """The rows of one operation, by table, in their order; and the times of their batches."""

    rows: dict[int, list[Sequence[Any]]] = field(default_factory=dict)
    times: set[datetime] = field(default_factory=set)


_Leaves = Mapping[bytes, set[bytes]]
"""Of one batch, by the id of the operation."""


class Proofs:
    """One platform's. Raises `LedgerUnavailable`."""

    def __init__(self, engine: AsyncEngine, platform: str, keys: SealKeys) -> None:
        self._engine = engine
        self._platform = platform
        self._keys = keys
        self._proved: dict[datetime, bytes] = {}
        self._kept_bytes = 0

    async def checked(self, found: Collection[FullOperation]) -> list[FullOperation]:
        """These operations, as they are now where they have gone on meanwhile; in doubt where they are not proved."""
        if not found:
            return []
        # One connection for all that is read of them.
        async with reading(self._engine) as connection:
            return await self._checked(connection, found)

    async def _checked(self, connection: AsyncConnection, found: Collection[FullOperation]) -> list[FullOperation]:
        unproved = await self._unproved(connection, found)
        if not unproved:
            return list(found)
        # Read before their rows were: each is looked at once more, as it is now.
        again = {
            full.operation.id: full
            for full in (
                full_operation_from_row(list(row.values()))
                for row in await self._rows(connection, text(FULL_OPERATIONS), ids=list(unproved))
            )
        }
        still = await self._unproved(connection, again.values())
        return [
            (_doubted(again[id_]) if id_ in still else again[id_]) if (id_ := full.operation.id) in again else full
            for full in found
        ]

    async def has_its_state(self, operation_id: UUID) -> bool:
        """Whether an operation is in the state of its last event, and all its events are sealed."""
        # Twice, since it may go on between the two statements.
        async with reading(self._engine) as connection:
            for _ in range(2):
                for row in await self._rows(connection, text(FULL_OPERATIONS), ids=[operation_id]):
                    full = full_operation_from_row(list(row.values()))
                    if not await self._unproved(connection, [full], tables=(_EVENT,)):
                        return True
        return False

    async def _unproved(
        self, connection: AsyncConnection, found: Collection[FullOperation], tables: Collection[int] = _TOLD
    ) -> set[UUID]:
        written: dict[UUID, _Written] = {full.operation.id: _Written() for full in found}
        by_time: dict[datetime, list[list[seals.Row]]] = {}
        for row in await self._rows(connection, _ROWS, ids=list(written)):
            of, name, at = written[row["operation_id"]], row["name"], row["at"]
            if name not in tables:
                continue
            of.rows.setdefault(name, []).append(row["sealed"])
            of.times.add(at)
            batch = by_time.setdefault(at, [[] for _ in TABLES])
            batch[name].append((row["operation_id"], *row["sealed"]))
        ids, told = {id_.bytes for id_ in written}, set(tables)
        rows = {at: _by_operation(seals.leaves(batch), ids, told) for at, batch in by_time.items()}
        sealed = await self._sealed(connection, by_time, ids, told)
        return {
            full.operation.id
            for full in found
            if not _agrees(full, of := written[full.operation.id])
            or (_RESOLUTION in tables and not _has_its_parts(full, of))
            or not of.times
            or any(not _is_sealed(full.operation.id.bytes, rows[at], sealed.get(at, {})) for at in of.times)
        }

    async def _sealed(
        self, connection: AsyncConnection, times: Collection[datetime], ids: set[bytes], tables: set[int]
    ) -> Mapping[datetime, _Leaves | None]:
        """The leaves of these operations and tables in the batches of these times that are sealed by somebody with the
        keys; None for a time before the first seal of books that are older than seals.
        """
        proved = {at: self._proved[at] for at in times if at in self._proved}
        asked = [at for at in times if at not in proved]
        for row in await self._rows(connection, SEALS, times=asked) if asked else ():
            seal, leaves = Seal(row["batch"], row["at"], bytes(row["digest"])), bytes(row["leaves"])
            before = Seal(seal.batch - 1, BEFORE_ANYTHING, bytes(row["follows"] or BEGINNING))
            if seals.follow(before, self._platform, seal.at, leaves) == seal and (
                self._keys.sealed(seal, row["macs"]) or await self._leads_to_ours(connection, seal)
            ):
                proved[seal.at] = leaves
                self._keep(seal.at, leaves)
        found: dict[datetime, _Leaves | None] = {at: _by_operation(one, ids, tables) for at, one in proved.items()}
        if len(found) < len(times):
            for row in await self._rows(connection, _FIRST):
                is_older = row["unsealed"] > 0 and row["at"] is not None
                found |= {at: None for at in times if is_older and at < row["at"]}
        return found

    def _keep(self, at: datetime, leaves: bytes) -> None:
        # A batch is sealed once: what its leaves are is known for good, whatever is written over them.
        if at in self._proved:
            # Another answer was about it meanwhile.
            return
        if self._kept_bytes > _KEPT_BYTES:
            self._proved.clear()
            self._kept_bytes = 0
        self._proved[at] = leaves
        self._kept_bytes += len(leaves)

    async def _leads_to_ours(self, connection: AsyncConnection, seal: Seal) -> bool:
        """Whether the chain goes on from it to a seal with a right MAC, whose digest covers all before."""
        for row in await self._rows(connection, _FOLLOWING, batch=seal.batch, upto=seal.batch + MILESTONE):
            following = Seal(row["batch"], row["at"], bytes(row["digest"]))
            if seals.follow(seal, self._platform, following.at, bytes(row["leaves"])) != following:
                return False
            if self._keys.sealed(following, row["macs"]):
                return True
            seal = following
        return False

    async def _rows(self, connection: AsyncConnection, query: Any, **values: Any) -> Sequence[Any]:
        return (await connection.execute(query, {"platform": self._platform, **values})).mappings().all()


def _agrees(full: FullOperation, written: _Written) -> bool:
    """Whether the operation is what its events say: opened so, in the state of the last."""
    operation, events = full.operation, written.rows.get(_EVENT, [])
    opening = ""
    before = State.RELEASED.value
    for state, _, _, _, evidence in events:
        if before == State.RELEASED:
            opening = evidence[:64]
        before = state
    # What was opened before plans were sealed has no digest.
    if not events or opening not in ("", operation.plan_digest.hex()):
        return False
    return (events[-1][0], events[-1][1]) == (operation.state.value, operation.reason)


def _has_its_parts(full: FullOperation, written: _Written) -> bool:
    """Whether its parts are those of the rows, and ended so."""
    ends = {part: end for part, *end in written.rows.get(_RESOLUTION, [])}
    told = {part.part: (part.state, part.bank_serial) for part in full.parts}
    found = {part: _ended(*ends.get(part, ("reserved",))) for part, *_ in written.rows.get(_TRANSACTION, [])}
    return told == found


def _ended(verdict: str, _bank_day: str = "", bank_serial: str = "") -> tuple[PartState, str]:
    return PartState(verdict), bank_serial


def _is_sealed(operation_id: bytes, rows: _Leaves, sealed: _Leaves | None) -> bool:
    """Whether each row has its leaf, and each leaf its rows."""
    return sealed is None or rows.get(operation_id) == sealed.get(operation_id)


def _by_operation(leaves: bytes, ids: set[bytes], tables: set[int]) -> _Leaves:
    """The leaves of these operations and tables."""
    found: dict[bytes, set[bytes]] = {}
    for one in _cut(leaves):
        if one[:16] in ids and one[16] in tables:
            found.setdefault(one[:16], set()).add(one)
    return found


def _cut(leaves: bytes) -> Iterator[bytes]:
    return (leaves[begin : begin + LEAF.size] for begin in range(0, len(leaves), LEAF.size))


def _doubted(full: FullOperation) -> FullOperation:
    state = State.ACCEPTED if full.operation.state is State.ACCEPTED else State.UNKNOWN
    return full._replace(operation=full.operation._replace(state=state, reason=REASON_FAULT, message=DOUBTED))

"""Operations and their parts, by the names that callers know them by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import and_, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import copies
from ledger.coalesce import Coalesced
from ledger.errors import LedgerBehind, OpeningForged
from ledger.journal import full_operation_from_row
from ledger.lookups import Lookups
from ledger.macs import SealKeys
from ledger.names import BankSerial, MemberCode, RequestId, Serial
from ledger.operations import FullOperation, Operation, Part, State
from ledger.reads.queries import DUE, OPERATION, Queries, operation_of, part_of, select_operations, select_parts
from ledger.schema import booking, due, operation, transaction
from ledger.statements import FULL_OPERATIONS

_OPENED = text("""
    SELECT substring(evidence FOR 32) AS digest, array_prepend(mac, ARRAY(
        SELECT v.mac FROM vouched v WHERE v.subject = 'opening ' || :serial AND v.platform = :platform
      )) AS macs
    FROM (
      SELECT seq, evidence, mac, lag(state) OVER (ORDER BY seq) AS before
      FROM event
      WHERE platform = :platform AND operation_id = :operation_id
    ) told
    WHERE before IS NULL OR before = 'released'
    ORDER BY seq DESC
    LIMIT 1
""")
"""What an operation was last opened with: one that was released is opened anew."""


class Operations(Queries):
    """Operations and their parts."""

    def __init__(self, engine: AsyncEngine, lookups: Lookups, keys: SealKeys | None = None) -> None:
        super().__init__(engine, lookups, keys)
        self._by_request: Coalesced[RequestId, Operation] = Coalesced(self._certainly_by_request)

    async def under_way(self, *member_ids: MemberCode) -> list[Operation]:
        """The operations that are not final and name one of these members themselves, oldest first."""
        rows = await self._rows(
            select(*OPERATION)
            .select_from(due.join(operation, DUE))
            .where(
                due.c.platform == self._platform,
                or_(operation.c.payer.in_(member_ids), operation.c.payee.in_(member_ids)),
            )
            .order_by(operation.c.id)
        )
        return [operation_of(row) for row in rows]

    async def operation(
        self, *, operation_id: UUID | None = None, request_id: RequestId | None = None, serial: Serial | None = None
    ) -> Operation | None:
        """The operation named by exactly one of the three, or None."""
        named = {operation.c.id: operation_id, operation.c.request_id: request_id, operation.c.serial: serial}
        conditions = [column == value for column, value in named.items() if value is not None]
        if len(conditions) != 1:
            raise ValueError("name an operation by its id, its request id or its serial")
        rows = await self._rows(select_operations().where(operation.c.platform == self._platform, *conditions))
        return operation_of(rows[0]) if rows else None

    async def first_with_fee(self, kind: str) -> Operation | None:
        """The oldest operation of a kind that has a fee and has moved money, or may yet."""
        rows = await self._rows(
            select_operations()
            .where(
                operation.c.platform == self._platform,
                operation.c.kind == kind,
                operation.c.fee_fen > 0,
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
            )
            .order_by(operation.c.id)
            .limit(1)
        )
        return operation_of(rows[0]) if rows else None

    async def operation_of_request(self, request_id: RequestId) -> Operation | None:
        """The operation of this request id, for many callers in one query; None when there certainly is none.

        Raises `LedgerBehind` where books that are older than the bank do not have it: that proves nothing.
        """
        return (await self._by_request.get([request_id])).get(request_id)

    async def _certainly_by_request(self, request_ids: Collection[RequestId]) -> dict[RequestId, Operation]:
        found = await self.operations_by_request(request_ids)
        if len(found) < len(request_ids):
            behind_since = await copies.behind_since(self._engine, self._platform)
            if behind_since is not None:
                raise LedgerBehind.restored(behind_since)
        return found

    async def operations_by_request(self, request_ids: Collection[RequestId]) -> dict[RequestId, Operation]:
        """The operations under these request ids, by request id."""
        rows = await self._rows(
            select_operations().where(
                operation.c.platform == self._platform, operation.c.request_id.in_(list(request_ids))
            )
        )
        return {row["request_id"]: operation_of(row) for row in rows}

    async def operations_naming(self, serial: Serial, kind: str) -> list[Operation]:
        """The operations of this kind with a part under this serial, oldest first."""
        naming = select(transaction.c.operation_id).where(
            transaction.c.platform == self._platform,
            transaction.c.serial == serial,
            transaction.c.serial != literal_column("''"),
        )
        rows = await self._rows(
            select_operations()
            .where(operation.c.platform == self._platform, operation.c.id.in_(naming), operation.c.kind == kind)
            .order_by(operation.c.id)
        )
        return [operation_of(row) for row in rows]

    async def booked_by_others(self, bank_serials: Collection[BankSerial], serial: Serial) -> dict[BankSerial, Serial]:
        """Which of the bank's serials operations other than that of ``serial`` have, with theirs."""
        if not bank_serials:
            return {}
        rows = await self._rows(
            select(booking.c.bank_serial, operation.c.serial)
            .join(operation, and_(operation.c.platform == booking.c.platform, operation.c.id == booking.c.operation_id))
            .where(
                booking.c.platform == self._platform,
                booking.c.bank_serial.in_(list(bank_serials)),
                booking.c.bank_serial != literal_column("''"),
                operation.c.serial != serial,
            )
        )
        return {row["bank_serial"]: row["serial"] for row in rows}

    async def plan(self, found: Operation) -> dict[str, Any]:
        """The plan of an operation, to be carried on.

        Raises `OpeningForged` when it is not the one that was sealed, has no MAC under the keys, or is in another state
        than was sealed.
        """
        macs = await self._opened(found)
        if self._keys is not None and not self._keys.opened(found, macs):
            raise OpeningForged(f"{found.id} has no MAC under any of JZB_SEAL__KEYS: who has these did not open it so")
        if self.proofs is not None and not await self.proofs.has_its_state(found.id):
            raise OpeningForged(f"the state of {found.id} is not the one that was sealed: run `jzb verify`")
        return found.plan

    async def require_as_opened(self, found: Operation) -> None:
        """Raise `OpeningForged` where the plan of an operation that is final is not the one that was sealed: what it
        keeps goes into a later message. It needs no MAC, whose key may be gone; nothing is carried on.
        """
        await self._opened(found)

    async def _opened(self, found: Operation) -> list[bytes]:
        """The MACs of the last opening, whose digest is right."""
        rows = await self._rows(_OPENED, platform=self._platform, operation_id=found.id, serial=found.serial)
        # What was opened before plans were sealed has no digest; only a MAC can stand for that.
        if not rows or rows[0]["digest"] not in (b"", found.plan_digest):
            raise OpeningForged(f"the plan or the serial of {found.id} is not the one it was opened with")
        return list(rows[0]["macs"])

    async def parts(self, operation_ids: Collection[UUID]) -> dict[UUID, list[Part]]:
        """The transactions of these operations, in order."""
        rows = await self._rows(
            select_parts().where(
                transaction.c.platform == self._platform, transaction.c.operation_id.in_(list(operation_ids))
            )
        )
        found: dict[UUID, list[Part]] = {}
        for row in rows:
            found.setdefault(row["operation_id"], []).append(part_of(row))
        return found

    async def full_operations(self, operation_ids: Collection[UUID]) -> dict[UUID, FullOperation]:
        """These operations with their parts, by id; what one answer shows must be read by one statement.

        One that is not as it was sealed is in doubt (`ledger.proofs`).
        """
        rows = await self._rows(text(FULL_OPERATIONS), platform=self._platform, ids=list(operation_ids))
        full_operations = [full_operation_from_row(list(row.values())) for row in rows]
        if self.proofs is not None:
            full_operations = await self.proofs.checked(full_operations)
        return {full.operation.id: full for full in full_operations}

    async def open_operations(self) -> dict[UUID, State]:
        """All operations that are not final."""
        rows = await self._rows(
            select(operation.c.id, operation.c.state)
            .select_from(due.join(operation, DUE))
            .where(due.c.platform == self._platform)
        )
        return {row["id"]: State(row["state"]) for row in rows}

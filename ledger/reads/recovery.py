"""What a catch-up after a restored copy asks for."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import and_, exists, select

from ledger.names import BankSerial
from ledger.operations import Operation, Part, PartState
from ledger.reads.queries import IS_OF, Queries, operation_of, part_of, select_operations, select_parts
from ledger.schema import operation, resolution, transaction

CATCH_UP = "CATCH_UP"
"""The kind of the operations that take over what the bank did while the books were lost; their plans tell of it."""


class Recovery(Queries):
    """What was taken over, and what the books have had since."""

    async def caught_up(self, since: str) -> list[Operation]:
        """The CATCH_UP operations of the copy of ``since``, as their plans have it."""
        rows = await self._rows(
            select_operations()
            .where(
                operation.c.platform == self._platform,
                operation.c.kind == CATCH_UP,
                operation.c.plan["since"].as_string() == since,
            )
            .order_by(operation.c.id)
        )
        return [operation_of(row) for row in rows]

    async def booked_since(self, at: datetime) -> tuple[set[BankSerial], list[tuple[str, Part]]]:
        """The bank's serials of all operations that moved on since; and of those whose parts have serials of their own,
        under each of which the bank books, the kind and the posted parts. Reads all operations.
        """
        moved = and_(operation.c.platform == self._platform, operation.c.updated_at >= at)
        other = transaction.alias("other")
        serials, parts = await asyncio.gather(
            self._rows(select(operation.c.bank_serial).where(moved, operation.c.bank_serial != "")),
            self._rows(
                select_parts()
                .add_columns(operation.c.kind)
                .join(operation, IS_OF)
                .where(
                    moved,
                    operation.c.kind != CATCH_UP,
                    resolution.c.verdict == PartState.POSTED.value,
                    exists().where(
                        other.c.platform == transaction.c.platform,
                        other.c.operation_id == transaction.c.operation_id,
                        other.c.serial.not_in(("", transaction.c.serial)),
                    ),
                    transaction.c.serial != "",
                )
            ),
        )
        return {row["bank_serial"] for row in serials}, [(row["kind"], part_of(row)) for row in parts]

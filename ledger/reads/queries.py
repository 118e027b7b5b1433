"""What all readers share: how an operation, a part and a member are selected and made of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, and_, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.database import reading
from ledger.journal import operation_from_row
from ledger.lookups import Lookups
from ledger.macs import SealKeys
from ledger.names import NO_BANK_SERIAL
from ledger.operations import Member, Operation, Part, PartState
from ledger.proofs import Proofs
from ledger.schema import due, operation, resolution, transaction

LABELLED = {
    operation.c.plan: cast(operation.c.plan, Text).label("plan_text"),
    operation.c.asks: operation.c.asks.label("query_attempts"),
}
BUT_ASKED = [LABELLED.get(column, column) for column in operation.c]
"""The columns of an operation, but for the time of its next question."""

OPERATION = [*BUT_ASKED, due.c.ask_at.label("next_query_at")]

DUE = and_(due.c.platform == operation.c.platform, due.c.operation_id == operation.c.id)

RESOLVED = and_(
    resolution.c.platform == transaction.c.platform,
    resolution.c.operation_id == transaction.c.operation_id,
    resolution.c.part == transaction.c.part,
)
"""Joins a part to how it ended."""

IS_OF = and_(operation.c.platform == transaction.c.platform, operation.c.id == transaction.c.operation_id)
"""Joins a part to its operation."""

own_order_no = func.coalesce(func.nullif(transaction.c.order_no, literal_column("''")), operation.c.order_no)
"""The order number of a part: its own, or that of its operation."""


class Queries:
    """One platform's reads of one kind; each is a statement of its own."""

    def __init__(self, engine: AsyncEngine, lookups: Lookups, keys: SealKeys | None = None) -> None:
        self._engine = engine
        self._keys = keys
        self.proofs = None if keys is None else Proofs(engine, lookups.platform, keys)
        """What tells whether an operation is as it was sealed; None without keys."""
        self._lookups = lookups
        self._platform = lookups.platform

    @property
    def platform(self) -> str:
        """Whose books are read."""
        return self._platform

    async def _rows(self, query: Select[Any] | Any, **values: Any) -> Sequence[Any]:
        async with reading(self._engine) as connection:
            return (await connection.execute(query, values)).mappings().all()


def select_operations() -> Select[Any]:
    """Operations, with the time of the next question of those that are open."""
    return select(*OPERATION).select_from(operation.outerjoin(due, DUE))


def select_parts() -> Select[Any]:
    """Parts, with how they ended; in order."""
    return (
        select(transaction, resolution.c.verdict, resolution.c.bank_day, resolution.c.bank_serial)
        .select_from(transaction.outerjoin(resolution, RESOLVED))
        .order_by(transaction.c.operation_id, transaction.c.part)
    )


def operation_of(row: Any) -> Operation:
    """The operation of a row of `OPERATION`."""
    return operation_from_row([row[name] for name in Operation._fields])


def part_of(row: Any) -> Part:
    """The part of a row of `select_parts`."""
    return Part(
        part=row["part"],
        serial=row["serial"],
        payer=row["payer"],
        payee=row["payee"],
        amount_fen=row["amount_fen"],
        fee_fen=row["fee_fen"],
        state=PartState(row["verdict"]) if row["verdict"] else PartState.RESERVED,
        bank_day=row["bank_day"],
        corrects=row["corrects"],
        order_no=row["order_no"],
        bank_serial=row["bank_serial"] or NO_BANK_SERIAL,
    )


def member_of(row: Any) -> Member:
    """The member of a row."""
    return Member(
        member_id=row["member_id"],
        sub_account=row["sub_account"],
        property=row["property"],
        is_open=row["closed_at"] is None,
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        same_name=row["same_name"],
        mac=bytes(row["mac"]),
    )

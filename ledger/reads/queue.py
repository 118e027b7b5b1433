"""The resolver's queue: which operations are to be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Interval, Select, and_, bindparam, func, select

from ledger.database import seconds
from ledger.operations import Operation
from ledger.reads.queries import BUT_ASKED, Queries, operation_of
from ledger.schema import due, operation


def _leasing(free: Select[Any]) -> Select[Any]:
    """Lease what ``free`` selects of what is due. Every process does it once a second, so it is put together once."""
    was = free.where(due.c.platform == bindparam("of")).cte("was")
    leased = (
        due.update()
        .where(due.c.platform == was.c.platform, due.c.operation_id == was.c.operation_id)
        .values(ask_at=func.now() + bindparam("lease", type_=Interval()))
        .returning(was.c.platform, was.c.operation_id, was.c.ask_at)
        .cte("leased")
    )
    return select(
        *BUT_ASKED,
        leased.c.ask_at.label("next_query_at"),
        seconds(leased.c.ask_at - func.now()).label("due_in_s"),
        func.now().label("at"),
    ).join(leased, and_(operation.c.platform == leased.c.platform, operation.c.id == leased.c.operation_id))


_FREE = select(due.c.platform, due.c.operation_id, due.c.ask_at)
_LEASE_DUE = _leasing(
    _FREE.where(due.c.ask_at <= func.now())
    .order_by(due.c.ask_at)
    .limit(bindparam("at_most", type_=Integer()))
    .with_for_update(skip_locked=True)
)
_LEASE_ONE = _leasing(_FREE.where(due.c.operation_id == bindparam("id")).with_for_update())


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """An operation that is to be asked about, as the database leased it.

    The database wrote the time of the next question, so it alone says how far off that is: ``due_in_s`` is how many
    seconds too early the operation was leased, 0 or less when its time had come. ``at`` is the time of the lease, by
    the clock that wrote the operation's own times.
    """

    operation: Operation
    due_in_s: float
    at: datetime


class Queue(Queries):
    """What is not final."""

    async def lease_due(self, limit: int, lease_s: float, operation_id: UUID | None = None) -> list[Leased]:
        """Take up to ``limit`` open operations whose time has come, for ``lease_s`` seconds.

        Another process, or this one again, gets them only after that. With ``operation_id`` only that one is taken, its
        time come or not, and after whoever has its row locked. ``next_query_at`` is as it was before the lease.
        """
        values = {"of": self._platform, "lease": timedelta(seconds=lease_s)}
        if operation_id is None:
            rows = await self._rows(_LEASE_DUE, **values, at_most=limit)
        else:
            rows = await self._rows(_LEASE_ONE, **values, id=operation_id)
        return [Leased(operation=operation_of(row), due_in_s=row["due_in_s"], at=row["at"]) for row in rows]

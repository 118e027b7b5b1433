"""Lists of operations, newest first, whose pages cost the same however long the history is.

Each filter has an index that gives the operations in question in the order of their ids. A page examines at most
`EXAMINED_MAX` of them: it goes by the filter whose next so many reach furthest back, which is the one that leaves most
out, and holds them against the other filters. So a page may be short, even empty, and have another behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, literal, literal_column, or_, select, text
from sqlalchemy.sql.expression import TextualSelect
from sqlalchemy.types import Uuid

from ledger.operations import OPEN_STATES, State
from ledger.schema import booking, operation, reference

EXAMINED_MAX = 250

NEWEST = UUID(int=2**128 - 1)
OLDEST = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What operations are wanted; what is empty says nothing.

    ``member_id`` and ``order_no`` are also those of parts. ``bank_day`` is the operation's last, ``bank_serial`` any
    serial that the bank gave it or a part of it, ``channel_no`` the transaction number of its channel.
    """

    state: State | None = None
    kind: str = ""
    member_id: str = ""
    order_no: str = ""
    bank_day: date | None = None
    bank_serial: str = ""
    channel_no: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The values that the queries name."""
        return {
            "kind": self.kind,
            "member_id": self.member_id,
            "order_no": self.order_no,
            "bank_day": self.bank_day,
            "bank_serial": self.bank_serial,
            "channel_no": self.channel_no,
        }

    @property
    def ways(self) -> list[str]:
        """The queries that give the ids of all operations wanted, and of others; each is one index read in order.

        An operation may come twice, one behind the other.
        """
        found = []
        if self.bank_serial:
            found.append(self._of("booking", "bank_serial = :bank_serial AND bank_serial <> ''"))
        if self.channel_no:
            found.append(self._of("reference", "kind = 'channel' AND value = :channel_no"))
        if self.order_no:
            itself = self._of("operation", "order_no = :order_no AND order_no <> ''")
            found.append(_merged(itself, self._of("reference", "kind = 'order' AND value = :order_no")))
        if self.state in OPEN_STATES:
            found.append(self._of("due", "true"))
        elif self.state in (State.REFUSED, State.RELEASED):
            found.append(self._of("event", f"state = '{self.state.value}'"))
        if self.member_id:
            pays = self._of("operation", "payer = :member_id AND payer <> ''")
            collects = self._of("operation", "payee = :member_id AND payee <> ''")
            found.append(_merged(pays, collects, self._of("reference", "kind = 'member' AND value = :member_id")))
        if self.kind:
            found.append(self._of("operation", "kind = :kind"))
        if self.bank_day:
            found.append(self._of("booking", "bank_day = :bank_day"))
        return found or [self._of("operation", "true")]

    def _of(self, table: str, condition: str) -> str:
        # The literals in conditions let partial indexes serve a prepared statement.
        name = "id" if table == "operation" else "operation_id"
        between = f"{name} < :before AND {name} >= :since"
        if self.bank_day is not None and condition != "bank_day = :bank_day":
            booked = "SELECT operation_id FROM booking WHERE platform = :platform AND bank_day = :bank_day"
            between += f" AND {name} >= ({booked} ORDER BY operation_id LIMIT 1)"
            between += f" AND {name} <= ({booked} ORDER BY operation_id DESC LIMIT 1)"
        return f"SELECT {name} AS id FROM {table} WHERE platform = :platform AND {between} AND {condition}"

    def conditions(self) -> list[ColumnElement[bool]]:
        """What an operation has to meet."""
        found: list[ColumnElement[bool]] = []
        if self.state:
            found.append(operation.c.state == self.state.value)
        if self.kind:
            found.append(operation.c.kind == self.kind)
        if self.member_id:
            itself = or_(operation.c.payer == self.member_id, operation.c.payee == self.member_id)
            found.append(or_(itself, _refers("member", self.member_id)))
        if self.order_no:
            found.append(or_(operation.c.order_no == self.order_no, _refers("order", self.order_no)))
        if self.bank_day:
            found.append(operation.c.bank_day == self.bank_day)
        if self.bank_serial:
            found.append(
                _has(
                    booking.c.platform == operation.c.platform,
                    booking.c.operation_id == operation.c.id,
                    booking.c.bank_serial == self.bank_serial,
                    booking.c.bank_serial != literal_column("''"),
                )
            )
        if self.channel_no:
            found.append(_refers("channel", self.channel_no))
        return found


def _refers(kind: str, value: str) -> ColumnElement[bool]:
    return _has(
        reference.c.platform == operation.c.platform,
        reference.c.operation_id == operation.c.id,
        reference.c.kind == literal_column(f"'{kind}'"),
        reference.c.value == value,
    )


def _has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    # With an offset it stays a look-up for each operation: the planner would hash all that a member ever had.
    return select(literal(1)).where(*conditions).offset(literal_column("0")).exists()


def _merged(*queries: str) -> str:
    """Each in order and with an end: else the planner, which does not know how many there are, would sort them all."""
    each = (f"({query} ORDER BY id DESC LIMIT {2 * EXAMINED_MAX})" for query in queries)
    return f"SELECT id FROM ({' UNION ALL '.join(each)}) found"


def depths(ways: list[str]) -> Any:
    """For each way the last operation that a page would examine, NULL where a page gets to the end."""
    columns = (f"(SELECT id FROM ({way} ORDER BY id DESC OFFSET {EXAMINED_MAX - 1} LIMIT 1) AS reach)" for way in ways)
    return text(f"SELECT {', '.join(columns)}")


def examined(way: str) -> TextualSelect:
    """The operations that a page examines."""
    # More than a page examines: a few may be added while its depth is looked up. The planner wants a limit.
    return text(f"{way} ORDER BY id DESC LIMIT {2 * EXAMINED_MAX}").columns(id=Uuid())

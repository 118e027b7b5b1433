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

from sqlalchemy import ColumnElement, and_, exists, literal_column, or_, text
from sqlalchemy.sql.expression import TextualSelect
from sqlalchemy.types import Uuid

from ledger.operations import OPEN_STATES, State
from ledger.schema import booking, operation, reference

EXAMINED_MAX = 500

NEWEST = UUID(int=2**128 - 1)
OLDEST = UUID(int=0)

_BETWEEN = "platform = :platform AND {id} < :before AND {id} >= :since"

# The literals let partial indexes serve a prepared statement. An operation may come twice, one behind the other.
_ALL = f"SELECT id FROM operation WHERE {_BETWEEN.format(id='id')}"
_KIND = f"{_ALL} AND kind = :kind"
_OPEN = f"SELECT operation_id AS id FROM due WHERE {_BETWEEN.format(id='operation_id')}"
_WITHOUT_EFFECT = f"SELECT operation_id AS id FROM event WHERE {_BETWEEN.format(id='operation_id')}"
_BOOKED = f"SELECT operation_id AS id FROM booking WHERE {_BETWEEN.format(id='operation_id')}"
_REFERENCE = f"SELECT operation_id AS id FROM reference WHERE {_BETWEEN.format(id='operation_id')}"


def _merged(*queries: str) -> str:
    """Each in order and with an end: else the planner, which does not know how many there are, would sort them all."""
    each = (f"({query} ORDER BY id DESC LIMIT {2 * EXAMINED_MAX})" for query in queries)
    return f"SELECT id FROM ({' UNION ALL '.join(each)}) found"


BY_MEMBER = _merged(
    f"{_ALL} AND payer = :member_id AND payer <> ''",
    f"{_ALL} AND payee = :member_id AND payee <> '' AND payer <> :member_id",
    f"{_REFERENCE} AND kind = 'member' AND value = :member_id",
)
BY_ORDER = _merged(
    f"{_ALL} AND order_no = :order_no AND order_no <> ''", f"{_REFERENCE} AND kind = 'order' AND value = :order_no"
)


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
    def count(self) -> int:
        """How many filters there are."""
        return sum(map(bool, (self.state, *self.values.values())))

    @property
    def ways(self) -> list[str]:
        """The queries that give all operations wanted, and others, in any order; each has an index by id."""
        found = []
        if self.bank_serial:
            found.append(f"{_BOOKED} AND bank_serial = :bank_serial AND bank_serial <> ''")
        if self.channel_no:
            found.append(f"{_REFERENCE} AND kind = 'channel' AND value = :channel_no")
        if self.order_no:
            found.append(BY_ORDER)
        if self.state in OPEN_STATES:
            found.append(_OPEN)
        elif self.state in (State.REFUSED, State.RELEASED):
            found.append(f"{_WITHOUT_EFFECT} AND state = '{self.state.value}'")
        if self.member_id:
            found.append(BY_MEMBER)
        if self.kind:
            found.append(_KIND)
        if self.bank_day:
            found.append(f"{_BOOKED} AND bank_day = :bank_day")
        return found or [_ALL]

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
                exists().where(
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
    return exists().where(
        and_(
            reference.c.platform == operation.c.platform,
            reference.c.operation_id == operation.c.id,
            reference.c.kind == literal_column(f"'{kind}'"),
            reference.c.value == value,
        )
    )


DAY = text("""
SELECT
  (SELECT operation_id FROM booking WHERE platform = :platform AND bank_day = :bank_day
   ORDER BY operation_id LIMIT 1) AS oldest,
  (SELECT operation_id FROM booking WHERE platform = :platform AND bank_day = :bank_day
   ORDER BY operation_id DESC LIMIT 1) AS newest
""")
"""Between which operations all lie that the bank booked on a day."""


def depths(ways: list[str]) -> Any:
    """For each way the last operation that a page would examine, NULL where a page gets to the end."""
    columns = (f"(SELECT id FROM ({way} ORDER BY id DESC OFFSET {EXAMINED_MAX - 1} LIMIT 1) AS reach)" for way in ways)
    return text(f"SELECT {', '.join(columns)}")


def examined(way: str) -> TextualSelect:
    """The operations that a page examines."""
    # The limit is for the planner: since the depth was looked up a few may have been added.
    return text(f"{way} ORDER BY id DESC LIMIT {2 * EXAMINED_MAX}").columns(id=Uuid())

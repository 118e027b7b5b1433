"""Lists of operations, newest first, whose pages cost the same however long the history is.

Each filter has an index that gives the operations in question in the order of their ids. A page examines at most
`EXAMINED_MAX` of them: it goes by the filter whose next so many reach furthest back, which is the one that leaves most
out, and holds them against the other filters. So a page may be short, even empty, and have another behind it.

One statement reads a page, its operations as wholes, and the last event: all of one moment, in one round trip.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from ledger.journal import full_operation_from_row
from ledger.lookups import fetched
from ledger.names import NO_BANK_SERIAL, NO_MEMBER_CODE, NO_SUB_ACCOUNT, BankSerial, MemberCode, SubAccount
from ledger.operations import OPEN_STATES, FullOperation, State
from ledger.session import Pool
from ledger.statements import OPERATION_ROW, PARTS_OF

EXAMINED_MAX = 250

NEWEST = UUID(int=2**128 - 1)


class Listed(NamedTuple):
    """A page. ``further`` is where the next begins, None when there is nothing behind this one; ``last_event`` the
    newest event of the platform at that moment, 0 before the first.
    """

    full_operations: list[FullOperation]
    further: UUID | None
    last_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What operations are wanted; what is empty says nothing.

    ``member_id``, ``sub_account`` and ``order_no`` are also those of parts. ``bank_day`` is the operation's last,
    ``bank_serial`` any serial that the bank gave it or a part of it, ``channel_no`` the transaction number of its
    channel. ``caller`` and ``person`` are who asked for it; they have no index, and narrow down what others find.
    """

    state: State | None = None
    kind: str = ""
    member_id: MemberCode = NO_MEMBER_CODE
    sub_account: SubAccount = NO_SUB_ACCOUNT
    order_no: str = ""
    bank_day: date | None = None
    bank_serial: BankSerial = NO_BANK_SERIAL
    channel_no: str = ""
    caller: str = ""
    person: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The values that the query names."""
        return {**asdict(self), "state": self.state and self.state.value}

    @property
    def query(self) -> str:
        """The query of a page; it also names the platform, an id that all are ``before``, and a ``limit``.

        Each way is read once, as far as a page examines. The ids are sorted before the operations are looked up, so
        that the look-ups end at the limit.
        """
        ways = list(enumerate(self._ways))
        read = "".join(
            f"way_{number} AS MATERIALIZED ({way} ORDER BY id DESC LIMIT {EXAMINED_MAX}), " for number, way in ways
        )
        ends = ", ".join(
            f"({number}, (SELECT id FROM way_{number} ORDER BY id DESC OFFSET {EXAMINED_MAX - 1}))"
            for number, _ in ways
        )
        candidates = " UNION ALL ".join(
            f"SELECT id FROM way_{number} WHERE {number} = (SELECT way FROM chosen)" for number, _ in ways
        )
        return f"""
            WITH {self._day}{read}
            chosen AS MATERIALIZED (
              SELECT * FROM (VALUES {ends}) AS ends (way, id) ORDER BY id NULLS FIRST LIMIT 1
            )
            SELECT
              coalesce((SELECT max(seq) FROM event WHERE platform = %(platform)s), 0) AS last_event,
              chosen.id AS reach, page.*
            FROM chosen
            LEFT JOIN LATERAL (
              SELECT {OPERATION_ROW}, {PARTS_OF} AS parts
              FROM (SELECT DISTINCT id FROM ({candidates}) AS one ORDER BY id DESC OFFSET 0) AS examined
              JOIN operation o ON o.platform = %(platform)s AND o.id = examined.id
              LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
              WHERE {" AND ".join(self._conditions) or "true"}
              ORDER BY examined.id DESC
              LIMIT %(limit)s
            ) AS page ON true
            ORDER BY page.id DESC
        """

    @property
    def _ways(self) -> list[str]:
        """The queries that give the ids of all operations wanted, and of others; each is one index read in order.

        An operation may come twice, one behind the other.
        """
        found = []
        if self.bank_serial:
            found.append(self._of("booking", "bank_serial = %(bank_serial)s AND bank_serial <> ''"))
        if self.channel_no:
            found.append(self._of("reference", "kind = 'channel' AND value = %(channel_no)s"))
        if self.order_no:
            itself = self._of("operation", "order_no = %(order_no)s AND order_no <> ''")
            found.append(_merged(itself, self._of("reference", "kind = 'order' AND value = %(order_no)s")))
        if self.state in OPEN_STATES:
            found.append(self._of("due", "true"))
        elif self.state in (State.REFUSED, State.RELEASED):
            found.append(self._of("event", f"state = '{self.state.value}'"))
        for member in self._members:
            pays = self._of("operation", f"payer = {member} AND payer <> ''")
            collects = self._of("operation", f"payee = {member} AND payee <> ''")
            found.append(_merged(pays, collects, self._of("reference", f"kind = 'member' AND value = {member}")))
        if self.kind:
            found.append(self._of("operation", "kind = %(kind)s"))
        if self.bank_day:
            found.append(self._of("booking", "bank_day = %(bank_day)s"))
        return found or [self._of("operation", "true")]

    def _of(self, table: str, condition: str) -> str:
        # The literals in conditions let partial indexes serve a prepared statement.
        name = "id" if table == "operation" else "operation_id"
        between = f"{name} < %(before)s"
        if self.bank_day is not None:
            between += f" AND {name} BETWEEN (SELECT first FROM day) AND (SELECT last FROM day)"
        return f"SELECT {name} AS id FROM {table} WHERE platform = %(platform)s AND {between} AND {condition}"

    @property
    def _day(self) -> str:
        if self.bank_day is None:
            return ""
        booked = "SELECT operation_id FROM booking WHERE platform = %(platform)s AND bank_day = %(bank_day)s"
        first, last = (f"({booked} ORDER BY operation_id {order} LIMIT 1)" for order in ("ASC", "DESC"))
        return f"day AS MATERIALIZED (SELECT {first} AS first, {last} AS last), "

    @property
    def _members(self) -> list[str]:
        """The members that take part, as the query has them."""
        owner = "(SELECT member_id FROM member WHERE platform = %(platform)s AND sub_account = %(sub_account)s)"
        return ["%(member_id)s"] * bool(self.member_id) + [owner] * bool(self.sub_account)

    @property
    def _conditions(self) -> list[str]:
        """What an operation ``o`` has to meet."""
        found = []
        if self.state:
            found.append("o.state = %(state)s")
        if self.kind:
            found.append("o.kind = %(kind)s")
        for member in self._members:
            refers = _has("reference", f"kind = 'member' AND value = {member}")
            found.append(f"({member} IN (o.payer, o.payee) OR {refers})")
        if self.order_no:
            refers = _has("reference", "kind = 'order' AND value = %(order_no)s")
            found.append(f"(o.order_no = %(order_no)s OR {refers})")
        if self.bank_day:
            found.append("o.bank_day = %(bank_day)s")
        if self.bank_serial:
            found.append(_has("booking", "bank_serial = %(bank_serial)s AND bank_serial <> ''"))
        if self.caller:
            found.append("o.caller = %(caller)s")
        if self.person:
            found.append("o.person = %(person)s")
        if self.channel_no:
            found.append(_has("reference", "kind = 'channel' AND value = %(channel_no)s"))
        return found


class Lists:
    """One platform's lists, read on connections of their own."""

    def __init__(self, pool: Pool, platform: str) -> None:
        self._pool = pool
        self._platform = platform

    async def page(self, wanted: Filter, *, before: UUID | None = None, limit: int) -> Listed:
        """Up to ``limit`` operations, newest first (ids grow with time), and where the next page begins.

        A page that has looked at enough ends early, also without any. Raises `LedgerUnavailable`.
        """
        values = {**wanted.values, "platform": self._platform, "before": before or NEWEST, "limit": limit + 1}
        rows = await fetched(self._pool, wanted.query, values)
        last_event, reach = rows[0][:2]
        full_operations = [full_operation_from_row(full) for _, _, *full in rows if full[0] is not None]
        further = full_operations[limit - 1].operation.id if len(full_operations) > limit else reach
        return Listed(full_operations[:limit], further, last_event)

    async def newest(self, wanted: Filter) -> FullOperation | None:
        """The newest operation that meets every filter, however many pages it takes. Raises `LedgerUnavailable`."""
        page = await self.page(wanted, limit=1)
        while not page.full_operations and page.further is not None:
            page = await self.page(wanted, before=page.further, limit=1)
        return page.full_operations[0] if page.full_operations else None


def _has(table: str, condition: str) -> str:
    # With an offset it stays a look-up for each operation: the planner would hash all that a member ever had.
    return f"EXISTS (SELECT FROM {table} WHERE platform = o.platform AND operation_id = o.id AND {condition} OFFSET 0)"


def _merged(*queries: str) -> str:
    """Each in order and with an end: else the planner, which does not know how many there are, would sort them all."""
    each = (f"({query} ORDER BY id DESC LIMIT {EXAMINED_MAX})" for query in queries)
    return f"SELECT id FROM ({' UNION ALL '.join(each)}) AS found"

"""Lists of operations, newest or oldest first, whose pages cost the same however long the history is.

Each filter has an index that gives the operations in question in the order of their ids. A page examines at most
`EXAMINED_MAX` of them: it goes by the filter whose next so many reach furthest back, which is the one that leaves most
out, and holds them against the other filters. So a page may be short, even empty, and have another behind it.

One statement reads a page, its operations as wholes, and the last event: all of one moment, in one round trip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

from ledger.journal import full_operation_from_row
from ledger.lookups import fetched
from ledger.names import NO_BANK_SERIAL, NO_MEMBER_CODE, NO_SUB_ACCOUNT, BankSerial, MemberCode, RequestId, SubAccount
from ledger.operations import OPEN_STATES, FullOperation, State
from ledger.proofs import Proofs
from ledger.session import Pool
from ledger.statements import OPERATION_ROW, PARTS_OF

EXAMINED_MAX = 250

OLDEST = UUID(int=0)

NEWEST = UUID(int=2**128 - 1)

CLOCKS_APART: Final = timedelta(minutes=20)
"""How far the clock that gave an id may be from the database's, which wrote when the operation was created."""


class Match(StrEnum):
    """What of an operation a number is."""

    OPERATION_ID = "operation-id"
    REQUEST_ID = "request-id"
    SERIAL = "serial"
    PART_SERIAL = "part-serial"
    BANK_SERIAL = "bank-serial"
    ORDER_NO = "order-no"
    CHANNEL_NO = "channel-no"
    REFERENCE = "reference"
    MEMBER = "member"
    SUB_ACCOUNT = "sub-account"


class Listed(NamedTuple):
    """A page. ``further`` is where the next begins, None when there is nothing behind this one; ``last_event`` the
    newest event of the platform at that moment, 0 before the first.
    """

    full_operations: list[FullOperation]
    further: UUID | None
    last_event: int


class Found(NamedTuple):
    """A page of what a number was looked up for, and for each operation what of it the number is."""

    page: Listed
    matches: list[tuple[Match, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that somebody holds, without saying of what: it is looked up wherever operations have one.

    ``request_ids`` are the ways in which it may be kept as a request id, with a namespace or without. ``member_id`` is
    the number where it may name a member, ``owner_id`` the member whose sub-account it is; both are empty where it may
    not, or the caller may not see the member.
    """

    text: str
    request_ids: tuple[RequestId, ...] = ()
    member_id: MemberCode = NO_MEMBER_CODE
    owner_id: MemberCode = NO_MEMBER_CODE

    @property
    def values(self) -> dict[str, Any]:
        """The values that the query names."""
        return {
            "number": self.text,
            "number_id": _uuid(self.text),
            "number_requests": list(self.request_ids),
            "number_member": self.member_id,
            "number_owner": self.owner_id,
        }

    @property
    def places(self) -> Iterator[tuple[Match, str, LiteralString]]:
        """Where operations have numbers, as the table and a condition that one of its indexes serves."""
        if _uuid(self.text) is not None:
            yield Match.OPERATION_ID, "operation", "id = %(number_id)s"
        if self.request_ids:
            yield Match.REQUEST_ID, "operation", "request_id = ANY(%(number_requests)s)"
        yield Match.SERIAL, "operation", "serial = %(number)s"
        yield Match.PART_SERIAL, "transaction", "serial = %(number)s AND serial <> ''"
        yield Match.BANK_SERIAL, "booking", "bank_serial = %(number)s AND bank_serial <> ''"
        yield Match.ORDER_NO, "operation", "order_no = %(number)s AND order_no <> ''"
        yield Match.ORDER_NO, "reference", "kind = 'order' AND value = %(number)s"
        yield Match.CHANNEL_NO, "reference", "kind = 'channel' AND value = %(number)s"
        yield Match.REFERENCE, "reference", "kind = 'reference' AND value = %(number)s"
        if self.member_id:
            yield Match.MEMBER, "operation", "payer = %(number_member)s AND payer <> ''"
            yield Match.MEMBER, "operation", "payee = %(number_member)s AND payee <> ''"
            yield Match.MEMBER, "reference", "kind = 'member' AND value = %(number_member)s"
        if self.owner_id:
            yield Match.SUB_ACCOUNT, "operation", "payer = %(number_owner)s AND payer <> ''"
            yield Match.SUB_ACCOUNT, "operation", "payee = %(number_owner)s AND payee <> ''"
            yield Match.SUB_ACCOUNT, "reference", "kind = 'member' AND value = %(number_owner)s"

    @property
    def matched(self) -> str:
        """What of an operation ``o`` the number is, as an array."""
        cases = [
            f"CASE WHEN {f'o.{condition}' if table == 'operation' else _has(table, condition)} THEN '{match}' END"
            for match, table, condition in self.places
        ]
        return f"array_remove(ARRAY[{', '.join(cases)}], NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What operations are wanted; what is empty says nothing.

    ``member_id``, ``sub_account`` and ``order_no`` are also those of parts. ``days`` are the first and the last that
    the operation's last bank day may be, a year apart at most; ``bank_serial`` is any serial that the bank gave it or a
    part of it, ``channel_no`` the transaction number of its channel; ``tags`` are further kinds and values of
    `reference`, all of which it has. Of several ``states``, and of several ``kinds``, an operation has one. The
    amounts, in fen, are those of the operation or of a part; ``since`` and ``until`` (which is not included) are about
    when it was created. ``caller`` and ``person`` are who asked for it. These and the amounts have no index, and narrow
    down what others find. ``oldest_first`` is the order of the list.
    """

    number: Number | None = None
    states: frozenset[State] = frozenset()
    kinds: frozenset[str] = frozenset()
    member_id: MemberCode = NO_MEMBER_CODE
    sub_account: SubAccount = NO_SUB_ACCOUNT
    order_no: str = ""
    days: tuple[date, date] | None = None
    bank_serial: BankSerial = NO_BANK_SERIAL
    channel_no: str = ""
    caller: str = ""
    person: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    amount_min_fen: int | None = None
    amount_max_fen: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    oldest_first: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The values that the query names."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        for number, (kind, value) in enumerate(self.tags):
            own |= {f"tag_kind_{number}": kind, f"tag_{number}": value}
        first_day, last_day = self.days or (None, None)
        return {
            **own,
            **(self.number.values if self.number else {"number": ""}),
            "states": [state.value for state in self.states],
            "kinds": list(self.kinds),
            "first_day": first_day,
            "last_day": last_day,
            "amount_min_fen": 0 if self.amount_min_fen is None else self.amount_min_fen,
            "amount_max_fen": 2**63 - 1 if self.amount_max_fen is None else self.amount_max_fen,
            "since_id": self.since and _id_of(self.since - CLOCKS_APART),
            "until_id": self.until and _id_of(self.until + CLOCKS_APART),
        }

    @property
    def query(self) -> str:
        """The query of a page; it also names the platform, an id that all are ``behind``, and a ``limit``.

        Each way is read once, as far as a page examines. The ids are sorted before the operations are looked up, so
        that the look-ups end at the limit.
        """
        ways, order = list(enumerate(self._ways)), self._order
        read = "".join(
            f"way_{number} AS MATERIALIZED ({way} ORDER BY id {order} LIMIT {EXAMINED_MAX}), " for number, way in ways
        )
        ends = ", ".join(
            f"({number}, (SELECT id FROM way_{number} ORDER BY id {order} OFFSET {EXAMINED_MAX - 1}))"
            for number, _ in ways
        )
        candidates = " UNION ALL ".join(
            f"SELECT id FROM way_{number} WHERE {number} = (SELECT way FROM chosen)" for number, _ in ways
        )
        return f"""
            WITH {self._day}{self._created}{read}
            chosen AS MATERIALIZED (
              SELECT * FROM (VALUES {ends}) AS ends (way, id)
              ORDER BY id {"DESC" if self.oldest_first else "ASC"} NULLS FIRST LIMIT 1
            )
            SELECT
              coalesce((SELECT max(seq) FROM event WHERE platform = %(platform)s), 0) AS last_event,
              chosen.id AS reach, page.*
            FROM chosen
            LEFT JOIN LATERAL (
              SELECT {self.number.matched if self.number else "NULL::text[]"} AS matched,
                {OPERATION_ROW}, {PARTS_OF} AS parts
              FROM (SELECT DISTINCT id FROM ({candidates}) AS one ORDER BY id {order} OFFSET 0) AS examined
              JOIN operation o ON o.platform = %(platform)s AND o.id = examined.id
              LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
              WHERE {" AND ".join(self._conditions) or "true"}
              ORDER BY examined.id {order}
              LIMIT %(limit)s
            ) AS page ON true
            ORDER BY page.id {order}
        """

    @property
    def _order(self) -> LiteralString:
        return "ASC" if self.oldest_first else "DESC"

    @property
    def _ways(self) -> list[str]:
        """The queries that give the ids of all operations wanted, and of others; each is one index read in order.

        An operation may come twice, one behind the other.
        """
        found = []
        if self.number:
            found.append(self._merged(*(self._of(table, condition) for _, table, condition in self.number.places)))
        if self.bank_serial:
            found.append(self._of("booking", "bank_serial = %(bank_serial)s AND bank_serial <> ''"))
        if self.channel_no:
            found.append(self._of("reference", "kind = 'channel' AND value = %(channel_no)s"))
        found += [self._of("reference", tag) for tag in self._tags]
        if self.order_no:
            itself = self._of("operation", "order_no = %(order_no)s AND order_no <> ''")
            found.append(self._merged(itself, self._of("reference", "kind = 'order' AND value = %(order_no)s")))
        # What is done is found by no state: it is most of all there is.
        if self.states and State.DONE not in self.states:
            without_effect = sorted(self.states - OPEN_STATES)
            found.append(
                self._merged(
                    *[self._of("due", "true")] * bool(self.states & OPEN_STATES),
                    *(self._of("event", f"state = '{state.value}'") for state in without_effect),
                )
            )
        for member in self._members:
            pays = self._of("operation", f"payer = {member} AND payer <> ''")
            collects = self._of("operation", f"payee = {member} AND payee <> ''")
            found.append(self._merged(pays, collects, self._of("reference", f"kind = 'member' AND value = {member}")))
        if self.kinds:
            found.append(
                self._merged(
                    *(self._of("operation", f"kind = (%(kinds)s::text[])[{n}]") for n in range(1, len(self.kinds) + 1))
                )
            )
        if self.days and self.days[0] == self.days[1]:
            found.append(self._of("booking", "bank_day = %(first_day)s"))
        return found or [self._of("operation", "true")]

    def _of(self, table: str, condition: str) -> str:
        # The literals in conditions let partial indexes serve a prepared statement.
        name = "id" if table == "operation" else "operation_id"
        between = f"{name} {'>' if self.oldest_first else '<'} %(behind)s"
        if self.days is not None:
            between += f" AND {name} BETWEEN (SELECT first FROM day) AND (SELECT last FROM day)"
        if self.since is not None:
            between += f" AND {name} >= (SELECT first FROM created)"
        if self.until is not None:
            between += f" AND {name} <= (SELECT last FROM created)"
        return f"SELECT {name} AS id FROM {table} WHERE platform = %(platform)s AND {between} AND {condition}"

    def _merged(self, *queries: str) -> str:
        """Each in order and with an end: else the planner, which does not know how many there are, would sort them."""
        each = (f"({query} ORDER BY id {self._order} LIMIT {EXAMINED_MAX})" for query in queries)
        return f"SELECT id FROM ({' UNION ALL '.join(each)}) AS found"

    @property
    def _day(self) -> str:
        """The first and the last id of what was booked on these days: two look-ups a day."""
        if self.days is None:
            return ""
        ends = []
        for order, name in (("ASC", "first"), ("DESC", "last")):
            booked = (
                "SELECT operation_id FROM booking WHERE platform = %(platform)s AND bank_day = days.day::date"
                f" ORDER BY operation_id {order} LIMIT 1"
            )
            ends.append(
                "(SELECT operation_id FROM generate_series(%(first_day)s::date, %(last_day)s::date, interval '1 day')"
                f" AS days (day) CROSS JOIN LATERAL ({booked}) one ORDER BY operation_id {order} LIMIT 1) AS {name}"
            )
        return f"day AS MATERIALIZED (SELECT {', '.join(ends)}), "

    @property
    def _created(self) -> str:
        """The first and the last id of the operations created in time. Ids are in the order of time by the clocks of
        the processes, so that only as much is looked at as these clocks may be apart.
        """
        ends = []
        if self.since is not None:
            ends.append(_created("id >= %(since_id)s AND created_at >= %(since)s", "ASC", "first"))
        if self.until is not None:
            ends.append(_created("id <= %(until_id)s AND created_at < %(until)s", "DESC", "last"))
        return f"created AS MATERIALIZED (SELECT {', '.join(ends)}), " if ends else ""

    @property
    def _members(self) -> list[str]:
        """The members that take part, as the query has them."""
        owner = "(SELECT member_id FROM member WHERE platform = %(platform)s AND sub_account = %(sub_account)s)"
        return ["%(member_id)s"] * bool(self.member_id) + [owner] * bool(self.sub_account)

    @property
    def _tags(self) -> list[str]:
        """What a reference has to meet, for each tag."""
        return [f"kind = %(tag_kind_{number})s AND value = %(tag_{number})s" for number in range(len(self.tags))]

    @property
    def _conditions(self) -> list[str]:
        """What an operation ``o`` has to meet."""
        found = []
        if self.number:
            found.append(f"cardinality({self.number.matched}) > 0")
        if self.states:
            found.append("o.state = ANY(%(states)s)")
        if self.amount_min_fen is not None or self.amount_max_fen is not None:
            within = "amount_fen BETWEEN %(amount_min_fen)s AND %(amount_max_fen)s"
            found.append(f"(o.{within} OR {_has('transaction', within)})")
        if self.since is not None:
            found.append("o.created_at >= %(since)s")
        if self.until is not None:
            found.append("o.created_at < %(until)s")
        if self.kinds:
            found.append("o.kind = ANY(%(kinds)s)")
        for member in self._members:
            refers = _has("reference", f"kind = 'member' AND value = {member}")
            found.append(f"({member} IN (o.payer, o.payee) OR {refers})")
        if self.order_no:
            refers = _has("reference", "kind = 'order' AND value = %(order_no)s")
            found.append(f"(o.order_no = %(order_no)s OR {refers})")
        if self.days:
            found.append("o.bank_day BETWEEN %(first_day)s AND %(last_day)s")
        if self.bank_serial:
            found.append(_has("booking", "bank_serial = %(bank_serial)s AND bank_serial <> ''"))
        if self.caller:
            found.append("o.caller = %(caller)s")
        if self.person:
            found.append("o.person = %(person)s")
        if self.channel_no:
            found.append(_has("reference", "kind = 'channel' AND value = %(channel_no)s"))
        found += [_has("reference", tag) for tag in self._tags]
        return found


class Lists:
    """One platform's lists, read on connections of their own. What is not as sealed by ``proofs`` is in doubt."""

    def __init__(self, pool: Pool, platform: str, proofs: Proofs | None = None) -> None:
        self._pool = pool
        self._platform = platform
        self._proofs = proofs

    async def page(self, wanted: Filter, *, behind: UUID | None = None, limit: int) -> Listed:
        """Up to ``limit`` operations in the order of time, as ids are, and where the next page begins.

        A page that has looked at enough ends early, also without any. Raises `LedgerUnavailable`.
        """
        return (await self.found(wanted, behind=behind, limit=limit)).page

    async def found(self, wanted: Filter, *, behind: UUID | None = None, limit: int) -> Found:
        """The same, with what of each operation the number is that was looked for. Raises `LedgerUnavailable`."""
        begins = behind or (OLDEST if wanted.oldest_first else NEWEST)
        values = {**wanted.values, "platform": self._platform, "behind": begins, "limit": limit + 1}
        rows = await fetched(self._pool, wanted.query, values)
        last_event, reach = rows[0][:2]
        found = [(matched, full_operation_from_row(full)) for _, _, matched, *full in rows if full[0] is not None]
        further = found[limit - 1][1].operation.id if len(found) > limit else reach
        matches = [tuple(dict.fromkeys(map(Match, matched or ()))) for matched, _ in found[:limit]]
        shown = [full for _, full in found[:limit]]
        shown = shown if self._proofs is None else await self._proofs.checked(shown)
        return Found(Listed(shown, further, last_event), matches)

    async def newest(self, wanted: Filter) -> FullOperation | None:
        """The newest operation that meets every filter, however many pages it takes. Raises `LedgerUnavailable`."""
        page = await self.page(wanted, limit=1)
        while not page.full_operations and page.further is not None:
            page = await self.page(wanted, behind=page.further, limit=1)
        return page.full_operations[0] if page.full_operations else None


def _has(table: str, condition: str) -> str:
    # With an offset it stays a look-up for each operation: the planner would hash all that a member ever had.
    return f"EXISTS (SELECT FROM {table} WHERE platform = o.platform AND operation_id = o.id AND {condition} OFFSET 0)"


def _created(condition: str, order: str, name: str) -> str:
    one = f"SELECT id FROM operation WHERE platform = %(platform)s AND {condition} ORDER BY id {order} LIMIT 1"
    return f"({one}) AS {name}"


def _id_of(moment: datetime) -> UUID:
    """The lowest id that a moment gives (UUID version 7)."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

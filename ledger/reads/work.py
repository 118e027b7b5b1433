"""What waits for a person or for the bank, in one queue: a view over what waits, kept nowhere.

Each kind is one piece of SQL, read by an index of what is open. Whoever lists one kind alone reads the same pieces
(`OPEN`, `SUSPENDED`, `OWED`, `DIFFERENCES`). What people say of it, who takes it and what he found, is in
`work_event`, by the id of the item; it stays when the item is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, LiteralString
from uuid import UUID

from sqlalchemy import Interval, bindparam, text

from ledger.database import reading
from ledger.operations import State
from ledger.reads.queries import Queries

NOTES_MAX: Final = 20
"""Notes that an item is shown with; the newest."""

OPEN: Final[LiteralString] = """
SELECT o.id, o.kind, o.state, o.amount_fen, o.created_at, o.order_no, o.bank_code, d.ask_at
FROM due d CROSS JOIN LATERAL (
  SELECT * FROM operation WHERE id = d.operation_id AND platform = d.platform OFFSET 0
) o
WHERE d.platform = :platform
"""
"""The operations that are not final. Lateral, so that the plan is one look-up for each, however long the history is."""

SUSPENDED: Final[LiteralString] = """
SELECT a.ref, a.balance_fen, a.held_fen, o.id, o.amount_fen, o.bank_day, o.created_at
FROM account a LEFT JOIN LATERAL (
  SELECT * FROM operation WHERE request_id = 'transfer ' || a.ref AND platform = a.platform OFFSET 0
) o ON true
WHERE a.platform = :platform AND a.kind = 'suspense' AND a.has_money
"""
"""The transfers with money in suspense, each with the operation that entered it."""

OWED: Final[LiteralString] = """
SELECT to_date(a.ref, 'YYYYMMDD') AS bank_day, -a.balance_fen AS owed_fen
FROM account a LEFT JOIN platform p ON p.platform = a.platform
WHERE a.platform = :platform AND a.owner = '' AND a.kind = 'in-transit' AND a.has_money
  AND (p.cleared_through IS NULL OR a.ref > to_char(p.cleared_through, 'YYYYMMDD'))
"""
"""What channels owe for each bank day that is not cleared. There is one account a day, found by its kind."""

DIFFERENCES: Final[LiteralString] = """
SELECT
  a.ref, a.balance_fen,
  (
    -- Since the last time that it was zero.
    SELECT min(at)
    FROM (
      SELECT at, max(at) FILTER (WHERE running_fen = 0) OVER () AS zero_at
      FROM (
        SELECT
          r.at, sum(CASE WHEN l.credit = a.name THEN l.amount_fen ELSE -l.amount_fen END) OVER (ORDER BY r.at)
            AS running_fen
        FROM reference f
        JOIN leg l ON l.operation_id = f.operation_id AND l.platform = f.platform AND a.name IN (l.debit, l.credit)
        JOIN resolution r ON r.operation_id = l.operation_id AND r.part = l.part AND r.platform = l.platform
        WHERE f.value = a.ref AND f.kind = 'break' AND f.platform = a.platform
      ) sums
    ) moves
    WHERE zero_at IS NULL OR at > zero_at
  ) AS since
FROM account a
WHERE a.platform = :platform AND a.kind = 'difference' AND a.has_money
"""
"""What adjustments have moved and nothing explains yet, by break."""


class WorkKind(StrEnum):
    """What waits."""

    IN_DOUBT = "in-doubt"
    """An operation whose outcome only the bank knows."""
    ORPHANED = "orphaned"
    """A reservation that nobody settled: its process died."""
    UNDER_WAY = "under-way"
    """An order that the bank accepted long ago and has not ended."""
    RETURN = "return"
    """A withdrawal that came back, and the bank has not said which."""
    SUSPENSE = "suspense"
    CLEARING = "clearing"
    """A bank day that is over and not cleared: the channels' money is not there."""
    PROPOSAL = "proposal"
    BREAK = "break"
    """What the bank's files or lists and the books do not agree on (`ledger.day`)."""
    DIFFERENCE = "difference"
    """What adjustments have moved for a break, until something explains it."""
    COLLECTION = "collection"
    """What the bank did by itself and could not be entered. It is in no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkNote:
    """What a person said of an item. ``owner`` is whom it was given to; None where only a note was made."""

    at: datetime
    owner: str | None
    note: str
    caller: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing that waits. ``work_id`` stays the same while it does; ``next_at`` is when the service looks at it by
    itself, None where it never does, or at no time that is known here.

    ``subject`` is what it is by kind: the bank's serial of a transfer or a break, an order number, the RPC of a
    proposal.
    """

    kind: WorkKind
    work_id: str
    amount_fen: int
    since: datetime
    age_s: float
    next_at: datetime | None = None
    operation_id: UUID | None = None
    operation_kind: str = ""
    state: State | None = None
    proposal_id: UUID | None = None
    break_id: UUID | None = None
    is_decided: bool = False
    bank_day: date | None = None
    subject: str = ""
    detail: str = ""
    owner: str = ""
    notes: tuple[WorkNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What people said of an item: who has it, and their notes."""

    owner: str
    notes: tuple[WorkNote, ...]

    def of(self, item: Work) -> Work:
        """The item with it."""
        return replace(item, owner=self.owner, notes=self.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSum:
    """Everything of one kind; ``age_s`` is that of the oldest."""

    count: int
    amount_fen: int
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkWanted:
    """Which items are wanted: of these kinds, in these hands; what is empty says nothing. ``owner`` may be empty for
    what is nobody's.
    """

    kinds: Collection[WorkKind] = ()
    owner: str | None = None
    work_id: str = ""

    def takes(self, item: Work) -> bool:
        """Whether an item is wanted."""
        return (
            (not self.kinds or item.kind in self.kinds)
            and self.owner in (None, item.owner)
            and self.work_id in ("", item.work_id)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a reservation, and an accepted order, may be open before it is work, in seconds; ``today`` is the
    bank's day, before which a day is over.
    """

    reserved_for_s: float
    accepted_for_s: float
    today: date


_NO_OPERATION: Final[LiteralString] = "NULL::uuid AS operation_id, '' AS operation_kind, '' AS state"
_NO_PROPOSAL: Final[LiteralString] = "NULL::uuid AS proposal_id, false AS is_decided"
_NO_DAY: Final[LiteralString] = "NULL::date AS bank_day"
_NO_BREAK: Final[LiteralString] = "NULL::uuid AS break_id"


def _read(*kinds: LiteralString) -> LiteralString:
    names: LiteralString = "', '".join(kinds)
    return f"(CAST(:read AS text[]) = '{{}}' OR CAST(:read AS text[]) && ARRAY['{names}'])"


ITEMS: Final[LiteralString] = f"""
SELECT
  CASE
    WHEN state = 'unknown' THEN 'in-doubt' WHEN state = 'reserved' THEN 'orphaned'
    WHEN kind = 'WITHDRAWAL_RETURN' THEN 'return' ELSE 'under-way'
  END AS kind,
  'operation:' || id AS work_id, amount_fen, created_at AS since, ask_at AS next_at,
  id AS operation_id, kind AS operation_kind, state, {_NO_PROPOSAL}, {_NO_DAY}, order_no AS subject,
  bank_code AS detail, {_NO_BREAK}
FROM ({OPEN}) AS open
WHERE {_read("in-doubt", "orphaned", "return", "under-way")} AND (
  state = 'unknown' OR (state = 'reserved' AND created_at < now() - :reserved_for)
  OR (state = 'accepted' AND (kind = 'WITHDRAWAL_RETURN' OR created_at < now() - :accepted_for))
)
UNION ALL
SELECT
  'suspense', 'suspense:' || ref, balance_fen, coalesce(created_at, now()), NULL,
  id, 'TRANSFER_IN', '', {_NO_PROPOSAL}, bank_day, ref, '', {_NO_BREAK}
FROM ({SUSPENDED}) AS suspended
WHERE {_read("suspense")}
UNION ALL
SELECT
  'clearing', 'clearing:' || bank_day, owed_fen, (bank_day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai', NULL,
  {_NO_OPERATION}, {_NO_PROPOSAL}, bank_day, '', '', {_NO_BREAK}
FROM ({OWED}) AS owed
WHERE {_read("clearing")} AND bank_day < :today AND owed_fen > 0
UNION ALL
SELECT
  'proposal', 'proposal:' || p.proposal_id, p.amount_fen, p.proposed_at, d.at,
  {_NO_OPERATION}, p.proposal_id, c.verdict IS NOT NULL, {_NO_DAY}, p.method, p.reason, {_NO_BREAK}
FROM proposal_due d
CROSS JOIN LATERAL (
  SELECT * FROM proposal WHERE proposal_id = d.proposal_id AND platform = d.platform OFFSET 0
) p
LEFT JOIN LATERAL (
  SELECT verdict FROM proposal_decision WHERE proposal_id = d.proposal_id AND platform = d.platform OFFSET 0
) c ON true
WHERE d.platform = :platform AND {_read("proposal")} AND (c.verdict IS NOT NULL OR p.expires_at > now())
UNION ALL
SELECT
  'break', 'break:' || break_id, abs(coalesce(bank_fen, 0) - coalesce(ledger_fen, 0)), opened_at, NULL,
  operation_id, operation_kind, '', {_NO_PROPOSAL}, bank_day, coalesce(nullif(bank_serial, ''), serial),
  type || ' ' || kind, break_id
FROM break
WHERE platform = :platform AND {_read("break")} AND is_open
UNION ALL
SELECT
  'difference', 'difference:' || d.ref, abs(d.balance_fen), coalesce(d.since, now()), NULL,
  {_NO_OPERATION}, {_NO_PROPOSAL}, b.bank_day, d.ref, coalesce(b.type || ' ' || b.kind, ''), b.break_id
FROM ({DIFFERENCES}) AS d
LEFT JOIN LATERAL (
  SELECT * FROM break
  -- Whoever has adjusted named the break, and may have named anything.
  WHERE break_id = CASE WHEN d.ref ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' THEN d.ref::uuid END
    AND platform = :platform
  OFFSET 0
) b ON true
WHERE {_read("difference")}
"""
"""Of a kind that is not to be ``read``, nothing is."""

_SAID: Final[LiteralString] = f"""
CROSS JOIN LATERAL (
  SELECT
    coalesce((array_agg(owner ORDER BY at DESC, number DESC) FILTER (WHERE kind = 'assigned'))[1], '') AS owner,
    (json_agg(
      json_build_array(at, CASE kind WHEN 'assigned' THEN owner END, note, caller, person) ORDER BY at, number
    ) FILTER (WHERE place <= {NOTES_MAX})) AS notes
  FROM (
    SELECT *, row_number() OVER (ORDER BY at DESC, number DESC) AS place
    FROM (
      SELECT number, at, kind, owner, note, caller, person
      FROM work_event WHERE work_id = item.work_id AND platform = :platform
      UNION ALL
      SELECT number, at, 'noted', '', note, caller, person
      FROM break_event WHERE break_id = item.break_id AND platform = :platform AND kind = 'held'
    ) AS event
  ) AS event
  OFFSET 0
) said
"""
"""Why a break rests was said with that decision; all else is said in the queue."""

SAID: Final[LiteralString] = f"""
SELECT item.work_id, said.*
FROM (SELECT work_id, {_NO_BREAK} FROM unnest(CAST(:work_ids AS text[])) AS one (work_id)) AS item {_SAID}
"""

_WANTED: Final[LiteralString] = """
(CAST(:kinds AS text[]) = '{}' OR item.kind = ANY(:kinds)) AND (:work_id = '' OR item.work_id = :work_id)
"""

_BEHIND: Final[LiteralString] = "(item.since, item.work_id) > (:since, :behind)"

_SUMS: Final[LiteralString] = """
SELECT kind, count(*) AS count, sum(amount_fen)::bigint AS amount_fen,
  extract(epoch FROM now() - min(since))::float8 AS age_s
FROM item
GROUP BY kind
"""

_PAGE: Final[LiteralString] = f"""
SELECT * FROM (
  SELECT * FROM item WHERE {_WANTED} AND {_BEHIND} ORDER BY since, work_id LIMIT :limit
) AS item {_SAID}
"""

_PAGE_OF_OWNER: Final[LiteralString] = f"""
SELECT * FROM (
  SELECT * FROM item
  WHERE {_WANTED} AND {_BEHIND} AND (:owner = '' OR work_id IN (
    SELECT work_id FROM work_event WHERE owner = :owner AND owner <> '' AND platform = :platform
  ))
  ORDER BY since, work_id
  OFFSET 0
) AS item {_SAID}
WHERE said.owner = :owner
ORDER BY since, work_id
LIMIT :limit
"""
"""What people said is looked up for each item in turn until there are enough: of those that he ever had, or of all
where what is nobody's is wanted.
"""

QUEUE, QUEUE_OF_OWNER = (
    f"""
    WITH item AS MATERIALIZED ({ITEMS})
    SELECT sums, page.*, extract(epoch FROM now() - since)::float8 AS age_s
    FROM (
      SELECT CASE WHEN :with_sums THEN (
        SELECT json_agg(json_build_array(kind, count, amount_fen, age_s)) FROM ({_SUMS}) AS one
      ) END AS sums
    ) AS all_of_it
    LEFT JOIN ({page}) AS page ON true
    ORDER BY since, work_id
    """
    for page in (_PAGE, _PAGE_OF_OWNER)
)
"""A page, and the sums of all that waits at the same moment: one row at least."""

SUMS: Final[LiteralString] = f"WITH item AS ({ITEMS}) {_SUMS}"

_SAY: Final[LiteralString] = """
INSERT INTO work_event (platform, work_id, kind, owner, note, caller, person)
SELECT :platform, :work_id, :kind, :owner, :note, :caller, :person
WHERE (CAST(:kind AS text), CAST(:owner AS text), CAST(:note AS text), CAST(:caller AS text), CAST(:person AS text))
  IS DISTINCT FROM (
    SELECT ROW(kind, owner, note, caller, person)
    FROM work_event WHERE work_id = :work_id AND platform = :platform ORDER BY number DESC LIMIT 1
  )
"""

SUSPENDED_PAGE: Final[LiteralString] = f"""
SELECT * FROM ({SUSPENDED}) AS suspended WHERE ref > :after ORDER BY ref LIMIT :limit
"""

WAITING_DAYS: Final[LiteralString] = f"""
SELECT bank_day, coalesce(owed_fen, 0) AS in_transit_fen, coalesce(uncleared_fen, 0) AS uncleared_fen,
  coalesce(held_fen, 0) AS held_fen
FROM ({OWED}) AS owed
FULL JOIN (
  SELECT to_date(ref, 'YYYYMMDD') AS bank_day,
    sum(balance_fen)::bigint AS uncleared_fen, sum(held_fen)::bigint AS held_fen
  FROM account
  WHERE platform = :platform AND kind = 'waiting' AND has_money
  GROUP BY ref
) AS uncleared USING (bank_day)
ORDER BY bank_day
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """What of a transfer lies in suspense, in fen: what can still be cleared, and what is held for clearings; and the
    operation that entered it, with its amount and bank day.
    """

    transfer: str
    remaining_fen: int
    held_fen: int
    operation_id: UUID | None
    amount_fen: int
    bank_day: date | None


class WorkQueue(Queries):
    """What waits."""

    async def work(
        self, wanted: WorkWanted, patience: Patience, *, behind: tuple[datetime, str] | None, limit: int
    ) -> list[Work]:
        """Up to ``limit`` items that began later than ``behind``, oldest first. Raises `LedgerUnavailable`."""
        return (await self._page(wanted, patience, behind, limit, with_sums=False))[0]

    async def first_work(
        self, wanted: WorkWanted, patience: Patience, *, limit: int
    ) -> tuple[list[Work], dict[WorkKind, WorkSum]]:
        """The oldest ``limit`` items, and the sums of all that waits at that moment, whatever was ``wanted``. Raises
        `LedgerUnavailable`.
        """
        return await self._page(wanted, patience, None, limit, with_sums=True)

    async def _page(
        self,
        wanted: WorkWanted,
        patience: Patience,
        behind: tuple[datetime, str] | None,
        limit: int,
        *,
        with_sums: bool,
    ) -> tuple[list[Work], dict[WorkKind, WorkSum]]:
        since, work_id = behind or (datetime.fromisoformat("1970-01-01T00:00:00+00:00"), "")
        kinds = [kind.value for kind in wanted.kinds]
        rows = await self._work(
            QUEUE if wanted.owner is None else QUEUE_OF_OWNER,
            patience,
            read=[] if with_sums else kinds,
            kinds=kinds,
            work_id=wanted.work_id,
            since=since,
            behind=work_id,
            limit=limit,
            with_sums=with_sums,
            **({} if wanted.owner is None else {"owner": wanted.owner}),
        )
        return [_item(row) for row in rows if row["kind"]], _sums(rows[0]["sums"] or ())

    async def work_sums(self, patience: Patience) -> dict[WorkKind, WorkSum]:
        """How much waits, by kind; kinds without any are missing. Raises `LedgerUnavailable`."""
        return _sums([list(row.values()) for row in await self._work(SUMS, patience, read=[])])

    async def said(self, work_ids: Collection[str]) -> dict[str, Said]:
        """What people said of these items, of those of which they said anything. Raises `LedgerUnavailable`."""
        rows = await self._rows(text(SAID), platform=self._platform, work_ids=list(work_ids))
        return {row["work_id"]: Said(row["owner"], _notes(row["notes"])) for row in rows if row["notes"]}

    async def say(self, work_id: str, *, owner: str | None, note: str, caller: str, person: str) -> None:
        """Keep what a person said of an item. The same again adds nothing. Raises `LedgerUnavailable`."""
        kind = "noted" if owner is None else "assigned"
        said = {"work_id": work_id, "kind": kind, "owner": owner or "", "note": note}
        await self._change(_SAY, **said, caller=caller, person=person)

    async def suspended(self, after: str, limit: int) -> list[Suspended]:
        """Up to ``limit`` transfers with money in suspense whose bank serial sorts after ``after``."""
        rows = await self._rows(text(SUSPENDED_PAGE), platform=self._platform, after=after, limit=limit)
        return [
            Suspended(
                transfer=row["ref"],
                remaining_fen=row["balance_fen"] - row["held_fen"],
                held_fen=row["held_fen"],
                operation_id=row["id"],
                amount_fen=row["amount_fen"] or 0,
                bank_day=row["bank_day"],
            )
            for row in rows
        ]

    async def owed_days(self) -> dict[date, int]:
        """What channels owe for each bank day that is not cleared, in fen; oldest first."""
        rows = await self._rows(text(f"{OWED} ORDER BY bank_day"), platform=self._platform)
        return {row["bank_day"]: row["owed_fen"] for row in rows}

    async def _change(self, statement: LiteralString, **values: Any) -> None:
        async with reading(self._engine) as connection:
            await connection.execute(text(statement), {"platform": self._platform, **values})

    async def _work(self, query: LiteralString, patience: Patience, **values: Any) -> Sequence[Any]:
        reserved, accepted = (bindparam(name, type_=Interval()) for name in ("reserved_for", "accepted_for"))
        return await self._rows(
            text(query).bindparams(reserved, accepted),
            platform=self._platform,
            reserved_for=timedelta(seconds=patience.reserved_for_s),
            accepted_for=timedelta(seconds=patience.accepted_for_s),
            today=patience.today,
            **values,
        )


def _sums(rows: Iterable[Sequence[Any]]) -> dict[WorkKind, WorkSum]:
    return {
        WorkKind(kind): WorkSum(count=count, amount_fen=amount_fen, age_s=max(0.0, age_s))
        for kind, count, amount_fen, age_s in rows
    }


def _item(row: Any) -> Work:
    return Work(
        kind=WorkKind(row["kind"]),
        state=State(row["state"]) if row["state"] else None,
        age_s=max(0.0, row["age_s"]),
        notes=_notes(row["notes"]),
        **{name: row[name] for name in _TAKEN},
    )


def _notes(rows: Sequence[Sequence[Any]] | None) -> tuple[WorkNote, ...]:
    return tuple(
        WorkNote(at=datetime.fromisoformat(at), owner=owner, note=note, caller=caller, person=person)
        for at, owner, note, caller, person in rows or ()
    )


_TAKEN: Final = (
    *("work_id", "amount_fen", "since", "next_at", "operation_id", "operation_kind", "proposal_id", "is_decided"),
    *("break_id", "bank_day", "subject", "detail", "owner"),
)

"""What happened to operations, in the order of time, and what holds a member's money."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import text

from ledger.accounts import Account, Kind
from ledger.names import BankSerial, SubAccount
from ledger.operations import State
from ledger.reads.queries import Queries


class MomentKind(StrEnum):
    """What happened."""

    PROPOSED = "proposed"
    DECIDED = "decided"
    STATE = "state"
    """The operation came into a state."""
    QUERY = "query"
    """The bank was asked about it, and that settled nothing."""
    HOLD = "hold"
    RELEASED = "released"
    """A part was voided, and what it held is given back."""
    POSTING = "posting"
    AUDIT = "audit"
    SAID = "said"
    """A person said something of it while it waited: ``outcome`` is to whom it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened to an operation. What it does not have is empty.

    ``after_query`` is whether a query of the bank brought it. A posting moves ``amount_fen`` from ``account`` to
    ``credited``; a hold takes it out of ``account``. ``what`` is the RPC of a proposal or an audit entry, ``outcome``
    what was decided or how a call ended. ``bank_serial`` is the bank's own of a posting, where it has named one.
    """

    at: datetime
    operation_id: UUID
    kind: MomentKind
    state: State | None
    after_query: bool
    reason: str
    bank_code: str
    bank_message: str
    part: int
    account: Account | None
    credited: Account | None
    amount_fen: int
    bank_day: date | None
    bank_serial: BankSerial
    caller: str
    person: str
    what: str
    outcome: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an operation that is not final holds of a member's money, since when it was reserved."""

    account: Account
    amount_fen: int
    operation_id: UUID
    part: int
    since: datetime


_COLUMNS: Final = (
    *("at", "operation_id", "rank", "number", "kind", "state", "after_query", "reason", "bank_code", "bank_message"),
    *("part", "account", "credited", "amount_fen", "bank_day", "bank_serial", "caller", "person", "what", "outcome"),
    "note",
)
_EMPTY: Final = {
    **dict.fromkeys(("state", "reason", "bank_code", "bank_message", "account", "credited"), "''"),
    **dict.fromkeys(("bank_serial", "caller", "person", "what", "outcome", "note"), "''"),
    **dict.fromkeys(("number", "part", "amount_fen"), "0::bigint"),
    "after_query": "false",
    "bank_day": "NULL::date",
}


def _rows(source: str, rank: int, kind: str, **columns: str) -> str:
    given = {**_EMPTY, "operation_id": "w.id", **columns, "rank": str(rank), "kind": kind}
    return f"SELECT {', '.join(f'{given[name]} AS {name}' for name in _COLUMNS)} FROM {source}"


_RESOLVED: Final = "wanted w JOIN resolution r ON r.platform = :platform AND r.operation_id = w.id"
_HELD: Final = "JOIN hold h ON h.platform = :platform AND h.operation_id = w.id"

_MOMENTS: Final = " UNION ALL ".join(
    (
        _rows(
            "wanted w JOIN proposal p ON p.platform = :platform AND p.request_id = w.request_id",
            *(0, f"'{MomentKind.PROPOSED}'"),
            at="p.proposed_at",
            caller="p.caller",
            person="p.person",
            what="p.method",
            amount_fen="p.amount_fen",
            note="p.reason",
        ),
        _rows(
            "wanted w JOIN proposal p ON p.platform = :platform AND p.request_id = w.request_id"
            " JOIN proposal_decision c ON c.platform = p.platform AND c.proposal_id = p.proposal_id",
            *(1, f"'{MomentKind.DECIDED}'"),
            at="c.at",
            caller="c.caller",
            person="c.person",
            what="p.method",
            amount_fen="p.amount_fen",
            outcome="c.verdict",
            note="c.note",
        ),
        _rows(
            "told w",
            2,
            f"CASE WHEN before IN ('unknown', 'accepted') AND state = before THEN '{MomentKind.QUERY}'"
            f" ELSE '{MomentKind.STATE}' END",
            number="seq",
            at="at",
            state="state",
            after_query="before IN ('unknown', 'accepted')",
            reason="reason",
            bank_code="bank_code",
            bank_message="bank_message",
            # Whoever asked for it opened it.
            caller="CASE WHEN coalesce(before, 'released') = 'released' THEN caller ELSE '' END",
            person="CASE WHEN coalesce(before, 'released') = 'released' THEN person ELSE '' END",
        ),
        _rows(
            f"wanted w {_HELD} JOIN transaction t ON t.platform = h.platform AND t.operation_id = h.operation_id"
            " AND t.part = h.part",
            *(3, f"'{MomentKind.HOLD}'"),
            at="t.reserved_at",
            part="h.part",
            account="h.account",
            amount_fen="h.amount_fen",
        ),
        _rows(
            f"{_RESOLVED} AND r.verdict = 'voided' {_HELD} AND h.part = r.part",
            *(4, f"'{MomentKind.RELEASED}'"),
            at="r.at",
            part="r.part",
            account="h.account",
            amount_fen="h.amount_fen",
        ),
        _rows(
            f"{_RESOLVED} AND r.verdict = 'posted' JOIN leg l ON l.platform = r.platform"
            " AND l.operation_id = r.operation_id AND l.part = r.part",
            *(5, f"'{MomentKind.POSTING}'"),
            at="r.at",
            part="r.part",
            number="l.leg",
            account="l.debit",
            credited="l.credit",
            amount_fen="l.amount_fen",
            bank_day="r.bank_day",
            bank_serial="r.bank_serial",
        ),
        _rows(
            "(SELECT * FROM unnest(CAST(:subjects AS text[]), CAST(:owners AS uuid[])) AS k (subject, id)) w"
            " JOIN audit_entry a ON a.platform = :platform AND a.subject = w.subject",
            *(6, f"'{MomentKind.AUDIT}'"),
            at="a.at",
            number="a.number",
            caller="a.caller",
            person="a.person",
            what="a.method",
            outcome="a.outcome",
        ),
        _rows(
            "wanted w JOIN work_event s ON s.platform = :platform AND s.work_id = 'operation:' || w.id",
            *(7, f"'{MomentKind.SAID}'"),
            at="s.at",
            number="s.number",
            caller="s.caller",
            person="s.person",
            what="s.kind",
            outcome="s.owner",
            note="s.note",
        ),
    )
)

TIMELINE: Final = f"""
WITH wanted AS MATERIALIZED (
  SELECT o.id, o.request_id, o.caller, o.person
  FROM unnest(CAST(:ids AS uuid[])) AS k (id) JOIN operation o ON o.platform = :platform AND o.id = k.id
),
told AS MATERIALIZED (
  SELECT w.id, w.caller, w.person, e.seq, e.at, e.state, e.reason, e.bank_code, e.bank_message,
    lag(e.state) OVER (PARTITION BY e.operation_id ORDER BY e.seq) AS before
  FROM wanted w JOIN event e ON e.platform = :platform AND e.operation_id = w.id
),
page AS MATERIALIZED (
  SELECT * FROM ({_MOMENTS}) AS moments
  ORDER BY at, rank, operation_id, number, part, account
  LIMIT :limit OFFSET :offset
)
SELECT page.*, d.kind AS debit_kind, d.owner AS debit_owner, d.ref AS debit_ref,
  c.kind AS credit_kind, c.owner AS credit_owner, c.ref AS credit_ref
FROM page
LEFT JOIN account d ON d.platform = :platform AND d.name = page.account AND page.account <> ''
LEFT JOIN account c ON c.platform = :platform AND c.name = page.credited AND page.credited <> ''
ORDER BY at, rank, operation_id, number, part, account
"""
"""Each source is read by operation. What was recorded never changes, so that a page can begin behind so many rows."""

HOLDS: Final = """
WITH held AS MATERIALIZED (
  SELECT name, kind, owner, ref FROM account
  WHERE platform = :platform AND owner = :sub_account AND kind = ANY(:kinds) AND has_money AND held_fen > 0
)
SELECT held.kind, held.owner, held.ref, h.amount_fen, h.operation_id, h.part, t.reserved_at AS since
FROM (SELECT platform, operation_id FROM due WHERE platform = :platform AND EXISTS (SELECT FROM held) OFFSET 0) d
CROSS JOIN LATERAL (
  SELECT * FROM hold WHERE operation_id = d.operation_id AND platform = d.platform OFFSET 0
) h
JOIN held ON held.name = h.account
JOIN transaction t ON t.platform = h.platform AND t.operation_id = h.operation_id AND t.part = h.part
WHERE NOT EXISTS (
  SELECT FROM resolution r WHERE r.platform = h.platform AND r.operation_id = h.operation_id AND r.part = h.part
)
ORDER BY since, h.operation_id, h.part, h.account
"""
"""By the operations that are open: one look-up for each, however long the history is."""


class Timelines(Queries):
    """What happened, and what is held."""

    async def timeline(
        self, operation_ids: Collection[UUID], subjects: Mapping[str, UUID], *, offset: int, limit: int
    ) -> list[Moment]:
        """Up to ``limit`` moments of these operations, oldest first, behind the first ``offset`` of them.

        ``subjects`` are what calls are audited under that are about one of the operations.
        """
        rows = await self._rows(
            text(TIMELINE),
            platform=self._platform,
            ids=list(operation_ids),
            subjects=list(subjects),
            owners=list(subjects.values()),
            offset=offset,
            limit=limit,
        )
        return [
            Moment(
                at=row["at"],
                operation_id=row["operation_id"],
                kind=MomentKind(row["kind"]),
                state=State(row["state"]) if row["state"] else None,
                after_query=bool(row["after_query"]),
                account=_account(row["debit_kind"], row["debit_owner"], row["debit_ref"]),
                credited=_account(row["credit_kind"], row["credit_owner"], row["credit_ref"]),
                **{name: row[name] for name in _TAKEN},
            )
            for row in rows
        ]

    async def holds(self, sub_account: SubAccount, kinds: Collection[Kind]) -> list[Held]:
        """What operations that are not final hold on these pockets of a sub-account, oldest first."""
        rows = await self._rows(
            text(HOLDS), platform=self._platform, sub_account=sub_account, kinds=[kind.value for kind in kinds]
        )
        return [
            Held(
                account=Account(Kind(row["kind"]), row["owner"], row["ref"]),
                amount_fen=row["amount_fen"],
                operation_id=row["operation_id"],
                part=row["part"],
                since=row["since"],
            )
            for row in rows
        ]


_TAKEN: Final = (
    *("reason", "bank_code", "bank_message", "part", "amount_fen", "bank_day", "bank_serial", "caller", "person"),
    *("what", "outcome", "note"),
)


def _account(kind: str | None, owner: str, ref: str) -> Account | None:
    return None if kind is None else Account(Kind(kind), SubAccount(owner), ref)

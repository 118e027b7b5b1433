"""What must hold when the faults have stopped, by SQL and arithmetic of its own: none of the ledger's code is asked.

Reads the journal and what callers asked and were told; `simulate.bankcheck` holds it against the bank. `wrong` yields
sentences, none when all is well.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from jzb.v1.names import ErrorReason, OperationKind
from simulate.callers import Answer, CallerVerdict, CallRecord
from simulate.market import AVAILABLE, ESCROW, FEE, FROZEN, OUTSIDE, OWN_FUNDS, PARKING, SUSPENSE, Effect

NEVER_BELOW: Final = {
    **dict.fromkeys(("withdrawable", "waiting", "frozen", "escrow", "own-funds", "suspense", "parking"), 0),
    **dict.fromkeys(("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee"), 0),
    **dict.fromkeys(("order", "acquired", "rebooked", "standing"), -1),
    "top-up-order": -100,
    "allowance": -(10**15),
}
"""How far down an account may go, by the first word of its name: once more, apart from the ledger's own table."""

BOTTOMLESS: Final = ("fee", "in-transit", "withdrawing", "pooled", "limits")
POCKETS: Final = ("withdrawable", "waiting", "frozen", "escrow")
LIMITS: Final = ("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee")
CONTROLS: Final = (*LIMITS, "order", "top-up-order", "acquired", "rebooked", "standing", "allowance", "limits")

MEANS: Final = {
    **dict.fromkeys(("withdrawable", "waiting"), AVAILABLE),
    "frozen": FROZEN,
    "escrow": ESCROW,
    "fee": FEE,
    "own-funds": OWN_FUNDS,
    "suspense": SUSPENSE,
    "parking": PARKING,
    **dict.fromkeys(("pooled", "in-transit", "withdrawing"), OUTSIDE),
}
"""What callers call the accounts of a kind."""

BROUGHT_IN: Final[dict[str, int]] = {
    **dict.fromkeys(
        (
            OperationKind.TOP_UP,
            OperationKind.SPLIT_TOP_UP,
            OperationKind.TRANSFER_IN,
            OperationKind.WITHDRAWAL_RETURN,
            OperationKind.OPENING_BALANCE,
            OperationKind.RECORD_ORDER,
        ),
        1,
    ),
    **dict.fromkeys((OperationKind.REVOKE_TOP_UP, OperationKind.REVOKE_SPLIT_TOP_UP, OperationKind.WITHDRAW), -1),
}
"""Which operations bring money in or take it out."""

BY_THE_BANK: Final = (
    OperationKind.OPENING_BALANCE,
    OperationKind.CLEARING,
    OperationKind.TRANSFER_IN,
    OperationKind.WITHDRAWAL_RETURN,
)
"""What enters without a request of a caller."""

FINAL: Final = ("done", "refused", "released")
CLOSE_MEMBER: Final = OperationKind.CLOSE_MEMBER
NEEDED_AFTER_ALL: Final = (ErrorReason.MEMBER_NOT_EMPTY, ErrorReason.MEMBER_STILL_NEEDED)
"""What a closing is told whose member turned out to be needed; nothing was sent."""
BROKEN_CODES: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED")


@dataclass(frozen=True, slots=True)
class Op:
    """An operation as it ended."""

    id: UUID
    request_id: str
    kind: str
    serial: str
    state: str
    amount_fen: int
    last_event: str


class Posted(NamedTuple):
    """A leg with what its resolution says."""

    operation: UUID
    part: int
    debit: str
    credit: str
    fen: int
    verdict: str
    bank_day: date
    at: datetime

    @property
    def is_sweep(self) -> bool:
        """Uncleared money of a member that a clearing, or what a void owes to one, makes withdrawable."""
        kind, _, rest = self.debit.partition(":")
        return kind == "waiting" and self.credit == f"withdrawable:{rest.partition(':')[0]}"


class Held(NamedTuple):
    """What a part held of an account, from when to when, and whether it was posted or voided."""

    operation: UUID
    account: str
    fen: int
    reserved_at: datetime
    verdict: str
    bank_day: date
    at: datetime


class Movement(NamedTuple):
    """What one account gained, and how much more of it is held, by one step: batch and event tell which."""

    batch: int
    event: int
    account: str
    gained_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True)
class Journal:
    """The ledger's tables, as they are read for the check."""

    operations: Mapping[str, Op]
    """By request id."""
    legs: Sequence[Posted]
    holds: Sequence[Held]
    """Of parts that have ended."""
    movements: Sequence[Movement]
    balances: Mapping[str, tuple[int, int]]
    """Balance and held by account, as the ledger keeps them."""
    seals: Sequence[tuple[int, datetime]]
    pending: Sequence[str]
    """Parts without a resolution."""
    due: int
    once_unknown: int


_STEPS: Final = """
WITH step AS (
  SELECT s.batch, e.operation_id, s.at, min(e.seq) AS first, max(e.seq) AS last
  FROM event e LEFT JOIN seal s ON s.platform = e.platform AND s.at = e.at
  GROUP BY s.batch, e.operation_id, s.at
)
SELECT batch, last, l.credit, l.amount_fen, 0
FROM leg l JOIN resolution r USING (operation_id, part) LEFT JOIN step USING (operation_id, at)
UNION ALL
SELECT batch, last, l.debit, -l.amount_fen, 0
FROM leg l JOIN resolution r USING (operation_id, part) LEFT JOIN step USING (operation_id, at)
UNION ALL
SELECT batch, first, h.account, 0, h.amount_fen
FROM hold h JOIN transaction t USING (operation_id, part)
LEFT JOIN step ON step.operation_id = t.operation_id AND step.at = t.reserved_at
UNION ALL
SELECT batch, last, h.account, 0, -h.amount_fen
FROM hold h JOIN resolution r USING (operation_id, part) LEFT JOIN step USING (operation_id, at)
"""
"""Steps share a batch, and each has an event in it: in the order of the events they were judged."""


async def read(dsn: str) -> Journal:
    """The journal as of one moment."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)

        async def rows(query: str) -> list[Any]:
            return await (await connection.execute(query.encode())).fetchall()

        operations = await rows(
            "SELECT id, request_id, kind, serial, state, amount_fen,"
            " (SELECT e.state FROM event e WHERE e.operation_id = o.id ORDER BY seq DESC LIMIT 1) FROM operation o"
        )
        legs = await rows(
            "SELECT operation_id, part, debit, credit, amount_fen, verdict, bank_day, at"
            " FROM leg JOIN resolution USING (operation_id, part)"
        )
        holds = await rows(
            "SELECT operation_id, h.account, h.amount_fen, t.reserved_at, r.verdict, r.bank_day, r.at FROM hold h"
            " JOIN transaction t USING (operation_id, part) JOIN resolution r USING (operation_id, part)"
        )
        moved = await rows(_STEPS)
        pending = await rows(
            "SELECT operation_id || '/' || part FROM transaction t WHERE NOT EXISTS"
            " (SELECT FROM resolution r WHERE r.operation_id = t.operation_id AND r.part = t.part)"
        )
        balances = await rows("SELECT name, balance_fen, held_fen FROM account")
        seals = await rows("SELECT batch, at FROM seal ORDER BY batch")
        ((due,),) = await rows("SELECT count(*) FROM due")
        ((once_unknown,),) = await rows("SELECT count(DISTINCT operation_id) FROM event WHERE state = 'unknown'")
    return Journal(
        operations={row[1]: Op(*row) for row in operations},
        legs=[Posted(*row) for row in legs],
        holds=[Held(*row) for row in holds],
        # What has no batch or no event comes first, and is told.
        movements=sorted(Movement(batch or 0, event or 0, *rest) for batch, event, *rest in moved),
        balances={name: (balance, held) for name, balance, held in balances},
        seals=seals,
        pending=[name for (name,) in pending],
        due=due,
        once_unknown=once_unknown,
    )


def wrong(
    journal: Journal, requests: Mapping[str, CallRecord], answers: Sequence[Answer], members: Mapping[str, str]
) -> Iterator[str]:
    """Everything in the journal that contradicts what is promised; ``members`` are the codes by sub-account."""
    yield from _unbalanced(journal)
    yield from _below_floor(journal)
    yield from _unfinished(journal)
    yield from _made_of_nothing(journal)
    yield from _left_behind(journal)
    yield from _otherwise_than_asked(journal, requests, members)
    yield from _unexplained(journal, requests, answers)


def kind_of(account: str) -> str:
    """The first word of an account's name."""
    return account.partition(":")[0]


def _unbalanced(journal: Journal) -> Iterator[str]:
    """The kept balances are the sums of the legs; of money, and of limits, nothing appears or vanishes."""
    sums: Counter[str] = Counter()
    for leg in journal.legs:
        sums[leg.debit] -= leg.fen
        sums[leg.credit] += leg.fen
        if leg.fen <= 0 or leg.debit == leg.credit:
            yield f"operation {leg.operation} part {leg.part} moves {leg.fen} fen from {leg.debit} to {leg.credit}"
        if (kind_of(leg.debit) in CONTROLS) != (kind_of(leg.credit) in CONTROLS):
            yield f"operation {leg.operation} part {leg.part} makes money of a limit: {leg.debit} to {leg.credit}"
        if leg.verdict != "posted":
            yield f"operation {leg.operation} part {leg.part} is {leg.verdict} and moves {leg.fen} fen"
    for account in sums.keys() | journal.balances.keys():
        kept = journal.balances.get(account, (0, 0))[0]
        if sums[account] != kept:
            yield f"{account} is kept as {kept} fen, and its legs sum to {sums[account]}"
        if kind_of(account) not in (*NEVER_BELOW, *BOTTOMLESS):
            yield f"{account} is of no kind that anybody knows"
    money = sum(fen for account, fen in sums.items() if kind_of(account) not in CONTROLS)
    if money:
        yield f"all money accounts sum to {money} fen instead of 0"


def _below_floor(journal: Journal) -> Iterator[str]:
    """After every step, in the order of the journal: by batch, and within a batch by event."""
    for (batch, at), (following, later) in itertools.pairwise(journal.seals):
        if following != batch + 1 or later <= at:
            yield f"batch {following} of {later} does not follow batch {batch} of {at}"
    free: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for (batch, event), moved in itertools.groupby(journal.movements, key=lambda one: (one.batch, one.event)):
        touched = set()
        for movement in moved:
            free[movement.account] += movement.gained_fen - movement.held_fen
            held[movement.account] += movement.held_fen
            touched.add(movement.account)
        for account in sorted(touched):
            floor = NEVER_BELOW.get(kind_of(account))
            place = f"after event {event} of batch {batch}"
            if not batch or not event:
                yield f"{account} changed outside every batch and event"
            if floor is not None and free[account] < floor:
                yield f"{account} stood at {free[account]} fen after holds {place}, its floor is {floor}"
            if held[account] < 0:
                yield f"{account} had {held[account]} fen held {place}"


def _unfinished(journal: Journal) -> Iterator[str]:
    if journal.due:
        yield f"{journal.due} operations still wait for a question"
    for part in journal.pending:
        yield f"part {part} was never posted nor voided"
    for operation in journal.operations.values():
        if operation.state not in FINAL:
            yield f"{operation.kind} {operation.request_id} rests in state {operation.state}"
        if operation.state != operation.last_event:
            yield f"{operation.kind} {operation.request_id} is {operation.state}, its last event {operation.last_event}"
    held: Counter[str] = Counter()
    for movement in journal.movements:
        held[movement.account] += movement.held_fen
    for account in held.keys() | journal.balances.keys():
        kept = journal.balances.get(account, (0, 0))[1]
        if held[account] or kept:
            yield f"{account} still has {held[account]} fen held by the journal, {kept} by its balance"


def _made_of_nothing(journal: Journal) -> Iterator[str]:
    """What members and platform own is what was brought in less what was taken out, by the operations that are done."""
    expected = sum(
        BROUGHT_IN.get(operation.kind, 0) * operation.amount_fen
        for operation in journal.operations.values()
        if operation.state == "done"
    )
    owned = sum(
        balance
        for account, (balance, _) in journal.balances.items()
        if kind_of(account) not in (*CONTROLS, "pooled", "in-transit")
    )
    if owned != expected:
        yield f"members and platform own {owned} fen, and {expected} were brought in and not taken out"


def _left_behind(journal: Journal) -> Iterator[str]:
    """What was not done has moved nothing, neither money nor a limit, nor used an order number up."""
    by_id = {operation.id: operation for operation in journal.operations.values()}
    left: defaultdict[UUID, Counter[str]] = defaultdict(Counter)
    for leg in journal.legs:
        if by_id[leg.operation].state != "done" and not leg.is_sweep:
            left[leg.operation][leg.debit] -= leg.fen
            left[leg.operation][leg.credit] += leg.fen
    for operation_id, moved in left.items():
        if any(moved.values()):
            operation = by_id[operation_id]
            yield f"{operation.kind} {operation.request_id} is {operation.state} and left {_told(moved)}"


def _otherwise_than_asked(
    journal: Journal, requests: Mapping[str, CallRecord], members: Mapping[str, str]
) -> Iterator[str]:
    """What is done has moved what its caller asked for: from whom, to whom, which fee, and nothing else."""
    moved: defaultdict[UUID, Effect] = defaultdict(Counter)
    for leg in journal.legs:
        if not leg.is_sweep and kind_of(leg.debit) not in CONTROLS:
            moved[leg.operation][_meant(leg.debit, members)] -= leg.fen
            moved[leg.operation][_meant(leg.credit, members)] += leg.fen
    for operation in journal.operations.values():
        request = requests.get(operation.request_id)
        if request is None:
            if operation.kind not in BY_THE_BANK:
                yield f"{operation.kind} {operation.request_id} was asked for by nobody"
        elif request.checks_only:
            yield f"{operation.kind} {operation.request_id} was only to be checked, and is {operation.state}"
        elif operation.state == "done":
            asked, did = _trimmed(request.effect), _trimmed(moved[operation.id])
            if did != asked and (request.part is None or did != _trimmed(request.part)):
                yield f"{operation.kind} {operation.request_id} was to move {_told(asked)}, and moved {_told(did)}"


def _meant(account: str, members: Mapping[str, str]) -> str:
    kind, _, rest = account.partition(":")
    meaning = MEANS.get(kind, account)
    return f"{members.get(rest.partition(':')[0], rest)} {meaning}" if kind in POCKETS else meaning


def _trimmed(effect: Effect) -> dict[str, int]:
    return {name: fen for name, fen in effect.items() if fen}


def _told(moved: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {fen:+}" for name, fen in sorted(moved.items()) if fen) or "nothing"


def _unexplained(journal: Journal, requests: Mapping[str, CallRecord], answers: Sequence[Answer]) -> Iterator[str]:
    """Every answer against how its operation ended."""
    by_request: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_request[answer.request_id].append(answer)
        if answer.code in BROKEN_CODES:
            yield f"a caller was told {answer.code}: {answer}"
    for request_id, told in by_request.items():
        operation = journal.operations.get(request_id)
        for answer in told:
            if answer.reason == ErrorReason.REQUEST_ID_REUSED:
                is_explained = request_id in requests and requests[request_id].clashes
            else:
                is_explained = _explains(operation, answer, told)
            if not is_explained:
                yield f"{answer} is not explained by {operation}"


def _explains(operation: Op | None, answer: Answer, told: Sequence[Answer]) -> bool:
    state = operation.state if operation is not None else "none"
    is_same = (
        operation is not None
        and answer.operation_id in ("", str(operation.id))
        and (not answer.operation_id or answer.amount_fen == operation.amount_fen)
    )
    match answer.verdict:
        case CallerVerdict.DONE:
            return is_same and state == "done"
        case CallerVerdict.ACCEPTED:
            return is_same and state in ("done", "refused")
        case CallerVerdict.NO_EFFECT if answer.reason in NEEDED_AFTER_ALL and answer.operation_id:
            # The closing is let go, and the same request may close the member when nothing needs it any more.
            is_closing = is_same and operation is not None and operation.kind == CLOSE_MEMBER
            return is_closing and (state == "released" or _has_tried_again(answer, told))
        case CallerVerdict.NO_EFFECT if answer.code == "FAILED_PRECONDITION" and answer.operation_id:
            # A refusal that is on record is final.
            return is_same and state == "refused"
        case CallerVerdict.NO_EFFECT:
            # It left nothing; another call under the same id may have.
            return state != "done" or any(_may_have_done(other, answer) for other in told)
        case CallerVerdict.UNKNOWN:
            return is_same or not answer.operation_id
        case CallerVerdict.CHECKED:
            return not answer.operation_id
        case _:
            return True


def _has_tried_again(answer: Answer, told: Sequence[Answer]) -> bool:
    return any(one.ended_s > answer.began_s and one.reason not in NEEDED_AFTER_ALL for one in told)


def _may_have_done(other: Answer, answer: Answer) -> bool:
    return other.ended_s > answer.began_s and other.verdict in (
        CallerVerdict.DONE,
        CallerVerdict.ACCEPTED,
        CallerVerdict.UNKNOWN,
        CallerVerdict.SILENT,
    )

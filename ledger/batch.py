"""A batch of steps, judged one by one in order of arrival, turned into the rows to write. Pure: no database, no clock.

Each step succeeds or fails on its own: a refused one leaves the book as it found it and only its own refusal among the
rows. `ledger.writer` loads what is `Known`, calls `judge` for each step, and writes the `Rows` in one commit.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from ledger import rules
from ledger.accounts import FLOORS, Account
from ledger.answers import Answer, answers_of
from ledger.cards import Card, CardChange
from ledger.errors import Breach, FloorBroken, LedgerCorrupt, OperationUnknown, RequestIdReused
from ledger.names import NO_BANK_SERIAL, BankSerial
from ledger.operations import Member, Operation, Part, PartState, State
from ledger.rules import Book, Draft, Hold, OfDay, Posting
from ledger.steps import AdjustedBreak, Change, NewOperation, Step, StepOutcome

_to_json = json.JSONEncoder(ensure_ascii=False).encode

REASON_FLOOR = "floor"
"""The reason of an operation that a floor refused; its breach says which."""


ANSWERS_MAX = 10_000
"""Beyond so many digests those of answers that are kept are forgotten, and may be sent once more."""


@dataclass(slots=True)
class KnownPart:
    """A transaction that the journal has already, with what it holds while it is pending."""

    part: Part
    holds: list[Hold]


@dataclass(slots=True)
class Known:
    """What the database says about the operations that a batch names."""

    now: datetime
    by_request: dict[str, Operation] = field(default_factory=dict)
    by_id: dict[UUID, Operation] = field(default_factory=dict)
    parts: dict[UUID, dict[int, KnownPart]] = field(default_factory=dict)
    answers: set[bytes] = field(default_factory=set)
    """Digests of answers that this process has given to be kept: those of a list come with each of its rows."""

    def add(self, operation: Operation) -> None:
        """Take in an operation, or its newer state."""
        self.by_request[operation.request_id] = operation
        self.by_id[operation.id] = operation

    def drop(self, operation: Operation) -> None:
        """Forget an operation."""
        del self.by_request[operation.request_id]
        del self.by_id[operation.id]
        self.parts.pop(operation.id, None)

    def outcome(self, operation: Operation, *, did: bool, pended: tuple[int, ...] = ()) -> StepOutcome:
        """What came of a step on this operation, with all its parts as they stand."""
        parts = self.parts.get(operation.id, {})
        return StepOutcome(operation, did, tuple(parts[number].part for number in sorted(parts)), pended)


@dataclass(slots=True)
class Rows:
    """What the batch adds to the journal, and how operations stand after it."""

    operations_new: dict[UUID, Operation] = field(default_factory=dict)
    operations_changed: dict[UUID, Operation] = field(default_factory=dict)
    reopened: set[UUID] = field(default_factory=set)
    next_ask_in_s: dict[UUID, float | None] = field(default_factory=dict)
    transactions: list[tuple[UUID, int, Draft]] = field(default_factory=list)
    holds: list[tuple[UUID, int, Hold]] = field(default_factory=list)
    resolutions: list[tuple[UUID, int, PartState, date, BankSerial]] = field(default_factory=list)
    legs: list[tuple[UUID, int, int, Posting]] = field(default_factory=list)
    events: list[tuple[UUID, Change, bytes]] = field(default_factory=list)
    openings: dict[int, Operation] = field(default_factory=dict)
    """By the place of their event."""
    references: list[tuple[UUID, str, str]] = field(default_factory=list)
    bookings: list[tuple[UUID, date, str]] = field(default_factory=list)
    members: list[tuple[UUID, Member]] = field(default_factory=list)
    cards_new: list[Card] = field(default_factory=list)
    cards: list[CardChange] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    adjusted: list[tuple[UUID, AdjustedBreak]] = field(default_factory=list)
    cleared_through: date | None = None


def judge(book: Book, known: Known, step: Step, rows: Rows) -> StepOutcome:
    """Judge one step and add what it writes to ``rows``.

    Raises `FloorBroken` (recorded as a refused operation when the step opens one and keeps it), `RequestIdReused`,
    `OperationUnknown`; the book is then as before.
    """
    if isinstance(step.operation, NewOperation):
        return _open(book, known, step, step.operation, rows)
    operation = known.by_id.get(step.operation)
    if operation is None:
        raise OperationUnknown(str(step.operation))
    if operation.state not in step.expects:
        return known.outcome(operation, did=False)
    return _carry_on(book, known, step, operation, rows)


def accounts_of(step: Step) -> tuple[set[Account], set[str]]:
    """The accounts with a floor that a step may touch, and the sub-accounts whose spendable pockets it may draw on.

    Money that is only held goes nowhere yet, and what a pending part draws on is in its holds.
    """
    named = {*step.needs, *(cap.account for cap in step.caps)}
    drawn: set[str] = set()
    for draft in (*step.pend, *step.enter):
        for leg in draft.legs:
            if isinstance(leg.debit, rules.Available):
                drawn.add(leg.debit.sub_account)
            else:
                _name(named, leg.debit, step.bank_day)
    for draft in (*step.post.values(), *step.enter):
        for leg in draft.legs:
            _name(named, leg.credit, step.bank_day)
    return named, drawn


def _name(named: set[Account], side: Account | OfDay, bank_day: date) -> None:
    if side.kind in FLOORS:
        account = side.on(bank_day) if isinstance(side, OfDay) else side
        named.add(account)
        named.update(rules.landing(account))


def _open(book: Book, known: Known, step: Step, new: NewOperation, rows: Rows) -> StepOutcome:
    earlier = known.by_request.get(new.request_id)
    if earlier is not None:
        if earlier.serial == new.serial:
            # This very step was committed, but its writer never heard of it: tell what it would have told then.
            if earlier.breach is not None:
                raise FloorBroken(Breach(**earlier.breach), earlier)
            if earlier.state is not step.change.state:
                return known.outcome(earlier, did=False)
            pending = (n for n, p in known.parts.get(earlier.id, {}).items() if p.part.state is PartState.RESERVED)
            return known.outcome(earlier, did=True, pended=tuple(sorted(pending)))
        if earlier.fingerprint != new.fingerprint:
            raise RequestIdReused(earlier)
        if earlier.state is not State.RELEASED or step.check_only:
            return known.outcome(earlier, did=False)
    operation = _opened(new, step.change, known.now, step.bank_day, earlier)
    if step.check_only:
        rules.require(book, step.needs)
        rules.require_within(book, step.caps)
        touched = set(book.touched)
        for holds in rules.reserve(book, step.pend):
            rules.void(book, holds)
        book.touched = touched
        return known.outcome(operation, did=False)
    if earlier is not None:
        rows.reopened.add(earlier.id)
    try:
        outcome = _apply(book, known, step, operation, rows, operation.plan_digest, is_new=earlier is None)
        _refer(rows, operation, step, new.found_by)
        return outcome
    except FloorBroken as refusal:
        if not step.keeps_refusal:
            rows.reopened.discard(operation.id)
            if earlier is None:
                del known.parts[operation.id]
            raise
        change = Change(state=State.REFUSED, reason=REASON_FLOOR)
        refused = _opened(new, change, known.now, step.bank_day, earlier)
        refused = refused._replace(breach=dataclasses.asdict(refusal.breach))
        _refer(rows, refused, step, new.found_by)
        _record(known, refused, change, rows, refused.plan_digest, is_new=earlier is None)
        raise FloorBroken(refusal.breach, refused) from None


def _carry_on(book: Book, known: Known, step: Step, operation: Operation, rows: Rows) -> StepOutcome:
    change = step.change
    operation = operation._replace(
        state=change.state,
        reason=change.reason,
        message=change.message,
        bank_code=change.bank_code or operation.bank_code,
        bank_message=change.bank_message or operation.bank_message,
        bank_serial=change.bank_serial or operation.bank_serial,
        bank_day=step.bank_day if change.state in (State.ACCEPTED, State.DONE) else operation.bank_day,
        query_attempts=change.query_attempts,
        not_found=change.not_found,
        next_query_at=_ask_at(change, known.now),
        updated_at=known.now,
    )
    outcome = _apply(book, known, step, operation, rows, b"", is_new=False)
    _refer(rows, operation, step)
    return outcome


def _apply(
    book: Book, known: Known, step: Step, operation: Operation, rows: Rows, opened: bytes, *, is_new: bool
) -> StepOutcome:
    parts = known.parts.setdefault(operation.id, {})
    pending = {number: _pending(operation, parts, number) for number in (*step.post, *step.void)}

    # What can be refused comes first: nothing has changed when it raises.
    rules.require(book, step.needs)
    rules.require_within(book, step.caps)
    pend_holds = rules.reserve(book, step.pend)
    entered: list[tuple[list[Hold], list[Posting]]] = []
    try:
        for draft in step.enter:
            entered.append(rules.enter(book, draft, step.bank_day))
    except FloorBroken:
        for holds in pend_holds:
            rules.void(book, holds)
        for _, postings in entered:
            for posting in postings:
                book.change(posting.debit, balance_fen=posting.amount_fen)
                book.change(posting.credit, balance_fen=-posting.amount_fen)
        raise

    next_part = max(parts, default=0) + 1
    pended = tuple(range(next_part, next_part + len(step.pend)))
    for number, draft, holds in zip(pended, step.pend, pend_holds, strict=True):
        rows.transactions.append((operation.id, number, draft))
        rows.holds.extend((operation.id, number, hold) for hold in holds)
        parts[number] = KnownPart(_reserved(number, draft), holds)
    for number, draft in step.post.items():
        postings = rules.post(book, draft, pending[number].holds, step.bank_day)
        _post(rows, operation, pending[number], step.bank_day, draft.bank_serial, postings)
    sweeps: list[Draft] = []
    for number in step.void:
        rules.void(book, pending[number].holds)
        _resolve(rows, operation, pending[number], PartState.VOIDED, step.bank_day)
        swept = rules.sweep(book, pending[number].holds)
        if swept is not None:
            sweeps.append(swept)
    entered.extend(rules.enter(book, draft, step.bank_day) for draft in sweeps)
    for draft, (holds, postings) in zip((*step.enter, *sweeps), entered, strict=True):
        number = max(parts, default=0) + 1
        rows.transactions.append((operation.id, number, draft))
        rows.holds.extend((operation.id, number, hold) for hold in holds)
        parts[number] = KnownPart(_reserved(number, draft), holds)
        _post(rows, operation, parts[number], step.bank_day, draft.bank_serial, postings)

    rows.members.extend((operation.id, member) for member in step.members)
    rows.cards_new.extend(step.cards_new)
    rows.cards.extend(step.cards)
    if step.adjusts is not None:
        rows.adjusted.append((operation.id, step.adjusts))
    if step.cleared_through is not None:
        book.cleared_through = rows.cleared_through = max(step.cleared_through, book.cleared_through or date.min)
    _record(known, operation, step.change, rows, opened, is_new=is_new)
    return known.outcome(operation, did=True, pended=pended)


def _pending(operation: Operation, parts: dict[int, KnownPart], number: int) -> KnownPart:
    part = parts.get(number)
    if part is None or part.part.state is not PartState.RESERVED:
        raise LedgerCorrupt(f"part {number} of {operation.id} is not pending but {part and part.part.state}")
    return part


def _reserved(number: int, draft: Draft) -> Part:
    return Part(
        part=number,
        serial=draft.serial,
        payer=draft.payer,
        payee=draft.payee,
        amount_fen=draft.amount_fen,
        fee_fen=draft.fee_fen,
        state=PartState.RESERVED,
        bank_day=None,
        corrects=draft.corrects,
        order_no=draft.order_no,
    )


def _post(
    rows: Rows,
    operation: Operation,
    part: KnownPart,
    bank_day: date,
    bank_serial: BankSerial,
    postings: Iterable[Posting],
) -> None:
    _resolve(rows, operation, part, PartState.POSTED, bank_day, bank_serial)
    rows.legs.extend((operation.id, part.part.part, no, posting) for no, posting in enumerate(postings, start=1))


def _resolve(
    rows: Rows,
    operation: Operation,
    part: KnownPart,
    verdict: PartState,
    bank_day: date,
    bank_serial: BankSerial = NO_BANK_SERIAL,
) -> None:
    part.part = part.part._replace(state=verdict, bank_day=bank_day, bank_serial=bank_serial)
    rows.resolutions.append((operation.id, part.part.part, verdict, bank_day, bank_serial))


def _record(known: Known, operation: Operation, change: Change, rows: Rows, opened: bytes, *, is_new: bool) -> None:
    known.add(operation)
    if is_new or operation.id in rows.operations_new:
        rows.operations_new[operation.id] = operation
    else:
        rows.operations_changed[operation.id] = operation
    rows.next_ask_in_s[operation.id] = change.next_ask_in_s
    if opened:
        rows.openings[len(rows.events)] = operation
    rows.events.append((operation.id, change, opened + change.evidence))
    for answer in answers_of(change.evidence):
        if answer.digest not in known.answers:
            if len(known.answers) >= ANSWERS_MAX:
                known.answers.clear()
            known.answers.add(answer.digest)
            rows.answers.append(answer)


def _refer(rows: Rows, operation: Operation, step: Step, found_by: tuple[tuple[str, str], ...] = ()) -> None:
    """What the operation is found by, apart from its own columns. A posted part may have gone to another member."""
    rows.references.extend((operation.id, kind, value) for kind, value in found_by)
    members, order_nos = ("", operation.payer, operation.payee), ("", operation.order_no)
    for draft in (*step.pend, *step.enter, *step.post.values()):
        for member in (draft.payer, draft.payee):
            if member not in members:
                rows.references.append((operation.id, "member", member))
        if draft.order_no not in order_nos:
            rows.references.append((operation.id, "order", draft.order_no))
    serials = step.change.bank_serials or (step.change.bank_serial,)
    if operation.bank_day is not None or any(serials):
        rows.bookings.extend((operation.id, step.bank_day, serial) for serial in serials)


def _ask_at(change: Change, now: datetime) -> datetime | None:
    return None if change.next_ask_in_s is None else now + timedelta(seconds=change.next_ask_in_s)


def _opened(new: NewOperation, change: Change, now: datetime, bank_day: date, earlier: Operation | None) -> Operation:
    return Operation(
        id=earlier.id if earlier else new.id,
        request_id=new.request_id,
        fingerprint=new.fingerprint,
        kind=new.kind,
        serial=new.serial,
        state=change.state,
        payer=new.payer,
        payee=new.payee,
        order_no=new.order_no,
        amount_fen=new.amount_fen,
        fee_fen=new.fee_fen,
        reason=change.reason,
        message=change.message,
        breach=None,
        bank_code=change.bank_code,
        bank_message=change.bank_message,
        bank_serial=change.bank_serial,
        bank_day=bank_day if change.state in (State.ACCEPTED, State.DONE) else None,
        trace_id=new.trace_id,
        plan_text=_to_json(new.plan),
        query_attempts=change.query_attempts,
        not_found=change.not_found,
        next_query_at=_ask_at(change, now),
        created_at=earlier.created_at if earlier else now,
        updated_at=now,
        # Of a request that is tried again, whoever sent it first: that is sealed.
        caller=earlier.caller if earlier else new.caller,
        person=earlier.person if earlier else new.person,
    )

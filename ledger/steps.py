"""What the writer is asked to do, and what came of it.

A *step* opens an operation or carries it on; a step is one commit, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from ledger.accounts import Account
from ledger.cards import Card, CardChange
from ledger.names import NO_BANK_SERIAL, NO_MEMBER_CODE, BankSerial, MemberCode, RequestId, Serial
from ledger.operations import OPEN_STATES, Member, Operation, Part, State
from ledger.rules import Cap, Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperation:
    """What a reservation records before anything is sent.

    ``plan`` is what a later process needs to carry the operation on (drafts and how to ask the bank), as JSON without
    personal data. ``fingerprint`` is a digest of the request's content. ``found_by`` are the kinds and values of
    `reference` by which it is found beside its members and orders. ``caller`` asks for it, for ``person`` where there
    is one.
    """

    id: UUID
    request_id: RequestId
    fingerprint: bytes
    kind: str
    serial: Serial
    plan: dict[str, Any]
    payer: MemberCode = NO_MEMBER_CODE
    payee: MemberCode = NO_MEMBER_CODE
    order_no: str = ""
    amount_fen: int = 0
    fee_fen: int = 0
    trace_id: str = ""
    found_by: tuple[tuple[str, str], ...] = ()
    caller: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The new state of an operation and the evidence for it.

    ``reason`` is a stable code, ``message`` English; ``bank_code`` and ``bank_message`` are the bank's own.
    ``bank_serials`` are all that the bank named, where it gave parts their own; which part has which is in the drafts
    of the step.
    ``evidence`` is the digest of the bank's signed answer, which is kept if it comes along (`ledger.answers`); the
    event of an opening has `Operation.plan_digest` before it. ``next_ask_in_s`` is when the resolver looks at it next,
    of an open state and of no other. ``not_found`` counts the bank's answers "no such record" (ERR020), and "send it
    again", that came far enough apart.
    """

    state: State
    reason: str = ""
    message: str = ""
    bank_code: str = ""
    bank_message: str = ""
    bank_serial: BankSerial = NO_BANK_SERIAL
    bank_serials: tuple[BankSerial, ...] = ()
    evidence: bytes = b""
    next_ask_in_s: float | None = None
    query_attempts: int = 0
    not_found: int = 0

    def __post_init__(self) -> None:
        if (self.state in OPEN_STATES) != (self.next_ask_in_s is not None):
            raise ValueError(f"{self.state} is to be asked about in {self.next_ask_in_s} seconds")


class AdjustedBreak(NamedTuple):
    """A break (`ledger.day`) that the postings of a step adjust: whoever approved that closes it, with a note."""

    break_id: UUID
    caller: str
    person: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One commit of the writer.

    ``pend`` and ``enter`` get the next part numbers in that order; ``post`` and ``void`` name parts that are pending.
    A step that continues an operation does nothing unless the operation is in one of ``expects``: it came late. A step
    that opens an operation is refused unless each account of ``needs`` has something left; it takes nothing of it. The
    same holds where it would take more of an account than its cap in ``caps``.
    ``members`` and ``cards_new`` are recorded with the step, then ``cards`` are changed; ``cleared_through`` marks bank
    days as cleared, and ``adjusts`` is closed. ``check_only`` judges and writes nothing. Where ``keeps_refusal`` is
    False, a step that opens an operation and is refused by a floor leaves no operation behind, so its request id may
    try again. A step that opens an operation is refused when it is judged after ``not_after_s``, a time of
    `time.monotonic`; one that carries an operation on never is. ``reopens`` is the released operation that it may open
    anew: its caller has proved it to be released (`ledger.proofs`), without which a writer with keys refuses it.
    """

    operation: NewOperation | UUID
    change: Change
    bank_day: date
    needs: tuple[Account, ...] = ()
    caps: tuple[Cap, ...] = ()
    pend: tuple[Draft, ...] = ()
    post: Mapping[int, Draft] = field(default_factory=dict)
    void: tuple[int, ...] = ()
    enter: tuple[Draft, ...] = ()
    expects: frozenset[State] = OPEN_STATES
    members: tuple[Member, ...] = ()
    cards_new: tuple[Card, ...] = ()
    cards: tuple[CardChange, ...] = ()
    cleared_through: date | None = None
    adjusts: AdjustedBreak | None = None
    check_only: bool = False
    keeps_refusal: bool = True
    not_after_s: float | None = None
    reopens: UUID | None = None

    @property
    def operation_id(self) -> UUID:
        """The operation this step is about."""
        return self.operation.id if isinstance(self.operation, NewOperation) else self.operation


class StepOutcome(NamedTuple):
    """What came of a step.

    ``did`` is False when the step found its work done: the request id was known with the same content, or the
    operation had moved on. ``operation`` and ``parts`` are how it stands now, ``pended`` the numbers that the
    step's pending drafts were given.
    """

    operation: Operation
    did: bool
    parts: tuple[Part, ...] = ()
    pended: tuple[int, ...] = ()

"""What the writer is asked to do, and what an operation looks like from outside.

An *operation* is one request of a caller, from reservation to its final state. Its money is in *parts*, each a
transaction of the journal that is pending, then posted or voided, once. A *step* opens an operation or carries it
on; a step is one commit, whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from ledger.accounts import Account
from ledger.cards import Card, CardChange
from ledger.rules import Draft


class State(StrEnum):
    """Where an operation stands. DONE and REFUSED are final."""

    RESERVED = "reserved"
    """Holds are made, the call to the bank is under way (or was, when the process died)."""
    RELEASED = "released"
    """The call never reached the bank; nothing is held, and the same request id tries again."""
    UNKNOWN = "unknown"
    """The bank may have acted; holds are kept and the bank is asked until it says."""
    ACCEPTED = "accepted"
    """The bank took the order and will say later how it ended (withdrawals)."""
    DONE = "done"
    REFUSED = "refused"

    @property
    def is_final(self) -> bool:
        """No step changes it any more."""
        return self in (State.DONE, State.REFUSED)


OPEN_STATES = frozenset({State.RESERVED, State.UNKNOWN, State.ACCEPTED})
"""The states in which an operation waits for the bank's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperation:
    """What a reservation records before anything is sent.

    ``plan`` is what a later process needs to carry the operation on (drafts and how to ask the bank), as JSON without
    personal data. ``fingerprint`` is a digest of the request's content. ``channel_no`` is the transaction number of the
    payment channel, by which the operation is found.
    """

    id: UUID
    request_id: str
    fingerprint: bytes
    kind: str
    serial: str
    plan: dict[str, Any]
    payer: str = ""
    payee: str = ""
    order_no: str = ""
    amount_fen: int = 0
    fee_fen: int = 0
    trace_id: str = ""
    channel_no: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The new state of an operation and the evidence for it.

    ``reason`` is a stable code, ``message`` English; ``bank_code`` and ``bank_message`` are the bank's own.
    ``bank_serials`` are the serials of the parts where the bank gave each its own.
    ``evidence`` is the digest of the bank's signed answer; the event of an opening has `Operation.plan_digest` before
    it. ``next_ask_in_s`` is when the resolver looks at it next,
    of an open state and of no other. ``not_found`` counts the bank's answers "no such record" (ERR020), and "send it
    again", that came far enough apart.
    """

    state: State
    reason: str = ""
    message: str = ""
    bank_code: str = ""
    bank_message: str = ""
    bank_serial: str = ""
    bank_serials: tuple[str, ...] = ()
    evidence: bytes = b""
    next_ask_in_s: float | None = None
    asks: int = 0
    not_found: int = 0

    def __post_init__(self) -> None:
        if (self.state in OPEN_STATES) != (self.next_ask_in_s is not None):
            raise ValueError(f"{self.state} is to be asked about in {self.next_ask_in_s} seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One commit of the writer.

    ``pend`` and ``enter`` get the next part numbers in that order; ``post`` and ``void`` name parts that are pending.
    A step that continues an operation does nothing unless the operation is in one of ``expects``: it came late. A step
    that opens an operation is refused unless each account of ``needs`` has something left; it takes nothing of it.
    ``members`` and ``cards_new`` are recorded with the step, then ``cards`` are changed; ``cleared_through`` marks
    bank days as cleared. ``check_only`` judges and writes nothing. Where ``keeps_refusal`` is False, a step that opens
    an operation and is refused by a floor leaves no operation behind, so its request id may try again. A step that
    opens an operation is refused when it is judged after ``not_after_s``, a time of `time.monotonic`; one that carries
    an operation on never is.
    """

    operation: NewOperation | UUID
    change: Change
    bank_day: date
    needs: tuple[Account, ...] = ()
    pend: tuple[Draft, ...] = ()
    post: Mapping[int, Draft] = field(default_factory=dict)
    void: tuple[int, ...] = ()
    enter: tuple[Draft, ...] = ()
    expects: frozenset[State] = OPEN_STATES
    members: tuple[Member, ...] = ()
    cards_new: tuple[Card, ...] = ()
    cards: tuple[CardChange, ...] = ()
    cleared_through: date | None = None
    check_only: bool = False
    keeps_refusal: bool = True
    not_after_s: float | None = None

    @property
    def operation_id(self) -> UUID:
        """The operation this step is about."""
        return self.operation.id if isinstance(self.operation, NewOperation) else self.operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of the platform and its sub-account. ``property`` is the bank's: 00 pays, SH collects.

    ``same_name`` is the code of the other member that is the same customer (6167), or empty. The times are the
    ledger's; a step that records a member leaves them out.
    """

    member_id: str
    sub_account: str
    property: str
    is_open: bool = True
    same_name: str = ""
    opened_at: datetime | None = None
    closed_at: datetime | None = None


class PartState(StrEnum):
    """Where a transaction stands; it leaves RESERVED once."""

    RESERVED = "reserved"
    POSTED = "posted"
    VOIDED = "voided"


class Part(NamedTuple):
    """One transaction of an operation. Amounts in fen, ``payer`` and ``payee`` are member codes.

    ``order_no`` is its own order number, where the operation has several.
    """

    part: int
    serial: str
    payer: str
    payee: str
    amount_fen: int
    fee_fen: int
    state: PartState
    bank_day: date | None
    corrects: int | None
    order_no: str = ""


class Operation(NamedTuple):
    """An operation as the database has it."""

    id: UUID
    request_id: str
    fingerprint: bytes
    kind: str
    serial: str
    state: State
    payer: str
    payee: str
    order_no: str
    amount_fen: int
    fee_fen: int
    reason: str
    message: str
    breach: dict[str, Any] | None
    bank_code: str
    bank_message: str
    bank_serial: str
    bank_day: date | None
    trace_id: str
    plan_text: str
    asks: int
    not_found: int
    next_ask_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def plan(self) -> dict[str, Any]:
        """The plan as `NewOperation` gave it; read only where it is needed."""
        plan: dict[str, Any] = json.loads(self.plan_text)
        return plan

    @property
    def plan_digest(self) -> bytes:
        """SHA-256 over serial and plan: the event that opens an operation carries it, and is sealed."""
        return sha256(f"{self.serial}\n{self.plan_text}".encode("utf-8", "replace")).digest()


class Whole(NamedTuple):
    """An operation and its parts, read at one moment: its state is that of its parts."""

    operation: Operation
    parts: tuple[Part, ...]


class Outcome(NamedTuple):
    """What came of a step.

    ``did`` is False when the step found its work done: the request id was known with the same content, or the
    operation had moved on. ``operation`` and ``parts`` are how it stands now, ``pended`` the numbers that the
    step's pending drafts were given.
    """

    operation: Operation
    did: bool
    parts: tuple[Part, ...] = ()
    pended: tuple[int, ...] = ()

"""What an operation looks like from outside, as the database has it.

An *operation* is one request of a caller, from reservation to its final state. Its money is in *parts*, each a
transaction of the journal that is pending, then posted or voided, once. What the writer is asked to do is in
`ledger.steps`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from ledger.names import NO_BANK_SERIAL, NO_MEMBER_CODE, BankSerial, MemberCode, RequestId, Serial, SubAccount


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
class Member:
    """A member of the platform and its sub-account. ``property`` is the bank's: 00 pays, SH collects.

    ``same_name`` is the code of the other member that is the same customer (6167), or empty. The times and the ``mac``
    are the ledger's; a step that records a member leaves them out.
    """

    member_id: MemberCode
    sub_account: SubAccount
    property: str
    is_open: bool = True
    same_name: MemberCode = NO_MEMBER_CODE
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    mac: bytes = field(default=b"", compare=False, repr=False)


REASON_FAULT: Final = "fault"
"""Of an operation in doubt because something is wrong here, and not at the bank."""


class PartState(StrEnum):
    """Where a transaction stands; it leaves RESERVED once."""

    RESERVED = "reserved"
    POSTED = "posted"
    VOIDED = "voided"


class Part(NamedTuple):
    """One transaction of an operation. Amounts in fen, ``payer`` and ``payee`` are member codes.

    ``order_no`` is its own order number, where the operation has several. ``bank_serial`` is the bank's number of its
    posting, where the bank has named one.
    """

    part: int
    serial: Serial
    payer: MemberCode
    payee: MemberCode
    amount_fen: int
    fee_fen: int
    state: PartState
    bank_day: date | None
    corrects: int | None
    order_no: str = ""
    bank_serial: BankSerial = NO_BANK_SERIAL


class Operation(NamedTuple):
    """An operation as the database has it. ``caller`` asked for it, for ``person`` where there is one; both are empty
    for what the bank did by itself, and for what is older than they are.
    """

    id: UUID
    request_id: RequestId
    fingerprint: bytes
    kind: str
    serial: Serial
    state: State
    payer: MemberCode
    payee: MemberCode
    order_no: str
    amount_fen: int
    fee_fen: int
    reason: str
    message: str
    breach: dict[str, Any] | None
    bank_code: str
    bank_message: str
    bank_serial: BankSerial
    bank_day: date | None
    trace_id: str
    plan_text: str
    query_attempts: int
    not_found: int
    next_query_at: datetime | None
    created_at: datetime
    updated_at: datetime
    caller: str = ""
    person: str = ""

    @property
    def plan(self) -> dict[str, Any]:
        """The plan as `NewOperation` gave it; read only where it is needed."""
        plan: dict[str, Any] = json.loads(self.plan_text)
        return plan

    @property
    def plan_digest(self) -> bytes:
        """SHA-256 over serial and plan: the event that opens an operation carries it, and is sealed."""
        return sha256(f"{self.serial}\n{self.plan_text}".encode("utf-8", "replace")).digest()


class FullOperation(NamedTuple):
    """An operation and its parts, read at one moment: its state is that of its parts."""

    operation: Operation
    parts: tuple[Part, ...]

"""Cards of members, as far as the mirror must know them: who has bound which, and how a check under way stands.

What is personal comes here sealed and leaves sealed: this room has no key. ``digest`` is a keyed digest of the card's
number, by which a card is recognised without being opened. A row is one attempt to bind a card, from the bank's check
to the end of the binding; rows are written with the steps of operations, by the writer alone, but for
`ledger.reads.Cards.reseal`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ledger.names import NO_SERIAL, MemberCode, Serial


class CardState(StrEnum):
    """How far a binding is. It leaves CHECKING once, and BOUND for UNBOUND only."""

    CHECKING = "checking"
    BOUND = "bound"
    UNBOUND = "unbound"
    FAILED = "failed"
    """The bank refused the check, or ended it."""
    UNSENT = "unsent"
    """The call that was to begin the check never reached the bank."""


class CheckedBy(StrEnum):
    """How the bank makes sure that a card is its holder's."""

    SMS = "sms"
    PAY_OUT = "pay-out"
    PAY_IN = "pay-in"
    BANK = "bank"
    """Not known here: the card was bound before, and taken over from the bank's list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One binding. The last fields are the ledger's; a step that records a card leaves them out.

    ``serial`` is that of the call that began the check, ``masked`` shows the number's last four digits, ``wrong``
    counts wrong answers, ``pay_in_fen`` is what the holder was told to pay in. Past ``ends_at`` a check can no longer
    succeed. ``age_s`` is how long ago the row was written, ``left_s`` how long the check may still take, both in
    seconds when it was read: the database wrote these times, and is asked what they come to.
    """

    card_id: UUID
    member_id: MemberCode
    key_id: str
    digest: bytes
    sealed: bytes
    masked: str
    bank_type: str
    branch_name: str = ""
    cnaps_no: str = ""
    super_bank_no: str = ""
    checked_by: CheckedBy
    serial: Serial = NO_SERIAL
    state: CardState = CardState.CHECKING
    wrong: int = 0
    pay_in_fen: int = 0
    ends_at: datetime | None = None
    created_at: datetime | None = None
    bound_at: datetime | None = None
    ended_at: datetime | None = None
    age_s: float = field(default=0.0, compare=False)
    left_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChange:
    """What a step changes of a card; what is None stays.

    ``state`` is taken only where `CardState` allows it: a word that comes late undoes nothing. ``life_s`` is how long
    the check may take from now on; ``wrong`` is added.
    """

    card_id: UUID
    state: CardState | None = None
    wrong: int = 0
    life_s: float | None = None
    pay_in_fen: int | None = None
    branch_name: str | None = None
    cnaps_no: str | None = None
    super_bank_no: str | None = None

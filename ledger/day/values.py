"""What reconciliation deals in: files of the bank, their lines, what does not agree, and who has said what about it.

Amounts are in fen. A bank day is a day of the bank's calendar (Asia/Shanghai). Nothing in here names a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

from ledger.names import BankSerial, MemberCode, Serial, SubAccount


class FileType(StrEnum):
    """What the bank says of a day: four files (6103), and four lists, each kept as a file of lines of its own."""

    TOP_UPS = "CZ"
    WITHDRAWALS = "TX"
    TRANSACTIONS = "JY"
    BALANCES = "YE"
    TRANSFERS_IN = "6050"
    RETURNS = "6048"
    CLEARINGS = "6108"
    CHARGES = "6109"


class FileState(StrEnum):
    """How far a type of a bank day is. The first four are those of a day and type without a good file."""

    EXPECTED = "expected"
    NONE = "none"
    """The bank says that nothing of this type happened on the day."""
    LATE = "late"
    DAMAGED = "damaged"
    LOADED = "loaded"
    """Its lines are typed. It stays here while it has not as many as the bank states: then it is not matched."""
    TOTALS_RIGHT = "totals-right"
    MATCHED = "matched"
    CLEAN = "clean"
    BREAKS = "breaks"
    """A break of it is not closed."""
    SIGNED = "signed"


class BreakKind(StrEnum):
    """In which way the bank and the ledger disagree."""

    MISSING_HERE = "missing-here"
    """长款: the bank has a line that no posting of ours is behind."""
    MISSING_THERE = "missing-there"
    """短款: we have posted what the bank does not list."""
    AMOUNT = "amount"
    FEE = "fee"
    MEMBER = "member"
    """Another payer, payee or sub-account than ours."""
    STATE = "state"
    """The bank lists as done what is not done here: it is open, or was refused."""
    DATE_SHIFTED = "date-shifted"
    """日切: the bank lists it on another day than we have posted it on."""
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    BALANCE = "balance"
    """The bank's balance of a sub-account at the end of the day is not the journal's."""


class BreakState(StrEnum):
    """What is to be done about a break; it follows from its events."""

    OPEN = "open"
    CARRIED = "carried"
    """It lies near the day's end: it is raised if the next day's file does not have it either."""
    HELD = "held"
    """Somebody lets it rest until a day."""
    CLOSED = "closed"


class BreakEventKind(StrEnum):
    """What has happened to a break."""

    OPENED = "opened"
    CARRIED = "carried"
    RAISED = "raised"
    """The next file did not have it: from here on it is open."""
    ASSIGNED = "assigned"
    NOTED = "noted"
    """These two are said of it in the queue (`ledger.reads.work`)."""
    HELD = "held"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why a break was closed. The first four close it by themselves."""

    NEXT_FILE = "next-file"
    """The file of the day before or after has it."""
    ENDED = "ended"
    """The operation has ended as the bank says, or was entered since."""
    EXPLAINED = "explained"
    """A difference in a balance that the member's other breaks, of the day and before, add up to."""
    SUPERSEDED = "superseded"
    """A later version of the file no longer has it."""
    ADJUSTED = "adjusted"
    """By an adjustment, which is named."""
    DECIDED = "decided"
    """By a person or caller, with a note."""


@dataclass(frozen=True, slots=True)
class Signatory:
    """Who acts: the caller by its certificate, and the person where there is one."""

    caller: str
    person: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file as it was fetched. ``stated_rows`` is how many lines the bank says it has, None where it does not say."""

    bank_day: date
    type: FileType
    name: str
    stated_rows: int | None = None


Content: TypeAlias = Callable[[], Iterator[bytes]]
"""Gives the plain bytes of a file in pieces, from its beginning each time it is called. Called in a thread."""


class Reading(Protocol):
    """Reads the lines of a file that SQL leaves to Python. Called in a thread, for such lines alone."""

    def is_header(self, line: bytes) -> bool:
        """Whether the first line names the columns."""

    def fields(self, columns: int, line: bytes) -> tuple[str, ...] | str:
        """The fields of a line that is not plain (another number of columns, bytes that are not GB18030), as many as
        the file has columns; or the reason for which there are none.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BankFile:
    """A version of a file. Of a bank day and type the one with the highest version counts."""

    file_id: int
    bank_day: date
    type: FileType
    version: int
    sha256: bytes
    size: int
    name: str
    stated_rows: int | None
    rows: int
    """Lines, good and bad."""
    bad_rows: int
    repaired_rows: int
    amount_fen: int
    fee_fen: int
    """The sums of its good lines."""
    state: FileState
    loaded_at: datetime
    matched_at: datetime | None
    is_current: bool
    """Whether there is no later version."""


class Piece(NamedTuple):
    """A piece of what is kept of a file, encrypted under the key of that name; ``digest`` is the SHA-256 of the plain
    bytes, which zlib has compressed before they were encrypted.
    """

    key_id: str
    digest: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a file. ``did`` is False where this very content was there: then nothing was changed."""

    file: BankFile
    did: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A time at which no good file was had: NONE, LATE or DAMAGED, and why."""

    bank_day: date
    type: FileType
    state: FileState
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFile:
    """One type of a bank day: its state, the file that counts, and what was tried last."""

    type: FileType
    state: FileState
    file: BankFile | None
    last_attempt: Attempt | None
    breaks: int
    """Breaks that are not closed."""
    matched_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOff:
    """One of the two signatures under a day. ``statement`` is what was signed, as JSON; ``digest`` its SHA-256."""

    bank_day: date
    digest: bytes
    place: int
    caller: str
    person: str
    note: str
    at: datetime
    statement: str
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A bank day. It is signed once two have signed it as it stands; what changes it later asks for two again."""

    bank_day: date
    files: tuple[DayFile, ...]
    signatures: tuple[SignOff, ...]

    @property
    def is_signed(self) -> bool:
        """Whether the day stands signed by two."""
        return len(self.signatures) == 2


class LineState(StrEnum):
    """What became of a line."""

    MATCHED = "matched"
    OUTSIDE = "outside"
    """Of money that is in no account of the books, such as the bank's own charges: nothing is to match it."""
    DIFFERS = "differs"
    """Its posting is known, and is not as the bank has it."""
    UNMATCHED = "unmatched"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class BankLine:
    """A line of a file, without names. ``operation_id`` and ``part`` are the posting behind it, if one was found.

    Files with one member to a line (CZ, TX, YE, lists) have it as the payee, TX as the payer.
    """

    file_id: int
    line: int
    digest: bytes
    """SHA-256 over the line without its end, in UTF-8, or as it came where it is not GB18030. Empty for a line of which
    there is nothing to say.
    """
    state: LineState
    fault: str
    """Why it could not be read; empty for a good line."""
    is_repaired: bool
    serial: Serial
    bank_serial: BankSerial
    payer: MemberCode
    payer_sub_account: SubAccount
    payee: MemberCode
    payee_sub_account: SubAccount
    amount_fen: int | None
    fee_fen: int | None
    day: date | None
    time: time | None
    order_no: str
    booking: str
    operation_id: UUID | None
    part: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Something on which the bank and the ledger disagree. It keeps its id over all versions of its file.

    ``bank_fen`` is None where the bank has nothing, ``ledger_fen`` where the ledger has nothing; of a fee they are
    the fees. ``line`` is its place in the version that counts, None where that has no such line.
    """

    break_id: UUID
    bank_day: date
    type: FileType
    kind: BreakKind
    bank_fen: int | None
    ledger_fen: int | None
    file_id: int | None
    line: int | None
    digest: bytes
    operation_id: UUID | None
    part: int | None
    operation_kind: str
    serial: Serial
    bank_serial: BankSerial
    member: MemberCode
    sub_account: SubAccount
    detail: str
    opened_at: datetime
    state: BreakState
    owner: str
    note: str
    """The last that somebody has noted of it."""
    held_until: date | None
    close_reason: CloseReason | None
    updated_at: datetime
    file_sha256: bytes | None
    """Of the version that has its line."""
    adjusted_fen: int
    """What its adjustments have moved, on the whole, and nothing explains yet: below zero for what accounts have got.
    """

    @property
    def adjustable_fen(self) -> int:
        """The most that adjustments may have moved for it, on the whole: what differs. A booking for another member
        differs by all of it; one on another day, or a line that nobody can read, by nothing that could be posted.
        """
        match self.kind:
            case BreakKind.DATE_SHIFTED | BreakKind.UNREADABLE:
                return 0
            case BreakKind.MEMBER:
                return max(self.bank_fen or 0, self.ledger_fen or 0)
            case _:
                return abs(self.difference_fen)

    @property
    def difference_fen(self) -> int:
        """How much more the bank has than the ledger."""
        return (self.bank_fen or 0) - (self.ledger_fen or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEvent:
    """What has happened to a break. ``caller`` is empty for what happened by itself, and ``mac`` as well."""

    number: int
    break_id: UUID
    kind: BreakEventKind
    caller: str
    person: str
    owner: str
    note: str
    until: date | None
    reason: CloseReason | None
    operation_id: UUID | None
    at: datetime
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakFilter:
    """Which breaks are wanted; what is left out does not narrow."""

    first_day: date | None = None
    last_day: date | None = None
    types: Iterable[FileType] = ()
    kinds: Iterable[BreakKind] = ()
    states: Iterable[BreakState] = ()
    owner: str = ""
    member: str = ""
    operation_id: UUID | None = None
    min_difference_fen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """A sub-account's available money on a bank day, from the books alone: opening + credits - debits = closing.

    ``closing_fen`` is computed on a way of its own (backwards from the present balance). ``bank_fen`` is what YE says,
    None where it has no such line. The row of the pooled account has an empty sub-account.
    """

    sub_account: SubAccount
    member: MemberCode
    opening_fen: int
    credit_fen: int
    debit_fen: int
    closing_fen: int
    bank_fen: int | None

    @property
    def is_proved(self) -> bool:
        """Whether what was there, what came and what went make up what is left."""
        return self.opening_fen + self.credit_fen - self.debit_fen == self.closing_fen

"""What can go wrong in the mirror, as values with their amounts.

    LedgerError
    ├── FloorBroken        a debit would take an account below its floor; nothing was written
    ├── RequestIdReused    the request id is known with other content; nothing was written
    ├── ReopeningUnproved  the request id is that of a released operation, and nobody has looked whether it was released
    ├── ProposerApproves   PostgreSQL has refused an approval by the identity that has proposed; nothing was written
    ├── OperationUnknown   there is no such operation
    ├── LedgerBusy         the writer's queue is full; nothing was written
    ├── DeadlinePassed     the step's time was over before its turn came; nothing was written
    ├── LedgerUnavailable  PostgreSQL cannot be reached; whether the last commit happened is looked up by the caller
    │   └── LedgerUnfit    it can be reached, and cannot be used as it is set up: the setting or revision is named
    ├── LedgerBehind       the books are older than the bank, restored or of an older server; nothing was written
    └── LedgerCorrupt      the journal contradicts itself: stop and run `jzb verify`
        ├── OpeningForged  an operation is not as this service opened it: it is not carried on
        └── MemberForged   a member has another sub-account than this service recorded: nothing is done with it

Messages are made at the edge (service); here they are for logs and tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.operations import Operation


class LedgerError(Exception):
    """Any refusal or failure of the mirror."""


@dataclass(frozen=True, slots=True)
class Breach:
    """Which floor a step would have broken.

    ``pocket`` is a `Kind` value, or ``available`` for spendable money of a sub-account taken together. Amounts in fen:
    ``needed`` is the whole demand of the step on that account, ``left`` what it could still give, held amounts counted.
    """

    pocket: str
    owner: str
    ref: str
    needed_fen: int
    left_fen: int


class FloorBroken(LedgerError):
    """A debit would take an account below its floor."""

    def __init__(self, breach: Breach, operation: Operation | None = None) -> None:
        self.breach = breach
        self.operation = operation
        where = ":".join(p for p in (breach.pocket, breach.owner, breach.ref) if p)
        super().__init__(f"{where} can give {breach.left_fen} fen, {breach.needed_fen} fen are needed")


class ProposerApproves(LedgerError):
    """PostgreSQL has refused an approval by the identity that has proposed."""


class RequestIdReused(LedgerError):
    """The request id was used before with other content."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        super().__init__(f"request id {operation.request_id} was used before with other content")


class ReopeningUnproved(LedgerError):
    """The request id is that of an operation which is said to be released, so that it would be opened anew: whether its
    seals say so, too, comes first (`ledger.proofs`).
    """

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"{operation.id} is to be opened anew, and nobody has looked whether it was released")
        self.operation = operation


class OperationUnknown(LedgerError):
    """There is no such operation on this platform."""


class LedgerBusy(LedgerError):
    """The writer's queue is full; nothing was written."""


class DeadlinePassed(LedgerError):
    """The caller of a new operation was gone before it was judged; nothing was written."""


class LedgerUnavailable(LedgerError):
    """PostgreSQL cannot be reached. A commit that was under way may or may not have happened."""


class LedgerUnfit(LedgerUnavailable):
    """The server, the database or its schema is not one that these books can be kept in; nothing was written.

    Waiting does not mend it. The message names what was found and what is needed.
    """


class LedgerBehind(LedgerError):
    """The books are older than the bank: restored from a copy, or those of a server that was left behind."""

    @classmethod
    def restored(cls, behind_since: datetime) -> LedgerBehind:
        """Of books that were restored from a copy of that time."""
        return cls(
            f"these books were restored from a copy of {behind_since:%Y-%m-%d %H:%M:%S %Z}, and the bank has gone on:"
            " run `jzb catch-up` first"
        )


class LedgerCorrupt(LedgerError):
    """The journal contradicts itself."""


class OpeningForged(LedgerCorrupt):
    """An operation's serial, plan or content is not what it was opened with, or nobody with the keys has opened it."""


class MemberForged(LedgerCorrupt):
    """A member's sub-account, kind or state is not what somebody with the keys has recorded."""

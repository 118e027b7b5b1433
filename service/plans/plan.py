"""A plan: what one request does to the mirror, what it says to the bank, and what each answer means.

Plans are values made by pure functions from a request, facts that cannot change under them (members, orders, payments)
and serials. The runner takes any plan; what a later process needs of it is stored with the operation as JSON, free of
personal data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import Enum
from typing import Any, Literal

from bankclient import REQUESTS, AcquiringChannel, Request, consumer_serial, row_serial, to_wire
from jzb.v1.names import OperationKind
from ledger import Account, Available, Card, Draft, Member, draft_from_json, draft_to_json
from ledger.accounts import POCKETS, standing
from ledger.rules import Source


@dataclass(frozen=True, slots=True)
class StatusAsk:
    """Ask 6110 for the state of a money call. ``flag``: 2 member transactions, 3 withdrawals, 4 top-ups.

    With ``by_part`` each part of the plan is asked for by its own serial (6216, whose rows end one by one); without it
    the whole call has one state.
    """

    flag: Literal["2", "3", "4"]
    by_part: bool = False


@dataclass(frozen=True, slots=True)
class MemberAsk:
    """Ask 6092 whether the member has a sub-account: what settles a lost answer of 6000."""

    member_id: str
    property: str
    opening: bool


@dataclass(frozen=True, slots=True)
class SweepAsk:
    """Nothing to ask: the bank has cleared ``bank_day``, and waiting money up to it is yet to be moved over."""

    bank_day: date


@dataclass(frozen=True, slots=True)
class ResendAsk:
    """Ask 6110 as `StatusAsk` does; but once the bank has said that the call is to be sent again, send it again.

    Quick start, 6164: "searching the history, try again later". The message is kept as it went over the wire, so that
    any process can send it; it must be free of personal data.
    """

    flag: Literal["2"]
    interface: str
    fields: dict[str, object]

    @classmethod
    def of(cls, flag: Literal["2"], message: Request[Any]) -> ResendAsk:
        """How to carry on a call that is this message."""
        return cls(flag, message.code, to_wire(message))

    def message(self) -> Request[Any]:
        """The message to send again; with the same serial it acts once."""
        return REQUESTS[self.interface].from_wire(self.fields)


@dataclass(frozen=True, slots=True)
class BookedAsk:
    """Look for the parts in the payer's list of successes (6072): for 6031 and the batches, which 6110 does not promise
    to know. `service.questions.statement` says how they are recognised.
    """

    sub_account: str


def noted(order_no: str, serial: str, remark: str) -> str:
    """The Remark by which `BookedAsk` finds a part again: order number, serial, and the caller's note."""
    return f"{order_no} {serial} {remark}".rstrip()


@dataclass(frozen=True, slots=True)
class ReturnAsk:
    """Ask 6048 which withdrawal came back on ``bank_day`` with this bank serial: on the day itself it does not say."""

    bank_day: date
    bank_serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAsk:
    """Ask 6098 for the cards of the sub-account: what settles 6066, 6067, 6064, 6065, 6138 and 6055.

    ``does`` is what the call does to the card. ``life_s`` is how long a check that it begins may take. Of a pay-out
    (6055) 6061 is asked first. A correction is done when 6098 shows its routing numbers and the name of its branch.
    """

    sub_account: str
    card_id: str
    does: Literal["check", "confirm", "unbind", "correct"]
    life_s: float = 0.0
    pays_out: bool = False
    branch_name: str = ""
    cnaps_no: str = ""
    super_bank_no: str = ""


@dataclass(frozen=True, slots=True)
class MobileAsk:
    """Ask 6098 whether a row of the sub-account has the new mobile, which only its keyed digest tells here (6084)."""

    sub_account: str
    digest: str


@dataclass(frozen=True, slots=True)
class SameNameAsk:
    """Ask 6092 whether both members have their sub-accounts: what settles 6167."""

    ordinary: str
    merchant: str


@dataclass(frozen=True, slots=True)
class AcquiredShare:
    """One share of an acquired order as the request has it: its number at the bank, and what the bank should credit.

    ``holds_fee`` says that the fee stays frozen with the rest until a release or payment.
    """

    order_no: str
    sub_account: str
    amount_fen: int
    fee_fen: int
    is_frozen: bool
    holds_fee: bool = False


@dataclass(frozen=True, slots=True)
class AcquiredAsk:
    """Ask 6146 for every share; when the bank misses one, send 6147 with the operation's serial and ask again.

    It is how such an operation is carried out, the first time and every later time (`service.questions.acquiring`).
    """

    channel: AcquiringChannel
    order_no: str
    amount_fen: int
    shares: tuple[AcquiredShare, ...]


@dataclass(frozen=True, slots=True)
class RebookAsk:
    """Ask 6146 whether the order is with ``sub_account`` now: what settles 6145."""

    channel: AcquiringChannel
    order_no: str
    sub_account: str


Ask = (
    StatusAsk
    | MemberAsk
    | SweepAsk
    | ResendAsk
    | BookedAsk
    | ReturnAsk
    | CardAsk
    | MobileAsk
    | SameNameAsk
    | AcquiredAsk
    | RebookAsk
)


ORIGINAL = "original"
"""In `Plan.keep`: the serial of what the call takes or gives back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One money call.

    ``drafts`` are pending from the reservation and posted when the bank has acted. ``then`` are the drafts that become
    pending with that and wait for the bank's final word (withdrawals): posted when it is good; when it is bad they are
    voided and ``undo`` gives the drafts that take ``drafts`` back. ``keep`` is what later calls about this one need and
    nothing else remembers: the channel of a top-up, the serial of the original. ``card`` is recorded with the
    reservation. By ``channel_no``, the channel's transaction number, the operation is found. ``with_members`` are
    sub-accounts that it is about though it moves nothing of theirs yet.
    """

    kind: OperationKind
    message: Request[Any]
    drafts: tuple[Draft, ...]
    ask: Ask
    then: tuple[Draft, ...] = ()
    undo: tuple[Draft, ...] = ()
    payer: str = ""
    payee: str = ""
    order_no: str = ""
    amount_fen: int = 0
    fee_fen: int = 0
    keep: Mapping[str, Any] = field(default_factory=dict)
    card: Card | None = None
    channel_no: str = ""
    with_members: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[Account, ...]:
        """What must be there when it is reserved: the standing of every member that it is about.

        A member may be closed between the moment its facts were read and this one.
        """
        sides = (side for draft in (*self.drafts, *self.then) for leg in draft.legs for side in (leg.debit, leg.credit))
        about = dict.fromkeys((*filter(None, map(_member_of, sides)), *self.with_members))
        return tuple(standing(sub_account) for sub_account in about)

    @property
    def stored(self) -> Stored:
        """What is kept of the plan with the operation."""
        return Stored(self.drafts, self.then, self.undo, self.ask, self.keep)


def _member_of(side: Source) -> str:
    """The sub-account whose pocket it is, or nothing."""
    if isinstance(side, Available):
        return side.sub_account
    return side.owner if side.kind in POCKETS else ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A plan as the operation keeps it: enough to settle it without the request."""

    drafts: tuple[Draft, ...]
    then: tuple[Draft, ...]
    undo: tuple[Draft, ...]
    ask: Ask
    keep: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        match self.ask:
            case StatusAsk(flag, by_part):
                ask: dict[str, Any] = {"by": "status", "flag": flag, "by_part": by_part}
            case MemberAsk(member_id, member_property, opening):
                ask = {"by": "member", "member_id": member_id, "property": member_property, "opening": opening}
            case SweepAsk(bank_day):
                ask = {"by": "sweep", "bank_day": bank_day.isoformat()}
            case ResendAsk(flag, interface, fields):
                ask = {"by": "resend", "flag": flag, "interface": interface, "fields": fields}
            case BookedAsk(sub_account):
                ask = {"by": "booked", "sub_account": sub_account}
            case ReturnAsk(bank_day, bank_serial):
                ask = {"by": "return", "bank_day": bank_day.isoformat(), "bank_serial": bank_serial}
            case CardAsk() | MobileAsk() | SameNameAsk() | RebookAsk():
                ask = {"by": _BY_FIELDS[type(self.ask)], **asdict(self.ask)}
            case AcquiredAsk():
                ask = {"by": "acquired", **asdict(self.ask)}
        plan: dict[str, Any] = {"ask": ask, "drafts": [draft_to_json(draft) for draft in self.drafts]}
        if self.then:
            plan["then"] = [draft_to_json(draft) for draft in self.then]
            plan["undo"] = [draft_to_json(draft) for draft in self.undo]
        if self.keep:
            plan["keep"] = dict(self.keep)
        return plan

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Stored:
        """The plan that `to_json` wrote."""
        return cls(
            tuple(draft_from_json(draft) for draft in value["drafts"]),
            tuple(draft_from_json(draft) for draft in value.get("then", ())),
            tuple(draft_from_json(draft) for draft in value.get("undo", ())),
            _ask_from_json(value["ask"]),
            value.get("keep", {}),
        )


_BY_FIELDS: dict[type[CardAsk | MobileAsk | SameNameAsk | RebookAsk], str] = {
    CardAsk: "card",
    MobileAsk: "mobile",
    SameNameAsk: "same-name",
    RebookAsk: "rebook",
}
"""The questions whose fields are plain JSON."""


def _ask_from_json(value: dict[str, Any]) -> Ask:
    match value["by"]:
        case "status":
            return StatusAsk(value["flag"], value["by_part"])
        case "member":
            return MemberAsk(value["member_id"], value["property"], value["opening"])
        case "sweep":
            return SweepAsk(date.fromisoformat(value["bank_day"]))
        case "resend":
            return ResendAsk(value["flag"], value["interface"], value["fields"])
        case "booked":
            return BookedAsk(value["sub_account"])
        case "return":
            return ReturnAsk(date.fromisoformat(value["bank_day"]), value["bank_serial"])
        case "acquired":
            shares = tuple(AcquiredShare(**share) for share in value["shares"])
            return AcquiredAsk(value["channel"], value["order_no"], value["amount_fen"], shares)
        case by:
            found = next((kind for kind, name in _BY_FIELDS.items() if name == by), None)
            if found is None:
                raise ValueError(f"no plan asks by {by}")
            return found(**{name: field for name, field in value.items() if name != "by"})


class Word(Enum):
    """What the bank says of a call when it is asked."""

    DONE = "done"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    """Taken, not final."""
    NOT_FOUND = "not found"
    """No such record: several times, far enough apart, it means that nothing happened."""
    AGAIN = "again"
    """Nothing has happened yet: the same call is to be sent again, with the same serial."""
    SILENT = "silent"
    """The question itself failed."""


SEND_AGAIN = "send-again"
"""The reason of an UNKNOWN operation that the bank wants again (`Word.AGAIN`)."""

STILL_NEEDED = "still-needed"
"""The reason of a RELEASED closing whose member was found to be needed when it was reserved."""

STOPPED = "stopped"
"""The reason of an UNKNOWN operation whose process stopped before the bank had answered."""

FAULT = "fault"
"""The reason of an UNKNOWN operation whose process met an error that nobody foresaw, between reserving and settling."""

ORDER_DIFFERS = "order-differs"
"""The reason of a REFUSED entry of an acquired order that the bank has booked otherwise than the request says."""


@dataclass(frozen=True, slots=True)
class Serials:
    """The numbers of one call: its CnsmrSeqNo, and as many row serials as it has rows. None is ever used twice."""

    own: str
    rows: tuple[str, ...] = ()

    @classmethod
    def make(cls, uid: str, day: date, numbers: Sequence[int]) -> Serials:
        """Serials of ``day`` from numbers nobody has had: the first is the call's, the others its rows'."""
        first, *others = numbers
        return cls(consumer_serial(uid, day, first % 10**10), tuple(row_serial(day, number) for number in others))


@dataclass(frozen=True, slots=True)
class Names:
    """The account names of a payment's two sides as the bank has them: asked for where an interface wants them (6006,
    6031), sent, and never stored.
    """

    payer: str | None = None
    payee: str | None = None

    def __repr__(self) -> str:
        return "Names(***)"


NAMELESS = Names()


@dataclass(frozen=True, slots=True)
class Facts:
    """The members that a plan names, by code, each open and fit for its place."""

    members: dict[str, Member]

    def sub_account(self, member_id: str) -> str:
        """A member's sub-account number at the bank."""
        return self.members[member_id].sub_account

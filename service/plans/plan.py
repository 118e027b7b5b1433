"""A plan: what one request does to the mirror, what it says to the bank, and what each answer means; or a `Movement`
alone, which says nothing to the bank.

Plans are values made by pure functions from a request, facts that cannot change under them (members, orders, payments)
and serials. The runner takes any plan; what a later process needs of it is stored with the operation as JSON, free of
personal data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Self

from bankclient import Request, consumer_serial, row_serial
from jzb.v1.names import OperationKind
from ledger import Account, AdjustedBreak, Available, Card, Draft, Leg, Member, draft_from_json, draft_to_json
from ledger.accounts import LIMITS, POCKETS, allowance, standing
from ledger.names import NO_MEMBER_CODE, NO_SERIAL, NO_SUB_ACCOUNT, MemberCode, Serial, SubAccount
from ledger.rules import Source
from service.questions.query import OutcomeQuery, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What a request moves in the mirror, and between whom. By itself it is posted at once, by the hand of two people.

    ``drafts`` of a plan are pending from the reservation and posted when the bank has acted. ``then`` are the drafts
    that become pending with that and wait for the bank's final word (withdrawals): posted when it is good; when it is
    bad they are voided and ``undo`` gives the drafts that take ``drafts`` back. ``keep`` is what later calls about this
    one need and nothing else remembers: the channel of a top-up, the serial of the original. ``found_by`` are kinds and
    values of `reference` by which the operation is found. ``adjusts`` is closed with the posting. ``bank_day`` is
    that of the posting, where it is not the one that the clock says. ``with_members`` are sub-accounts that it is about
    though it moves nothing of theirs yet.
    """

    kind: OperationKind
    drafts: tuple[Draft, ...] = ()
    then: tuple[Draft, ...] = ()
    undo: tuple[Draft, ...] = ()
    payer: MemberCode = NO_MEMBER_CODE
    payee: MemberCode = NO_MEMBER_CODE
    order_no: str = ""
    amount_fen: int = 0
    fee_fen: int = 0
    keep: Mapping[str, Any] = field(default_factory=dict)
    found_by: tuple[tuple[str, str], ...] = ()
    with_members: tuple[SubAccount, ...] = ()
    adjusts: AdjustedBreak | None = None
    bank_day: date | None = None

    def moving(self, legs: Iterable[Leg], serial: Serial = NO_SERIAL) -> Self:
        """The same with one draft, between its own parties and of its own amounts."""
        draft = Draft(tuple(legs), serial, self.payer, self.payee, self.amount_fen, self.fee_fen)
        return replace(self, drafts=(draft,))

    def counted(self, who: Sequence[str], bank_day: date) -> Self:
        """The same, with what it moves counted for these names: held with it, given back if it has no effect."""

        def count(draft: Draft, back: bool = False) -> Draft:
            counts = [allowance(one, bank_day) for one in who if draft.amount_fen]
            legs = (
                Leg(LIMITS, one, draft.amount_fen) if back else Leg(one, LIMITS, draft.amount_fen) for one in counts
            )
            return replace(draft, legs=(*draft.legs, *legs))

        # What comes after the bank has acted (``then``) moves the same money on.
        undo = tuple(count(draft, back=True) for draft in self.undo)
        return replace(self, drafts=tuple(count(draft) for draft in self.drafts), undo=undo)

    @property
    def moved_fen(self) -> int:
        """All that it moves: the amount, and what comes on top of it, such as the fee of a withdrawal."""
        return max(self.amount_fen, sum(draft.amount_fen for draft in self.drafts))

    @property
    def needs(self) -> tuple[Account, ...]:
        """What must be there when it is reserved: the standing of every member that it is about.

        A member may be closed between the moment its facts were read and this one.
        """
        sides = (side for draft in (*self.drafts, *self.then) for leg in draft.legs for side in (leg.debit, leg.credit))
        about = dict.fromkeys((*filter(None, map(_member_of, sides)), *self.with_members))
        return tuple(standing(sub_account) for sub_account in about)

    def to_json(self) -> dict[str, Any]:
        """What is kept of it with the operation."""
        return {"drafts": [draft_to_json(draft) for draft in self.drafts], "keep": dict(self.keep)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Movement):
    """One money call. ``query`` finds out what became of it when its answer is lost. ``card`` is recorded with the
    reservation.
    """

    message: Request[Any]
    query: OutcomeQuery
    card: Card | None = None

    @property
    def stored(self) -> Stored:
        """What is kept of the plan with the operation."""
        return Stored(self.drafts, self.then, self.undo, self.query, self.keep)

    def to_json(self) -> dict[str, Any]:
        """See `Movement.to_json`."""
        return self.stored.to_json()


def _member_of(side: Source) -> SubAccount:
    """The sub-account whose pocket it is, or nothing."""
    if isinstance(side, Available):
        return side.sub_account
    return side.owner if side.kind in POCKETS else NO_SUB_ACCOUNT


@dataclass(frozen=True, slots=True)
class Stored:
    """A plan as the operation keeps it: enough to settle it without the request."""

    drafts: tuple[Draft, ...]
    then: tuple[Draft, ...]
    undo: tuple[Draft, ...]
    query: Query
    keep: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        plan: dict[str, Any] = {"ask": self.query.to_json(), "drafts": [draft_to_json(draft) for draft in self.drafts]}
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
            Query.from_json(value["ask"]),
            value.get("keep", {}),
        )


@dataclass(frozen=True, slots=True)
class Serials:
    """The numbers of one call: its CnsmrSeqNo, and as many row serials as it has rows. None is ever used twice."""

    own: Serial
    rows: tuple[Serial, ...] = ()

    @classmethod
    def make(cls, uid: str, day: date, numbers: Sequence[int]) -> Serials:
        """Serials of ``day`` from numbers nobody has had: the first is the call's, the others its rows'."""
        first, *others = numbers
        own = Serial(consumer_serial(uid, day, first % 10**10))
        return cls(own, tuple(Serial(row_serial(day, number)) for number in others))


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

    members: dict[MemberCode, Member]

    def sub_account(self, member_id: MemberCode) -> SubAccount:
        """A member's sub-account number at the bank."""
        return self.members[member_id].sub_account

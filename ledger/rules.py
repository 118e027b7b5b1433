"""The one place where money is judged: pure functions over balances, no clock, no database.

A *draft* is a transaction to be: legs that each move an amount from one account to another, so that they sum to
zero by construction. `reserve` holds what its legs will take, `post` moves it, `void` lets it go, `enter` does both
at once; `require` only looks. All of them work on a `Book`, the balances of the accounts that a batch touches, and
change it only when they succeed.

Two sides of a leg may be known only when it is judged: `Available` (whichever pockets of a member hold spendable money)
is resolved when it is reserved, `OfDay` (the account of the bank day on which the bank booked) when it is posted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, NamedTuple

from ledger import accounts
from ledger.accounts import Account, Kind
from ledger.errors import Breach, FloorBroken, LedgerCorrupt
from ledger.names import (
    NO_BANK_SERIAL,
    NO_MEMBER_CODE,
    NO_SERIAL,
    NO_SUB_ACCOUNT,
    BankSerial,
    MemberCode,
    Serial,
    SubAccount,
)

AMOUNT_MAX_FEN = 10**15
"""Above the bank's longest amount, 13 digits and 2 decimals; keeps every sum far inside int64."""

SpendOrder = Literal["waiting_first", "withdrawable_first"]


class Available(NamedTuple):
    """Debit side: spendable money of a sub-account, from its pockets in the platform's spend order."""

    sub_account: SubAccount


class OfDay(NamedTuple):
    """Either side: the account of ``kind`` and ``owner`` that belongs to the bank day of the posting.

    On the debit side only a kind without a floor: a hold is on an account that is known.
    """

    kind: Kind
    owner: SubAccount = NO_SUB_ACCOUNT

    def on(self, bank_day: date) -> Account:
        """The account it stands for when the bank booked on ``bank_day``."""
        return Account(self.kind, self.owner, accounts.day_text(bank_day))


Source = Account | Available | OfDay
Target = Account | OfDay


@dataclass(frozen=True, slots=True)
class Leg:
    """``amount_fen`` (> 0) goes from ``debit`` to ``credit``."""

    debit: Source
    credit: Target
    amount_fen: int

    def __post_init__(self) -> None:
        if not 0 < self.amount_fen <= AMOUNT_MAX_FEN:
            raise ValueError(f"a leg moves 1 to {AMOUNT_MAX_FEN} fen, not {self.amount_fen}")
        if isinstance(self.debit, OfDay) and self.debit.kind in accounts.FLOORS:
            raise ValueError(f"{self.debit.kind} has a floor: what it gives must be known when it is reserved")


@dataclass(frozen=True, slots=True)
class Draft:
    """A transaction before it has a place in the journal.

    ``serial`` is the number under which the bank knows it (CnsmrSeqNo, or the serial of a row) and a refund names
    it; ``amount_fen`` is gross, ``fee_fen`` the part of it that is the platform's; ``payer`` and ``payee`` are
    member codes. ``corrects`` is the part of the same operation that this draft takes back. ``order_no`` is the order
    of this draft where the operation has several. ``bank_serial`` is the bank's number of the booking (FrontSeqNo): it
    is known only when the draft is posted, so no plan has it.
    """

    legs: tuple[Leg, ...]
    serial: Serial = NO_SERIAL
    payer: MemberCode = NO_MEMBER_CODE
    payee: MemberCode = NO_MEMBER_CODE
    amount_fen: int = 0
    fee_fen: int = 0
    corrects: int | None = None
    order_no: str = ""
    bank_serial: BankSerial = NO_BANK_SERIAL


class Hold(NamedTuple):
    """``amount_fen`` of ``account`` is spoken for."""

    account: Account
    amount_fen: int


class Cap(NamedTuple):
    """Of ``account``, which begins at zero, no more than ``limit_fen`` may be taken in all, ``amount_fen`` now."""

    account: Account
    amount_fen: int
    limit_fen: int


class Posting(NamedTuple):
    """A leg with both accounts known, as the journal keeps it."""

    debit: Account
    credit: Account
    amount_fen: int


@dataclass(slots=True)
class Balance:
    """An account's state, in fen.

    ``is_known`` when it began as the database has it (or has it not), else it counts from zero and is only ever added
    to; ``is_stored`` when the database has a row for it. ``written_fen`` and ``written_held_fen`` are as last written.
    """

    account: Account
    balance_fen: int = 0
    held_fen: int = 0
    is_known: bool = False
    is_stored: bool = False
    written_fen: int = 0
    written_held_fen: int = 0

    @property
    def remaining_fen(self) -> int:
        """How much may still be debited; meaningless for an account without a floor."""
        return self.balance_fen - self.held_fen - (self.account.floor or 0)


@dataclass(slots=True)
class Book:
    """The balances that a batch touches. ``cleared_through`` is the last bank day that the bank has cleared."""

    cleared_through: date | None = None
    spend_order: SpendOrder = "waiting_first"
    balances: dict[Account, Balance] = field(default_factory=dict)
    touched: set[Account] = field(default_factory=set)
    pockets: dict[str, list[Balance]] = field(default_factory=dict)

    def add(self, state: Balance) -> None:
        """Take in an account as the database has it."""
        account = state.account
        if account in self.balances:
            return
        self.balances[account] = state
        if account.kind in (Kind.UNCLEARED, Kind.WITHDRAWABLE):
            pockets = self.pockets.setdefault(account.owner, [])
            pockets.append(state)
            if len(pockets) > 1:
                pockets.sort(key=self._spend_rank)

    def of(self, account: Account) -> Balance:
        """The state of an account; one that was never touched is empty."""
        state = self.balances.get(account)
        if state is None:
            state = Balance(account)
            self.add(state)
        return state

    def available_fen(self, sub_account: SubAccount) -> int:
        """Spendable money of a sub-account, holds taken off."""
        return sum(p.remaining_fen for p in self.pockets.get(sub_account, ()))

    def is_cleared(self, account: Account) -> bool:
        """Whether what arrives in this uncleared pocket is withdrawable at once, its day being cleared."""
        return (
            account.kind is Kind.UNCLEARED and self.cleared_through is not None and account.day <= self.cleared_through
        )

    def change(self, account: Account, balance_fen: int = 0, held_fen: int = 0) -> None:
        """Apply a change that was judged before."""
        state = self.of(account)
        state.balance_fen += balance_fen
        state.held_fen += held_fen
        self.touched.add(account)

    def _spend_rank(self, state: Balance) -> tuple[bool, str]:
        is_last = (state.account.kind is Kind.WITHDRAWABLE) == (self.spend_order == "waiting_first")
        return is_last, state.account.ref


def reserve(book: Book, drafts: Sequence[Draft]) -> list[list[Hold]]:
    """Hold what the drafts will take, all of them or none; one list of holds for each draft.

    Raises `FloorBroken` with the whole demand of the step on the first account that cannot give it.
    """
    for source, needed_fen in _demand_of(leg for draft in drafts for leg in draft.legs).items():
        _require(book, source, needed_fen)

    holds: list[list[Hold]] = []
    try:
        for draft in drafts:
            taken: list[Hold] = []
            holds.append(taken)
            # Named accounts first: an Available of the same member takes from what they leave.
            for source, needed_fen in sorted(
                _demand_of(draft.legs).items(), key=lambda one: isinstance(one[0], Available)
            ):
                _require(book, source, needed_fen)
                for hold in _allocate(book, source, needed_fen):
                    book.change(hold.account, held_fen=hold.amount_fen)
                    taken.append(hold)
            taken[:] = _merged(taken)
    except FloorBroken:
        for taken in holds:
            void(book, taken)
        raise
    return holds


def require(book: Book, needs: Iterable[Account]) -> None:
    """Judge that each of these accounts has something left, and take nothing. Raises `FloorBroken`."""
    for account in needs:
        _require(book, account, 1)


def require_within(book: Book, caps: Iterable[Cap]) -> None:
    """Judge that no account gives more than its cap, and take nothing. Raises `FloorBroken`."""
    for account, amount_fen, limit_fen in caps:
        state = book.of(account)
        left_fen = max(0, limit_fen + state.balance_fen - state.held_fen)
        if amount_fen > left_fen:
            raise FloorBroken(Breach(account.kind.value, account.owner, account.ref, amount_fen, left_fen))


def post(book: Book, draft: Draft, holds: Iterable[Hold], bank_day: date) -> list[Posting]:
    """Turn holds into postings on ``bank_day``.

    Raises `LedgerCorrupt` when the holds are not those of the draft.
    """
    held_fen = {hold.account: hold.amount_fen for hold in holds}
    taken = {
        index: _from_holds(held_fen, leg, bank_day)
        for index, leg in sorted(enumerate(draft.legs), key=lambda one: isinstance(one[1].debit, Available))
    }
    postings: list[Posting] = []
    for index, leg in enumerate(draft.legs):
        credit = _on_day(book, leg.credit, bank_day)
        for debit, amount_fen in taken[index]:
            if debit != credit:
                postings.append(Posting(debit, credit, amount_fen))
            book.change(debit, balance_fen=-amount_fen, held_fen=-amount_fen if debit.floor is not None else 0)
            book.change(credit, balance_fen=amount_fen)
    if any(held_fen.values()):
        raise LedgerCorrupt(f"{held_fen} is held for {draft.serial} but no leg takes it")
    return postings


def void(book: Book, holds: Iterable[Hold]) -> None:
    """Let holds go; nothing moves."""
    for hold in holds:
        book.change(hold.account, held_fen=-hold.amount_fen)


def enter(book: Book, draft: Draft, bank_day: date) -> tuple[list[Hold], list[Posting]]:
    """Reserve and post at once, for what the bank has already done. Raises `FloorBroken`."""
    (holds,) = reserve(book, (draft,))
    return holds, post(book, draft, holds, bank_day)


def sweep(book: Book, holds: Iterable[Hold]) -> Draft | None:
    """What a void owes to a clearing that happened meanwhile.

    Money whose day was cleared while it was held stayed in its uncleared pocket; let go, it becomes withdrawable.
    """
    legs = tuple(
        Leg(hold.account, accounts.withdrawable(hold.account.owner), hold.amount_fen)
        for hold in holds
        if book.is_cleared(hold.account)
    )
    return Draft(legs) if legs else None


def reverse(draft: Draft, part: int) -> Draft:
    """The draft that takes back ``draft``, which was posted as ``part``; its accounts must be concrete."""
    legs = []
    for leg in draft.legs:
        if not isinstance(leg.debit, Account) or not isinstance(leg.credit, Account):
            raise ValueError(f"{leg} cannot be reversed: its accounts are not concrete")
        legs.append(Leg(leg.credit, leg.debit, leg.amount_fen))
    return Draft(tuple(legs), payer=draft.payee, payee=draft.payer, amount_fen=draft.amount_fen, corrects=part)


def _demand_of(legs: Iterable[Leg]) -> dict[Account | Available, int]:
    demand: dict[Account | Available, int] = {}
    for leg in legs:
        if isinstance(leg.debit, Available) or (isinstance(leg.debit, Account) and leg.debit.floor is not None):
            demand[leg.debit] = demand.get(leg.debit, 0) + leg.amount_fen
    return demand


def _require(book: Book, source: Account | Available, needed_fen: int) -> None:
    if isinstance(source, Available):
        remaining_fen = book.available_fen(source.sub_account)
        breach = Breach("available", source.sub_account, "", needed_fen, remaining_fen)
    else:
        remaining_fen = book.of(source).remaining_fen
        breach = Breach(source.kind.value, source.owner, source.ref, needed_fen, remaining_fen)
    if needed_fen > remaining_fen:
        raise FloorBroken(breach)


def _allocate(book: Book, source: Account | Available, needed_fen: int) -> Iterable[Hold]:
    if isinstance(source, Account):
        yield Hold(source, needed_fen)
        return
    for pocket in book.pockets.get(source.sub_account, ()):
        share_fen = min(needed_fen, pocket.remaining_fen)
        if share_fen > 0:
            needed_fen -= share_fen
            yield Hold(pocket.account, share_fen)


def landing(account: Account) -> tuple[Account, ...]:
    """Where money sent to this account may land instead: a uncleared pocket whose day is cleared passes it on."""
    return (accounts.withdrawable(account.owner),) if account.kind is Kind.UNCLEARED else ()


def _merged(holds: Iterable[Hold]) -> list[Hold]:
    total: dict[Account, int] = {}
    for hold in holds:
        total[hold.account] = total.get(hold.account, 0) + hold.amount_fen
    return [Hold(account, amount_fen) for account, amount_fen in total.items()]


def _on_day(book: Book, side: Account | OfDay, bank_day: date) -> Account:
    account = side.on(bank_day) if isinstance(side, OfDay) else side
    return landing(account)[0] if book.is_cleared(account) else account


def _from_holds(held_fen: dict[Account, int], leg: Leg, bank_day: date) -> list[tuple[Account, int]]:
    if isinstance(leg.debit, OfDay):
        return [(leg.debit.on(bank_day), leg.amount_fen)]
    if isinstance(leg.debit, Account):
        if leg.debit.floor is not None:
            _use_held(held_fen, leg.debit, leg.amount_fen)
        return [(leg.debit, leg.amount_fen)]
    taken: list[tuple[Account, int]] = []
    needed_fen = leg.amount_fen
    for account in list(held_fen):
        is_pocket = account.owner == leg.debit.sub_account and account.kind in (Kind.UNCLEARED, Kind.WITHDRAWABLE)
        share_fen = min(needed_fen, held_fen[account]) if is_pocket else 0
        if share_fen:
            _use_held(held_fen, account, share_fen)
            taken.append((account, share_fen))
            needed_fen -= share_fen
    if needed_fen:
        raise LedgerCorrupt(f"{needed_fen} fen of {leg} were never held")
    return taken


def _use_held(held_fen: dict[Account, int], account: Account, amount_fen: int) -> None:
    if held_fen.get(account, 0) < amount_fen:
        raise LedgerCorrupt(f"{amount_fen} fen of {account.name} were never held")
    held_fen[account] -= amount_fen


def leg_to_json(leg: Leg) -> list[Any]:
    """A leg as JSON, for the plan that an operation keeps until it is final."""
    return [_side_to_json(leg.debit), _side_to_json(leg.credit), leg.amount_fen]


def leg_from_json(value: list[Any]) -> Leg:
    """The leg that `leg_to_json` wrote."""
    debit, credit, amount_fen = value
    target = _side_from_json(credit)
    if isinstance(target, Available):
        raise LedgerCorrupt(f"{value} credits an Available")
    return Leg(_side_from_json(debit), target, amount_fen)


def draft_to_json(draft: Draft) -> dict[str, Any]:
    """A draft as JSON."""
    return {
        "legs": [leg_to_json(leg) for leg in draft.legs],
        "serial": draft.serial,
        "payer": draft.payer,
        "payee": draft.payee,
        "amount_fen": draft.amount_fen,
        "fee_fen": draft.fee_fen,
        "corrects": draft.corrects,
        **({"order_no": draft.order_no} if draft.order_no else {}),
    }


def draft_from_json(value: dict[str, Any]) -> Draft:
    """The draft that `draft_to_json` wrote."""
    return Draft(**{**value, "legs": tuple(leg_from_json(leg) for leg in value["legs"])})


def _side_to_json(side: Source) -> list[str]:
    if isinstance(side, Available):
        return ["available", side.sub_account]
    if isinstance(side, OfDay):
        return ["of-day", side.kind.value, side.owner]
    return ["account", side.kind.value, side.owner, side.ref]


def _side_from_json(value: list[str]) -> Source:
    match value:
        case ["available", sub_account]:
            return Available(SubAccount(sub_account))
        case ["of-day", kind, owner]:
            return OfDay(Kind(kind), SubAccount(owner))
        case ["account", kind, owner, ref]:
            return Account(Kind(kind), SubAccount(owner), ref)
    raise LedgerCorrupt(f"{value} is not a side of a leg")

"""The bank's own books: where each fen lies, and the one way to move it.

An *account* is a pocket of a member's sub-account (waiting by bank day, withdrawable, frozen by order,
escrow by order), a functional sub-account, the in-transit account of one bank day, or the world
outside the bank. Money only moves from account to account, so the sum of all sub-accounts equals
the pooled real account plus what the channels owe in transit, after every posting, by construction;
`Books.difference_fen` computes it from the other side for whoever wants to check.

Promises: a posting applies whole or not at all; no account but in-transit goes below zero, and no
channel pays more than it owes. Pure: no clock, no file, no network. Amounts are int fen, days `yyyyMMdd` text.
It shares no code with the ledger, whose mirror is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from sandbox.accounts import AccountRef
from sandbox.errors import InsufficientFunds

SpendOrder = Literal["waiting_first", "withdrawable_first"]

SUSPENSE: Final = "2"
FEE: Final = "3"
INTEREST: Final = "4"
ESCROW: Final = "5"
IN_TRANSIT: Final = "7"
OWN_FUNDS: Final = "10"
POOLED_SHADOW: Final = "11"
WITHDRAWAL_IN_TRANSIT: Final = "12"
MARKETING: Final = "13"
PARKING: Final = "22"
"""Acquired orders that could not be credited. Its number and property are not public."""

FUNCTIONAL: Final = (
    SUSPENSE,
    FEE,
    INTEREST,
    ESCROW,
    IN_TRANSIT,
    OWN_FUNDS,
    POOLED_SHADOW,
    WITHDRAWAL_IN_TRANSIT,
    MARKETING,
    PARKING,
)
"""Suffixes of the functional sub-accounts; ESCROW and POOLED_SHADOW only mirror other accounts."""


class Move(NamedTuple):
    """`amount_fen` (zero or more) from one account to another."""

    source: AccountRef
    target: AccountRef
    amount_fen: int


class Change(NamedTuple):
    """What a posting did to one account; enough to undo it or to write it down."""

    account: AccountRef
    delta_fen: int


OUTSIDE: Final = AccountRef("outside", "", "")
"""Cards, channels and payers: money from here raises the pooled real account."""


def available(sub_acct_no: str) -> AccountRef:
    """What a member can spend: a source only, taken from waiting and withdrawable in turn."""
    return AccountRef("available", sub_acct_no, "")


def waiting(sub_acct_no: str, day: str) -> AccountRef:
    """Available money that becomes withdrawable when `day` is cleared."""
    return AccountRef("waiting", sub_acct_no, day)


def withdrawable(sub_acct_no: str) -> AccountRef:
    """Available money that may leave for the bound card."""
    return AccountRef("withdrawable", sub_acct_no, "")


def frozen(sub_acct_no: str, order_no: str) -> AccountRef:
    """Money a member set aside under an order without naming a payee (6007)."""
    return AccountRef("frozen", sub_acct_no, order_no)


def escrow(sub_acct_no: str, order_no: str) -> AccountRef:
    """Money a member pre-paid for an order (6034 flag 1)."""
    return AccountRef("escrow", sub_acct_no, order_no)


def functional(suffix: str) -> AccountRef:
    """A functional sub-account that holds money of its own."""
    return AccountRef("functional", suffix, "")


def in_transit(day: str) -> AccountRef:
    """What the channels owe for one bank day, as a negative number. It is positive when more was taken back of
    earlier top-ups that day than topped up: then the platform owes the channels."""
    return AccountRef("in_transit", IN_TRANSIT, day)


@dataclass(slots=True)
class SubAccount:
    """The pockets of one member."""

    withdrawable: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)
    escrow: dict[str, int] = field(default_factory=dict)

    @property
    def available_fen(self) -> int:
        return self.withdrawable + sum(self.waiting.values())

    @property
    def frozen_fen(self) -> int:
        return sum(self.frozen.values())

    @property
    def escrow_fen(self) -> int:
        return sum(self.escrow.values())

    @property
    def total_fen(self) -> int:
        return self.available_fen + self.frozen_fen + self.escrow_fen


class Books:
    """All balances of one platform at the bank."""

    def __init__(self, spend_order: SpendOrder = "waiting_first") -> None:
        self._spend_order = spend_order
        self._sub_accounts: dict[str, SubAccount] = {}
        self._functional: dict[str, int] = {}
        self._in_transit: dict[str, int] = {}
        self._pooled_fen = 0
        self._owed_fen = 0
        self._waiting_days: dict[str, dict[str, None]] = {}

    @property
    def pooled_fen(self) -> int:
        """Balance of the one real account (资金汇总账户)."""
        return self._pooled_fen

    @property
    def owed_fen(self) -> int:
        """What the channels owe: the in-transit account with its sign turned."""
        return self._owed_fen

    def sub_account(self, sub_acct_no: str) -> SubAccount:
        """The pockets of a member, empty ones for a number never credited. Read only."""
        return self._sub_accounts.get(sub_acct_no) or SubAccount()

    def functional_fen(self, suffix: str) -> int:
        """Balance of a functional sub-account as 6010 flag 3 shows it; in-transit is negative."""
        if suffix == IN_TRANSIT:
            return -self._owed_fen
        if suffix == POOLED_SHADOW:
            return self._pooled_fen
        if suffix == ESCROW:
            return sum(one.frozen_fen + one.escrow_fen for one in self._sub_accounts.values())
        return self._functional.get(suffix, 0)

    def in_transit_fen(self, day: str) -> int:
        """What the channels still owe for `day`, as a positive number; negative when they are owed."""
        return -self._in_transit.get(day, 0)

    def in_transit_days(self) -> list[str]:
        """Days for which a channel still owes money, oldest first."""
        return sorted(self._in_transit)

    def balance_fen(self, account: AccountRef) -> int:
        """What lies in `account`; for OUTSIDE, what has gone out less what has come in."""
        kind, owner, key = account
        if kind == "functional":
            return self.functional_fen(owner)
        if kind == "in_transit":
            return self._in_transit.get(key, 0)
        if kind == "outside":
            return -self._pooled_fen
        sub_account = self.sub_account(owner)
        if kind == "available":
            return sub_account.available_fen
        if kind == "withdrawable":
            return sub_account.withdrawable
        return self._pockets(sub_account, kind).get(key, 0)

    def difference_fen(self) -> int:
        """All sub-accounts less pooled and less owed, added up afresh. Zero, or the books lie."""
        members = sum(one.total_fen for one in self._sub_accounts.values())
        return members + sum(self._functional.values()) - self._pooled_fen - self._owed_fen

    def post(self, moves: Iterable[Move]) -> list[Change]:
        """Apply every move, or none and raise `InsufficientFunds`."""
        done: list[Change] = []
        try:
            for source, target, amount_fen in moves:
                if amount_fen < 0:
                    raise ValueError("a move never carries a negative amount")
                if amount_fen:
                    self._take(source, amount_fen, done)
                    self._add(target, amount_fen, done)
                    if source == OUTSIDE and target.kind == "in_transit" and self.balance_fen(target) > 0:
                        raise InsufficientFunds(target, amount_fen, 0)
        except BaseException:
            self.undo(done)
            raise
        return done

    def undo(self, changes: Sequence[Change]) -> None:
        """Take back changes of the latest postings."""
        for account, delta_fen in reversed(changes):
            self._apply(account, -delta_fen)

    def redo(self, changes: Iterable[Change]) -> None:
        """Apply changes that were written down by an earlier process."""
        for account, delta_fen in changes:
            self._apply(account, delta_fen)

    def clearing_moves(self, day: str) -> list[Move]:
        """What the clearing of `day` moves: the channels pay what they owe for that day, and every
        waiting lot of that day or earlier becomes withdrawable (6108)."""
        moves = []
        for owed_day in self.in_transit_days():
            if owed_day <= day:
                owed_fen = self.in_transit_fen(owed_day)
                channel = in_transit(owed_day)
                moves.append(Move(OUTSIDE, channel, owed_fen) if owed_fen > 0 else Move(channel, OUTSIDE, -owed_fen))
        for lot_day in sorted(self._waiting_days):
            if lot_day <= day:
                moves.extend(
                    Move(
                        waiting(no, lot_day),
                        withdrawable(no),
                        self._waiting_fen(no, lot_day),
                    )
                    for no in self._waiting_days[lot_day]
                )
        return moves

    def _waiting_fen(self, sub_acct_no: str, day: str) -> int:
        return self._sub_accounts[sub_acct_no].waiting.get(day, 0)

    def _take(self, source: AccountRef, amount_fen: int, done: list[Change]) -> None:
        if source.kind == "available":
            self._spend(source, amount_fen, done)
            return
        if source.kind not in ("outside", "in_transit"):
            held_fen = self.balance_fen(source)
            if held_fen < amount_fen:
                raise InsufficientFunds(source, amount_fen, held_fen)
        self._add(source, -amount_fen, done)

    def _spend(self, source: AccountRef, amount_fen: int, done: list[Change]) -> None:
        owner = source.owner
        sub_account = self.sub_account(owner)
        if sub_account.available_fen < amount_fen:
            raise InsufficientFunds(source, amount_fen, sub_account.available_fen)
        lots = [(waiting(owner, day), sub_account.waiting[day]) for day in sorted(sub_account.waiting)]
        free = (withdrawable(owner), sub_account.withdrawable)
        order = [*lots, free] if self._spend_order == "waiting_first" else [free, *lots]
        remaining_fen = amount_fen
        for account, held_fen in order:
            part = min(remaining_fen, held_fen)
            if part:
                self._add(account, -part, done)
                remaining_fen -= part

    def _add(self, account: AccountRef, delta_fen: int, done: list[Change]) -> None:
        if account.kind == "available":
            raise ValueError("a credit names waiting or withdrawable")
        self._apply(account, delta_fen)
        done.append(Change(account, delta_fen))

    def _apply(self, account: AccountRef, delta_fen: int) -> None:
        kind, owner, key = account
        if kind == "functional":
            self._functional[owner] = self._functional.get(owner, 0) + delta_fen
        elif kind == "in_transit":
            _shift(self._in_transit, key, delta_fen)
            self._owed_fen -= delta_fen
        elif kind == "outside":
            self._pooled_fen -= delta_fen
        else:
            sub_account = self._sub_accounts.setdefault(owner, SubAccount())
            if kind == "withdrawable":
                sub_account.withdrawable += delta_fen
                return
            _shift(self._pockets(sub_account, kind), key, delta_fen)
            if kind == "waiting":
                self._index_waiting(owner, key, sub_account)

    def _index_waiting(self, owner: str, day: str, sub_account: SubAccount) -> None:
        owners = self._waiting_days.setdefault(day, {})
        if day in sub_account.waiting:
            owners[owner] = None
        else:
            owners.pop(owner, None)
            if not owners:
                del self._waiting_days[day]

    @staticmethod
    def _pockets(sub_account: SubAccount, kind: str) -> dict[str, int]:
        if kind == "waiting":
            return sub_account.waiting
        if kind == "frozen":
            return sub_account.frozen
        if kind == "escrow":
            return sub_account.escrow
        raise ValueError(f"no such kind of account: {kind}")


def _shift(pockets: dict[str, int], key: str, delta_fen: int) -> None:
    remaining_fen = pockets.get(key, 0) + delta_fen
    if remaining_fen:
        pockets[key] = remaining_fen
    else:
        pockets.pop(key, None)

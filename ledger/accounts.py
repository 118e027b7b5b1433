"""The chart of accounts: what an account is called, and how far down it may go.

An account is named by its kind, its owner and a reference, and nothing else: the name is the key, so no
number has to be looked up before a leg can be written. The *floor* belongs to the kind. It is the only
form in which this project states a rule about money: a debit that would take ``balance - held`` below the
floor is refused, by `ledger.rules` first and by a CHECK in PostgreSQL once more.

Sub-account pockets follow the quick start's balances: available (可用) is what is withdrawable (可提现) plus what
is waiting for its bank day to be cleared; frozen (冻结) and escrow (担保) are kept per order.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from ledger.names import NO_SUB_ACCOUNT, BankSerial, Serial, SubAccount


class Kind(StrEnum):
    """What an account is for. The value is the first word of the account's name."""

    WITHDRAWABLE = "withdrawable"
    UNCLEARED = "waiting"
    FROZEN = "frozen"
    ESCROW = "escrow"

    FEE = "fee"
    SUSPENSE = "suspense"
    OWN_FUNDS = "own-funds"
    IN_TRANSIT = "in-transit"
    WITHDRAWING = "withdrawing"
    INTEREST = "interest"
    MARKETING = "marketing"
    PARKING = "parking"
    POOLED = "pooled"
    DIFFERENCE = "difference"

    REFUNDABLE = "refundable"
    REFUNDABLE_FEE = "refundable-fee"
    REVOCABLE = "revocable"
    REVOCABLE_FEE = "revocable-fee"
    UNDOABLE = "undoable"
    UNDOABLE_FEE = "undoable-fee"
    ORDER = "order"
    TOP_UP_ORDER = "top-up-order"
    ACQUIRED = "acquired"
    REBOOKED = "rebooked"
    STANDING = "standing"
    ALLOWANCE = "allowance"
    LIMITS = "limits"

    # An enum's own hash is computed in Python, and every account of a batch is hashed many times.
    __hash__ = str.__hash__


POCKETS = (Kind.WITHDRAWABLE, Kind.UNCLEARED, Kind.FROZEN, Kind.ESCROW)
"""The kinds that hold a member's money."""

CONTROLS = (
    Kind.REFUNDABLE,
    Kind.REFUNDABLE_FEE,
    Kind.REVOCABLE,
    Kind.REVOCABLE_FEE,
    Kind.UNDOABLE,
    Kind.UNDOABLE_FEE,
    Kind.ORDER,
    Kind.TOP_UP_ORDER,
    Kind.ACQUIRED,
    Kind.REBOOKED,
    Kind.STANDING,
    Kind.ALLOWANCE,
    Kind.LIMITS,
)
"""The kinds that hold no money: the remaining part of a limit, and where limits come from."""

OWN = tuple(kind for kind in Kind if kind not in (*POCKETS, *CONTROLS))
"""The kinds that hold the platform's own money, and what is nobody's yet."""

TOP_UP_ORDER_UNITS = 100
"""What an order number of top-ups has to give. A top-up takes all of it; the rows of a split top-up share the number of
the whole order, one unit or more each, so that it stays used for as long as one of them stands. At least as many as a
split top-up may have rows (25).
"""

ALLOWANCE_MAX_FEN = 10**15
"""More than anybody moves in a day: how far down an allowance may go at all. What a caller may move is said with each
step, since whoever keeps the policy may change it at any time.
"""

FLOORS: dict[Kind, int] = {
    Kind.WITHDRAWABLE: 0,
    Kind.UNCLEARED: 0,
    Kind.FROZEN: 0,
    Kind.ESCROW: 0,
    Kind.OWN_FUNDS: 0,
    Kind.SUSPENSE: 0,
    Kind.PARKING: 0,
    Kind.REFUNDABLE: 0,
    Kind.REFUNDABLE_FEE: 0,
    Kind.REVOCABLE: 0,
    Kind.REVOCABLE_FEE: 0,
    Kind.UNDOABLE: 0,
    Kind.UNDOABLE_FEE: 0,
    # An order number is used once: its account starts at 0 and one unit below is the last one to be had.
    Kind.ORDER: -1,
    Kind.TOP_UP_ORDER: -TOP_UP_ORDER_UNITS,
    Kind.ACQUIRED: -1,
    Kind.REBOOKED: -1,
    # A closing takes the one unit; whatever opens business with the sub-account needs it there, and takes nothing.
    Kind.STANDING: -1,
    Kind.ALLOWANCE: -ALLOWANCE_MAX_FEN,
}
"""Lowest ``balance - held`` by kind, in fen. A kind that is missing has no floor and is never locked or held."""


class Account(NamedTuple):
    """One account of the mirror.

    ``owner`` is the bank's sub-account number for a member's pocket, else empty. ``ref`` is the order number, the
    serial of a payment or a transfer, or the bank day as ``YYYYMMDD``, whichever the kind counts by.
    """

    kind: Kind
    owner: SubAccount = NO_SUB_ACCOUNT
    ref: str = ""

    @property
    def name(self) -> str:
        """The key under which the journal knows this account, e.g. ``waiting:9930000000001001:20261123``."""
        return ":".join(filter(None, self))

    @property
    def floor(self) -> int | None:
        """Lowest ``balance - held`` in fen, or None."""
        return FLOORS.get(self.kind)

    @property
    def day(self) -> date:
        """The bank day of a waiting or in-transit account."""
        return date(int(self.ref[:4]), int(self.ref[4:6]), int(self.ref[6:8]))


@lru_cache(maxsize=16)
def day_text(bank_day: date) -> str:
    """A bank day as accounts are named by it."""
    return bank_day.isoformat().replace("-", "")


def withdrawable(sub_account: SubAccount) -> Account:
    """Money the member can take out today (可提现)."""
    return Account(Kind.WITHDRAWABLE, sub_account)


def uncleared(sub_account: SubAccount, bank_day: date) -> Account:
    """Money that is available but becomes withdrawable only when ``bank_day`` is cleared (6108)."""
    return Account(Kind.UNCLEARED, sub_account, day_text(bank_day))


def frozen(sub_account: SubAccount, order_no: str) -> Account:
    """What is left of a freeze (6007)."""
    return Account(Kind.FROZEN, sub_account, order_no)


def frozen_fee(sub_account: SubAccount, order_no: str) -> Account:
    """The fee inside a share that an acquired order has frozen, until the bank takes it (notes.md 13). It is frozen as
    the rest is, and only the fee can be paid of it. No order number has a space.
    """
    return Account(Kind.FROZEN, sub_account, f"{order_no} fee")


def escrow(sub_account: SubAccount, order_no: str) -> Account:
    """What is left of a pre-paid order (6034 flag 1)."""
    return Account(Kind.ESCROW, sub_account, order_no)


def in_transit(bank_day: date) -> Account:
    """What payment channels owe for ``bank_day``: negative until the day is cleared."""
    return Account(Kind.IN_TRANSIT, NO_SUB_ACCOUNT, day_text(bank_day))


def refundable(serial: Serial) -> Account:
    """What may still be refunded of the payment with this serial, fee included (6164 ReturnAmt)."""
    return Account(Kind.REFUNDABLE, NO_SUB_ACCOUNT, serial)


def refundable_fee(serial: Serial) -> Account:
    """What may still be refunded of that payment's fee (6164 ReturnCommission)."""
    return Account(Kind.REFUNDABLE_FEE, NO_SUB_ACCOUNT, serial)


def revocable(serial: Serial) -> Account:
    """What the member of the top-up with this serial may still have to give back, fee not included (6130, 6217)."""
    return Account(Kind.REVOCABLE, NO_SUB_ACCOUNT, serial)


def revocable_fee(serial: Serial) -> Account:
    """What of that top-up's fee may still be given back."""
    return Account(Kind.REVOCABLE_FEE, NO_SUB_ACCOUNT, serial)


def suspense(transfer: BankSerial) -> Account:
    """What is left in suspense (挂账) of the transfer with this bank serial (6050)."""
    return Account(Kind.SUSPENSE, NO_SUB_ACCOUNT, transfer)


def undoable(serial: Serial) -> Account:
    """What may still be put back of the allocation of suspense with this serial, fee included (6140 CancelAmt)."""
    return Account(Kind.UNDOABLE, NO_SUB_ACCOUNT, serial)


def undoable_fee(serial: Serial) -> Account:
    """What may still be put back of that clearing's fee (6140 TranFee)."""
    return Account(Kind.UNDOABLE_FEE, NO_SUB_ACCOUNT, serial)


def order(order_no: str) -> Account:
    """The one use of an order number by what the bank keeps under it: orders in escrow, freezes, allocations of
    suspense, batches. Direct payments do not take it (catalogue, OrderNo of 6034).
    """
    return Account(Kind.ORDER, NO_SUB_ACCOUNT, order_no)


def top_up_order(order_no: str) -> Account:
    """The one use of an order number by top-ups (EjzbOrderNo of 6129; TotalOrderNo and SubOrderNo of 6216)."""
    return Account(Kind.TOP_UP_ORDER, NO_SUB_ACCOUNT, order_no)


def acquired(order_no: str) -> Account:
    """The one entry of an acquired order, or of a sub-order, under this number (6146, 6147)."""
    return Account(Kind.ACQUIRED, NO_SUB_ACCOUNT, order_no)


def rebooked(order_no: str) -> Account:
    """The one move of an acquired order to the right member (6145)."""
    return Account(Kind.REBOOKED, NO_SUB_ACCOUNT, order_no)


def standing(sub_account: SubAccount) -> Account:
    """Whether new business may be opened with the sub-account: its one unit is gone while it is closed, and after."""
    return Account(Kind.STANDING, sub_account)


def allowance(who: str, bank_day: date) -> Account:
    """What a caller, or a person, has moved on a bank day, below zero. ``who`` is "caller " or "person " and a name."""
    return Account(Kind.ALLOWANCE, NO_SUB_ACCOUNT, f"{day_text(bank_day)} {who}")


def difference(break_id: str) -> Account:
    """What adjustments have moved for this break and nothing explains yet. It may be above zero or below, and must come
    back to zero.
    """
    return Account(Kind.DIFFERENCE, NO_SUB_ACCOUNT, break_id)


def parking(order_no: str) -> Account:
    """What of an acquired order the bank could not credit to anybody (quick start 2.4)."""
    return Account(Kind.PARKING, NO_SUB_ACCOUNT, order_no)


FEE = Account(Kind.FEE)
OWN_FUNDS = Account(Kind.OWN_FUNDS)
WITHDRAWING = Account(Kind.WITHDRAWING)
POOLED = Account(Kind.POOLED)
LIMITS = Account(Kind.LIMITS)

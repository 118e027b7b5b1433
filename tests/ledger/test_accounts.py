"""The chart of accounts: names, and which kinds have a floor."""

from __future__ import annotations

from datetime import date

import pytest

from ledger import Account, Kind, accounts
from ledger.accounts import CONTROLS, FLOORS, POCKETS
from ledger.names import BankSerial, Serial, SubAccount

DAY = date(2026, 3, 4)


@pytest.mark.parametrize(
    ("account", "name"),
    [
        (accounts.withdrawable(SubAccount("1001")), "withdrawable:1001"),
        (accounts.uncleared(SubAccount("1001"), DAY), "waiting:1001:20260304"),
        (accounts.frozen(SubAccount("1001"), "F1"), "frozen:1001:F1"),
        (accounts.escrow(SubAccount("1001"), "O1"), "escrow:1001:O1"),
        (accounts.in_transit(DAY), "in-transit:20260304"),
        (accounts.refundable(Serial("S1")), "refundable:S1"),
        (accounts.refundable_fee(Serial("S1")), "refundable-fee:S1"),
        (accounts.suspense(BankSerial("2611230000000001")), "suspense:2611230000000001"),
        (accounts.undoable(Serial("S1")), "undoable:S1"),
        (accounts.undoable_fee(Serial("S1")), "undoable-fee:S1"),
        (accounts.order("O1"), "order:O1"),
        (accounts.FEE, "fee"),
        (accounts.POOLED, "pooled"),
    ],
)
def test_an_account_is_named_by_kind_owner_and_reference(account: Account, name: str) -> None:
    assert account.name == name


def test_the_days_of_waiting_money_sort_by_name() -> None:
    days = [date(2026, 12, 31), date(2027, 1, 1), date(2026, 2, 28)]
    by_name = sorted(days, key=lambda day: accounts.uncleared(SubAccount("1001"), day).name)
    assert by_name == sorted(days)


def test_a_waiting_account_knows_its_bank_day() -> None:
    assert accounts.uncleared(SubAccount("1001"), DAY).day == DAY
    assert accounts.in_transit(DAY).day == DAY


def test_how_far_down_each_kind_may_go_is_this_and_nothing_else() -> None:
    # Written out, as the rules about money are: a line that is lost there must be missed here.
    assert {kind.value: FLOORS.get(kind) for kind in Kind} == {
        "withdrawable": 0,
        "waiting": 0,
        "frozen": 0,
        "escrow": 0,
        "own-funds": 0,
        "suspense": 0,
        "parking": 0,
        "refundable": 0,
        "refundable-fee": 0,
        "revocable": 0,
        "revocable-fee": 0,
        "undoable": 0,
        "undoable-fee": 0,
        "order": -1,
        "top-up-order": -100,
        "acquired": -1,
        "rebooked": -1,
        "standing": -1,
        "fee": None,
        "in-transit": None,
        "withdrawing": None,
        "interest": None,
        "marketing": None,
        "pooled": None,
        "difference": None,
        "allowance": -(10**15),
        "limits": None,
    }


def test_which_kinds_hold_a_members_money_and_which_hold_none() -> None:
    assert {kind.value for kind in POCKETS} == {"withdrawable", "waiting", "frozen", "escrow"}
    assert {kind.value for kind in CONTROLS} == {
        *("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee"),
        *("order", "top-up-order", "acquired", "rebooked", "standing", "allowance", "limits"),
    }


def test_no_member_money_can_go_below_zero() -> None:
    assert {kind: FLOORS.get(kind) for kind in POCKETS} == dict.fromkeys(POCKETS, 0)


def test_money_in_suspense_cannot_go_below_zero() -> None:
    assert accounts.suspense(BankSerial("2611230000000001")).floor == 0


def test_a_limit_cannot_be_overdrawn_but_where_limits_come_from_can() -> None:
    assert all(FLOORS[kind] is not None for kind in CONTROLS if kind is not Kind.LIMITS)
    assert accounts.LIMITS.floor is None


def test_an_order_number_has_one_use() -> None:
    assert accounts.order("O1").floor == -1


@pytest.mark.parametrize("kind", [Kind.FEE, Kind.POOLED, Kind.IN_TRANSIT, Kind.WITHDRAWING])
def test_accounts_that_every_payment_touches_have_no_floor_and_are_never_locked(kind: Kind) -> None:
    assert Account(kind).floor is None


def test_a_day_has_eight_digits_whatever_its_year() -> None:
    assert accounts.day_text(date(1, 1, 1)) == "00010101"

"""How much the ledger and the bank may split a member's money otherwise is asked of each credit that came late."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from simulate.bankcheck import pockets
from simulate.checker import Held, Op
from simulate.latecomers import may_differ
from tests.simulate.journals import DAY, ID, NOON, SUB, WAITING, journal

WITHDRAWABLE = f"withdrawable:{SUB}"
PAYMENT = UUID(int=8)
BEFORE = NOON - timedelta(seconds=1)
PAID = Held(PAYMENT, WITHDRAWABLE, 300, BEFORE, "posted", DAY, NOON)
"""3.00 were reserved for a payment before the top-up of 4.50 was posted at noon."""
BANK_S_ORDER = {"S7": 0, "S8": 1}
"""The bank had booked the top-up first."""


def most(
    *holds: Held, kind: str = "PREPAY_ORDER", booked: dict[str, int] = BANK_S_ORDER, order: str = "waiting_first"
) -> int:
    payment = Op(PAYMENT, "r-2", kind, "S8", "done", 300, "done")
    operations = {**journal().operations, "r-2": payment}
    return may_differ(journal(operations=operations, holds=holds), booked, order)[SUB]


def test_a_payment_that_did_not_know_of_a_credit_yet_took_withdrawable_money() -> None:
    assert most(PAID) == 300
    assert most(PAID._replace(fen=1000)) == 450


def test_a_return_has_no_place_in_the_banks_order_and_may_have_been_first() -> None:
    assert most(PAID, booked={"S8": 0}) == 300


@pytest.mark.parametrize(
    ("payment", "about"),
    [
        (PAID, {"booked": {"S8": 0, "S7": 1}}),
        (PAID._replace(reserved_at=NOON), {}),
        (PAID._replace(bank_day=DAY - timedelta(days=1)), {}),
        (PAID._replace(account=WAITING), {}),
        (PAID._replace(verdict="voided"), {}),
        (PAID, {"kind": "WITHDRAW"}),
        (PAID, {"order": "withdrawable_first"}),
    ],
    ids=[
        "the bank booked it before the credit",
        "it was reserved when the credit was there",
        "it is of an earlier day",
        "it took uncleared money",
        "it was not paid",
        "it must take withdrawable money",
        "the bank takes withdrawable money first",
    ],
)
def test_no_other_payment_explains_a_different_split(payment: Held, about: dict[str, Any]) -> None:
    assert most(payment, **about) == 0


def test_a_payment_beside_a_hold_that_was_let_go_took_withdrawable_money() -> None:
    let_go = Held(ID, WAITING, 200, BEFORE - timedelta(seconds=1), "voided", DAY, NOON)
    assert most(PAID._replace(reserved_at=BEFORE), let_go, booked={"S8": 0, "S7": 1}) == 200
    assert most(PAID._replace(reserved_at=NOON), let_go) == 0


def test_a_payment_beside_a_withdrawal_that_was_refused_took_uncleared_money() -> None:
    withdrawal = UUID(int=9)
    let_go = Held(withdrawal, WITHDRAWABLE, 200, BEFORE - timedelta(seconds=1), "voided", DAY, NOON)
    paid = PAID._replace(account=WAITING, reserved_at=BEFORE)
    operations = {
        **journal().operations,
        "r-2": Op(PAYMENT, "r-2", "PREPAY_ORDER", "S8", "done", 300, "done"),
        "r-3": Op(withdrawal, "r-3", "WITHDRAW", "S9", "refused", 200, "refused"),
    }
    beside = journal(operations=operations, holds=(paid, let_go))
    assert may_differ(beside, {"S8": 0, "S7": 1}, "withdrawable_first")[SUB] == 200
    assert may_differ(beside, {"S8": 0, "S7": 1}, "waiting_first")[SUB] == 0


def split(*, waiting: int, withdrawable: int, otherwise: int) -> list[str]:
    """What is told of a member that has 4.50 waiting here, and so much at the bank."""
    kept = {name: one for name, one in journal().balances.items() if name == WAITING}
    books = {
        "sub_accounts": {
            SUB: {
                "withdrawable": withdrawable,
                "waiting_by_day": {"20261123": waiting},
                "frozen_by_order": {},
                "escrow_by_order": {},
            }
        },
        "functional": Counter(),
        "difference": 0,
    }
    found = pockets(journal(balances=kept), books, {SUB: otherwise})
    return list(found)


def test_the_split_may_differ_by_what_is_excused_and_the_sum_by_nothing() -> None:
    assert split(waiting=150, withdrawable=300, otherwise=300) == []
    assert len(split(waiting=150, withdrawable=300, otherwise=299)) == 2
    assert len(split(waiting=150, withdrawable=299, otherwise=450)) == 2
    assert len(split(waiting=449, withdrawable=0, otherwise=450)) == 1

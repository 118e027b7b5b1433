from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.accounts import AccountRef
from sandbox.books import (
    FEE,
    OUTSIDE,
    Books,
    Move,
    SpendOrder,
    available,
    escrow,
    frozen,
    functional,
    in_transit,
    waiting,
    withdrawable,
)
from sandbox.errors import InsufficientFunds

A, B = "9930000000001000", "9930000000001001"
DAY_1, DAY_2 = "20260105", "20260106"


def books_with_two_lots_and_withdrawable(spend_order: SpendOrder = "waiting_first") -> Books:
    books = Books(spend_order=spend_order)
    books.post(
        [
            Move(in_transit(DAY_2), waiting(A, DAY_2), 20),
            Move(in_transit(DAY_1), waiting(A, DAY_1), 10),
            Move(OUTSIDE, withdrawable(A), 30),
        ]
    )
    return books


def test_spending_takes_the_oldest_waiting_lot_first_and_withdrawable_last() -> None:
    books = books_with_two_lots_and_withdrawable()
    books.post([Move(available(A), frozen(A, "O1"), 35)])
    sub_account = books.sub_account(A)
    assert (sub_account.waiting, sub_account.withdrawable) == ({}, 25)
    books = books_with_two_lots_and_withdrawable()
    books.post([Move(available(A), frozen(A, "O1"), 15)])
    assert books.sub_account(A).waiting == {DAY_2: 15}


def test_the_spend_order_can_be_turned_round() -> None:
    books = books_with_two_lots_and_withdrawable(spend_order="withdrawable_first")
    books.post([Move(available(A), frozen(A, "O1"), 35)])
    assert books.sub_account(A).waiting == {DAY_1: 5, DAY_2: 20}


def test_a_posting_that_falls_short_changes_nothing_and_says_by_how_much() -> None:
    books = books_with_two_lots_and_withdrawable()
    with pytest.raises(InsufficientFunds) as shortage:
        books.post([Move(available(A), waiting(B, DAY_2), 60), Move(available(A), functional(FEE), 1)])
    assert (shortage.value.wanted_fen, shortage.value.balance_fen) == (1, 0)
    assert books.sub_account(A).available_fen == 60
    assert books.sub_account(B).available_fen == 0


def test_channels_never_pay_more_than_they_owe() -> None:
    books = books_with_two_lots_and_withdrawable()
    with pytest.raises(InsufficientFunds):
        books.post([Move(OUTSIDE, in_transit(DAY_1), 11)])
    assert books.in_transit_fen(DAY_1) == 10


def test_clearing_a_day_leaves_later_days_waiting() -> None:
    books = books_with_two_lots_and_withdrawable()
    books.post(books.clearing_moves(DAY_1))
    sub_account = books.sub_account(A)
    assert (sub_account.waiting, sub_account.withdrawable) == ({DAY_2: 20}, 40)
    assert (books.pooled_fen, books.owed_fen) == (40, 20)


PLACES: list[AccountRef] = [
    OUTSIDE,
    functional(FEE),
    in_transit(DAY_1),
    *(
        place
        for member in (A, B)
        for place in (
            waiting(member, DAY_1),
            waiting(member, DAY_2),
            withdrawable(member),
            frozen(member, "O1"),
            escrow(member, "O1"),
        )
    ),
]


@given(
    st.lists(
        st.lists(
            st.builds(
                Move,
                st.sampled_from([*PLACES, available(A), available(B)]),
                st.sampled_from(PLACES),
                st.integers(0, 100),
            ),
            max_size=4,
        ),
        max_size=30,
    )
)
def test_books_add_up_after_any_postings_and_a_refused_one_leaves_no_trace(
    postings: list[list[Move]],
) -> None:
    books = Books()
    for moves in postings:
        before = {place: books.balance_fen(place) for place in PLACES}
        try:
            changes = books.post(moves)
        except InsufficientFunds:
            assert {place: books.balance_fen(place) for place in PLACES} == before
            continue
        assert books.difference_fen() == 0
        for place in PLACES:
            if place.kind not in ("outside", "in_transit"):
                assert books.balance_fen(place) >= 0
        books.undo(changes)
        assert {place: books.balance_fen(place) for place in PLACES} == before
        books.redo(changes)

"""Nothing new is opened with a member that is being closed or was closed, whichever process judges it."""

from __future__ import annotations

import asyncio

import pytest

from ledger import REASON_FLOOR, FloorBroken, State, Step, Writer
from ledger.accounts import standing, withdrawable
from ledger.batch import accounts_of
from ledger.names import SubAccount
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    PLATFORM,
    OneByOne,
    book_of,
    closing,
    opening,
    posting,
    prepay,
    stored,
    voiding,
)
from tests.ledger.conftest import Mirror

MONEY = {withdrawable(ANN): 1_000}


def order_to(payee: SubAccount, number: str, *, check_only: bool = False) -> Step:
    """Prepaid by Ann; nothing of the payee's moves, and yet it must be there."""
    needs = (standing(ANN), standing(payee))
    return opening(prepay(ANN, number, 100), kind="PREPAY_ORDER", needs=needs, check_only=check_only)


def test_an_order_behind_a_closing_in_one_batch_is_refused_and_recorded_as_refused() -> None:
    ledger = OneByOne(book_of(MONEY))
    ledger.judge(opening(closing(BOB), kind="CLOSE_MEMBER"))
    late = order_to(BOB, "O1")
    with pytest.raises(FloorBroken) as refusal:
        ledger.judge(late)
    breach = refusal.value.breach
    assert (breach.pocket, breach.owner, breach.left_fen) == ("standing", BOB, 0)
    assert refusal.value.operation is not None
    assert (refusal.value.operation.state, refusal.value.operation.reason) == (State.REFUSED, REASON_FLOOR)
    assert ledger.book.of(withdrawable(ANN)).held_fen == 0
    # With others business goes on.
    assert ledger.judge(order_to(SubAccount("1009"), "O2")).operation.state is State.RESERVED


def test_a_check_alone_is_told_of_a_closing_as_well() -> None:
    ledger = OneByOne(book_of(MONEY))
    ledger.judge(opening(closing(BOB), kind="CLOSE_MEMBER"))
    with pytest.raises(FloorBroken) as refusal:
        ledger.judge(order_to(BOB, "O1", check_only=True))
    assert refusal.value.operation is None


def test_a_member_whose_closing_came_to_nothing_is_open_as_before() -> None:
    ledger = OneByOne(book_of(MONEY))
    closed = opening(closing(BOB), kind="CLOSE_MEMBER")
    ledger.judge(closed)
    ledger.judge(voiding(closed))
    assert ledger.judge(order_to(BOB, "O1")).operation.state is State.RESERVED


def test_a_closed_member_is_closed_once_and_gets_nothing_any_more() -> None:
    ledger = OneByOne(book_of(MONEY))
    closed = opening(closing(BOB), kind="CLOSE_MEMBER")
    ledger.judge(closed)
    with pytest.raises(FloorBroken):
        ledger.judge(opening(closing(BOB), kind="CLOSE_MEMBER"))
    ledger.judge(posting(closed))
    for step in (order_to(BOB, "O1"), opening(closing(BOB), kind="CLOSE_MEMBER")):
        with pytest.raises(FloorBroken):
            ledger.judge(step)


def test_what_carries_an_operation_on_needs_nobody() -> None:
    ledger = OneByOne(book_of(MONEY))
    order = order_to(BOB, "O1")
    ledger.judge(order)
    ledger.judge(opening(closing(BOB), kind="CLOSE_MEMBER"))
    assert ledger.judge(posting(order)).operation.state is State.DONE


def test_what_a_step_needs_is_read_before_it_is_judged() -> None:
    named, _ = accounts_of(order_to(BOB, "O1"))
    assert {standing(ANN), standing(BOB)} <= named


async def test_an_order_of_one_process_behind_the_closing_of_another_is_refused(mirror: Mirror, database: str) -> None:
    await mirror.give(withdrawable(ANN), 1_000)
    # The first process knows Bob as open.
    await mirror.do(order_to(BOB, "O1"))
    async with Writer(database, PLATFORM).running() as other:
        closed = opening(closing(BOB), kind="CLOSE_MEMBER")
        await other.submit(closed)
        with pytest.raises(FloorBroken):
            await mirror.do(order_to(BOB, "O2"))
        await other.submit(voiding(closed))
        assert (await mirror.do(order_to(BOB, "O3"))).operation.state is State.RESERVED
    await mirror.assert_whole()


async def test_closings_and_orders_of_two_processes_at_once_are_judged_one_behind_the_other(
    mirror: Mirror, database: str
) -> None:
    await mirror.give(withdrawable(ANN), 100_000)
    async with Writer(database, PLATFORM).running() as other:
        for number in range(20):
            payee = f"20{number:02}"
            closed = opening(closing(SubAccount(payee)), kind="CLOSE_MEMBER")
            orders = [order_to(SubAccount(payee), f"O{number}-{each}") for each in range(4)]
            results = await asyncio.gather(
                other.submit(closed), *(mirror.do(step) for step in orders), return_exceptions=True
            )
            assert not isinstance(results[0], BaseException)
            # Reserved is what was judged before; whoever looks after the closing sees each of these.
            seen = {name for name, (_, held_fen) in stored(database).items() if name.startswith(f"order:O{number}-")}
            assert len(seen) == sum(not isinstance(one, BaseException) for one in results[1:])
            assert all(isinstance(one, FloorBroken) for one in results[1:] if isinstance(one, BaseException))
            with pytest.raises(FloorBroken):
                await mirror.do(order_to(SubAccount(payee), f"O{number}-late"))
    await mirror.assert_whole()

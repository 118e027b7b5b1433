"""The bank's word held against the books: what explains a difference, and what does not."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from ledger import (
    Amounts,
    Change,
    Comparison,
    Draft,
    Kind,
    Leg,
    Member,
    Motion,
    NewOperation,
    OfDay,
    Position,
    Result,
    State,
    Step,
    judge,
)
from ledger.accounts import FEE, withdrawable
from ledger.names import NO_SUB_ACCOUNT, MemberCode, SubAccount
from ledger.rules import draft_to_json
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    doubting,
    freeze,
    opening,
    pay,
    posting,
    prepay,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def position(
    balances: dict[Kind, int],
    held: dict[Kind, int] | None = None,
    earlier: dict[Kind, int] | None = None,
    *,
    clearing_is_due: bool = False,
) -> Position:
    return Position(
        balance_fen=balances,
        held_fen=held or {},
        earlier_fen=earlier or {},
        clearing_is_due=clearing_is_due,
        event=1,
        at=NOW,
        now=NOW,
    )


RICH = {Kind.WITHDRAWABLE: 100, Kind.UNCLEARED: 50, Kind.FROZEN: 20, Kind.ESCROW: 5}
PAYS = Motion({Kind.UNCLEARED: 30}, {})
IS_PAID = Motion({}, {Kind.UNCLEARED: 30})
FREEZES = Motion({Kind.WITHDRAWABLE: 10}, {Kind.FROZEN: 10})

CASES: list[tuple[str, Amounts, Position, Motion, Result]] = [
    ("nothing moves", Amounts(150, 100, 20), position(RICH), Motion(), Result.EQUAL),
    ("a fen more available", Amounts(151, 100, 20), position(RICH), Motion(), Result.DIFFERS),
    ("a fen less available", Amounts(149, 100, 20), position(RICH), Motion(), Result.DIFFERS),
    ("a fen more withdrawable", Amounts(150, 101, 20), position(RICH), Motion(), Result.DIFFERS),
    ("a fen less withdrawable", Amounts(150, 99, 20), position(RICH), Motion(), Result.DIFFERS),
    ("a fen more frozen", Amounts(150, 100, 21), position(RICH), Motion(), Result.DIFFERS),
    ("a fen less frozen", Amounts(150, 100, 19), position(RICH), Motion(), Result.DIFFERS),
    ("the bank has paid", Amounts(120, 100, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.EQUAL),
    ("the bank has not paid", Amounts(150, 100, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.UNDER_WAY),
    ("it has paid a part", Amounts(140, 100, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.UNDER_WAY),
    ("it has paid too much", Amounts(119, 100, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.DIFFERS),
    ("it has not paid, and more", Amounts(151, 100, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.DIFFERS),
    ("it took from another pocket", Amounts(120, 70, 20), position(RICH, {Kind.UNCLEARED: 30}), PAYS, Result.DIFFERS),
    ("the bank has credited", Amounts(180, 100, 20), position(RICH), IS_PAID, Result.UNDER_WAY),
    ("it has credited too much", Amounts(181, 100, 20), position(RICH), IS_PAID, Result.DIFFERS),
    ("it has credited elsewhere", Amounts(180, 130, 20), position(RICH), IS_PAID, Result.DIFFERS),
    ("it has frozen", Amounts(140, 90, 30), position(RICH), FREEZES, Result.UNDER_WAY),
    (
        "it has cleared yesterday",
        Amounts(150, 150, 20),
        position(RICH, {}, {Kind.UNCLEARED: 50}),
        Motion(),
        Result.CLEARING,
    ),
    (
        "part of it is today's",
        Amounts(150, 130, 20),
        position(RICH, {}, {Kind.UNCLEARED: 30}),
        Motion(),
        Result.CLEARING,
    ),
    ("all of it is today's", Amounts(150, 150, 20), position(RICH), Motion(), Result.DIFFERS),
    (
        "what is left is today's, yesterday was spent",
        Amounts(150, 150, 20),
        position(RICH, clearing_is_due=True),
        Motion(),
        Result.CLEARING,
    ),
    (
        "a clearing brings nothing",
        Amounts(151, 150, 20),
        position(RICH, {}, {Kind.UNCLEARED: 50}),
        Motion(),
        Result.DIFFERS,
    ),
    ("more than waits", Amounts(150, 151, 20), position(RICH, {}, {Kind.UNCLEARED: 50}), Motion(), Result.DIFFERS),
]


@pytest.mark.parametrize(("case", "bank", "before", "motion", "result"), CASES, ids=[case[0] for case in CASES])
def test_a_difference_is_explained_by_what_may_have_moved_and_by_nothing_else(
    case: str, bank: Amounts, before: Position, motion: Motion, result: Result
) -> None:
    found = judge(ANN, bank, before, motion)
    assert found.result is result, case
    assert found.compared_at == NOW


def test_escrow_counts_as_frozen_only_where_the_bank_does_so() -> None:
    for with_escrow, frozen_fen in ((False, 20), (True, 25)):
        found = judge(ANN, Amounts(150, 100, frozen_fen), position(RICH), Motion(), with_escrow=with_escrow)
        assert (found.result, found.mirror.frozen_fen) == (Result.EQUAL, frozen_fen)


def test_what_is_in_doubt_is_told_for_the_amount_of_which_it_is_most() -> None:
    assert judge(ANN, Amounts(150, 100, 20), position(RICH), FREEZES).in_doubt_fen == 10
    both = Motion({Kind.UNCLEARED: 30}, {Kind.UNCLEARED: 7, Kind.FROZEN: 2})
    assert judge(ANN, Amounts(150, 100, 20), position(RICH), both).in_doubt_fen == 37


@pytest.mark.parametrize(
    ("bank_fen", "result"), [(-90, Result.EQUAL), (-30, Result.CLEARING), (-29, Result.DIFFERS), (-91, Result.DIFFERS)]
)
def test_what_channels_owe_is_less_at_the_bank_once_it_has_cleared_a_day(bank_fen: int, result: Result) -> None:
    before = position({Kind.IN_TRANSIT: -90}, {}, {Kind.IN_TRANSIT: -60})
    found = judge(SubAccount("9930"), Amounts(bank_fen), before, Motion(), kind=Kind.IN_TRANSIT)
    assert (found.result, found.kind) == (result, Kind.IN_TRANSIT)


def planned(step: Step, then: tuple[Draft, ...] = (), undo: tuple[Draft, ...] = ()) -> Step:
    """With the plan that the service keeps with an operation."""
    assert isinstance(step.operation, NewOperation)
    parts = {"drafts": step.pend, "then": then, "undo": undo}
    plan = {name: [draft_to_json(draft) for draft in drafts] for name, drafts in parts.items()}
    return dataclasses.replace(step, operation=dataclasses.replace(step.operation, plan=plan))


async def seen(
    mirror: Mirror, *during: Step, member: str = "ann", sub_account: SubAccount = ANN
) -> tuple[Position, Motion]:
    """What is read before and after ``during``."""
    before = await mirror.reads.position(sub_account, DAY)
    for step in during:
        await mirror.do(step)
    return before, await mirror.reads.motion(sub_account, MemberCode(member), before)


async def test_the_payers_and_the_payees_side_of_an_open_payment_are_known(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = planned(opening(pay(ANN, BOB, 60, 1), payer=SubAccount("ann"), payee=SubAccount("bob")))
    await mirror.do(step)
    await mirror.do(doubting(step))
    before, motion = await seen(mirror)
    assert (before.balance_fen, before.held_fen) == ({Kind.WITHDRAWABLE: 100}, {Kind.WITHDRAWABLE: 60})
    assert motion.taken_fen[Kind.WITHDRAWABLE] == 60
    _, motion = await seen(mirror, member="bob", sub_account=BOB)
    assert (motion.taken_fen, motion.given_fen) == ({Kind.UNCLEARED: 0}, {Kind.UNCLEARED: 59})
    _, motion = await seen(mirror, member="", sub_account=NO_SUB_ACCOUNT)
    assert motion.given_fen[Kind.FEE] == 1
    _, motion = await seen(mirror, member="cat", sub_account=SubAccount("1003"))
    assert motion == Motion()


async def test_a_payment_that_began_and_ended_while_the_bank_was_asked_is_known(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    for member, sub_account in (("ann", ANN), ("bob", BOB)):
        step = planned(opening(pay(ANN, BOB, 10, 1), payer=SubAccount("ann"), payee=SubAccount("bob")))
        _, motion = await seen(mirror, step, posting(step), member=member, sub_account=sub_account)
        if member == "ann":
            assert motion.taken_fen[Kind.WITHDRAWABLE] == 10
        else:
            assert motion.given_fen[Kind.UNCLEARED] == 9
    # What ended before is in the position, and moves no more.
    _, motion = await seen(mirror)
    assert motion == Motion()


async def test_a_payment_that_was_open_before_and_ended_meanwhile_is_known(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    for end in (posting, voiding):
        step = planned(opening(pay(ANN, BOB, 10), payer=SubAccount("ann"), payee=SubAccount("bob")))
        await mirror.do(step)
        _, motion = await seen(mirror, end(step))
        assert motion.taken_fen == {Kind.WITHDRAWABLE: 10}


async def test_money_on_its_way_into_orders_and_out_of_them_is_known(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    for draft, kind in ((freeze(ANN, "O1", 10), Kind.FROZEN), (prepay(ANN, "O2", 10), Kind.ESCROW)):
        step = planned(opening(draft, payer=SubAccount("ann")))
        await mirror.do(step)
        _, motion = await seen(mirror)
        assert (motion.taken_fen[Kind.WITHDRAWABLE], motion.given_fen[kind]) == (10, 10)
        await mirror.do(posting(step))


async def test_an_accepted_withdrawal_may_still_come_back(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    taken = Draft((Leg(withdrawable(ANN), OfDay(Kind.WITHDRAWING), 40),), payer=MemberCode("ann"), amount_fen=40)
    back = Draft((Leg(OfDay(Kind.WITHDRAWING), withdrawable(ANN), 40),), payee=MemberCode("ann"), amount_fen=40)
    step = planned(opening(taken, payer=SubAccount("ann")), undo=(back,))
    await mirror.do(step)
    accepted = dataclasses.replace(posting(step), change=Change(state=State.ACCEPTED, next_ask_in_s=1.0))
    await mirror.do(accepted)
    before, motion = await seen(mirror)
    assert before.balance_fen[Kind.WITHDRAWABLE] == 60
    assert (motion.taken_fen, motion.given_fen) == ({Kind.WITHDRAWABLE: 0}, {Kind.WITHDRAWABLE: 40})


async def test_every_member_of_a_split_top_up_is_known_to_wait_for_its_share(mirror: Mirror) -> None:
    shares = [
        dataclasses.replace(top_up(sub, 10), payee=MemberCode(name)) for sub, name in ((ANN, "ann"), (BOB, "bob"))
    ]
    await mirror.do(planned(opening(*shares)))
    for member, sub_account in (("ann", ANN), ("bob", BOB)):
        _, motion = await seen(mirror, member=member, sub_account=sub_account)
        assert motion.given_fen == {Kind.UNCLEARED: 10}
    _, motion = await seen(mirror, member="", sub_account=NO_SUB_ACCOUNT)
    assert motion.taken_fen[Kind.IN_TRANSIT] == 20


async def test_money_of_earlier_days_and_a_clearing_that_is_due_are_told(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[top_up(ANN, 30)], bank_day=DAY_BEFORE))
    await mirror.do(opening(enter=[top_up(ANN, 20)], bank_day=DAY))
    assert (await mirror.reads.position(ANN, DAY)).earlier_fen == {Kind.UNCLEARED: 30}
    assert (await mirror.reads.position(ANN, DAY_AFTER)).earlier_fen == {Kind.UNCLEARED: 50}
    assert (await mirror.reads.position(BOB, DAY)).clearing_is_due
    assert not (await mirror.reads.position(BOB, DAY_BEFORE)).clearing_is_due
    assert (await mirror.reads.position(NO_SUB_ACCOUNT, DAY)).earlier_fen[Kind.IN_TRANSIT] == -30
    assert FEE.kind not in (await mirror.reads.position(NO_SUB_ACCOUNT, DAY)).balance_fen


async def test_the_last_comparison_is_kept_and_an_older_one_does_not_replace_it(mirror: Mirror) -> None:
    found = judge(ANN, Amounts(150, 100, 20), position(RICH), FREEZES)
    later = found._replace(bank=Amounts(1, 2, 3), result=Result.DIFFERS, compared_at=NOW.replace(hour=1))
    member = opening(members=(member_of("ann"),), state=State.DONE)
    await mirror.do(member)
    assert await last(mirror) is None
    for one in (found, later, found):
        await mirror.reads.keep(one)
    assert await last(mirror) == later


async def last(mirror: Mirror) -> Comparison | None:
    return (await mirror.reads.balances_of([MemberCode("ann")]))[MemberCode("ann")].compared


def member_of(name: str) -> Member:
    return Member(member_id=MemberCode(name), sub_account=ANN, property="00")

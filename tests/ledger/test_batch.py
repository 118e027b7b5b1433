"""A batch is judged step by step: each succeeds or fails on its own, in order of arrival."""

from __future__ import annotations

import dataclasses

import pytest

from ledger import (
    REASON_FLOOR,
    Change,
    Draft,
    FloorBroken,
    Leg,
    Member,
    NewOperation,
    OperationUnknown,
    PartState,
    RequestIdReused,
    State,
    Step,
)
from ledger.accounts import FEE, LIMITS, POOLED, escrow, order, refundable, refundable_fee, waiting, withdrawable
from ledger.batch import Rows, accounts_of
from ledger.errors import LedgerCorrupt
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    OneByOne,
    again,
    assert_whole,
    book_of,
    clearing,
    doubting,
    money,
    new_id,
    opening,
    pay,
    posting,
    prepay,
    standing,
    top_up,
    voiding,
)


def rich(fen: int = 100) -> OneByOne:
    """Ann has money that she can withdraw."""
    return OneByOne(book_of({withdrawable(ANN): fen}))


def test_of_256_steps_exactly_those_3_fail_that_break_a_floor_each_with_its_own_amounts() -> None:
    payers = [f"{number:04}" for number in range(256)]
    greedy = {7: 101, 100: 5000, 255: 102}
    bench = OneByOne(book_of({withdrawable(payer): 100 for payer in payers}))
    breaches = {}
    for number, payer in enumerate(payers):
        try:
            bench.judge(opening(pay(payer, BOB, greedy.get(number, 100))))
        except FloorBroken as refusal:
            breaches[number] = refusal.breach
    assert {number: (b.owner, b.needed_fen, b.left_fen) for number, b in breaches.items()} == {
        number: (payers[number], fen, 100) for number, fen in greedy.items()
    }
    assert len(bench.rows.operations_new) == 256
    assert len(bench.rows.transactions) == len(bench.rows.holds) == 253
    refused = [o for o in bench.rows.operations_new.values() if o.state is State.REFUSED]
    assert [o.breach and o.breach["needed_fen"] for o in refused] == list(greedy.values())
    assert_whole(bench.book)


def test_the_first_to_arrive_gets_the_last_money() -> None:
    bench = rich(100)
    first, second, third = opening(pay(ANN, BOB, 70)), opening(pay(ANN, BOB, 70)), opening(pay(ANN, BOB, 30))
    assert bench.judge(first).did
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(second)
    assert refusal.value.breach.left_fen == 30
    assert bench.judge(third).did


def test_money_let_go_in_a_batch_can_be_spent_later_in_it() -> None:
    bench = rich(100)
    first = opening(pay(ANN, BOB, 100))
    bench.judge(first)
    bench.judge(voiding(first))
    assert bench.judge(opening(pay(ANN, CAT, 100))).did


def test_money_that_arrives_in_a_batch_can_be_spent_later_in_it() -> None:
    bench = OneByOne()
    bench.judge(opening(enter=[top_up(ANN, 100)]))
    bench.judge(opening(enter=[pay(ANN, BOB, 100)]))
    assert standing(bench.book)[waiting(BOB, DAY).name] == (100, 0)


def test_a_refused_step_adds_its_refusal_and_nothing_else() -> None:
    bench = rich(100)
    before = standing(bench.book)
    step = opening(pay(ANN, BOB, 60), pay(ANN, BOB, 60), enter=[top_up(CAT, 5)])
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(step)
    assert standing(bench.book) == before
    rows = bench.rows
    assert [*rows.transactions, *rows.holds, *rows.resolutions, *rows.legs] == []
    assert [(o.id, o.state, o.reason) for o in rows.operations_new.values()] == [
        (step.operation_id, State.REFUSED, REASON_FLOOR)
    ]
    assert [change.state for _, change, _ in rows.events] == [State.REFUSED]
    assert refusal.value.operation == rows.operations_new[step.operation_id]


def test_a_refusal_that_is_not_kept_leaves_nothing_and_the_same_request_may_try_again() -> None:
    bench = rich(100)
    before = standing(bench.book)
    step = opening(pay(ANN, BOB, 101), keeps_refusal=False)
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(step)
    assert (refusal.value.operation, refusal.value.breach.left_fen) == (None, 100)
    assert standing(bench.book) == before
    assert bench.rows == Rows()
    assert bench.known.parts == {}
    bench.judge(opening(enter=[top_up(ANN, 1)]))
    assert bench.judge(dataclasses.replace(step, keeps_refusal=True)).did


def test_a_released_operation_whose_refusal_is_not_kept_stays_released() -> None:
    bench = rich(100)
    step = released(bench)
    bench.judge(opening(pay(ANN, CAT, 50)))
    with pytest.raises(FloorBroken):
        bench.judge(dataclasses.replace(again(step), keeps_refusal=False))
    assert bench.known.by_id[step.operation_id].state is State.RELEASED
    assert step.operation_id not in bench.rows.reopened


def test_what_a_step_entered_is_taken_back_when_a_later_part_of_it_is_refused() -> None:
    bench = rich(100)
    before = standing(bench.book)
    with pytest.raises(FloorBroken):
        bench.judge(opening(pay(ANN, BOB, 10), enter=[top_up(BOB, 50, 5), pay(ANN, BOB, 20), pay(CAT, BOB, 1)]))
    assert standing(bench.book) == before


def test_a_refusal_while_an_operation_goes_on_leaves_it_where_it_was() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 100))
    bench.judge(opened)
    before = standing(bench.book)
    with pytest.raises(FloorBroken):
        bench.judge(posting(opened, enter=(pay(ANN, CAT, 1),)))
    assert standing(bench.book) == before
    assert bench.known.by_id[opened.operation_id].state is State.RESERVED
    assert bench.judge(posting(opened)).did


def test_the_same_request_in_one_batch_acts_once() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    first, second = bench.judge(step), bench.judge(again(step))
    assert (first.did, second.did) == (True, False)
    assert second.operation == first.operation
    assert standing(bench.book)[withdrawable(ANN).name] == (100, 60)


def test_a_refused_request_stays_refused_when_the_money_has_come() -> None:
    bench = rich(10)
    step = opening(pay(ANN, BOB, 60))
    with pytest.raises(FloorBroken):
        bench.judge(step)
    bench.judge(opening(enter=[top_up(ANN, 100)]))
    outcome = bench.judge(again(step))
    assert not outcome.did
    assert outcome.operation.state is State.REFUSED
    assert outcome.operation.breach is not None


def test_a_request_id_with_other_content_is_refused_with_both_fingerprints() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60), content=b"sixty")
    bench.judge(step)
    with pytest.raises(RequestIdReused) as refusal:
        bench.judge(again(step, content=b"seventy"))
    assert (refusal.value.operation.fingerprint, refusal.value.fingerprint) == (b"sixty", b"seventy")


def test_a_step_whose_commit_was_not_heard_of_is_told_what_it_did() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    assert bench.judge(step) == bench.judge(step)
    assert standing(bench.book)[withdrawable(ANN).name] == (100, 60)


def test_a_refusal_whose_commit_was_not_heard_of_is_raised_again_and_never_passes_for_a_reservation() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 160))
    breaches = []
    for _ in range(2):
        with pytest.raises(FloorBroken) as refusal:
            bench.judge(step)
        breaches.append(refusal.value.breach)
    assert breaches[0] == breaches[1]


def test_a_reservation_that_was_resolved_meanwhile_is_not_told_as_done_again() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    bench.judge(step)
    bench.judge(doubting(step))
    outcome = bench.judge(step)
    assert not outcome.did
    assert outcome.operation.state is State.UNKNOWN


def released(bench: OneByOne) -> Step:
    """A payment whose call never left."""
    step = opening(pay(ANN, BOB, 60))
    bench.judge(step)
    bench.judge(voiding(step, state=State.RELEASED))
    return step


def test_a_released_operation_is_tried_again_under_a_serial_of_its_own() -> None:
    bench = rich(100)
    step = released(bench)
    retry = again(step)
    outcome = bench.judge(retry)
    assert isinstance(retry.operation, NewOperation)
    assert outcome.did
    assert (outcome.operation.id, outcome.operation.serial) == (step.operation_id, retry.operation.serial)
    assert outcome.pended == (2,)
    assert [part.state for part in outcome.parts] == [PartState.VOIDED, PartState.RESERVED]
    assert bench.judge(retry) == outcome
    assert standing(bench.book)[withdrawable(ANN).name] == (100, 60)


def test_a_released_operation_that_finds_no_money_is_refused_for_good() -> None:
    bench = rich(100)
    step = released(bench)
    bench.judge(opening(pay(ANN, CAT, 50)))
    retry = again(step)
    for _ in range(2):
        with pytest.raises(FloorBroken) as refusal:
            bench.judge(retry)
        assert refusal.value.breach.left_fen == 50
    assert bench.judge(again(step)).operation.state is State.REFUSED


def test_a_check_writes_nothing() -> None:
    bench = rich(100)
    before = standing(bench.book)
    outcome = bench.judge(opening(prepay(ANN, "O1", 60), check_only=True))
    assert not outcome.did
    assert standing(bench.book) == before
    assert bench.book.touched == set()
    assert bench.rows == Rows()
    assert bench.judge(opening(prepay(ANN, "O1", 60))).did


def test_a_check_says_which_floor_would_break_and_records_no_refusal() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 101), check_only=True)
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(step)
    assert refusal.value.operation is None
    assert bench.rows == Rows()
    assert bench.judge(dataclasses.replace(again(step), pend=(pay(ANN, BOB, 100),))).did


def test_a_check_of_a_released_request_does_not_take_it_up() -> None:
    bench = rich(100)
    step = released(bench)
    assert not bench.judge(dataclasses.replace(again(step), check_only=True)).did
    assert bench.known.by_id[step.operation_id].state is State.RELEASED


def test_a_settlement_that_comes_late_does_nothing() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 60))
    bench.judge(opened)
    bench.judge(posting(opened))
    before, legs = standing(bench.book), len(bench.rows.legs)
    for late in (posting(opened), voiding(opened), doubting(opened)):
        outcome = bench.judge(late)
        assert not outcome.did
        assert outcome.operation.state is State.DONE
    assert standing(bench.book) == before
    assert len(bench.rows.legs) == legs


def test_a_late_success_after_a_doubt_is_posted() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 60))
    bench.judge(opened)
    bench.judge(doubting(opened))
    assert standing(bench.book)[withdrawable(ANN).name] == (100, 60)
    assert bench.judge(posting(opened)).did
    assert standing(bench.book) == {withdrawable(ANN).name: (40, 0), waiting(BOB, DAY).name: (60, 0)}


def test_a_doubt_that_comes_after_the_resolver_has_asked_does_nothing() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 60))
    bench.judge(opened)
    bench.judge(doubting(opened))
    assert not bench.judge(doubting(opened)).did


def test_some_parts_are_posted_and_others_voided() -> None:
    bench = OneByOne()
    opened = opening(top_up(ANN, 50), top_up(BOB, 30), top_up(CAT, 20))
    bench.judge(opened)
    outcome = bench.judge(posting(opened, 1, 3, void=(2,)))
    assert [part.state for part in outcome.parts] == [PartState.POSTED, PartState.VOIDED, PartState.POSTED]
    assert standing(bench.book)[waiting(CAT, DAY).name] == (20, 0)
    assert waiting(BOB, DAY).name not in standing(bench.book)


def test_a_part_that_is_not_pending_cannot_be_settled() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 60))
    bench.judge(opened)
    with pytest.raises(LedgerCorrupt, match="part 2"):
        bench.judge(dataclasses.replace(voiding(opened), void=(2,)))


def test_an_acceptance_posts_the_first_movement_and_holds_nothing_for_the_second() -> None:
    bench = rich(100)
    opened = opening(Draft((Leg(withdrawable(ANN), FEE, 100),)))
    bench.judge(opened)
    accepted = dataclasses.replace(
        posting(opened), change=Change(state=State.ACCEPTED, next_ask_in_s=60.0), pend=(money(LIMITS, 100),)
    )
    outcome = bench.judge(accepted)
    assert outcome.pended == (2,)
    assert outcome.operation.bank_day == DAY
    assert [part.state for part in outcome.parts] == [PartState.POSTED, PartState.RESERVED]


def test_a_void_after_its_day_was_cleared_leaves_the_money_withdrawable() -> None:
    bench = OneByOne(book_of({waiting(ANN, DAY): 70, withdrawable(ANN): 30}))
    opened = opening(pay(ANN, BOB, 90))
    bench.judge(opened)
    bench.judge(clearing(DAY))
    outcome = bench.judge(voiding(opened))
    assert {name: fen for name, fen in standing(bench.book).items() if ANN in name} == {
        withdrawable(ANN).name: (100, 0)
    }
    assert [part.state for part in outcome.parts] == [PartState.VOIDED, PartState.POSTED]


def test_a_clearing_in_a_batch_holds_for_the_steps_after_it() -> None:
    bench = OneByOne()
    bench.judge(opening(enter=[top_up(ANN, 10)]))
    bench.judge(clearing(DAY))
    bench.judge(opening(enter=[top_up(ANN, 20)]))
    assert {name: fen for name, fen in standing(bench.book).items() if ANN in name} == {
        waiting(ANN, DAY).name: (10, 0),
        withdrawable(ANN).name: (20, 0),
    }


def test_days_that_are_cleared_stay_cleared() -> None:
    bench = OneByOne()
    for day in (DAY, DAY_BEFORE):
        bench.judge(clearing(day))
    assert bench.rows.cleared_through == DAY


def test_a_member_is_recorded_with_the_step_that_opened_it() -> None:
    bench = OneByOne()
    ann = Member(member_id="ann", sub_account=ANN, property="00")
    bench.judge(opening(state=State.DONE, members=(ann,)))
    assert [member for _, member in bench.rows.members] == [ann]


def test_an_operation_that_nobody_opened_is_unknown() -> None:
    step = Step(operation=new_id(), change=Change(state=State.DONE), bank_day=DAY)
    with pytest.raises(OperationUnknown):
        OneByOne().judge(step)


def test_a_step_that_holds_loads_what_it_may_debit() -> None:
    accounts, drawn = accounts_of(opening(pay(ANN, BOB, 10, 1, serial="S1"), prepay(CAT, "O1", 5)))
    assert (accounts, drawn) == ({order("O1")}, {ANN, CAT})


def test_a_step_that_posts_loads_where_the_money_may_land_too() -> None:
    accounts, drawn = accounts_of(posting(opening(pay(ANN, BOB, 10, 1, serial="S1"), prepay(CAT, "O1", 5))))
    assert accounts == {
        waiting(BOB, DAY),
        withdrawable(BOB),
        refundable("S1"),
        refundable_fee("S1"),
        escrow(CAT, "O1"),
    }
    assert drawn == set()


def test_accounts_without_a_floor_are_never_loaded() -> None:
    accounts, drawn = accounts_of(opening(enter=[Draft((Leg(POOLED, FEE, 1),))], bank_day=DAY_AFTER))
    assert (accounts, drawn) == (set(), set())

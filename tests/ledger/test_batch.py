"""A batch is judged step by step: each succeeds or fails on its own, in order of arrival."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from ledger import (
    REASON_FLOOR,
    Available,
    Card,
    CardChange,
    CardState,
    Change,
    CheckedBy,
    Draft,
    FloorBroken,
    Kind,
    Leg,
    Member,
    NewOperation,
    OfDay,
    Operation,
    OperationUnknown,
    Part,
    PartState,
    RequestIdReused,
    State,
    Step,
    StepOutcome,
    accounts,
)
from ledger.accounts import FEE, LIMITS, POOLED, escrow, order, refundable, refundable_fee, uncleared, withdrawable
from ledger.batch import Rows, accounts_of
from ledger.errors import Breach, LedgerCorrupt
from ledger.names import NO_SUB_ACCOUNT, BankSerial, MemberCode, RequestId, Serial, SubAccount
from ledger.rules import Hold, Posting
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
    closing,
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
    bench = OneByOne(book_of({withdrawable(SubAccount(payer)): 100 for payer in payers}))
    breaches = {}
    for number, payer in enumerate(payers):
        try:
            bench.judge(opening(pay(SubAccount(payer), BOB, greedy.get(number, 100))))
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
    assert standing(bench.book)[uncleared(BOB, DAY).name] == (100, 0)


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


def test_a_request_id_with_other_content_is_refused_and_no_fingerprint_is_told() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60), content=b"sixty")
    bench.judge(step)
    with pytest.raises(RequestIdReused) as refusal:
        bench.judge(again(step, content=b"seventy"))
    assert refusal.value.operation.fingerprint == b"sixty"
    assert not [told for told in (b"sixty", b"seventy") if told.hex() in str(refusal.value)]


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
    assert standing(bench.book) == {withdrawable(ANN).name: (40, 0), uncleared(BOB, DAY).name: (60, 0)}


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
    assert standing(bench.book)[uncleared(CAT, DAY).name] == (20, 0)
    assert uncleared(BOB, DAY).name not in standing(bench.book)


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
    bench = OneByOne(book_of({uncleared(ANN, DAY): 70, withdrawable(ANN): 30}))
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
        uncleared(ANN, DAY).name: (10, 0),
        withdrawable(ANN).name: (20, 0),
    }


def test_days_that_are_cleared_stay_cleared() -> None:
    bench = OneByOne()
    for day in (DAY, DAY_BEFORE):
        bench.judge(clearing(day))
    assert bench.rows.cleared_through == DAY


def test_a_member_is_recorded_with_the_step_that_opened_it() -> None:
    bench = OneByOne()
    ann = Member(member_id=MemberCode("ann"), sub_account=ANN, property="00")
    bench.judge(opening(state=State.DONE, members=(ann,)))
    assert [member for _, member in bench.rows.members] == [ann]


def test_an_operation_that_nobody_opened_is_unknown() -> None:
    step = Step(operation=new_id(), change=Change(state=State.DONE), bank_day=DAY)
    with pytest.raises(OperationUnknown):
        OneByOne().judge(step)


def test_a_step_that_holds_loads_what_it_may_debit() -> None:
    accounts, drawn = accounts_of(opening(pay(ANN, BOB, 10, 1, serial=Serial("S1")), prepay(CAT, "O1", 5)))
    assert (accounts, drawn) == ({order("O1")}, {ANN, CAT})


def test_a_step_that_posts_loads_where_the_money_may_land_too() -> None:
    accounts, drawn = accounts_of(posting(opening(pay(ANN, BOB, 10, 1, serial=Serial("S1")), prepay(CAT, "O1", 5))))
    assert accounts == {
        uncleared(BOB, DAY),
        withdrawable(BOB),
        refundable(Serial("S1")),
        refundable_fee(Serial("S1")),
        escrow(CAT, "O1"),
    }
    assert drawn == set()


def test_accounts_without_a_floor_are_never_loaded() -> None:
    accounts, drawn = accounts_of(opening(enter=[Draft((Leg(POOLED, FEE, 1),))], bank_day=DAY_AFTER))
    assert (accounts, drawn) == (set(), set())


# What is written, to the last column.

BEGAN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def later(bench: OneByOne) -> Rows:
    """The next batch, an hour later; returns its rows."""
    bench.known.now = LATER
    bench.rows = Rows()
    return bench.rows


def whole_payment() -> Draft:
    """A payment of a batch, with an order of its own."""
    return dataclasses.replace(
        pay(SubAccount("1001"), SubAccount("1002"), 60, 6, serial=Serial("P1")), corrects=3, order_no="O7"
    )


def test_an_opening_is_kept_as_it_was_asked_for_and_as_it_stands() -> None:
    bench = rich(100)
    new = NewOperation(
        id=new_id(),
        request_id=RequestId("r"),
        fingerprint=b"f",
        kind="PAY_T1",
        serial=Serial("S"),
        plan={"who": "买家"},
        payer=MemberCode("ann"),
        payee=MemberCode("bob"),
        order_no="O1",
        amount_fen=60,
        fee_fen=6,
        trace_id="t",
    )
    change = Change(
        state=State.UNKNOWN,
        reason="stopped",
        message="m",
        bank_code="ERR1",
        bank_message="忙",
        bank_serial=BankSerial("B1"),
        next_ask_in_s=60.0,
        query_attempts=2,
        not_found=1,
    )
    outcome = bench.judge(Step(operation=new, change=change, bank_day=DAY, pend=(pay(ANN, BOB, 60),)))
    assert outcome.operation == Operation(
        id=new.id,
        request_id=RequestId("r"),
        fingerprint=b"f",
        kind="PAY_T1",
        serial=Serial("S"),
        state=State.UNKNOWN,
        payer=MemberCode("ann"),
        payee=MemberCode("bob"),
        order_no="O1",
        amount_fen=60,
        fee_fen=6,
        reason="stopped",
        message="m",
        breach=None,
        bank_code="ERR1",
        bank_message="忙",
        bank_serial=BankSerial("B1"),
        bank_day=None,
        trace_id="t",
        plan_text='{"who": "买家"}',
        query_attempts=2,
        not_found=1,
        next_query_at=BEGAN + timedelta(seconds=60),
        created_at=BEGAN,
        updated_at=BEGAN,
    )
    assert bench.rows.next_ask_in_s == {new.id: 60.0}
    assert bench.rows.events == [(new.id, change, outcome.operation.plan_digest)]


@pytest.mark.parametrize(
    ("state", "bank_day"), [(State.DONE, DAY), (State.ACCEPTED, DAY), (State.UNKNOWN, None), (State.RESERVED, None)]
)
def test_an_operation_has_a_bank_day_from_its_opening_where_the_bank_has_acted(
    state: State, bank_day: date | None
) -> None:
    assert OneByOne().judge(opening(state=state)).operation.bank_day == bank_day


def test_a_reservation_writes_its_transactions_and_what_they_hold() -> None:
    bench = rich(100)
    draft = whole_payment()
    step = opening(draft)
    outcome = bench.judge(step)
    part = Part(1, Serial("P1"), MemberCode(ANN), MemberCode(BOB), 60, 6, PartState.RESERVED, None, 3, "O7")
    assert outcome.parts == (part,)
    rows = bench.rows
    assert rows.transactions == [(step.operation_id, 1, draft)]
    assert rows.holds == [(step.operation_id, 1, Hold(withdrawable(ANN), 60))]
    assert (rows.resolutions, rows.legs) == ([], [])


def test_a_posting_writes_its_resolution_and_its_legs_in_order() -> None:
    bench = rich(100)
    step = opening(whole_payment())
    bench.judge(step)
    rows = later(bench)
    known = dataclasses.replace(whole_payment(), bank_serial=BankSerial("B1"))
    outcome = bench.judge(dataclasses.replace(posting(step, bank_day=DAY_AFTER), post={1: known}))
    posted = Part(1, Serial("P1"), MemberCode(ANN), MemberCode(BOB), 60, 6, PartState.POSTED, DAY_AFTER, 3, "O7")
    assert outcome.parts == (posted._replace(bank_serial=BankSerial("B1")),)
    assert rows.resolutions == [(step.operation_id, 1, PartState.POSTED, DAY_AFTER, "B1")]
    assert rows.legs == [
        (step.operation_id, 1, 1, Posting(withdrawable(ANN), uncleared(BOB, DAY_AFTER), 54)),
        (step.operation_id, 1, 2, Posting(withdrawable(ANN), FEE, 6)),
        (step.operation_id, 1, 3, Posting(LIMITS, refundable(Serial("P1")), 60)),
        (step.operation_id, 1, 4, Posting(LIMITS, refundable_fee(Serial("P1")), 6)),
    ]
    assert (rows.transactions, rows.holds) == ([], [])
    assert rows.operations_changed == {step.operation_id: outcome.operation}
    assert rows.operations_new == {}


def test_a_void_writes_its_resolution_and_no_legs() -> None:
    bench = rich(100)
    step = opening(whole_payment())
    bench.judge(step)
    rows = later(bench)
    outcome = bench.judge(voiding(step, bank_day=DAY_AFTER))
    assert outcome.parts == (
        Part(1, Serial("P1"), MemberCode(ANN), MemberCode(BOB), 60, 6, PartState.VOIDED, DAY_AFTER, 3, "O7"),
    )
    assert rows.resolutions == [(step.operation_id, 1, PartState.VOIDED, DAY_AFTER, "")]
    assert rows.legs == []


def test_what_the_bank_has_done_already_is_written_with_what_it_took() -> None:
    bench = rich(100)
    draft = whole_payment()
    credited = dataclasses.replace(top_up(CAT, 5), bank_serial=BankSerial("B2"))
    step = opening(enter=[draft, credited])
    outcome = bench.judge(step)
    assert outcome.parts[0] == Part(
        1, Serial("P1"), MemberCode(ANN), MemberCode(BOB), 60, 6, PartState.POSTED, DAY, 3, "O7"
    )
    rows = bench.rows
    assert rows.transactions == [(step.operation_id, 1, draft), (step.operation_id, 2, credited)]
    assert rows.holds == [(step.operation_id, 1, Hold(withdrawable(ANN), 60))]
    assert rows.resolutions == [
        (step.operation_id, number, PartState.POSTED, DAY, serial) for number, serial in ((1, ""), (2, "B2"))
    ]
    assert [row[1:3] for row in rows.legs] == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]


def test_parts_are_numbered_on_from_the_last_one() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 10), pay(ANN, CAT, 20), enter=[top_up(BOB, 1), top_up(CAT, 2), top_up(CAT, 3)])
    assert [part.amount_fen for part in bench.judge(opened).parts] == [10, 20, 1, 2, 3]
    accepted = dataclasses.replace(
        posting(opened), change=Change(state=State.ACCEPTED, next_ask_in_s=60.0), pend=(pay(ANN, BOB, 30),)
    )
    outcome = bench.judge(accepted)
    assert (outcome.pended, [part.amount_fen for part in outcome.parts]) == ((6,), [10, 20, 1, 2, 3, 30])


def test_an_operation_that_is_new_in_a_batch_stays_new_in_it_and_is_changed_in_the_next() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    bench.judge(step)
    bench.judge(doubting(step))
    assert (list(bench.rows.operations_new), bench.rows.operations_changed) == ([step.operation_id], {})
    rows = later(bench)
    bench.judge(posting(step))
    assert (rows.operations_new, list(rows.operations_changed)) == ({}, [step.operation_id])


def test_what_the_bank_said_stays_with_the_operation_until_it_says_more() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60), kind="WITHDRAW", payer=SubAccount("ann"), order_no="O1", amount_fen=60)
    opened = bench.judge(step).operation
    accepted = Change(
        state=State.ACCEPTED,
        reason="in-process",
        message="m",
        bank_code="000000",
        bank_message="受理",
        bank_serial=BankSerial("B1"),
        next_ask_in_s=30.0,
        query_attempts=3,
        not_found=2,
        evidence=b"signed",
    )
    rows = later(bench)
    outcome = bench.judge(dataclasses.replace(posting(step, bank_day=DAY_AFTER), change=accepted))
    known = opened._replace(
        state=State.ACCEPTED,
        reason="in-process",
        message="m",
        bank_code="000000",
        bank_message="受理",
        bank_serial=BankSerial("B1"),
        bank_day=DAY_AFTER,
        query_attempts=3,
        not_found=2,
        next_query_at=LATER + timedelta(seconds=30),
        updated_at=LATER,
    )
    assert outcome.operation == known
    assert rows.next_ask_in_s == {step.operation_id: 30.0}
    # Its plan was sealed with its opening.
    assert rows.events == [(step.operation_id, accepted, b"signed")]
    silent = Change(state=State.UNKNOWN, next_ask_in_s=30.0)
    outcome = bench.judge(Step(operation=step.operation_id, change=silent, bank_day=DAY))
    assert outcome.operation == known._replace(
        state=State.UNKNOWN, reason="", message="", query_attempts=0, not_found=0
    )
    more = Change(state=State.DONE, bank_code="000001", bank_message="成功", bank_serial=BankSerial("B2"))
    outcome = bench.judge(Step(operation=step.operation_id, change=more, bank_day=DAY_BEFORE))
    assert outcome.operation == known._replace(
        state=State.DONE,
        reason="",
        message="",
        bank_code="000001",
        bank_message="成功",
        bank_serial=BankSerial("B2"),
        bank_day=DAY_BEFORE,
        query_attempts=0,
        not_found=0,
        next_query_at=None,
    )


def test_a_refused_operation_says_what_it_asked_for_and_which_floor_was_in_the_way() -> None:
    bench = rich(100)
    step = opening(
        whole_payment(),
        pay(ANN, BOB, 60),
        payer=SubAccount("ann"),
        payee=SubAccount("bob"),
        order_no="O1",
        amount_fen=120,
    )
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(step)
    refused = refusal.value.operation
    assert refused is not None
    assert (refused.state, refused.reason, refused.bank_day) == (State.REFUSED, "floor", None)
    assert refused.breach == {
        "pocket": "available",
        "owner": ANN,
        "ref": "",
        "needed_fen": 120,
        "left_fen": 100,
    }
    assert bench.rows.next_ask_in_s == {step.operation_id: None}
    ((_, change, evidence),) = bench.rows.events
    assert (change, evidence) == (Change(state=State.REFUSED, reason="floor"), refused.plan_digest)


def test_a_released_operation_keeps_its_beginning_when_it_is_tried_again() -> None:
    bench = rich(100)
    step = released(bench)
    rows = later(bench)
    retry = again(step)
    operation = bench.judge(retry).operation
    assert (operation.created_at, operation.updated_at) == (BEGAN, LATER)
    assert rows.reopened == {step.operation_id}
    assert (rows.operations_new, rows.operations_changed) == ({}, {step.operation_id: operation})
    # Under another serial, so the plan is sealed again.
    assert rows.events == [(step.operation_id, retry.change, operation.plan_digest)]


def test_a_released_operation_that_is_refused_is_changed_and_not_new() -> None:
    bench = rich(100)
    step = released(bench)
    bench.judge(opening(pay(ANN, CAT, 50)))
    rows = later(bench)
    with pytest.raises(FloorBroken) as refusal:
        bench.judge(again(step))
    assert rows.operations_changed == {step.operation_id: refusal.value.operation}
    assert rows.operations_new == {}


def test_cards_are_recorded_with_the_step_that_finds_them() -> None:
    card = Card(
        card_id=new_id(),
        member_id=MemberCode("ann"),
        key_id="k",
        digest=b"d",
        sealed=b"s",
        masked="0000",
        bank_type="1",
        checked_by=CheckedBy.SMS,
    )
    bound = CardChange(card_id=card.card_id, state=CardState.BOUND)
    bench = OneByOne()
    bench.judge(opening(state=State.DONE, cards_new=(card,), cards=(bound,)))
    assert (bench.rows.cards_new, bench.rows.cards) == ([card], [bound])


def test_no_day_is_cleared_by_a_step_that_clears_none() -> None:
    bench = rich(100)
    bench.judge(opening(pay(ANN, BOB, 60)))
    assert (bench.rows.cleared_through, bench.book.cleared_through) == (None, None)


# What an operation is found by.


def row(payer: SubAccount, payee: SubAccount, order_no: str) -> Draft:
    return dataclasses.replace(top_up(BOB, 5), payer=MemberCode(payer), payee=MemberCode(payee), order_no=order_no)


def opened_through(*drafts: Draft, found_by: tuple[tuple[str, str], ...] = ()) -> Step:
    step = opening(*drafts, payer=SubAccount("ann"), payee=SubAccount("bob"), order_no="O1")
    assert isinstance(step.operation, NewOperation)
    return dataclasses.replace(step, operation=dataclasses.replace(step.operation, found_by=found_by))


def test_an_operation_is_found_by_its_channels_number_and_by_the_members_and_orders_of_its_parts() -> None:
    bench = OneByOne()
    step = opened_through(
        row(SubAccount("ann"), SubAccount("bob"), "O1"),
        row(SubAccount("ann"), SubAccount("cat"), "O2"),
        row(SubAccount("dan"), SubAccount("bob"), ""),
        found_by=(("channel", "T1"), ("reference", "I-7"), ("label", "shop=north")),
    )
    bench.judge(step)
    # What stands in its own columns is found there.
    assert bench.rows.references == [
        (step.operation_id, "channel", "T1"),
        (step.operation_id, "reference", "I-7"),
        (step.operation_id, "label", "shop=north"),
        (step.operation_id, "member", "cat"),
        (step.operation_id, "order", "O2"),
        (step.operation_id, "member", "dan"),
    ]
    bench.rows.references.clear()
    bench.judge(
        dataclasses.replace(posting(step), post={1: row(SubAccount("ann"), SubAccount("eve"), "O1"), 2: step.pend[1]})
    )
    assert (step.operation_id, "member", "eve") in bench.rows.references


def test_an_operation_without_a_channel_is_found_by_none() -> None:
    bench = OneByOne()
    bench.judge(opened_through(row(SubAccount("ann"), SubAccount("bob"), "O1")))
    assert bench.rows.references == []


def test_what_was_entered_is_found_as_what_is_pending() -> None:
    bench = OneByOne()
    step = opening(
        enter=[row(NO_SUB_ACCOUNT, SubAccount("cat"), "O2")],
        payer=SubAccount("ann"),
        payee=SubAccount("bob"),
        order_no="O1",
    )
    bench.judge(step)
    assert bench.rows.references == [(step.operation_id, "member", "cat"), (step.operation_id, "order", "O2")]


def test_a_refused_operation_is_found_by_its_parts_too() -> None:
    bench = OneByOne()
    lacking = dataclasses.replace(pay(CAT, BOB, 1), payer=MemberCode("cat"), payee=MemberCode("bob"))
    step = opened_through(lacking, found_by=(("channel", "T1"),))
    with pytest.raises(FloorBroken):
        bench.judge(step)
    assert bench.rows.references == [(step.operation_id, "channel", "T1"), (step.operation_id, "member", "cat")]


def test_a_booking_is_found_by_its_day_and_by_each_serial_of_the_bank() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    bench.judge(step)
    assert bench.rows.bookings == []
    # Doubted under a serial: the bank has booked it, though nobody knows what.
    doubt = Change(state=State.UNKNOWN, bank_serial=BankSerial("B1"), next_ask_in_s=60.0)
    bench.judge(Step(operation=step.operation_id, change=doubt, bank_day=DAY))
    assert bench.rows.bookings == [(step.operation_id, DAY, "B1")]
    bench.rows.bookings.clear()
    done = Change(state=State.DONE, bank_serial=BankSerial("B1"), bank_serials=(BankSerial("B2"), BankSerial("B3")))
    bench.judge(dataclasses.replace(posting(step, bank_day=DAY_AFTER), change=done))
    assert bench.rows.bookings == [(step.operation_id, DAY_AFTER, serial) for serial in ("B2", "B3")]


def test_a_booking_without_a_serial_is_found_by_its_day() -> None:
    bench = OneByOne()
    step = opening(enter=[top_up(ANN, 5)])
    bench.judge(step)
    assert bench.rows.bookings == [(step.operation_id, DAY, "")]


# What must be there.


def test_an_opening_is_refused_where_a_member_it_needs_is_closed_and_takes_nothing_of_one_that_is_open() -> None:
    bench = rich(100)
    needing = opening(pay(ANN, BOB, 60), needs=(accounts.standing(BOB),))
    assert bench.judge(needing).did
    assert accounts.standing(BOB).name not in standing(bench.book)
    bench.judge(opening(enter=[closing(BOB)]))
    for check_only in (True, False):
        with pytest.raises(FloorBroken) as refusal:
            bench.judge(opening(pay(ANN, BOB, 1), needs=(accounts.standing(BOB),), check_only=check_only))
        assert refusal.value.breach == Breach("standing", BOB, "", needed_fen=1, left_fen=0)


def test_a_part_that_is_over_cannot_be_settled_again() -> None:
    bench = rich(100)
    opened = opening(pay(ANN, BOB, 60))
    bench.judge(opened)
    bench.judge(dataclasses.replace(posting(opened), change=Change(state=State.ACCEPTED, next_ask_in_s=60.0)))
    before = standing(bench.book)
    for late in (posting(opened), voiding(opened)):
        with pytest.raises(LedgerCorrupt, match="part 1"):
            bench.judge(late)
    assert standing(bench.book) == before


def test_an_operation_that_is_dropped_is_not_known_any_more() -> None:
    bench = rich(100)
    step = opening(pay(ANN, BOB, 60))
    operation = bench.judge(step).operation
    bench.known.drop(operation)
    assert (bench.known.by_id, bench.known.by_request, bench.known.parts) == ({}, {}, {})
    bench.known.add(operation)
    bench.known.drop(operation)
    assert bench.known.outcome(operation, did=True) == StepOutcome(operation, True)


def test_a_step_that_enters_loads_what_it_debits_where_the_money_may_land_and_what_it_needs() -> None:
    draft = Draft((Leg(withdrawable(ANN), uncleared(BOB, DAY), 5), Leg(Available(CAT), OfDay(Kind.UNCLEARED, ANN), 1)))
    accounts_, drawn = accounts_of(opening(enter=[draft], needs=(accounts.standing(BOB),), bank_day=DAY_AFTER))
    assert accounts_ == {
        accounts.standing(BOB),
        withdrawable(ANN),
        uncleared(BOB, DAY),
        withdrawable(BOB),
        uncleared(ANN, DAY_AFTER),
    }
    assert drawn == {CAT}

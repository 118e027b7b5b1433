"""What a seed means."""

from __future__ import annotations

from itertools import chain

from sandbox.faults import Fault
from simulate.schedule import (
    CLOCKS_OFF_S,
    FAULTS,
    IN_PART,
    LOST,
    QUESTION_FAULTS,
    SPENDS,
    ActionKind,
    Blow,
    Manner,
    Point,
    of_seed,
)

FIVE_HUNDRED = [of_seed(seed) for seed in range(1, 501)]
ACTIONS = [action for schedule in FIVE_HUNDRED for action in chain.from_iterable(schedule.callers)]


def test_a_seed_is_the_same_schedule_every_time_and_no_other() -> None:
    assert [of_seed(schedule.seed) for schedule in FIVE_HUNDRED] == FIVE_HUNDRED
    assert len({schedule.callers for schedule in FIVE_HUNDRED}) == 500


def test_five_hundred_seeds_hold_everything_that_callers_do_and_everything_that_breaks() -> None:
    assert {action.kind for action in ACTIONS} == set(ActionKind)
    assert {action.manner for action in ACTIONS} == set(Manner)
    assert {death.point for schedule in FIVE_HUNDRED for death in schedule.deaths} == set(Point)
    assert {strike.blow for schedule in FIVE_HUNDRED for strike in schedule.strikes} == set(Blow)
    assert {question.fault for schedule in FIVE_HUNDRED for question in schedule.questions} == set(QUESTION_FAULTS)
    struck = {fault.partition(":")[0] for action in ACTIONS for fault in action.faults}
    own = {"not_found_first", "history", "withdrawal_fail", "withdrawal_return"}
    assert struck == own | {fault.partition(":")[0] for fault in FAULTS}
    assert {schedule.services for schedule in FIVE_HUNDRED} == {1, 2}
    clocks = {ahead_s for schedule in FIVE_HUNDRED for ahead_s in schedule.clocks_s}
    assert clocks == {sign * seconds for sign in (-1, 1) for seconds in CLOCKS_OFF_S}
    # Two services on one ledger, one of them fast and one slow, each by ten minutes.
    assert any(len(one.clocks_s) == 2 and sum(one.clocks_s) == 0 and max(one.clocks_s) == 600 for one in FIVE_HUNDRED)


def test_each_ten_seeds_in_a_row_have_a_kill_a_lost_answer_the_end_of_the_database_and_a_day_that_stays_3() -> None:
    for first in range(490):
        ten = FIVE_HUNDRED[first : first + 10]
        assert any(death.nth <= 8 for schedule in ten for death in schedule.deaths)
        assert any(schedule.callers[0][0].faults == ("lose_after",) for schedule in ten)
        strikes = [strike for schedule in ten for strike in schedule.strikes if strike.after <= 40]
        assert any(strike.blow is Blow.CLEARING_STAYS for strike in strikes)
        ends = (Blow.POSTGRES_KILLED, Blow.POSTGRES_RESTARTED)
        assert any(strike.blow in ends for strike in strikes)


def test_twenty_seeds_in_a_row_do_everything_whatever_the_dice_say() -> None:
    told_of = set(ActionKind) - {ActionKind.LOOK, ActionKind.CLEAR_DAYS, ActionKind.TRANSFER_IN, ActionKind.WITHDRAW}
    for first in range(480):
        twenty = FIVE_HUNDRED[first : first + 20]
        calm = [action for schedule in twenty for action in schedule.night.evening + schedule.night.morning]
        assert {action.kind for action in calm} >= told_of - {ActionKind.REVOKE, ActionKind.PAY_T1}
        stories = [tuple(action.kind for action in schedule.night.evening) for schedule in twenty]
        assert (
            sum(
                story[-3:] == (ActionKind.BATCH_PREPAY, ActionKind.BATCH_CONFIRM, ActionKind.REFUND)
                for story in stories
            )
            == 4
        )
        assert (
            sum(story[-2:] == (ActionKind.ALLOCATE_SUSPENSE, ActionKind.REVERSE_ALLOCATION) for story in stories) == 4
        )


def test_in_every_seed_somebody_spends_before_we_hear_of_a_clearing_and_the_bank_clears_at_any_moment() -> None:
    nights = [schedule.night for schedule in FIVE_HUNDRED]
    assert all(set(SPENDS) & {action.kind for action in night.morning} for night in nights)
    assert {night.cleared_after for night in nights} == {0, 3, 4}
    assert {night.spends for night in nights} == {"waiting_first", "withdrawable_first"}
    assert {fault for night in nights for action in night.morning for fault in action.faults} == {*LOST, *IN_PART}


def test_the_sandbox_understands_every_fault() -> None:
    for fault in {fault for action in ACTIONS for fault in action.faults} | set(QUESTION_FAULTS):
        assert Fault.parse(fault).name in fault


def test_a_schedule_tells_a_reader_all_of_it() -> None:
    schedule = next(one for one in FIVE_HUNDRED if one.deaths and one.strikes and one.questions)
    told = "\n".join(schedule.lines())
    assert str(schedule.seed) in told
    for part in (schedule.deaths[0].point, schedule.strikes[0].blow, schedule.questions[0].code):
        assert part in told
    assert told.count("\n  caller ") == sum(map(len, schedule.callers))

"""What the bank's verdicts do to an operation: every combination of verdicts, states and parts, against a table.

Pure: the steps are compared, nothing is written.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

import pytest

from bankclient import Answer
from bankclient import AnswerOutcome as AnswerOutcome
from bankclient import Evidence as Evidence
from ledger import CardChange, CardState, Change, Draft, Leg, Member, Operation, State, Step
from ledger.accounts import FEE, withdrawable
from ledger.names import NO_BANK_SERIAL, BankSerial, MemberCode, RequestId, Serial, SubAccount
from service.plans.plan import Stored
from service.plans.settlement import mark_unknown, release, settle
from service.questions.cards import CardQuery
from service.questions.query import first_verdict
from service.questions.results import BankResult, CardResult, Verdict
from service.questions.status import StatusQuery
from service.recorded import SEND_AGAIN
from service.settings import ResolverSettings

DONE, REFUSED, ACCEPTED = Verdict.DONE, Verdict.REFUSED, Verdict.ACCEPTED
NOT_FOUND, AGAIN, INCONCLUSIVE = Verdict.NOT_FOUND, Verdict.AGAIN, Verdict.INCONCLUSIVE

TODAY = date(2026, 11, 30)
BOOKED = date(2026, 11, 29)
NOW = datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC)
OPERATION_ID = UUID(int=7)

# No two alike, so that a pause tells where it comes from.
SETTINGS = ResolverSettings(
    ask_after_s=11.0,
    not_found_interval_s=12.0,
    not_found_times=3,
    in_process_interval_s=13.0,
    send_again_interval_s=14.0,
    silent_interval_s=15.0,
)
PAUSES = {AGAIN: 14.0, INCONCLUSIVE: 15.0, NOT_FOUND: 12.0, ACCEPTED: 13.0, DONE: 13.0, REFUSED: 13.0}
"""The pause that a verdict asks for; of several the first in this order decides, and a final one by itself none."""


def draft(number: int) -> Draft:
    """A draft that no other is equal to."""
    return Draft((Leg(withdrawable(SubAccount("A")), FEE, number),), serial=Serial(f"S{number}"), amount_fen=number)


THEN, UNDO, ELSEWHERE = draft(1001), draft(2002), draft(3003)


def stored(parts: int, *, then: bool = False) -> Stored:
    drafts = tuple(draft(number) for number in range(1, parts + 1))
    return Stored(drafts, (THEN,) if then else (), (UNDO,) if then else (), StatusQuery("2"))


def operation(state: State, *, query_attempts: int = 4, not_found: int = 0, reason: str = "") -> Operation:
    return Operation(
        id=OPERATION_ID,
        request_id=RequestId("r"),
        fingerprint=b"f",
        kind="PAY_T1",
        serial=Serial("S"),
        state=state,
        payer=MemberCode("buyer"),
        payee=MemberCode("seller"),
        order_no="",
        amount_fen=1,
        fee_fen=0,
        reason=reason,
        message="",
        breach=None,
        bank_code="",
        bank_message="",
        bank_serial=NO_BANK_SERIAL,
        bank_day=None,
        trace_id="",
        plan_text="{}",
        query_attempts=query_attempts,
        not_found=not_found,
        next_query_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )


def result(verdict: Verdict, number: int = 1) -> BankResult:
    return BankResult(
        verdict,
        code=f"C{number}",
        message=f"银行{number}",
        detail=f"detail {number}",
        evidence=Evidence(f"evidence {number}".encode()),
        reason=f"reason-{number}",
    )


def after(
    state: State,
    verdicts: Sequence[Verdict],
    *,
    parts: int | None = None,
    then: bool = False,
    not_found: int = 0,
    by_query: bool = True,
    due_in_s: float = 0.0,
    took_s: float = 0.0,
) -> Step:
    """The step after these verdicts, one for each part; with ``parts`` one verdict for all of them."""
    count = len(verdicts) if parts is None else parts
    plan = stored(count, then=then)
    if state is State.ACCEPTED:
        # The first movement is over, and these are the parts of the second.
        plan = Stored((ELSEWHERE,), plan.drafts, (UNDO,), plan.query)
    return settle(
        operation(state, not_found=not_found),
        plan,
        range(1, count + 1),
        [result(verdict, number) for number, verdict in enumerate(verdicts, start=1)],
        TODAY,
        SETTINGS,
        by_query=by_query,
        due_in_s=due_in_s,
        took_s=took_s,
    )


def meant(verdicts: Sequence[Verdict], state: State, not_found: int, *, counts: bool) -> tuple[list[Verdict], int]:
    """The verdicts as they count: after so many rounds of "no such record" it means that the bank did nothing."""
    if ACCEPTED in verdicts:
        return list(verdicts), 0
    if NOT_FOUND not in verdicts or state is State.ACCEPTED:
        # A try of a call that is sent again counts as a round, too.
        return list(verdicts), not_found + (counts and AGAIN in verdicts)
    if counts and INCONCLUSIVE not in verdicts:
        not_found += 1
    if not_found < SETTINGS.not_found_times:
        return list(verdicts), not_found
    return [REFUSED if verdict is NOT_FOUND else verdict for verdict in verdicts], not_found


OPEN = (State.RESERVED, State.UNKNOWN, State.ACCEPTED)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("not_found", [0, 1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_combination_of_words_states_and_parts_ends_as_the_table_says(
    state: State, not_found: int, parts: int
) -> None:
    for verdicts in itertools.product(Verdict, repeat=parts):
        for due_in_s in (0.0, 9.5):
            step = after(state, verdicts, not_found=not_found, due_in_s=due_in_s)
            count, counted = meant(verdicts, state, not_found, counts=due_in_s <= 0)
            where = f"{[verdict.name for verdict in verdicts]} in {state} after {not_found}, {due_in_s} s early: {step}"
            done = {number: draft(number) for number, verdict in enumerate(count, 1) if verdict is DONE}
            refused = tuple(number for number, verdict in enumerate(count, 1) if verdict is REFUSED)
            is_final = len(done) + len(refused) == parts
            if is_final:
                expected = State.DONE if done else State.REFUSED
            else:
                expected = State.ACCEPTED if state is State.ACCEPTED else State.UNKNOWN
            change = step.change
            assert change.state is expected, where
            # What has ended is posted or let go, each once; what is open keeps every hold.
            assert dict(step.post) == (done if is_final else {}), where
            assert step.void == (refused if is_final else ()), where
            takes_back = is_final and not done and state is State.ACCEPTED
            assert (step.pend, step.enter) == ((), (UNDO,) if takes_back else ()), where
            assert change.not_found == counted, where
            pause_s = next(s for verdict, s in PAUSES.items() if verdict in count)
            assert change.next_ask_in_s == (None if is_final else min(pause_s, due_in_s) if due_in_s else pause_s), (
                where
            )
            assert change.query_attempts == 5, where
            assert change.reason == ("send-again" if AGAIN in count else f"reason-{parts}"), where
            assert (change.bank_code, change.bank_message) == (f"C{parts}", f"银行{parts}"), where
            assert change.message == f"detail {parts}", where
            assert step.operation == OPERATION_ID
            assert step.bank_day == TODAY
            late = {State.ACCEPTED} if state is State.ACCEPTED else {State.RESERVED, State.UNKNOWN}
            assert step.expects == late, where


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_one_word_for_a_call_counts_for_all_its_parts(state: State, verdict: Verdict, parts: int) -> None:
    one = after(state, [verdict], parts=parts)
    each = after(state, [verdict] * parts)
    assert (one.post, one.void, one.change.state) == (each.post, each.void, each.change.state)
    assert one.change.next_ask_in_s == each.change.next_ask_in_s
    assert set(one.post) | set(one.void) == (set(range(1, parts + 1)) if verdict in (DONE, REFUSED) else set())


def test_as_many_words_as_parts_or_one() -> None:
    with pytest.raises(ValueError, match="argument"):
        settle(
            operation(State.UNKNOWN), stored(3), [1, 2, 3], [result(DONE), result(DONE)], TODAY, SETTINGS, by_query=True
        )


@pytest.mark.parametrize("state", [State.RESERVED, State.UNKNOWN])
def test_an_acceptance_posts_the_first_movement_and_holds_the_second(state: State) -> None:
    step = after(state, [ACCEPTED], then=True, not_found=2)
    assert step.change.state is State.ACCEPTED
    assert (step.post, step.pend) == ({1: draft(1)}, (THEN,))
    assert (step.void, step.enter) == ((), ())
    assert step.change.next_ask_in_s == SETTINGS.ask_after_s
    assert step.change.not_found == 0


@pytest.mark.parametrize("state", [State.RESERVED, State.UNKNOWN])
def test_an_acceptance_of_a_call_that_has_one_movement_leaves_it_in_doubt(state: State) -> None:
    step = after(state, [ACCEPTED])
    assert step.change.state is State.UNKNOWN
    assert (step.post, step.pend) == ({}, ())
    assert step.change.next_ask_in_s == SETTINGS.in_process_interval_s


@pytest.mark.parametrize("state", [State.RESERVED, State.UNKNOWN])
def test_a_call_that_ended_before_it_was_known_to_be_accepted_goes_through_both_movements(state: State) -> None:
    step = after(state, [DONE], then=True)
    assert (step.post, step.enter) == ({1: draft(1)}, (THEN,))
    assert (step.void, step.pend) == ((), ())
    step = after(state, [REFUSED], then=True)
    assert (step.post, step.enter, step.void) == ({}, (), (1,))


@pytest.mark.parametrize("state", [State.RESERVED, State.UNKNOWN])
def test_a_first_movement_some_parts_of_which_are_refused_is_not_accepted(state: State) -> None:
    step = after(state, [ACCEPTED, REFUSED], then=True)
    assert step.change.state is State.UNKNOWN
    assert (step.post, step.void, step.pend) == ({}, (), ())


def accepted(verdict: Verdict) -> Step:
    """The second movement is part 2 by now."""
    return settle(
        operation(State.ACCEPTED), stored(1, then=True), [2], [result(verdict)], TODAY, SETTINGS, by_query=True
    )


def test_what_was_accepted_ends_with_its_second_movement_posted_or_with_the_first_taken_back() -> None:
    step = accepted(DONE)
    assert (step.post, step.void, step.enter) == ({2: THEN}, (), ())
    assert step.change.state is State.DONE
    step = accepted(REFUSED)
    assert (step.post, step.void, step.enter) == ({}, (2,), (UNDO,))
    assert step.change.state is State.REFUSED


@pytest.mark.parametrize("verdict", [ACCEPTED, NOT_FOUND, AGAIN, INCONCLUSIVE])
def test_what_was_accepted_stays_so_and_never_becomes_unknown_to_the_bank(verdict: Verdict) -> None:
    for not_found in range(10):
        step = settle(
            operation(State.ACCEPTED, not_found=not_found),
            stored(1, then=True),
            [2],
            [result(verdict)],
            TODAY,
            SETTINGS,
            by_query=True,
        )
        assert step.change.state is State.ACCEPTED
        assert (step.post, step.void, step.enter, step.pend) == ({}, (), (), ())


def test_no_such_record_counts_by_rounds_on_schedule_and_ends_at_the_last() -> None:
    assert after(State.UNKNOWN, [NOT_FOUND], not_found=1).change.state is State.UNKNOWN
    ended = after(State.UNKNOWN, [NOT_FOUND], not_found=2)
    assert (ended.change.state, ended.void, ended.change.not_found) == (State.REFUSED, (1,), 3)
    # Asked ahead of its time, even by a hair, it does not count.
    early = after(State.UNKNOWN, [NOT_FOUND], not_found=2, due_in_s=0.001)
    assert (early.change.state, early.change.not_found) == (State.UNKNOWN, 2)
    late = after(State.UNKNOWN, [NOT_FOUND], not_found=2, due_in_s=-0.001)
    assert late.change.state is State.REFUSED
    # Nor does a round in which the question about another part failed.
    mixed = after(State.UNKNOWN, [NOT_FOUND, INCONCLUSIVE], not_found=2)
    assert (mixed.change.state, mixed.change.not_found) == (State.UNKNOWN, 2)
    # An answer that the bank has it on its way begins anew.
    assert after(State.UNKNOWN, [ACCEPTED], not_found=2).change.not_found == 0


def test_a_try_of_a_call_that_is_sent_again_counts_when_it_was_due_and_not_for_6110() -> None:
    assert after(State.UNKNOWN, [AGAIN], not_found=2).change.not_found == 3
    assert after(State.UNKNOWN, [AGAIN], not_found=2, due_in_s=0.001).change.not_found == 2
    assert after(State.RESERVED, [AGAIN], by_query=False).change.not_found == 0
    for verdict, counted in ((INCONCLUSIVE, 0), (NOT_FOUND, 1)):
        sent_again = operation(State.UNKNOWN, not_found=7, reason=SEND_AGAIN)
        step = settle(sent_again, stored(1), [1], [result(verdict)], TODAY, SETTINGS, by_query=True)
        assert (step.change.state, step.change.not_found) == (State.UNKNOWN, counted)


def test_a_question_ahead_of_its_time_does_not_put_off_the_one_on_schedule() -> None:
    for early_s in (0.5, 3.0):
        assert after(State.UNKNOWN, [INCONCLUSIVE], due_in_s=early_s).change.next_ask_in_s == early_s
    assert after(State.UNKNOWN, [INCONCLUSIVE], due_in_s=99.0).change.next_ask_in_s == 15.0
    assert after(State.UNKNOWN, [INCONCLUSIVE], due_in_s=-3.0).change.next_ask_in_s == 15.0
    # Nor does the time that it took.
    assert after(State.UNKNOWN, [INCONCLUSIVE], due_in_s=9.0, took_s=5.0).change.next_ask_in_s == 4.0
    assert after(State.UNKNOWN, [INCONCLUSIVE], due_in_s=9.0, took_s=10.0).change.next_ask_in_s == 0.0


def test_the_answer_to_the_call_itself_is_no_question() -> None:
    assert after(State.RESERVED, [DONE], by_query=False).change.query_attempts == 4
    assert after(State.RESERVED, [DONE], by_query=True).change.query_attempts == 5


def test_a_step_has_the_banks_day_serial_and_the_evidence_of_all_answers() -> None:
    verdicts = [
        result(DONE, 1),
        dataclasses.replace(result(DONE, 2), bank_day=BOOKED, bank_serial=BankSerial("B2")),
        dataclasses.replace(
            result(DONE, 3),
            bank_day=TODAY,
            bank_serial=BankSerial("B3"),
            bank_serials=(BankSerial("B4"), NO_BANK_SERIAL, BankSerial("B5")),
        ),
    ]
    step = settle(operation(State.UNKNOWN), stored(3), [1, 2, 3], verdicts, TODAY, SETTINGS, by_query=True)
    assert (step.bank_day, step.change.bank_serial) == (BOOKED, "B2")
    assert step.change.bank_serials == ("B2", "B3", "B4", "B5")
    assert [draft.bank_serial for draft in step.post.values()] == ["", "B2", "B3"]
    assert step.change.evidence == sha256(b"evidence 1evidence 2evidence 3").digest()
    step = settle(operation(State.UNKNOWN), stored(1), [1], verdicts[:1], TODAY, SETTINGS, by_query=True)
    assert (step.bank_day, step.change.bank_serial, step.change.bank_serials) == (TODAY, "", ())
    assert step.change.evidence == b"evidence 1"


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        # One answer for all: each part has the serial of the whole, or of its row.
        ((), ("B1", "B1", "B1")),
        (("R1", "R2", "R3"), ("R1", "R2", "R3")),
        (("R1", "", "R3"), ("R1", "", "R3")),
        # Of which part a row is missing nobody knows.
        (("R1", "R2"), ("", "", "")),
    ],
)
def test_each_part_keeps_what_the_bank_calls_it(rows: tuple[str, ...], kept: tuple[str, ...]) -> None:
    one = dataclasses.replace(result(DONE), bank_serial=BankSerial("B1"), bank_serials=tuple(map(BankSerial, rows)))
    step = settle(operation(State.RESERVED), stored(3), [1, 2, 3], [one], TODAY, SETTINGS, by_query=False)
    assert tuple(draft.bank_serial for draft in step.post.values()) == kept


def test_both_movements_of_a_withdrawal_have_the_banks_serial_and_what_takes_them_back_has_none() -> None:
    final = dataclasses.replace(result(DONE), bank_serial=BankSerial("B1"))
    accepted = dataclasses.replace(final, verdict=ACCEPTED)
    plan = stored(1, then=True)
    first = settle(operation(State.RESERVED), plan, [1], [accepted], TODAY, SETTINGS, by_query=False)
    assert [draft.bank_serial for draft in (*first.post.values(), *first.pend)] == ["B1", ""]
    for state, of in ((State.ACCEPTED, "post"), (State.UNKNOWN, "enter")):
        step = settle(operation(state), plan, [1], [final], TODAY, SETTINGS, by_query=True)
        moved = step.post.values() if of == "post" else (*step.post.values(), *step.enter)
        assert {draft.bank_serial for draft in moved} == {"B1"}
    failed = dataclasses.replace(final, verdict=REFUSED)
    step = settle(operation(State.ACCEPTED), plan, [1], [failed], TODAY, SETTINGS, by_query=True)
    assert [draft.bank_serial for draft in step.enter] == [""]


def test_the_bank_may_have_booked_another_draft_than_the_planned_one() -> None:
    verdicts = [dataclasses.replace(result(DONE), booked=ELSEWHERE), result(DONE)]
    step = settle(operation(State.UNKNOWN), stored(2), [1, 2], verdicts, TODAY, SETTINGS, by_query=True)
    assert step.post == {1: ELSEWHERE, 2: draft(2)}


def test_members_are_recorded_with_a_success_alone() -> None:
    member = Member(member_id=MemberCode("m"), sub_account=SubAccount("993"), property="00")
    for verdict in Verdict:
        verdicts = [dataclasses.replace(result(verdict), members=(member,))]
        step = settle(operation(State.UNKNOWN), stored(1), [1], verdicts, TODAY, SETTINGS, by_query=True)
        assert step.members == ((member,) if verdict is DONE else ()), verdict


CARD_ID = UUID(int=9)
CardCall = Literal["check", "confirm", "unbind", "correct"]


def card_step(does: CardCall, verdict: Verdict, code: str = "ERR138") -> Step:
    query = CardQuery(sub_account=SubAccount("993"), card_id=str(CARD_ID), does=does, life_s=60.0)
    verdicts = [dataclasses.replace(result(verdict), code=code, card=CardResult(pay_in_fen=12))]
    return settle(operation(State.UNKNOWN), Stored((), (), (), query), [], verdicts, TODAY, SETTINGS, by_query=True)


def test_a_card_changes_with_the_final_word_and_never_before() -> None:
    assert card_step("check", DONE).cards == (CardChange(card_id=CARD_ID, life_s=60.0, pay_in_fen=12),)
    assert card_step("check", REFUSED).cards == (CardChange(card_id=CARD_ID, state=CardState.FAILED),)
    assert card_step("confirm", DONE).cards == (CardChange(card_id=CARD_ID, state=CardState.BOUND),)
    assert card_step("unbind", DONE).cards == (CardChange(card_id=CARD_ID, state=CardState.UNBOUND),)
    assert card_step("unbind", REFUSED).cards == ()
    for verdict in (ACCEPTED, NOT_FOUND, AGAIN, INCONCLUSIVE):
        for does in ("check", "confirm", "unbind", "correct"):
            assert card_step(does, verdict).cards == (), (does, verdict)


def test_an_operation_without_money_ends_by_its_word() -> None:
    for verdict, state in ((DONE, State.DONE), (REFUSED, State.REFUSED), (INCONCLUSIVE, State.UNKNOWN)):
        step = settle(operation(State.UNKNOWN), stored(0), [], [result(verdict)], TODAY, SETTINGS, by_query=True)
        assert (step.change.state, step.post, step.void) == (state, {}, ())


def test_a_lost_answer_keeps_every_hold_and_is_asked_about_soon() -> None:
    step = mark_unknown(operation(State.RESERVED), result(INCONCLUSIVE), TODAY, SETTINGS)
    assert step == Step(
        operation=OPERATION_ID,
        change=Change(
            state=State.UNKNOWN,
            reason="reason-1",
            message="detail 1",
            bank_code="C1",
            bank_message="银行1",
            evidence=Evidence(b"evidence 1"),
            next_ask_in_s=11.0,
        ),
        bank_day=TODAY,
        # Whatever came meanwhile knows more.
        expects=frozenset({State.RESERVED}),
    )


def test_a_call_that_never_left_lets_all_of_its_holds_go() -> None:
    step = release(operation(State.RESERVED), stored(3), [1, 2, 3], result(INCONCLUSIVE), TODAY)
    assert step == Step(
        operation=OPERATION_ID,
        change=Change(state=State.RELEASED, reason="reason-1", message="detail 1"),
        bank_day=TODAY,
        void=(1, 2, 3),
        expects=frozenset({State.RESERVED}),
    )


@pytest.mark.parametrize("does", ["check", "confirm", "unbind", "correct"])
def test_a_check_of_a_card_that_never_left_was_not_sent(does: CardCall) -> None:
    query = CardQuery(sub_account=SubAccount("993"), card_id=str(CARD_ID), does=does)
    step = release(operation(State.RESERVED), Stored((), (), (), query), [], result(INCONCLUSIVE), TODAY)
    unsent = (CardChange(card_id=CARD_ID, state=CardState.UNSENT),)
    assert step.cards == (unsent if does == "check" else ())


def answered(outcome: AnswerOutcome, *, send_again: bool) -> Answer[Any]:
    return Answer(outcome, code="", message="", detail="", attempts=1, send_again=send_again)


@pytest.mark.parametrize("may_send_again", [False, True])
@pytest.mark.parametrize("is_final", [False, True])
@pytest.mark.parametrize("send_again", [False, True])
@pytest.mark.parametrize("outcome", list(AnswerOutcome))
def test_the_answer_to_a_call_says_done_refused_or_nothing(
    outcome: AnswerOutcome, *, send_again: bool, is_final: bool, may_send_again: bool
) -> None:
    answer = answered(outcome, send_again=send_again)
    verdict = first_verdict(answer, is_final=is_final, may_send_again=may_send_again)
    if send_again and may_send_again:
        assert verdict is AGAIN
    elif outcome is AnswerOutcome.DONE:
        assert verdict is (DONE if is_final else ACCEPTED)
    elif outcome is AnswerOutcome.REFUSED:
        assert verdict is REFUSED
    else:
        assert verdict is INCONCLUSIVE


def test_a_call_is_sent_again_only_where_its_plan_says_how() -> None:
    answer = answered(AnswerOutcome.REFUSED, send_again=True)
    assert first_verdict(answer, is_final=True) is REFUSED


def test_evidence_of_several_answers_is_one_digest_and_of_one_its_own() -> None:
    assert Evidence.of_all([]) == b""
    none, one, two = Evidence(), Evidence(b"one"), Evidence(b"two")
    assert Evidence.of_all([none, none]) == b""
    assert Evidence.of_all([one, none, one]) is one
    both = Evidence.of_all([one, two, one])
    assert both == sha256(b"onetwo").digest()
    assert both.parts == (one, two)

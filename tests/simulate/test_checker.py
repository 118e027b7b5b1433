"""The checker finds what is wrong in the journal and in what callers were told: each fact is broken once by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from simulate.callers import NEVER, Answer, CallerVerdict, CallRecord
from simulate.checker import Journal, Movement, Op, wrong
from tests.simulate.journals import ADOPTED, ID, NOON, SUB, WAITING, journal, moved, posted

MEMBER = {SUB: "m"}


def asked(**changes: Any) -> CallRecord:
    return CallRecord("top up", Counter({"outside": -500, "m available": 450, "fee": 50}), **changes)


def told(verdict: CallerVerdict, **more: Any) -> Answer:
    given = {"operation_id": str(ID), "amount_fen": 500, "began_s": 0.0, "ended_s": 1.0, **more}
    return Answer("r-1", "top up", verdict, **given)


def found(journal: Journal, *answers: Answer, request: CallRecord | None = None) -> str:
    return "\n".join(wrong(journal, {"r-1": request or asked()}, answers, MEMBER))


def with_state(state: str, **changes: Any) -> Journal:
    """The top-up as it stands in a state; refused, it has no legs."""
    operations = {
        **journal().operations,
        "r-1": replace(journal().operations["r-1"], state=state, last_event=state),
    }
    return journal(operations=operations, **changes)


def test_a_journal_that_explains_its_answers_is_right() -> None:
    assert found(journal(), told(CallerVerdict.DONE), told(CallerVerdict.SILENT, operation_id="", ended_s=NEVER)) == ""


def test_a_balance_that_is_not_the_sum_of_its_legs() -> None:
    assert "its legs sum to 450" in found(journal(balances={**journal().balances, WAITING: (451, 0)}))


def test_money_out_of_a_limit() -> None:
    legs = [*journal().legs, posted(ID, 2, "limits", "fee", 1)]
    assert "makes money of a limit: limits to fee" in found(journal(legs=legs))


def test_an_account_that_nobody_knows() -> None:
    assert "gift:1 is of no kind" in found(journal(balances={**journal().balances, "gift:1": (0, 0)}))


def test_legs_of_what_was_voided() -> None:
    legs = [*journal().legs, posted(ID, 2, "fee", WAITING, 1, "voided")]
    assert "part 2 is voided and moves 1 fen" in found(journal(legs=legs))


def test_an_account_below_its_floor_for_one_step() -> None:
    account = f"withdrawable:{SUB}"
    dip = [Movement(1, 1, account, -1, 0), Movement(1, 2, account, 1, 0)]
    assert f"{account} stood at -1 fen after holds after event 1 of batch 1" in found(
        journal(movements=sorted([*journal().movements, *dip]))
    )


def test_a_hold_that_was_more_than_there_was() -> None:
    held = [Movement(2, 3, WAITING, 0, 451), Movement(2, 4, WAITING, 0, -451)]
    assert "stood at -1 fen after holds" in found(journal(movements=sorted([*journal().movements, *held])))


def test_a_movement_outside_every_batch_and_batches_out_of_order() -> None:
    stray = [Movement(0, 0, "fee", 0, 0), *journal().movements]
    assert "fee changed outside every batch" in found(journal(movements=stray))
    assert "does not follow batch 1" in found(journal(seals=[(1, NOON), (2, NOON)]))


def test_what_is_not_final_or_still_held() -> None:
    assert "rests in state unknown" in found(with_state("unknown"))
    assert "still wait for a question" in found(journal(due=2))
    assert "part 7/1 was never posted nor voided" in found(journal(pending=["7/1"]))
    held = {**journal().balances, "own-funds": (ADOPTED, 9)}
    assert "0 fen held by the journal, 9 by its balance" in found(journal(balances=held))
    operations = {**journal().operations, "r-1": replace(journal().operations["r-1"], last_event="refused")}
    assert "is done, its last event refused" in found(journal(operations=operations))


def test_money_that_nobody_brought_in() -> None:
    operations = {**journal().operations, "r-1": replace(journal().operations["r-1"], amount_fen=400)}
    assert f"own {ADOPTED + 500} fen, and {ADOPTED + 400} were brought in" in found(journal(operations=operations))


def test_a_refused_operation_that_left_something() -> None:
    assert f"TOP_UP r-1 is refused and left fee +50, in-transit:20261123 -500, {WAITING} +450" in found(
        with_state("refused")
    )


def test_what_a_clearing_is_owed_by_a_void_is_no_remainder() -> None:
    swept = [*journal().legs, posted(UUID(int=8), 1, WAITING, f"withdrawable:{SUB}", 450)]
    operations = {**journal().operations, "r-2": Op(UUID(int=8), "r-2", "PAY_T1", "S8", "refused", 450, "refused")}
    balances = {**journal().balances, WAITING: (0, 0), f"withdrawable:{SUB}": (450, 0)}
    movements = [*journal().movements, *moved(2, WAITING, f"withdrawable:{SUB}", 450)]
    swept_journal = journal(legs=swept, operations=operations, balances=balances, movements=movements)
    requests = {"r-1": asked(), "r-2": CallRecord("pay", Counter())}
    assert list(wrong(swept_journal, requests, (), MEMBER)) == []


@pytest.mark.parametrize(
    "effect",
    [
        {"outside": -500, "other available": 450, "fee": 50},
        {"outside": -500, "m available": 500},
        {"outside": -500, "m frozen": 450, "fee": 50},
        {},
    ],
)
def test_a_payment_of_another_member_fee_or_pocket_than_was_asked_for(effect: dict[str, int]) -> None:
    assert "was to move" in found(journal(), request=replace(asked(), effect=Counter(effect)))


def test_what_nobody_asked_for_or_only_to_be_checked() -> None:
    assert "TOP_UP r-1 was asked for by nobody" in "\n".join(wrong(journal(), {}, (), MEMBER))
    assert "was only to be checked, and is done" in found(journal(), request=asked(checks_only=True))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (told(CallerVerdict.DONE), "refused"),
        (told(CallerVerdict.DONE, operation_id=str(UUID(int=9))), "done"),
        (told(CallerVerdict.DONE, amount_fen=499), "done"),
        (told(CallerVerdict.ACCEPTED), "released"),
        (told(CallerVerdict.NO_EFFECT, operation_id=""), "done"),
        (told(CallerVerdict.NO_EFFECT, code="FAILED_PRECONDITION", reason="BANK_REFUSED"), "done"),
        (told(CallerVerdict.NO_EFFECT, code="FAILED_PRECONDITION", reason="INSUFFICIENT_FUNDS"), "done"),
        (told(CallerVerdict.NO_EFFECT, code="FAILED_PRECONDITION", reason="INSUFFICIENT_FUNDS"), "released"),
        (told(CallerVerdict.NO_EFFECT, code="FAILED_PRECONDITION", reason="MEMBER_STILL_NEEDED"), "released"),
        (told(CallerVerdict.NO_EFFECT, reason="REQUEST_ID_REUSED", operation_id=""), "done"),
        (told(CallerVerdict.UNKNOWN, operation_id=str(UUID(int=9))), "done"),
        (told(CallerVerdict.CHECKED), "done"),
    ],
)
def test_an_answer_that_the_end_does_not_explain(answer: Answer, state: str) -> None:
    assert "is not explained by" in found(with_state(state), answer)


def test_an_answer_without_effect_is_explained_by_a_call_that_was_not_over() -> None:
    refused = told(CallerVerdict.NO_EFFECT, operation_id="", began_s=2.0, ended_s=3.0)
    assert found(journal(), refused, told(CallerVerdict.DONE, ended_s=4.0)) == ""
    assert "is not explained by" in found(journal(), refused, told(CallerVerdict.DONE, ended_s=1.0))


@pytest.mark.parametrize("reason", ["MEMBER_NOT_EMPTY", "MEMBER_STILL_NEEDED"])
def test_a_closing_whose_member_is_needed_after_all_is_let_go_and_may_be_tried_again(reason: str) -> None:
    needed = told(CallerVerdict.NO_EFFECT, code="FAILED_PRECONDITION", reason=reason, amount_fen=0)

    def ended(state: str, *answers: Answer) -> str:
        closing = Op(ID, "r-1", "CLOSE_MEMBER", "S7", state, 0, state)
        operations = {**journal().operations, "r-1": closing}
        return found(journal(operations=operations), *answers)

    closed = replace(needed, verdict=CallerVerdict.DONE, code="OK", reason="", ended_s=4.0)
    assert "is not explained by" not in ended("released", needed, needed)
    assert "is not explained by" not in ended("done", needed, closed)
    assert "is not explained by" in ended("done", needed)
    assert "is not explained by" in ended("released", replace(needed, operation_id=str(UUID(int=9))))


def test_two_contents_under_one_id_explain_that_one_is_turned_away() -> None:
    reused = told(CallerVerdict.NO_EFFECT, reason="REQUEST_ID_REUSED", operation_id="")
    assert found(journal(), reused, request=asked(clashes=True)) == ""


def test_a_broken_status() -> None:
    assert "was told INTERNAL" in found(journal(), told(CallerVerdict.SILENT, code="INTERNAL"))

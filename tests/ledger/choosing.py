"""What hypothesis may choose to do with a mirror, and the steps that it comes to."""

from __future__ import annotations

import dataclasses
from datetime import date

from hypothesis import strategies as st

from ledger import PartState, State, Step
from ledger.accounts import FEE, uncleared, withdrawable
from ledger.batch import KnownPart
from ledger.names import Serial
from ledger.rules import Draft, Leg
from ledger.steps import NewOperation
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    OneByOne,
    again,
    clearing,
    confirm,
    freeze,
    opening,
    pay,
    pay_today,
    posting,
    prepay,
    refund,
    top_up,
    voiding,
)

members = st.sampled_from([ANN, BOB])
fen = st.integers(1, 40)
days = st.sampled_from([DAY_BEFORE, DAY, DAY_AFTER])
drafts = st.one_of(
    st.builds(top_up, members, st.integers(20, 60), st.integers(0, 3)),
    st.builds(lambda amount_fen: pay(ANN, BOB, amount_fen, 1 if amount_fen > 1 else 0, serial=Serial("P1")), fen),
    st.builds(pay_today, st.just(BOB), st.just(ANN), fen),
    st.builds(pay, st.just(BOB), st.just(ANN), fen),
    st.builds(prepay, st.just(ANN), st.sampled_from(["O1", "O2"]), fen),
    st.builds(confirm, st.just(ANN), st.just(BOB), st.sampled_from(["O1", "O2"]), fen),
    st.builds(freeze, members, st.just("F1"), fen),
    st.builds(refund, st.just("P1"), st.just(ANN), st.just(BOB), st.integers(2, 30), st.integers(0, 1)),
    st.builds(
        lambda member, day, amount_fen: Draft((Leg(uncleared(member, day), withdrawable(member), amount_fen),)),
        members,
        days,
        fen,
    ),
    st.builds(lambda member, amount_fen: Draft((Leg(FEE, withdrawable(member), amount_fen),)), members, fen),
)
choices = st.one_of(
    st.tuples(st.just("pend"), st.lists(drafts, min_size=1, max_size=3)),
    st.tuples(st.just("pend"), st.lists(drafts, min_size=1, max_size=1)),
    st.tuples(st.just("enter"), st.lists(drafts, min_size=1, max_size=2)),
    st.tuples(st.just("check"), st.lists(drafts, min_size=1, max_size=2)),
    st.tuples(st.sampled_from(["post", "void", "let go", "again", "other content"]), st.integers(0, 9)),
    st.tuples(st.just("post"), st.integers(0, 9)),
    st.tuples(st.just("clear"), days),
)


def step_of(choice: tuple[str, object], day: date, opened: list[Step], model: OneByOne) -> Step | None:
    """The step that a choice stands for, as things stand in the model; None when there is nothing to do it to."""
    match choice:
        case ("pend", list() as chosen):
            return opening(*chosen, bank_day=day)
        case ("enter", list() as chosen):
            return opening(enter=chosen, bank_day=day)
        case ("check", list() as chosen):
            return opening(*chosen, bank_day=day, check_only=True)
        case ("clear", date() as cleared):
            return clearing(cleared)
        case (str() as action, int() as index) if opened:
            step = opened[index % len(opened)]
            if action in ("again", "other content"):
                return again(step, content=action.encode() if action == "other content" else b"content")
            pending = [
                number for number, part in parts_of(step, model).items() if part.part.state is PartState.RESERVED
            ]
            if action == "post":
                settled = posting(step, bank_day=day)
                return dataclasses.replace(settled, post=dict(zip(pending, step.pend, strict=False)))
            state = State.RELEASED if action == "let go" else State.REFUSED
            return dataclasses.replace(voiding(step, state=state, bank_day=day), void=tuple(pending))
    return None


def parts_of(step: Step, model: OneByOne) -> dict[int, KnownPart]:
    assert isinstance(step.operation, NewOperation)
    return model.known.parts.get(model.known.by_request[step.operation.request_id].id, {})

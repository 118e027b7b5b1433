"""What a writer commits in batches on a real database is what the pure rules come to, one step at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import FloorBroken, LedgerError, PartState, State, Step, StepOutcome, Writer, connect, verify
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
    assert_whole,
    clearing,
    confirm,
    freeze,
    money,
    opening,
    pay,
    pay_today,
    posting,
    prepay,
    refund,
    standing,
    stored,
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


def told(result: StepOutcome | BaseException) -> object:
    """What a caller learns of a step, the database's own times left out."""
    if isinstance(result, FloorBroken):
        return result.breach, result.operation and result.operation.id
    if isinstance(result, LedgerError):
        return str(result)
    assert isinstance(result, StepOutcome), result
    return result.did, result.operation.id, result.operation.state, result.operation.serial, result.parts, result.pended


def one_by_one(model: OneByOne, step: Step) -> object:
    try:
        return told(model.judge(step))
    except LedgerError as refusal:
        return told(refusal)


_platforms = itertools.count(1)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(st.tuples(choices, days), min_size=10, max_size=30),
    st.sampled_from([1, 3, 256]),
    st.lists(st.integers(1, 9), max_size=8),
)
def test_batches_come_to_what_the_rules_come_to_one_step_at_a_time(
    database: str, chosen: list[tuple[tuple[str, object], date]], batch_max: int, runs: list[int]
) -> None:
    """Two processes share the platform: one has the first run of steps, the other the second, and so on."""
    platform = f"p{next(_platforms)}"
    model = OneByOne()
    opened: list[Step] = []
    steps: list[Step] = []
    expected: list[object] = []
    beginning = [top_up(ANN, 80, 2), top_up(BOB, 50), money(withdrawable(ANN), 30), money(withdrawable(BOB), 30)]
    for choice, day in [(("enter", beginning), DAY_BEFORE), *chosen]:
        step = step_of(choice, day, opened, model)
        if step is None:
            continue
        steps.append(step)
        expected.append(one_by_one(model, step))
        if choice[0] == "pend":
            opened.append(step)
    assert_whole(model.book)

    async def in_batches() -> list[object]:
        results: list[StepOutcome | BaseException] = []
        async with (
            Writer(database, platform, batch_max=batch_max).running() as one,
            Writer(database, platform, batch_max=batch_max).running() as other,
        ):
            left = iter(steps)
            for writer, size in zip(itertools.cycle([one, other]), [*runs, len(steps)], strict=False):
                run = itertools.islice(left, size)
                results += await asyncio.gather(*(writer.submit(step) for step in run), return_exceptions=True)
        engine = connect(database, 1)
        try:
            assert await verify(engine, platform) == []
        finally:
            await engine.dispose()
        return [told(result) for result in results]

    assert asyncio.run(in_batches()) == expected
    assert stored(database, platform) == standing(model.book)

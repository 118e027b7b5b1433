"""What a writer commits in batches on a real database is what the pure rules come to, one step at a time."""

from __future__ import annotations

import asyncio
import itertools
from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import FloorBroken, LedgerError, Step, StepOutcome, Writer, connect, verify
from ledger.accounts import withdrawable
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY_BEFORE,
    OneByOne,
    assert_whole,
    money,
    standing,
    stored,
    top_up,
)
from tests.ledger.choosing import choices, days, step_of


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

"""How long ago a collection was last whole: what `jzb.collection.age` shows."""

from __future__ import annotations

import asyncio

from service.inflows import collector
from service.inflows.collector import collecting
from service.problems import stopping


async def test_a_collection_that_fails_ages_until_it_is_whole_again() -> None:
    turns = asyncio.Event()
    answers = iter((stopping(), stopping(), None, stopping()))

    async def work() -> None:
        refusal = next(answers, None)
        if refusal is None:
            turns.set()
        else:
            raise refusal

    async with collecting("returns", work, 0.05):
        await asyncio.sleep(0.06)
        assert collector.ages_s()["returns"] >= 0.05
        await turns.wait()
        await asyncio.sleep(0)
        assert collector.ages_s()["returns"] < 0.05
    assert "returns" not in collector.ages_s()


async def test_what_is_collected_once_has_no_age_afterwards() -> None:
    done = asyncio.Event()

    async def work() -> bool:
        done.set()
        return True

    async with collecting("own funds", work, 60.0):
        await done.wait()
        await asyncio.sleep(0)
        assert "own funds" not in collector.ages_s()

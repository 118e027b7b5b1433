"""How the simulator reconciles days: what it puts into files is found, typed, in the right amount, and no more is."""

from __future__ import annotations

from collections import Counter

import pytest

from simulate.days import FOUND_AS, PLAYED, Days
from tests.world.days import days_ago
from tests.world.marketplace import Marketplace, open_marketplace


def test_each_fault_that_is_played_has_its_type_of_break() -> None:
    assert {fault for fault, _ in PLAYED} == set(FOUND_AS)


async def a_day(shop: Marketplace, seed: int) -> Days:
    """A day with top-ups and payments, ended."""
    first = shop.sandbox.clock.today()
    await shop.buyer("buyer", 900_00)
    await shop.top_up("buyer", 40_00, 1_00)
    await shop.merchant("seller")
    await shop.merchant("other")
    for number in range(8):
        await shop.pay("buyer", "seller", 10_00 + number, 10)
    await shop.clear()
    return Days(shop.sandbox, shop.channel, seed, first)


@pytest.mark.soak
async def test_what_a_seed_puts_into_files_is_found_and_nothing_else(database: str) -> None:
    counted: Counter[str] = Counter()
    async with open_marketplace(database, clock=days_ago(1)) as shop:
        assert await (await a_day(shop, 1)).play(counted) == []
    assert counted.total() >= 1


@pytest.mark.soak
async def test_each_fault_of_a_file_is_found_as_its_type_and_in_the_right_amount(database: str) -> None:
    counted: Counter[str] = Counter()
    async with open_marketplace(database, clock=days_ago(1)) as shop:
        days = await a_day(shop, 1)
        # All at once, each in a row of its own; then the same in a file of fewer rows.
        assert await days.play(counted, [(fault, "JY") for fault in FOUND_AS]) == []
        for fault in FOUND_AS:
            assert await days.play(counted, [(fault, "CZ")]) == []
    assert counted == Counter(f"{source} {fault}" for source in ("CZ", "JY") for fault in FOUND_AS)

"""How the simulator reconciles days: what it puts into files and lists is found, typed, in the right amount, and no
more is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sandbox.dayfaults import SOURCES_OF
from simulate.days import AT_FIRST, ENTERED, OF_ROWS, OUTSIDE, Days
from simulate.play import play
from simulate.schedule import of_seed
from simulate.site import opened
from tests.world import returns, suspense
from tests.world.days import days_ago
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.withdrawals import withdraw_request, withdraw_to_the_end

REFUSED = "[[refuse:ERR044]]"


def test_every_fault_that_the_sandbox_has_is_played_or_is_no_difference() -> None:
    assert {*AT_FIRST, *OF_ROWS, *ENTERED} == {
        (fault, source) for fault, sources in SOURCES_OF.items() for source in sources if source not in OUTSIDE
    }


async def a_day(shop: Marketplace, withdrawals: int) -> None:
    """A day with rows in each file and list, but for withdrawals, and something refused in each file; ended."""
    for number in range(3):
        await shop.top_up("buyer", 300_00 + number, 1_00)
        await shop.pay("buyer", "seller", 10_00 + number, 10)
        await suspense.come_in(shop, 20_00 + number, "other" if number else "")
    for number in range(withdrawals):
        sent = await withdraw_to_the_end(shop, "seller", 30_00 + number, 50)
        if number % 2:
            returns.send_back(shop, sent)
    top_up = shop.top_up_request("buyer", 5_00, remark=REFUSED)
    await shop.refusal(shop.top_ups.TopUp(top_up, timeout=TIMEOUT_S))
    await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 5_00, remark=REFUSED), timeout=TIMEOUT_S))
    failing = withdraw_request(shop, "seller", 5_00, remark=REFUSED)
    await shop.refusal(shop.withdrawals.Withdraw(failing, timeout=TIMEOUT_S))
    await shop.clear()


@pytest.mark.soak
async def test_each_fault_of_a_file_or_list_is_found_in_its_place_and_amount_and_nothing_else(database: str) -> None:
    counted: Counter[str] = Counter()
    async with open_marketplace(database, clock=days_ago(2)) as shop:
        first = shop.sandbox.clock.today()
        await shop.buyer("buyer", 900_00)
        await shop.merchant("seller", 900_00)
        await shop.merchant("other")
        # What came on the first day can be withdrawn on the second.
        await a_day(shop, withdrawals=0)
        await a_day(shop, withdrawals=5)
        assert await Days(shop.sandbox, shop.channel, 1, first).play(counted) == []
    assert {f"{source} {fault}" for fault, source in OF_ROWS} - counted.keys() == set()
    # Each has a day, which may have no such file.
    assert {fault for fault, _ in AT_FIRST} - {one.partition(" ")[2] for one in counted} == set()


@pytest.mark.soak
async def test_the_days_of_a_seed_are_clean_whatever_breaks_and_each_fault_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        played = await play(site, of_seed(5), is_reconciled=True)
    assert played.wrong == []
    assert played.days.total() > len(OF_ROWS) / 2

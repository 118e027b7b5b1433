from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.people import shop_and_buyer
from tests.sandbox.wire import Merchant


async def test_books_are_shown_in_fen(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    await bank.pay("1", buyer, shop, 4000, order_no="O1")
    books = await bank.control("GET", "books")
    assert books["sub_accounts"][buyer.no] == {
        "member": "buyer",
        "property": "00",
        "available": 6000,
        "withdrawable": 0,
        "frozen": 0,
        "escrow": 4000,
        "waiting_by_day": {books["bank_day"]: 6000},
        "frozen_by_order": {},
        "escrow_by_order": {"O1": 4000},
    }
    assert (books["pooled"], books["owed"], books["difference"]) == (100_000_000, 10000, 0)


async def test_own_funds_bring_real_money(bank: Merchant) -> None:
    await bank.control("POST", "own-funds", {"amount_fen": 500})
    books = await bank.control("GET", "books")
    assert (books["functional"]["10"], books["pooled"]) == (100_000_500, 100_000_500)


async def test_the_clock_goes_forward_only(bank: Merchant) -> None:
    moved = await bank.control("POST", "clock", {"date": "2030-01-01"})
    assert moved == {"bank_day": "20300101"}
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await bank.control("POST", "clock", {"date": "2029-12-31"})


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("clock", {}),
        ("clock", {"advance_days": 1, "date": "2030-01-01"}),
        ("clock", {"advance_days": 100000}),
        ("faults", {"fault": "nonsense"}),
        ("faults", {"fault": "http500", "times": 0}),
        ("own-funds", {"amount_fen": 0}),
        ("own-funds", {"amount_fen": 1.5}),
        ("withdrawals/x", {"result": "maybe"}),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(bank: Merchant, path: str, command: Any) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await bank.control("POST", path, command)

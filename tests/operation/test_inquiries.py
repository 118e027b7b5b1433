"""`jzb find` and `jzb timeline`: what support asks with a number in hand, answered in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.cli import jzb
from tests.world.marketplace import Marketplace


@pytest.mark.soak
async def test_a_number_in_hand_finds_its_operations_in_the_terminal(shop: Marketplace, tmp_path: Path) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    paid = await shop.pay("buyer", "seller", 12_34)
    environment = {"DATABASE_URL": shop.dsn, "JZB_BANK__MRCH_CODE": "9930"}

    async def find(*arguments: str) -> tuple[int, str]:
        ended = await jzb("find", *arguments, "--data", str(tmp_path), environment=environment)
        assert not ended.error
        return ended.status, ended.out

    status, shown = await find(paid.bank_serial)
    assert status == 0
    for told in ("bank-serial", "PAY_T1", "DONE", "12.34", "buyer", "seller", paid.request_id, paid.serial):
        assert told in shown, told
    status, shown = await find("seller")
    assert (status, shown.count("12.34"), shown.count("member")) == (0, 1, 2)
    for nothing in (("nobody",), ("seller", "--open")):
        status, shown = await find(*nothing)
        assert status == 1
        assert f"operation with number {nothing[0]}" in shown


@pytest.mark.soak
async def test_what_happened_to_a_payment_is_told_in_the_terminal(shop: Marketplace, tmp_path: Path) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    paid = await shop.pay("buyer", "seller", 12_34)
    environment = {"DATABASE_URL": shop.dsn, "JZB_BANK__MRCH_CODE": "9930"}
    told = await jzb("timeline", paid.serial, "--data", str(tmp_path), environment=environment)
    assert (told.status, told.error) == (0, "")
    shown = told.out[told.out.index("RESERVED") :]
    places = [shown.index(row) for row in ("RESERVED", "held by part 1", "DONE", "posted by part 1")]
    assert places == sorted(places)
    assert "000000" in told.out, "the bank's code"
    nothing = await jzb("timeline", "A-9", "--data", str(tmp_path), environment=environment)
    assert (nothing.status, nothing.error) == (1, "")

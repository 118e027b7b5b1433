from __future__ import annotations

from datetime import datetime

from bankclient.messages import ClearingResult, ClearingResultRow
from tests.sandbox.conftest import Opened
from tests.sandbox.wire import Merchant


async def clearing(bank: Merchant, first: str, last: str) -> list[ClearingResultRow]:
    request = ClearingResult(
        FunctionFlag="2",
        StartDate=datetime.strptime(first, "%Y%m%d").date(),  # noqa: DTZ007
        EndDate=datetime.strptime(last, "%Y%m%d").date(),  # noqa: DTZ007
    )
    return list((await bank.call(request)).TranItemArray)


async def test_a_day_is_cleared_after_it_has_ended(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000, 1000)
    day = bank.view()["bank_day"]
    assert await bank.refusal(ClearingResult(FunctionFlag="1")) == "ERR020"
    assert await bank.balances(member) == (9000, 0, 0)
    pooled = bank.view()["pooled"]
    await bank.control("POST", "clock", {"advance_days": 1})
    (row,) = await clearing(bank, day, day)
    assert (row.Date, row.ClearingState, row.TotalAmt) == (day, "0", 10000)
    assert await bank.balances(member) == (9000, 9000, 0)
    assert (bank.view()["pooled"], bank.functional("7")) == (pooled + 10000, 0)


async def test_waiting_money_of_every_kind_turns_withdrawable(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    await bank.pay("6", buyer, shop, 4000)
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.balances(buyer) == (6000, 6000, 0)
    assert await bank.balances(shop) == (4000, 4000, 0)


async def test_each_day_has_one_record_also_one_without_money(bank: Merchant) -> None:
    day = bank.view()["bank_day"]
    await bank.control("POST", "clock", {"advance_days": 25})
    first = await bank.call(ClearingResult(FunctionFlag="1"))
    second = await bank.call(ClearingResult(FunctionFlag="1", PageNum=2))
    assert (len(first.TranItemArray), first.EndFlag) == (20, "0")
    assert (len(second.TranItemArray), second.EndFlag) == (5, "1")
    assert first.TranItemArray[0].Date == day
    assert await bank.refusal(ClearingResult(FunctionFlag="1", PageNum=3)) == "E80011"


async def test_while_channels_hold_their_money_days_stay_pending_and_clear_in_order(
    bank: Merchant,
) -> None:
    member = await bank.member("a", "SH")
    first = bank.view()["bank_day"]
    await bank.top_up(member, 100)
    await bank.control("POST", "clearing", {"held": True})
    await bank.control("POST", "clock", {"advance_days": 1})
    second = bank.view()["bank_day"]
    await bank.top_up(member, 200)
    await bank.control("POST", "clock", {"advance_days": 1})
    rows = await clearing(bank, first, second)
    assert [(row.ClearingState, row.TotalAmt) for row in rows] == [("3", 100), ("3", 200)]
    assert await bank.balances(member) == (300, 0, 0)
    await bank.control("POST", "clearing", {"held": False})
    rows = await clearing(bank, first, second)
    assert [(row.ClearingState, row.TotalAmt) for row in rows] == [("0", 100), ("0", 200)]
    assert await bank.balances(member) == (300, 300, 0)


async def test_a_question_about_today_clears_today_and_ends_it_where_that_is_set(open_bank: Opened) -> None:
    bank = await open_bank(clear_same_day=True)
    member = await bank.member("a", "SH")
    for amount, total in ((100, 100), (50, 150)):
        day = bank.view()["bank_day"]
        await bank.top_up(member, amount)
        (row,) = await clearing(bank, day, day)
        assert (row.ClearingState, row.TotalAmt) == ("0", amount)
        assert await bank.balances(member) == (total, total, 0)
        assert bank.view()["bank_day"] > day


async def test_a_day_to_come_is_no_question(bank: Merchant) -> None:
    day = bank.view()["bank_day"]
    request = ClearingResult(
        FunctionFlag="2",
        StartDate=datetime.strptime(day, "%Y%m%d").date(),  # noqa: DTZ007
        EndDate=datetime(2090, 1, 1).date(),  # noqa: DTZ001
    )
    assert await bank.refusal(request) == "ERR936"

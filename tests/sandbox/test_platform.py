"""What the platform asks of itself, and play money (6211)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bankclient.messages import BankCharges, DayEndBalances, PooledBalance, TrialTransfer
from sandbox.clock import day_of
from tests.sandbox.conftest import Opened
from tests.sandbox.requests import freezing
from tests.sandbox.wire import Merchant


async def test_closing_balances_say_what_waited_and_whether_it_became_withdrawable(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000)
    await bank.call(freezing("1", member, 1000))
    day = day_of(bank.view()["bank_day"])
    today = (await bank.call(DayEndBalances(SubAcctNo=member.no))).AcctArray
    assert [(row.Date, row.DayAcctAvailBal, row.CashStatus) for row in today] == [(f"{day:%y%m%d}", 9000, "0")]
    await bank.control("POST", "clock", {"advance_days": 2})
    await bank.top_up(member, 500)
    asked = DayEndBalances(SubAcctNo=member.no, StartDate=day, EndDate=day + timedelta(days=2))
    rows = (await bank.call(asked)).AcctArray
    assert [
        (row.DayAcctAvailBal, row.DayCashBal, row.DayFreezeBal, row.DayCashOccurAmt, row.DayWaitCashBal, row.CashStatus)
        for row in rows
    ] == [
        (9000, 0, 1000, 9000, 9000, "1"),
        (9000, 0, 1000, 0, 9000, "2"),
        (9500, 9000, 1000, 500, 500, "0"),
    ]


async def test_days_outside_the_banks_reach_are_refused(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    day = day_of(bank.view()["bank_day"])
    far = DayEndBalances(SubAcctNo=member.no, StartDate=day - timedelta(days=11), EndDate=day)
    assert await bank.refusal(far) == "ERR936"
    future = DayEndBalances(SubAcctNo=member.no, StartDate=day, EndDate=day + timedelta(days=1))
    assert await bank.refusal(future) == "ERR936"


async def test_day_ends_survive_a_restart(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    assert bank.sandbox is not None
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000)
    day = day_of(bank.view()["bank_day"])
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.sandbox.__aexit__(None, None, None)
    again = await open_bank(data_dir=tmp_path)
    (row,) = (await again.call(DayEndBalances(SubAcctNo=member.no, StartDate=day, EndDate=day))).AcctArray
    assert (row.DayAcctAvailBal, row.CashStatus) == (10000, "1")


async def test_the_pooled_account_shows_today_and_yesterday(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000)
    before = await bank.call(PooledBalance())
    assert (before.CurBalabce, before.LastBalance) == (100_000_000, 0)
    await bank.control("POST", "clock", {"advance_days": 1})
    after = await bank.call(PooledBalance())
    assert (after.CurBalabce, after.LastBalance) == (100_010_000, 100_000_000)


async def test_charges_are_those_the_control_plane_made(bank: Merchant) -> None:
    assert await bank.refusal(BankCharges(FunctionFlag="1")) == "ERR020"
    await bank.control("POST", "charges", {"fee_type": "2", "amount_fen": 1250})
    (row,) = (await bank.call(BankCharges(FunctionFlag="1"))).FeeArray
    day = bank.view()["bank_day"]
    assert (row.FeeType, row.ChargeAmt, row.FeeDeductDate, row.TranStatus) == ("2", 1250, day, "0")


async def test_play_money_to_the_pooled_account_lies_in_suspense(bank: Merchant) -> None:
    serial = bank.new_serial()
    to_pool = TrialTransfer(RecvAcctNo="11004261149702", ApplyTakeCashAmt=500, MarketChargeCommission=0)
    first = await bank.call(to_pool, serial)
    assert (await bank.call(to_pool, serial)) == first
    assert bank.functional("2") == 500
    await bank.call(TrialTransfer(RecvAcctNo="6222000000000001", ApplyTakeCashAmt=500, MarketChargeCommission=0))
    assert bank.functional("2") == 500

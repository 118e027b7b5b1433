from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from bankclient.messages import ReturnedWithdrawals
from tests.sandbox.conftest import Opened
from tests.sandbox.people import rich_member
from tests.sandbox.requests import withdrawal
from tests.sandbox.wire import Merchant


def returned(first: date, last: date, flag: Literal["1", "2"] = "1") -> ReturnedWithdrawals:
    return ReturnedWithdrawals(FunctionFlag=flag, StartDate=first, EndDate=last)


def today(bank: Merchant) -> date:
    return datetime.strptime(bank.view()["bank_day"], "%Y%m%d").date()  # noqa: DTZ007


async def test_a_return_names_its_withdrawal_from_the_next_day_on(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=0)
    member = await rich_member(bank)
    serial = bank.new_serial()
    front = (await bank.call(withdrawal(member, 4000), serial)).FrontSeqNo
    day = today(bank)
    assert await bank.refusal(returned(day, day)) == "ERR020"
    await bank.control("POST", f"withdrawals/{serial}", {"result": "return"})
    (row,) = (await bank.call(returned(day, day))).TranItemArray
    assert (row.OldMarketSeqNo, row.OldFrontSeqNo, row.OldTranSeqNo) == (None, None, None)
    assert (row.RejectInAcctTranAmt, row.PayeeWitnessSubAcctNo) == (4000, member.no)

    await bank.control("POST", "clock", {"advance_days": 1})
    (named,) = (await bank.call(returned(day, day))).TranItemArray
    assert (named.OldMarketSeqNo, named.OldFrontSeqNo) == (serial, front)
    assert named.PayeeFrontSeqNo == row.PayeeFrontSeqNo


async def test_the_days_asked_for_are_those_of_the_return(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=0)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    withdrawn = today(bank)
    await bank.control("POST", "clock", {"advance_days": 2})
    await bank.control("POST", f"withdrawals/{serial}", {"result": "return"})
    assert await bank.refusal(returned(withdrawn, withdrawn)) == "ERR020"
    assert len((await bank.call(returned(withdrawn, today(bank)))).TranItemArray) == 1
    assert await bank.refusal(returned(withdrawn, today(bank), flag="2")) == "ERR020"
    assert await bank.refusal(returned(today(bank), withdrawn)) == "ERR936"

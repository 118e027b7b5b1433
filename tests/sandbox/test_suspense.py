"""Transfers into the pooled account, and money of suspense brought to a member and back (6050, 6139, 6140)."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from bankclient.messages import (
    AllocateSuspense,
    ReverseSuspenseAllocation,
    SubAccountTransactions,
    TransactionStatus,
    TransfersIn,
    TransfersInRow,
    TrialTransfer,
)
from sandbox.clock import day_of
from tests.sandbox.conftest import Opened
from tests.sandbox.people import rich_member
from tests.sandbox.requests import withdrawal
from tests.sandbox.wire import FEE_ACCOUNT, Member, Merchant

SUSPENSE = "9930000000000002"


async def transfer(bank: Merchant, fen: int, to: Member | None = None, **more: Any) -> str:
    """Money comes in; returns the bank's serial."""
    command = {"amount_fen": fen, "sub_acct_no": to.no if to else "", **more}
    return str((await bank.control("POST", "transfers", command))["front_seq_no"])


def today(bank: Merchant) -> date:
    return day_of(bank.view()["bank_day"])


async def listed(bank: Merchant, day: date | None = None) -> list[TransfersInRow]:
    """The transfers of the present day, or of a day that has ended."""
    asked = day or today(bank)
    flag: Literal["1", "0"] = "1" if day is None else "0"
    reply = await bank.call(TransfersIn(FunctionFlag=flag, StartDate=asked, EndDate=asked))
    return list(reply.TranItemArray)


def clearing(member: Member, fen: int, fee_fen: int = 0, order_no: str = "S1") -> AllocateSuspense:
    return AllocateSuspense(
        SubAcctNo=member.no, TranNetMemberCode=member.code, OrderNo=order_no, SuspendAmt=fen, TranFee=fee_fen
    )


def undoing(member: Member, fen: int, fee_fen: int = 0, order_no: str = "S1") -> ReverseSuspenseAllocation:
    return ReverseSuspenseAllocation(
        SubAcctNo=member.no, TranNetMemberCode=member.code, OldOrderNo=order_no, CancelAmt=fen, TranFee=fee_fen
    )


async def test_a_transfer_of_a_stranger_lies_in_suspense_and_one_of_a_member_is_its_own(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    pooled = bank.view()["pooled"]
    strange = await transfer(bank, 5000, payer_name="虚构公司", remark="货款")
    own = await transfer(bank, 3000, member)
    assert (bank.functional("2"), bank.view()["pooled"]) == (5000, pooled + 8000)
    assert await bank.balances(member) == (3000, 0, 0)
    rows = await listed(bank)
    assert [
        (row.InAcctType, row.SubAcctNo, row.TranNetMemberCode, row.TranAmt, row.FrontSeqNo, row.InAcctName, row.Remark)
        for row in rows
    ] == [
        ("03", SUSPENSE, SUSPENSE, 5000, strange, "虚构公司", "货款"),
        ("02", member.no, "a", 3000, own, "虚构付款人", None),
    ]
    assert {row.AccountingDate for row in rows} == {bank.view()["bank_day"]}


async def test_transferred_money_waits_for_its_day_unless_the_bank_is_set_otherwise(
    bank: Merchant, open_bank: Opened
) -> None:
    member = await bank.member("a", "00")
    await transfer(bank, 3000, member)
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.balances(member) == (3000, 3000, 0)
    other = await open_bank(transferred_money="withdrawable")
    member = await other.member("a", "00")
    await transfer(other, 3000, member)
    assert await other.balances(member) == (3000, 3000, 0)


async def test_today_and_the_days_that_have_ended_are_listed_apart_in_pages_of_twenty(bank: Merchant) -> None:
    day = today(bank)
    serials = [await transfer(bank, number + 1) for number in range(23)]
    first = await bank.call(TransfersIn(FunctionFlag="1", StartDate=day, EndDate=day))
    second = await bank.call(TransfersIn(FunctionFlag="1", StartDate=day, EndDate=day, PageNum=2))
    assert [first.EndFlag, second.EndFlag] == ["0", "1"]
    assert [row.FrontSeqNo for row in (*first.TranItemArray, *second.TranItemArray)] == serials
    assert await bank.refusal(TransfersIn(FunctionFlag="0", StartDate=day, EndDate=day)) == "ERR020"
    await bank.control("POST", "clock", {"advance_days": 1})
    assert len(await listed(bank, day)) == 20
    assert await bank.refusal(TransfersIn(FunctionFlag="1", StartDate=day, EndDate=day)) == "ERR020"
    late = day + timedelta(days=9)
    assert await bank.refusal(TransfersIn(FunctionFlag="0", StartDate=late, EndDate=late)) == "ERR936"


async def test_play_money_to_the_pooled_account_is_listed_in_suspense(bank: Merchant) -> None:
    play = TrialTransfer(RecvAcctNo="11004261149702", ApplyTakeCashAmt=700, MarketChargeCommission=0)
    serial = (await bank.call(play)).WitnessSysSeqNo
    await bank.call(TrialTransfer(RecvAcctNo="6222000000000001", ApplyTakeCashAmt=500, MarketChargeCommission=0))
    (row,) = await listed(bank)
    assert (row.InAcctType, row.TranAmt, row.FrontSeqNo, bank.functional("2")) == ("03", 700, serial, 700)


async def test_the_principal_of_a_clearing_is_listed_as_suspense_and_lies_nowhere_but_in_the_pool(
    bank: Merchant,
) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000, 1000)
    await bank.control("POST", "clock", {"advance_days": 1})
    (row,) = await listed(bank)
    assert (row.InAcctType, row.TranAmt, row.Remark) == ("03", 10000, "跨行支付本金清算")
    assert bank.functional("2") == 0


async def test_a_withdrawal_that_came_back_is_listed_as_a_credit_of_its_member(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=0.0)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    await bank.control("POST", f"withdrawals/{serial}", {"result": "return"})
    (row,) = [row for row in await listed(bank) if row.InAcctType == "02"]
    assert (row.SubAcctNo, row.TranAmt) == (member.no, 4000)


async def test_a_clearing_of_suspense_is_withdrawable_at_once_less_its_fee(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await transfer(bank, 10000)
    serial = bank.new_serial()
    front = (await bank.call(clearing(buyer, 6000, 100), serial)).FrontSeqNo
    await bank.call(clearing(shop, 1000, order_no="S2"))
    assert await bank.balances(buyer) == (5900, 5900, 0)
    assert await bank.balances(shop) == (1000, 1000, 0)
    assert (bank.functional("2"), bank.functional("3")) == (3000, 100)
    told = await bank.call(TransactionStatus(FunctionFlag="2", TranNetSeqNo=serial))
    assert (told.BookingFlag, told.TranStatus, told.TranAmt, told.OldTranFrontSeqNo) == ("1", "0", 6000, front)
    (row,) = (
        await bank.call(SubAccountTransactions(FunctionFlag="1", SubAcctNo=buyer.no, QueryFlag="1"))
    ).TranItemArray
    assert (row.BookingType, row.OutSubAcctNo, row.InSubAcctNo) == ("4", SUSPENSE, buyer.no)


async def test_a_clearing_acts_once_for_its_serial_and_once_for_its_order(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await transfer(bank, 10000)
    serial = bank.new_serial()
    assert await bank.call(clearing(member, 4000), serial) == await bank.call(clearing(member, 4000), serial)
    assert bank.functional("2") == 6000
    assert await bank.refusal(clearing(member, 1000)) == "ERR127"


async def test_what_cannot_be_cleared_is_refused_and_nothing_moves(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await transfer(bank, 10000)
    serial = bank.new_serial()
    assert await bank.refusal(clearing(member, 10001), serial) == "ERR044"
    assert await bank.status("2", serial) == "1"
    assert await bank.refusal(clearing(member, 0)) == "ERR042"
    assert await bank.refusal(clearing(member, 100, 101)) == "ERR126"
    assert await bank.refusal(clearing(Member("a", FEE_ACCOUNT), 100)) == "ERR031"
    assert await bank.refusal(clearing(Member("nobody", member.no), 100)) == "ERR254"
    assert bank.functional("2") == 10000


async def test_a_clearing_is_undone_in_parts_within_what_it_moved(bank: Merchant) -> None:
    member, other = await bank.member("a", "00"), await bank.member("b", "00")
    await transfer(bank, 10000)
    await bank.call(clearing(member, 6000, 100))
    serial = bank.new_serial()
    await bank.call(undoing(member, 2000, 60), serial)
    assert await bank.balances(member) == (3960, 3960, 0)
    assert (bank.functional("2"), bank.functional("3")) == (6000, 40)
    told = await bank.call(TransactionStatus(FunctionFlag="2", TranNetSeqNo=serial))
    assert (told.BookingFlag, told.TranStatus, told.OutSubAcctNo, told.InSubAcctNo) == ("1", "0", member.no, SUSPENSE)
    assert await bank.refusal(undoing(member, 4001)) == "ERR271"
    assert await bank.refusal(undoing(member, 1000, 41)) == "ERR271"
    assert await bank.refusal(undoing(other, 100)) == "ERR149"
    assert await bank.refusal(undoing(member, 100, order_no="S9")) == "ERR115"
    assert await bank.refusal(undoing(member, 0)) == "ERR042"
    await bank.call(undoing(member, 4000, 40))
    assert (await bank.balances(member), bank.functional("2"), bank.functional("3")) == ((0, 0, 0), 10000, 0)


async def test_an_undoing_takes_withdrawable_money_only(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await transfer(bank, 10000)
    await bank.call(clearing(buyer, 6000))
    await bank.pay("9", buyer, shop, 5000)
    await bank.top_up(buyer, 9000)
    assert await bank.refusal(undoing(buyer, 1001)) == "ERR044"
    await bank.call(undoing(buyer, 1000))
    assert await bank.balances(buyer) == (9000, 0, 0)


async def test_transfers_and_clearings_survive_a_restart(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    assert bank.sandbox is not None
    member = await bank.member("a", "00")
    await transfer(bank, 10000)
    await bank.call(clearing(member, 6000))
    await bank.sandbox.__aexit__(None, None, None)
    again = await open_bank(data_dir=tmp_path)
    assert len(await listed(again)) == 1
    assert await again.refusal(undoing(member, 6001), bank.new_serial()) == "ERR271"
    await again.call(undoing(member, 6000), bank.new_serial())
    assert again.functional("2") == 10000


async def test_a_transfer_to_nobody_is_no_command(bank: Merchant) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await transfer(bank, 100, Member("a", "9930000000009999"))
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await transfer(bank, 0)
    assert bank.functional("2") == 0

from __future__ import annotations

from typing import Literal

from bankclient.messages import EscrowBalance, SubAccountBalances, TransactionStatus
from tests.sandbox.requests import freezing
from tests.sandbox.wire import Merchant


async def test_functional_accounts_are_listed_with_number_and_property(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000, 1000)
    reply = await bank.call(SubAccountBalances(QueryFlag="3"))
    found = {row.SubAcctProperty: (row.SubAcctNo, row.AcctAvailBal) for row in reply.AcctArray}
    assert found["3"] == ("9930000000000003", 1000)
    assert found["7"] == ("9930000000000007", -10000)
    assert found["10"] == ("9930000000000010", 100_000_000)
    assert set(found) == {"2", "3", "4", "5", "7", "10", "11", "12", "13", "22"}


async def test_one_members_balances_leave_out_what_is_held(bank: Merchant) -> None:
    member, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(member, 10000)
    await bank.call(freezing("1", member, 1000))
    await bank.pay("1", member, shop, 2000, order_no="O1")
    reply = await bank.call(SubAccountBalances(QueryFlag="2", SubAcctNo=member.no))
    (row,) = reply.AcctArray
    assert (row.AcctAvailBal, row.CashAmt, row.TranNetMemberCode) == (7000, 0, "a")
    assert await bank.balances(member) == (7000, 0, 1000)
    escrow = await bank.call(EscrowBalance(SubAcctNo=member.no))
    assert (escrow.SubAcctAvailBal, escrow.SubAcctAssureAmt) == (7000, 3000)


async def test_unknown_accounts_and_pages_are_refused(bank: Merchant) -> None:
    unknown = "9930000000009999"
    assert await bank.refusal(SubAccountBalances(QueryFlag="2", SubAcctNo=unknown)) == "ERR031"
    assert await bank.refusal(EscrowBalance(SubAcctNo=unknown)) == "ERR031"
    assert await bank.refusal(SubAccountBalances(QueryFlag="3", PageNum=2)) == "E80011"


async def test_a_status_names_amount_parties_day_and_front_serial(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    serial = bank.new_serial()
    paid = await bank.pay("6", buyer, shop, 4000, 100, serial=serial)
    status = await bank.call(TransactionStatus(FunctionFlag="2", TranNetSeqNo=serial))
    assert (status.BookingFlag, status.TranStatus, status.TranAmt) == ("2", "0", 4000)
    assert (status.OutSubAcctNo, status.InSubAcctNo) == (buyer.no, shop.no)
    assert status.OldTranFrontSeqNo == paid.FrontSeqNo
    assert status.TranDate == bank.view()["bank_day"]
    assert status.TranDate is not None
    assert paid.FrontSeqNo[:6] == status.TranDate[2:]
    assert len(paid.FrontSeqNo) == 16


async def test_a_serial_is_found_under_its_own_kind_only(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    serial = await bank.top_up(member, 100)
    assert await bank.status("4", serial) == "0"
    flags: tuple[Literal["2", "3"], ...] = ("2", "3")
    for flag in flags:
        wrong = TransactionStatus(FunctionFlag=flag, TranNetSeqNo=serial)
        assert await bank.refusal(wrong) == "ERR020"
    unknown = TransactionStatus(FunctionFlag="2", TranNetSeqNo="X" * 22)
    assert await bank.refusal(unknown) == "ERR020"

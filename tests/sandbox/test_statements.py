from __future__ import annotations

from datetime import timedelta
from typing import Literal

from bankclient.messages import CashMovements, RefundPayment, SubAccountTransactions, TransactionStatus
from sandbox.clock import day_of
from tests.sandbox.conftest import Opened
from tests.sandbox.requests import freezing, paying, withdrawal
from tests.sandbox.wire import FEE_ACCOUNT, Merchant


def today(no: str, query: Literal["1", "2", "3"] = "1", page: int = 1) -> SubAccountTransactions:
    return SubAccountTransactions(FunctionFlag="1", SubAcctNo=no, QueryFlag=query, PageNum=page)


async def test_payments_freezes_and_refunds_are_listed_with_their_kind_and_way(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    serial = bank.new_serial()
    paid = await bank.pay("6", buyer, shop, 4000, 100, order_no="O1", remark="shoes", serial=serial)
    await bank.pay("1", buyer, shop, 2000, order_no="O2")
    await bank.pay("2", buyer, shop, 1500, order_no="O2")
    await bank.pay("3", buyer, shop, 500, order_no="O2")
    await bank.call(freezing("1", buyer, 1000))
    await bank.call(freezing("2", buyer, 1000))
    await bank.call(
        RefundPayment(
            FunctionFlag="2",
            OldOutSubAcctNo=buyer.no,
            OldOutMemberCode=buyer.code,
            OldInSubAcctNo=shop.no,
            OldInMemberCode=shop.code,
            OldTranSeqNo=serial,
            OldOrderNo="O1",
            ReturnAmt=300,
            ReturnCommission=0,
        )
    )
    rows = (await bank.call(today(buyer.no))).TranItemArray
    assert [(row.BookingType, row.BookingFlag, row.TranAmt) for row in rows] == [
        ("1", "1", 4000),
        ("6", "1", 2000),
        ("7", "1", 1500),
        ("8", "1", 500),
        ("2", "1", 1000),
        ("3", "2", 1000),
        ("25", "2", 300),
    ]
    assert (rows[0].FrontSeqNo, rows[0].Remark, rows[0].InSubAcctNo) == (paid.FrontSeqNo, "shoes", shop.no)
    shop_in = (await bank.call(today(shop.no, "3"))).TranItemArray
    assert [row.TranAmt for row in shop_in if row.BookingType in ("1", "25")] == [4000]
    shop_out = (await bank.call(today(shop.no, "2"))).TranItemArray
    assert [row.TranAmt for row in shop_out] == [300]


async def test_frozen_money_paid_out_is_listed_by_row_and_its_commission_beside_them(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    await bank.call(freezing("1", buyer, 5000))
    await bank.call(paying(buyer, 200, ("26010500000000000001", shop, 3000)))
    rows = (await bank.call(today(buyer.no, "2"))).TranItemArray
    assert [(row.BookingType, row.InSubAcctNo, row.TranAmt) for row in rows[1:]] == [
        ("7", shop.no, 3000),
        ("7", FEE_ACCOUNT, 200),
    ]
    assert len({row.FrontSeqNo for row in rows}) == 3


async def test_twenty_rows_a_page_and_only_the_last_says_so(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    for number in range(21):
        await bank.pay("6", buyer, shop, 100 + number)
    first, second = await bank.call(today(buyer.no)), await bank.call(today(buyer.no, page=2))
    assert (len(first.TranItemArray), first.EndFlag) == (20, "0")
    assert ([row.TranAmt for row in second.TranItemArray], second.EndFlag) == ([120], "1")


async def test_yesterday_is_history_and_today_is_not(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 10000)
    await bank.pay("6", buyer, shop, 4000)
    day = day_of(bank.view()["bank_day"])
    history = SubAccountTransactions(FunctionFlag="2", SubAcctNo=buyer.no, QueryFlag="1", StartDate=day, EndDate=day)
    assert await bank.refusal(history) == "ERR020"
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.refusal(today(buyer.no)) == "ERR020"
    (row,) = (await bank.call(history)).TranItemArray
    assert (row.TranAmt, row.TranDate) == (4000, f"{day:%Y%m%d}")
    future = history.model_copy(update={"EndDate": day + timedelta(days=2)})
    assert await bank.refusal(future) == "ERR936"


async def test_top_ups_and_withdrawals_are_listed_once_they_succeeded(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=0)
    shop = await bank.member("b", "SH")
    await bank.top_up(shop, 10000, 500)
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.control("POST", "clock", {"advance_days": 1})
    serial = bank.new_serial()
    request = withdrawal(shop, 4000).model_copy(update={"ReservedMsg": "1.00"})
    accepted = await bank.call(request, serial)
    await bank.call(TransactionStatus(FunctionFlag="3", TranNetSeqNo=serial))
    out = CashMovements(FunctionFlag="1", SubAcctNo=shop.no, QueryFlag="2")
    (row,) = (await bank.call(out)).TranItemArray
    assert (row.BookingFlag, row.TranAmt, row.Commission) == ("01", 4100, 100)
    assert (row.FrontSeqNo, row.BookingMsg) == (accepted.FrontSeqNo, "提现")
    day = day_of(bank.view()["bank_day"])
    past = CashMovements(
        FunctionFlag="2", SubAcctNo=shop.no, QueryFlag="3", BeginDate=day - timedelta(days=3), EndDate=day
    )
    (row,) = (await bank.call(past)).TranItemArray
    assert (row.BookingFlag, row.TranAmt, row.Commission) == ("02", 10000, 500)

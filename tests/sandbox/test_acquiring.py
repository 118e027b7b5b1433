"""Orders of acquiring products at the sandbox bank: 6146, 6147, 6145."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import pytest

from bankclient.messages import (
    AcquiringOrder,
    AcquiringOrderReply,
    OpenMember,
    RebookAcquiringOrder,
    SupplyAcquiringOrder,
)
from tests.sandbox.conftest import Opened
from tests.sandbox.wire import Member, Merchant

PARKING = "9930000000000022"


def remark(*rows: tuple[str, str, str, str, str], kind: str = "1") -> str:
    """Rows of sub-account, PayModel, fee, amount, number."""
    keys = ("SubAccNo", "PayModel", "TranFee", "subamount", "suborderId")
    listed = [dict(zip(keys[: 3 if kind == "0" else 5], row, strict=False)) for row in rows]
    content = {"SFJOrdertype": kind, "remarktype": "JHS0100000", "plantCode": "9930", "oderlist": listed}
    return json.dumps([content])


async def acquire(bank: Merchant, order_no: str, fen: int, text: str, **more: Any) -> Any:
    command = {"channel": "YST1", "order_no": order_no, "amount_fen": fen, "remark": text, **more}
    return await bank.control("POST", "acquired_orders", command)


def question(order_no: str) -> AcquiringOrder:
    return AcquiringOrder(AcquiringChannelType="YST1", OrderNo=order_no)


async def asked(bank: Merchant, order_no: str) -> AcquiringOrderReply:
    return await bank.call(question(order_no))


def supply(order_no: str, fen: int) -> SupplyAcquiringOrder:
    return SupplyAcquiringOrder(AcquiringChannelType="YST1", OrderNo=order_no, Amt=fen)


def rebook(order_no: str, member: Member, fen: int, name: str) -> RebookAcquiringOrder:
    return RebookAcquiringOrder(
        AcquiringChannelType="YST1",
        OrderNo=order_no,
        SubAcctNo=member.no,
        TranNetMemberCode=member.code,
        SubAcctName=name,
        Amt=fen,
        Remark=order_no,
    )


async def named(bank: Merchant, code: str) -> Member:
    request = OpenMember(FunctionFlag="1", TranNetMemberCode=code, MemberProperty="SH", UserNickname=f"{code}名")
    return Member(code, (await bank.call(request)).SubAcctNo)


async def test_an_order_is_booked_by_its_remark_and_the_channel_owes_all_of_it(bank: Merchant) -> None:
    a, b = await bank.member("a", "SH"), await bank.member("b", "00")
    text = remark((a.no, "1", "1.00", "60.00", "S1"), (b.no, "0", "0.00", "40.00", "S2"))
    await acquire(bank, "T1", 10000, text)
    assert await bank.balances(a) == (5900, 0, 0)
    assert await bank.balances(b) == (0, 0, 4000)
    assert (bank.functional("3"), bank.functional("7")) == (100, -10000)
    reply = await asked(bank, "S1")
    assert (reply.TranStatus, reply.TranAmt, reply.CommissionAmt, reply.PayMode) == ("0", 6000, 100, "1")
    assert reply.OrderInSubAcctNo == reply.OrderActInSubAcctNo == a.no


async def test_the_clearing_of_the_day_brings_the_channels_money(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await acquire(bank, "T1", 500, remark((member.no, "1", "0.00", "5.00", "S1")))
    pooled = bank.view()["pooled"]
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.balances(member) == (500, 500, 0)
    assert (bank.view()["pooled"], bank.functional("7")) == (pooled + 500, 0)


async def test_a_plain_order_goes_by_its_own_number(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await acquire(bank, "T1", 700, remark((member.no, "1", "0.10", "", ""), kind="0"))
    assert (await asked(bank, "T1")).TranAmt == 700
    assert await bank.balances(member) == (690, 0, 0)


async def test_a_missed_order_is_unknown_until_6147_has_it_fetched_once(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await acquire(bank, "T1", 500, remark((member.no, "1", "0.00", "5.00", "S1")), missed=True)
    assert await bank.refusal(question("S1")) == "ERR020"
    assert await bank.refusal(supply("T1", 499)) == "ERR126"
    assert await bank.refusal(supply("T2", 500)) == "ERR115"
    serial = bank.new_serial()
    first = await bank.call(supply("T1", 500), serial)
    assert (await bank.call(supply("T1", 500), serial)) == first
    assert await bank.balances(member) == (500, 0, 0)
    assert await bank.refusal(supply("T1", 500)) == "ERR127"
    assert (await asked(bank, "S1")).FrontSeqNo == first.FrontSeqNo


async def test_a_sub_account_that_is_none_has_its_share_parked_and_6145_moves_it_once(bank: Merchant) -> None:
    right = await named(bank, "a")
    await acquire(bank, "T1", 1000, remark(("9930000000009999", "1", "1.00", "10.00", "S1")))
    assert (bank.functional("22"), bank.functional("3")) == (1000, 0)
    assert (await asked(bank, "S1")).OrderActInSubAcctNo == PARKING
    assert await bank.refusal(rebook("S1", right, 900, "a名")) == "ERR126"
    assert await bank.refusal(rebook("S1", right, 1000, "b名")) == "ERR125"
    assert await bank.refusal(rebook("S9", right, 1000, "a名")) == "ERR115"
    await bank.call(rebook("S1", right, 1000, "a名"))
    assert (bank.functional("22"), bank.functional("3")) == (0, 100)
    assert await bank.balances(right) == (900, 0, 0)
    assert (await asked(bank, "S1")).OrderActInSubAcctNo == right.no
    assert await bank.refusal(rebook("S1", right, 1000, "a名")) == "ERR127"


@pytest.mark.parametrize(("taken", "frozen", "fee"), [("at_entry", 900, 100), ("at_release", 1000, 0)])
async def test_money_booked_to_a_wrong_member_is_moved_while_it_is_there(
    open_bank: Opened, taken: Literal["at_release", "at_entry"], frozen: int, fee: int
) -> None:
    bank = await open_bank(acquired_fee=taken)
    right, wrong = await named(bank, "a"), await named(bank, "b")
    await acquire(bank, "T1", 1000, remark((right.no, "0", "1.00", "10.00", "S1")), booked_to=wrong.no)
    assert await bank.balances(wrong) == (0, 0, frozen)
    await bank.call(rebook("S1", right, 1000, "a名"))
    assert await bank.balances(wrong) == (0, 0, 0)
    assert await bank.balances(right) == (0, 0, frozen)
    assert bank.functional("3") == fee


async def test_an_order_that_is_where_its_remark_says_is_not_moved(bank: Merchant) -> None:
    right, other = await named(bank, "a"), await named(bank, "b")
    await acquire(bank, "T1", 1000, remark((right.no, "1", "0.00", "10.00", "S1")))
    assert await bank.refusal(rebook("S1", other, 1000, "b名")) == "ERR127"


@pytest.mark.parametrize(
    ("fen", "text"),
    [
        (500, "no json"),
        (501, remark(("9930000000001000", "1", "0.00", "5.00", "S1"))),
        (500, remark(("9930000000001000", "1", "5.01", "5.00", "S1"))),
        (500, remark(("9930000000001000", "2", "0.00", "5.00", "S1"))),
        (500, remark(("9930000000001000", "1", "0.00", "2.50", "S1"), ("9930000000001000", "1", "0.00", "2.50", "S1"))),
    ],
)
async def test_a_wrong_remark_refuses_the_payment(bank: Merchant, fen: int, text: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await acquire(bank, "T1", fen, text)
    assert bank.functional("7") == 0


async def test_an_order_number_is_collected_once(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    text = remark((member.no, "1", "0.00", "5.00", "S1"))
    await acquire(bank, "T1", 500, text)
    for number in ("T1", "T2"):
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            await acquire(bank, number, 500, text)
    assert await bank.balances(member) == (500, 0, 0)

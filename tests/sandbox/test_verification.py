"""Codes, signatures, orders ended by the platform and batches, over the wire."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from bankclient.messages import (
    BatchPayment,
    BatchPaymentRow,
    Freeze,
    FreezeBySms,
    MemberPaymentByPassword,
    MemberPaymentBySms,
    RequestSmsCode,
    SettleOrder,
    SubAccountTransactions,
    WithdrawBySms,
)
from tests.sandbox.wire import Member, Merchant

Parties = tuple[Member, Member]


@pytest.fixture
async def parties(bank: Merchant) -> Parties:
    """A buyer with 100.00 and a seller."""
    buyer, seller = await bank.member("buyer", "00"), await bank.member("seller", "SH")
    await bank.top_up(buyer, 100_00)
    return buyer, seller


async def code_for(
    bank: Merchant, member: Member, fen: int, tran_type: Literal["1", "2", "3", "4"] = "2", remark: str | None = None
) -> dict[str, Any]:
    """Ask for a code and read it where a phone would be."""
    reply = await bank.call(
        RequestSmsCode(
            TranType=tran_type,
            TranNetMemberCode=member.code,
            SubAcctNo=member.no,
            TranAmt=fen,
            Remark=remark,
        )
    )
    texts = await bank.control("GET", "sms")
    (code,) = [text["code"] for text in texts if text["order_no"] == reply.MessageOrderNo]
    return {"MessageOrderNo": reply.MessageOrderNo, "MessageCheckCode": code}


def payment(parties: Parties, fen: int, **proof: Any) -> MemberPaymentBySms:
    buyer, seller = parties
    return MemberPaymentBySms(
        FunctionFlag="6",
        OutSubAcctNo=buyer.no,
        OutMemberCode=buyer.code,
        InSubAcctNo=seller.no,
        InMemberCode=seller.code,
        TranAmt=fen,
        TranFee=0,
        **proof,
    )


async def test_a_code_pays_once_and_only_with_its_own_number(bank: Merchant, parties: Parties) -> None:
    buyer, seller = parties
    proof = await code_for(bank, buyer, 10_00, remark=seller.no)
    wrong = {**proof, "MessageCheckCode": f"{(int(proof['MessageCheckCode']) + 1) % 10**6:06d}"}
    assert await bank.refusal(payment(parties, 10_00, **wrong)) == "ERR138"
    assert await bank.refusal(payment(parties, 10_00, **{**proof, "MessageOrderNo": "SMS1"})) == "ERR137"
    await bank.call(payment(parties, 10_00, **proof))
    assert await bank.refusal(payment(parties, 10_00, **proof)) == "ERR163"
    assert (await bank.balances(buyer))[0] == 90_00


async def test_a_payment_code_names_its_payee_and_a_withdrawal_code_pays_nothing(
    bank: Merchant, parties: Parties
) -> None:
    buyer, seller = parties
    assert await bank.refusal(payment(parties, 1, **await code_for(bank, buyer, 1))) == "ERR149"
    proof = await code_for(bank, buyer, 1, tran_type="1", remark=seller.no)
    assert await bank.refusal(payment(parties, 1, **proof)) == "ERR137"


async def test_a_code_ends(bank: Merchant, parties: Parties) -> None:
    buyer, seller = parties
    proof = await code_for(bank, buyer, 1, remark=seller.no)
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.refusal(payment(parties, 1, **proof)) == "ERR163"


async def test_a_freeze_by_sms_shares_its_order_with_a_release_without(bank: Merchant, parties: Parties) -> None:
    buyer, _ = parties
    fields: dict[str, Any] = {
        "SubAcctNo": buyer.no,
        "TranNetMemberCode": buyer.code,
        "TranAmt": 40_00,
        "TranCommission": 0,
        "OrderNo": "F1",
    }
    await bank.call(FreezeBySms(FunctionFlag="1", **fields, **await code_for(bank, buyer, 40_00)))
    assert await bank.balances(buyer) == (60_00, 0, 40_00)
    await bank.call(Freeze(FunctionFlag="2", **fields))
    assert await bank.balances(buyer) == (100_00, 0, 0)


async def test_6085_serves_for_its_fee_without_a_code_but_not_with_half_of_one(
    bank: Merchant, parties: Parties
) -> None:
    buyer, _ = parties
    await bank.control("POST", "clock", {"advance_days": 1})
    fields: dict[str, Any] = {
        "SubAcctNo": buyer.no,
        "TranNetMemberCode": buyer.code,
        "SubAcctName": "张三",
        "TakeCashAcctNo": "6222000000000000",
        "TakeCashAcctName": "张三",
        "TakeCashCommission": 2_00,
        "CashAmt": 50_00,
    }
    assert await bank.refusal(WithdrawBySms(**fields, MessageCheckCode="123456")) == "ERR936"
    await bank.call(WithdrawBySms(**fields))
    assert await bank.balances(buyer) == (48_00, 48_00, 0)
    assert bank.functional("3") == 2_00


async def test_a_password_signature_is_good_for_its_member_once_and_names_must_be_right(
    bank: Merchant, parties: Parties
) -> None:
    buyer, seller = parties
    signature = (await bank.control("POST", "web-signatures", {"sub_acct_no": buyer.no}))["signature"]
    fields: dict[str, Any] = payment(parties, 1_00, MessageCheckCode="1").model_dump(
        exclude={"MessageCheckCode", "MessageOrderNo", "OutSubAcctName", "InSubAcctName"}
    )
    wrong = MemberPaymentByPassword(**fields, OutSubAcctName="别人", InSubAcctName="别人", WebSign=signature)
    assert await bank.refusal(wrong) == "ERR936"
    assert (await bank.balances(buyer))[0] == 100_00
    assert (await bank.balances(seller))[0] == 0


async def test_6110_knows_neither_6031_nor_a_batch_but_6072_lists_each_row(bank: Merchant, parties: Parties) -> None:
    buyer, seller = parties
    row: dict[str, Any] = {"InSubAcctNo": seller.no, "InMemberCode": seller.code, "TranFee": 0}
    rows = (
        BatchPaymentRow(**row, TranAmt=10_00, OrderNo="B1", TranSeqNo="26010500000000000001"),
        BatchPaymentRow(**row, TranAmt=20_00, OrderNo="B2", TranSeqNo="26010500000000000002"),
    )
    batch: dict[str, Any] = {"FunctionFlag": "1", "OutSubAcctNo": buyer.no, "OutMemberCode": buyer.code}
    single = BatchPayment(**batch, OrdersCount=1, TranItemArray=rows[:1])
    assert await bank.refusal(single) == "ERR936"
    serial = bank.new_serial()
    await bank.call(BatchPayment(**batch, OrdersCount=2, TranItemArray=rows), serial)
    again = BatchPayment(**batch, OrdersCount=2, TranItemArray=rows)
    assert await bank.refusal(again) == "ERR160"
    listed = await bank.call(SubAccountTransactions(FunctionFlag="1", SubAcctNo=buyer.no, QueryFlag="2"))
    assert [(one.BookingType, one.TranAmt) for one in listed.TranItemArray] == [("6", 10_00), ("6", 20_00)]
    for one in (serial, rows[0].TranSeqNo):
        with pytest.raises(Exception, match="ERR020"):
            await bank.status("2", one)


async def test_6031_wants_the_names_of_both_sides(bank: Merchant, parties: Parties) -> None:
    buyer, seller = parties
    await bank.pay("1", buyer, seller, 30_00, order_no="O1")
    settle = SettleOrder(
        FunctionFlag="2",
        OutSubAcctNo=buyer.no,
        OutMemberCode=buyer.code,
        OutSubAcctName="别人",
        InSubAcctNo=seller.no,
        InMemberCode=seller.code,
        InSubAcctName="seller",
        TranAmt=30_00,
        TranFee=3_00,
        OrderNo="O1",
    )
    assert await bank.refusal(settle) == "ERR936"
    assert (await bank.balances(seller))[0] == 0

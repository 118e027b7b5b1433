"""Requests to the sandbox in one line each."""

from __future__ import annotations

from typing import Literal

from bankclient.messages import (
    Freeze,
    PayFrozen,
    PayFrozenRow,
    RefundPayment,
    SplitTopUp,
    SplitTopUpRow,
    Withdraw,
)
from tests.sandbox.wire import Member

FreezeFlag = Literal["1", "2", "4", "5", "6", "7"]


def freezing(flag: FreezeFlag, member: Member, amount_fen: int, fee_fen: int = 0, order: str = "F1") -> Freeze:
    return Freeze(
        FunctionFlag=flag,
        SubAcctNo=member.no,
        TranNetMemberCode=member.code,
        TranAmt=amount_fen,
        TranCommission=fee_fen,
        OrderNo=order,
    )


def paying(payer: Member, commission_fen: int, *rows: tuple[str, Member, int], order: str = "F1") -> PayFrozen:
    return PayFrozen(
        OutSubAcctNo=payer.no,
        OutTranNetMemberCode=payer.code,
        Commission=commission_fen,
        OrderNo=order,
        InSubAcctNum=len(rows),
        TranItemArray=tuple(
            PayFrozenRow(
                TranSeqNo=serial,
                InSubAcctNo=payee.no,
                InTranNetMemberCode=payee.code,
                TranAmt=amount,
            )
            for serial, payee, amount in rows
        ),
    )


def refund(
    flag: Literal["1", "2", "3", "4", "5", "6"],
    serial: str,
    payer: Member,
    payee: Member,
    amount_fen: int,
    fee_fen: int = 0,
    order_no: str | None = None,
    reserved: str | None = None,
    remark: str | None = None,
) -> RefundPayment:
    return RefundPayment(
        FunctionFlag=flag,
        OldTranSeqNo=serial,
        OldOutSubAcctNo=payer.no,
        OldOutMemberCode=payer.code,
        OldInSubAcctNo=payee.no,
        OldInMemberCode=payee.code,
        ReturnAmt=amount_fen,
        ReturnCommission=fee_fen,
        OldOrderNo=order_no,
        ReservedMsg=reserved,
        Remark=remark,
    )


def row(member: Member, net_fen: int, fee_fen: int, order_no: str, serial: str) -> SplitTopUpRow:
    return SplitTopUpRow(
        RechargeSubAcctNo=member.no,
        SubOrderFillMemberCd=member.code,
        SubOrderTranAmt=net_fen,
        SubOrderTranFee=fee_fen,
        SubOrderNo=order_no,
        SubOrderBussSeqNo=serial,
    )


def split(*rows: SplitTopUpRow, total_fen: int, order_no: str = "total-1") -> SplitTopUp:
    return SplitTopUp(
        PayChannelType="0001",
        PayChannelAssignMerNo="M1",
        TotalOrderNo=order_no,
        TranTotalAmt=total_fen,
        OrdersCount=len(rows),
        TranItemArray=rows,
    )


def withdrawal(member: Member, amount_fen: int, remark: str | None = None) -> Withdraw:
    return Withdraw(
        TranWebName="9930",
        SubAcctNo=member.no,
        TranNetMemberCode=member.code,
        MemberName="Test",
        TakeCashAcctNo="6222000000000001",
        OutAmtAcctName="Test",
        CashAmt=amount_fen,
        Remark=remark,
    )

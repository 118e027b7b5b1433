"""Top-ups taken back: 6130 of a 6129, 6217 of a 6216. Quick start: 会员充值.

The member's part and the fee are given apart and each stays within what was credited, over all
revocations. What is given back joins the in-transit account of the day of the revocation, before and
after the clearing of the top-up's own day alike: a bank day has one clearing record, made from what was
booked on it (6108). Not published; a question for the bank.
"""

from __future__ import annotations

from dataclasses import replace

from bankclient.messages import (
    RevokeSplitTopUp,
    RevokeSplitTopUpReply,
    RevokeSplitTopUpReplyRow,
    RevokeSplitTopUpRow,
    RevokeTopUp,
    RevokeTopUpReply,
)
from sandbox import codes
from sandbox.books import FEE, Move, available, functional, in_transit
from sandbox.context import Context, positive
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Credit, row_name


@handles(RevokeTopUp, asked_by="4")
def revoke_top_up(context: Context, request: RevokeTopUp) -> RevokeTopUpReply:
    """6130. The original is named four times; all four must fit."""
    credit = context.store.get(Credit, request.OldFillFrontSeqNo)
    if credit is None:
        raise Refused(codes.ORIGINAL_NOT_FOUND)
    if (credit.channel_type, credit.channel_seq_no, credit.order_no) != (
        request.OldFillPayChannelType,
        request.OldPayChannelTranSeqNo,
        request.OldFillEjzbOrderNo,
    ):
        raise Refused(codes.ORIGINAL_NOT_FOUND)
    amount, fee = request.ApplyCancelMemberAmt, request.ApplyCancelCommission
    _give_back(context, credit, amount, fee)
    front = context.book(
        "N",
        out_sub_acct_no=credit.sub_acct_no,
        amount_fen=amount + fee,
        fee_fen=fee,
        order_no=credit.order_no,
        remark=request.Remark,
    ).FrontSeqNo
    return RevokeTopUpReply(FrontSeqNo=front)


def _row_serials(request: RevokeSplitTopUp) -> list[str]:
    return [row.SubOrderRefundSeqNo for row in request.TranItemArray if row.SubOrderRefundSeqNo]


@handles(RevokeSplitTopUp, asked_by="4", row_serials=_row_serials)
def revoke_split_top_up(context: Context, request: RevokeSplitTopUp) -> RevokeSplitTopUpReply:
    """6217. All rows or none; 6110 finds a row by its SubOrderRefundSeqNo or FrontSeqNo."""
    rows = request.TranItemArray
    if request.TotalRefundAmt != sum(row.SubOrderMemberRefundAmt + row.SubOrderFeeRefundAmt for row in rows):
        raise Refused(codes.AMOUNT_MISMATCH, "退款总金额与明细不符")
    if len({row.SubOrderRefundSubAcctNo for row in rows}) != len(rows):
        raise Refused(codes.ORDER_REPEATED, "同一请求下子账户重复")
    return RevokeSplitTopUpReply(
        OrdersCount=str(len(rows)),
        TranItemArray=tuple(RevokeSplitTopUpReplyRow(FrontSeqNo=_give_back_row(context, request, row)) for row in rows),
    )


def _give_back_row(context: Context, request: RevokeSplitTopUp, row: RevokeSplitTopUpRow) -> str:
    """The row is found by its sub-account; whether SubOrderRefundOrderNo repeats SubOrderNo is left open."""
    member = context.member(row.SubOrderRefundSubAcctNo, row.SubOrderRefundMemberCd)
    credit = context.store.get(Credit, row_name(request.OldTotalOrderNo, member.sub_acct_no))
    if credit is None or credit.channel_type != request.OldPayChannelType:
        raise Refused(codes.ORIGINAL_NOT_FOUND)
    front = context.front_seq_no()
    serial = row.SubOrderRefundSeqNo or front
    if serial == context.serial or not context.serial_is_free(serial):
        raise Refused(codes.SERIAL_REPEATED)
    amount, fee = row.SubOrderMemberRefundAmt, row.SubOrderFeeRefundAmt
    _give_back(context, credit, amount, fee)
    return context.book(
        "N",
        serial=serial,
        front_seq_no=front,
        out_sub_acct_no=member.sub_acct_no,
        amount_fen=amount + fee,
        fee_fen=fee,
        order_no=row.SubOrderRefundOrderNo,
    ).FrontSeqNo


def _give_back(context: Context, credit: Credit, amount_fen: int, fee_fen: int) -> None:
    positive(amount_fen + fee_fen)
    if amount_fen > credit.remaining_fen or fee_fen > credit.remaining_fee_fen:
        raise Refused(codes.REFUND_OVER_LIMIT, "撤销金额超过可撤销金额")
    owed = in_transit(context.today)
    context.post(
        Move(available(credit.sub_acct_no), owed, amount_fen),
        Move(functional(FEE), owed, fee_fen),
    )
    context.store.put(
        replace(
            credit,
            remaining_fen=credit.remaining_fen - amount_fen,
            remaining_fee_fen=credit.remaining_fee_fen - fee_fen,
        )
    )

"""In-transit top-ups through a payment channel: 6129 and, split, 6216. Quick start: 会员充值.

The member is credited at once out of the in-transit account of the day, which the channel still
owes; the credit waits for the clearing of that day (6108). Both kinds of member may be credited.
"""

from __future__ import annotations

from bankclient.messages import (
    SplitTopUp,
    SplitTopUpReply,
    SplitTopUpReplyRow,
    SplitTopUpRow,
    TopUp,
    TopUpReply,
)
from sandbox import codes
from sandbox.books import FEE, Move, functional, in_transit, waiting
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Credit, Order, row_name


@handles(TopUp, asked_by="4")
def top_up(context: Context, request: TopUp) -> TopUpReply:
    """6129. By default MemberFillAmt includes Commission, as in the quick start's example."""
    member = context.member(request.MemberSubAcctNo, request.TranWebMemberId)
    amount = positive(request.MemberFillAmt)
    fee = request.Commission
    gross = amount if context.settings.top_up_amount == "gross" else amount + fee
    net = gross - within(fee, gross)
    context.open_order(Order("top_up", request.EjzbOrderNo, context.code))
    before = context.books.sub_account(member.sub_acct_no).available_fen
    context.post(*_credit(context.today, member.sub_acct_no, net, fee))
    front = context.book(
        "4",
        in_sub_acct_no=member.sub_acct_no,
        amount_fen=gross,
        fee_fen=fee,
        order_no=request.EjzbOrderNo,
        remark=request.Remark,
    ).FrontSeqNo
    context.store.put(
        Credit(
            name=front,
            sub_acct_no=member.sub_acct_no,
            channel_type=request.PayChannelType,
            channel_seq_no=request.PayChannelTranSeqNo,
            order_no=request.EjzbOrderNo,
            remaining_fen=net,
            remaining_fee_fen=fee,
        )
    )
    return TopUpReply(FrontSeqNo=front, MemberSubAcctPreAvailBal=before)


def _row_serials(request: SplitTopUp) -> list[str]:
    return [row.SubOrderBussSeqNo for row in request.TranItemArray if row.SubOrderBussSeqNo]


@handles(SplitTopUp, asked_by="4", row_serials=_row_serials)
def split_top_up(context: Context, request: SplitTopUp) -> SplitTopUpReply:
    """6216. All rows or none. 6110 finds a row by its SubOrderBussSeqNo or FrontSeqNo, and the call
    by neither its CnsmrSeqNo: the status is per row (catalogue 6216)."""
    rows = request.TranItemArray
    if request.TranTotalAmt != sum(row.SubOrderTranAmt + row.SubOrderTranFee for row in rows):
        raise Refused(codes.AMOUNT_MISMATCH, "订单总金额与明细不符")
    if len({row.RechargeSubAcctNo for row in rows}) != len(rows):
        raise Refused(codes.ORDER_REPEATED, "同一总订单下子账户重复")
    context.open_order(Order("total", request.TotalOrderNo, context.code))
    return SplitTopUpReply(
        OrdersCount=str(len(rows)),
        TranItemArray=tuple(SplitTopUpReplyRow(FrontSeqNo=_credit_row(context, request, row)) for row in rows),
    )


def _credit_row(context: Context, request: SplitTopUp, row: SplitTopUpRow) -> str:
    member = context.member(row.RechargeSubAcctNo, row.SubOrderFillMemberCd)
    net, fee = positive(row.SubOrderTranAmt), row.SubOrderTranFee
    context.open_order(Order("sub", row.SubOrderNo, context.code, payee=member.sub_acct_no))
    front = context.front_seq_no()
    serial = row.SubOrderBussSeqNo or front
    if serial == context.serial or not context.serial_is_free(serial):
        raise Refused(codes.SERIAL_REPEATED)
    context.post(*_credit(context.today, member.sub_acct_no, net, fee))
    context.store.put(
        Credit(
            name=row_name(request.TotalOrderNo, member.sub_acct_no),
            sub_acct_no=member.sub_acct_no,
            channel_type=request.PayChannelType,
            channel_seq_no="",
            order_no=row.SubOrderNo,
            remaining_fen=net,
            remaining_fee_fen=fee,
        )
    )
    return context.book(
        "4",
        serial=serial,
        front_seq_no=front,
        in_sub_acct_no=member.sub_acct_no,
        amount_fen=net + fee,
        fee_fen=fee,
        order_no=row.SubOrderNo,
        remark=row.SubOrderRemark,
    ).FrontSeqNo


def _credit(day: str, sub_acct_no: str, net_fen: int, fee_fen: int) -> tuple[Move, Move]:
    return (
        Move(in_transit(day), waiting(sub_acct_no, day), net_fen),
        Move(in_transit(day), functional(FEE), fee_fen),
    )

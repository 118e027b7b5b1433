"""Withdrawals that the receiving bank sent back: 6048. Quick start: 查询银行提现退单信息.

The days asked for are those of the return. A return of the asking day does not name its withdrawal yet;
from the next day on the four Old fields do (catalogue 6048). There are no pages.
"""

from __future__ import annotations

from typing import Final

from bankclient.messages import ReturnedWithdrawals, ReturnedWithdrawalsReply, ReturnedWithdrawalsRow
from sandbox import codes
from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Member, Trade, Withdrawal

WITHDRAWALS: Final = "1"
CORE_PREFIX: Final = "427098"
"""What precedes the FrontSeqNo in the bank's own serial of a withdrawal (catalogue 6048, OldTranSeqNo)."""


@handles(ReturnedWithdrawals)
def returned_withdrawals(context: Context, request: ReturnedWithdrawals) -> ReturnedWithdrawalsReply:
    """6048, in the order of the returns. No pay-out of a card check is ever returned here (flag 2)."""
    first, last = day_text(request.StartDate), day_text(request.EndDate)
    if first > last or last > context.today:
        raise Refused(codes.FIELD_INVALID, "StartDate, EndDate")
    returns = [one for one in context.store.all(Withdrawal) if request.FunctionFlag == WITHDRAWALS and one.returned_day]
    sides = [one.sub_acct_no for one in context.store.all(Member) if not one.closed]
    told = context.faults.days.asked("6048", first, last).rows(returns, sides=sides)
    returned = [one for one in told if first <= one.returned_day <= last]
    if not returned:
        raise Refused(codes.NO_RECORD)
    rows = tuple(_row(context, one) for one in sorted(returned, key=lambda one: one.return_front_seq_no))
    return ReturnedWithdrawalsReply(ResultNum=str(len(rows)), TranItemArray=rows)


def _row(context: Context, withdrawal: Withdrawal) -> ReturnedWithdrawalsRow:
    trade = context.store.get(Trade, withdrawal.serial)
    is_named = withdrawal.returned_day < context.today
    front = trade.front_seq_no if trade else ""
    return ReturnedWithdrawalsRow(
        OldTranSeqNo=f"{CORE_PREFIX}{front}" if is_named else "",
        OldFrontSeqNo=front if is_named else "",
        OldMarketSeqNo=withdrawal.serial if is_named else "",
        OldAddMsg=trade.remark if is_named and trade else "",
        RejectBillReason="收款账户异常",
        RejectBillDate=withdrawal.returned_day,
        RejectInAcctTranSeqNo=f"T{withdrawal.return_front_seq_no}",
        RejectInAcctTranAmt=withdrawal.amount_fen,
        PayeeWitnessSubAcctNo=withdrawal.sub_acct_no,
        PayeeFrontSeqNo=withdrawal.return_front_seq_no,
    )

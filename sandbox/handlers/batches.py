"""Several payments of one payer in one call: 6052, 6120, 6133. Catalogue: 会员批量交易.

Whole or not at all, unless the fault `part_of_batch` says otherwise. Every row is a transaction with its own serial, by
which 6164 refunds it; 6110 promises to know neither the call nor its rows, so here it does not.
"""

from __future__ import annotations

from typing import Final

from bankclient.messages import BatchPayment, BatchPaymentByPassword, BatchPaymentBySms, Booked
from bankclient.messages.batches import BatchPaymentRow
from sandbox import codes, sms
from sandbox.authority import prove
from sandbox.books import FEE, Move, available, functional, waiting
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.payments import confirm, pre_pay, refundable
from sandbox.handlers.registry import handles
from sandbox.records import Order

PRE_PAY: Final = "1"
CONFIRM: Final = "2"
PAY_DIRECTLY: Final = "3"

_BOOKING_FLAGS: Final = {PRE_PAY: "5", CONFIRM: "6", PAY_DIRECTLY: "2"}


@handles(BatchPayment, BatchPaymentBySms, BatchPaymentByPassword)
def batch_payment(context: Context, request: BatchPayment | BatchPaymentBySms | BatchPaymentByPassword) -> Booked:
    """Flags 1 and 2, and 3, which the quick start says is not offered."""
    payer = context.payer(request.OutSubAcctNo, request.OutMemberCode).sub_acct_no
    prove(context, request, payer, sms.PAYMENT)
    if len(request.TranItemArray) < 2:
        raise Refused(codes.FIELD_INVALID, "OrdersCount")
    rows = request.TranItemArray[:1] if context.fault_plan.has("part_of_batch") else request.TranItemArray
    for row in rows:
        if row.TranSeqNo == context.serial or not context.serial_is_free(row.TranSeqNo):
            raise Refused(codes.SERIAL_REPEATED)
        payee = context.payee(row.InSubAcctNo, row.InMemberCode).sub_acct_no
        _act(context, request.FunctionFlag, row, payer, payee)
        context.book(
            _BOOKING_FLAGS[request.FunctionFlag],
            function_flag=request.FunctionFlag,
            serial=row.TranSeqNo,
            out_sub_acct_no=payer,
            in_sub_acct_no=payee,
            amount_fen=row.TranAmt,
            fee_fen=0 if request.FunctionFlag == PRE_PAY else row.TranFee,
            order_no=row.OrderNo,
            remark=row.Remark,
        )
    return context.book(
        _BOOKING_FLAGS[request.FunctionFlag],
        function_flag=request.FunctionFlag,
        out_sub_acct_no=payer,
        amount_fen=sum(row.TranAmt for row in rows),
    )


def _act(context: Context, flag: str, row: BatchPaymentRow, payer: str, payee: str) -> None:
    amount = positive(row.TranAmt)
    if flag == PRE_PAY:
        pre_pay(context, payer, payee, row.OrderNo, amount)
    elif flag == CONFIRM:
        confirm(context, payer, payee, row.OrderNo, amount, row.TranFee, source="4", serial=row.TranSeqNo)
    else:
        net = amount - within(row.TranFee, amount)
        context.open_order(Order("order", row.OrderNo, context.code, payer, payee))
        context.post(
            Move(available(payer), waiting(payee, context.today), net),
            Move(available(payer), functional(FEE), row.TranFee),
        )
        refundable(context, "5", row.TranSeqNo, payer, [payee], row.OrderNo, amount, row.TranFee)

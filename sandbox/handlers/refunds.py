"""Refunds of completed payments: 6164. Quick start: 会员间交易退款-不验证.

Amount and fee have limits of their own: ReturnAmt in all within what was paid, ReturnCommission in
all within what was charged. The buyer gets ReturnAmt; the part that is fee comes from the
platform's own funds (退款垫款户), the rest from the seller's available money.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from bankclient.messages import Booked, RefundPayment
from sandbox import codes
from sandbox.books import FEE, OWN_FUNDS, Move, available, functional, waiting
from sandbox.clock import day_of, day_text
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Payment, payment_key

OUT_OF_FROZEN: Final = "6"
DIRECT: Final = "2"
HISTORY_MONTHS: Final = 3


@handles(RefundPayment, asked_by="2")
def refund_payment(context: Context, request: RefundPayment) -> Booked:
    """6164, sources 1, 2 and 6, and any other whose payments are kept as `Payment`."""
    if context.fault_plan.has("history"):
        raise Refused(
            context.settings.searching_history_code,
            message=codes.SEARCHING_HISTORY_MESSAGE,
        )
    amount, fee = (
        positive(request.ReturnAmt),
        within(request.ReturnCommission, request.ReturnAmt),
    )
    of_fee = request.FunctionFlag == OUT_OF_FROZEN and request.OldOutSubAcctNo == context.functional_no(FEE)
    payment = _original(context, request, "fee" if of_fee else request.FunctionFlag)
    _check_age(context, request, payment)
    if amount > payment.refundable_fen or fee > payment.refundable_fee_fen:
        raise Refused(codes.REFUND_OVER_LIMIT)
    buyer = waiting(context.member(payment.payer).sub_acct_no, context.today)
    if of_fee:
        seller = context.functional_no(FEE)
        context.post(Move(functional(FEE), buyer, amount))
    else:
        seller = context.member(payment.payees[0]).sub_acct_no
        context.post(
            Move(available(seller), buyer, amount - fee),
            Move(functional(OWN_FUNDS), buyer, fee),
        )
    context.store.put(
        replace(
            payment,
            refundable_fen=payment.refundable_fen - amount,
            refundable_fee_fen=payment.refundable_fee_fen - fee,
        )
    )
    return context.book(
        "7",
        function_flag=request.FunctionFlag,
        out_sub_acct_no=seller,
        in_sub_acct_no=payment.payer,
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OldOrderNo or payment.order_no,
        remark=request.Remark,
    )


def _original(context: Context, request: RefundPayment, source: str) -> Payment:
    payment = context.store.get(Payment, payment_key(source, request.OldTranSeqNo))
    if payment is None:
        raise Refused(codes.ORIGINAL_NOT_FOUND)
    if source == "fee":
        # The fee sub-account stands in the payer's place, so whom the other names is open.
        parties = request.OldInSubAcctNo in (payment.payer, *payment.payees)
    else:
        parties = (
            request.OldOutSubAcctNo == payment.payer
            and request.OldInSubAcctNo in payment.payees
            and context.member(payment.payer).code == request.OldOutMemberCode
        )
    if not parties or context.member(request.OldInSubAcctNo).code != request.OldInMemberCode:
        raise Refused(codes.OTHER_SUB_ACCOUNT)
    if request.FunctionFlag != DIRECT and request.OldOrderNo != payment.order_no:
        raise Refused(codes.NO_ORDER)
    return payment


def _check_age(context: Context, request: RefundPayment, payment: Payment) -> None:
    today, booked = context.now.date(), day_of(payment.day)
    if today - booked > timedelta(days=context.settings.refund_window_days):
        raise Refused(codes.NOT_NOW, "超过退款期限")
    if booked >= _months_before(today, HISTORY_MONTHS):
        return
    if not request.ReservedMsg:
        raise Refused(codes.FIELD_INVALID, "ReservedMsg")
    if request.ReservedMsg not in (day_text(booked), f"{booked:%y%m%d}"):
        raise Refused(codes.ORIGINAL_NOT_FOUND)


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    first = date(year, month + 1, 1)
    following = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(first + timedelta(days=day.day - 1), following - timedelta(days=1))

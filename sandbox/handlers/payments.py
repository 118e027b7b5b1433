"""Payments between members: 6034, 6101, 6006, 6031. Quick start: 会员间交易类.

Flags 1, 2, 3 are an order through escrow, 6 and 9 direct payments. An order may be confirmed and
given back in parts as long as money lies under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bankclient.messages import (
    Booked,
    MemberPayment,
    MemberPaymentByPassword,
    MemberPaymentBySms,
    SettleOrder,
)
from sandbox import codes, sms
from sandbox.authority import prove
from sandbox.books import (
    FEE,
    Move,
    available,
    escrow,
    functional,
    waiting,
    withdrawable,
)
from sandbox.context import MERCHANT, Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Member, Order, Payment

PRE_PAY: Final = "1"
CONFIRM: Final = "2"
GIVE_BACK: Final = "3"
TODAY: Final = "9"

ORDER_INTERFACES: Final = ("6034", "6101", "6006", "6031", "6052", "6120", "6133")

_BOOKING_FLAGS: Final = {
    PRE_PAY: "5",
    CONFIRM: "6",
    GIVE_BACK: "7",
    "6": "2",
    TODAY: "2",
}


AnyPayment = MemberPayment | MemberPaymentBySms | MemberPaymentByPassword

_NAMED_BY_6082: Final = (CONFIRM, "6", TODAY)


@handles(MemberPayment, MemberPaymentBySms, MemberPaymentByPassword, asked_by="2")
def member_payment(context: Context, request: AnyPayment) -> Booked:
    """6034, 6101, 6006. In every flag the payer stays the payer, also when the money goes back."""
    buyer, seller = _parties(context, request)
    payer, payee = buyer.sub_acct_no, seller.sub_acct_no
    amount = positive(request.TranAmt)
    flag = request.FunctionFlag
    order_no = request.OrderNo or ""
    if isinstance(request, MemberPaymentByPassword):
        check_names(request, buyer, seller)
    prove(context, request, payer, sms.PAYMENT, payee=payee if flag in _NAMED_BY_6082 else "")
    if flag == PRE_PAY:
        pre_pay(context, payer, payee, order_no, amount)
    elif flag == CONFIRM:
        confirm(context, payer, payee, order_no, amount, request.TranFee, source="1")
    elif flag == GIVE_BACK:
        give_back(context, payer, payee, order_no, amount)
    else:
        _pay_directly(context, request, payer, payee)
    charged = flag in (CONFIRM, "6", TODAY)
    return context.book(
        _BOOKING_FLAGS[flag],
        function_flag=flag,
        out_sub_acct_no=payer,
        in_sub_acct_no=payee,
        amount_fen=amount,
        fee_fen=request.TranFee if charged else 0,
        order_no=request.OrderNo,
        remark=request.Remark,
    )


def _parties(context: Context, request: AnyPayment) -> tuple[Member, Member]:
    """Who pays whom. Both sub-accounts of one customer pay each other; the merchant's only verified (6167)."""
    payer = context.member(request.OutSubAcctNo, request.OutMemberCode)
    if request.FunctionFlag not in ("6", TODAY) or payer.same_name != request.InSubAcctNo:
        return (
            context.payer(request.OutSubAcctNo, request.OutMemberCode),
            context.payee(request.InSubAcctNo, request.InMemberCode),
        )
    if payer.kind == MERCHANT and isinstance(request, MemberPayment):
        raise Refused(codes.NO_VERIFICATION, "商户子账户转入普通子账户需验证")
    return payer, context.member(request.InSubAcctNo, request.InMemberCode)


@handles(SettleOrder)
def settle_order(context: Context, request: SettleOrder) -> Booked:
    """6031: the platform acts for the buyer. 6110 does not promise to know it, so here it does not."""
    buyer = context.payer(request.OutSubAcctNo, request.OutMemberCode)
    seller = context.payee(request.InSubAcctNo, request.InMemberCode)
    payer, payee = buyer.sub_acct_no, seller.sub_acct_no
    check_names(request, buyer, seller)
    amount = positive(request.TranAmt)
    fee = 0
    if request.FunctionFlag == CONFIRM:
        fee = request.TranFee
        confirm(context, payer, payee, request.OrderNo, amount, fee, source="3")
    else:
        give_back(context, payer, payee, request.OrderNo, amount)
    return context.book(
        _BOOKING_FLAGS[request.FunctionFlag],
        function_flag=request.FunctionFlag,
        out_sub_acct_no=payer,
        in_sub_acct_no=payee,
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OrderNo,
        remark=request.Remark,
    )


def pre_pay(context: Context, payer: str, payee: str, order_no: str, amount_fen: int) -> None:
    """Open an order with the payer's available money."""
    context.open_order(Order("order", order_no, context.code, payer, payee))
    context.post(Move(available(payer), escrow(payer, order_no), amount_fen))


def confirm(
    context: Context,
    payer: str,
    payee: str,
    order_no: str,
    amount_fen: int,
    fee_fen: int,
    *,
    source: str,
    serial: str | None = None,
) -> None:
    """Pay the payee out of an order; 6164 refunds it by `source` and `serial`."""
    _check_parties(context, payer, payee, order_no)
    pocket = escrow(payer, order_no)
    _check_whole(context, payer, order_no, amount_fen)
    net = amount_fen - within(fee_fen, amount_fen)
    context.post(
        Move(pocket, waiting(payee, context.today), net),
        Move(pocket, functional(FEE), fee_fen),
    )
    refundable(context, source, serial, payer, [payee], order_no, amount_fen, fee_fen)


def give_back(context: Context, payer: str, payee: str, order_no: str, amount_fen: int) -> None:
    """Give money of an order back to the payer, before it is confirmed."""
    _check_parties(context, payer, payee, order_no)
    _check_whole(context, payer, order_no, amount_fen)
    context.post(Move(escrow(payer, order_no), waiting(payer, context.today), amount_fen))


def check_names(request: MemberPaymentByPassword | SettleOrder, buyer: Member, seller: Member) -> None:
    """Where both account names are required they must be the bank's own (6006, 6031)."""
    if (request.OutSubAcctName, request.InSubAcctName) != (buyer.name, seller.name):
        raise Refused(codes.FIELD_INVALID, "OutSubAcctName, InSubAcctName")


def _check_parties(context: Context, payer: str, payee: str, order_no: str) -> None:
    order = context.order("order", order_no, ORDER_INTERFACES)
    if (order.payer, order.payee) != (payer, payee):
        raise Refused(codes.OTHER_SUB_ACCOUNT)


def _check_whole(context: Context, payer: str, order_no: str, amount_fen: int) -> None:
    if not context.settings.order_in_parts and amount_fen < context.books.balance_fen(escrow(payer, order_no)):
        raise Refused(codes.AMOUNT_MISMATCH, "须与订单金额一致")


def _pay_directly(context: Context, request: AnyPayment, payer: str, payee: str) -> None:
    amount, fee = request.TranAmt, request.TranFee
    net = amount - within(fee, amount)
    if request.FunctionFlag == TODAY:
        source, target = withdrawable(payer), withdrawable(payee)
    else:
        source, target = available(payer), waiting(payee, context.today)
    context.post(Move(source, target, net), Move(source, functional(FEE), fee))
    refundable(context, "2", None, payer, [payee], request.OrderNo or "", amount, fee)


def refundable(
    context: Context,
    source: str,
    serial: str | None,
    payer: str,
    payees: Sequence[str],
    order_no: str,
    amount_fen: int,
    fee_fen: int = 0,
) -> None:
    """Remember what 6164 may give back of a payment, under its own serial or that of its row."""
    context.store.put(
        Payment(
            source=source,
            serial=serial or context.serial,
            payer=payer,
            payees=tuple(payees),
            order_no=order_no,
            day=context.today,
            refundable_fen=amount_fen,
            refundable_fee_fen=fee_fen,
        )
    )

"""Frozen money: freeze and release (6007), pay out of it (6163). Quick start: 会员资金冻结.

Frozen money lies under its order number and may be released and paid in parts.
"""

from __future__ import annotations

from typing import Final

from bankclient.messages import (
    Booked,
    Freeze,
    FreezeByPassword,
    FreezeBySms,
    PayFrozen,
    PayFrozenByPassword,
    PayFrozenBySms,
)
from sandbox import codes, sms
from sandbox.authority import prove
from sandbox.books import (
    FEE,
    Move,
    available,
    frozen,
    functional,
    waiting,
    withdrawable,
)
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.acquiring import take_fee
from sandbox.handlers.payments import refundable
from sandbox.handlers.registry import handles
from sandbox.records import Order

FREEZE: Final = "1"
RELEASE: Final = "2"
FREEZE_WITHDRAWABLE: Final = "5"
RELEASE_WITHDRAWABLE: Final = "6"
RELEASE_ACQUIRED: Final = "4"

FREEZE_INTERFACES: Final = ("6007", "6135", "6134")
ACQUIRED: Final = ("6147",)
"""Acquired orders with PayModel 0 take their number as freezes do (`handlers.acquiring`)."""


@handles(Freeze, FreezeBySms, FreezeByPassword, asked_by="2")
def freeze(context: Context, request: Freeze | FreezeBySms | FreezeByPassword) -> Booked:
    """6007, 6135, 6134 flags 1, 2, 4, 5, 6. TranCommission counts in a release only, out of TranAmt."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    amount = positive(request.TranAmt)
    pocket = frozen(member, request.OrderNo)
    prove(context, request, member, sms.PAYMENT)
    fee = 0
    if request.FunctionFlag in (FREEZE, FREEZE_WITHDRAWABLE):
        source = available if request.FunctionFlag == FREEZE else withdrawable
        context.open_order(Order("order", request.OrderNo, context.code, member))
        context.post(Move(source(member), pocket, amount))
    elif request.FunctionFlag in (RELEASE, RELEASE_WITHDRAWABLE, RELEASE_ACQUIRED):
        fee = within(take_fee(context, request.OrderNo, request.TranCommission), amount)
        _check_owner(
            context,
            member,
            request.OrderNo,
            ACQUIRED if request.FunctionFlag == RELEASE_ACQUIRED else FREEZE_INTERFACES,
        )
        later = request.FunctionFlag != RELEASE_WITHDRAWABLE
        target = waiting(member, context.today) if later else withdrawable(member)
        context.post(Move(pocket, target, amount - fee), Move(pocket, functional(FEE), fee))
    else:
        raise Refused(codes.WRONG_FLAG)
    return context.book(
        "N",
        function_flag=request.FunctionFlag,
        out_sub_acct_no=member,
        in_sub_acct_no=member,
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OrderNo,
        remark=request.Remark,
    )


@handles(PayFrozen, PayFrozenBySms, PayFrozenByPassword, asked_by="2")
def pay_frozen(context: Context, request: PayFrozen | PayFrozenBySms | PayFrozenByPassword) -> Booked:
    """6163, 6166, 6165. Commission comes on top of the rows; each row is refunded by its own serial, the
    commission by the CnsmrSeqNo of the call (6164 flag 6)."""
    payer = context.payer(request.OutSubAcctNo, request.OutTranNetMemberCode).sub_acct_no
    _check_owner(context, payer, request.OrderNo, FREEZE_INTERFACES + ACQUIRED)
    prove(context, request, payer, sms.PAYMENT)
    if len(request.TranItemArray) > context.settings.payees_max:
        raise Refused(codes.TOO_MANY_PAYEES)
    pocket = frozen(payer, request.OrderNo)
    serials = [row.TranSeqNo for row in request.TranItemArray]
    if context.serial in serials or len(set(serials)) != len(serials):
        raise Refused(codes.SERIAL_REPEATED)
    payees = []
    for row in request.TranItemArray:
        if not context.serial_is_free(row.TranSeqNo):
            raise Refused(codes.SERIAL_REPEATED)
        payee = context.payee(row.InSubAcctNo, row.InTranNetMemberCode).sub_acct_no
        payees.append(payee)
        amount = positive(row.TranAmt)
        context.post(Move(pocket, waiting(payee, context.today), amount))
        context.book(
            "6",
            serial=row.TranSeqNo,
            out_sub_acct_no=payer,
            in_sub_acct_no=payee,
            amount_fen=amount,
            order_no=request.OrderNo,
            remark=request.Remark,
        )
        refundable(context, "6", row.TranSeqNo, payer, [payee], request.OrderNo, amount)
    if take_fee(context, request.OrderNo, request.Commission):
        context.post(Move(pocket, functional(FEE), request.Commission))
        refundable(context, "fee", context.serial, payer, payees, request.OrderNo, request.Commission)
    return context.book(
        "6",
        out_sub_acct_no=payer,
        in_sub_acct_no=payees[0] if len(payees) == 1 else "",
        amount_fen=sum(row.TranAmt for row in request.TranItemArray) + request.Commission,
        fee_fen=request.Commission,
        order_no=request.OrderNo,
        remark=request.Remark,
    )


def _check_owner(context: Context, member: str, order_no: str, opened_by: tuple[str, ...]) -> None:
    if context.order("order", order_no, opened_by).payer != member:
        raise Refused(codes.OTHER_SUB_ACCOUNT)

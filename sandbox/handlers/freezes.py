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
from sandbox.desk import Desk, positive, within
from sandbox.errors import Refused
from sandbox.handlers.acquiring import take_fee
from sandbox.handlers.registry import handles
from sandbox.records import Order, Payment

FREEZE: Final = "1"
RELEASE: Final = "2"
FREEZE_WITHDRAWABLE: Final = "5"
RELEASE_WITHDRAWABLE: Final = "6"
RELEASE_ACQUIRED: Final = "4"

FREEZE_INTERFACES: Final = ("6007", "6135", "6134")
ACQUIRED: Final = ("6147",)
"""Acquired orders with PayModel 0 take their number as freezes do (`handlers.acquiring`)."""


@handles(Freeze, FreezeBySms, FreezeByPassword, asked_by="2")
def freeze(desk: Desk, request: Freeze | FreezeBySms | FreezeByPassword) -> Booked:
    """6007, 6135, 6134 flags 1, 2, 4, 5, 6. TranCommission counts in a release only, out of TranAmt."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    amount = positive(request.TranAmt)
    pocket = frozen(member, request.OrderNo)
    prove(desk, request, member, sms.PAYMENT)
    fee = 0
    if request.FunctionFlag in (FREEZE, FREEZE_WITHDRAWABLE):
        source = available if request.FunctionFlag == FREEZE else withdrawable
        desk.open_order(Order("order", request.OrderNo, desk.code, member))
        desk.post(Move(source(member), pocket, amount))
    elif request.FunctionFlag in (RELEASE, RELEASE_WITHDRAWABLE, RELEASE_ACQUIRED):
        fee = within(take_fee(desk, request.OrderNo, request.TranCommission), amount)
        _check_owner(
            desk, member, request.OrderNo, ACQUIRED if request.FunctionFlag == RELEASE_ACQUIRED else FREEZE_INTERFACES
        )
        later = request.FunctionFlag != RELEASE_WITHDRAWABLE
        target = waiting(member, desk.today) if later else withdrawable(member)
        desk.post(Move(pocket, target, amount - fee), Move(pocket, functional(FEE), fee))
    else:
        raise Refused(codes.WRONG_FLAG)
    front = desk.book(
        "N",
        function_flag=request.FunctionFlag,
        out_sub_acct_no=member,
        in_sub_acct_no=member,
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OrderNo,
        remark=request.Remark,
    )
    return Booked(FrontSeqNo=front)


@handles(PayFrozen, PayFrozenBySms, PayFrozenByPassword, asked_by="2")
def pay_frozen(desk: Desk, request: PayFrozen | PayFrozenBySms | PayFrozenByPassword) -> Booked:
    """6163, 6166, 6165. Commission comes on top of the rows; each row is refunded by its own serial, the
    commission by the CnsmrSeqNo of the call (6164 flag 6)."""
    payer = desk.payer(request.OutSubAcctNo, request.OutTranNetMemberCode).sub_acct_no
    _check_owner(desk, payer, request.OrderNo, FREEZE_INTERFACES + ACQUIRED)
    prove(desk, request, payer, sms.PAYMENT)
    if len(request.TranItemArray) > desk.settings.payees_max:
        raise Refused(codes.TOO_MANY_PAYEES)
    pocket = frozen(payer, request.OrderNo)
    serials = [row.TranSeqNo for row in request.TranItemArray]
    if desk.serial in serials or len(set(serials)) != len(serials):
        raise Refused(codes.SERIAL_REPEATED)
    payees = []
    for row in request.TranItemArray:
        if not desk.serial_is_free(row.TranSeqNo):
            raise Refused(codes.SERIAL_REPEATED)
        payee = desk.payee(row.InSubAcctNo, row.InTranNetMemberCode).sub_acct_no
        payees.append(payee)
        amount = positive(row.TranAmt)
        desk.post(Move(pocket, waiting(payee, desk.today), amount))
        desk.book(
            "6",
            serial=row.TranSeqNo,
            out_sub_acct_no=payer,
            in_sub_acct_no=payee,
            amount_fen=amount,
            order_no=request.OrderNo,
            remark=request.Remark,
        )
        _refundable(desk, "6", row.TranSeqNo, payer, [payee], request.OrderNo, amount)
    if take_fee(desk, request.OrderNo, request.Commission):
        desk.post(Move(pocket, functional(FEE), request.Commission))
        _refundable(desk, "fee", desk.serial, payer, payees, request.OrderNo, request.Commission)
    front = desk.book(
        "6",
        out_sub_acct_no=payer,
        in_sub_acct_no=payees[0] if len(payees) == 1 else "",
        amount_fen=sum(row.TranAmt for row in request.TranItemArray) + request.Commission,
        fee_fen=request.Commission,
        order_no=request.OrderNo,
        remark=request.Remark,
    )
    return Booked(FrontSeqNo=front)


def _check_owner(desk: Desk, member: str, order_no: str, opened_by: tuple[str, ...]) -> None:
    if desk.order("order", order_no, opened_by).payer != member:
        raise Refused(codes.OTHER_SUB_ACCOUNT)


def _refundable(
    desk: Desk,
    source: str,
    serial: str,
    payer: str,
    payees: list[str],
    order_no: str,
    amount_fen: int,
) -> None:
    desk.store.put(
        Payment(
            source=source,
            serial=serial,
            payer=payer,
            payees=tuple(payees),
            order_no=order_no,
            day=desk.today,
            refundable_fen=amount_fen,
            refundable_fee_fen=0,
        )
    )

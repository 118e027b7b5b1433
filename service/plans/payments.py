"""Plans for payments between members: 6034, 6101 and 6006 with their five flags, and 6031
(quick start: 会员间交易类).

Each payment that may be refunded later opens its limits with it: the amount in `refundable`, the fee in
`refundable_fee`, under the serial by which the bank knows it. A pre-payment moves money to the order's escrow
pocket, out of which it is confirmed or cancelled, in parts if need be; the pocket's floor is what stops a second
confirmation.
"""

from __future__ import annotations

from typing import Literal

from bankclient import SettleOrder
from jzb.v1 import payment_pb2
from jzb.v1.names import OperationKind
from ledger import Available, Kind, Leg, Member, OfDay
from ledger.accounts import FEE, LIMITS, escrow, order, refundable, refundable_fee, withdrawable
from ledger.names import MemberCode, Serial
from ledger.rules import Source, Target
from service.plans.plan import NAMELESS, Facts, Names, Plan, Serials
from service.plans.verification import PAYMENT, verified
from service.questions.booked import BookedQuery, noted
from service.questions.status import StatusQuery


def paid(source: Source, target: Target, amount_fen: int, fee_fen: int) -> tuple[Leg, ...]:
    """The legs of a gross amount: the net to the payee, the fee to the platform (net + fee = gross)."""
    legs = []
    if amount_fen > fee_fen:
        legs.append(Leg(source, target, amount_fen - fee_fen))
    if fee_fen:
        legs.append(Leg(source, FEE, fee_fen))
    return tuple(legs)


def limits(serial: Serial, amount_fen: int, fee_fen: int) -> tuple[Leg, ...]:
    """What may be refunded later of a payment, its fee apart."""
    legs = [Leg(LIMITS, refundable(serial), amount_fen)]
    if fee_fen:
        legs.append(Leg(LIMITS, refundable_fee(serial), fee_fen))
    return tuple(legs)


def refundably_paid(serial: Serial, source: Source, target: Target, amount_fen: int, fee_fen: int) -> tuple[Leg, ...]:
    """The legs of a payment that may be refunded later by its serial."""
    return (*paid(source, target, amount_fen, fee_fen), *limits(serial, amount_fen, fee_fen))


def confirmed(payee: Member, settled: Kind) -> Target:
    """Where the payee of a confirmed order gets its money: ``settled`` is when it may be withdrawn."""
    if settled is Kind.WITHDRAWABLE:
        return withdrawable(payee.sub_account)
    return OfDay(Kind.UNCLEARED, payee.sub_account)


def pay(request: payment_pb2.PayRequest, facts: Facts, serials: Serials, names: Names = NAMELESS) -> Plan:
    """6034 flag 6 (T+1: from available money) or flag 9 (T+0: from withdrawable money, withdrawable at once)."""
    payer, payee = (
        facts.members[MemberCode(request.payer_member_id)],
        facts.members[MemberCode(request.payee_member_id)],
    )
    same_day = request.settlement == payment_pb2.SETTLEMENT_T0
    source: Source = withdrawable(payer.sub_account) if same_day else Available(payer.sub_account)
    target: Target = withdrawable(payee.sub_account) if same_day else OfDay(Kind.UNCLEARED, payee.sub_account)
    kind = OperationKind.PAY_T0 if same_day else OperationKind.PAY_T1
    legs = refundably_paid(serials.own, source, target, request.amount_fen, request.fee_fen)
    return _plan(kind, "9" if same_day else "6", payer, payee, request, serials, names, legs, request.fee_fen)


def prepay_order(
    request: payment_pb2.PrepayOrderRequest, facts: Facts, serials: Serials, names: Names = NAMELESS
) -> Plan:
    """6034 flag 1: the payer's available money goes to the order's escrow pocket; the order number is used up."""
    payer, payee = (
        facts.members[MemberCode(request.payer_member_id)],
        facts.members[MemberCode(request.payee_member_id)],
    )
    legs = (
        Leg(order(request.order_no), LIMITS, 1),
        Leg(Available(payer.sub_account), escrow(payer.sub_account, request.order_no), request.amount_fen),
    )
    return _plan(OperationKind.PREPAY_ORDER, "1", payer, payee, request, serials, names, legs)


def confirm_order(
    request: payment_pb2.ConfirmOrderRequest,
    payer: Member,
    payee: Member,
    serials: Serials,
    settled: Kind,
    names: Names = NAMELESS,
) -> Plan:
    """6034 flag 2: out of escrow to the payee, who may withdraw as ``settled`` says; refundable from then on."""
    source, target = escrow(payer.sub_account, request.order_no), confirmed(payee, settled)
    legs = refundably_paid(serials.own, source, target, request.amount_fen, request.fee_fen)
    return _plan(OperationKind.CONFIRM_ORDER, "2", payer, payee, request, serials, names, legs, request.fee_fen)


def cancel_order(
    request: payment_pb2.CancelOrderRequest, payer: Member, payee: Member, serials: Serials, names: Names = NAMELESS
) -> Plan:
    """6034 flag 3: out of escrow back to the payer, before confirmation; payer and payee keep their places."""
    source, target = escrow(payer.sub_account, request.order_no), OfDay(Kind.UNCLEARED, payer.sub_account)
    legs = (Leg(source, target, request.amount_fen),)
    return _plan(OperationKind.CANCEL_ORDER, "3", payer, payee, request, serials, names, legs)


def settle_order(
    request: payment_pb2.SettleOrderRequest, payer: Member, payee: Member, serials: Serials, settled: Kind, names: Names
) -> Plan:
    """6031: the platform confirms (flag 2, refundable under 6164 source 3) or returns (flag 3) for a silent buyer."""
    pocket = escrow(payer.sub_account, request.order_no)
    confirms = request.end == payment_pb2.ORDER_END_CONFIRM
    if confirms:
        legs = refundably_paid(serials.own, pocket, confirmed(payee, settled), request.amount_fen, request.fee_fen)
    else:
        legs = (Leg(pocket, OfDay(Kind.UNCLEARED, payer.sub_account), request.amount_fen),)
    return Plan(
        kind=OperationKind.SETTLE_CONFIRM if confirms else OperationKind.SETTLE_CANCEL,
        message=SettleOrder(
            FunctionFlag="2" if confirms else "3",
            OutSubAcctNo=payer.sub_account,
            OutMemberCode=payer.member_id,
            OutSubAcctName=names.payer or "",
            InSubAcctNo=payee.sub_account,
            InMemberCode=payee.member_id,
            InSubAcctName=names.payee or "",
            TranAmt=request.amount_fen,
            TranFee=request.fee_fen,
            OrderNo=request.order_no,
            Remark=noted(request.order_no, serials.own, request.remark),
        ),
        query=BookedQuery(payer.sub_account),
        payer=payer.member_id,
        payee=payee.member_id,
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        with_members=(payee.sub_account,),
    ).moving(legs, serials.own)


_Order = (
    payment_pb2.PayRequest
    | payment_pb2.PrepayOrderRequest
    | payment_pb2.ConfirmOrderRequest
    | payment_pb2.CancelOrderRequest
)


def _plan(
    kind: OperationKind,
    flag: Literal["1", "2", "3", "6", "9"],
    payer: Member,
    payee: Member,
    request: _Order,
    serials: Serials,
    names: Names,
    legs: tuple[Leg, ...],
    fee_fen: int = 0,
) -> Plan:
    return Plan(
        kind=kind,
        message=verified(
            PAYMENT,
            request.verification,
            FunctionFlag=flag,
            OutSubAcctNo=payer.sub_account,
            OutMemberCode=payer.member_id,
            InSubAcctNo=payee.sub_account,
            InMemberCode=payee.member_id,
            TranAmt=request.amount_fen,
            TranFee=fee_fen,
            OrderNo=request.order_no or None,
            Remark=request.remark or None,
            OutSubAcctName=names.payer,
            InSubAcctName=names.payee,
        ),
        query=StatusQuery("2"),
        payer=payer.member_id,
        payee=payee.member_id,
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=fee_fen,
        with_members=(payee.sub_account,),
    ).moving(legs, serials.own)

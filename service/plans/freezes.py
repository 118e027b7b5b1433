"""Plans that set a member's money aside and pay it out: 6007 and 6163 with their verified twins.

Quick start: 会员资金冻结, 会员资金支付.
"""

from __future__ import annotations

from bankclient import PayFrozenRow
from jzb.v1 import freeze_pb2
from jzb.v1.names import OperationKind
from ledger import Available, Draft, Kind, Leg, Member, OfDay
from ledger.accounts import FEE, LIMITS, frozen, frozen_fee, order
from ledger.names import MemberCode
from service.plans.payments import limits, paid
from service.plans.plan import Facts, Plan, Serials
from service.plans.verification import FREEZE, PAY_FROZEN, verified
from service.questions.status import StatusQuery


def freeze(request: freeze_pb2.FreezeRequest, facts: Facts, serials: Serials) -> Plan:
    """6007 flag 1: available money goes to the order's frozen pocket. No fee, whatever is sent."""
    member = facts.members[MemberCode(request.member_id)]
    pocket = frozen(member.sub_account, request.order_no)
    legs = (
        Leg(order(request.order_no), LIMITS, 1),
        Leg(Available(member.sub_account), pocket, request.amount_fen),
    )
    return Plan(
        kind=OperationKind.FREEZE,
        message=verified(
            FREEZE,
            request.verification,
            FunctionFlag="1",
            SubAcctNo=member.sub_account,
            TranNetMemberCode=member.member_id,
            TranAmt=request.amount_fen,
            TranCommission=0,
            OrderNo=request.order_no,
            Remark=request.remark or None,
        ),
        query=StatusQuery("2"),
        payer=member.member_id,
        order_no=request.order_no,
        amount_fen=request.amount_fen,
    ).moving(legs, serials.own)


def release(
    request: freeze_pb2.ReleaseRequest,
    member: Member,
    serials: Serials,
    *,
    is_acquired: bool = False,
    order_fee_fen: int = 0,
) -> Plan:
    """6007 flag 2: back to the member less the fee (100 with fee 10 brings 90 back). Flag 4 when an acquired order has
    frozen the money (catalogue 6007); ``order_fee_fen`` is that order's own fee where it is frozen, too.
    """
    pocket = frozen(member.sub_account, request.order_no)
    back = OfDay(Kind.UNCLEARED, member.sub_account)
    fee_fen = order_fee_fen or request.fee_fen
    if order_fee_fen:
        legs = (
            *paid(pocket, back, request.amount_fen - order_fee_fen, 0),
            Leg(frozen_fee(member.sub_account, request.order_no), FEE, order_fee_fen),
        )
    else:
        legs = paid(pocket, back, request.amount_fen, fee_fen)
    return Plan(
        kind=OperationKind.RELEASE,
        message=verified(
            FREEZE,
            request.verification,
            FunctionFlag="4" if is_acquired else "2",
            SubAcctNo=member.sub_account,
            TranNetMemberCode=member.member_id,
            TranAmt=request.amount_fen,
            TranCommission=fee_fen,
            OrderNo=request.order_no,
            Remark=request.remark or None,
        ),
        drafts=(
            Draft(
                legs,
                serial=serials.own,
                payee=member.member_id,
                amount_fen=request.amount_fen,
                fee_fen=fee_fen,
            ),
        ),
        query=StatusQuery("2"),
        payer=member.member_id,
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=fee_fen,
    )


def pay_frozen(
    request: freeze_pb2.PayFrozenRequest, member: Member, facts: Facts, serials: Serials, order_fee_fen: int
) -> Plan:
    """6163: frozen money to several members, the fee on top: ``order_fee_fen`` where that of an acquired order is
    frozen with the money.

    Every row is a payment of its own with its row serial, and so is the fee with the call's serial: that is how
    6164 source 6 refunds them, one by one.
    """
    pocket = frozen(member.sub_account, request.order_no)
    rows = list(zip(request.payees, serials.rows, strict=True))
    fee_fen = order_fee_fen or request.fee_on_top_fen
    fee_source = frozen_fee(member.sub_account, request.order_no) if order_fee_fen else pocket
    drafts = [
        Draft(
            (
                Leg(pocket, OfDay(Kind.UNCLEARED, facts.sub_account(MemberCode(payee.member_id))), payee.amount_fen),
                *limits(serial, payee.amount_fen, 0),
            ),
            serial=serial,
            payer=member.member_id,
            payee=MemberCode(payee.member_id),
            amount_fen=payee.amount_fen,
        )
        for payee, serial in rows
    ]
    if fee_fen:
        drafts.append(
            Draft(
                (Leg(fee_source, FEE, fee_fen), *limits(serials.own, fee_fen, 0)),
                serial=serials.own,
                payer=member.member_id,
                amount_fen=fee_fen,
            )
        )
    return Plan(
        kind=OperationKind.PAY_FROZEN,
        message=verified(
            PAY_FROZEN,
            request.verification,
            OutSubAcctNo=member.sub_account,
            OutTranNetMemberCode=member.member_id,
            Commission=fee_fen,
            OrderNo=request.order_no,
            InSubAcctNum=len(rows),
            Remark=request.remark or None,
            TranItemArray=tuple(
                PayFrozenRow(
                    TranSeqNo=serial,
                    InSubAcctNo=facts.sub_account(MemberCode(payee.member_id)),
                    InTranNetMemberCode=payee.member_id,
                    TranAmt=payee.amount_fen,
                )
                for payee, serial in rows
            ),
        ),
        drafts=tuple(drafts),
        query=StatusQuery("2"),
        payer=member.member_id,
        order_no=request.order_no,
        amount_fen=sum(payee.amount_fen for payee in request.payees) + fee_fen,
        fee_fen=fee_fen,
    )

"""Plans that give a finished payment back in part or whole: 6164 (quick start: 会员间交易退款).

One call refunds one payment, or one row of a batch or of a `PayFrozen`. The amount includes the fee part; the seller
gives the rest, and the platform's own funds give the fee part (sources 1 to 5), or the fee account does when a fee is
refunded by itself (source 6). Both amounts are taken from the payment's own limits, so that refunds that are still
pending count.

The bank may answer that it searches its history for the payment and wants the same call again in five minutes; the
resolver sends it then, whatever process it is.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from bankclient import RefundPayment
from jzb.v1 import refund_pb2
from jzb.v1.names import OperationKind
from ledger import Available, Kind, Leg, Member, OfDay, Payment
from ledger.accounts import FEE, LIMITS, OWN_FUNDS, refundable, refundable_fee
from ledger.names import NO_MEMBER_CODE
from ledger.rules import Source
from service.plans.plan import Plan, Serials
from service.questions.resend import ResendQuery
from service.recorded import ORIGINAL

SOURCES: dict[str, Literal["1", "2", "3", "4", "5", "6"]] = {
    OperationKind.CONFIRM_ORDER: "1",
    OperationKind.PAY_T1: "2",
    OperationKind.PAY_T0: "2",
    OperationKind.SETTLE_CONFIRM: "3",
    OperationKind.BATCH_CONFIRM: "4",
    OperationKind.BATCH_PAY: "5",
    OperationKind.PAY_FROZEN: "6",
}
"""FunctionFlag of 6164 by the kind of operation that made the payment. OldTranSeqNo is the call's serial for 1, 2, 3, a
row's for 4, 5, 6 (there the quick start uses the older names OldThirdLogNo and MarketLogNo for the same).
"""

FEE_BY_ITSELF = "6"
"""The source whose fee is refunded by a call of its own, with ReturnCommission 0 in every call."""

HISTORY_AFTER = timedelta(days=90)
"""Past three months the bank wants the original booking day in ReservedMsg; a day early does no harm."""


def refund(
    request: refund_pb2.RefundRequest,
    payment: Payment,
    payer: Member,
    payee: Member | None,
    serials: Serials,
    *,
    today: date,
    fee_sub_account: str,
) -> Plan:
    """6164. ``payee`` is None when the payment is the fee of a `PayFrozen`: then the fee account gives it back."""
    source = SOURCES[payment.operation.kind]
    booked_on = payment.part.bank_day or today
    goods_fen = request.amount_fen - request.fee_fen
    legs = [Leg(refundable(payment.serial), LIMITS, request.amount_fen)]
    if request.fee_fen:
        legs.append(Leg(refundable_fee(payment.serial), LIMITS, request.fee_fen))
    giver: Source = Available(payee.sub_account) if payee else FEE
    if goods_fen:
        legs.append(Leg(giver, OfDay(Kind.UNCLEARED, payer.sub_account), goods_fen))
    if request.fee_fen:
        legs.append(Leg(OWN_FUNDS, OfDay(Kind.UNCLEARED, payer.sub_account), request.fee_fen))
    order_no = payment.part.order_no or payment.operation.order_no
    message = RefundPayment(
        FunctionFlag=source,
        OldTranSeqNo=payment.serial,
        # A fee refunded by itself names the fee sub-account as the original payer (quick start, 6164 branch 6).
        OldOutSubAcctNo=payer.sub_account if payee else fee_sub_account,
        OldOutMemberCode=payer.member_id,
        OldInSubAcctNo=payee.sub_account if payee else payer.sub_account,
        OldInMemberCode=payee.member_id if payee else payer.member_id,
        ReturnAmt=request.amount_fen,
        ReturnCommission=request.fee_fen,
        OldOrderNo=order_no or None,
        Remark=request.remark or None,
        ReservedMsg=f"{booked_on:%Y%m%d}" if today - booked_on >= HISTORY_AFTER else None,
    )
    return Plan(
        kind=OperationKind.REFUND,
        message=message,
        query=ResendQuery.of("2", message),
        payer=payee.member_id if payee else NO_MEMBER_CODE,
        payee=payer.member_id,
        order_no=order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        keep={ORIGINAL: payment.serial},
        with_members=(payee.sub_account,) if payee else (),
    ).moving(legs, serials.own)

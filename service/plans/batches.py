"""Plans for several orders or payees of one payer in one call: 6052, 6120, 6133 (catalogue: 会员批量交易).

Each row is a part with its own serial, by which 6164 refunds it and under which its limits are kept. The rows are
reserved together or not at all; after a lost answer each is looked for in the payer's list of payments (6072).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bankclient import BatchPaymentRow
from jzb.v1 import batch_pb2
from jzb.v1.names import OperationKind
from jzb.v1.verification_pb2 import Verification
from ledger import Available, Draft, Kind, Leg, Member, OfDay
from ledger.accounts import LIMITS, escrow, order
from ledger.names import MemberCode, Serial
from service.plans.payments import confirmed, refundably_paid
from service.plans.plan import Facts, Plan, Serials
from service.plans.verification import BATCH, verified
from service.questions.booked import BookedQuery, noted


@dataclass(frozen=True, slots=True)
class _Row:
    """One row before it has a place in the mirror and in the message."""

    asked: batch_pb2.OrderToPrepay | batch_pb2.OrderToConfirm | batch_pb2.PaymentOfBatch
    serial: Serial
    payee: Member
    legs: tuple[Leg, ...]

    @property
    def fee_fen(self) -> int:
        """A pre-payment has none."""
        return 0 if isinstance(self.asked, batch_pb2.OrderToPrepay) else self.asked.fee_fen


def prepay(request: batch_pb2.BatchPrepayRequest, facts: Facts, serials: Serials) -> Plan:
    """Flag 1: the payer's available money goes to the escrow pocket of each order."""
    payer = facts.members[MemberCode(request.payer_member_id)]
    rows = []
    for row, serial in zip(request.orders, serials.rows, strict=True):
        legs = (
            Leg(order(row.order_no), LIMITS, 1),
            Leg(Available(payer.sub_account), escrow(payer.sub_account, row.order_no), row.amount_fen),
        )
        rows.append(_Row(row, serial, facts.members[MemberCode(row.payee_member_id)], legs))
    return _plan(OperationKind.BATCH_PREPAY, "1", request.verification, payer, rows)


def confirm(
    request: batch_pb2.BatchConfirmRequest, payer: Member, payees: Mapping[str, Member], serials: Serials, settled: Kind
) -> Plan:
    """Flag 2: out of escrow to each order's payee, given by order number; refundable from then on."""
    rows = []
    for row, serial in zip(request.orders, serials.rows, strict=True):
        source, target = escrow(payer.sub_account, row.order_no), confirmed(payees[row.order_no], settled)
        legs = refundably_paid(serial, source, target, row.amount_fen, row.fee_fen)
        rows.append(_Row(row, serial, payees[row.order_no], legs))
    return _plan(OperationKind.BATCH_CONFIRM, "2", request.verification, payer, rows)


def pay(request: batch_pb2.BatchPayRequest, facts: Facts, serials: Serials) -> Plan:
    """Flag 3: straight from available money, as flag 6 of 6034; each row uses its order number up."""
    payer = facts.members[MemberCode(request.payer_member_id)]
    rows = []
    for row, serial in zip(request.payments, serials.rows, strict=True):
        payee = facts.members[MemberCode(row.payee_member_id)]
        source, target = Available(payer.sub_account), OfDay(Kind.UNCLEARED, payee.sub_account)
        legs = refundably_paid(serial, source, target, row.amount_fen, row.fee_fen)
        rows.append(_Row(row, serial, payee, (Leg(order(row.order_no), LIMITS, 1), *legs)))
    return _plan(OperationKind.BATCH_PAY, "3", request.verification, payer, rows)


def _plan(
    kind: OperationKind, flag: Literal["1", "2", "3"], verification: Verification, payer: Member, rows: Sequence[_Row]
) -> Plan:
    return Plan(
        kind=kind,
        message=verified(
            BATCH,
            verification,
            FunctionFlag=flag,
            OutSubAcctNo=payer.sub_account,
            OutMemberCode=payer.member_id,
            OrdersCount=len(rows),
            TranItemArray=tuple(
                BatchPaymentRow(
                    InSubAcctNo=row.payee.sub_account,
                    InMemberCode=row.payee.member_id,
                    TranAmt=row.asked.amount_fen,
                    TranFee=row.fee_fen,
                    OrderNo=row.asked.order_no,
                    TranSeqNo=row.serial,
                    Remark=noted(row.asked.order_no, row.serial, row.asked.remark),
                )
                for row in rows
            ),
        ),
        drafts=tuple(
            Draft(
                row.legs,
                serial=row.serial,
                payer=payer.member_id,
                payee=row.payee.member_id,
                amount_fen=row.asked.amount_fen,
                fee_fen=row.fee_fen,
                order_no=row.asked.order_no,
            )
            for row in rows
        ),
        query=BookedQuery(payer.sub_account),
        payer=payer.member_id,
        amount_fen=sum(row.asked.amount_fen for row in rows),
        fee_fen=sum(row.fee_fen for row in rows),
        with_members=tuple(row.payee.sub_account for row in rows),
    )

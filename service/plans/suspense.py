"""Plans for money that nobody could be matched to: 6139 and 6140 (quick start: 登记挂账, 登记挂账撤销).

The bank has one suspense account; here each transfer in it has an account of its own, so that nobody is given more of
a transfer than came in. a reversal puts money back under the same transfer. Its amount and its fee are limited as the
bank counts them (catalogue 6140): by what is left of each in the allocation's own accounts, so that reversals that are
still pending count.
"""

from __future__ import annotations

from typing import Final

from bankclient import AllocateSuspense, ReverseSuspenseAllocation
from jzb.v1 import suspense_pb2
from jzb.v1.names import OperationKind
from ledger import Leg, Member, Operation
from ledger.accounts import FEE, LIMITS, order, suspense, undoable, undoable_fee, withdrawable
from service.plans.plan import Plan, Serials
from service.questions.status import StatusQuery
from service.recorded import ORIGINAL

TRANSFER: Final = "transfer"
"""In `Plan.keep`: the bank serial of the transfer whose money a allocation has moved."""


def allocate_suspense(
    request: suspense_pb2.AllocateSuspenseRequest, transfer: Operation, member: Member, serials: Serials
) -> Plan:
    """6139: out of a transfer to a member, who can withdraw it at once; the fee is taken out of the amount."""
    held, net_fen = suspense(transfer.bank_serial), request.amount_fen - request.fee_fen
    legs = [Leg(order(request.order_no), LIMITS, 1), Leg(LIMITS, undoable(serials.own), request.amount_fen)]
    if net_fen:
        legs.append(Leg(held, withdrawable(member.sub_account), net_fen))
    if request.fee_fen:
        legs.append(Leg(held, FEE, request.fee_fen))
        legs.append(Leg(LIMITS, undoable_fee(serials.own), request.fee_fen))
    return Plan(
        kind=OperationKind.ALLOCATE_SUSPENSE,
        message=AllocateSuspense(
            SubAcctNo=member.sub_account,
            TranNetMemberCode=member.member_id,
            OrderNo=request.order_no,
            SuspendAmt=request.amount_fen,
            TranFee=request.fee_fen,
            Remark=request.remark or None,
        ),
        query=StatusQuery("2"),
        payee=member.member_id,
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        keep={ORIGINAL: transfer.serial, TRANSFER: transfer.bank_serial},
        with_members=(member.sub_account,),
    ).moving(legs, serials.own)


def reverse_suspense_allocation(
    request: suspense_pb2.ReverseSuspenseAllocationRequest, allocation: Operation, member: Member, serials: Serials
) -> Plan:
    """6140: back under the same transfer, out of the member's withdrawable money."""
    home, net_fen = suspense(allocation.plan["keep"][TRANSFER]), request.amount_fen - request.fee_fen
    legs = [Leg(undoable(allocation.serial), LIMITS, request.amount_fen)]
    if request.fee_fen:
        legs.append(Leg(undoable_fee(allocation.serial), LIMITS, request.fee_fen))
        legs.append(Leg(FEE, home, request.fee_fen))
    if net_fen:
        legs.append(Leg(withdrawable(member.sub_account), home, net_fen))
    return Plan(
        kind=OperationKind.REVERSE_SUSPENSE_ALLOCATION,
        message=ReverseSuspenseAllocation(
            SubAcctNo=member.sub_account,
            TranNetMemberCode=member.member_id,
            OldOrderNo=allocation.order_no,
            CancelAmt=request.amount_fen,
            TranFee=request.fee_fen,
            Remark=request.remark or None,
        ),
        query=StatusQuery("2"),
        payer=member.member_id,
        order_no=allocation.order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        keep={ORIGINAL: allocation.serial},
        with_members=(member.sub_account,),
    ).moving(legs, serials.own)

"""Money of suspense brought to a member, and back: 6139, 6140. Quick start: 登记挂账, 登记挂账撤销.

TranFee is charged: it is taken out of SuspendAmt, and given back out of the fee account (notes.md 9.9: one source calls
it unused). Both kinds of member may be credited. An undoing names the order of its clearing and stays within what that
still has, the fee within the fee.
"""

from __future__ import annotations

from dataclasses import replace

from bankclient.messages import AllocateSuspense, Booked, ReverseSuspenseAllocation
from sandbox import codes
from sandbox.books import FEE, SUSPENSE, Move, functional, withdrawable
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Order, SuspenseClearing

BOOKING_FLAG = "1"
"""What 6110 calls both (transport.md 5.5)."""


@handles(AllocateSuspense, asked_by="2")
def allocate_suspense(context: Context, request: AllocateSuspense) -> Booked:
    """6139: withdrawable at once. A functional sub-account is no member, so it cannot be the target."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    amount = positive(request.SuspendAmt)
    fee = within(request.TranFee, amount)
    context.open_order(Order("order", request.OrderNo, context.code, payee=member.sub_acct_no))
    context.post(
        Move(functional(SUSPENSE), withdrawable(member.sub_acct_no), amount - fee),
        Move(functional(SUSPENSE), functional(FEE), fee),
    )
    context.store.put(SuspenseClearing(request.OrderNo, member.sub_acct_no, amount, fee))
    return context.book(
        BOOKING_FLAG,
        out_sub_acct_no=context.functional_no(SUSPENSE),
        in_sub_acct_no=member.sub_acct_no,
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OrderNo,
        remark=request.Remark,
    )


@handles(ReverseSuspenseAllocation, asked_by="2")
def reverse_suspense_allocation(context: Context, request: ReverseSuspenseAllocation) -> Booked:
    """6140: out of withdrawable money, which is what 6139 gave."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    clearing = context.store.get(SuspenseClearing, request.OldOrderNo)
    if clearing is None:
        raise Refused(codes.NO_ORDER)
    if clearing.sub_acct_no != member:
        raise Refused(codes.OTHER_SUB_ACCOUNT)
    amount = positive(request.CancelAmt)
    fee = within(request.TranFee, amount)
    if amount > clearing.remaining_fen or fee > clearing.remaining_fee_fen:
        raise Refused(codes.REFUND_OVER_LIMIT, "撤销金额超过可撤销金额")
    context.post(
        Move(withdrawable(member), functional(SUSPENSE), amount - fee),
        Move(functional(FEE), functional(SUSPENSE), fee),
    )
    context.store.put(
        replace(
            clearing, remaining_fen=clearing.remaining_fen - amount, remaining_fee_fen=clearing.remaining_fee_fen - fee
        ),
    )
    return context.book(
        BOOKING_FLAG,
        out_sub_acct_no=member,
        in_sub_acct_no=context.functional_no(SUSPENSE),
        amount_fen=amount,
        fee_fen=fee,
        order_no=request.OldOrderNo,
        remark=request.Remark,
    )

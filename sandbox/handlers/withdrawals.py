"""Withdrawals to the bound card: 6033, 6085, 6111, and what becomes of them. Quick start: 会员提现.

Accepted means the money has left the member for the withdrawal in-transit account. When it is due
it leaves the bank (0) or comes back to the member (1); later the receiving bank may still return
it, which is a new inflow: the withdrawal keeps 0 and the member gets a waiting lot of that day.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from bankclient.messages import Booked, Withdraw, WithdrawByPassword, WithdrawBySms, WithdrawReply
from bankclient.money import fen
from sandbox import codes, sms
from sandbox.authority import prove
from sandbox.books import (
    FEE,
    OUTSIDE,
    WITHDRAWAL_IN_TRANSIT,
    Move,
    functional,
    waiting,
    withdrawable,
)
from sandbox.context import Context, positive
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import ACCEPTED, FAILED, SENT, SUCCEEDED, BoundCard, Trade, Withdrawal, card_key

NO_TRANSFER_FEE: Final = 0


@handles(Withdraw, asked_by="3")
def withdraw(context: Context, request: Withdraw) -> WithdrawReply:
    """6033. An amount in ReservedMsg is a fee on top (notes.md 9.12: three clients send it so)."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(context, member, request.TakeCashAcctNo)
    amount = positive(request.CashAmt)
    booked = accept(context, member, amount, _fee(request.ReservedMsg), request.OrderNo, request.Remark)
    return WithdrawReply(FrontSeqNo=booked.FrontSeqNo, TransferFee=NO_TRANSFER_FEE)


@handles(WithdrawBySms, asked_by="3")
def withdraw_by_sms(context: Context, request: WithdrawBySms) -> Booked:
    """6085: the fee has a field of its own, on top."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(context, member, request.TakeCashAcctNo)
    prove(context, request, member, sms.WITHDRAWAL)
    amount = positive(request.CashAmt)
    return accept(context, member, amount, request.TakeCashCommission, None, request.Remark)


@handles(WithdrawByPassword, asked_by="3")
def withdraw_by_password(context: Context, request: WithdrawByPassword) -> Booked:
    """6111: as 6085, with another name for the amount."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(context, member, request.TakeCashAcctNo)
    prove(context, request, member, sms.WITHDRAWAL)
    amount = positive(request.ApplyTakeCashAmt)
    return accept(context, member, amount, request.TakeCashCommission, None, request.Remark)


def _require_bound(context: Context, member: str, card_no: str) -> None:
    card = context.store.get(BoundCard, card_key(member, card_no))
    if context.settings.bound_cards_only and (card is None or card.unbound):
        raise Refused(codes.NO_CARD)


def _fee(reserved: str | None) -> int:
    if not reserved:
        return 0
    try:
        return max(fen(reserved), 0)
    except ValueError:
        return 0


def accept(
    context: Context, member: str, amount_fen: int, fee_fen: int, order_no: str | None, remark: str | None
) -> Booked:
    """Take the money from the member and start the withdrawal."""
    context.post(
        Move(withdrawable(member), functional(WITHDRAWAL_IN_TRANSIT), amount_fen),
        Move(withdrawable(member), functional(FEE), fee_fen),
    )
    due = context.now + timedelta(seconds=context.settings.withdrawal_delay_s)
    context.store.put(
        Withdrawal(
            serial=context.serial,
            sub_acct_no=member,
            amount_fen=amount_fen,
            fee_fen=fee_fen,
            accepted_at=context.now.isoformat(),
            due_at=due.isoformat(),
            outcome=FAILED if context.fault_plan.has("withdrawal_fail") else SUCCEEDED,
            return_due=context.fault_plan.has("withdrawal_return"),
        )
    )
    return context.book(
        "3",
        status=ACCEPTED,
        out_sub_acct_no=member,
        amount_fen=amount_fen + fee_fen,
        fee_fen=fee_fen,
        order_no=order_no,
        remark=remark,
    )


def status(context: Context, withdrawal: Withdrawal) -> str:
    """TranStatus now: 5 in the first half of the way, 6 in the second, then the end."""
    if withdrawal.status != ACCEPTED:
        return withdrawal.status
    accepted = datetime.fromisoformat(withdrawal.accepted_at)
    half = (datetime.fromisoformat(withdrawal.due_at) - accepted) / 2
    return ACCEPTED if context.now - accepted < half else SENT


def finish(context: Context, withdrawal: Withdrawal, outcome: str) -> Withdrawal:
    """Bring a withdrawal that is on its way to its end."""
    moving = functional(WITHDRAWAL_IN_TRANSIT)
    if outcome == SUCCEEDED:
        context.post(Move(moving, OUTSIDE, withdrawal.amount_fen))
    else:
        home = withdrawable(withdrawal.sub_acct_no)
        context.post(
            Move(moving, home, withdrawal.amount_fen),
            Move(functional(FEE), home, withdrawal.fee_fen),
        )
    finished = replace(withdrawal, status=outcome, outcome=outcome)
    context.store.put(finished)
    trade = context.store.get(Trade, withdrawal.serial)
    if trade is not None:
        reason = "收款账户异常" if outcome == FAILED else ""
        context.store.put(replace(trade, status=outcome, fail_message=reason))
    if finished.return_due and outcome == SUCCEEDED:
        return give_back(context, finished)
    return finished


def give_back(context: Context, withdrawal: Withdrawal) -> Withdrawal:
    """Let the receiving bank return a withdrawal that had succeeded (6048). The fee is kept."""
    if withdrawal.status != SUCCEEDED or withdrawal.returned_day:
        raise Refused(codes.NOT_NOW, "提现未成功或已退单")
    home = waiting(withdrawal.sub_acct_no, context.today)
    context.post(Move(OUTSIDE, home, withdrawal.amount_fen))
    returned = replace(
        withdrawal,
        return_due=False,
        returned_day=context.today,
        return_front_seq_no=context.front_seq_no(),
    )
    context.store.put(returned)
    return returned


def finish_due(context: Context, pending: list[str]) -> list[str]:
    """Finish what is due of the withdrawals named, oldest first; returns those still on their way.

    The delay is one for all, so the first that is not due ends the search.
    """
    for position, serial in enumerate(pending):
        withdrawal = context.store.get(Withdrawal, serial)
        if withdrawal is None or withdrawal.status != ACCEPTED:
            continue
        if datetime.fromisoformat(withdrawal.due_at) > context.now:
            return pending[position:]
        finish(context, withdrawal, withdrawal.outcome)
    return []

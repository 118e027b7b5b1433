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
from sandbox.desk import Desk, positive
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import ACCEPTED, FAILED, SENT, SUCCEEDED, BoundCard, Trade, Withdrawal, card_key

NO_TRANSFER_FEE: Final = 0


@handles(Withdraw, asked_by="3")
def withdraw(desk: Desk, request: Withdraw) -> WithdrawReply:
    """6033. An amount in ReservedMsg is a fee on top (notes.md 9.12: three clients send it so)."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(desk, member, request.TakeCashAcctNo)
    amount = positive(request.CashAmt)
    front = accept(desk, member, amount, _fee(request.ReservedMsg), request.OrderNo, request.Remark)
    return WithdrawReply(FrontSeqNo=front, TransferFee=NO_TRANSFER_FEE)


@handles(WithdrawBySms, asked_by="3")
def withdraw_by_sms(desk: Desk, request: WithdrawBySms) -> Booked:
    """6085: the fee has a field of its own, on top."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(desk, member, request.TakeCashAcctNo)
    prove(desk, request, member, sms.WITHDRAWAL)
    amount = positive(request.CashAmt)
    return Booked(FrontSeqNo=accept(desk, member, amount, request.TakeCashCommission, None, request.Remark))


@handles(WithdrawByPassword, asked_by="3")
def withdraw_by_password(desk: Desk, request: WithdrawByPassword) -> Booked:
    """6111: as 6085, with another name for the amount."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode).sub_acct_no
    _require_bound(desk, member, request.TakeCashAcctNo)
    prove(desk, request, member, sms.WITHDRAWAL)
    amount = positive(request.ApplyTakeCashAmt)
    return Booked(FrontSeqNo=accept(desk, member, amount, request.TakeCashCommission, None, request.Remark))


def _require_bound(desk: Desk, member: str, card_no: str) -> None:
    card = desk.store.get(BoundCard, card_key(member, card_no))
    if desk.settings.bound_cards_only and (card is None or card.unbound):
        raise Refused(codes.NO_CARD)


def _fee(reserved: str | None) -> int:
    if not reserved:
        return 0
    try:
        return max(fen(reserved), 0)
    except ValueError:
        return 0


def accept(
    desk: Desk,
    member: str,
    amount_fen: int,
    fee_fen: int,
    order_no: str | None,
    remark: str | None,
) -> str:
    """Take the money from the member and start the withdrawal; returns its FrontSeqNo."""
    desk.post(
        Move(withdrawable(member), functional(WITHDRAWAL_IN_TRANSIT), amount_fen),
        Move(withdrawable(member), functional(FEE), fee_fen),
    )
    due = desk.now + timedelta(seconds=desk.settings.withdrawal_delay_s)
    desk.store.put(
        Withdrawal(
            serial=desk.serial,
            sub_acct_no=member,
            amount_fen=amount_fen,
            fee_fen=fee_fen,
            accepted_at=desk.now.isoformat(),
            due_at=due.isoformat(),
            outcome=FAILED if desk.told.has("withdrawal_fail") else SUCCEEDED,
            return_due=desk.told.has("withdrawal_return"),
        )
    )
    return desk.book(
        "3",
        status=ACCEPTED,
        out_sub_acct_no=member,
        amount_fen=amount_fen + fee_fen,
        fee_fen=fee_fen,
        order_no=order_no,
        remark=remark,
    )


def status(desk: Desk, withdrawal: Withdrawal) -> str:
    """TranStatus now: 5 in the first half of the way, 6 in the second, then the end."""
    if withdrawal.status != ACCEPTED:
        return withdrawal.status
    accepted = datetime.fromisoformat(withdrawal.accepted_at)
    half = (datetime.fromisoformat(withdrawal.due_at) - accepted) / 2
    return ACCEPTED if desk.now - accepted < half else SENT


def finish(desk: Desk, withdrawal: Withdrawal, outcome: str) -> Withdrawal:
    """Bring a withdrawal that is on its way to its end."""
    moving = functional(WITHDRAWAL_IN_TRANSIT)
    if outcome == SUCCEEDED:
        desk.post(Move(moving, OUTSIDE, withdrawal.amount_fen))
    else:
        home = withdrawable(withdrawal.sub_acct_no)
        desk.post(
            Move(moving, home, withdrawal.amount_fen),
            Move(functional(FEE), home, withdrawal.fee_fen),
        )
    finished = replace(withdrawal, status=outcome, outcome=outcome)
    desk.store.put(finished)
    trade = desk.store.get(Trade, withdrawal.serial)
    if trade is not None:
        reason = "收款账户异常" if outcome == FAILED else ""
        desk.store.put(replace(trade, status=outcome, fail_message=reason))
    if finished.return_due and outcome == SUCCEEDED:
        return give_back(desk, finished)
    return finished


def give_back(desk: Desk, withdrawal: Withdrawal) -> Withdrawal:
    """Let the receiving bank return a withdrawal that had succeeded (6048). The fee is kept."""
    if withdrawal.status != SUCCEEDED or withdrawal.returned_day:
        raise Refused(codes.NOT_NOW, "提现未成功或已退单")
    home = waiting(withdrawal.sub_acct_no, desk.today)
    desk.post(Move(OUTSIDE, home, withdrawal.amount_fen))
    returned = replace(
        withdrawal,
        return_due=False,
        returned_day=desk.today,
        return_front_seq_no=desk.front_seq_no(),
    )
    desk.store.put(returned)
    return returned


def finish_due(desk: Desk, pending: list[str]) -> list[str]:
    """Finish what is due of the withdrawals named, oldest first; returns those still on their way.

    The delay is one for all, so the first that is not due ends the search.
    """
    for position, serial in enumerate(pending):
        withdrawal = desk.store.get(Withdrawal, serial)
        if withdrawal is None or withdrawal.status != ACCEPTED:
            continue
        if datetime.fromisoformat(withdrawal.due_at) > desk.now:
            return pending[position:]
        finish(desk, withdrawal, withdrawal.outcome)
    return []

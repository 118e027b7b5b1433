"""The platform as a whole and its days: the pooled account (6011), closing balances (6114), the bank's
charges (6109), and play money from outside (6211). Catalogue, under the same codes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bankclient.messages import (
    BankCharges,
    BankChargesReply,
    BankChargesRow,
    DayEndBalances,
    DayEndBalancesReply,
    DayEndBalancesRow,
    PooledBalance,
    PooledBalanceReply,
    TrialTransfer,
    TrialTransferReply,
)
from sandbox import codes
from sandbox.clock import day_of, day_text
from sandbox.context import Context, positive
from sandbox.dayends import day_end, days_between
from sandbox.errors import Refused
from sandbox.handlers import transfers
from sandbox.handlers.registry import handles
from sandbox.paging import page_of
from sandbox.records import BankCharge, ClearingDay, DayEnd, PooledDayEnd

REACH: Final = timedelta(days=10)
"""How far 6114 looks back."""

TRIAL_PAYER: Final = ("6200000000000000000", "测试专用账户", "测试银行")
"""The fixed test account from which 6211 pays."""

WAITING, BECAME_WITHDRAWABLE, NOTHING_WAITED = "0", "1", "2"


@handles(PooledBalance)
def pooled_balance(context: Context, request: PooledBalance) -> PooledBalanceReply:
    """6011. LastBalance is that of the last day that ended."""
    ended = [one for one in context.store.all(PooledDayEnd) if one.day < context.today]
    last = max(ended, key=lambda one: one.day, default=None)
    return PooledBalanceReply(
        LastBalance=0 if last is None else last.amount_fen,
        CurBalabce=context.books.pooled_fen,
        Balance=context.books.pooled_fen,
    )


@handles(DayEndBalances)
def day_end_balances(context: Context, request: DayEndBalances) -> DayEndBalancesReply:
    """6114, oldest day first; today as it stands. Frozen means orders of 6007 only, as in 6037."""
    member = context.member(request.SubAcctNo)
    today = context.now.date()
    first = request.StartDate or request.EndDate or today
    last = request.EndDate or request.StartDate or today
    if first > last or last > today or last - first > REACH:
        raise Refused(codes.FIELD_INVALID, "StartDate, EndDate")
    first = max(first, today - REACH)
    ends = [one for day in days_between(first, last) if (one := day_end(context, member, day)) is not None]
    page = page_of(ends, request.PageNum)
    return DayEndBalancesReply(**page.fields, AcctArray=tuple(_day_row(context, one) for one in page.rows))


def _day_row(context: Context, ended: DayEnd) -> DayEndBalancesRow:
    clearing = context.store.get(ClearingDay, ended.day)
    status = NOTHING_WAITED
    if ended.credited_fen:
        status = BECAME_WITHDRAWABLE if clearing is not None and clearing.finished_day else WAITING
    return DayEndBalancesRow(
        Date=f"{day_of(ended.day):%y%m%d}",
        DayAcctAvailBal=ended.available_fen,
        DayCashBal=ended.withdrawable_fen,
        DayFreezeBal=ended.frozen_fen,
        DayCashOccurAmt=ended.credited_fen,
        DayWaitCashBal=ended.waiting_fen,
        CashStatus=status,
    )


@handles(BankCharges)
def bank_charges(context: Context, request: BankCharges) -> BankChargesReply:
    """6109. The sandbox charges nothing by itself: charges are made by the control plane."""
    first, last = "", context.today
    if request.FunctionFlag == "2" and request.StartDate is not None and request.EndDate is not None:
        first, last = day_text(request.StartDate), day_text(request.EndDate)
        if first > last or last > context.today:
            raise Refused(codes.FIELD_INVALID, "StartDate, EndDate")
    told = context.faults.days.asked("6109", first, last).rows(context.store.all(BankCharge))
    charges = [one for one in told if first <= one.taken_day <= last]
    page = page_of(sorted(charges, key=lambda one: (one.taken_day, one.number)), request.PageNum)
    return BankChargesReply(
        **page.fields,
        FeeArray=tuple(
            BankChargesRow(
                FeeType=one.fee_type,
                FeeStartDate=one.first_day,
                FeeEndDate=one.last_day,
                FeeDeductDate=one.taken_day,
                ChargeAmt=one.amount_fen,
                TranStatus=one.status,
            )
            for one in page.rows
        ),
    )


@handles(TrialTransfer)
def trial_transfer(context: Context, request: TrialTransfer) -> TrialTransferReply:
    """6211. To the pooled account it is an inflow that nobody can be matched to, so it lies in suspense;
    to any other account it stays outside these books."""
    amount = positive(request.ApplyTakeCashAmt)
    if request.RecvAcctNo != context.settings.fund_summary_acct_no:
        return TrialTransferReply(WitnessSysSeqNo=context.front_seq_no())
    inflow = transfers.take_in(context, "", amount, TRIAL_PAYER, request.Remark or "")
    return TrialTransferReply(WitnessSysSeqNo=inflow.front_seq_no)

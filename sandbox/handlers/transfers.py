"""Transfers into the pooled account: 6050, and how they come in. Catalogue 6050; not in the quick start.

Money from a bound card is credited to its sub-account (02), any other lies in suspense (03). The list shows more than
that: withdrawals that came back (6048) as credits of their members, and the money with which the channels settle a
bank day (6108) as if it lay in suspense, which it never does in these books.
"""

from __future__ import annotations

from typing import Final

from bankclient.messages import ListReply, TransfersIn, TransfersInRow
from sandbox.books import OUTSIDE, SUSPENSE, Move, functional, waiting, withdrawable
from sandbox.context import Context
from sandbox.handlers.registry import handles
from sandbox.handlers.statements import days_asked
from sandbox.paging import page_of
from sandbox.records import Inflow, Member, Withdrawal

TO_MEMBER: Final = "02"
TO_SUSPENSE: Final = "03"
CLEARING_PRINCIPAL: Final = "跨行支付本金清算"


def take_in(context: Context, sub_acct_no: str, amount_fen: int, payer: tuple[str, str, str], remark: str) -> Inflow:
    """Real money comes in: to a member, or to suspense when ``sub_acct_no`` is empty.

    ``payer`` is its account, name and bank.
    """
    if sub_acct_no:
        member = context.member(sub_acct_no).sub_acct_no
        is_waiting = context.settings.transferred_money == "waiting"
        target = waiting(member, context.today) if is_waiting else withdrawable(member)
    else:
        target = functional(SUSPENSE)
    context.post(Move(OUTSIDE, target, amount_fen))
    return note(context, sub_acct_no, amount_fen, payer, remark)


def note(context: Context, sub_acct_no: str, amount_fen: int, payer: tuple[str, str, str], remark: str) -> Inflow:
    """Remember an inflow for 6050, whose money is booked elsewhere."""
    account, name, bank_name = payer
    inflow = Inflow(
        front_seq_no=context.front_seq_no(),
        day=context.today,
        sub_acct_no=sub_acct_no,
        amount_fen=amount_fen,
        payer_account=account,
        payer_name=name,
        payer_bank_name=bank_name,
        remark=remark,
    )
    context.store.put(inflow)
    return inflow


@handles(TransfersIn)
def transfers_in(context: Context, request: TransfersIn) -> ListReply[TransfersInRow]:
    """6050, in the order of booking; today and earlier days do not overlap."""
    first, last = days_asked(context, request.FunctionFlag, request.StartDate, request.EndDate)
    sides = [one.sub_acct_no for one in context.store.all(Member) if not one.closed]
    transfers = [one for one in context.store.all(Inflow) if one.remark != CLEARING_PRINCIPAL]
    told = context.faults.days.asked("6050", first, last).rows(transfers, sides=sides)
    principal = [one for one in context.store.all(Inflow) if one.remark == CLEARING_PRINCIPAL]
    rows = [_row(context, one) for one in (*told, *principal) if first <= one.day <= last]
    rows += [
        _bounce(context, one)
        for one in context.store.all(Withdrawal)
        if one.returned_day and first <= one.returned_day <= last
    ]
    page = page_of(sorted(rows, key=lambda row: (row.AccountingDate, row.FrontSeqNo)), request.PageNum)
    return ListReply[TransfersInRow](**page.fields, TranItemArray=tuple(page.rows))


def _row(context: Context, inflow: Inflow) -> TransfersInRow:
    suspense_no = context.functional_no(SUSPENSE)
    member = context.store.get(Member, inflow.sub_acct_no)
    return TransfersInRow(
        InAcctType=TO_MEMBER if member else TO_SUSPENSE,
        TranNetMemberCode=member.code if member else suspense_no,
        SubAcctNo=member.sub_acct_no if member else suspense_no,
        TranAmt=inflow.amount_fen,
        InAcctNo=inflow.payer_account,
        InAcctName=inflow.payer_name,
        Ccy="RMB",
        AccountingDate=inflow.day,
        BankName=inflow.payer_bank_name,
        Remark=inflow.remark,
        FrontSeqNo=inflow.front_seq_no,
    )


def _bounce(context: Context, withdrawal: Withdrawal) -> TransfersInRow:
    member = context.store.get(Member, withdrawal.sub_acct_no)
    return TransfersInRow(
        InAcctType=TO_MEMBER,
        TranNetMemberCode=member.code if member else "",
        SubAcctNo=withdrawal.sub_acct_no,
        TranAmt=withdrawal.amount_fen,
        Ccy="RMB",
        AccountingDate=withdrawal.returned_day,
        Remark="提现退票",
        FrontSeqNo=withdrawal.return_front_seq_no,
    )

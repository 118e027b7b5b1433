"""Questions: the state of one transaction (6110), balances (6010, 6093). Quick start: 会员查询."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bankclient.messages import (
    EscrowBalance,
    EscrowBalanceReply,
    SubAccountBalances,
    SubAccountBalancesReply,
    SubAccountBalancesRow,
    TransactionStatus,
    TransactionStatusReply,
)
from sandbox import codes
from sandbox.books import (
    ESCROW,
    FEE,
    FUNCTIONAL,
    IN_TRANSIT,
    INTEREST,
    MARKETING,
    OWN_FUNDS,
    PARKING,
    POOLED_SHADOW,
    SUSPENSE,
    WITHDRAWAL_IN_TRANSIT,
)
from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers import withdrawals
from sandbox.handlers.registry import handles
from sandbox.paging import page_of
from sandbox.records import FrontSerial, Trade, Withdrawal

FUNCTIONAL_NAMES: Final = {
    SUSPENSE: "挂账子账户",
    FEE: "手续费子账户",
    INTEREST: "利息子账户",
    ESCROW: "担保子账户",
    IN_TRANSIT: "在途子账户",
    OWN_FUNDS: "平台自有一般账户",
    POOLED_SHADOW: "资金汇总账户",
    WITHDRAWAL_IN_TRANSIT: "提现在途子账户",
    MARKETING: "营销子账户",
    PARKING: "收单渠道专属子账户",
}

DAY_WANTED: Final = timedelta(days=3)
"""From this age on 6110 may find a call only by its day (notes.md 9.14)."""

MEMBER_PROPERTY: Final = "1"
FUNCTIONAL_ACCOUNTS: Final = "3"


@handles(TransactionStatus)
def transaction_status(context: Context, request: TransactionStatus) -> TransactionStatusReply:
    """6110, by the serial of a request or a row, or by a FrontSeqNo."""
    if context.fault_plan.has("not_found_first"):
        raise Refused(codes.NO_RECORD)
    serial = request.TranNetSeqNo
    front = context.store.get(FrontSerial, serial)
    trade = context.store.get(Trade, serial if front is None else front.serial)
    if trade is None or trade.asked_by != request.FunctionFlag:
        raise Refused(codes.NO_RECORD)
    if context.faults.hides({trade.serial, trade.call_serial}):
        raise Refused(codes.NO_RECORD)
    at = datetime.fromisoformat(trade.at)
    if context.settings.status_needs_day and context.now - at >= DAY_WANTED and request.TranDate != at.date():
        raise Refused(codes.NO_RECORD)
    withdrawal = context.store.get(Withdrawal, trade.serial)
    return TransactionStatusReply(
        BookingFlag=trade.booking_flag,
        TranStatus=trade.status if withdrawal is None else withdrawals.status(context, withdrawal),
        TranAmt=trade.amount_fen,
        TranDate=day_text(at.date()),
        TranTime=f"{at:%H%M%S}",
        InSubAcctNo="" if withdrawal else trade.in_sub_acct_no,
        OutSubAcctNo="" if withdrawal else trade.out_sub_acct_no,
        FailMsg=trade.fail_message or codes.OK_MESSAGE,
        OldTranFrontSeqNo=trade.front_seq_no,
    )


@handles(SubAccountBalances)
def sub_account_balances(context: Context, request: SubAccountBalances) -> SubAccountBalancesReply:
    """6010. Frozen and pre-paid money does not show here."""
    if request.QueryFlag == FUNCTIONAL_ACCOUNTS:
        rows = [_functional_row(context, suffix) for suffix in FUNCTIONAL]
    else:
        rows = [_member_row(context, request.SubAcctNo or "")]
    page = page_of(rows, request.PageNum)
    return SubAccountBalancesReply(**page.fields, AcctArray=tuple(page.rows))


def _member_row(context: Context, sub_acct_no: str) -> SubAccountBalancesRow:
    member = context.member(sub_acct_no)
    sub_account = context.books.sub_account(sub_acct_no)
    return SubAccountBalancesRow(
        SubAcctNo=sub_acct_no,
        SubAcctProperty=MEMBER_PROPERTY,
        TranNetMemberCode=member.code,
        SubAcctName=member.name,
        AcctAvailBal=sub_account.available_fen,
        CashAmt=sub_account.withdrawable,
        MaintenanceDate=member.opened_day,
    )


def _functional_row(context: Context, suffix: str) -> SubAccountBalancesRow:
    balance = context.books.functional_fen(suffix)
    return SubAccountBalancesRow(
        SubAcctNo=context.functional_no(suffix),
        SubAcctProperty=suffix,
        TranNetMemberCode="",
        SubAcctName=FUNCTIONAL_NAMES[suffix],
        AcctAvailBal=balance,
        CashAmt=balance,
        MaintenanceDate=context.today,
    )


@handles(EscrowBalance)
def escrow_balance(context: Context, request: EscrowBalance) -> EscrowBalanceReply:
    """6093. SubAcctAssureAmt counts pre-paid and frozen money."""
    member = context.member(request.SubAcctNo)
    sub_account = context.books.sub_account(request.SubAcctNo)
    return EscrowBalanceReply(
        TranNetMemberCode=member.code,
        SubAcctAvailBal=sub_account.available_fen,
        SubAcctAssureAmt=sub_account.escrow_fen + sub_account.frozen_fen,
    )

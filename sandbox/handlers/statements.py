"""Lists of what was booked on a sub-account: 6072 (payments, freezes, refunds) and 6073 (withdrawals,
top-ups). Catalogue: 6072, 6073; not in the quick start.

Both list successes only, oldest first, with the bank's FrontSeqNo and without the CnsmrSeqNo. "Today"
and "history" do not overlap: a day is history once it has ended. The same rules make the lists and,
in `daybook.py`, the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Final

from bankclient.messages import (
    CashMovements,
    CashMovementsRow,
    ListReply,
    SubAccountTransactions,
    SubAccountTransactionsRow,
)
from sandbox import codes
from sandbox.books import FEE
from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.paging import page_of
from sandbox.records import SUCCEEDED, Member, Trade

PAYMENTS: Final = ("6034", "6101", "6006")
BATCHES: Final = ("6031", "6052", "6120", "6133")
FREEZES: Final = ("6007", "6135", "6134")
PAY_FROZEN: Final = ("6163", "6166", "6165")
WITHDRAWALS: Final = ("6033", "6085", "6111")
TOP_UPS: Final = ("6129", "6216", "6130", "6217", "6147")

_OF_PAYMENT: Final = {"1": "6", "2": "7", "3": "8"}
_OF_BATCH: Final = {"1": "6", "2": "7"}
_OF_FREEZE: Final = {"1": "2", "5": "2", "2": "3", "6": "3", "4": "24", "7": "33"}
_OF_OTHERS: Final = {"6139": "4", "6140": "4", "6145": "22", "6164": "25"}

FROZEN, RELEASED = "2", "3"
OUT, IN = "1", "2"
TODAY: Final = "1"


def booking_type(trade: Trade) -> str:
    """What 6072 calls a transaction (catalogue, booking_type_6072)."""
    if trade.code in BATCHES and trade.code != "6031":
        return _OF_BATCH.get(trade.function_flag, "1")
    if trade.code in PAYMENTS or trade.code in BATCHES:
        return _OF_PAYMENT.get(trade.function_flag, "1")
    if trade.code in FREEZES:
        return _OF_FREEZE.get(trade.function_flag, FROZEN)
    if trade.code in PAY_FROZEN:
        return "7"
    return _OF_OTHERS.get(trade.code, "1")


def member_trades(context: Context) -> Iterator[Trade]:
    """Every success between sub-accounts, in the order of booking.

    A call with rows is listed by its rows; the commission of a payment out of frozen money, which is
    on no row, as a payment to the fee sub-account.
    """
    successes = [
        one for one in context.store.all(Trade) if one.status == SUCCEEDED and one.code not in WITHDRAWALS + TOP_UPS
    ]
    with_rows = {one.call_serial for one in successes if one.serial != one.call_serial}
    for trade in _in_order(successes):
        if trade.serial != trade.call_serial or trade.serial not in with_rows:
            yield trade
        elif trade.code in PAY_FROZEN and trade.fee_fen:
            yield replace(trade, in_sub_acct_no=context.functional_no(FEE), amount_fen=trade.fee_fen, fee_fen=0)


def cash_trades(context: Context, codes_wanted: Iterable[str]) -> list[Trade]:
    """Every success of these interfaces, in the order of booking."""
    wanted = frozenset(codes_wanted)
    return _in_order([one for one in context.store.all(Trade) if one.status == SUCCEEDED and one.code in wanted])


def remark_of(trade: Trade) -> str:
    """What the lists show as Remark: the order number where a lost answer is looked for by it."""
    return trade.order_no if trade.code in BATCHES and trade.order_no else trade.remark


@handles(SubAccountTransactions)
def sub_account_transactions(context: Context, request: SubAccountTransactions) -> ListReply[SubAccountTransactionsRow]:
    """6072. A freeze goes out of the member's available money, a release comes in."""
    no = _known(context, request.SubAcctNo)
    first, last = days_asked(context, request.FunctionFlag, request.StartDate, request.EndDate)
    trades = [trade for trade in member_trades(context) if first <= trade.day <= last and _ways(trade, no)]
    hidden = {call for call in {trade.call_serial for trade in trades} if context.faults.hides((call,))}
    rows = [
        _transaction_row(trade, way)
        for trade in trades
        if trade.call_serial not in hidden
        for way in _ways(trade, no)
        if request.QueryFlag in ("1", {OUT: "2", IN: "3"}[way])
    ]
    page = page_of(rows, request.PageNum)
    return ListReply[SubAccountTransactionsRow](**page.fields, TranItemArray=tuple(page.rows))


def _ways(trade: Trade, sub_acct_no: str) -> list[str]:
    if trade.out_sub_acct_no == trade.in_sub_acct_no == sub_acct_no:
        return [IN if booking_type(trade) in (RELEASED, "24", "33") else OUT]
    ways = ((OUT, trade.out_sub_acct_no), (IN, trade.in_sub_acct_no))
    return [way for way, no in ways if no == sub_acct_no]


def _transaction_row(trade: Trade, way: str) -> SubAccountTransactionsRow:
    at = datetime.fromisoformat(trade.at)
    return SubAccountTransactionsRow(
        BookingFlag=way,
        TranStatus=SUCCEEDED,
        TranAmt=trade.amount_fen,
        TranDate=day_text(at.date()),
        TranTime=f"{at:%H%M%S}",
        FrontSeqNo=trade.front_seq_no,
        BookingType=booking_type(trade),
        InSubAcctNo=trade.in_sub_acct_no,
        OutSubAcctNo=trade.out_sub_acct_no,
        Remark=remark_of(trade),
    )


@handles(CashMovements)
def cash_movements(context: Context, request: CashMovements) -> ListReply[CashMovementsRow]:
    """6073. A revoked top-up is listed beside the top-up, as the catalogue has it."""
    member = context.member(request.SubAcctNo)
    first, last = days_asked(context, request.FunctionFlag, request.BeginDate, request.EndDate)
    out = request.QueryFlag == "2"
    trades = [
        trade
        for trade in cash_trades(context, WITHDRAWALS if out else TOP_UPS)
        if member.sub_acct_no in (trade.out_sub_acct_no, trade.in_sub_acct_no) and first <= trade.day <= last
    ]
    page = page_of(trades, request.PageNum)
    return ListReply[CashMovementsRow](
        **page.fields,
        TranItemArray=tuple(_cash_row(member, trade, "01" if out else "02") for trade in page.rows),
    )


def _cash_row(member: Member, trade: Trade, booking_flag: str) -> CashMovementsRow:
    at = datetime.fromisoformat(trade.at)
    return CashMovementsRow(
        BookingFlag=booking_flag,
        TranStatus=SUCCEEDED,
        BookingMsg=cash_text(trade),
        TranNetMemberCode=member.code,
        SubAcctNo=member.sub_acct_no,
        SubAcctName=member.name,
        TranAmt=trade.amount_fen,
        Commission=trade.fee_fen,
        TranDate=day_text(at.date()),
        TranTime=f"{at:%H%M%S}",
        FrontSeqNo=trade.front_seq_no,
        Remark=trade.remark,
    )


def cash_text(trade: Trade) -> str:
    """The booking in words. Of these only 提现 was seen in a file of the bank (transport.md 5.5)."""
    if trade.code in WITHDRAWALS:
        return "提现"
    return "充值撤销" if trade.code in ("6130", "6217") else "在途充值"


def days_asked(context: Context, flag: str, first: date | None, last: date | None) -> tuple[str, str]:
    """The bank days a list covers: today, or the given days as far as they have ended."""
    if flag == TODAY:
        return context.today, context.today
    if first is None or last is None or first > last or day_text(last) > context.today:
        raise Refused(codes.FIELD_INVALID, "StartDate, EndDate")
    yesterday = date.fromordinal(context.now.date().toordinal() - 1)
    return day_text(first), min(day_text(last), day_text(yesterday))


def _known(context: Context, sub_acct_no: str) -> str:
    functional = sub_acct_no.startswith(context.settings.mrch_code) and len(sub_acct_no) == 16
    if functional and int(sub_acct_no[4:]) < 100:
        return sub_acct_no
    return context.member(sub_acct_no).sub_acct_no


def _in_order(trades: Iterable[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda one: (one.day, one.front_seq_no))

"""The lines of a past day's files, from the books (transport.md 5.5): CZ, TX, JY, YE.

Fields end with `&` and are not escaped, as at the bank: a name or remark with `&` in it shifts its row.
The other kinds of file have no public columns and come out empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from bankclient.money import yuan
from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.dayends import day_ends
from sandbox.dayfaults import Telling
from sandbox.handlers.statements import (
    TOP_UPS,
    WITHDRAWALS,
    booking_type,
    cash_text,
    cash_trades,
    member_trades,
    remark_of,
)
from sandbox.records import FAILED, DayEnd, Member, Trade

_PAYMENT_TEXTS: Final = {
    "1": "直接支付",
    "2": "冻结",
    "3": "解冻",
    "4": "挂账清分",
    "6": "预支付",
    "7": "确认付款",
    "8": "退款",
    "22": "收单调账",
    "25": "售后退款",
}
"""Of these 确认付款 was seen in a file of the bank; the others are ours."""


def lines_of(context: Context, file_type: str, day: str, telling: Telling) -> list[str]:
    """The rows of one file, in the order of booking, as ``telling`` has them."""
    if file_type == "YE":
        ends = telling.rows([end for _, end in day_ends(context, day)], day=day)
        return _written(telling.fields(end, _balance(context, end)) for end in ends)
    if file_type in ("CZ", "TX"):
        wanted = TOP_UPS if file_type == "CZ" else WITHDRAWALS
        return _written(
            telling.fields(one, _cash(context, one))
            for one in _told(context, cash_trades(context, wanted), telling, wanted.__contains__)
            if one.day == day
        )
    if file_type == "JY":
        return _written(
            telling.fields(one, _payment(context, one))
            for one in _told(context, member_trades(context), telling, lambda code: code not in TOP_UPS + WITHDRAWALS)
            if one.day == day
        )
    return []


def _told(
    context: Context, trades: Iterable[Trade], telling: Telling, is_of_file: Callable[[str], bool]
) -> list[Trade]:
    told = telling.rows(
        trades,
        sides=[one.sub_acct_no for one in context.store.all(Member) if not one.closed],
        refused=(one for one in context.store.all(Trade) if one.status == FAILED and is_of_file(one.code)),
    )
    return sorted(told, key=lambda one: (one.day, one.front_seq_no))


def _cash(context: Context, trade: Trade) -> list[str]:
    code, name = _owner(context, trade.in_sub_acct_no or trade.out_sub_acct_no)
    return [
        code,
        trade.in_sub_acct_no or trade.out_sub_acct_no,
        name,
        yuan(trade.amount_fen),
        yuan(trade.fee_fen),
        *_when(trade),
        trade.front_seq_no,
        trade.serial,
        trade.remark,
        cash_text(trade),
        trade.order_no,
    ]


def _payment(context: Context, trade: Trade) -> list[str]:
    payer, payer_name = _owner(context, trade.out_sub_acct_no)
    payee, payee_name = _owner(context, trade.in_sub_acct_no)
    return [
        _PAYMENT_TEXTS.get(booking_type(trade), "其他"),
        payer,
        trade.out_sub_acct_no,
        payer_name,
        payee,
        trade.in_sub_acct_no,
        payee_name,
        yuan(trade.amount_fen),
        yuan(trade.fee_fen),
        *_when(trade),
        trade.front_seq_no,
        trade.serial,
        remark_of(trade),
        trade.order_no,
    ]


def _balance(context: Context, end: DayEnd) -> list[str]:
    return [_owner(context, end.sub_acct_no)[0], end.sub_acct_no, yuan(end.available_fen), ""]


def _owner(context: Context, sub_acct_no: str) -> tuple[str, str]:
    member = context.store.get(Member, sub_acct_no)
    return ("", "") if member is None else (member.code, member.name)


def _when(trade: Trade) -> tuple[str, str]:
    at = datetime.fromisoformat(trade.at)
    return day_text(at.date()), f"{at:%H%M%S}"


def _written(rows: Iterable[list[str]]) -> list[str]:
    return ["".join(f"{field}&" for field in (str(number), *row)) for number, row in enumerate(rows, start=1)]

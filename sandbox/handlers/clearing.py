"""In-transit clearing: the night's run, and the question about it (6108). Quick start: 查询银行在途清算结果.

Each bank day gets one record after it has ended. Clearing a day pays in what the channels owe for it
and makes every waiting lot of that day or earlier withdrawable. Days clear strictly in order; while
the channels are held back (control) all of them stay pending.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bankclient.messages import ClearingResult, ClearingResultRow, ListReply
from sandbox import codes
from sandbox.books import IN_TRANSIT
from sandbox.clock import day_of, day_text
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers import transfers
from sandbox.handlers.registry import handles
from sandbox.paging import page_of
from sandbox.records import ClearingDay, Mark

FIRST_DAY: Final = "first_day"
RECORDED_THROUGH: Final = "recorded_through"
HELD: Final = "clearing_held"

CHANNELS: Final = ("", "清算内部户", "平安银行")
"""The internal account from which the channels' principal comes (6050)."""

DONE: Final = "0"
PENDING: Final = "3"


@handles(ClearingResult)
def clearing_result(context: Context, request: ClearingResult) -> ListReply[ClearingResultRow]:
    """6108, oldest day first. With `clear_same_day` a question that covers today clears it and ends it.

    The bank's day moves on with it, so that later bookings wait for another clearing, as after a night.
    """
    first, last = "", context.today
    if request.StartDate is not None and request.EndDate is not None:
        first, last = day_text(request.StartDate), day_text(request.EndDate)
        if last > context.today or first > last:
            raise Refused(codes.FIELD_INVALID, "StartDate, EndDate")
    if context.settings.clear_same_day and last >= context.today:
        _record(context, context.today)
        _clear_pending(context)
        cleared = context.store.get(ClearingDay, context.today)
        context.ends_day = cleared is not None and bool(cleared.finished_day)
    told = context.faults.days.asked("6108", first, last).rows(context.store.all(ClearingDay))
    days = sorted(told, key=lambda one: one.day)
    page = page_of([one for one in days if first <= one.day <= last], request.PageNum)
    return ListReply[ClearingResultRow](
        **page.fields,
        TranItemArray=tuple(_row(context, one) for one in page.rows),
    )


def _row(context: Context, one: ClearingDay) -> ClearingResultRow:
    done = bool(one.finished_day)
    return ClearingResultRow(
        Date=one.day,
        SubAcctType=IN_TRANSIT,
        ReconcileStatus="0",
        TotalAmt=one.total_fen + context.books.in_transit_fen(one.day),
        ClearingState=DONE if done else PENDING,
        ClearingReturnMsg="" if done else "在途资金未到账",
        ClearingFinishDate=one.finished_day,
    )


def run(context: Context) -> None:
    """The night's run: record every day that has ended, and clear in order what can be cleared."""
    recorded = context.store.get(Mark, RECORDED_THROUGH)
    if recorded is None:
        first = context.store.get(Mark, FIRST_DAY)
        day = context.now.date() if first is None else day_of(first.text)
    else:
        day = day_of(recorded.text) + timedelta(days=1)
    while day < context.now.date():
        _record(context, day_text(day))
        context.store.put(Mark(RECORDED_THROUGH, day_text(day)))
        day += timedelta(days=1)
    _clear_pending(context)


def hold(context: Context, held: bool) -> None:
    """Let the channels keep their money back, or pay it; then days that wait are cleared."""
    context.store.put(Mark(HELD, "yes" if held else ""))
    _clear_pending(context)


def _record(context: Context, day: str) -> None:
    if context.store.get(ClearingDay, day) is None:
        context.store.put(ClearingDay(day, 0))


def _clear_pending(context: Context) -> None:
    held = context.store.get(Mark, HELD)
    if held is not None and held.text:
        return
    pending = [one for one in context.store.all(ClearingDay) if not one.finished_day]
    for one in sorted(pending, key=lambda one: one.day):
        total = one.total_fen + context.books.in_transit_fen(one.day)
        context.post(*context.books.clearing_moves(one.day))
        context.store.put(ClearingDay(one.day, total, finished_day=context.today))
        if total > 0:
            transfers.note(context, "", total, CHANNELS, transfers.CLEARING_PRINCIPAL)

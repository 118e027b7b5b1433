"""What each member had when a bank day ended, for 6114 and the balance file.

A record is made when the day has changed, before the night's clearing, and only for members who have
something else than at their last record: the latest record up to a day tells that day's end.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.records import DayEnd, Mark, Member, PooledDayEnd

OPEN_DAY: Final = "open_day"


def close_days(context: Context) -> None:
    """Write down how the last open day ended, once it has; then today is the open one."""
    open_day = context.store.get(Mark, OPEN_DAY)
    if open_day is not None and open_day.text < context.today:
        latest = {one.sub_acct_no: one for one in context.store.all(DayEnd)}
        for member in context.store.all(Member):
            ended = _now(context, member.sub_acct_no, open_day.text)
            before = latest.get(member.sub_acct_no)
            if before is None or _amounts(before) != _amounts(ended):
                context.store.put(ended)
        context.store.put(PooledDayEnd(open_day.text, context.books.pooled_fen))
    if open_day is None or open_day.text != context.today:
        context.store.put(Mark(OPEN_DAY, context.today))


def day_end(context: Context, member: Member, day: str) -> DayEnd | None:
    """How a day ended for a member, or stands if it is today. None before it was opened and for the future."""
    if day < member.opened_day or day > context.today:
        return None
    if day == context.today:
        return _now(context, member.sub_acct_no, day)
    records = [one for one in context.store.all(DayEnd) if one.sub_acct_no == member.sub_acct_no and one.day <= day]
    latest = max(records, key=lambda one: one.day, default=None)
    if latest is None:
        return DayEnd(member.sub_acct_no, day, 0, 0, 0, 0, 0, 0)
    credited = latest.credited_fen if latest.day == day else 0
    return DayEnd(member.sub_acct_no, day, *_amounts(latest)[:5], credited)


def day_ends(context: Context, day: str) -> list[tuple[Member, DayEnd]]:
    """How a day ended for every member who was open."""
    latest: dict[str, DayEnd] = {}
    for one in context.store.all(DayEnd):
        known = latest.get(one.sub_acct_no)
        if one.day <= day and (known is None or known.day < one.day):
            latest[one.sub_acct_no] = one
    return [
        (member, latest.get(member.sub_acct_no, DayEnd(member.sub_acct_no, day, 0, 0, 0, 0, 0, 0)))
        for member in context.store.all(Member)
        if member.opened_day <= day
    ]


def days_between(first: date, last: date) -> list[str]:
    """Every day from first to last."""
    return [day_text(date.fromordinal(number)) for number in range(first.toordinal(), last.toordinal() + 1)]


def _now(context: Context, sub_acct_no: str, day: str) -> DayEnd:
    one = context.books.sub_account(sub_acct_no)
    return DayEnd(
        sub_acct_no=sub_acct_no,
        day=day,
        available_fen=one.available_fen,
        withdrawable_fen=one.withdrawable,
        frozen_fen=one.frozen_fen,
        escrow_fen=one.escrow_fen,
        waiting_fen=sum(one.waiting.values()),
        credited_fen=one.waiting.get(day, 0),
    )


def _amounts(one: DayEnd) -> tuple[int, int, int, int, int, int]:
    return (
        one.available_fen,
        one.withdrawable_fen,
        one.frozen_fen,
        one.escrow_fen,
        one.waiting_fen,
        one.credited_fen,
    )

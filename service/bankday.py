"""The bank's calendar: its day is a date in Asia/Shanghai, whatever the time zone of the machine.

The bank books by its own clock, and that alone decides a booking's day. This machine's clock stands in where the bank
has not spoken yet. Around midnight the two may be a day apart: whoever must not go wrong by that asks for `days_now` or
`days_around`, and lets the bank decide between them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from bankclient import BANK_ZONE, wall_clock

CLOCKS_APART: Final = timedelta(minutes=20)
"""How far two clocks may be apart: each ten minutes wrong."""


def bank_day_of(moment: datetime) -> date:
    """The bank's day at a moment."""
    return moment.astimezone(BANK_ZONE).date()


def bank_today() -> date:
    """Today, as the bank counts days and this machine's clock has it."""
    return bank_day_of(wall_clock())


def days_around(moment: datetime) -> tuple[date, date]:
    """The first and the last day that it may have been at the bank when another clock showed ``moment``."""
    return bank_day_of(moment - CLOCKS_APART), bank_day_of(moment + CLOCKS_APART)


def days_now() -> tuple[date, date]:
    """The first and the last day that it may be at the bank now: mostly one and the same."""
    return days_around(wall_clock())

"""The bank's clock: real time in Asia/Shanghai, moved forward by whole days on command.

It never goes back: booking days order lots and clearings. The days it was moved by are kept by
whoever owns the clock (the bank stores them as a mark).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

# China keeps one time without summer time, so no time zone database is needed.
SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")


def day_text(day: date) -> str:
    """A bank day as the wire writes it, yyyyMMdd."""
    return day.strftime("%Y%m%d")


def day_of(text: str) -> date:
    """The bank day written yyyyMMdd; ValueError for anything else."""
    if len(text) != 8 or not text.isascii() or not text.isdigit():
        raise ValueError(f"not a day in the form yyyyMMdd: {text!r}")
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


class BankClock:
    """What time it is at the bank."""

    def __init__(self, real: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._real = real
        self.moved_days = 0

    def now(self) -> datetime:
        """The bank's local time."""
        return self._real().astimezone(SHANGHAI) + timedelta(days=self.moved_days)

    def today(self) -> date:
        """The bank day."""
        return self.now().date()

    def days_to(self, day: date) -> int:
        """How many days forward `day` is; negative when it is past."""
        return (day - self.today()).days

"""The bank's calendar: its day is a date in Asia/Shanghai, whatever the machine's clock is set to."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

BANK_ZONE = ZoneInfo("Asia/Shanghai")


def bank_today() -> date:
    """Today, as the bank counts days."""
    return datetime.now(BANK_ZONE).date()

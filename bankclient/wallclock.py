"""What time of day it is by this machine, read here and nowhere else in the product.

No two machines agree on it, so it decides little: what the bank is told of when a request was made, whether a
certificate is in date, what people are shown, and which day it is at the bank where neither the bank nor PostgreSQL
says so (docs/guarantees.md, Clocks). What PostgreSQL wrote down, PostgreSQL judges; how long something takes within
this process is for `time.monotonic`.
"""

import time
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

BANK_ZONE: Final = ZoneInfo("Asia/Shanghai")


def wall_clock() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def wall_clock_ns() -> int:
    """The same in nanoseconds since 1970, as metrics carry it."""
    return time.time_ns()

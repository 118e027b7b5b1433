"""Until when the caller of the present request waits, known wherever that request is worked on.

A time of `time.monotonic`, which is also the clock of the ledger's writer.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from service import problems

_not_after_s: ContextVar[float | None] = ContextVar("not_after_s", default=None)


def begin(remaining_s: float | None) -> None:
    """A request has come whose caller waits so much longer; None for one that waits without end."""
    _not_after_s.set(None if remaining_s is None else time.monotonic() + remaining_s)


def not_after_s() -> float | None:
    """When the present caller is gone, by `time.monotonic`."""
    return _not_after_s.get()


def require() -> None:
    """Raises `Problem` when the present caller is gone already."""
    ends_s = _not_after_s.get()
    if ends_s is not None and time.monotonic() > ends_s:
        raise problems.deadline_passed()

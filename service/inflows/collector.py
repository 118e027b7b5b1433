"""The one loop of what goes on by itself in the background: the bank is asked what it did, statements are made. And the
one way through the pages of what is entered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol, TypeVar

from opentelemetry.trace import INVALID_SPAN

from bankclient import wall_clock
from service import telemetry
from service.bankday import days_now
from service.telemetry import events

PAGE: Final = 200

_whole_at_s: dict[str, float] = {}
"""When each collection was last whole, by the monotonic clock."""

_failing: dict[str, Failing] = {}

Work = Callable[[], Awaitable[bool | None]]


@dataclass(frozen=True, slots=True)
class Failing:
    """A collection whose last try failed, since the first that did."""

    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Unentered:
    """What the bank did by itself on a day and could not be entered, as the last whole collection found it."""

    collection: str
    bank_day: date
    bank_serial: str
    amount_fen: int
    reason: str


class Page(Protocol):
    """What was collected at once: how much of it is new, and what to go on behind, empty on the last page."""

    entered: int
    next: str


P = TypeVar("P", bound=Page)


@asynccontextmanager
async def collecting(name: str, work: Work, every_s: float | None, *, is_traced: bool = True) -> AsyncIterator[None]:
    """Do ``work`` for the life of the block, ``every_s`` after it has ended, until it says True; never without a time.

    An error is logged, and the work goes on. Work of every second asks for no trace: it would bury all others.
    """
    if every_s is None:
        yield
        return
    _whole_at_s[name] = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(_collect(name, work, every_s, is_traced), name=name)
        try:
            yield
        finally:
            loop.cancel()
            _whole_at_s.pop(name, None)
            _failing.pop(name, None)


def ages_s() -> dict[str, float]:
    """How long ago each collection that goes on in this process was last whole, or begun, in seconds."""
    now_s = time.monotonic()
    return {name: now_s - whole_at_s for name, whole_at_s in list(_whole_at_s.items())}


def failing() -> dict[str, Failing]:
    """The collections of this process that fail."""
    return dict(_failing)


async def _collect(name: str, work: Work, every_s: float, is_traced: bool) -> None:
    while True:
        with telemetry.root(f"collect {name}") if is_traced else nullcontext(INVALID_SPAN) as span:
            try:
                if await work():
                    _whole_at_s.pop(name, None)
                    _failing.pop(name, None)
                    return
                _whole_at_s[name] = time.monotonic()
                _failing.pop(name, None)
            except Exception as error:
                _failing[name] = Failing(_failing[name].since if name in _failing else wall_clock(), events.why(error))
                telemetry.note(span, error)
                events.NOT_COLLECTED.log_failure(error, what=name)
        await asyncio.sleep(every_s)


async def collect_all(
    collect: Callable[[date, date, str, int], Awaitable[P]],
    first: date,
    last: date,
    see: Callable[[P], None] | None = None,
) -> int:
    """Enter everything of these days, page by page, each of which ``see`` gets; how much was new. Raises `Problem`."""
    entered, after = 0, ""
    while True:
        page = await collect(first, last, after, PAGE)
        entered += page.entered
        if see is not None:
            see(page)
        after = page.next
        if not after:
            return entered


def last_days(days: int) -> tuple[date, date]:
    """The first and the last of as many days before today, today included, by whichever clock."""
    earliest, latest = days_now()
    return earliest - timedelta(days=days), latest

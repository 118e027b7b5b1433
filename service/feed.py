"""The one reader of a process's events, and those who follow them.

Each event is read once, with its operation as a whole, and given to every watch that wants it, however many there are;
nobody's watch asks the database. The reader looks as soon as a batch of this process is committed, and every `POLL_S`
for those of other processes, while anybody watches. Whoever comes with an old cursor first reads pages of its own, a
few readers at a time, on connections that nothing else needs, and then joins without a gap.

A watch keeps a bounded number of events for its reader. One that falls further behind is ended with the reason, as are
all when the process stops: the cursor of the last event that was handled goes on at any process.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from jzb.v1.names import ErrorReason
from ledger import LAST, Event, Events, LedgerError, LedgerUnavailable, Wanted
from service import problems
from service.settings import WatchSettings
from service.telemetry import events

POLL_S = 0.2
"""How often the commits of other processes are looked for."""

GATHER_S = 0.02
"""From one look to the next at least: under load one statement reads the events of many commits."""

PAGE = 500
"""Events in one statement."""

CATCHING_UP = 2
"""So many watches may read pages of their own at once."""

CONNECTIONS = 1 + CATCHING_UP

OFFERS = 1000
"""After so many events given to watches it is somebody else's turn in this process."""

ALL = ("", "")
"""Where watches are kept that want operations of any name."""


class Watch:
    """One reader's place: what it wants of the events behind ``position``, as they come."""

    def __init__(self, feed: Feed, wanted: Wanted, lag_max: int) -> None:
        self.wanted = wanted
        self.key = next(iter(wanted.names()), ALL)
        self._feed = feed
        self._lag_max = lag_max
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._why: Exception | None = None

    @property
    def position(self) -> int:
        """When nothing waits: up to here all that was wanted has been returned by `next`."""
        return self._feed.position

    def offer(self, event: Event) -> None:
        """Keep an event for the reader, unless it is too far behind: then the watch is over."""
        if self._why is not None:
            return
        if len(self._waiting) >= self._lag_max:
            self.end(problems.watch_too_slow(self._lag_max))
            return
        self._waiting.append(event)
        self._arrived.set()

    def end(self, why: Exception) -> None:
        """Nothing more comes, and what waits is given up."""
        self._why = self._why or why
        self._waiting.clear()
        self._arrived.set()

    async def next(self, within_s: float) -> Event | None:
        """The next event, None if none comes in that time. Raises why the watch was ended."""
        if not self._waiting and self._why is None:
            try:
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
            except TimeoutError:
                # It may have come between the time-out and now.
                if not self._waiting and self._why is None:
                    return None
        if self._why is not None:
            raise self._why
        event = self._waiting.popleft()
        if not self._waiting:
            self._arrived.clear()
        return event


class Feed:
    """One instance a process. ``end`` reads the number of the newest event."""

    def __init__(self, events: Events, end: Callable[[], Awaitable[int]], settings: WatchSettings) -> None:
        self.position = 0
        """Up to here every watch has been given what it wants."""
        self._events = events
        self._end = end
        self._settings = settings
        self._watches: dict[tuple[str, str], dict[Watch, None]] = {}
        self._joining: list[tuple[Watch, asyncio.Future[None]]] = []
        self._news = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._is_closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Feed]:
        """Read for the life of the block."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._run(), name="feed")
            try:
                yield self
            finally:
                self.close()
                reading.cancel()

    def wake(self) -> None:
        """Something was committed here."""
        if self._watches:
            self._news.set()

    def close(self) -> None:
        """End all watches with SERVICE_STOPPING, and begin none."""
        self._is_closed = True
        self._end_all(problems.stopping)

    @asynccontextmanager
    async def watching(self, wanted: Wanted) -> AsyncIterator[Watch]:
        """A place behind all that was committed before. Raises `Problem`, `LedgerUnavailable`."""
        self._require_open()
        watch = Watch(self, wanted, self._settings.lag_max)
        joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._joining.append((watch, joined))
        self._news.set()
        try:
            await joined
            yield watch
        finally:
            others = self._watches.get(watch.key, {})
            others.pop(watch, None)
            if not others:
                self._watches.pop(watch.key, None)

    async def follow(self, wanted: Wanted, after: int | None) -> AsyncGenerator[tuple[int, Event | None], None]:
        """What is wanted of the events behind ``after``, None for now, each once with its cursor, as they come.

        A cursor alone comes first, and again whenever there was nothing else for ``heartbeat_s``: from each the
        stream can be taken up again. Raises `Problem`, `LedgerUnavailable`.
        """
        cursor = after
        if cursor is not None:
            await self._require_known(cursor)
            yield cursor, None
            # Most is read before the place is taken, so that little waits there meanwhile.
            async for seq, event in self._pages(wanted, cursor, LAST):
                cursor = seq
                yield seq, event
        async with self.watching(wanted) as watch:
            joined_at = watch.position
            if cursor is not None:
                async for seq, event in self._pages(wanted, cursor, joined_at):
                    cursor = seq
                    yield seq, event
            if cursor != joined_at:
                yield joined_at, None
            while True:
                event = await watch.next(self._settings.heartbeat_s)
                yield watch.position if event is None else event.seq, event

    async def _pages(self, wanted: Wanted, cursor: int, upto: int) -> AsyncIterator[tuple[int, Event | None]]:
        """What is wanted behind the cursor, up to an event or the end as it was when it was read; last where it is."""
        told, told_s = cursor, time.monotonic()
        is_full = True
        while is_full and cursor < upto:
            self._require_open()
            async with self._catching_up:
                page = await self._events.after(cursor, PAGE, wanted, upto=upto)
            for event in page.events:
                yield event.seq, event
                told, told_s = event.seq, time.monotonic()
            cursor, is_full = page.end, page.is_full
            if told != cursor and (not is_full or time.monotonic() - told_s > self._settings.heartbeat_s):
                yield cursor, None
                told, told_s = cursor, time.monotonic()

    async def _require_known(self, cursor: int) -> None:
        """Behind a cursor that the books have not come to, events would be missed until they do."""
        if cursor > self.position and cursor > await self._end():
            raise problems.invalid("cursor", "is ahead of the books", ErrorReason.PAGE_TOKEN_INVALID)

    def _require_open(self) -> None:
        if self._is_closed:
            raise problems.stopping()

    async def _run(self) -> None:
        while True:
            joining: list[tuple[Watch, asyncio.Future[None]]] = []
            try:
                await self._something_to_do()
                joining, self._joining = self._joining, []
                await self._read_on()
                self._let_in(joining)
            except asyncio.CancelledError:
                raise
            except Exception as failure:
                if not isinstance(failure, LedgerError):
                    events.UNFORESEEN.log(what="feed")
                self._joining += joining
                self._end_all(partial(LedgerUnavailable, str(failure)))
            await asyncio.sleep(GATHER_S)

    async def _something_to_do(self) -> None:
        try:
            async with asyncio.timeout(POLL_S if self._watches else None):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _read_on(self) -> None:
        """Give out what was committed since the last time. Without watches there was none."""
        if not self._watches:
            self.position = await self._end()
            return
        offers = 0
        while True:
            page = await self._events.after(self.position, PAGE)
            for event in page.events:
                offers += self._give(event)
                if offers >= OFFERS:
                    offers = 0
                    await asyncio.sleep(0)
            if not page.is_full:
                return

    def _give(self, event: Event) -> int:
        """Offer an event to whoever wants it; returns to how many."""
        offers = 0
        names = event.names()
        for key in (ALL, *names):
            for watch in self._watches.get(key, ()):
                if watch.wanted.takes(event, names):
                    watch.offer(event)
                    offers += 1
        self.position = event.seq
        return offers

    def _let_in(self, joining: list[tuple[Watch, asyncio.Future[None]]]) -> None:
        for watch, joined in joining:
            if joined.done():
                continue
            if self._is_closed:
                joined.set_exception(problems.stopping())
                continue
            self._watches.setdefault(watch.key, {})[watch] = None
            joined.set_result(None)

    def _end_all(self, why: Callable[[], Exception]) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.end(why())
        joining, self._joining = self._joining, []
        for _, joined in joining:
            if not joined.done():
                joined.set_exception(why())

"""Many callers' look-ups in one query: what arrives while one is under way shares the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sized
from typing import Generic, TypeVar

COMPANY = 1.25
"""From so many callers a query on, on the average of the last `MEMORY`, more are on their way."""

MEMORY = 8

CROWD = 32
"""So many callers wait for nobody: a query for more costs hardly less for each."""

REST = 1.0
REST_MAX_S = 0.02
"""How long a query in company waits for one caller more, in durations of the last one, and at most for all of them."""

K = TypeVar("K")
V = TypeVar("V")


class Coalesced(Generic[K, V]):
    """Looks keys up with ``fetch``, one query at a time.

    A query begins after each of its callers has asked, so that everybody reads his own writes. A lone caller waits for
    nobody. Where queries had company the next waits for as long as callers keep coming, until they are a `CROWD`, for
    `REST_MAX_S` at most: a query costs nearly the same for one key and for ten. A failure is told to all who share it.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: list[tuple[Collection[K], asyncio.Future[dict[K, V]]]] = []
        self._running: asyncio.Task[None] | None = None
        self._took_s = 0.0
        self._callers = 1.0

    async def get(self, keys: Collection[K]) -> dict[K, V]:
        """The values of those keys that have one. Raises what ``fetch`` raises."""
        answer: asyncio.Future[dict[K, V]] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="coalesced reads")
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._callers >= COMPANY:
                    await gathering(self._waiting, CROWD, pause_s=REST * self._took_s, at_most_s=REST_MAX_S)
                batch, self._waiting = self._waiting, []
                began_s = time.monotonic()
                try:
                    found = await self._fetch({key for keys, _ in batch for key in keys})
                except Exception as failure:
                    for _, answer in batch:
                        if not answer.done():
                            answer.set_exception(failure)
                else:
                    for keys, answer in batch:
                        if not answer.done():
                            answer.set_result({key: found[key] for key in keys if key in found})
                self._took_s = time.monotonic() - began_s
                self._callers += (len(batch) - self._callers) / MEMORY
        finally:
            self._running = None


async def gathering(waiting: Sized, crowd: int, *, pause_s: float, at_most_s: float, more_than: int = 0) -> None:
    """Return when nobody joins those ``waiting`` for ``pause_s``, when they are a ``crowd``, or after ``at_most_s``.

    At once when they are no more than ``more_than``.
    """
    ends_s, before = time.monotonic() + at_most_s, more_than
    while before < len(waiting) < crowd and time.monotonic() < ends_s:
        before = len(waiting)
        await asyncio.sleep(min(pause_s, ends_s - time.monotonic()))

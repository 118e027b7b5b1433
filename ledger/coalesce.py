"""Many callers' look-ups in one query: what arrives while one is under way shares the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

REST = 15
"""So that under load a sixteenth of the time goes into a kind of look-up at most."""

REST_MAX_S = 0.01
"""More would keep callers waiting for nothing, as after a query that was slow."""

K = TypeVar("K")
V = TypeVar("V")


class Coalesced(Generic[K, V]):
    """Looks keys up with ``fetch``, one query at a time.

    A query begins after each of its callers has asked, so that everybody reads his own writes. A lone caller waits for
    nobody. When others wait already as a query ends, the next begins only after a rest, `REST` times as long as the
    last one took and `REST_MAX_S` at most: in that time the server takes more requests in, one by one, and they share
    the query. A failure is told to all who share it.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: list[tuple[Collection[K], asyncio.Future[dict[K, V]]]] = []
        self._running: asyncio.Task[None] | None = None

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
                if self._waiting:
                    await asyncio.sleep(min(REST * (time.monotonic() - began_s), REST_MAX_S))
        finally:
            self._running = None

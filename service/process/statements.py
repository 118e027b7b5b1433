"""Makes statements in the background (`ledger.entries`), so that a reader finds them made but for the last second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger import Entries
from service.telemetry import events


@asynccontextmanager
async def making(entries: Entries, every_s: float) -> AsyncIterator[None]:
    """Go on with the statements for the life of the block, ``every_s`` after the last time; a failure is logged."""
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(_make(entries, every_s), name="statements")
        try:
            yield
        finally:
            loop.cancel()


async def _make(entries: Entries, every_s: float) -> None:
    while True:
        try:
            await entries.fill()
        except Exception as failure:
            # Whatever it is, payments go on without it, and a reader makes what he reads.
            events.STATEMENTS_NOT_MADE.log(why=events.why(failure))
        await asyncio.sleep(every_s)

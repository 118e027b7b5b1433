"""Writes to the log where the chain of seals ends: a log that is kept elsewhere is then a place for its digest that who
has the database cannot reach (docs/seals.md). Promises to stop nothing, whatever becomes of a note.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger import Reads
from service.telemetry import events

EVERY_S = 3600.0
AGAIN_S = 60.0
"""After a note that could not be made."""
PATIENCE_S = 1.0
"""A note that takes longer is left out: at the end of a process it must not keep it."""


class Anchor:
    """When this process last noted a digest, or found none to note; its start until then."""

    def __init__(self) -> None:
        self._noted_at_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._noted_at_s

    def note(self) -> None:
        """It was now."""
        self._noted_at_s = time.monotonic()


@asynccontextmanager
async def anchored(reads: Reads) -> AsyncIterator[Anchor]:
    """Note the last digest now, every hour for the life of the block, and at its end."""
    anchor = Anchor()
    async with asyncio.TaskGroup() as tasks:
        noting = tasks.create_task(_run(reads, anchor), name="anchor")
        try:
            yield anchor
        finally:
            noting.cancel()
            await _note(reads, anchor)


async def _run(reads: Reads, anchor: Anchor) -> None:
    while True:
        is_noted = await _note(reads, anchor)
        await asyncio.sleep(EVERY_S if is_noted else AGAIN_S)


async def _note(reads: Reads, anchor: Anchor) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            seal = await reads.last_seal()
    except Exception as failure:
        events.SEAL_NOT_READ.log(why=type(failure).__name__)
        return False
    if seal is not None:
        events.SEALED.log(batch=seal.batch, at=seal.at.isoformat(), digest=seal.digest.hex())
    anchor.note()
    return True

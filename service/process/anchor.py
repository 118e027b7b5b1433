"""Writes to the log where the chain of seals ends: a log that is kept elsewhere is then a place for its digest that who
has the database cannot reach (docs/seals.md). Promises to stop nothing, whatever becomes of a note.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from ledger import Reads

log = structlog.get_logger("jzb.anchor")

EVERY_S = 3600.0
PATIENCE_S = 1.0
"""A note that takes longer is left out: at the end of a process it must not keep it."""


@asynccontextmanager
async def anchored(reads: Reads) -> AsyncIterator[None]:
    """Note the last digest now, every hour for the life of the block, and at its end."""
    async with asyncio.TaskGroup() as tasks:
        noting = tasks.create_task(_run(reads), name="anchor")
        try:
            yield
        finally:
            noting.cancel()
            await _note(reads)


async def _run(reads: Reads) -> None:
    while True:
        await _note(reads)
        await asyncio.sleep(EVERY_S)


async def _note(reads: Reads) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            seal = await reads.last_seal()
    except Exception as failure:
        log.warning("the last seal could not be read", why=type(failure).__name__)
        return
    if seal is not None:
        log.info("sealed", batch=seal.batch, at=seal.at.isoformat(), digest=seal.digest.hex())

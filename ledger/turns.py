"""Turns of processes at what one of them does at a time for a platform: an advisory lock on a connection of its own.

A process that dies, or loses its connection, gives its turn back at once; there is no time to wait for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from ledger import session
from ledger.errors import LedgerUnavailable


@asynccontextmanager
async def turn(dsn: str, platform: str, name: str) -> AsyncIterator[bool]:
    """Whether this process has its turn at ``name`` for the life of the block: False where another one has it.

    Raises `LedgerUnavailable`.
    """
    try:
        connection = await session.opened(dsn)
        try:
            found = await connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [f"{name} {platform}"]
            )
            ((is_mine,),) = await found.fetchall()
        except BaseException:
            await connection.close()
            raise
    except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None
    try:
        yield is_mine
    finally:
        await connection.close()

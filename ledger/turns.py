"""Turns of processes at what one of them does at a time for a platform: an advisory lock on a connection of its own.

A process that dies, or loses its connection, gives its turn back at once; there is no time to wait for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from ledger import session
from ledger.errors import LedgerUnavailable


@asynccontextmanager
async def turn(dsn: str, platform: str, name: str, *, wait_s: float = 0.0) -> AsyncIterator[bool]:
    """Whether this process has its turn at ``name`` for the life of the block: False where another one has it, after
    ``wait_s`` still.

    Raises `LedgerUnavailable`.
    """
    try:
        connection = await session.opened(dsn)
        try:
            is_mine = await _taken(connection, f"{name} {platform}", wait_s)
        except BaseException:
            await connection.close()
            raise
    except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None
    try:
        yield is_mine
    finally:
        await connection.close()


async def _taken(connection: psycopg.AsyncConnection[Any], key: str, wait_s: float) -> bool:
    if wait_s <= 0:
        found = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key])
        ((is_mine,),) = await found.fetchall()
        return bool(is_mine)
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{wait_s * 1000:.0f}ms"])
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
    except psycopg.errors.LockNotAvailable:
        return False
    return True

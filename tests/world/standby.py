"""A primary PostgreSQL and its synchronous standby."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from embedded import EmbeddedPostgres, PostgresNotStarted, find_programs, let_service_in
from ledger import migrate
from ledger.roles import SERVICE

STANDBY = "jzb_standby"


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary and its synchronous standby, made as docs/scaling.md says."""
    try:
        copy = find_programs().folder / "pg_basebackup"
    except PostgresNotStarted as missing:
        pytest.skip(f"failover needs PostgreSQL's server programs: {missing}")
    if not copy.exists():
        pytest.skip(f"failover needs pg_basebackup, and {copy} is not there: install PostgreSQL's server programs")
    async with EmbeddedPostgres(folder / "primary") as primary:
        migrate(primary.dsn)
        let_service_in(primary.dsn)
        # What an operator grants to see how far standbys are behind (docs/operations/security.md).
        await execute(primary.dsn, f"GRANT pg_read_all_stats TO {SERVICE}")
        (folder / "standby").mkdir(mode=0o700)
        cluster = folder / "standby" / "cluster"
        where = urlsplit(primary.dsn)
        conninfo = f"host={where.hostname} port={where.port} user={where.username} application_name={STANDBY}"
        command = [
            str(copy),
            "--pgdata",
            str(cluster),
            "--dbname",
            conninfo,
            "--checkpoint=fast",
            "--write-recovery-conf",
        ]
        environment = {**os.environ, "PGPASSWORD": str(where.password)}
        await asyncio.to_thread(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))
        (folder / "standby" / "password").write_text(str(where.password))
        async with EmbeddedPostgres(folder / "standby") as standby:
            # Only now: before there is a standby no commit would end. And not in the copy, which will have none.
            await execute(primary.dsn, f"ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ({STANDBY})'")
            await execute(primary.dsn, "SELECT pg_reload_conf()")
            await until_synchronous(primary.dsn)
            yield primary, standby


async def execute(dsn: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def until_synchronous(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, asyncio.timeout(30.0):
        while True:
            found = await connection.execute("SELECT sync_state FROM pg_stat_replication")
            if await found.fetchall() == [("sync",)]:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def detached(standby_dsn: str) -> AsyncIterator[None]:
    """The standby without its primary, for the life of the block."""
    async with await psycopg.AsyncConnection.connect(standby_dsn, autocommit=True) as connection:
        row = await (await connection.execute("SHOW primary_conninfo")).fetchone()
        assert row is not None

        async def follow(primary: str) -> None:
            await connection.execute(sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(sql.Literal(primary)))
            await connection.execute("SELECT pg_reload_conf()")

        await follow("")
        try:
            yield
        finally:
            await follow(row[0])

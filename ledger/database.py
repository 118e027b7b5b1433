"""Where the mirror lives: its schema and revision, and the engine and pool that read it.

Connections come from `ledger.session` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Connection, Double, Engine, cast, create_engine, func, text
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from ledger import roles, session, vouching
from ledger.errors import LedgerUnavailable, LedgerUnfit
from ledger.macs import SealKeys
from ledger.session import Pool

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A7A62
MACS = "0013"
"""The revision that brings MACs."""
PROOFS = "0022"
"""The revision from which on members have MACs, and answers are proved."""


_waiting: WeakKeyDictionary[AsyncEngine, int] = WeakKeyDictionary()
"""How many queries wait for a connection of an engine: its pool does not count them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Connections that are idle and that somebody uses, and how many callers wait for one."""

    idle: int
    used: int
    waiting: int


DIALECT = "postgresql+psycopg://"
"""All that SQLAlchemy is told of where the database is: the session module connects."""


@cache
def _revisions() -> tuple[str, ...]:
    """What the migrations make of a database, the newest first. The name of each migration's file begins with its
    revision: so whoever only looks does not load Alembic.
    """
    names = (path.name for path in (MIGRATIONS / "versions").glob("*_*.py"))
    return tuple(sorted((name.partition("_")[0] for name in names), reverse=True))


def newest_revision() -> str:
    """The revision of the schema that this program works with."""
    return _revisions()[0]


def _engine(dsn: str) -> Engine:
    """For migrations: each connection is one of its own, in a transaction."""
    return create_engine(
        DIALECT,
        creator=lambda: session.opened_blocking(dsn, autocommit=False),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _revision(connection: Connection) -> str | None:
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations up to ``revision`` on a connection."""
    # Loaded here: nobody but who migrates needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _passed(revision: str, before: str, after: str | None) -> bool:
    """Whether a migration has made ``revision`` on its way."""
    newest_first = _revisions()
    return after is not None and newest_first.index(after) <= newest_first.index(revision) < newest_first.index(before)


def _differs(found: str | None) -> LedgerUnfit:
    known = _revisions()
    if found is None:
        return LedgerUnfit(f"the database has no schema yet, this program needs revision {known[0]}: run `jzb migrate`")
    if found in known:
        return LedgerUnfit(
            f"the database's schema is at revision {found}, this program needs {known[0]}: run `jzb migrate`"
        )
    return LedgerUnfit(
        f"the database's schema is at revision {found}, this program knows them up to {known[0]}: use the release that"
        " migrated it, or a later one"
    )


def migrate(dsn: str, revision: str = "head", keys: Sequence[bytes] = ()) -> list[str]:
    """Bring the database up to ``revision``; several processes may call it at once, one does the work.

    The first of the seals' ``keys`` vouches for what is open in books from before there were MACs. Once up to date, the
    tables get the rights of `ledger.roles`; returns what somebody who may make roles has to run before that. Raises
    `LedgerUnavailable`, and `LedgerUnfit` for a database that this program cannot keep books in.
    """
    engine = _engine(dsn)
    try:
        session.require_writable(dsn)
        with engine.connect() as guard:
            guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            with engine.connect() as connection:
                found = _revision(connection)
                if found not in (None, *_revisions()):
                    raise _differs(found)
                _upgrade(connection, revision)
                reached = _revision(connection)
                driver = connection.connection.driver_connection
                assert isinstance(driver, psycopg.Connection)
                if found is not None and keys and _passed(MACS, found, reached):
                    for platform in vouching.platforms(driver):
                        vouching.migrated(driver, SealKeys(platform, keys))
                if found is not None and keys and _passed(PROOFS, found, reached):
                    for platform in vouching.platforms(driver):
                        vouching.proved(driver, SealKeys(platform, keys))
                lacking = roles.settle(driver) if reached == newest_revision() else []
                connection.commit()
                return lacking
    except OperationalError as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure.orig}") from None
    finally:
        engine.dispose()


@contextmanager
def migrated_to(dsn: str, revision: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty database on which the migrations up to ``revision`` have run, in a transaction that is
    committed at the end of the block. Raises `LedgerUnfit` for a revision that this program does not know.
    """
    if revision not in _revisions():
        raise _differs(revision)
    engine = _engine(dsn)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            _upgrade(connection, revision)
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            yield driver
            connection.commit()
    finally:
        engine.dispose()


def sessions_beside(dsn: str) -> int:
    """How many sessions use the database beside the one that asks, such as those of a service. Raises
    `LedgerUnavailable`.
    """
    try:
        with session.opened_blocking(dsn) as connection:
            ((count,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            return int(count)
    except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None


async def require_current(engine: AsyncEngine) -> None:
    """Refuse a schema that is not the one this program works with.

    Raises `LedgerUnfit`, which names both revisions, and `LedgerUnavailable`.
    """
    async with reading(engine) as connection:
        found = await connection.run_sync(_revision)
    if found != newest_revision():
        raise _differs(found)


async def require_ready(engine: AsyncEngine, dsn: str) -> list[str]:
    """Refuse a database that no service may book in; returns what weakens its promises, a sentence each.

    Raises `LedgerUnfit`, which names what stands in the way, and `LedgerUnavailable`.
    """
    await require_current(engine)
    return await asyncio.to_thread(session.require_writable, dsn)


def open_pool(dsn: str, size: int = 2) -> Pool:
    """Connections for look-ups, to be opened as a context manager; a caller waits 5 seconds for one at most."""
    return AsyncConnectionPool(
        session.conninfo(dsn),
        min_size=1,
        max_size=size,
        timeout=5,
        open=False,
        configure=session.pin,
        kwargs={"autocommit": True, "prepare_threshold": 0},
    )


def connect(dsn: str, pool_size: int = 8) -> AsyncEngine:
    """An engine for reads; at most ``pool_size`` connections, a caller waits 5 seconds for one at most."""

    async def opened() -> psycopg.AsyncConnection[Any]:
        return await session.opened(dsn)

    return create_async_engine(
        DIALECT,
        async_creator=opened,
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # An error's text goes into logs and spans; what a statement is run with may be a person's.
        hide_parameters=True,
    )


def usage_of_engine(engine: AsyncEngine) -> Usage:
    """How the connections of `connect` are used now. May be called from any thread."""
    pool = engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)
    return Usage(idle=pool.checkedin(), used=pool.checkedout(), waiting=_waiting.get(engine, 0))


def usage_of_pool(pool: Pool) -> Usage:
    """How the connections of `open_pool` are used now. May be called from any thread."""
    found = pool.get_stats()
    idle = found["pool_available"]
    return Usage(idle=idle, used=found["pool_size"] - idle, waiting=found["requests_waiting"])


@contextmanager
def _counted(engine: AsyncEngine) -> Iterator[None]:
    _waiting[engine] = _waiting.get(engine, 0) + 1
    try:
        yield
    finally:
        _waiting[engine] -= 1


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a query.

    Raises `LedgerUnavailable` when PostgreSQL is away, all connections are taken, or the tables are older.
    """
    try:
        async with AsyncExitStack() as stack:
            with _counted(engine):
                connection = await stack.enter_async_context(engine.connect())
            yield connection
    except ProgrammingError as failure:
        if isinstance(failure.orig, (UndefinedTable, UndefinedColumn)):
            raise LedgerUnfit("the database is not up to date: jzb migrate brings it there") from None
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as failure:
        raise LedgerUnavailable(str(getattr(failure, "orig", failure))) from None


def seconds(interval: Any) -> Any:
    """An interval of SQL in seconds: how times that the database wrote are compared with its present, there."""
    return cast(func.extract("epoch", interval), Double)

"""Where the mirror lives: connections, migrations, and the sequence that numbers requests to the bank."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.errors import LedgerUnavailable

if TYPE_CHECKING:
    from ledger.lookups import Pool

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A7A62


ALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A network or a server that swallows everything is noticed within seconds, not hours."""


def alive(dsn: str) -> str:
    """The DSN with `ALIVE` for what it leaves open. Raises `LedgerUnavailable` for one that cannot be read."""
    return make_conninfo("", **{**ALIVE, **_read(dsn)})


def _read(dsn: str) -> dict[str, Any]:
    """Read by libpq's own rules, which know several hosts: the service goes on with the one that takes writes."""
    try:
        return conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise LedgerUnavailable(
            "DATABASE_URL is no address of a PostgreSQL: postgresql://user:password@host/database"
        ) from None


def _url(dsn: str) -> URL:
    given = {**ALIVE, **_read(dsn)}
    user, password, database = (given.pop(name, None) for name in ("user", "password", "dbname"))
    query = {name: str(value) for name, value in given.items()}
    return URL.create("postgresql+psycopg", _text(user), _text(password), database=_text(database), query=query)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def migrate(dsn: str, revision: str = "head") -> None:
    """Bring the database up to ``revision``; several processes may call it at once, one does the work.

    Raises `LedgerUnavailable`.
    """
    engine = create_engine(_url(dsn), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.connect() as guard:
            guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
                connection.commit()
    except OperationalError as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure.orig}") from None
    finally:
        engine.dispose()


def open_pool(dsn: str, size: int = 2) -> Pool:
    """Connections for look-ups, to be opened as a context manager; a caller waits 5 seconds for one at most."""
    return AsyncConnectionPool(
        alive(dsn),
        min_size=1,
        max_size=size,
        timeout=5,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0},
    )


def connect(dsn: str, pool_size: int = 8) -> AsyncEngine:
    """An engine for reads; at most ``pool_size`` connections, a caller waits 5 seconds for one at most."""
    return create_async_engine(
        _url(dsn),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
    )


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a query.

    Raises `LedgerUnavailable` when PostgreSQL is away, all connections are taken, or the tables are older.
    """
    try:
        async with engine.connect() as connection:
            yield connection
    except ProgrammingError as failure:
        if isinstance(failure.orig, (UndefinedTable, UndefinedColumn)):
            raise LedgerUnavailable("the database is not up to date: jzb migrate brings it there") from None
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as failure:
        raise LedgerUnavailable(str(getattr(failure, "orig", failure))) from None

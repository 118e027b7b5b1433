"""Where the mirror lives: connections, migrations, and the sequence that numbers requests to the bank."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.errors import LedgerUnavailable
from ledger.lookups import Pool

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6A7A62


def _url(dsn: str) -> str:
    try:
        url = make_url(dsn)
    except ArgumentError:
        raise LedgerUnavailable(
            "DATABASE_URL is no address of a PostgreSQL: postgresql://user:password@host/database"
        ) from None
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


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
        dsn,
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

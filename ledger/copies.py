"""Copies of the books: made while payments go on, restored into an empty database.

A copy holds rows (`ledger.copyfile`), never statements: a forged one has nothing that PostgreSQL or a program runs. A
copy is older than the bank. So a restored database is marked `platform.behind_since` in the very transaction that
fills it, no writer serves it, and the numbers of serials go on far beyond those that may have been used since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import session
from ledger.copyfile import CopyFailed as CopyFailed
from ledger.copyfile import Sink, Source
from ledger.database import migrate, migrated_to, reading
from ledger.errors import LedgerBehind, LedgerUnavailable, LedgerUnfit
from ledger.proposals import END_RESTORED
from ledger.roles import COLUMNS
from ledger.schema import metadata


@dataclass(frozen=True, slots=True)
class Copied:
    """What a platform's books were when they were copied: the last batch, its time and its digest, as `jzb verify`
    prints it.
    """

    platform: str
    batches: int
    at: datetime | None
    digest: bytes


_HEADS: Final = """
SELECT p.platform, p.batches, s.at, s.digest
FROM platform p LEFT JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
ORDER BY p.platform
"""

_TABLES: Final = """
SELECT n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname IS DISTINCT FROM %s
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
ORDER BY 1
LIMIT 1
"""
"""A table outside of a schema, those of extensions apart."""

_IDENTITIES: Final = """
SELECT c.relname::text, a.attname::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""

_MARK: Final = (
    """
    SELECT setval(
      'bank_serial',
      nextval('bank_serial') + 100000000 + (extract(epoch FROM clock_timestamp()) * 10000)::bigint % 8640000000
    )
    """,
    """
    SELECT setval(seq, greatest(nextval(seq), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
    FROM (SELECT pg_get_serial_sequence('event', 'seq')::regclass AS seq) AS events
    """,
    "UPDATE due SET ask_at = now()",
    """
    UPDATE platform p
    SET behind_since = coalesce(p.behind_since, (SELECT max(at) FROM event e WHERE e.platform = p.platform), now())
    """,
)
"""What goes with the data.

Serials go on beyond what a day can have used up since the copy was made (1 % of all numbers), and one number further
each tenth of a millisecond: the same copy restored again within ten days goes on beyond what the first time used.
Events go on beyond every cursor that was given out, one for each microsecond: a watch from there misses none of what
comes now. Time has passed, so the bank is asked about everything that was open.
"""


def back_up(dsn: str, path: Path, keys: Sequence[bytes] = ()) -> list[Copied]:
    """Copy the books of ``dsn`` into the file ``path``, as of one moment, while they are in use; sealed under the first
    of the seals' ``keys``.

    Raises `CopyFailed`, also when the file is there already; `LedgerUnavailable`.
    """
    with _appearing(path) as partial:
        with _connected(dsn) as connection, partial.open("wb") as file:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = connection.execute("SELECT current_schema()").fetchone()
            if stranger := connection.execute(_TABLES, row).fetchone():
                raise CopyFailed(
                    f"the database holds {stranger[0]} beside the books in {row[0] if row else None}, and only"
                    " one platform's can be marked as behind the bank: copy it with pg_dump, or give each a database"
                )
            heads = _heads(connection)
            if not heads:
                raise CopyFailed("there are no books yet: nothing was ever written here")
            sink = Sink(file, keys)
            sink.line({"revision": _revision(connection), "serials": _serials(connection)})
            columns = _columns(connection)
            for table in metadata.sorted_tables:
                if table.name in columns:
                    sink.line({"table": table.name, "columns": columns[table.name]})
                    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT")
                    with connection.cursor().copy(query.format(*_named(table.name, columns[table.name]))) as rows:
                        sink.rows(iter(rows))
            sink.line({"end": True})
            sink.end()
        # Read once before anybody relies on it.
        with partial.open("rb") as file:
            source = Source(file, keys)
            source.line()
            _read(source, lambda *_: None)
    return heads


def require_file(path: Path) -> None:
    """Raise `CopyFailed` where there is nothing to restore."""
    if not path.is_file():
        raise CopyFailed(f"there is no file {path}")


def restore(dsn: str, path: Path, keys: Sequence[bytes] = (), *, is_trusted: bool = False) -> list[Copied]:
    """Fill the empty database of ``dsn`` from the file ``path`` and bring it up to date, marked as behind the bank.

    A copy has rows and nothing that is run: the migrations make what they go into, and its list of tables and columns
    must be the one of those. All or nothing: one transaction fills and marks. With ``keys`` the copy must be sealed
    under one of them, unless its maker ``is_trusted``. Raises `CopyFailed`, `LedgerUnavailable`, `LedgerUnfit`.
    """
    require_file(path)
    session.require_writable(dsn)
    with _connected(dsn) as connection:
        found = connection.execute(_TABLES, [None]).fetchone()
    if found is not None:
        raise CopyFailed(f"the database is not empty, it holds {found[0]}; a copy is restored into an empty one only")
    try:
        with path.open("rb") as file:
            source = Source(file, keys, is_trusted=is_trusted)
            head = source.line()
            with migrated_to(dsn, str(head["revision"])) as connection:
                _fill(connection, source, head)
    except (CopyFailed, LedgerUnfit) as failure:
        raise CopyFailed(f"{failure}; the database is left empty") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CopyFailed("this is no copy that `jzb backup` has made; the database is left empty") from None
    except psycopg.Error as failure:
        raise CopyFailed(f"PostgreSQL refused: {failure}; the database is left empty") from None
    migrate(dsn, keys=keys)
    with _connected(dsn) as connection:
        return _heads(connection)


def _fill(connection: psycopg.Connection[Any], source: Source, head: Any) -> None:
    columns = _columns(connection)
    # The copy may be of a release that had none.
    has_proposals = "proposal_due" in columns

    def fill(table: str, named: list[str], rows: Iterator[bytes]) -> None:
        if sorted(columns.pop(table, ())) != sorted(named):
            raise CopyFailed(f"the copy has a table {table!r} that the migrations do not make so")
        query = sql.SQL("COPY {1} ({0}) FROM STDIN")
        with connection.cursor().copy(query.format(*_named(table, named))) as copy:
            for block in rows:
                copy.write(block)

    _read(source, fill)
    if columns:
        raise CopyFailed(f"the copy lacks {', '.join(sorted(columns))}")
    for table, column in connection.execute(_IDENTITIES).fetchall():
        name = (sql.Identifier(column), sql.Identifier(table), sql.Literal(table), sql.Literal(column))
        query = sql.SQL("SELECT setval(pg_get_serial_sequence({2}, {3}), max({0})) FROM {1}")
        connection.execute(query.format(*name))
    connection.execute("SELECT setval('bank_serial', %s)", [int(head["serials"])])
    for statement in (*_MARK, *(END_RESTORED if has_proposals else ())):
        connection.execute(statement)


def _read(source: Source, take: Callable[[str, list[str], Iterator[bytes]], None]) -> None:
    """Read a copy from its first table to its end."""
    while "end" not in (found := source.line()):
        rows = source.rows()
        take(str(found["table"]), [str(column) for column in found["columns"]], rows)
        for _ in rows:
            pass
    source.require_end()


def _columns(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """The tables of the books with their columns, but those that PostgreSQL computes from others."""
    found = connection.execute(COLUMNS).fetchall()
    computed = {(table.name, one.name) for table in metadata.tables.values() for one in table.columns if one.computed}
    return {
        table: [one for one in columns if (table, one) not in computed]
        for table, columns in found
        if table in metadata.tables
    }


def _named(table: str, columns: Sequence[str]) -> tuple[sql.Composed, sql.Identifier]:
    return sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)


def _revision(connection: psycopg.Connection[Any]) -> str:
    ((revision,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(revision)


def _serials(connection: psycopg.Connection[Any]) -> int:
    """Beyond every number of the snapshot: a sequence is no part of it, and was read later."""
    ((last,),) = connection.execute("SELECT last_value FROM bank_serial").fetchall()
    return int(last)


def _heads(connection: psycopg.Connection[Any]) -> list[Copied]:
    return [_copied(*row) for row in connection.execute(_HEADS).fetchall()]


@contextmanager
def catching_up(dsn: str, platform: str) -> Iterator[CatchingUp]:
    """Keep other runs of the catch-up away for the life of the block; services keep away from marked books.

    Raises `LedgerBehind` when another run has the platform, `CopyFailed` when there is no such platform.
    """
    with _connected(dsn) as connection:
        connection.autocommit = True
        found = connection.execute("SELECT behind_since FROM platform WHERE platform = %s", [platform]).fetchone()
        if found is None:
            raise CopyFailed(f"the database has no books of platform {platform}")
        ((is_mine,),) = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('catch-up ' || %s, 0))", [platform]
        ).fetchall()
        if not is_mine:
            raise LedgerBehind(f"another catch-up of platform {platform} is under way")
        yield CatchingUp(connection, platform, found[0])


class CatchingUp:
    """The right to catch up, for as long as its connection lives: without it the books are not opened."""

    def __init__(self, connection: psycopg.Connection[Any], platform: str, since: datetime | None) -> None:
        self._connection = connection
        self._platform = platform
        self.since = since

    def open(self) -> None:
        """Take the mark of a restored copy away: the books of the platform are the bank's again."""
        self._connection.execute("UPDATE platform SET behind_since = NULL WHERE platform = %s", [self._platform])


async def behind_since(engine: AsyncEngine, platform: str) -> datetime | None:
    """Of what time the copy was that the books were restored from; None when they have caught up since.

    Raises `LedgerUnavailable`.
    """
    async with reading(engine) as connection:
        query = text("SELECT behind_since FROM platform WHERE platform = :platform")
        found: datetime | None = (await connection.execute(query, {"platform": platform})).scalar()
        return found


def _copied(platform: str, batches: int, at: datetime | None, digest: bytes | None) -> Copied:
    return Copied(platform, batches, at, digest or b"")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, for its owner's eyes: it becomes ``path`` at the end of the block, or it is gone."""
    if os.path.lexists(path):
        raise CopyFailed(f"{path} is there already; a copy never replaces another")
    if not path.parent.is_dir():
        raise CopyFailed(f"there is no folder {path.parent} to put the copy into: make it, or mount it, first")
    partial = path.with_name(f"{path.name}.partial")
    try:
        # Names and cards of people are in it, sealed or not.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        raise CopyFailed(f"{partial} is there: a copy is being made, or was cut short; then remove it first") from None
    try:
        yield partial
        _sync(partial)
        partial.rename(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with session.opened_blocking(dsn, autocommit=False) as connection:
            yield connection
    except (UndefinedTable, UndefinedColumn):
        raise LedgerUnfit("the database is not up to date: jzb migrate brings it there") from None
    except psycopg.OperationalError as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None
    except psycopg.Error as failure:
        raise CopyFailed(f"PostgreSQL refused: {failure}") from None

"""Copies of the database: made by pg_dump while payments go on, restored by pg_restore and psql into an empty one.

A copy is older than the bank. So a restored database is marked `platform.behind_since` in the very transaction that
fills it, no writer serves it, and the numbers of serials go on far beyond those that may have been used since.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import session
from ledger.children import child_environment
from ledger.database import migrate, reading
from ledger.errors import LedgerBehind, LedgerError, LedgerUnavailable, LedgerUnfit

OUTPUT_MAX: Final = 2_000
"""Of what a program says on standard error, in characters."""

HEADER_LINES: Final = 60
SINCE_17: Final = b"SET transaction_timeout = 0;\n"
"""pg_restore writes this into the head of its script for any server; those before PostgreSQL 17 refuse it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with programs of PostgreSQL, and their major version.

    Copies need `pg_dump`, `pg_restore` and `psql` that are as new as the server, or newer.
    """

    folder: Path
    major: int


class CopyFailed(LedgerError):
    """A copy could not be made or restored; the message says why and what is left."""


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

_MARK: Final = b"""
RESET search_path;
SELECT setval(
  'bank_serial',
  nextval('bank_serial') + 100000000 + (extract(epoch FROM clock_timestamp()) * 10000)::bigint % 8640000000
);
SELECT setval(seq, greatest(nextval(seq), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
FROM (SELECT pg_get_serial_sequence('event', 'seq')::regclass AS seq) AS events;
UPDATE due SET ask_at = now();
UPDATE platform p
SET behind_since = coalesce(p.behind_since, (SELECT max(at) FROM event e WHERE e.platform = p.platform), now());
COMMIT;
"""
"""What goes with the data.

Serials go on beyond what a day can have used up since the copy was made (1 % of all numbers), and one number further
each tenth of a millisecond: the same copy restored again within ten days goes on beyond what the first time used.
Events go on beyond every cursor that was given out, one for each microsecond: a watch from there misses none of what
comes now. Time has passed, so the bank is asked about everything that was open.
"""


def back_up(dsn: str, path: Path, programs: Programs) -> list[Copied]:
    """Copy the database of ``dsn`` into the file ``path``, as of one moment, while it is in use; ``programs`` do it.

    Raises `CopyFailed`, also when the file is there already; `LedgerUnavailable`.
    """
    with _appearing(path) as partial:
        with _connected(dsn) as connection:
            major = connection.info.server_version // 10_000
            if major > programs.major:
                raise CopyFailed(
                    f"the server is PostgreSQL {major}, the newest pg_dump here is {programs.major}: install the client"
                    f" programs of PostgreSQL {major}"
                )
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            ((schema, snapshot),) = connection.execute("SELECT current_schema(), pg_export_snapshot()").fetchall()
            if stranger := connection.execute(_TABLES, [schema]).fetchone():
                raise CopyFailed(
                    f"the database holds {stranger[0]} beside the books in {schema}, and only one platform's can be"
                    " marked as behind the bank: copy it with pg_dump, or give each platform a database"
                )
            heads = [_copied(*row) for row in connection.execute(_HEADS).fetchall()]
            if not heads:
                raise CopyFailed("there are no books yet: nothing was ever written here")
            options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
            _run(_command(programs.folder / "pg_dump", dsn, *options, f"--file={partial}"), dsn)
        # Read once before anybody relies on it.
        _run([str(programs.folder / "pg_restore"), "--file=/dev/null", str(partial)], dsn)
    return heads


def require_file(path: Path) -> None:
    """Raise `CopyFailed` where there is nothing to restore."""
    if not path.is_file():
        raise CopyFailed(f"there is no file {path}")


def restore(dsn: str, path: Path, programs: Programs) -> list[Copied]:
    """Fill the empty database of ``dsn`` from the file ``path`` and bring it up to date, marked as behind the bank.

    All or nothing: one transaction of ``programs`` restores and marks. Raises `CopyFailed`, `LedgerUnavailable`.
    """
    require_file(path)
    session.require_writable(dsn)
    with _connected(dsn) as connection:
        found = connection.execute(_TABLES, [None]).fetchone()
        major = connection.info.server_version // 10_000
    if found is not None:
        raise CopyFailed(f"the database is not empty, it holds {found[0]}; a copy is restored into an empty one only")
    _fill(dsn, path, programs.folder, major)
    migrate(dsn)
    with _connected(dsn) as connection:
        return [_copied(*row) for row in connection.execute(_HEADS).fetchall()]


def _fill(dsn: str, path: Path, folder: Path, server_major: int) -> None:
    """Have psql run what pg_restore makes of the copy. COMMIT comes last: whatever ends early leaves nothing."""
    reading = [str(folder / "pg_restore"), "--file=-", "--no-owner", "--no-privileges", str(path)]
    writing = _command(folder / "psql", dsn, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
    with (
        tempfile.TemporaryFile() as reader_output,
        tempfile.TemporaryFile() as writer_output,
        subprocess.Popen(reading, env=child_environment(), stdout=subprocess.PIPE, stderr=reader_output) as reader,
        subprocess.Popen(
            writing, env=_environment(dsn), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=writer_output
        ) as writer,
    ):
        assert reader.stdout is not None
        assert writer.stdin is not None
        try:
            writer.stdin.write(session.pinning() + b";\nBEGIN;\n")
            for line in itertools.islice(reader.stdout, HEADER_LINES):
                if line != SINCE_17 or server_major >= 17:
                    writer.stdin.write(line)
            shutil.copyfileobj(reader.stdout, writer.stdin)
            if reader.wait() == 0:
                writer.stdin.write(_MARK)
        except BrokenPipeError:
            pass
        finally:
            reader.stdout.close()
            with suppress(BrokenPipeError):
                writer.stdin.close()
        # When psql has stopped at an error, that is also why the other one ended.
        for program, process, output in (("psql", writer, writer_output), ("pg_restore", reader, reader_output)):
            if process.wait():
                raise CopyFailed(
                    f"{_complaint(program, process.returncode, _output(output))}; the database is left empty"
                )


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


def _command(program: Path, dsn: str, *arguments: str) -> list[str]:
    where = conninfo_to_dict(session.conninfo(dsn))
    where.pop("password", None)
    return [str(program), *arguments, "--dbname", make_conninfo("", **where)]


def _environment(dsn: str) -> dict[str, str]:
    """The password goes by the environment, which nobody lists, beside what psycopg reads there (PGSSLROOTCERT, …)."""
    password = conninfo_to_dict(dsn).get("password")
    return {**child_environment("PG"), **({"PGPASSWORD": str(password)} if password else {})}


def _run(command: list[str], dsn: str) -> None:
    with tempfile.TemporaryFile() as output:
        nothing = subprocess.DEVNULL
        ended = subprocess.run(
            command, env=_environment(dsn), stdin=nothing, stdout=nothing, stderr=output, check=False
        )
        if ended.returncode:
            raise CopyFailed(_complaint(Path(command[0]).name, ended.returncode, _output(output)))


def _output(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read(OUTPUT_MAX).decode(errors="replace").strip() or "nothing"


def _complaint(program: str, status: int, output: str) -> str:
    return f"{program} ended with {status} and said: {output}"

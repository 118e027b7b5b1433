"""Copies of the whole database: made by pg_dump while payments go on, restored by pg_restore into an empty one.

A copy is older than the bank. So a restored database is marked `platform.behind_since`, a service does not start on it,
and the numbers of serials go on far beyond those that may have been used since.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.database import migrate
from ledger.embedded import find_programs
from ledger.errors import LedgerError, LedgerUnavailable

SERIALS_SKIPPED: Final = 100_000_000
"""More numbers than a day can use up: what was used after the copy was made must not be used again (1 % of all)."""


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


def back_up(dsn: str, path: Path) -> list[Copied]:
    """Copy the database of ``dsn`` into the file ``path``, as of one moment, while it is in use.

    Raises `CopyFailed`, also when the file is there already; `LedgerUnavailable`.
    """
    if path.exists():
        raise CopyFailed(f"{path} is there already; a copy never replaces another")
    partial = path.with_name(f"{path.name}.partial")
    with _connected(dsn) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        ((snapshot,),) = connection.execute("SELECT pg_export_snapshot()").fetchall()
        heads = [_copied(*row) for row in connection.execute(_HEADS).fetchall()]
        # Names and cards of people are in it, sealed or not: for the owner's eyes.
        partial.touch(mode=0o600)
        try:
            options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
            _run("pg_dump", dsn, *options, f"--file={partial}")
        except CopyFailed:
            partial.unlink()
            raise
    partial.rename(path)
    return heads


def restore(dsn: str, path: Path) -> list[Copied]:
    """Fill the empty database of ``dsn`` from the file ``path`` and bring it up to date, marked as behind the bank.

    All or nothing. Raises `CopyFailed`, `LedgerUnavailable`.
    """
    if not path.exists():
        raise CopyFailed(f"there is no {path}")
    with _connected(dsn) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()
    if found is not None:
        raise CopyFailed(f"the database is not empty, it holds {found[0]}; a copy is restored into an empty one only")
    _run("pg_restore", dsn, "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(path))
    migrate(dsn)
    with _connected(dsn) as connection:
        heads = [_copied(*row) for row in connection.execute(_HEADS).fetchall()]
        connection.execute("SELECT setval('bank_serial', nextval('bank_serial') + %s)", [SERIALS_SKIPPED])
        # Time has passed: the bank is asked about everything that was open.
        connection.execute("UPDATE due SET ask_at = now()")
        connection.execute(
            "UPDATE platform p SET behind_since = coalesce("
            " (SELECT max(at) FROM event e WHERE e.platform = p.platform), now())"
        )
    return heads


def caught_up(dsn: str, platform: str) -> None:
    """Take the mark of a restored copy away: the books of ``platform`` are the bank's again."""
    with _connected(dsn) as connection:
        connection.execute("UPDATE platform SET behind_since = NULL WHERE platform = %s", [platform])


def _copied(platform: str, batches: int, at: datetime | None, digest: bytes | None) -> Copied:
    return Copied(platform, batches, at, digest or b"")


def _connected(dsn: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(dsn, connect_timeout=10)
    except psycopg.OperationalError as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None


def _run(program: str, dsn: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs on a database; the password goes by the environment, which nobody lists."""
    where = conninfo_to_dict(dsn)
    password = where.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    command = [str(find_programs().folder / program), *arguments, "--dbname", make_conninfo("", **where)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["nothing"]
        raise CopyFailed(f"{program} ended with {ended.returncode} and said: {said[0]}")

"""Whoever gives an operator a copy to restore wants a program run on the server, or books of their own making."""

from __future__ import annotations

import asyncio
import os
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from embedded import find_programs
from ledger import copies
from ledger.copies import CopyFailed
from ledger.copyfile import CHUNK_BYTES, Sink, Source
from tests.world.cli import jzb
from tests.world.databases import PostgresServer, new_name
from tests.world.marketplace import SEAL_KEY, open_marketplace

KEY, OTHER = b"k" * 32, b"o" * 32


def tables(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        ((count,),) = found.fetchall()
        return int(count)


@pytest.fixture
async def books(database: str) -> str:
    """Books with some payments in them."""
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        await shop.pay("buyer", "seller", 5_00)
    return database


async def test_a_copy_of_pg_dump_that_runs_a_program_runs_nothing(
    postgres: PostgresServer, empty_database: str, tmp_path: Path
) -> None:
    written, copy, name = tmp_path / "written", tmp_path / "copy", new_name()
    os.chmod(tmp_path, 0o777)  # noqa: S103 - as far as the server's user is concerned, it could write
    dsn = postgres.create(name)
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE platform (platform text)")
            connection.execute("INSERT INTO platform VALUES ('9930')")
            program = f"COPY (SELECT 1) TO PROGRAM 'cat > {written}'"
            connection.execute(
                "CREATE FUNCTION innocent(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
                f" IF current_database() <> '{name}' THEN {program}; END IF; RETURN true; END $$".encode()
            )
            connection.execute("ALTER TABLE platform ADD CHECK (innocent(platform))")
        pg_dump = find_programs().folder / "pg_dump"
        options = ("--format=custom", f"--file={copy}", f"--dbname={dsn}")
        dumping = await asyncio.create_subprocess_exec(pg_dump, *options)
        assert await dumping.wait() == 0
    finally:
        postgres.drop(name)
    for more in ([], ["--unsealed-copy"]):
        refused = await jzb("restore", str(copy), *more, environment={"DATABASE_URL": empty_database})
        assert (refused.status, "made by pg_dump" in refused.error) == (1, True), refused.error
    assert not written.exists()
    assert tables(empty_database) == 0


async def test_a_copy_is_restored_under_its_key_and_under_no_other(
    books: str, empty_database: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    heads = copies.back_up(books, copy, [KEY])
    assert b"buyer" not in copy.read_bytes()
    for keys, says in (
        ([OTHER], "under none of JZB_SEAL__KEYS"),
        ([], "the copy is sealed: set JZB_SEAL__KEYS"),
    ):
        with pytest.raises(CopyFailed, match=says):
            copies.restore(empty_database, copy, keys)
        assert tables(empty_database) == 0
    assert copies.restore(empty_database, copy, [OTHER, KEY]) == heads


async def test_a_copy_that_is_not_sealed_is_restored_only_by_who_says_so(
    books: str, empty_database: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copied = await jzb("backup", str(copy), environment={"DATABASE_URL": books})
    assert "it is not sealed" in copied.out
    environment = {"DATABASE_URL": empty_database, "JZB_SEAL__KEYS": f'["{SEAL_KEY}"]', "JZB_BANK__MRCH_CODE": "9930"}
    refused = await jzb("restore", str(copy), environment=environment)
    assert (refused.status, "say --unsealed-copy if you know who did" in refused.error) == (1, True)
    assert tables(empty_database) == 0
    restored = await jzb("restore", str(copy), "--unsealed-copy", environment=environment)
    assert restored.status == 0, restored.out + restored.error


@pytest.mark.parametrize("keys", [[KEY], []], ids=["sealed", "plain"])
async def test_a_copy_that_was_cut_changed_or_added_to_leaves_nothing(
    books: str, empty_database: str, tmp_path: Path, keys: list[bytes]
) -> None:
    copy = tmp_path / "copy"
    copies.back_up(books, copy, keys)
    whole = copy.read_bytes()
    middle = len(whole) // 2
    forged = [whole[:middle], whole[:-1], whole + b"x", whole[:44], b"", b"something else" * 10]
    if keys:
        forged += [
            whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 11, 12, 40, 44, 48, 49, middle, -1)
        ]
    for content in forged:
        copy.write_bytes(content)
        with pytest.raises(CopyFailed):
            copies.restore(empty_database, copy, keys)
        assert tables(empty_database) == 0


async def test_a_copy_whose_head_is_nested_without_end_leaves_nothing(empty_database: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    file = BytesIO()
    sink = Sink(file, [])
    sink.write(b"[" * 5000 + b"\n")
    sink.end()
    copy.write_bytes(file.getvalue())
    with pytest.raises(CopyFailed, match="no copy that `jzb backup` has made"):
        copies.restore(empty_database, copy, [])
    assert tables(empty_database) == 0


def made(*lines: Any) -> bytes:
    """A copy of somebody's making: rows where there is a list."""
    file = BytesIO()
    sink = Sink(file, [])
    for line in lines:
        if isinstance(line, bytes):
            sink.rows(iter([line]))
        else:
            sink.line(line)
    sink.end()
    return file.getvalue()


HEAD = {"revision": "0013", "serials": 1}


END = {"end": True}
FORGED = {
    "another table": (HEAD, {"table": "mine", "columns": ["one"]}, b"1\n", END),
    "a statement for a table": (HEAD, {"table": "leg; DROP TABLE leg", "columns": ["platform"]}, b"1\n", END),
    "a table with fewer columns": (HEAD, {"table": "vouched", "columns": ["subject", "mac"]}, b"1\t1\n", END),
    "a program for a column": (HEAD, {"table": "platform", "columns": ["platform) FROM PROGRAM 'true' --"]}, b"", END),
    "no table": (HEAD, END),
    "no end": (HEAD,),
    "an unknown revision": ({"revision": "9999", "serials": 1}, END),
    "a statement for a number": ({"revision": "0013", "serials": "1); DROP TABLE leg"}, END),
    "a list for a head": ([1], END),
    "a word for a head": ("end",),
    "nothing for a table": (HEAD, {"table": None, "columns": None}, END),
}


@pytest.mark.parametrize("lines", FORGED.values(), ids=FORGED)
def test_a_copy_with_anything_but_the_rows_of_the_books_is_refused(
    empty_database: str, tmp_path: Path, lines: tuple[Any, ...]
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(made(*lines))
    with pytest.raises(CopyFailed):
        copies.restore(empty_database, copy, is_trusted=True)
    assert tables(empty_database) == 0


async def test_rows_are_data_whatever_they_say(books: str, empty_database: str, tmp_path: Path) -> None:
    words = "\\.\n\\! touch /tmp/x\n'); DROP TABLE leg; --\t\\N"
    with psycopg.connect(books) as connection:
        connection.execute("UPDATE operation SET message = %s", [words])
    copies.back_up(books, tmp_path / "copy", [KEY])
    # No program is started for it.
    with patch.object(subprocess, "Popen", side_effect=AssertionError):
        copies.restore(empty_database, tmp_path / "copy", [KEY])
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT DISTINCT message FROM operation").fetchall() == [(words,)]


@pytest.mark.parametrize("keys", [[KEY], []], ids=["sealed", "plain"])
def test_a_copy_is_read_in_bounded_memory_whatever_is_in_it(keys: list[bytes]) -> None:
    rows = [bytes([number % 251]) * (CHUNK_BYTES // 3) for number in range(40)]
    file = BytesIO()
    sink = Sink(file, keys)
    sink.rows(iter(rows))
    sink.end()
    assert len(file.getvalue()) < CHUNK_BYTES
    file.seek(0)
    source = Source(file, keys)
    found = b""
    for block in source.rows():
        assert len(source._waiting) <= 2 * CHUNK_BYTES
        found += block
    assert found == b"".join(rows)
    source.require_end()

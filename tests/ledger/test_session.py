"""What the environment, a role, a database or a server says about sessions does not change ours; what we cannot change
is refused by name.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import text

from ledger import LedgerUnfit, Writer, connect, copies, migrate, open_pool, require_ready, session
from ledger.accounts import withdrawable
from ledger.database import reading
from tests.ledger.bookkeeping import ANN, BOB, PLATFORM, ask, execute, opening, pay
from tests.ledger.conftest import open_mirror
from tests.ledger.pooler import Mode, pooled
from tests.world.databases import PostgresServer

ROOT = Path(__file__).parents[2]

STRANGE = {
    "client_encoding": ("LATIN1", "UTF8"),
    "TimeZone": ("Asia/Shanghai", "UTC"),
    "DateStyle": ("German, DMY", "ISO, MDY"),
    "IntervalStyle": ("iso_8601", "postgres"),
    "bytea_output": ("escape", "hex"),
    "standard_conforming_strings": ("off", "on"),
    "array_nulls": ("off", "on"),
    "transform_null_equals": ("on", "off"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_deferrable": ("on", "off"),
    "session_replication_role": ("replica", "origin"),
    "row_security": ("on", "off"),
    "statement_timeout": ("50s", "0"),
    "lock_timeout": ("51s", "0"),
    "transaction_timeout": ("52s", "0"),
    "idle_in_transaction_session_timeout": ("53s", "0"),
    "idle_session_timeout": ("54s", "0"),
    "synchronous_commit": ("off", "on"),
    "search_path": ("nowhere, public, pg_catalog", "public"),
}
"""By setting: what others say, and what every session of ours has."""

WRITERS_OWN = {"transaction_timeout": "10s", "idle_in_transaction_session_timeout": "10s"}

SETTINGS = "SELECT current_setting(unnest(CAST(%s AS text[])), true)"


def strange_role(postgres: PostgresServer, dsn: str) -> str:
    """A role for which everything is set otherwise; returns how it connects."""
    role, password = f"strange_{secrets.token_hex(4)}", secrets.token_hex(8)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        connection.execute(create.format(sql.Identifier(role), password))
        for name, (strange, _) in STRANGE.items():
            connection.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(*_identified(role, name), _value(strange)))
    return make_conninfo(dsn, user=role, password=password)


def strange_database(dsn: str) -> str:
    """A database for which everything is set otherwise."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, (strange, _) in STRANGE.items():
            alter = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(alter.format(*_identified(connection.info.dbname, name), _value(strange)))
    return dsn


def _identified(*names: str) -> tuple[sql.Identifier, ...]:
    return tuple(map(sql.Identifier, names))


def _value(strange: str) -> sql.Composable:
    """A list of names is a list for SET, too."""
    return sql.SQL(", ").join(map(sql.Literal, strange.split(", ")))


def strange_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that libpq reads from the environment of a process and that says how a session is to be."""
    options = " ".join(f"-c {name}={strange.replace(' ', chr(92) + ' ')}" for name, (strange, _) in STRANGE.items())
    for name, value in {
        "PGOPTIONS": options,
        "PGCLIENTENCODING": "LATIN1",
        "PGTZ": "Asia/Shanghai",
        "PGDATESTYLE": "German, DMY",
        "PGTARGETSESSIONATTRS": "standby",
        "PGHOSTADDR": "127.0.0.9",
        "PGCONNECT_TIMEOUT": "1",
        "PGGEQO": "off",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["environment", "role", "database"])
def strange(
    request: pytest.FixtureRequest, database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """How to reach a database with the schema, where one of three sets everything otherwise."""
    match request.param:
        case "environment":
            strange_environment(monkeypatch)
            yield database
        case "role":
            dsn = strange_role(postgres, database)
            yield dsn
            role = str(conninfo_to_dict(dsn)["user"])
            with psycopg.connect(postgres.dsn, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        case _:
            yield strange_database(database)


async def of_the_writer(dsn: str, query: str, values: list[Any]) -> list[Any]:
    async with Writer(dsn, PLATFORM).running() as writer:
        connection = await writer._connected()
        return await (await connection.execute(query.encode(), values)).fetchall()


async def of_look_ups(dsn: str, query: str, values: list[Any]) -> list[Any]:
    async with open_pool(dsn) as pool, pool.connection() as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()


async def of_reads(dsn: str, query: str, values: list[Any]) -> list[Any]:
    engine = connect(dsn, 1)
    try:
        async with reading(engine) as connection:
            found = await connection.execute(text(query.replace("%s", ":names")), {"names": values[0]})
            return [*found]
    finally:
        await engine.dispose()


async def of_copies(dsn: str, query: str, values: list[Any]) -> list[Any]:
    with copies._connected(dsn) as connection:
        return connection.execute(query.encode(), values).fetchall()


async def of_migrations(dsn: str, query: str, values: list[Any]) -> list[Any]:
    found: list[Any] = []

    def upgrade(config: Any, _: str) -> None:
        connection = config.attributes["connection"]
        found.extend(connection.execute(text(query.replace("%s", ":names")), {"names": values[0]}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alembic.command.upgrade", upgrade)
        migrate(dsn)
    return found


QueryContext = Callable[[str, str, list[Any]], Awaitable[list[Any]]]


@pytest.mark.parametrize("asking", [of_the_writer, of_look_ups, of_reads, of_copies, of_migrations])
async def test_every_session_has_our_settings_whoever_sets_them_otherwise(strange: str, asking: QueryContext) -> None:
    others = WRITERS_OWN if asking is of_the_writer else {}
    expected = {name: ours for name, (_, ours) in STRANGE.items()} | others
    rows = await asking(strange, SETTINGS, [list(STRANGE)])
    found = dict(zip(STRANGE, (row[0] for row in rows), strict=True))
    # PostgreSQL 17 brought it.
    if found["transaction_timeout"] is None:
        del found["transaction_timeout"], expected["transaction_timeout"]
    assert found == expected


async def test_money_is_booked_and_read_the_same_whoever_sets_a_session_otherwise(strange: str) -> None:
    async with open_mirror(strange) as mirror:
        await mirror.give(withdrawable(ANN), 100)
        assert (await mirror.do(opening(pay(ANN, BOB, 60)))).did
        await mirror.assert_whole()


async def test_a_copy_is_made_and_restored_whoever_sets_sessions_otherwise(
    empty_database: str, strange: str, tmp_path: Path
) -> None:
    async with open_mirror(strange) as mirror:
        await mirror.give(withdrawable(ANN), 100)
    copied = await asyncio.to_thread(copies.back_up, strange, tmp_path / "copy")
    strange_database(make_conninfo(empty_database, hostaddr="127.0.0.1", target_session_attrs="any"))
    assert await asyncio.to_thread(copies.restore, empty_database, tmp_path / "copy") == copied


async def test_commits_that_wait_for_more_than_the_disk_still_do(database: str) -> None:
    name = conninfo_to_dict(database)["dbname"]
    execute(database, f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    assert await of_the_writer(database, SETTINGS, [["synchronous_commit"]]) == [("remote_apply",)]


async def test_the_schema_that_the_address_names_is_the_only_one_in_sight(database: str) -> None:
    execute(database, "CREATE SCHEMA mine")
    mine = make_conninfo(database, options="-c search_path=mine,public")
    assert await of_look_ups(mine, SETTINGS, [["search_path"]]) == [("mine",)]
    with pytest.raises(LedgerUnfit, match="no schema yet"):
        await ready(mine)
    with pytest.raises(LedgerUnfit, match="search_path is of no schema that exists"):
        migrate(make_conninfo(database, options="-c search_path=nowhere"))


def refusing(dsn: str) -> list[Callable[[], Awaitable[Any]]]:
    """Whatever is to refuse a database that does not fit."""
    return [lambda: ready(dsn), lambda: asyncio.to_thread(migrate, dsn)]


async def ready(dsn: str) -> list[str]:
    """As a service that starts."""
    engine = connect(dsn, 1)
    try:
        return await require_ready(engine, dsn)
    finally:
        await engine.dispose()


async def test_a_setting_that_we_may_not_set_back_is_refused_by_its_name(
    database: str, postgres: PostgresServer
) -> None:
    role, password = f"poor_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = make_conninfo(database, user=role, password=password)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), password))
        try:
            # An ordinary role can have it all pinned.
            assert await of_look_ups(dsn, SETTINGS, [["session_replication_role"]]) == [("origin",)]
            alter = sql.SQL("ALTER ROLE {} SET session_replication_role = replica")
            connection.execute(alter.format(sql.Identifier(role)))
            for refused in refusing(dsn):
                with pytest.raises(LedgerUnfit, match='parameter "session_replication_role"'):
                    await refused()
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_CN"])
async def test_a_database_of_another_encoding_is_refused_before_anything_is_in_it(
    postgres: PostgresServer, encoding: str
) -> None:
    name = f"{encoding.lower()}_{secrets.token_hex(4)}"
    create = "CREATE DATABASE {} ENCODING {} LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(create).format(sql.Identifier(name), encoding))
    dsn = postgres.dsn_of(name)
    try:
        for refused in refusing(dsn):
            with pytest.raises(LedgerUnfit, match=f"server_encoding is {encoding} and must be UTF8"):
                await refused()
        assert ask(dsn, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
    finally:
        postgres.drop(name)


async def test_a_database_that_takes_no_writes_is_refused(database: str) -> None:
    name = conninfo_to_dict(database)["dbname"]
    execute(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for refused in refusing(database):
        with pytest.raises(LedgerUnfit, match="default_transaction_read_only is on and must be off"):
            await refused()


async def test_a_server_before_the_oldest_that_works_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(database, "SHOW server_version_num")
    major = int(found[0][0]) // 10_000
    monkeypatch.setattr(session, "MAJOR_MIN", major + 1)
    with pytest.raises(LedgerUnfit, match=f"server_version is {major} and must be {major + 1} or later"):
        await ready(database)


@pytest.fixture(params=["session", "transaction"])
async def pooler(request: pytest.FixtureRequest, database: str) -> AsyncIterator[tuple[Mode, str]]:
    async with pooled(database, request.param) as between:
        yield request.param, between.dsn


async def test_a_pooler_that_shares_sessions_between_transactions_is_refused(
    pooler: tuple[Mode, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, dsn = pooler
    monkeypatch.setattr(session, "PROBE_S", 0.5 if mode == "transaction" else 10.0)
    for refused in refusing(dsn):
        if mode == "session":
            await refused()
            continue
        with pytest.raises(LedgerUnfit, match="pool_mode is transaction and must be session"):
            await refused()


async def test_a_server_that_may_lose_what_it_committed_is_told_of(database: str) -> None:
    # That of the tests, which nobody pulls the plug of.
    assert [line.partition(" is off: ")[0] for line in await ready(database)] == ["fsync", "full_page_writes"]


def test_no_other_code_opens_a_connection() -> None:
    opens = re.compile(r"psycopg\.connect\(|AsyncConnection\.connect\(|\bConnection\.connect\(")
    gathers = re.compile(r"AsyncConnectionPool\(|create_engine\(|create_async_engine\(")
    found = {
        (str(path.relative_to(ROOT)), bool(opens.search(path.read_text())), bool(gathers.search(path.read_text())))
        for package in ("embedded", "ledger", "service")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {one for one in found if one[1] or one[2]} == {
        ("ledger/session.py", True, False),
        ("ledger/database.py", False, True),
    }

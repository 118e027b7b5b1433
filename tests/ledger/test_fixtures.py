"""The fixtures that every other test of the mirror stands on."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tests.world.databases import Databases, PostgresServer


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in rows.fetchall()}


@pytest.mark.parametrize("turn", [1, 2])
def test_a_database_has_the_schema_and_nothing_of_another_test(database: str, turn: int) -> None:
    assert "account" in tables(database)
    assert "left_behind" not in tables(database)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE left_behind ()")


@pytest.mark.parametrize("turn", [1, 2])
def test_a_database_has_no_row_and_no_number_of_another_test(database: str, turn: int) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT nextval('bank_serial')").fetchone() == (1,)
        for table in tables(database) - {"alembic_version"}:
            found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
            assert found == (0,), table
        connection.execute("INSERT INTO booking VALUES ('9930', gen_random_uuid(), '2026-01-01', 'B1')")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE booking ADD COLUMN more int",
        "ALTER TABLE transaction DISABLE TRIGGER USER",
        "CREATE OR REPLACE TRIGGER leg_append_only BEFORE DELETE ON leg EXECUTE FUNCTION refuse_change()",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER TABLE operation ALTER COLUMN kind SET DEFAULT 'PAY_T1'",
        "ALTER TABLE operation ALTER COLUMN kind DROP NOT NULL",
        "DROP INDEX {index}",
        "UPDATE alembic_version SET version_num = '0001'",
        "ALTER DATABASE {database} SET search_path = elsewhere",
        "REVOKE ALL ON booking FROM jzb_service",
    ],
)
def test_what_is_no_row_is_as_in_the_template(databases: Databases, postgres: PostgresServer, change: str) -> None:
    name = databases.take()
    with psycopg.connect(postgres.dsn_of(name), autocommit=True) as connection:
        (index,) = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid"
            " WHERE relname = 'operation' AND NOT indisunique LIMIT 1"
        ).fetchall()
        connection.execute(change.format(index=index[0], database=name))
    databases.give_back(name)
    another = databases.take()
    try:
        assert another != name
    finally:
        databases.give_back(another)


def test_a_database_that_is_still_in_use_is_not_used_again(databases: Databases, postgres: PostgresServer) -> None:
    name = databases.take()
    with psycopg.connect(postgres.dsn_of(name), autocommit=True) as left_behind:
        databases.give_back(name)
        with pytest.raises(psycopg.OperationalError):
            left_behind.execute("SELECT 1")


def test_an_empty_database_is_empty(empty_database: str) -> None:
    assert tables(empty_database) == set()

"""The fixtures that every other test of the mirror stands on."""

from __future__ import annotations

import psycopg
import pytest


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


def test_an_empty_database_is_empty(empty_database: str) -> None:
    assert tables(empty_database) == set()

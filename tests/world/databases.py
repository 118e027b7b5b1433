"""The databases of a run's tests: each test gets one with the current schema and nothing in it.

A copy of the template costs a tenth of a second and more, and to drop it as much again; rows are taken out of one in
milliseconds. So a worker keeps a database that a test has left as it was, but for its rows.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

USES_MAX: Final = 25
"""Rows that were taken out stay on their pages, and are read again and again: a new copy is cheaper then."""

LEFT_WITHIN_S: Final = 0.2
"""How long the connections of a test that has ended may take to go."""

_OURS: Final = "relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
_SHAPE: Final = f"""
SELECT md5(concat_ws(' ',
    (SELECT string_agg(ROW(nspname, nspowner, nspacl)::text, ' ' ORDER BY nspname) FROM pg_namespace
        WHERE nspname !~ '^pg_(temp|toast_temp)_'),
    (SELECT string_agg(ROW(c.oid, relname, relkind, relowner, relacl, reloptions, relrowsecurity)::text, ' '
        ORDER BY c.oid) FROM pg_class c WHERE {_OURS} AND relkind <> 't' AND relnamespace <> 'pg_toast'::regnamespace),
    (SELECT string_agg(ROW(attrelid, attnum, attname, atttypid, attnotnull, attisdropped)::text, ' '
        ORDER BY attrelid, attnum) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE {_OURS} AND relkind = 'r' AND relnamespace <> 'pg_toast'::regnamespace),
    (SELECT string_agg(ROW(tgenabled, pg_get_triggerdef(oid))::text, ' ' ORDER BY oid) FROM pg_trigger),
    (SELECT string_agg(ROW(conrelid, conname, pg_get_constraintdef(oid))::text, ' ' ORDER BY oid) FROM pg_constraint),
    (SELECT string_agg(ROW(adrelid, adnum, pg_get_expr(adbin, adrelid))::text, ' ' ORDER BY oid) FROM pg_attrdef),
    (SELECT string_agg(ROW(oid, prosrc, proconfig)::text, ' ' ORDER BY oid) FROM pg_proc
        WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)),
    (SELECT string_agg(ROW(oid, datacl, datallowconn, datconnlimit)::text, ' ') FROM pg_database
        WHERE datname = current_database()),
    (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()),
    (SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_extension),
    (SELECT version_num FROM alembic_version)))
"""
"""A digest of everything in a database that is not a row of the books."""

_OTHERS: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

_EMPTY: Final = """
DO $$
DECLARE
    one regclass;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname <> 'alembic_version'
    LOOP
        EXECUTE format('DELETE FROM %s', one);
    END LOOP;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
    LOOP
        EXECUTE format('ALTER SEQUENCE %s RESTART', one);
    END LOOP;
END $$
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """The run's PostgreSQL: makes and drops databases. ``folder`` is shared by all workers."""

    dsn: str
    folder: Path

    def dsn_of(self, database: str) -> str:
        return self.dsn.rsplit("/", 1)[0] + "/" + database

    def create(self, database: str, template: str = "template1") -> str:
        """A new database, as a copy of ``template``; returns its DSN."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", database, template)
        return self.dsn_of(database)

    def drop(self, database: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", database)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


_numbers = itertools.count(1)


def new_name() -> str:
    """The name of a database that this worker has not used before."""
    return f"test_{os.getpid()}_{next(_numbers)}"


class Databases:
    """Those of one worker: copies of a template, used again while nothing but their rows has changed."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template
        self._free: list[str] = []
        self._uses: dict[str, int] = {}
        self._shape: dict[str, str] = {}

    def take(self) -> str:
        """The name of an empty database, for one test."""
        if self._free:
            name = self._free.pop()
        else:
            name = new_name()
            with psycopg.connect(self._server.create(name, self._template)) as connection:
                self._shape[name] = _shape(connection)
        self._uses[name] = self._uses.get(name, 0) + 1
        return name

    def give_back(self, name: str) -> None:
        """Empty a database for the next test; or drop it where that would not make it as new."""
        if self._uses[name] < USES_MAX and self._emptied(name):
            self._free.append(name)
        else:
            self._server.drop(name)

    def _emptied(self, name: str) -> bool:
        try:
            with psycopg.connect(self._server.dsn_of(name), autocommit=True, connect_timeout=10) as connection:
                if not _is_left(connection) or _shape(connection) != self._shape[name]:
                    return False
                connection.execute(_EMPTY)
                return True
        except psycopg.Error:
            return False


def _shape(connection: psycopg.Connection[Any]) -> str:
    found = connection.execute(_SHAPE).fetchone()
    assert found is not None
    return str(found[0])


def _is_left(connection: psycopg.Connection[Any]) -> bool:
    ends_s = time.monotonic() + LEFT_WITHIN_S
    while connection.execute(_OTHERS).fetchone() != (0,):
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.005)
    return True

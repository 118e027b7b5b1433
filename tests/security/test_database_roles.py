"""Whoever has got hold of the service's database user wants to change what is booked."""

from __future__ import annotations

import re
import secrets
from unittest.mock import patch

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from ledger import LedgerUnfit, migrate, roles, session
from ledger.schema import JOURNAL
from service.process.server import running
from service.vault import new_key
from tests.world.cli import jzb
from tests.world.databases import PostgresServer, new_name
from tests.world.marketplace import Marketplace, service_settings

CHANGES = [
    "UPDATE {} SET platform = 'x'",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "DROP TABLE {}",
    "ALTER TABLE {} ADD COLUMN more text",
]


def as_role(dsn: str, role: str, statement: str) -> psycopg.Error | None:
    """What PostgreSQL says against a statement of a role; it is taken back in any case."""
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SET ROLE {role}".encode())
        try:
            connection.execute(statement.encode())
        except psycopg.Error as refusal:
            return refusal
        finally:
            connection.rollback()
    return None


@pytest.mark.parametrize("table", [*(table.name for table in JOURNAL), "reference", "booking"])
def test_a_service_changes_and_removes_nothing_that_is_booked(database: str, table: str) -> None:
    for role in (roles.SERVICE, roles.READER):
        for change in CHANGES:
            refusal = as_role(database, role, change.format(table))
            assert isinstance(refusal, psycopg.errors.InsufficientPrivilege), (role, change, refusal)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO event (platform, seq, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " OVERRIDING SYSTEM VALUE VALUES ('9930', 1, gen_random_uuid(), '', '', '', '', '', now())",
        "INSERT INTO vouched (platform, subject, mac) VALUES ('9930', 'batch 1', '')",
        "UPDATE platform SET unsealed = 5",
        "UPDATE platform SET behind_since = NULL",
        "UPDATE operation SET request_id = 'x'",
        "UPDATE operation SET payee = 'thief'",
        "UPDATE operation SET amount_fen = 1",
        "UPDATE account SET floor_fen = NULL",
        "DELETE FROM operation",
        "DELETE FROM member",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE mine (one text)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
        "COPY leg TO PROGRAM 'cat'",
        "CREATE ROLE mine",
        "SELECT setval('bank_serial', 1)",
    ],
)
def test_a_service_has_no_right_that_it_does_not_need(database: str, statement: str) -> None:
    for role in (roles.SERVICE, roles.READER):
        refusal = as_role(database, role, statement)
        assert isinstance(refusal, psycopg.errors.InsufficientPrivilege), (role, statement, refusal)


def test_a_reader_sees_no_card(database: str) -> None:
    assert as_role(database, roles.READER, "SELECT count(*) FROM leg") is None
    assert isinstance(as_role(database, roles.READER, "SELECT masked FROM card"), psycopg.errors.InsufficientPrivilege)


@pytest.mark.soak
async def test_a_reader_verifies_the_books_and_is_told_what_else_it_may_not(database: str) -> None:
    name = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE jzb_reader".encode())
        try:
            reached = make_conninfo(database, user=name, password="x")
            environment = {
                "DATABASE_URL": reached,
                "JZB_BANK__MRCH_CODE": "9930",
                "JZB_VAULT__KEYS": f'["{new_key()}"]',
            }
            verified = await jzb("verify", environment=environment)
            assert (verified.status, verified.error) == (0, "")
            rotated = await jzb("vault", "rotate", environment=environment)
            assert rotated.status == 1
            assert re.fullmatch("jzb: .*permission denied for table card.*another role.*\n", rotated.error)
        finally:
            connection.execute(f"DROP ROLE {name}".encode())


def test_every_table_declares_the_rights_of_each_role_and_has_no_others(database: str) -> None:
    with psycopg.connect(database) as connection:
        tables: dict[str, list[str]] = dict(connection.execute(roles.COLUMNS).fetchall())
        assert tables.keys() == roles.TABLES.keys(), "declare the rights of a new table in ledger/roles.py"
        held = roles.rights(connection, [roles.SERVICE, roles.READER])
        for table, columns in tables.items():
            declared = roles.TABLES[table]
            assert {*declared.updates, *declared.but} <= set(columns), table
            for role in (roles.SERVICE, roles.READER):
                assert held.get((table, role), set()) == roles.wanted_rights(role, table, columns), (table, role)


def test_what_was_granted_beside_is_taken_back_by_the_next_migration(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("GRANT UPDATE, TRUNCATE ON leg TO jzb_service; GRANT DELETE ON event TO PUBLIC")
    migrate(database)
    for statement in ("TRUNCATE leg", "UPDATE leg SET leg = 1", "DELETE FROM event"):
        refusal = as_role(database, roles.SERVICE, statement)
        assert isinstance(refusal, psycopg.errors.InsufficientPrivilege), statement


def test_the_books_belong_to_no_superuser(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert found == [(roles.OWNER,)]


async def test_a_service_that_others_reach_does_not_run_with_the_rights_of_the_owner(shop: Marketplace) -> None:
    reached = service_settings(shop.dsn, shop.sandbox, listen="0.0.0.0:0", insecure=True)
    async with running(reached):
        pass
    as_owner = reached.model_copy(update={"database_url": SecretStr(shop.dsn)})
    with pytest.raises(LedgerUnfit, match=r"the database user jzb is a superuser: .* member of jzb_service"):
        async with running(as_owner):
            raise AssertionError("it ran")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("IN ROLE jzb_owner, jzb_service", "owns the books"),
        ("SUPERUSER", "is a superuser"),
        ("IN ROLE jzb_service", ""),
    ],
)
def test_who_may_change_what_is_booked_is_no_ordinary_user(database: str, given: str, says: str) -> None:
    name = f"app_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {given}".encode())
        try:
            found = make_conninfo(database, user=name, password="x")
            if says:
                with pytest.raises(LedgerUnfit, match=f"the database user {name} {says}"):
                    roles.require_ordinary(found)
                return
            roles.require_ordinary(found)
            connection.execute(f"GRANT DELETE ON event TO {name}".encode())
            with pytest.raises(LedgerUnfit, match="may change or remove what is booked"):
                roles.require_ordinary(found)
        finally:
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


async def test_a_service_that_others_reach_does_not_run_without_a_key(shop: Marketplace) -> None:
    reached = service_settings(shop.dsn, shop.sandbox, listen="0.0.0.0:0", insecure=True, seal={"keys": []})
    with pytest.raises(LedgerUnfit, match="JZB_SEAL__KEYS is not set"):
        async with running(reached):
            raise AssertionError("it ran")


@pytest.mark.usefixtures("migrated_template")
def test_a_migrator_that_may_make_no_roles_owns_the_books_and_says_what_to_run(postgres: PostgresServer) -> None:
    name, role = new_name(), f"migrator_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
        connection.execute(f"CREATE DATABASE {name} OWNER {role}".encode())
        dsn = make_conninfo(postgres.dsn_of(name), user=role, password="x")
        try:
            with patch.object(roles, "READER", "jzb_reader_of_nobody"):
                assert migrate(dsn) == ["CREATE ROLE jzb_reader_of_nobody NOLOGIN;"]
            assert migrate(dsn) == []
            with psycopg.connect(postgres.dsn_of(name)) as other:
                owners = other.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
                assert owners.fetchall() == [(role,)]
                assert ("event", roles.SERVICE) in roles.rights(other, [roles.SERVICE])
            with pytest.raises(LedgerUnfit, match="owns the books"):
                roles.require_ordinary(dsn)
        finally:
            postgres.drop(name)
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize(
    ("dsn", "is_local"),
    [
        ("postgresql://u:p@127.0.0.1:5432/jzb", True),
        ("postgresql://u:p@[::1]/jzb", True),
        ("postgresql:///jzb?host=/run/postgresql", True),
        ("postgresql://u@localhost/jzb", True),
        ("postgresql://u@db.example.org/jzb", False),
        ("postgresql://u@127.0.0.1,10.0.0.2/jzb", False),
        ("postgresql://u@localhost/jzb?hostaddr=10.0.0.2", False),
    ],
)
def test_a_database_is_on_this_machine_or_not(dsn: str, *, is_local: bool) -> None:
    assert session.is_local(dsn) is is_local

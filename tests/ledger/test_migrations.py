"""The migrations make the schema of the queries, and PostgreSQL refuses what the rules refuse, by name."""

from __future__ import annotations

import threading

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from ledger import LedgerUnavailable, Member, migrate
from ledger.accounts import withdrawable
from ledger.database import MIGRATIONS, _revisions
from ledger.names import MemberCode
from ledger.schema import DAY, JOURNAL, PROPOSALS, WORK, account, member, metadata, operation
from tests.ledger.bookkeeping import ANN, BOB, ask, execute, new_id, opening, pay, posting, prepay
from tests.ledger.conftest import open_mirror

JOURNAL_NAMES = [table.name for table in JOURNAL]


def schema_of(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Columns, constraints, indexes, triggers and sequences as PostgreSQL has them."""
    return {
        "columns": ask(
            dsn,
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2",
        ),
        "constraints": ask(
            dsn,
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'"
            " ORDER BY 1, 2",
        ),
        "indexes": ask(
            dsn,
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1",
        ),
        "triggers": ask(dsn, "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"),
        "others": ask(
            dsn,
            "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
        ),
    }


def on(dsn: str, work: str) -> object:
    """Do ``work`` (an Alembic command and its revision, or "compare") on a connection."""
    engine = create_engine(make_url(dsn).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return _work(connection, work)
    finally:
        engine.dispose()


def _work(connection: Connection, work: str) -> object:
    if work == "compare":
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    if work == "down":
        command.downgrade(config, "base")
    connection.commit()
    return None


def test_the_files_are_called_by_their_revisions_and_follow_one_another() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert _revisions() == tuple(script.revision for script in scripts.walk_revisions())


def test_the_migrations_make_the_schema_that_queries_are_written_for(database: str, empty_database: str) -> None:
    assert on(database, "compare") == []
    engine = create_engine(make_url(empty_database).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        metadata.create_all(connection)
    engine.dispose()
    # Checks, defaults and the conditions of indexes too, which Alembic does not compare.
    migrated, declared = schema_of(database), schema_of(empty_database)
    for what in ("columns", "constraints", "indexes"):
        assert migrated[what] == declared[what], what


def test_migrations_go_up_down_and_up_again(empty_database: str) -> None:
    migrate(empty_database)
    first = schema_of(empty_database)
    on(empty_database, "down")
    assert schema_of(empty_database) == {what: [] for what in first}
    migrate(empty_database)
    assert schema_of(empty_database) == first


def test_suspense_gets_its_floor_where_it_had_none(empty_database: str) -> None:
    migrate(empty_database, "0003")
    execute(
        empty_database,
        "INSERT INTO account VALUES ('9930', 'suspense:1', 'suspense', '', '1', NULL, 5, 0),"
        " ('9930', 'fee', 'fee', '', '', NULL, 5, 0)",
    )
    migrate(empty_database)
    assert ask(empty_database, "SELECT name, floor_fen FROM account ORDER BY 1") == [("fee", None), ("suspense:1", 0)]


def test_migrating_what_is_migrated_changes_nothing(database: str) -> None:
    before = schema_of(database)
    migrate(database)
    assert schema_of(database) == before


def test_processes_that_migrate_at_once_do_it_once(empty_database: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty_database)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert on(empty_database, "compare") == []


def test_a_database_that_is_away_or_misspelt_is_reported_without_its_password(unused_tcp_port: int) -> None:
    for dsn in (f"postgresql://jzb:secret@127.0.0.1:{unused_tcp_port}/jzb", "secret, no address"):
        with pytest.raises(LedgerUnavailable) as refusal:
            migrate(dsn)
        assert "secret" not in str(refusal.value)


def test_every_key_has_the_platform_in_it(database: str) -> None:
    keys = ask(
        database,
        "SELECT i.indexrelid::regclass::text, array_agg(a.attname::text) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indisunique AND c.relname <> 'alembic_version' GROUP BY 1",
    )
    assert len(keys) >= len(metadata.tables)
    assert {name: columns for name, columns in keys if "platform" not in columns} == {}


def test_every_foreign_key_stays_on_its_platform(database: str) -> None:
    engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        inspector = inspect(connection)
        keys = [key for table in metadata.tables for key in inspector.get_foreign_keys(table)]
    engine.dispose()
    assert keys
    for key in keys:
        assert (key["constrained_columns"][0], key["referred_columns"][0]) == ("platform", "platform"), key["name"]


@pytest.fixture
async def journal(database: str) -> str:
    """A database whose journal has a row in every table."""
    async with open_mirror(database) as mirror:
        await mirror.give(withdrawable(ANN), 100)
        step = opening(pay(ANN, BOB, 10))
        await mirror.do(step)
        await mirror.do(posting(step))
        ann = Member(member_id=MemberCode("ann"), sub_account=ANN, property="00")
        await mirror.do(opening(prepay(ANN, "O1", 20), members=(ann,)))
    execute(database, "INSERT INTO vouched (platform, subject, mac) VALUES ('9930', 'batch 1', '')")
    execute(database, "INSERT INTO audit_entry VALUES ('9930', 1, now(), '', '', '', '', '', 0, '', '')")
    execute(
        database, "INSERT INTO bank_answer (platform, digest, key_id, content, parts) VALUES ('9930', '', '', '', '')"
    )
    return database


def refusal_of(dsn: str, statement: str, **values: object) -> psycopg.Error | None:
    """What PostgreSQL says against a statement; it is taken back in any case."""
    with psycopg.connect(dsn) as connection:
        try:
            connection.execute(statement.encode(), values)
        except psycopg.Error as refusal:
            return refusal
        finally:
            connection.rollback()
    return None


def test_the_journal_is_only_ever_added_to(journal: str) -> None:
    for table in JOURNAL_NAMES:
        assert ask(journal, f"SELECT count(*) > 0 FROM {table}") == [(True,)], table
        for change in (
            f"UPDATE {table} SET platform = 'x'",
            f"UPDATE {table} SET platform = 'x' WHERE false",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            refusal = refusal_of(journal, change)
            assert isinstance(refusal, psycopg.errors.RestrictViolation), change
            assert "only ever added to" in str(refusal)


@pytest.mark.parametrize("table", [table.name for table in (*PROPOSALS, *DAY, *WORK)])
@pytest.mark.parametrize(
    "change", ["UPDATE {} SET platform = 'x' WHERE false", "DELETE FROM {}", "TRUNCATE {} CASCADE"]
)
def test_what_somebody_has_decided_and_what_came_of_it_is_only_ever_added_to(
    database: str, table: str, change: str
) -> None:
    assert isinstance(refusal_of(database, change.format(table)), psycopg.errors.RestrictViolation)


def test_what_the_journal_hangs_on_cannot_be_removed_either(journal: str) -> None:
    for table in ("operation", "account"):
        assert isinstance(refusal_of(journal, f"DELETE FROM {table}"), psycopg.errors.RestrictViolation)
        assert isinstance(refusal_of(journal, f"TRUNCATE {table} CASCADE"), psycopg.errors.RestrictViolation)


POSTED, PENDING, NOWHERE = "%(posted)s", "%(pending)s", "%(nowhere)s"


REFUSED = [
    ("account_above_floor", "UPDATE account SET balance_fen = -1 WHERE name = 'withdrawable:1001'"),
    ("account_above_floor", "UPDATE account SET held_fen = 81 + 20 WHERE name = 'withdrawable:1001'"),
    ("account_held_not_negative", "UPDATE account SET held_fen = -1 WHERE name = 'withdrawable:1001'"),
    ("account_held_only_with_floor", "UPDATE account SET held_fen = 1 WHERE name = 'pooled'"),
    ("operation_state_known", "UPDATE operation SET state = 'paid'"),
    ("due_once", "INSERT INTO due SELECT platform, operation_id, ask_at FROM due"),
    ("operation_amounts_not_negative", "UPDATE operation SET amount_fen = -1"),
    ("operation_request_id_once", "UPDATE operation SET request_id = 'same'"),
    ("operation_serial_once", "UPDATE operation SET serial = 'same'"),
    ("seal_pk", "INSERT INTO seal SELECT * FROM seal"),
    ("resolution_once", f"INSERT INTO resolution VALUES ('9930', {POSTED}, 1, 'voided', '2026-11-23', now())"),
    ("resolution_verdict_known", f"INSERT INTO resolution VALUES ('9930', {PENDING}, 1, 'kept', '2026-11-23', now())"),
    ("leg_pk", f"INSERT INTO leg VALUES ('9930', {POSTED}, 1, 1, 'pooled', 'withdrawable:1001', 5)"),
    ("leg_amount_positive", f"INSERT INTO leg VALUES ('9930', {POSTED}, 1, 9, 'pooled', 'withdrawable:1001', 0)"),
    ("leg_moves_between_accounts", f"INSERT INTO leg VALUES ('9930', {POSTED}, 1, 9, 'pooled', 'pooled', 5)"),
    ("hold_amount_positive", f"INSERT INTO hold VALUES ('9930', {POSTED}, 1, 'pooled', 0)"),
    ("hold_pk", f"INSERT INTO hold VALUES ('9930', {POSTED}, 1, 'withdrawable:1001', 1)"),
    ("transaction_pk", f"INSERT INTO transaction VALUES ('9930', {POSTED}, 1, '', '', '', 0, 0, NULL, now())"),
    (
        "transaction_fee_within_amount",
        f"INSERT INTO transaction VALUES ('9930', {POSTED}, 2, '', '', '', 5, 6, NULL, now())",
    ),
    (
        "transaction_fee_within_amount",
        f"INSERT INTO transaction VALUES ('9930', {POSTED}, 2, '', '', '', 5, -1, NULL, now())",
    ),
    (
        "transaction_amount_not_negative",
        f"INSERT INTO transaction VALUES ('9930', {POSTED}, 2, '', '', '', -5, 0, NULL, now())",
    ),
    ("member_property_known", "INSERT INTO member VALUES ('9930', 'eve', '1009', '01', now())"),
    (
        "member_sub_account_once",
        "INSERT INTO member VALUES ('9930', 'eve', '1009', '00', now()), ('9930', 'bob', '1009', '00', now())",
    ),
]


def test_postgres_refuses_by_the_name_of_the_rule(journal: str) -> None:
    found = dict(ask(journal, "SELECT state, id FROM operation WHERE kind = 'PAY_T1' ORDER BY id"))
    ids = {"posted": found["done"], "pending": found["reserved"], "nowhere": new_id()}
    refusals = [(statement, refusal_of(journal, statement, **ids)) for _, statement in REFUSED]
    names = [(refusal and refusal.diag.constraint_name, statement) for statement, refusal in refusals]
    assert names == REFUSED


NUMBERED = {"event_pk", "membership_pk", "None"}
"""Keys that only the database gives."""


def test_every_constraint_on_money_is_seen_to_refuse() -> None:
    named = {
        str(constraint.name) for table in (account, operation, member, *JOURNAL) for constraint in table.constraints
    }
    # And rows that are written over, or left as they are, on conflict.
    others = {"account_pk", "member_pk", "operation_pk", "vouched_pk", "audit_entry_pk", "bank_answer_pk"}
    assert named - {name for name, _ in REFUSED} <= others | NUMBERED

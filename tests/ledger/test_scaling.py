"""What docs/scaling.md says can be done, done: its own statements are run, and the ledger goes on."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from ledger import migrate, verify
from ledger.accounts import withdrawable
from ledger.schema import JOURNAL, metadata
from ledger.steps import NewOperation
from tests.ledger.bookkeeping import ANN, BOB, PLATFORM, ask, execute, opening, pay_today, posting
from tests.ledger.conftest import Mirror, open_mirror

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
NOT_BY_MONTH = ("event", "membership", "seal", "vouched", "audit_entry", "bank_answer")
BY_MONTH = [table.name for table in JOURNAL if table.name not in NOT_BY_MONTH]


def statements(heading: str) -> list[str]:
    """The SQL under a heading of the document, in its order."""
    section = DOCUMENT.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found
    return found


def rows_in(dsn: str, table: str) -> int:
    ((count,),) = ask(dsn, f"SELECT count(*) FROM {table}")
    return int(count)


async def pay_once(mirror: Mirror, at: datetime | None = None) -> None:
    step = opening(pay_today(ANN, BOB, 30))
    if at is not None:
        assert isinstance(step.operation, NewOperation)
        step = dataclasses.replace(step, operation=dataclasses.replace(step.operation, id=id_of(at)))
    assert (await mirror.do(step)).did
    assert (await mirror.do(posting(step))).did


def id_of(at: datetime) -> UUID:
    """A UUIDv7 of that time."""
    return UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | 1)


async def test_the_journal_is_cut_by_month_and_payments_go_on(database: str) -> None:
    async with open_mirror(database) as mirror:
        await mirror.give(withdrawable(ANN), 100)
        await pay_once(mirror)
    before = {name: rows_in(database, name) for name in BY_MONTH}
    execute(database, *statements("The journal by month"))
    async with open_mirror(database) as mirror:
        await pay_once(mirror, datetime.now(UTC) + timedelta(days=40))
        assert mirror.standing()[withdrawable(BOB).name] == (60, 0)
        await mirror.assert_whole()
    assert {name: rows_in(database, f"{name}_before") for name in BY_MONTH} == before
    assert all(rows_in(database, name) > before[name] for name in BY_MONTH)


@pytest.mark.parametrize("table", BY_MONTH)
async def test_no_month_of_the_journal_can_be_changed(database: str, table: str) -> None:
    execute(database, *statements("The journal by month"))
    parts = ask(database, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", table)
    names = [table, *(name for (name,) in parts)]
    assert len(names) == 14
    for name in names:
        with pytest.raises(psycopg.errors.RestrictViolation):
            execute(database, f"DELETE FROM {name}")


async def test_a_schema_for_each_platform_keeps_them_apart(database: str) -> None:
    dsns = {schema: f"{database}?options=-csearch_path%3D{schema}" for schema in ("platform_9930", "platform_9931")}
    for schema, dsn in dsns.items():
        execute(database, f"CREATE SCHEMA {schema}")
        migrate(dsn)
    one, other = dsns.values()
    async with open_mirror(one) as mirror:
        await mirror.give(withdrawable(ANN), 100)
        await pay_once(mirror)
        assert await verify(mirror.engine, PLATFORM) == []
    assert rows_in(one, "leg") == 2
    assert rows_in(other, "leg") == rows_in(database, "leg") == 0


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_table_can_be_spread_by_platform(database: str, table: str) -> None:
    # PostgreSQL takes such a partition key only if all unique keys hold it, which is also what Citus asks for.
    execute(database, f"CREATE TABLE spread (LIKE {table} INCLUDING ALL) PARTITION BY HASH (platform)")

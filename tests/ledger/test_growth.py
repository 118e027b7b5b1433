"""What is over costs a reader nothing: however many accounts were emptied and things were ended, he reads as much."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from ledger.comparison import POSITION
from ledger.lookups import BALANCES, BALANCES_OF
from ledger.proofs import SEALS
from ledger.reads.timeline import HOLDS
from ledger.reads.work import DIFFERENCES, OWED, QUEUE, QUEUE_OF_OWNER, SUMS, SUSPENDED_PAGE, WAITING_DAYS
from ledger.statements import ACCOUNTS
from tests.ledger.bookkeeping import ANN, PLATFORM, execute
from tests.ledger.conftest import Mirror

MANY = 4000

VALUES: dict[str, Any] = {
    "platform": PLATFORM,
    "reserved_for": timedelta(minutes=1),
    "accepted_for": timedelta(minutes=1),
    "today": date(2026, 11, 30),
    "read": [],
    "kinds": [],
    "work_id": "",
    "since": "1970-01-01",
    "behind": "",
    "limit": 51,
    "with_sums": True,
    "owner": "ann",
    "after": "",
}
HELD = ["withdrawable", "waiting", "frozen", "escrow"]
READS: dict[str, tuple[str, Any]] = {
    "the queue": (QUEUE, VALUES),
    "the queue of one person": (QUEUE_OF_OWNER, VALUES),
    "the sums of the queue": (SUMS, VALUES),
    "suspense": (SUSPENDED_PAGE, VALUES),
    "differences": (DIFFERENCES, VALUES),
    "what channels owe": (OWED, VALUES),
    "days that wait": (WAITING_DAYS, VALUES),
    "holds": (HOLDS, VALUES | {"sub_account": ANN, "kinds": HELD}),
    "a comparison": (POSITION, VALUES | {"owner": ANN, "kinds": HELD, "today": "20261130"}),
    "balances by sub-account": (BALANCES, [[ANN], PLATFORM]),
    "balances by member": (BALANCES_OF, [["ann"], PLATFORM]),
    "the seals of a page": (str(SEALS), VALUES | {"times": [f"2020-01-01 00:{minute}Z" for minute in range(10, 40)]}),
    "what a payment draws on": (ACCOUNTS, VALUES | {"names": [], "ids": [], "drawn": [ANN]}),
}

OVER = (
    # Emptied: orders and days of one member, transfers, differences, days of channels.
    *(
        f"INSERT INTO account SELECT '9930', '{kind}:{owner}' || n, '{kind}', '{owner}', {ref}, {floor}, 0, 0"
        f" FROM generate_series(1, {MANY}) n"
        for kind, owner, ref, floor in (
            ("escrow", ANN, "'O' || n", "0"),
            ("waiting", ANN, "to_char(date '2001-01-01' + n, 'YYYYMMDD')", "0"),
            ("suspense", "", "'T' || n", "0"),
            ("difference", "", "n::text", "NULL"),
            ("in-transit", "", "to_char(date '2001-01-01' + n, 'YYYYMMDD')", "NULL"),
        )
    ),
    "INSERT INTO seal SELECT '9930', n, timestamptz '2020-01-01 00:00Z' + n * interval '1 min', '', '', ''"
    " FROM generate_series(1000, 8000) n",
    # Closed breaks, and proposals that were decided.
    "INSERT INTO break SELECT '9930', md5(n::text)::uuid, '2026-11-29', 'JY', 'amount', 500, 200, 1, 1, '', NULL, NULL,"
    f" '', '', '', '', '', '', false, now() FROM generate_series(1, {MANY}) n",
    "INSERT INTO proposal SELECT '9930', md5(n::text)::uuid, 'p' || n, '', 'm', 'k', '', 1, '', '', '', '', 'shop', '',"
    f" now(), now() + interval '1 day' FROM generate_series(1, {MANY}) n",
)
THERE = (
    "INSERT INTO platform (platform, batches) VALUES ('9930', 1)",
    f"INSERT INTO member VALUES ('9930', 'ann', '{ANN}', '00', now())",
    f"INSERT INTO account VALUES ('9930', 'withdrawable:{ANN}', 'withdrawable', '{ANN}', '', 0, 100, 0)",
    f"INSERT INTO account VALUES ('9930', 'escrow:{ANN}:O', 'escrow', '{ANN}', 'O', 0, 100, 40)",
    "INSERT INTO account VALUES ('9930', 'suspense:T', 'suspense', '', 'T', 0, 100, 0)",
    "INSERT INTO account VALUES ('9930', 'difference:D', 'difference', '', 'D', NULL, -100, 0)",
    "INSERT INTO seal SELECT '9930', n, timestamptz '2020-01-01 00:00Z' + n * interval '1 min', '', '', ''"
    " FROM generate_series(1, 999) n",
    "INSERT INTO break SELECT '9930', md5('b')::uuid, '2026-11-29', 'JY', 'amount', 500, 200, 1, 1, '', NULL, NULL, '',"
    " '', '', '', '', '', true, now()",
)


@pytest.mark.parametrize("what", READS)
async def test_what_is_over_is_not_read(mirror: Mirror, what: str) -> None:
    statement, values = READS[what]
    execute(mirror.dsn, *THERE, "ANALYZE")
    before = blocks(mirror.dsn, statement, values)
    execute(mirror.dsn, *OVER, "ANALYZE")
    assert blocks(mirror.dsn, statement, values) <= before + 8


async def test_a_hot_account_is_updated_in_place(mirror: Mirror) -> None:
    execute(mirror.dsn, *THERE)
    for before_fen, after_fen, in_place in ((100, 200, 1), (200, 0, 0), (0, 0, 1), (0, 5, 0)):
        with psycopg.connect(mirror.dsn) as connection:
            connection.execute(
                "UPDATE account SET balance_fen = %s WHERE name = %s AND balance_fen = %s",
                [after_fen, f"withdrawable:{ANN}", before_fen],
            )
            found = connection.execute("SELECT pg_stat_get_xact_tuples_hot_updated('account'::regclass)").fetchone()
            assert found == (in_place,), (before_fen, after_fen)


def blocks(dsn: str, statement: str, values: Any) -> int:
    """How many blocks of 8 KiB a statement looks at."""
    # Some of the statements name their values as SQLAlchemy does.
    named = re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", statement) if "%(" not in statement else statement
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {named}".encode(), values).fetchone()
        assert rows is not None
        plan = rows[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

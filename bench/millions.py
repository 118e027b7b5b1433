"""The books of a year with ten million operations, of which the newest quarter has its journal: ten million legs.

Most are done. Some thousands wait, in each of the ways in which something can wait, some of them for months. A tenth of
all payments go to one seller, *big*, all through the year, which also has two hundred thousand orders, most of them
closed. Made by SQL, without indexes, which are built when the rows are there.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg

from bench.ledger import stored_in_chunks
from bench.site import SERVER, VAULT_KEY
from bench.transfers import PLATFORM
from ledger import entry_statements
from service.vault import Vault

OPERATIONS = 10_000_000
BOOKED = 2_500_000
"""The newest so many have a journal, of four legs each."""
AT_ONCE = 500_000
"""Of so many events statements are made in one go."""
AS_THE_SERVICE, STEP = 20_000, 512
"""Those of the last so many are made in steps as small as the service's own."""

# 3,500 of the ten million operations wait.
PAST = """
SELECT *, at::date AS day, to_char(at, 'YYYYMMDD') AS ref, 'S-' || payer AS payer_sub, 'S-' || payee AS payee_sub,
  (
    lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
    || substr(md5(n::text), 1, 15)
  )::uuid AS id
FROM (
  SELECT n, date_trunc('day', now()) - interval '1 year' + n * interval '3.15 s' AS at,
    CASE n % 1000 WHEN 1 THEN 'TRANSFER_IN' WHEN 2 THEN 'WITHDRAWAL_RETURN' WHEN 3 THEN 'FREEZE'
      ELSE CASE n % 50 WHEN 7 THEN 'WITHDRAW' WHEN 10 THEN 'PREPAY_ORDER' WHEN 11 THEN 'CONFIRM_ORDER'
      WHEN 12 THEN 'TOP_UP' WHEN 13 THEN 'REFUND' ELSE 'PAY_T1' END END AS kind,
    CASE WHEN n % 3350 = 7 THEN CASE n / 3350 % 3 WHEN 0 THEN 'unknown' WHEN 1 THEN 'accepted' ELSE 'reserved' END
      WHEN n % 20000 = 2 THEN 'accepted' WHEN n % 500 = 499 THEN 'refused' ELSE 'done' END AS state,
    CASE WHEN n % 50 = 10 THEN 'big' ELSE 'b' || n % 10000 END AS payer,
    CASE WHEN n % 10 = 0 THEN 'big' ELSE 'm' || n % 1009 END AS payee,
    CASE WHEN n % 3 = 0 OR n % 50 IN (10, 11) THEN 'O' || n ELSE '' END AS order_no
  FROM ids
) AS made
"""
OPERATION = (
    "INSERT INTO operation SELECT '9930', id, CASE kind WHEN 'TRANSFER_IN' THEN 'transfer T' ELSE 'past-' END || n,"
    " sha256(n::text::bytea), kind, 'P' || n, state, payer, payee, order_no, 100, 1, '', '', NULL, '000000', '',"
    " CASE state WHEN 'done' THEN 'B' || n ELSE '' END, CASE state WHEN 'done' THEN day END, '', '{}', 0, 0, at, at"
    " FROM past",
)
BOOKING = ("INSERT INTO booking SELECT '9930', id, day, 'B' || n FROM past WHERE state = 'done'",)
ENDED = (
    "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
    " SELECT '9930', id, state, '', '', '', '', at FROM past WHERE state = 'refused'",
)
JOURNAL = (
    "INSERT INTO transaction SELECT '9930', id, 1, 'P' || n, payer, payee, 100, 1, NULL, at, '' FROM past",
    "INSERT INTO hold SELECT '9930', id, 1, 'withdrawable:' || payer_sub, 100 FROM past",
    "INSERT INTO resolution SELECT '9930', id, 1, CASE state WHEN 'done' THEN 'posted' ELSE 'voided' END, day, at,"
    " CASE state WHEN 'done' THEN 'B' || n ELSE '' END FROM past WHERE state IN ('done', 'refused')",
    "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
    " SELECT '9930', id, told, '', '', '', '', at"
    " FROM past, LATERAL (VALUES (1, 'reserved'), (2, state)) AS s (place, told) WHERE (place, told) <> (2, 'reserved')"
    " ORDER BY n, place",
    "INSERT INTO account SELECT '9930', limited || ':P' || n, limited, '', 'P' || n, 0, fen, 0"
    " FROM past, (VALUES ('refundable', 100), ('refundable-fee', 1)) AS k (limited, fen)",
    "INSERT INTO leg SELECT '9930', id, 1, no, debit, credit, fen FROM past, LATERAL (VALUES"
    " (1, 'withdrawable:' || payer_sub, 'waiting:' || payee_sub || ':' || ref, 99),"
    " (2, 'withdrawable:' || payer_sub, 'fee', 1), (3, 'limits', 'refundable:P' || n, 100),"
    " (4, 'limits', 'refundable-fee:P' || n, 1)) AS l (no, debit, credit, fen) WHERE state = 'done'",
)
# What is few, by a number in the serial of its operation.
TOGETHER = (
    "INSERT INTO platform (platform, batches) VALUES ('9930', 0)",
    "INSERT INTO due SELECT '9930', id, '2100-01-01' FROM operation WHERE state IN ('unknown', 'accepted', 'reserved')",
    "INSERT INTO reference SELECT '9930', id, 'channel', 'C' || substr(serial, 2) FROM operation WHERE kind = 'TOP_UP'",
    # Of a tenth of the transfers money is still in suspense, of one order in five hundred in escrow.
    """
    INSERT INTO account
    SELECT '9930', 'suspense:T' || n, 'suspense', '', 'T' || n, 0, CASE WHEN n % 10000 = 1 THEN 100 ELSE 0 END, 0
    FROM (SELECT substr(serial, 2)::int FROM operation WHERE kind = 'TRANSFER_IN') AS one (n)
    """,
    """
    INSERT INTO account
    SELECT '9930', kind || owner || ':O' || n, kind, trim(leading ':' FROM owner), 'O' || n, floor_fen,
      CASE WHEN kind = 'order' THEN -1 WHEN n % 25000 = 10 THEN 100 ELSE 0 END, 0
    FROM (SELECT substr(serial, 2)::int FROM operation WHERE kind = 'PREPAY_ORDER') AS one (n),
      (VALUES ('escrow', ':S-big', 0), ('order', '', -1)) AS k (kind, owner, floor_fen)
    """,
    """
    INSERT INTO member
    SELECT '9930', code, 'S-' || code, '00', now() - interval '1 year'
    FROM (
      SELECT 'b' || n FROM generate_series(0, 9999) n UNION ALL SELECT 'm' || n FROM generate_series(0, 1008) n
      UNION ALL SELECT 'big'
    ) AS m (code)
    """,
    "INSERT INTO account SELECT '9930', 'withdrawable:' || sub_account, 'withdrawable', sub_account, '', 0, 1000000, 0"
    " FROM member",
    """
    INSERT INTO account
    SELECT '9930', 'waiting:' || sub_account || ':' || ref, 'waiting', sub_account, ref, 0,
      CASE WHEN day > now() - interval '2 days' THEN 900 ELSE 0 END, 0
    FROM member, LATERAL (
      SELECT day, to_char(day, 'YYYYMMDD') FROM generate_series(now() - interval '1 year', now(), interval '1 day') day
    ) AS days (day, ref)
    WHERE member_id LIKE 'm%' OR member_id = 'big'
    """,
    """
    INSERT INTO account
    SELECT '9930', 'in-transit:' || ref, 'in-transit', '', ref, NULL,
      CASE WHEN day > now() - interval '5 days' THEN -90000 ELSE 0 END, 0
    FROM (
      SELECT day, to_char(day, 'YYYYMMDD') FROM generate_series(now() - interval '1 year', now(), interval '1 day') day
    ) AS days (day, ref)
    """,
    "INSERT INTO account SELECT '9930', kind, kind, '', '', NULL, 0, 0"
    " FROM unnest(ARRAY['fee', 'limits', 'pooled', 'own-funds']) AS k (kind)",
    # The breaks of a year, of which 3,000 are open; a thousand were adjusted, a hundred of them are not explained.
    """
    INSERT INTO break
    SELECT '9930', md5('break' || n)::uuid, current_date - n / 150, 'JY', 'amount', 100, 90, NULL, NULL, '', NULL, NULL,
      'PAY_T1', 'P' || n, '', '', '', '', n % 18 = 0, now() - n * interval '9 min'
    FROM generate_series(1, 54000) n
    """,
    """
    INSERT INTO break_event (platform, break_id, kind, caller, person, note, reason, at, mac)
    SELECT '9930', break_id, e.kind, '', '', '', reason, opened_at, ''
    FROM break, (VALUES ('opened', NULL), ('closed', 'explained')) AS e (kind, reason)
    WHERE e.kind = 'opened' OR NOT is_open
    ORDER BY break_id, e.kind DESC
    """,
    """
    INSERT INTO account
    SELECT '9930', 'difference:' || id, 'difference', '', id, NULL, CASE n % 10 WHEN 0 THEN 10 ELSE 0 END, 0
    FROM (SELECT n, md5('break' || n)::uuid::text FROM generate_series(1, 1000) n) AS d (n, id)
    """,
    """
    WITH adjusted AS (
      INSERT INTO reference
      SELECT '9930', id, 'break', md5('break' || row_number() OVER (ORDER BY id))::uuid::text
      FROM (SELECT id FROM operation WHERE kind = 'FREEZE' AND state = 'done' ORDER BY id DESC LIMIT 1000) o
      RETURNING operation_id, value
    )
    INSERT INTO leg SELECT '9930', operation_id, 1, 9, 'own-funds', 'difference:' || value, 10 FROM adjusted
    """,
    """
    INSERT INTO bank_file (
      platform, bank_day, type, version, sha256, size, name, rows, bad_rows, repaired_rows, amount_fen, fee_fen, state,
      loaded_at, matched_at
    )
    SELECT '9930', current_date - d, t, 1, sha256((d || t)::bytea), 1, 'f', 1, 0, 0, 1, 1, 'matched', now(), now()
    FROM generate_series(1, 365) d, unnest(ARRAY['CZ', 'TX', 'JY', 'YE', '6050', '6048', '6108', '6109']) t
    """,
    # 20,000 proposals, of which 1,000 wait.
    """
    WITH proposed AS (
      INSERT INTO proposal
      SELECT '9930', md5('proposal' || n)::uuid, 'proposed-' || n, '', 'jzb.v1.PaymentService/Pay', '{key_id}', '', 100,
        'b1', 'm1', '', 'more than one may pay', 'shop', 'ann', now() - n * interval '1 min', now() + interval '1 day'
      FROM generate_series(1, 20000) n
      RETURNING proposal_id, proposed_at
    )
    INSERT INTO proposal_due (platform, proposal_id, at)
    SELECT '9930', proposal_id, now() + interval '1 day' FROM proposed WHERE proposed_at > now() - interval '1000 min'
    """,
    """
    INSERT INTO work_event (platform, work_id, kind, owner, note, caller, person)
    SELECT '9930', 'operation:' || operation_id, 'assigned', 'ann', '', 'desk', 'ann' FROM due
    UNION ALL
    SELECT '9930', 'suspense:' || ref, 'noted', '', 'asked the customer', 'desk', 'ann' FROM account
    WHERE kind = 'suspense'
    """,
)
LONG = {
    "operation": ("operation", "booking"),
    "journal": ("account", "transaction", "hold", "resolution", "leg", "event", "reference"),
}
"""Tables whose indexes are built when they are full."""
FILLING = {**SERVER, "fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
"""The settings of a server while nothing but the filling would be lost."""


def fill(dsn: str) -> None:
    """Store it all; two connections share the work."""
    store, later = partial(stored_in_chunks, dsn), OPERATIONS - BOOKED
    built = {name: _without_indexes(dsn, tables) for name, tables in LONG.items()}

    def journal() -> None:
        store(0, later, ENDED, PAST)
        store(later, OPERATIONS, JOURNAL, PAST)
        store(0, OPERATIONS, BOOKING, PAST)

    def statements() -> None:
        _executed(dsn, [*built["journal"], f"ANALYZE {', '.join(LONG['journal'])}"])
        _make_statements(dsn)

    with ThreadPoolExecutor(2) as workers:
        _both(workers.submit(store, 0, OPERATIONS, OPERATION, PAST), workers.submit(journal))
        _both(workers.submit(_executed, dsn, built["operation"]), workers.submit(statements))
    (key_id,) = Vault([VAULT_KEY], PLATFORM).key_ids
    _executed(dsn, [statement.replace("{key_id}", key_id) for statement in TOGETHER])
    _executed(dsn, ["VACUUM ANALYZE"])


def _both(*works: Any) -> None:
    for work in works:
        work.result()


def _executed(dsn: str, statements: Collection[str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        for statement in statements:
            connection.execute(statement.encode())


def _make_statements(dsn: str) -> None:
    """Entries and snapshots of all events, by the service's own statement: in long steps, then in short ones."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET work_mem = '512MB'")
        ((events,),) = connection.execute("SELECT max(seq) FROM event").fetchall()
        done, limit, seen = 0, AT_ONCE, AT_ONCE
        while seen == limit:
            limit = AT_ONCE if events - done > AT_ONCE + AS_THE_SERVICE else STEP
            values = {"platform": PLATFORM, "limit": limit}
            ((seen, ended),) = connection.execute(entry_statements.FILL, values).fetchall()
            done += ended


def _without_indexes(dsn: str, tables: Collection[str]) -> list[str]:
    """Drop the indexes of these tables; the statements that build them again."""
    again: list[str] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, name, index, constraint in connection.execute(
            """
            SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid),
              CASE c.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END
            FROM pg_index i
            LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
            WHERE i.indrelid = ANY(%s::regclass[])
            """,
            [list(tables)],
        ).fetchall():
            again.append(index)
            if constraint:
                connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
                again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {constraint} USING INDEX {name}")
            else:
                connection.execute(f"DROP INDEX {name}".encode())
    return again

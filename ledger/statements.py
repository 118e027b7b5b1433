"""The writer's SQL: set-based, each statement once for a whole batch.

Reads take named parameters (platform, requests, ids, names, drawn); writes take the platform, the time of the batch and
one array a column.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Final, LiteralString


def _numbered(query: str) -> bytes:
    """A query whose placeholders are numbered once and for all: the driver does not keep what it makes of long ones."""
    numbers = itertools.count(1)
    return re.sub("%s", lambda _: f"${next(numbers)}", query).encode()


SESSION: Final[Mapping[str, str]] = {
    "transaction_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "seq_page_cost": "0",
    "random_page_cost": "0",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
}
"""How the writer's session differs.

A process that is stopped or unreachable in mid-batch must not keep the platform's turn; before PostgreSQL 17 there is
only the second timeout, which does not always fire after a pipeline. And every statement is planned once, as one index
look-up a key, whatever the planner believes about tables that have grown since; to that end the keys below come with
their platform out of a subquery that is not flattened (OFFSET 0).
"""

TAKE_TURN: LiteralString = """
SELECT pg_advisory_lock(hashtextextended(%s, 0)), set_config('idle_session_timeout', '10s', false)
"""
"""One writer at a time on a platform, whichever process it is in; they are served in order of arrival.

A session's lock, not a transaction's: a turn is several transactions. Between those it is the idle timeout that frees
the platform from a process that was stopped.
"""

END_TURN: LiteralString = """
SELECT set_config('idle_session_timeout', '0', false), pg_advisory_unlock(hashtextextended(%s, 0))
"""

HEAD: LiteralString = """
SELECT
  clock_timestamp(), coalesce(p.batches, 0), p.cleared_through, s.at, s.digest, p.behind_since, own.digest,
  array_prepend(coalesce(s.mac, ''), ARRAY(
    SELECT v.mac FROM vouched v WHERE v.subject = 'batch ' || p.batches AND v.platform = p.platform
  ))
FROM (SELECT %s::text AS platform, %s::bigint AS own_batch) AS wanted
LEFT JOIN platform p ON p.platform = wanted.platform
LEFT JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
LEFT JOIN seal own ON own.platform = wanted.platform AND own.batch = wanted.own_batch
"""
"""``own`` is the last batch that this process has committed, as the database has it now."""

UNSEALED: LiteralString = "SELECT unsealed FROM platform WHERE platform = %s"

OPERATION_ROW: LiteralString = (
    "o.id, o.request_id, o.fingerprint, o.kind, o.serial, o.state, o.payer, o.payee, o.order_no, o.amount_fen,"
    " o.fee_fen, o.reason, o.message, o.breach, o.bank_code, o.bank_message, o.bank_serial, o.bank_day, o.trace_id,"
    " o.plan::text, o.asks, o.not_found, d.ask_at, o.created_at, o.updated_at, o.caller, o.person"
)
"""In the order of `ledger.operations.Operation`."""

PARTS_OF: LiteralString = """(
  SELECT json_agg(
    json_build_array(
      t.part, t.serial, t.payer, t.payee, t.amount_fen, t.fee_fen, coalesce(r.verdict, 'reserved'), r.bank_day,
      t.corrects, t.order_no, coalesce(r.bank_serial, '')
    )
    ORDER BY t.part
  )
  FROM transaction t
  LEFT JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
  WHERE t.platform = o.platform AND t.operation_id = o.id
)"""
"""The parts of the operation ``o``, in the order of `ledger.operations.Part`: NULL where it has none."""

BY_REQUEST: LiteralString = (
    "(SELECT %(platform)s::text AS platform, k.* FROM unnest(%(requests)s::text[]) AS k (request_id) OFFSET 0)"
)
BY_ID: LiteralString = "(SELECT %(platform)s::text AS platform, k.* FROM unnest(%(ids)s::uuid[]) AS k (id) OFFSET 0)"
BY_NAME: LiteralString = (
    "(SELECT %(platform)s::text AS platform, k.* FROM unnest(%(names)s::text[]) AS k (name) OFFSET 0)"
)
BY_OWNER: LiteralString = (
    "(SELECT %(platform)s::text AS platform, k.* FROM unnest(%(drawn)s::text[]) AS k (owner) OFFSET 0)"
)

OPERATIONS: LiteralString = f"""
SELECT {OPERATION_ROW}
FROM {BY_REQUEST} wanted
JOIN operation o ON o.platform = wanted.platform AND o.request_id = wanted.request_id
LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
UNION ALL
SELECT {OPERATION_ROW}
FROM {BY_ID} wanted
JOIN operation o ON o.platform = wanted.platform AND o.id = wanted.id
LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
"""

PARTS: LiteralString = f"""
SELECT
  t.operation_id, t.part, t.serial, t.payer, t.payee, t.amount_fen, t.fee_fen, coalesce(r.verdict, 'reserved'),
  r.bank_day, t.corrects, t.order_no, coalesce(r.bank_serial, '')
FROM {BY_ID} wanted
JOIN transaction t ON t.platform = wanted.platform AND t.operation_id = wanted.id
LEFT JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
"""

HOLDS: LiteralString = f"""
SELECT h.operation_id, h.part, a.kind, a.owner, a.ref, h.amount_fen
FROM {BY_ID} wanted
JOIN hold h ON h.platform = wanted.platform AND h.operation_id = wanted.id
JOIN account a ON a.platform = h.platform AND a.name = h.account
ORDER BY h.operation_id, h.part, h.account
"""

ACCOUNTS: LiteralString = f"""
SELECT a.kind, a.owner, a.ref, a.balance_fen, a.held_fen
FROM (
  SELECT platform, name FROM {BY_NAME} wanted
  UNION
  SELECT h.platform, side.name
  FROM {BY_ID} wanted
  JOIN hold h ON h.platform = wanted.platform AND h.operation_id = wanted.id
  JOIN account a ON a.platform = h.platform AND a.name = h.account
  CROSS JOIN LATERAL (VALUES (h.account), ('withdrawable:' || a.owner)) AS side (name)
) touched
JOIN account a ON a.platform = touched.platform AND a.name = touched.name
UNION
SELECT a.kind, a.owner, a.ref, a.balance_fen, a.held_fen
FROM {BY_OWNER} wanted
JOIN account a ON a.platform = wanted.platform AND a.name = 'withdrawable:' || wanted.owner
UNION
SELECT a.kind, a.owner, a.ref, a.balance_fen, a.held_fen
FROM {BY_OWNER} wanted
JOIN account a ON a.platform = wanted.platform AND a.owner = wanted.owner AND a.kind = 'waiting' AND a.has_money
"""
"""The accounts a batch may debit: those it names, those its pending parts hold (and where uncleared money that is
let go may land), and the pockets it may draw on.
"""

STANDING: LiteralString = (
    "%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::int[],"
    " %s::int[]"
)
STANDING_NAMES: LiteralString = (
    "state, reason, message, breach, bank_code, bank_message, bank_serial, bank_day, asks, not_found"
)

WRITE: bytes = _numbered(f"""
WITH
batch AS (SELECT %s::text AS platform, %s::timestamptz AS at),
head AS (
  INSERT INTO platform (platform, batches, cleared_through)
  SELECT platform, 1, %s::date FROM batch
  ON CONFLICT (platform) DO UPDATE
  SET batches = platform.batches + 1, cleared_through = coalesce(excluded.cleared_through, platform.cleared_through)
),
sealed AS (
  INSERT INTO seal (platform, batch, at, leaves, digest, mac)
  SELECT platform, %s::bigint, at, %s::bytea, %s::bytea, %s::bytea FROM batch
),
stored_accounts AS (
  UPDATE account a
  SET balance_fen = a.balance_fen + v.balance_fen, held_fen = a.held_fen + v.held_fen
  FROM (
    SELECT * FROM batch, unnest(%s::text[], %s::bigint[], %s::bigint[]) AS k (name, balance_fen, held_fen) OFFSET 0
  ) v
  WHERE a.platform = v.platform AND a.name = v.name
),
other_accounts AS (
  INSERT INTO account (platform, name, kind, owner, ref, floor_fen, balance_fen, held_fen)
  SELECT batch.platform, v.*
  FROM batch, unnest(
    %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[]
  ) AS v
  ON CONFLICT ON CONSTRAINT account_pk DO UPDATE
  SET balance_fen = account.balance_fen + excluded.balance_fen, held_fen = account.held_fen + excluded.held_fen
),
new_operations AS (
  INSERT INTO operation (
    platform, id, request_id, fingerprint, kind, serial, payer, payee, order_no, amount_fen, fee_fen, trace_id, plan,
    caller, person, state, reason, message, breach, bank_code, bank_message, bank_serial, bank_day, asks, not_found,
    created_at, updated_at
  )
  SELECT
    batch.platform, v.id, v.request_id, v.fingerprint, v.kind, v.serial, v.payer, v.payee, v.order_no, v.amount_fen,
    v.fee_fen, v.trace_id, v.plan::json, v.caller, v.person, v.state, v.reason, v.message, v.breach::jsonb, v.bank_code,
    v.bank_message, v.bank_serial, v.bank_day, v.asks, v.not_found, batch.at, batch.at
  FROM batch, unnest(
    %s::uuid[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
    %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], {STANDING}
  ) AS v (
    id, request_id, fingerprint, kind, serial, payer, payee, order_no, amount_fen, fee_fen, trace_id, plan, caller,
    person, {STANDING_NAMES}
  )
),
moved_operations AS (
  UPDATE operation o
  SET
    state = v.state, reason = v.reason, message = v.message, breach = v.breach::jsonb, bank_code = v.bank_code,
    bank_message = v.bank_message, bank_serial = v.bank_serial, bank_day = v.bank_day, asks = v.asks,
    not_found = v.not_found, updated_at = v.at,
    serial = coalesce(v.serial, o.serial), trace_id = coalesce(v.trace_id, o.trace_id),
    plan = coalesce(v.plan::json, o.plan)
  FROM (
    SELECT *
    FROM batch, unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], {STANDING})
      AS k (id, serial, trace_id, plan, {STANDING_NAMES})
    OFFSET 0
  ) v
  WHERE o.platform = v.platform AND o.id = v.id
),
asked AS (
  INSERT INTO due (platform, operation_id, ask_at)
  SELECT batch.platform, v.operation_id, clock_timestamp() + v.ask_in
  FROM batch, unnest(%s::uuid[], %s::interval[]) AS v (operation_id, ask_in)
  ON CONFLICT ON CONSTRAINT due_once DO UPDATE SET ask_at = excluded.ask_at
),
ended AS (
  DELETE FROM due d
  USING (SELECT * FROM batch, unnest(%s::uuid[]) AS k (operation_id) OFFSET 0) v
  WHERE d.platform = v.platform AND d.operation_id = v.operation_id
),
new_transactions AS (
  INSERT INTO transaction (
    platform, operation_id, part, serial, payer, payee, amount_fen, fee_fen, corrects, order_no, reserved_at
  )
  SELECT batch.platform, v.*, batch.at
  FROM batch, unnest(
    %s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::int[], %s::text[]
  ) AS v
),
new_holds AS (
  INSERT INTO hold (platform, operation_id, part, account, amount_fen)
  SELECT batch.platform, v.* FROM batch, unnest(%s::uuid[], %s::int[], %s::text[], %s::bigint[]) AS v
),
new_resolutions AS (
  INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, bank_serial, at)
  SELECT batch.platform, v.*, batch.at
  FROM batch, unnest(%s::uuid[], %s::int[], %s::text[], %s::date[], %s::text[]) AS v
),
new_legs AS (
  INSERT INTO leg (platform, operation_id, part, leg, debit, credit, amount_fen)
  SELECT batch.platform, v.*
  FROM batch, unnest(%s::uuid[], %s::int[], %s::smallint[], %s::text[], %s::text[], %s::bigint[]) AS v
),
new_references AS (
  INSERT INTO reference (platform, operation_id, kind, value)
  SELECT batch.platform, v.* FROM batch, unnest(%s::uuid[], %s::text[], %s::text[]) AS v
  ON CONFLICT DO NOTHING
),
new_bookings AS (
  INSERT INTO booking (platform, operation_id, bank_day, bank_serial)
  SELECT batch.platform, v.* FROM batch, unnest(%s::uuid[], %s::date[], %s::text[]) AS v
  ON CONFLICT DO NOTHING
),
kept_answers AS (
  INSERT INTO bank_answer (platform, digest, key_id, content, parts)
  SELECT batch.platform, v.* FROM batch, unnest(%s::bytea[], %s::text[], %s::bytea[], %s::bytea[]) AS v
  ON CONFLICT DO NOTHING
)
INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, mac, at)
SELECT batch.platform, v.*, batch.at
FROM batch, unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bytea[]) AS v
""")
"""A whole batch in one statement, so that it costs one message however many tables it touches.

``head`` counts the batch: by that a writer knows whether what it remembers is still so. ``other_accounts`` are new, or
without a floor and therefore never read. ``asked`` counts from the present and not from the batch's time, which never
goes back, as the clock by which operations are due may. An operation whose call never left is tried again under a
serial, a trace and a plan of its own; for the others these three are NULL.
"""

UPSERT_MEMBER: LiteralString = """
INSERT INTO member (platform, member_id, sub_account, property, opened_at, closed_at, same_name, mac)
VALUES (%s, %s, %s, %s, now(), CASE WHEN %s THEN NULL ELSE now() END, %s, %s)
ON CONFLICT ON CONSTRAINT member_pk DO UPDATE
SET
  sub_account = excluded.sub_account, property = excluded.property, closed_at = excluded.closed_at,
  same_name = CASE excluded.same_name WHEN '' THEN member.same_name ELSE excluded.same_name END,
  mac = excluded.mac
"""

INSERT_MEMBERSHIP: LiteralString = """
INSERT INTO membership (platform, member_id, sub_account, property, is_open, same_name, operation_id, at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

INSERT_CARD: LiteralString = """
INSERT INTO card (
  platform, card_id, member_id, key_id, digest, sealed, masked, bank_type, branch_name, cnaps_no, super_bank_no,
  checked_by, serial, state, wrong, pay_in_fen, created_at, bound_at
)
VALUES (
  %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now(),
  CASE WHEN %s::text = 'bound' THEN now() END
)
"""

CLOSE_BREAK: LiteralString = """
WITH adjusted AS (
  UPDATE break SET is_open = false WHERE platform = %(platform)s AND break_id = %(break_id)s::uuid
  RETURNING platform, break_id
)
INSERT INTO break_event (platform, break_id, kind, caller, person, note, reason, operation_id, mac)
SELECT platform, break_id, 'closed', %(caller)s, %(person)s, %(note)s, 'adjusted', %(operation_id)s::uuid, ''
FROM adjusted
"""
"""With the adjustment's own commit. There is no MAC: the operation that it names is sealed, with its approval."""

UPDATE_CARD: LiteralString = """
UPDATE card
SET
  state = coalesce(%(state)s::text, state),
  wrong = wrong + %(wrong)s::int,
  ends_at = coalesce(now() + make_interval(secs => %(life_s)s::float8), ends_at),
  pay_in_fen = coalesce(%(pay_in_fen)s::bigint, pay_in_fen),
  branch_name = coalesce(%(branch_name)s::text, branch_name),
  cnaps_no = coalesce(%(cnaps_no)s::text, cnaps_no),
  super_bank_no = coalesce(%(super_bank_no)s::text, super_bank_no),
  bound_at = CASE WHEN %(state)s::text = 'bound' THEN now() ELSE bound_at END,
  ended_at = CASE WHEN %(state)s::text IN ('unbound', 'failed', 'unsent') THEN now() ELSE ended_at END
WHERE platform = %(platform)s AND card_id = %(card_id)s::uuid
  AND (%(state)s::text IS NULL OR state = 'checking' OR (state = 'bound' AND %(state)s::text = 'unbound'))
"""
"""A state that comes late is not taken: see `ledger.cards.CardState`."""

_WANTED: LiteralString = f"""(
  SELECT
    ARRAY(
      SELECT ARRAY[f.kind, f.value]
      FROM reference f
      WHERE f.platform = o.platform AND f.operation_id = o.id
    ),
    {OPERATION_ROW}, {PARTS_OF}
  FROM (SELECT * FROM operation WHERE platform = e.platform AND id = e.operation_id OFFSET 0) o
  LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
  WHERE
    (%(states)s::text[] = '{{}}' OR e.state = ANY (%(states)s::text[]))
    AND (%(kinds)s::text[] = '{{}}' OR o.kind = ANY (%(kinds)s::text[]))
    AND (
      %(order_no)s::text = '' OR o.order_no = %(order_no)s::text OR %(order_no)s::text = ANY (ARRAY(
        SELECT f.value FROM reference f
        WHERE f.platform = o.platform AND f.operation_id = o.id AND f.kind = 'order'
      ))
    )
    AND (
      %(member_id)s::text = '' OR %(member_id)s::text IN (o.payer, o.payee) OR %(member_id)s::text = ANY (ARRAY(
        SELECT f.value FROM reference f
        WHERE f.platform = o.platform AND f.operation_id = o.id AND f.kind = 'member'
      ))
    )
  OFFSET 0
)"""
"""What else the operation of the event ``e`` is found by, itself, and its parts, if both meet the filters. Lateral and
not flattened, and arrays rather than EXISTS, so that the plan is index look-ups for each event whatever is believed of
the tables.
"""

EVENTS: LiteralString = f"""
SELECT e.seq, e.state, e.at, found.*
FROM (
  SELECT platform, seq, operation_id, state, at
  FROM event
  WHERE platform = %(platform)s AND seq > %(after)s AND seq <= %(upto)s
  ORDER BY seq
  LIMIT %(limit)s
) e
LEFT JOIN LATERAL {_WANTED} found ON true
ORDER BY e.seq
"""
"""A page of events, the wanted ones with their operations: what is not wanted is a row as well, so that the reader
knows how far it has come.
"""

EVENTS_OF_ONE: LiteralString = f"""
SELECT e.seq, e.state, e.at, found.*
FROM (
  SELECT platform, seq, operation_id, state, at
  FROM event
  WHERE platform = %(platform)s AND operation_id = %(operation_id)s AND seq > %(after)s AND seq <= %(upto)s
  ORDER BY seq
  LIMIT %(limit)s
) e
LEFT JOIN LATERAL {_WANTED} found ON true
ORDER BY e.seq
"""
"""The same of one operation, whose events have an index of their own."""

FULL_OPERATIONS: LiteralString = f"""
SELECT {OPERATION_ROW}, {PARTS_OF} AS parts
FROM operation o
LEFT JOIN due d ON d.platform = o.platform AND d.operation_id = o.id
WHERE o.platform = :platform AND o.id = ANY (:ids)
"""

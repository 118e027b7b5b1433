"""The writer's SQL: set-based, each statement once for a whole batch.

Reads take named parameters (platform, requests, ids, names, drawn); writes take the platform and one array a column.
"""

from __future__ import annotations

from typing import LiteralString

LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended(%(platform)s, 0))"
"""One batch at a time on a platform, whichever process it comes from."""

HEAD: LiteralString = """
SELECT now(), (SELECT cleared_through FROM platform WHERE platform = %(platform)s)
"""

# The look-ups below are lateral with OFFSET 0: one index look-up a key, whatever the planner believes about a
# table that has grown since it was last analysed.

OPERATION_ROW: LiteralString = (
    "id, request_id, fingerprint, kind, serial, state, payer, payee, order_no, amount_fen, fee_fen, reason, message,"
    " breach, bank_code, bank_message, bank_serial, bank_day, trace_id, plan::text AS plan_text, asks, not_found,"
    " next_ask_at, created_at, updated_at"
)

OPERATIONS: LiteralString = f"""
SELECT o.*
FROM unnest(%(requests)s::text[]) AS wanted (request_id)
CROSS JOIN LATERAL (
  SELECT {OPERATION_ROW} FROM operation
  WHERE platform = %(platform)s AND request_id = wanted.request_id OFFSET 0
) o
UNION ALL
SELECT o.*
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
  SELECT {OPERATION_ROW} FROM operation WHERE platform = %(platform)s AND id = wanted.id OFFSET 0
) o
"""

PARTS: LiteralString = """
SELECT p.*
FROM (
  SELECT id FROM unnest(%(ids)s::uuid[]) AS wanted (id)
  UNION ALL
  SELECT o.id
  FROM unnest(%(requests)s::text[]) AS wanted (request_id)
  CROSS JOIN LATERAL (
    SELECT id FROM operation
    WHERE platform = %(platform)s AND request_id = wanted.request_id OFFSET 0
  ) o
) known
CROSS JOIN LATERAL (
  SELECT
    t.operation_id, t.part, t.serial, t.payer, t.payee, t.amount_fen, t.fee_fen, t.corrects, t.order_no,
    r.verdict, r.bank_day
  FROM transaction t
  LEFT JOIN resolution r USING (platform, operation_id, part)
  WHERE t.platform = %(platform)s AND t.operation_id = known.id
  OFFSET 0
) p
"""

HOLDS: LiteralString = """
SELECT h.*
FROM unnest(%(ids)s::uuid[]) AS known (id)
CROSS JOIN LATERAL (
  SELECT h.operation_id, h.part, a.kind, a.owner, a.ref, h.amount_fen
  FROM hold h
  JOIN account a ON a.platform = h.platform AND a.name = h.account
  WHERE h.platform = %(platform)s AND h.operation_id = known.id
  ORDER BY h.part, h.account
  OFFSET 0
) h
"""

ACCOUNTS: LiteralString = """
SELECT a.*
FROM (
  SELECT name FROM unnest(%(names)s::text[]) AS wanted (name)
  UNION
  SELECT h.account
  FROM unnest(%(ids)s::uuid[]) AS known (id)
  CROSS JOIN LATERAL (
    SELECT account FROM hold WHERE platform = %(platform)s AND operation_id = known.id OFFSET 0
  ) h
) touched
CROSS JOIN LATERAL (
  SELECT kind, owner, ref, balance_fen, held_fen
  FROM account
  WHERE platform = %(platform)s AND name = touched.name
  OFFSET 0
) a
UNION
SELECT p.*
FROM unnest(%(drawn)s::text[]) AS drawn (owner)
CROSS JOIN LATERAL (
  SELECT kind, owner, ref, balance_fen, held_fen
  FROM account
  WHERE platform = %(platform)s
    AND owner = drawn.owner
    AND (kind = 'withdrawable' OR kind = 'waiting' AND balance_fen > 0)
  OFFSET 0
) p
"""
"""The accounts a batch may debit: those it names, those its pending parts hold, and the pockets it may draw on."""

UPDATE_ACCOUNTS: LiteralString = """
WITH batch AS (SELECT %s::text AS platform)
UPDATE account a
SET balance_fen = v.balance_fen, held_fen = v.held_fen
FROM batch, unnest(%s::text[], %s::bigint[], %s::bigint[]) AS v (name, balance_fen, held_fen)
WHERE a.platform = batch.platform AND a.name = v.name
"""

UPSERT_ACCOUNTS: LiteralString = """
WITH batch AS (SELECT %s::text AS platform)
INSERT INTO account (platform, name, kind, owner, ref, floor_fen, balance_fen, held_fen)
SELECT batch.platform, v.*
FROM batch, unnest(
  %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[]
) AS v
ON CONFLICT ON CONSTRAINT account_pk DO UPDATE
SET balance_fen = account.balance_fen + excluded.balance_fen, held_fen = account.held_fen + excluded.held_fen
"""
"""New accounts, and the summed change of those without a floor, which are not read before."""

STANDING: LiteralString = (
    "%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::int[],"
    " %s::int[], %s::interval[]"
)
STANDING_NAMES: LiteralString = (
    "state, reason, message, breach, bank_code, bank_message, bank_serial, bank_day, asks, not_found, next_ask_in"
)

INSERT_OPERATIONS: LiteralString = f"""
WITH batch AS (SELECT %s::text AS platform)
INSERT INTO operation (
  platform, id, request_id, fingerprint, kind, serial, payer, payee, order_no, amount_fen, fee_fen, trace_id, plan,
  state, reason, message, breach, bank_code, bank_message, bank_serial, bank_day, asks, not_found, next_ask_at,
  created_at, updated_at
)
SELECT
  batch.platform, v.id, v.request_id, v.fingerprint, v.kind, v.serial, v.payer, v.payee, v.order_no, v.amount_fen,
  v.fee_fen, v.trace_id, v.plan::jsonb, v.state, v.reason, v.message, v.breach::jsonb, v.bank_code, v.bank_message,
  v.bank_serial, v.bank_day, v.asks, v.not_found, now() + v.next_ask_in, now(), now()
FROM batch, unnest(
  %s::uuid[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
  %s::bigint[], %s::text[], %s::text[], {STANDING}
) AS v (
  id, request_id, fingerprint, kind, serial, payer, payee, order_no, amount_fen, fee_fen, trace_id, plan,
  {STANDING_NAMES}
)
"""

UPDATE_OPERATIONS: LiteralString = f"""
WITH batch AS (SELECT %s::text AS platform)
UPDATE operation o
SET
  state = v.state, reason = v.reason, message = v.message, breach = v.breach::jsonb, bank_code = v.bank_code,
  bank_message = v.bank_message, bank_serial = v.bank_serial, bank_day = v.bank_day, asks = v.asks,
  not_found = v.not_found, next_ask_at = now() + v.next_ask_in, updated_at = now()
FROM batch, unnest(%s::uuid[], {STANDING}) AS v (id, {STANDING_NAMES})
WHERE o.platform = batch.platform AND o.id = v.id
"""

REOPEN_OPERATIONS: LiteralString = """
WITH batch AS (SELECT %s::text AS platform)
UPDATE operation o
SET serial = v.serial, trace_id = v.trace_id, plan = v.plan::jsonb
FROM batch, unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]) AS v (id, serial, trace_id, plan)
WHERE o.platform = batch.platform AND o.id = v.id
"""
"""An operation whose call never left is tried again under a serial of its own."""

INSERT_TRANSACTIONS: LiteralString = """
INSERT INTO transaction (
  platform, operation_id, part, serial, payer, payee, amount_fen, fee_fen, corrects, order_no, reserved_at
)
SELECT %s, v.*, now()
FROM unnest(
  %s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::int[], %s::text[]
) AS v
"""

INSERT_HOLDS: LiteralString = """
INSERT INTO hold (platform, operation_id, part, account, amount_fen)
SELECT %s, v.* FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bigint[]) AS v
"""

INSERT_RESOLUTIONS: LiteralString = """
INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, at)
SELECT %s, v.*, now() FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::date[]) AS v
"""

INSERT_LEGS: LiteralString = """
INSERT INTO leg (platform, operation_id, part, leg, debit, credit, amount_fen)
SELECT %s, v.*
FROM unnest(%s::uuid[], %s::int[], %s::smallint[], %s::text[], %s::text[], %s::bigint[]) AS v
"""

INSERT_EVENTS: LiteralString = """
INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)
SELECT %s, v.*, now()
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[]) AS v
"""

UPSERT_MEMBER: LiteralString = """
INSERT INTO member (platform, member_id, sub_account, property, opened_at, closed_at, same_name)
VALUES (%s, %s, %s, %s, now(), CASE WHEN %s THEN NULL ELSE now() END, %s)
ON CONFLICT ON CONSTRAINT member_pk DO UPDATE
SET
  sub_account = excluded.sub_account, property = excluded.property, closed_at = excluded.closed_at,
  same_name = CASE excluded.same_name WHEN '' THEN member.same_name ELSE excluded.same_name END
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

UPSERT_PLATFORM: LiteralString = """
INSERT INTO platform (platform, cleared_through) VALUES (%s, %s)
ON CONFLICT (platform) DO UPDATE SET cleared_through = excluded.cleared_through
"""

"""The SQL of `ledger.entries`: one statement that fills its four tables, and those that read them.

Parameters are named: the platform, and what each statement says.
"""

from __future__ import annotations

from typing import LiteralString

TURN: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('entries ' || %s, 0))"

POSTED: LiteralString = """
  SELECT e.at, e.operation_id, r.part, r.bank_day, split_part(side.name, ':', 1) AS kind,
    split_part(side.name, ':', 2) AS sub_account, side.debit_fen, side.credit_fen
  FROM (SELECT DISTINCT operation_id, at FROM ended) e
  CROSS JOIN LATERAL (
    SELECT part, bank_day FROM resolution
    WHERE platform = %(platform)s AND operation_id = e.operation_id AND at = e.at AND verdict = 'posted'
    OFFSET 0
  ) r
  CROSS JOIN LATERAL (
    SELECT debit, credit, amount_fen FROM leg
    WHERE platform = %(platform)s AND operation_id = e.operation_id AND part = r.part
    OFFSET 0
  ) l
  CROSS JOIN LATERAL (VALUES (l.debit, l.amount_fen, 0), (l.credit, 0, l.amount_fen))
    AS side (name, debit_fen, credit_fen)
"""
"""Both sides of all legs that the events in ``ended`` have posted. Lateral, so that the plan is one index look-up a key
whatever the planner believes about the tables.
"""

FILL: LiteralString = f"""
WITH
was AS MATERIALIZED (
  SELECT * FROM filled WHERE platform = %(platform)s ORDER BY at DESC LIMIT 1
),
seen AS MATERIALIZED (
  SELECT seq, operation_id, at
  FROM event
  WHERE platform = %(platform)s AND seq > coalesce((SELECT event FROM was), 0)
  ORDER BY seq
  LIMIT %(limit)s
),
ended AS MATERIALIZED (
  -- Of the last batch more may be behind the limit.
  SELECT * FROM seen
  WHERE (SELECT count(*) FROM seen) < %(limit)s OR at < (SELECT max(at) FROM seen)
),
sides AS MATERIALIZED ({POSTED}),
changes AS MATERIALIZED (
  SELECT
    sub_account, at, operation_id, part, bank_day,
    coalesce(sum(credit_fen - debit_fen) FILTER (WHERE kind = 'withdrawable'), 0) AS withdrawable_fen,
    coalesce(sum(credit_fen - debit_fen) FILTER (WHERE kind = 'waiting'), 0) AS uncleared_fen,
    coalesce(sum(credit_fen - debit_fen) FILTER (WHERE kind = 'frozen'), 0) AS frozen_fen,
    coalesce(sum(credit_fen - debit_fen) FILTER (WHERE kind = 'escrow'), 0) AS escrow_fen
  FROM sides
  WHERE kind IN ('withdrawable', 'waiting', 'frozen', 'escrow')
  GROUP BY sub_account, at, operation_id, part, bank_day
),
before AS MATERIALIZED (
  SELECT touched.sub_account, last.*
  FROM (SELECT DISTINCT sub_account FROM changes) touched
  CROSS JOIN LATERAL (
    SELECT withdrawable_after_fen, uncleared_after_fen, frozen_after_fen, escrow_after_fen
    FROM entry
    WHERE platform = %(platform)s AND sub_account = touched.sub_account
    ORDER BY at DESC, operation_id DESC, part DESC
    LIMIT 1
  ) last
),
new_entries AS (
  INSERT INTO entry (
    platform, sub_account, at, operation_id, part, bank_day, withdrawable_fen, uncleared_fen, frozen_fen, escrow_fen,
    withdrawable_after_fen, uncleared_after_fen, frozen_after_fen, escrow_after_fen
  )
  SELECT
    %(platform)s, sub_account, at, operation_id, part, bank_day,
    c.withdrawable_fen, c.uncleared_fen, c.frozen_fen, c.escrow_fen,
    coalesce(b.withdrawable_after_fen, 0) + sum(c.withdrawable_fen) OVER running,
    coalesce(b.uncleared_after_fen, 0) + sum(c.uncleared_fen) OVER running,
    coalesce(b.frozen_after_fen, 0) + sum(c.frozen_fen) OVER running,
    coalesce(b.escrow_after_fen, 0) + sum(c.escrow_fen) OVER running
  FROM changes c
  LEFT JOIN before b USING (sub_account)
  WINDOW running AS (PARTITION BY sub_account ORDER BY at, operation_id, part)
),
new_balance_days AS (
  INSERT INTO balance_day AS d (
    platform, sub_account, bank_day, withdrawable_fen, uncleared_fen, frozen_fen, escrow_fen, entries, first_at,
    last_at
  )
  SELECT
    %(platform)s, sub_account, bank_day, sum(withdrawable_fen), sum(uncleared_fen), sum(frozen_fen), sum(escrow_fen),
    count(*), min(at), max(at)
  FROM changes
  GROUP BY sub_account, bank_day
  ON CONFLICT ON CONSTRAINT balance_day_pk DO UPDATE
  SET
    withdrawable_fen = d.withdrawable_fen + excluded.withdrawable_fen,
    uncleared_fen = d.uncleared_fen + excluded.uncleared_fen,
    frozen_fen = d.frozen_fen + excluded.frozen_fen,
    escrow_fen = d.escrow_fen + excluded.escrow_fen,
    entries = d.entries + excluded.entries,
    last_at = excluded.last_at
),
new_kind_days AS (
  INSERT INTO kind_day AS d (platform, bank_day, kind, debit_fen, credit_fen)
  SELECT %(platform)s, bank_day, kind, sum(debit_fen), sum(credit_fen)
  FROM sides
  GROUP BY bank_day, kind
  ON CONFLICT ON CONSTRAINT kind_day_pk DO UPDATE
  SET debit_fen = d.debit_fen + excluded.debit_fen, credit_fen = d.credit_fen + excluded.credit_fen
),
position AS (
  INSERT INTO filled (platform, at, event, kinds, debits_fen, credits_fen)
  SELECT %(platform)s, ends.at, ends.event, totals.kinds, totals.debits_fen, totals.credits_fen
  FROM (SELECT max(at) AS at, max(seq) AS event FROM ended) ends
  CROSS JOIN (
    SELECT
      coalesce(array_agg(kind ORDER BY kind), '{{}}') AS kinds,
      coalesce(array_agg(debit_fen ORDER BY kind), '{{}}') AS debits_fen,
      coalesce(array_agg(credit_fen ORDER BY kind), '{{}}') AS credits_fen
    FROM (
      SELECT kind, sum(debit_fen)::bigint AS debit_fen, sum(credit_fen)::bigint AS credit_fen
      FROM (
        SELECT kind, debit_fen, credit_fen FROM sides
        UNION ALL
        SELECT one.* FROM was, unnest(was.kinds, was.debits_fen, was.credits_fen) AS one
      ) both_sides
      GROUP BY kind
    ) by_kind
  ) totals
  WHERE ends.at IS NOT NULL
)
SELECT (SELECT count(*) FROM seen), (SELECT count(*) FROM ended)
"""

IS_BEHIND: LiteralString = """
SELECT
  (SELECT seq FROM event WHERE platform = %(platform)s ORDER BY seq DESC LIMIT 1)
  > coalesce((SELECT event FROM filled WHERE platform = %(platform)s ORDER BY at DESC LIMIT 1), 0)
"""
"""NULL in books without an event."""

FILLED: LiteralString = """
SELECT event, at, kinds, debits_fen, credits_fen
FROM filled
WHERE platform = %(platform)s AND (%(at)s::timestamptz IS NULL OR at <= %(at)s::timestamptz)
ORDER BY at DESC
LIMIT 1
"""

SUB_ACCOUNTS: LiteralString = """
(
  SELECT sub_account FROM member WHERE platform = %(platform)s AND member_id = %(member_id)s
  UNION
  SELECT sub_account FROM membership WHERE platform = %(platform)s AND member_id = %(member_id)s
)
"""
"""A member that was closed and is opened again may have had another one."""

AS_OF_TIME: LiteralString = f"""
SELECT
  coalesce(sum(withdrawable_after_fen), 0)::bigint, coalesce(sum(uncleared_after_fen), 0)::bigint,
  coalesce(sum(frozen_after_fen), 0)::bigint, coalesce(sum(escrow_after_fen), 0)::bigint
FROM {SUB_ACCOUNTS} own
CROSS JOIN LATERAL (
  SELECT * FROM entry
  WHERE platform = %(platform)s AND sub_account = own.sub_account AND at <= %(at)s
  ORDER BY at DESC, operation_id DESC, part DESC
  LIMIT 1
) last
"""

AS_OF_DAY: LiteralString = f"""
SELECT
  (SELECT max(at) FROM filled WHERE platform = %(platform)s),
  coalesce(sum(withdrawable_fen), 0)::bigint, coalesce(sum(uncleared_fen), 0)::bigint,
  coalesce(sum(frozen_fen), 0)::bigint, coalesce(sum(escrow_fen), 0)::bigint
FROM {SUB_ACCOUNTS} own
CROSS JOIN LATERAL (
  SELECT * FROM balance_day
  WHERE platform = %(platform)s AND sub_account = own.sub_account AND bank_day <= %(bank_day)s
  OFFSET 0
) days
"""

KINDS_AFTER: LiteralString = f"""
WITH ended AS MATERIALIZED (
  SELECT operation_id, at FROM event
  WHERE platform = %(platform)s AND seq > %(after)s AND at <= %(at)s
    AND seq <= (SELECT event FROM filled WHERE platform = %(platform)s AND at > %(at)s ORDER BY at LIMIT 1)
)
SELECT kind, sum(debit_fen)::bigint, sum(credit_fen)::bigint
FROM ({POSTED}) sides
GROUP BY kind
"""

KIND_DAYS: LiteralString = """
SELECT ends.at, kind, sum(debit_fen)::bigint, sum(credit_fen)::bigint
FROM (SELECT max(at) AS at FROM filled WHERE platform = %(platform)s) ends
LEFT JOIN kind_day ON platform = %(platform)s AND bank_day <= %(bank_day)s
GROUP BY ends.at, kind
"""

SPAN: LiteralString = f"""
SELECT min(days.first_at), max(days.last_at)
FROM {SUB_ACCOUNTS} own
CROSS JOIN LATERAL (
  SELECT first_at, last_at FROM balance_day
  WHERE platform = %(platform)s AND sub_account = own.sub_account
    AND bank_day BETWEEN coalesce(%(first_day)s::date, '-infinity') AND coalesce(%(last_day)s::date, 'infinity')
  OFFSET 0
) days
"""
"""Between which times the entries of these bank days are."""

ENTRIES: LiteralString = f"""
SELECT
  e.*, o.request_id, o.kind, o.serial, t.serial, coalesce(nullif(r.bank_serial, ''), o.bank_serial),
  coalesce(nullif(t.order_no, ''), o.order_no), o.payer, o.payee, t.payer, t.payee, t.amount_fen, t.fee_fen,
  g.reference, g.labels
FROM (
  SELECT
    found.at, found.operation_id, found.part, found.sub_account, found.bank_day,
    found.withdrawable_fen, found.uncleared_fen, found.frozen_fen, found.escrow_fen,
    found.withdrawable_after_fen, found.uncleared_after_fen, found.frozen_after_fen, found.escrow_after_fen
  FROM {SUB_ACCOUNTS} own
  CROSS JOIN LATERAL (
    SELECT * FROM entry
    WHERE platform = %(platform)s AND sub_account = own.sub_account
      AND (at, operation_id, part, sub_account) > (%(at)s, %(operation_id)s, %(part)s, %(after)s) AND at <= %(until)s
      AND bank_day BETWEEN coalesce(%(first_day)s::date, '-infinity') AND coalesce(%(last_day)s::date, 'infinity')
    ORDER BY at, operation_id, part
    LIMIT %(limit)s
  ) found
  ORDER BY found.at, found.operation_id, found.part, found.sub_account
  LIMIT %(limit)s
) e
CROSS JOIN LATERAL (SELECT * FROM operation WHERE platform = %(platform)s AND id = e.operation_id OFFSET 0) o
CROSS JOIN LATERAL (
  SELECT * FROM transaction
  WHERE platform = %(platform)s AND operation_id = e.operation_id AND part = e.part
  OFFSET 0
) t
CROSS JOIN LATERAL (
  SELECT bank_serial FROM resolution
  WHERE platform = %(platform)s AND operation_id = e.operation_id AND part = e.part
  OFFSET 0
) r
CROSS JOIN LATERAL (
  SELECT
    coalesce(max(value) FILTER (WHERE kind = 'reference'), '') AS reference,
    array_agg(value) FILTER (WHERE kind = 'label') AS labels
  FROM reference
  WHERE platform = %(platform)s AND operation_id = e.operation_id AND kind IN ('reference', 'label')
) g
ORDER BY e.at, e.operation_id, e.part, e.sub_account
"""

"""Replays the journal, compares it with the balances and with its seals: what `jzb verify` prints.

Works on the tables alone, with SQL of its own: neither the rules nor the writer are asked whether they were right.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger import trail
from ledger.database import reading
from ledger.findings import Finding, Summary
from ledger.journal import operation_from_row
from ledger.macs import SealKeys
from ledger.replay import replay
from ledger.schema import DAY, JOURNAL, PROPOSALS, WORK, account, operation
from ledger.statements import OPERATION_ROW

FINDINGS_MAX = 10_000
MORE = "all findings are told"
OPENED_HERE = "who has the keys has opened what is not final"

OPENED = text(f"""
    SELECT
      {OPERATION_ROW},
      array_cat(
        ARRAY(SELECT e.mac FROM event e WHERE e.platform = o.platform AND e.operation_id = o.id AND e.mac <> ''),
        ARRAY(SELECT v.mac FROM vouched v WHERE v.platform = o.platform AND v.subject = 'opening ' || o.serial)
      )
    FROM due d
    JOIN operation o ON o.platform = d.platform AND o.id = d.operation_id
    WHERE d.platform = :platform
    ORDER BY o.id
""")
"""What is not final, with the MACs of all its openings: the serial and the plan say which of them it is."""

ADDED_TO, COMPUTED = 58, 42
"""What of a table the journal's trigger refuses, as `tgtype` has it: all changes; all but UPDATE."""

_GUARDS = dict.fromkeys((table.name for table in (*JOURNAL, *PROPOSALS, *DAY, *WORK)), ADDED_TO) | dict.fromkeys(
    (operation.name, account.name), COMPUTED
)
_GUARDED = {"guarded": list(_GUARDS), "kinds": list(_GUARDS.values())}

CHECKS: dict[str, LiteralString] = {
    "balance equals the sum of legs": """
        SELECT a.name, coalesce(j.fen, 0)::text, a.balance_fen::text
        FROM account a
        LEFT JOIN (
          SELECT name, sum(fen) AS fen
          FROM (
            SELECT credit AS name, amount_fen AS fen FROM leg WHERE platform = :platform
            UNION ALL
            SELECT debit, -amount_fen FROM leg WHERE platform = :platform
          ) sides
          GROUP BY name
        ) j USING (name)
        WHERE a.platform = :platform AND a.balance_fen <> coalesce(j.fen, 0)
    """,
    "held equals the sum of pending holds": """
        SELECT a.name, coalesce(p.fen, 0)::text, a.held_fen::text
        FROM account a
        LEFT JOIN (
          SELECT h.account AS name, sum(h.amount_fen) AS fen
          FROM hold h
          LEFT JOIN resolution r USING (platform, operation_id, part)
          WHERE h.platform = :platform AND r.verdict IS NULL
          GROUP BY h.account
        ) p USING (name)
        WHERE a.platform = :platform AND a.held_fen <> coalesce(p.fen, 0)
    """,
    "no account is below its floor": """
        SELECT name, floor_fen::text, (balance_fen - held_fen)::text
        FROM account
        WHERE platform = :platform AND balance_fen - held_fen < floor_fen
    """,
    "no account was ever below its floor": """
        SELECT DISTINCT ON (name) name || ' at ' || at, floor_fen::text, left_fen::text
        FROM (
          SELECT
            name, at, floor_fen,
            sum(sum(fen)) OVER (PARTITION BY name ORDER BY at) AS left_fen
          FROM (
            SELECT l.credit AS name, r.at, l.amount_fen AS fen
            FROM leg l JOIN resolution r USING (platform, operation_id, part)
            WHERE platform = :platform
            UNION ALL
            SELECT l.debit, r.at, -l.amount_fen
            FROM leg l JOIN resolution r USING (platform, operation_id, part)
            WHERE platform = :platform
            UNION ALL
            SELECT h.account, t.reserved_at, -h.amount_fen
            FROM hold h JOIN transaction t USING (platform, operation_id, part)
            WHERE platform = :platform
            UNION ALL
            SELECT h.account, r.at, h.amount_fen
            FROM hold h JOIN resolution r USING (platform, operation_id, part)
            WHERE platform = :platform
          ) changes
          JOIN (SELECT name, floor_fen FROM account WHERE platform = :platform) a USING (name)
          WHERE floor_fen IS NOT NULL
          GROUP BY name, at, floor_fen
        ) over_time
        WHERE left_fen < floor_fen
        ORDER BY name, at
    """,
    "all balances sum to zero": """
        SELECT 'all accounts', '0', sum(balance_fen)::text
        FROM account
        WHERE platform = :platform
        HAVING sum(balance_fen) <> 0
    """,
    "a posted transaction takes exactly what it held": """
        SELECT operation_id || '/' || part || ' ' || account, sum(held_fen)::text, sum(taken_fen)::text
        FROM (
          SELECT operation_id, part, account, amount_fen AS held_fen, 0 AS taken_fen
          FROM hold
          WHERE platform = :platform
          UNION ALL
          SELECT l.operation_id, l.part, l.debit, 0, l.amount_fen
          FROM leg l
          JOIN account a ON a.platform = l.platform AND a.name = l.debit
          WHERE l.platform = :platform AND a.floor_fen IS NOT NULL
        ) sides
        JOIN resolution r USING (operation_id, part)
        WHERE r.platform = :platform AND r.verdict = 'posted'
        GROUP BY operation_id, part, account
        HAVING sum(held_fen) <> sum(taken_fen)
    """,
    "a voided transaction moves nothing": """
        SELECT l.operation_id || '/' || l.part, 'no legs', l.amount_fen::text
        FROM leg l
        JOIN resolution r USING (platform, operation_id, part)
        WHERE l.platform = :platform AND r.verdict = 'voided'
    """,
    "every row names what is there": """
        SELECT t.operation_id || '/' || t.part, 'an operation', 'none'
        FROM transaction t
        WHERE t.platform = :platform AND NOT EXISTS (
          SELECT FROM operation o WHERE o.platform = t.platform AND o.id = t.operation_id
        )
        UNION ALL
        SELECT t.operation_id || '/' || t.part, 'part ' || t.corrects, 'none'
        FROM transaction t
        WHERE t.platform = :platform AND t.corrects IS NOT NULL AND NOT EXISTS (
          SELECT FROM transaction c
          WHERE c.platform = t.platform AND c.operation_id = t.operation_id AND c.part = t.corrects
        )
        UNION ALL
        SELECT e.operation_id || ' event ' || e.seq, 'an operation', 'none'
        FROM event e
        WHERE e.platform = :platform AND NOT EXISTS (
          SELECT FROM operation o WHERE o.platform = e.platform AND o.id = e.operation_id
        )
        UNION ALL
        SELECT m.operation_id || ' membership ' || m.seq, 'an operation', 'none'
        FROM membership m
        WHERE m.platform = :platform AND m.operation_id IS NOT NULL AND NOT EXISTS (
          SELECT FROM operation o WHERE o.platform = m.platform AND o.id = m.operation_id
        )
        UNION ALL
        SELECT h.operation_id || '/' || h.part || ' hold', 'a transaction', 'none'
        FROM hold h
        WHERE h.platform = :platform AND NOT EXISTS (
          SELECT FROM transaction t
          WHERE t.platform = h.platform AND t.operation_id = h.operation_id AND t.part = h.part
        )
        UNION ALL
        SELECT r.operation_id || '/' || r.part || ' resolution', 'a transaction', 'none'
        FROM resolution r
        WHERE r.platform = :platform AND NOT EXISTS (
          SELECT FROM transaction t
          WHERE t.platform = r.platform AND t.operation_id = r.operation_id AND t.part = r.part
        )
        UNION ALL
        SELECT l.operation_id || '/' || l.part || ' leg ' || l.leg, 'a resolution', 'none'
        FROM leg l
        WHERE l.platform = :platform AND NOT EXISTS (
          SELECT FROM resolution r
          WHERE r.platform = l.platform AND r.operation_id = l.operation_id AND r.part = l.part
        )
        UNION ALL
        SELECT side.row, side.name, 'none'
        FROM (
          SELECT platform, operation_id || '/' || part || ' leg ' || leg AS row, debit AS name FROM leg
          UNION ALL
          SELECT platform, operation_id || '/' || part || ' leg ' || leg, credit FROM leg
          UNION ALL
          SELECT platform, operation_id || '/' || part || ' hold', account FROM hold
        ) side
        WHERE side.platform = :platform AND NOT EXISTS (
          SELECT FROM account a WHERE a.platform = side.platform AND a.name = side.name
        )
    """,
    "a final operation has no pending part": """
        SELECT o.id || '/' || t.part, 'resolved', 'pending in state ' || o.state
        FROM operation o
        JOIN transaction t ON t.platform = o.platform AND t.operation_id = o.id
        LEFT JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
        WHERE o.platform = :platform AND o.state IN ('done', 'refused', 'released') AND r.verdict IS NULL
    """,
    "an operation is asked about until it is final": """
        SELECT
          coalesce(o.id, d.operation_id)::text,
          CASE WHEN o.state IN ('reserved', 'unknown', 'accepted') THEN 'due' ELSE 'not due' END,
          coalesce(o.state, 'no operation') || CASE WHEN d.ask_at IS NULL THEN ', not due' ELSE ', due' END
        FROM (SELECT id, state FROM operation WHERE platform = :platform) o
        FULL JOIN (SELECT operation_id, ask_at FROM due WHERE platform = :platform) d ON d.operation_id = o.id
        WHERE coalesce(o.state IN ('reserved', 'unknown', 'accepted'), false) <> (d.ask_at IS NOT NULL)
    """,
    "the last event tells an operation's state": """
        SELECT o.id::text, coalesce(e.state || ' ' || e.reason, 'no event'), o.state || ' ' || o.reason
        FROM operation o
        LEFT JOIN LATERAL (
          SELECT state, reason FROM event
          WHERE platform = o.platform AND operation_id = o.id ORDER BY seq DESC LIMIT 1
        ) e ON true
        WHERE o.platform = :platform AND (e.state, e.reason) IS DISTINCT FROM (o.state, o.reason)
    """,
    "an operation has the bank's last code and words": """
        SELECT o.id::text, e.bank_code || ' ' || e.bank_message, o.bank_code || ' ' || o.bank_message
        FROM operation o
        JOIN (
          SELECT DISTINCT ON (operation_id)
            operation_id,
            coalesce((array_agg(bank_code ORDER BY seq DESC) FILTER (WHERE bank_code <> ''))[1], '') AS bank_code,
            coalesce(
              (array_agg(bank_message ORDER BY seq DESC) FILTER (WHERE bank_message <> ''))[1], ''
            ) AS bank_message
          FROM (
            -- One that was released and is opened anew has forgotten what the bank said before.
            SELECT
              operation_id, seq, bank_code, bank_message,
              count(*) FILTER (WHERE state = 'released') OVER (
                PARTITION BY operation_id ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
              ) AS opening
            FROM event
            WHERE platform = :platform
          ) told
          GROUP BY operation_id, opening
          ORDER BY operation_id, opening DESC
        ) e ON e.operation_id = o.id
        WHERE o.platform = :platform AND (e.bank_code, e.bank_message) <> (o.bank_code, o.bank_message)
    """,
    "what was given back is no more than what it was given back of": """
        SELECT
          back.original,
          coalesce(given.amount_fen, 0) || ' at most, with fee ' || coalesce(given.fee_fen, 0),
          back.amount_fen || ' with fee ' || back.fee_fen
        FROM (
          SELECT original, sum(amount_fen) AS amount_fen, sum(fee_fen) AS fee_fen
          FROM (
            SELECT DISTINCT
              t.operation_id, t.part, t.amount_fen, t.fee_fen,
              coalesce(split_part(h.account, ':', 2), 'nothing') AS original
            FROM operation o
            JOIN transaction t ON t.platform = o.platform AND t.operation_id = o.id
            JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
            LEFT JOIN hold h
              ON h.platform = t.platform AND h.operation_id = t.operation_id AND h.part = t.part
              AND split_part(h.account, ':', 1) IN (
                'refundable', 'refundable-fee', 'revocable', 'revocable-fee', 'undoable', 'undoable-fee'
              )
            WHERE o.platform = :platform AND r.verdict = 'posted'
              AND o.kind IN ('REFUND', 'REVOKE_TOP_UP', 'REVOKE_SPLIT_TOP_UP', 'UNDO_CLEAR_SUSPENSE')
          ) parts
          GROUP BY original
        ) back
        LEFT JOIN (
          SELECT t.serial, sum(t.amount_fen) AS amount_fen, sum(t.fee_fen) AS fee_fen
          FROM transaction t
          JOIN resolution r USING (platform, operation_id, part)
          WHERE t.platform = :platform AND t.serial <> '' AND r.verdict = 'posted'
          GROUP BY t.serial
        ) given ON given.serial = back.original
        WHERE back.amount_fen > coalesce(given.amount_fen, 0) OR back.fee_fen > coalesce(given.fee_fen, 0)
    """,
    "an operation is found by all that its parts and the bank name": """
        SELECT DISTINCT o.id || ' ' || named.kind || ' ' || named.value, 'a reference', 'none'
        FROM transaction t
        JOIN operation o ON o.platform = t.platform AND o.id = t.operation_id
        CROSS JOIN LATERAL (
          VALUES
            ('member', nullif(nullif(t.payer, o.payer), o.payee)),
            ('member', nullif(nullif(t.payee, o.payer), o.payee)),
            ('order', nullif(t.order_no, o.order_no))
        ) AS named (kind, value)
        WHERE t.platform = :platform AND named.value <> '' AND NOT EXISTS (
          SELECT FROM reference r
          WHERE r.platform = o.platform AND r.operation_id = o.id AND r.kind = named.kind AND r.value = named.value
        )
        UNION ALL
        SELECT o.id || ' ' || named.kind || ' ' || named.value, 'a reference', 'none'
        FROM (
          SELECT platform, id, plan -> 'tags' AS tags
          FROM operation
          -- The plan of most has none; not all that is kept can be read by PostgreSQL.
          WHERE platform = :platform
            AND CASE WHEN plan::text LIKE '%"tags"%' THEN plan -> 'tags' IS NOT NULL ELSE false END
        ) o
        CROSS JOIN LATERAL (
          SELECT 'reference' AS kind, tags ->> 'reference' AS value
          UNION ALL
          SELECT 'label', key || '=' || value FROM json_each_text(tags -> 'labels')
        ) AS named
        WHERE named.value <> '' AND NOT EXISTS (
          SELECT FROM reference r
          WHERE r.platform = o.platform AND r.operation_id = o.id AND r.kind = named.kind AND r.value = named.value
        )
        UNION ALL
        SELECT o.id || ' on ' || o.bank_day, 'a booking', 'none'
        FROM operation o
        WHERE o.platform = :platform AND o.bank_day IS NOT NULL AND NOT EXISTS (
          SELECT FROM booking b WHERE b.platform = o.platform AND b.bank_day = o.bank_day AND b.operation_id = o.id
        )
        UNION ALL
        SELECT r.operation_id || '/' || r.part || ' ' || r.bank_serial, 'a booking', 'none'
        FROM resolution r
        WHERE r.platform = :platform AND r.bank_serial <> '' AND NOT EXISTS (
          SELECT FROM booking b
          WHERE b.platform = r.platform AND b.bank_serial = r.bank_serial AND b.operation_id = r.operation_id
            AND b.bank_day = r.bank_day
        )
        UNION ALL
        SELECT o.id || ' ' || o.bank_serial, 'a booking', 'none'
        FROM operation o
        WHERE o.platform = :platform AND o.bank_serial <> '' AND NOT EXISTS (
          SELECT FROM booking b
          WHERE b.platform = o.platform AND b.bank_serial = o.bank_serial AND b.operation_id = o.id
        )
    """,
    "an operation was approved as its proposal says": """
        SELECT
          o.id::text,
          coalesce(concat_ws(' ', p.caller, p.person, 'approved by', c.caller, c.person), 'no proposal'),
          concat_ws(' ', o.caller, o.person, 'approved by', o.approver, o.approving_person)
        FROM (
          SELECT
            id, request_id, amount_fen, payer, payee, caller, person, plan -> 'approval' ->> 'proposal' AS proposal_id,
            plan -> 'approval' ->> 'caller' AS approver, plan -> 'approval' ->> 'person' AS approving_person
          FROM operation
          -- The plan of most names nothing of the kind; not all that is kept can be read by PostgreSQL.
          WHERE platform = :platform
            AND CASE WHEN plan::text LIKE '%"approval"%' THEN plan -> 'approval' IS NOT NULL ELSE false END
        ) o
        LEFT JOIN proposal p ON p.platform = :platform AND p.proposal_id::text = o.proposal_id
        LEFT JOIN proposal_decision c
          ON c.platform = p.platform AND c.proposal_id = p.proposal_id AND c.verdict = 'approved'
        WHERE (p.caller, p.person, p.request_id, p.amount_fen, p.payer, p.payee)
            IS DISTINCT FROM (o.caller, o.person, o.request_id, o.amount_fen, o.payer, o.payee)
          OR (c.caller, c.person) IS DISTINCT FROM (o.approver, o.approving_person)
    """,
    "an adjustment moves between an account and a difference, and nothing else moves a difference": """
        SELECT l.operation_id || '/' || l.part || ' leg ' || l.leg, found.due, l.debit || ' to ' || l.credit
        FROM leg l
        LEFT JOIN operation o ON o.platform = l.platform AND o.id = l.operation_id
        CROSS JOIN LATERAL (
          SELECT
            CASE WHEN o.kind = 'ADJUSTMENT' THEN 'one difference' ELSE 'no difference' END AS due,
            (l.debit LIKE 'difference:%')::int + (l.credit LIKE 'difference:%')::int AS sides
        ) found
        WHERE l.platform = :platform AND (o.kind = 'ADJUSTMENT' OR found.sides > 0)
          AND found.sides <> (o.kind IS NOT DISTINCT FROM 'ADJUSTMENT')::int
          -- What it counts of an allowance is no money.
          AND 'limits' NOT IN (l.debit, l.credit)
        UNION ALL
        SELECT o.id::text, 'an approval', 'none'
        FROM operation o
        -- Not all that is kept can be read by PostgreSQL.
        WHERE o.platform = :platform
          AND CASE WHEN o.kind = 'ADJUSTMENT' THEN o.plan -> 'approval' IS NULL ELSE false END
    """,
    "a break that was adjusted names an adjustment of it that is done, and whoever approved that": """
        WITH adjustment AS (
          SELECT o.id, f.value AS break_id, o.plan -> 'approval' AS approval
          FROM reference f
          JOIN operation o ON o.platform = f.platform AND o.id = f.operation_id
          WHERE f.platform = :platform AND f.kind = 'break' AND o.kind = 'ADJUSTMENT' AND o.state = 'done'
        )
        SELECT e.break_id || ' event ' || e.number, 'an adjustment of it by ' || e.caller, coalesce(a.id::text, 'none')
        FROM break_event e
        LEFT JOIN adjustment a ON a.id = e.operation_id AND a.break_id = e.break_id::text
        WHERE e.platform = :platform AND e.reason = 'adjusted'
          AND (a.approval ->> 'caller', a.approval ->> 'person') IS DISTINCT FROM (e.caller, e.person)
        UNION ALL
        SELECT a.id::text, 'a closed break', 'break ' || a.break_id
        FROM adjustment a
        JOIN break b ON b.platform = :platform AND b.break_id::text = a.break_id
        WHERE NOT EXISTS (
          SELECT FROM break_event e
          WHERE e.platform = :platform AND e.break_id = b.break_id AND e.operation_id = a.id AND e.reason = 'adjusted'
        )
    """,
    "a proposal and its decision have the names of the audit trail": """
        WITH told AS (
          SELECT
            lower(split_part(subject, ' ', 1)) AS subject, caller || ' ' || person AS who,
            CASE outcome WHEN 'PROPOSED' THEN outcome ELSE method END AS did
          FROM audit_entry
          WHERE platform = :platform AND subject LIKE 'proposal_id=%'
        ), named AS (
          SELECT proposal_id, 'proposal ' || proposal_id AS what, caller || ' ' || person AS who, 'PROPOSED' AS did
          FROM proposal
          WHERE platform = :platform
          UNION ALL
          SELECT
            proposal_id, 'decision on ' || proposal_id, caller || ' ' || person,
            'jzb.v1.ApprovalService/' || CASE verdict WHEN 'approved' THEN 'Approve' ELSE 'Reject' END
          FROM proposal_decision
          WHERE platform = :platform AND verdict <> 'expired'
            -- Nobody has rejected what a restored copy has ended.
            AND NOT (verdict = 'rejected' AND caller = '')
        )
        SELECT named.what, 'an entry', 'none by ' || named.who
        FROM named
        WHERE NOT EXISTS (
          SELECT FROM told
          WHERE told.subject = 'proposal_id=' || named.proposal_id AND told.did = named.did AND told.who = named.who
        )
    """,
    "a member is as it was written last": """
        SELECT coalesce(w.member_id, m.member_id), coalesce(w.standing, 'no member'), coalesce(m.standing, 'no member')
        FROM (
          SELECT
            member_id,
            concat_ws(' ', sub_account, property, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, same_name)
              AS standing
          FROM member
          WHERE platform = :platform
        ) m
        FULL JOIN (
          SELECT
            member_id,
            concat_ws(
              ' ',
              (array_agg(sub_account || ' ' || property || CASE WHEN is_open THEN ' open' ELSE ' closed' END
                ORDER BY at DESC NULLS LAST, seq DESC))[1],
              coalesce(
                (array_agg(same_name ORDER BY at DESC NULLS LAST, seq DESC) FILTER (WHERE same_name <> ''))[1], ''
              )
            ) AS standing
          FROM membership
          WHERE platform = :platform
          GROUP BY member_id
        ) w USING (member_id)
        WHERE m.standing IS DISTINCT FROM w.standing
    """,
    "an account has the name and the floor of its kind": """
        SELECT name, due_name || coalesce(' from ' || due_fen, ''), name || coalesce(' from ' || floor_fen, '')
        FROM (
          SELECT
            name, floor_fen,
            concat_ws(':', kind, nullif(owner, ''), nullif(ref, '')) AS due_name,
            CASE
              WHEN kind IN (
                'withdrawable', 'waiting', 'frozen', 'escrow', 'own-funds', 'suspense', 'parking', 'refundable',
                'refundable-fee', 'revocable', 'revocable-fee', 'undoable', 'undoable-fee'
              ) THEN 0
              WHEN kind IN ('order', 'acquired', 'rebooked', 'standing') THEN -1
              WHEN kind = 'top-up-order' THEN -100
              WHEN kind = 'allowance' THEN -1000000000000000
            END AS due_fen
          FROM account
          WHERE platform = :platform
        ) named
        WHERE name <> due_name OR floor_fen IS DISTINCT FROM due_fen
    """,
    "what refuses changes to the journal is in force": """
        SELECT guarded.name::text, 'a trigger that refuses', 'none that is whole and enabled'
        FROM unnest(CAST(:guarded AS text[]), CAST(:kinds AS int[])) AS needed (name, kinds)
        CROSS JOIN LATERAL (
          -- Where the journal is cut by month, each month has its own.
          SELECT to_regclass(quote_ident(needed.name)) AS name
          UNION
          SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = to_regclass(quote_ident(needed.name))
        ) guarded
        WHERE NOT EXISTS (
          -- Of `tgtype` 2 is BEFORE, 8 DELETE, 16 UPDATE, 32 TRUNCATE.
          SELECT FROM pg_trigger t
          JOIN pg_proc p ON p.oid = t.tgfoid
          WHERE t.tgrelid = guarded.name AND t.tgenabled IN ('O', 'A') AND t.tgtype & needed.kinds = needed.kinds
            AND t.tgqual IS NULL AND cardinality(t.tgattr::int2[]) = 0
            AND p.proname = 'refuse_change' AND p.prosrc LIKE chr(10) || 'BEGIN' || chr(10) || '    RAISE EXCEPTION %'
        )
    """,
    "days are cleared as far as a clearing was posted": """
        SELECT 'the platform', coalesce(posted.day, 'none'), coalesce(p.cleared_through::text, 'none')
        FROM platform p
        CROSS JOIN (
          -- With a space, which no order number of a caller has.
          SELECT max(split_part(debit, ' ', 2)) AS day
          FROM leg
          WHERE platform = :platform AND debit LIKE 'order:clearing %'
        ) posted
        WHERE p.platform = :platform AND to_char(p.cleared_through, 'YYYY-MM-DD') IS DISTINCT FROM posted.day
    """,
    "an entry is what its part has moved, after all that was before": """
        SELECT
          concat_ws(' ', coalesce(c.sub_account, e.sub_account), 'at', coalesce(c.at, e.at), 'by'),
          coalesce(c.told, 'no entry'), coalesce(e.told, 'no entry')
        FROM (
          SELECT
            sub_account, at, operation_id, part,
            concat_ws(' ',
              operation_id, part, bank_day, withdrawable_fen, uncleared_fen, frozen_fen, escrow_fen, 'to',
              sum(withdrawable_fen) OVER running, sum(uncleared_fen) OVER running, sum(frozen_fen) OVER running,
              sum(escrow_fen) OVER running
            ) AS told
          FROM (
            SELECT
              split_part(name, ':', 2) AS sub_account, at, operation_id, part, bank_day,
              sum(CASE WHEN name LIKE 'withdrawable:%' THEN fen ELSE 0 END) AS withdrawable_fen,
              sum(CASE WHEN name LIKE 'waiting:%' THEN fen ELSE 0 END) AS uncleared_fen,
              sum(CASE WHEN name LIKE 'frozen:%' THEN fen ELSE 0 END) AS frozen_fen,
              sum(CASE WHEN name LIKE 'escrow:%' THEN fen ELSE 0 END) AS escrow_fen
            FROM (
              SELECT l.credit AS name, r.at, l.operation_id, l.part, r.bank_day, l.amount_fen AS fen
              FROM leg l JOIN resolution r USING (platform, operation_id, part)
              WHERE platform = :platform
              UNION ALL
              SELECT l.debit, r.at, l.operation_id, l.part, r.bank_day, -l.amount_fen
              FROM leg l JOIN resolution r USING (platform, operation_id, part)
              WHERE platform = :platform
            ) sides
            WHERE split_part(name, ':', 1) IN ('withdrawable', 'waiting', 'frozen', 'escrow')
              AND at <= (SELECT max(at) FROM filled WHERE platform = :platform)
            GROUP BY 1, at, operation_id, part, bank_day
          ) moved
          WINDOW running AS (PARTITION BY sub_account ORDER BY at, operation_id, part)
        ) c
        FULL JOIN (
          SELECT
            sub_account, at, operation_id, part,
            concat_ws(' ',
              operation_id, part, bank_day, withdrawable_fen, uncleared_fen, frozen_fen, escrow_fen, 'to',
              withdrawable_after_fen, uncleared_after_fen, frozen_after_fen, escrow_after_fen
            ) AS told
          FROM entry
          WHERE platform = :platform
        ) e USING (sub_account, at, operation_id, part)
        WHERE c.told IS DISTINCT FROM e.told
    """,
    "a bank day's balances are moved by its entries": """
        SELECT
          coalesce(c.sub_account, d.sub_account) || ' on ' || coalesce(c.bank_day, d.bank_day),
          coalesce(c.told, 'none'), coalesce(d.told, 'none')
        FROM (
          SELECT
            sub_account, bank_day,
            concat_ws(' ',
              sum(withdrawable_fen), sum(uncleared_fen), sum(frozen_fen), sum(escrow_fen), count(*), min(at), max(at)
            ) AS told
          FROM entry
          WHERE platform = :platform
          GROUP BY sub_account, bank_day
        ) c
        FULL JOIN (
          SELECT
            sub_account, bank_day,
            concat_ws(' ', withdrawable_fen, uncleared_fen, frozen_fen, escrow_fen, entries, first_at, last_at) AS told
          FROM balance_day
          WHERE platform = :platform
        ) d USING (sub_account, bank_day)
        WHERE c.told IS DISTINCT FROM d.told
    """,
    "a bank day's totals are those of its legs": """
        SELECT
          coalesce(c.kind, d.kind) || ' on ' || coalesce(c.bank_day, d.bank_day),
          coalesce(c.told, 'none'), coalesce(d.told, 'none')
        FROM (
          SELECT kind, bank_day, sum(debit_fen) || ' ' || sum(credit_fen) AS told
          FROM (
            SELECT split_part(l.debit, ':', 1) AS kind, r.bank_day, r.at, l.amount_fen AS debit_fen, 0 AS credit_fen
            FROM leg l JOIN resolution r USING (platform, operation_id, part)
            WHERE platform = :platform
            UNION ALL
            SELECT split_part(l.credit, ':', 1), r.bank_day, r.at, 0, l.amount_fen
            FROM leg l JOIN resolution r USING (platform, operation_id, part)
            WHERE platform = :platform
          ) sides
          WHERE at <= (SELECT max(at) FROM filled WHERE platform = :platform)
          GROUP BY kind, bank_day
        ) c
        FULL JOIN (
          SELECT kind, bank_day, debit_fen || ' ' || credit_fen AS told FROM kind_day WHERE platform = :platform
        ) d USING (kind, bank_day)
        WHERE c.told IS DISTINCT FROM d.told
    """,
    "totals are those of all legs before": """
        WITH moved AS (
          SELECT f.at, batches.kind, sum(debit_fen) AS debit_fen, sum(credit_fen) AS credit_fen
          FROM (
            SELECT at, kind, sum(debit_fen) AS debit_fen, sum(credit_fen) AS credit_fen
            FROM (
              SELECT split_part(l.debit, ':', 1) AS kind, r.at, l.amount_fen AS debit_fen, 0 AS credit_fen
              FROM leg l JOIN resolution r USING (platform, operation_id, part)
              WHERE platform = :platform
              UNION ALL
              SELECT split_part(l.credit, ':', 1), r.at, 0, l.amount_fen
              FROM leg l JOIN resolution r USING (platform, operation_id, part)
              WHERE platform = :platform
            ) sides
            GROUP BY at, kind
          ) batches
          CROSS JOIN LATERAL (
            SELECT at FROM filled WHERE platform = :platform AND at >= batches.at ORDER BY at LIMIT 1
          ) f
          GROUP BY f.at, batches.kind
        )
        SELECT coalesce(c.kind, t.kind) || ' at ' || at, coalesce(c.told, 'none'), coalesce(t.told, 'none')
        FROM (
          SELECT at, kind, sum(debit_fen) OVER running || ' ' || sum(credit_fen) OVER running AS told
          FROM (SELECT at FROM filled WHERE platform = :platform) f
          CROSS JOIN (SELECT DISTINCT kind FROM moved) kinds
          LEFT JOIN moved USING (at, kind)
          WINDOW running AS (PARTITION BY kind ORDER BY at)
        ) c
        FULL JOIN (
          SELECT f.at, one.kind, one.debit_fen || ' ' || one.credit_fen AS told
          FROM filled f, unnest(f.kinds, f.debits_fen, f.credits_fen) AS one (kind, debit_fen, credit_fen)
          WHERE f.platform = :platform
        ) t USING (at, kind)
        WHERE c.told IS DISTINCT FROM t.told
        UNION ALL
        SELECT 'events at ' || f.at, coalesce(e.seq::text, 'none'), f.event::text
        FROM filled f
        LEFT JOIN (SELECT at, max(seq) AS seq FROM event WHERE platform = :platform GROUP BY at) e USING (at)
        WHERE f.platform = :platform AND e.seq IS DISTINCT FROM f.event
    """,
    "an operation has the serial and the plan that it was opened with": """
        SELECT o.id::text, encode(e.digest, 'hex'), encode(o.digest, 'hex')
        FROM (
          SELECT id, sha256(convert_to(serial || chr(10) || plan::text, 'UTF8')) AS digest
          FROM operation
          WHERE platform = :platform
        ) o
        JOIN (
          SELECT DISTINCT ON (operation_id) operation_id, substring(evidence FOR 32) AS digest
          FROM (
            SELECT operation_id, seq, evidence, lag(state) OVER (PARTITION BY operation_id ORDER BY seq) AS before
            FROM event
            WHERE platform = :platform
          ) told
          WHERE before IS NULL OR before = 'released'
          ORDER BY operation_id, seq DESC
        ) e ON e.operation_id = o.id
        -- What was opened before plans were sealed has none.
        WHERE e.digest <> '' AND e.digest <> o.digest
    """,
}
"""Each query yields (where, expected, found) for what contradicts, and nothing when all is well."""


async def audit(
    engine: AsyncEngine, platform: str, noted: bytes = b"", unsealed: int = 0, keys: SealKeys | None = None
) -> AsyncGenerator[Finding | Summary, None]:
    """Every contradiction in the platform's books as it is found, and at the end what was looked through.

    All is seen as of one moment, while payments go on. ``noted`` is a digest of an earlier `Summary`, which must still
    be in the chain: without it nobody can tell that the end of the books was cut off. ``unsealed`` is how many batches
    are from before there were seals: without it nobody can tell that all seals were taken away. With ``keys`` the MACs
    are checked. No more than the first
    `FINDINGS_MAX` findings are told. Raises `LedgerUnavailable`.
    """
    summary = Summary()
    async with reading(engine) as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # What is streamed is read to its end: without this a plan is chosen for its first rows.
        await connection.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
        async with aclosing(_contradictions(connection, platform, summary, noted, unsealed, keys)) as contradictions:
            async for finding in contradictions:
                summary.findings += 1
                yield finding
                if summary.findings == FINDINGS_MAX:
                    yield Finding(MORE, "the replay", f"less than {FINDINGS_MAX} findings", "it ended here")
                    break
    yield summary


async def _contradictions(
    connection: AsyncConnection,
    platform: str,
    summary: Summary,
    noted: bytes,
    unsealed: int,
    keys: SealKeys | None,
) -> AsyncGenerator[Finding, None]:
    async for finding in replay(connection, platform, summary, noted, unsealed, keys):
        yield finding
    if keys is not None:
        async for finding in _forged(connection, keys):
            yield finding
    async for finding in trail.check(connection, platform, keys):
        yield finding
    for check, query in CHECKS.items():
        async for row in await connection.stream(text(query), {"platform": platform, **_GUARDED}):
            yield Finding(check, *row)


async def _forged(connection: AsyncConnection, keys: SealKeys) -> AsyncGenerator[Finding, None]:
    """Operations that are not final, and would not be carried on."""
    async for row in await connection.stream(OPENED, {"platform": keys.platform}):
        *columns, macs = row
        operation = operation_from_row(columns)
        if not keys.opened(operation, macs):
            yield Finding(OPENED_HERE, str(operation.id), "a MAC under one of the keys", "none that is right")


async def verify(engine: AsyncEngine, platform: str, unsealed: int = 0) -> list[Finding]:
    """Every contradiction in the platform's books; empty when they are whole. Raises `LedgerUnavailable`."""
    return [found async for found in audit(engine, platform, unsealed=unsealed) if isinstance(found, Finding)]

"""The SQL that matches the lines of a bank day with its postings, and says what does not agree.

Each statement works on a whole set. Parameters: platform, bank_day, type, file_id (NULL where there is no file),
before and after (the matched files of the days beside it), cut_over (how near to a day's end the cut-over may be),
kinds and also (`ledger.day.sources`).
"""

from __future__ import annotations

from typing import Final, LiteralString

from ledger.day.splitting import COLUMNS, content, names, typed

_PLANNED: Final[LiteralString] = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_mergejoin', 'off', true),
  set_config('enable_sort', '{1}', true), set_config('enable_hashjoin', '{0}', true),
  set_config('enable_nestloop', '{1}', true)
"""
SETS: Final[LiteralString] = _PLANNED.format("on", "off")
LOOKUPS: Final[LiteralString] = _PLANNED.format("off", "on")
"""How what follows is planned in its transaction: over all lines of a file, or one look-up for each of a few; never
over those of other files. Left to itself the planner would go by what it knows of a table that has just been filled.
"""

POSTED: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_posted AS
SELECT
  CASE o.kind WHEN 'CLEARING' THEN to_char(r.bank_day, 'YYYYMMDD') ELSE t.serial END AS serial, r.bank_serial,
  t.operation_id, t.part, o.kind, t.payer, t.payee,
  CASE WHEN o.kind = ANY (%(amount_asked)s::text[]) THEN o.amount_fen ELSE t.amount_fen END AS amount_fen, t.fee_fen,
  o.kind = ANY (%(kinds)s::text[]) AS is_due, false AS is_undone,
  t.serial = o.serial AND t.part = 1 AND o.kind <> 'CLEARING' AS is_call
FROM resolution r
JOIN transaction t ON t.platform = r.platform AND t.operation_id = r.operation_id AND t.part = r.part
JOIN operation o ON o.platform = r.platform AND o.id = r.operation_id
WHERE r.platform = %(platform)s AND r.bank_day = %(bank_day)s::date AND r.verdict = 'posted'
  AND o.kind = ANY (%(shown)s::text[])
  AND t.corrects IS NULL
  AND CASE o.kind
    WHEN 'CLEARING' THEN t.part = 1
    WHEN 'WITHDRAW' THEN t.serial <> ''
    ELSE t.amount_fen > 0
  END
"""
"""The postings of the day that a file or list may show; ``is_due`` those that it has to, ``is_call`` those with the
serial of the call itself, of which an operation has one and no other has the same (`operation_serial_once`).

Of a clearing the first part is the channels' money, the others move money within members (6108 knows its day alone).
Of a withdrawal the part with its serial takes the money from the member.
"""

POSTED_ONCE: Final[LiteralString] = """
UPDATE day_posted p SET serial = ''
FROM (
  SELECT serial, min(p.ctid) AS first
  FROM day_posted p
  JOIN (SELECT DISTINCT serial FROM day_posted WHERE serial <> '' AND NOT is_call) others USING (serial)
  GROUP BY 1
  HAVING count(*) > 1
) d
WHERE p.serial = d.serial AND p.ctid <> d.first
"""
"""No serial stands twice, so that no line meets two postings: the others of a serial are missing there."""

UNDONE: Final[LiteralString] = """
UPDATE day_posted p SET is_undone = true
FROM transaction c
JOIN resolution v ON v.platform = c.platform AND v.operation_id = c.operation_id AND v.part = c.part
WHERE c.platform = %(platform)s AND c.operation_id = p.operation_id AND c.corrects = p.part AND v.verdict = 'posted'
"""
"""The withdrawals that failed after they had been taken from the member: another part has given the money back."""

PARKED: Final[LiteralString] = """
UPDATE day_posted p SET payee = ''
FROM leg l
WHERE p.kind = 'RECORD_ORDER' AND l.platform = %(platform)s AND l.operation_id = p.operation_id AND l.part = p.part
  AND split_part(l.credit, ':', 1) = 'parking'
"""
"""What the bank could not credit lies in an account of its own (quick start, 6145): the line names no member, although
the posting keeps the one that was meant, who has it after `RebookOrder`.
"""

_HOLDER: Final[LiteralString] = """
  CASE WHEN l.payer || l.payee <> l.payer_sub_account || l.payee_sub_account THEN l.payer || l.payee ELSE '' END
"""
"""The member of a line with one side. An account that is no member's has its number for a code, or no code (6050 shows
it so; no file with one is public).
"""

_SIDES_AGREE: Final[LiteralString] = """(
  {0}.payer IN ('', l.payer) AND {0}.payee IN ('', l.payee) AND (
    ({0}.payer = '') = ({0}.payee = '')
    OR l.payer IN ('', l.payer_sub_account, {0}.payer, {0}.payee)
      AND l.payee IN ('', l.payee_sub_account, {0}.payer, {0}.payee)
  )
)"""
"""Whether a line with two sides has ours. Where a posting has one member, as a freeze or a fee, the other side may be
nobody's or that member's: documents do not say which.
"""

_AGREES: Final[LiteralString] = f"""
  NOT p.is_undone AND l.amount_fen = p.amount_fen AND l.fee_fen = p.fee_fen AND CASE
    WHEN %(has_two_sides)s THEN {_SIDES_AGREE.format("p")}
    ELSE {_HOLDER} = coalesce(nullif(p.payee, ''), p.payer)
  END
"""


_OUTSIDE: Final[LiteralString] = "outside"


def inserted(layout: tuple[str, ...], *, is_balances: bool, member_pays: bool) -> LiteralString:
    """Make lines of what is staged, each with what the journal has of its serial, or of its sub-account: what is usual
    needs no more. Only a line that does not agree has its digest.
    """
    operation_id: LiteralString = "NULL::uuid"
    part: LiteralString = "NULL::int"
    agrees: LiteralString = "l.amount_fen = coalesce(p.closing_fen, 0)"
    joined: LiteralString = "day_balance p ON p.sub_account = l.payee_sub_account"
    if not is_balances:
        operation_id, part = "p.operation_id", "p.part"
        agrees = f"{_AGREES}, l.booking = '{_OUTSIDE}' AND %(is_list)s"
        joined = "day_posted p ON p.serial = l.serial AND p.serial <> ''"
    return f"""
    INSERT INTO bank_line (platform, file_id, line, digest, {COLUMNS}, operation_id, part, agrees)
    SELECT
      %(platform)s, %(file_id)s, line,
      CASE WHEN agrees THEN '' ELSE coalesce(digest, sha256({content(len(layout))})) END,
      {COLUMNS}, operation_id, part, agrees
    FROM (
      SELECT
        l.*, {operation_id} AS operation_id, {part} AS part,
        l.fault = '' AND coalesce({agrees}, false) AS agrees
      FROM ({typed(layout, member_pays=member_pays)}) AS l (line, {names(len(layout))}, digest, {COLUMNS})
      LEFT JOIN {joined}
      OFFSET 0
    ) matched
    """


SUMS: Final[LiteralString] = """
SELECT count(*), count(*) FILTER (WHERE fault <> ''), coalesce(sum(amount_fen), 0), coalesce(sum(fee_fen), 0)
FROM bank_line
WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint
"""

LEFT: Final[tuple[LiteralString, ...]] = (
    SETS,
    """
    CREATE TEMPORARY TABLE day_line AS
    SELECT
      ctid AS at, line, serial, bank_serial, payer, payer_sub_account, payee, payee_sub_account, amount_fen, fee_fen,
      operation_id, part, agrees
    FROM bank_line
    WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND NOT agrees AND fault = ''
    """,
    "ANALYZE day_line",
)
"""What is to be looked at further: of most files a few lines."""

POSTED_SINCE: Final[LiteralString] = """
UPDATE day_line l SET operation_id = p.operation_id, part = p.part
FROM day_posted p
WHERE l.operation_id IS NULL AND l.serial <> '' AND p.serial = l.serial
"""
"""What was posted since the lines were loaded, which met all others by their serials."""

MATCHED: Final[tuple[LiteralString, ...]] = (
    # By the bank's serial: what has none of ours.
    """
    UPDATE day_line l SET operation_id = p.operation_id, part = p.part
    FROM day_posted p
    WHERE l.operation_id IS NULL AND l.bank_serial <> '' AND p.bank_serial = l.bank_serial
    """,
    LOOKUPS,
    # What is on another day, or not done here. That no serial is empty lets PostgreSQL use the index on those.
    """
    UPDATE day_line l SET (operation_id, part) = (
      SELECT t.operation_id, t.part
      FROM transaction t JOIN operation o ON o.platform = t.platform AND o.id = t.operation_id
      WHERE t.platform = %(platform)s AND t.serial = l.serial AND t.serial <> '' AND o.kind = ANY (%(shown)s::text[])
        AND t.corrects IS NULL
      ORDER BY t.operation_id, t.part
      LIMIT 1
    )
    WHERE l.operation_id IS NULL AND l.serial <> '' AND %(type)s <> '6108'
    """,
    # `booking` finds the operation of what was posted before parts had serials of the bank.
    """
    UPDATE day_line l SET (operation_id, part) = (
      SELECT t.operation_id, t.part
      FROM booking b
      JOIN operation o ON o.platform = b.platform AND o.id = b.operation_id
      JOIN transaction t ON t.platform = b.platform AND t.operation_id = b.operation_id
      JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
      WHERE b.platform = %(platform)s AND b.bank_serial = l.bank_serial AND b.bank_serial <> ''
        AND o.kind = ANY (%(shown)s::text[]) AND t.corrects IS NULL AND t.amount_fen > 0 AND (
          r.bank_serial = l.bank_serial
          OR r.bank_serial = '' AND NOT EXISTS (
            SELECT FROM transaction c
            WHERE c.platform = t.platform AND c.operation_id = t.operation_id AND c.part <> t.part
              AND c.amount_fen > 0 AND c.serial <> ''
          )
        )
      ORDER BY t.operation_id, t.part
      LIMIT 1
    )
    WHERE l.operation_id IS NULL AND l.bank_serial <> ''
    """,
    SETS,
    f"""
    UPDATE day_line l SET agrees = true
    FROM day_posted p
    WHERE p.operation_id = l.operation_id AND p.part = l.part AND {_AGREES}
    """,
    # A list may say that there is nothing to clear.
    "UPDATE day_line SET agrees = true WHERE %(type)s = '6108' AND amount_fen = 0",
    LOOKUPS,
    # By where they are: the one way to find a row that the planner cannot take for a worse one.
    """
    UPDATE bank_line l SET operation_id = x.operation_id, part = x.part, agrees = x.agrees
    FROM day_line x
    WHERE l.ctid = x.at AND (l.operation_id, l.part, l.agrees) IS DISTINCT FROM (x.operation_id, x.part, x.agrees)
    """,
    SETS,
    # Which postings have no line, which have several.
    """
    CREATE TEMPORARY TABLE day_met AS
    SELECT operation_id, part, count(line) AS lines, min(line) AS first_line, max(line) AS last_line
    FROM (
      SELECT operation_id, part, line
      FROM bank_line
      WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND operation_id IS NOT NULL
      UNION ALL
      SELECT operation_id, part, NULL FROM day_posted
    ) met
    GROUP BY 1, 2
    HAVING count(line) <> 1
    """,
    "CREATE TEMPORARY TABLE day_twice AS SELECT operation_id, part, first_line FROM day_met WHERE lines > 1",
    "CREATE INDEX ON day_twice (operation_id, part)",
    # Of two lines the later is known; only for more, or for what was undone, are all lines gone through.
    """
    UPDATE bank_line SET agrees = false
    WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND agrees AND line = ANY (ARRAY(
      SELECT last_line FROM day_met WHERE lines = 2
      UNION ALL
      SELECT l.line
      FROM (
        SELECT operation_id, part, first_line FROM day_met WHERE lines > 2
        UNION ALL
        SELECT operation_id, part, 0 FROM day_posted WHERE is_undone
      ) d
      JOIN bank_line l ON l.operation_id = d.operation_id AND l.part = d.part AND l.line > d.first_line
      WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint
    ))
    """,
)


def digests(columns: int) -> tuple[LiteralString, ...]:
    """Of lines that agreed when they were loaded, and do not after all."""
    return tuple(
        f"""
        UPDATE bank_line l SET digest = {digest}
        FROM {staged} s
        WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND NOT l.agrees AND l.digest = ''
          AND s.line = l.line AND {is_there}
        """
        for digest, staged, is_there in (
            (f"sha256({content(columns)})", "day_staged", "s.f1 IS NOT NULL"),
            ("s.digest", "day_read", "true"),
        )
    )


NEIGHBOURS: Final[LiteralString] = """
SELECT DISTINCT ON (bank_day) bank_day - %(bank_day)s::date, file_id
FROM bank_file
WHERE platform = %(platform)s AND type = %(type)s AND state = 'matched'
  AND bank_day IN (%(bank_day)s::date - 1, %(bank_day)s::date + 1)
ORDER BY bank_day, version DESC
"""
"""The files of the days before (-1) and after (1), as far as they have been matched."""

FINDINGS: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_finding (
  break_id UUID, kind TEXT NOT NULL, bank_fen BIGINT, ledger_fen BIGINT, line INTEGER, digest BYTEA NOT NULL,
  occurrence BIGINT, operation_id UUID, part INTEGER, operation_kind TEXT NOT NULL, serial TEXT NOT NULL,
  bank_serial TEXT NOT NULL, member TEXT NOT NULL, sub_account TEXT NOT NULL, detail TEXT NOT NULL, settled TEXT,
  is_carried BOOLEAN NOT NULL
);
CREATE INDEX ON day_finding (break_id);
CREATE TEMPORARY TABLE day_beside (file_id BIGINT NOT NULL, operation_id UUID NOT NULL, part INTEGER NOT NULL)
"""

_IS_NEAR_END: Final[LiteralString] = """(
  {0} >= (%(bank_day)s::date + 1)::timestamp - %(cut_over)s OR {0} < %(bank_day)s::date::timestamp + %(cut_over)s
)"""

OF_LINES: Final[LiteralString] = f"""
INSERT INTO day_finding
SELECT
  NULL, found.kind, found.bank_fen, found.ledger_fen, l.line, l.digest, NULL, l.operation_id, l.part,
  coalesce(o.kind, ''),
  coalesce(nullif(l.serial, ''), t.serial, ''), coalesce(nullif(l.bank_serial, ''), r.bank_serial, ''),
  coalesce(nullif(l.payee, ''), l.payer), coalesce(nullif(l.payee_sub_account, ''), l.payer_sub_account),
  coalesce(found.detail, ''), found.settled,
  found.settled IS NULL AND found.may_shift AND NOT %(has_next)s
FROM (
  SELECT
    l.*,
    CASE WHEN l.operation_id IS NULL AND l.bank_serial <> ''
      THEN row_number() OVER (PARTITION BY l.operation_id, l.bank_serial ORDER BY l.line) > 1
      ELSE EXISTS (
        SELECT FROM day_twice d
        WHERE d.operation_id = l.operation_id AND d.part = l.part AND l.line > d.first_line
      )
    END AS is_again,
    NOT %(is_list)s AND {_IS_NEAR_END.format("l.day + l.time")} AS is_near_end
  FROM bank_line l
  WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND NOT l.agrees
) l
LEFT JOIN transaction t ON t.platform = l.platform AND t.operation_id = l.operation_id AND t.part = l.part
LEFT JOIN operation o ON o.platform = l.platform AND o.id = l.operation_id
LEFT JOIN resolution r ON r.platform = l.platform AND r.operation_id = l.operation_id AND r.part = l.part
CROSS JOIN LATERAL (
  SELECT
    o.kind = 'WITHDRAW' AND EXISTS (
      SELECT FROM transaction c
      JOIN resolution v ON v.platform = c.platform AND v.operation_id = c.operation_id AND v.part = c.part
      WHERE c.platform = t.platform AND c.operation_id = t.operation_id AND c.corrects = t.part
        AND v.verdict = 'posted'
    ) AS is_undone,
    CASE WHEN o.kind = ANY (%(amount_asked)s::text[]) THEN o.amount_fen ELSE t.amount_fen END AS amount_fen,
    CASE
      WHEN o.kind <> 'RECORD_ORDER' OR NOT EXISTS (
        SELECT FROM leg
        WHERE leg.platform = t.platform AND leg.operation_id = t.operation_id AND leg.part = t.part
          AND split_part(leg.credit, ':', 1) = 'parking'
      ) THEN coalesce(nullif(t.payee, ''), t.payer)
      ELSE ''
    END AS holder,
    EXISTS (
      SELECT FROM day_beside other
      WHERE other.file_id = beside.file_id AND other.operation_id = l.operation_id AND other.part = l.part
    ) AS is_listed_there,
    beside.file_id IS NOT NULL AS is_there
  FROM (
    SELECT CASE r.bank_day - %(bank_day)s::date
      WHEN -1 THEN %(before)s::bigint WHEN 1 THEN %(after)s::bigint
    END AS file_id
  ) beside
) ours
CROSS JOIN LATERAL (
  SELECT 'unreadable' AS kind, NULL::bigint AS bank_fen, NULL::bigint AS ledger_fen, l.fault AS detail,
    NULL::text AS settled, false AS may_shift
  WHERE l.fault <> ''
  UNION ALL
  SELECT CASE WHEN l.is_again THEN 'duplicate' ELSE 'missing-here' END, l.amount_fen,
    CASE WHEN l.is_again THEN 0 END, CASE WHEN l.is_again THEN 'an earlier line has this serial' END, NULL,
    l.is_near_end AND NOT l.is_again
  WHERE l.fault = '' AND l.operation_id IS NULL
  UNION ALL
  SELECT 'duplicate', l.amount_fen, 0,
    CASE WHEN l.is_again THEN 'an earlier line has this posting'
    ELSE 'the file of ' || r.bank_day || ' has this posting too' END, NULL, false
  WHERE l.is_again OR ours.is_listed_there
  UNION ALL
  SELECT 'state', l.amount_fen, 0,
    CASE WHEN r.verdict IS NULL THEN 'the operation is ' || o.state WHEN r.verdict = 'voided' THEN 'it was refused'
    ELSE 'it was undone' END, NULL, false
  WHERE NOT l.is_again AND t.part IS NOT NULL AND (r.verdict IS DISTINCT FROM 'posted' OR ours.is_undone)
  UNION ALL
  SELECT 'date-shifted', l.amount_fen, ours.amount_fen, 'it was posted on ' || r.bank_day,
    CASE WHEN ours.is_there THEN 'next-file' END, abs(r.bank_day - %(bank_day)s::date) = 1
  WHERE NOT l.is_again AND r.verdict = 'posted' AND r.bank_day <> %(bank_day)s::date AND NOT ours.is_listed_there
  UNION ALL
  SELECT x.kind, x.bank_fen, x.ledger_fen, x.detail, NULL, false
  FROM (
    VALUES
      ('amount', l.amount_fen, ours.amount_fen, l.amount_fen <> ours.amount_fen, NULL::text),
      ('fee', l.fee_fen, t.fee_fen, l.fee_fen <> t.fee_fen, NULL),
      ('member', l.amount_fen, ours.amount_fen,
        CASE
          WHEN %(has_two_sides)s THEN NOT {_SIDES_AGREE.format("t")}
          ELSE {_HOLDER} <> ours.holder
        END,
        CASE
          WHEN NOT %(has_two_sides)s THEN
            'the bank has ' || coalesce(nullif({_HOLDER}, ''), 'no member')
            || ', we have ' || coalesce(nullif(ours.holder, ''), 'no member')
          WHEN t.payer NOT IN ('', l.payer) THEN 'the bank has the payer ' || l.payer || ', we have ' || t.payer
          WHEN t.payee NOT IN ('', l.payee) THEN 'the bank has the payee ' || l.payee || ', we have ' || t.payee
          ELSE 'the bank has ' || l.payer || ' and ' || l.payee || ', we have ' || t.payer || t.payee || ' alone'
        END)
  ) AS x (kind, bank_fen, ledger_fen, differs, detail)
  WHERE NOT l.is_again AND r.verdict = 'posted' AND NOT ours.is_undone AND x.differs
) found
"""

MISSING: Final[tuple[LiteralString, ...]] = (
    """
    CREATE TEMPORARY TABLE day_missing AS
    SELECT p.*
    FROM day_met m JOIN day_posted p ON p.operation_id = m.operation_id AND p.part = m.part
    WHERE m.lines = 0 AND p.is_due AND NOT p.is_undone
    """,
    """
    INSERT INTO day_beside
    SELECT DISTINCT l.file_id, l.operation_id, l.part
    FROM bank_line l
    WHERE l.platform = %(platform)s AND l.file_id IN (%(before)s::bigint, %(after)s::bigint)
      AND (l.operation_id, l.part) IN (
        SELECT operation_id, part FROM day_missing
        UNION ALL
        SELECT operation_id, part FROM bank_line
        WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND NOT agrees
        UNION ALL
        SELECT operation_id, part FROM break
        WHERE platform = %(platform)s AND bank_day = %(bank_day)s::date AND type = %(type)s AND is_open
      )
    """,
    "CREATE INDEX ON day_beside (operation_id, part)",
    "DELETE FROM day_missing m USING day_beside b WHERE b.operation_id = m.operation_id AND b.part = m.part",
)
"""The postings that no line of the day has, nor one of the days before and after; and all that is in question of which
those days have a line. They are gone through once, however much it is.
"""

OF_POSTINGS: Final[LiteralString] = f"""
INSERT INTO day_finding
SELECT
  NULL, 'missing-there', NULL, p.amount_fen, NULL, '', NULL, p.operation_id, p.part, p.kind, p.serial, p.bank_serial,
  coalesce(nullif(p.payee, ''), p.payer), coalesce(m.sub_account, ''), '', NULL,
  NOT %(has_next)s AND (
    o.state NOT IN ('done', 'refused')
    OR {_IS_NEAR_END.format("(r.at AT TIME ZONE 'Asia/Shanghai')")}
    OR {_IS_NEAR_END.format("(t.reserved_at AT TIME ZONE 'Asia/Shanghai')")}
  )
FROM day_missing p
JOIN transaction t ON t.platform = %(platform)s AND t.operation_id = p.operation_id AND t.part = p.part
JOIN operation o ON o.platform = %(platform)s AND o.id = p.operation_id
JOIN resolution r ON r.platform = %(platform)s AND r.operation_id = p.operation_id AND r.part = p.part
LEFT JOIN member m ON m.platform = %(platform)s AND m.member_id = coalesce(nullif(p.payee, ''), p.payer)
"""

BALANCES: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_balance AS
SELECT owner AS sub_account, sum(fen)::bigint AS closing_fen
FROM (
  SELECT owner, balance_fen AS fen
  FROM account
  WHERE platform = %(platform)s AND kind IN ('withdrawable', 'waiting') AND has_money
  UNION ALL
  SELECT split_part(side.name, ':', 2), side.fen
  FROM resolution r
  JOIN leg l ON l.platform = r.platform AND l.operation_id = r.operation_id AND l.part = r.part
  CROSS JOIN LATERAL (VALUES (l.debit, l.amount_fen), (l.credit, -l.amount_fen)) AS side (name, fen)
  WHERE r.platform = %(platform)s AND r.bank_day > %(bank_day)s::date AND r.verdict = 'posted'
    AND split_part(side.name, ':', 1) IN ('withdrawable', 'waiting')
) moved
GROUP BY 1
"""
"""What each sub-account had available when the day ended: what it has now, less all that was posted on later days."""

BALANCES_AGREE: Final[LiteralString] = """
UPDATE bank_line l SET agrees = x.agrees
FROM (
  SELECT
    l.ctid AS at,
    l.amount_fen = coalesce(b.closing_fen, 0) AND d.first_line IS NULL AS agrees
  FROM bank_line l
  LEFT JOIN day_balance b ON b.sub_account = l.payee_sub_account
  LEFT JOIN day_twice d ON d.sub_account = l.payee_sub_account AND l.line > d.first_line
  WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND l.fault = ''
) x
WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND l.ctid = x.at
  AND l.agrees IS DISTINCT FROM x.agrees
"""
"""The file is named once more: by where they are alone, hashed rows are looked for among the lines of all files."""

BALANCES_TWICE: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_twice AS
SELECT payee_sub_account AS sub_account, min(line) AS first_line
FROM bank_line
WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND fault = ''
GROUP BY 1
HAVING count(*) > 1
"""

OF_BALANCES: Final[LiteralString] = """
INSERT INTO day_finding
SELECT
  NULL,
  CASE WHEN l.fault <> '' THEN 'unreadable' WHEN d.first_line IS NOT NULL THEN 'duplicate' ELSE 'balance' END,
  l.amount_fen,
  CASE WHEN l.fault <> '' THEN NULL WHEN d.first_line IS NOT NULL THEN 0 ELSE coalesce(b.closing_fen, 0) END,
  l.line, l.digest, NULL, NULL, NULL, '', '', '', l.payee, l.payee_sub_account,
  CASE WHEN d.first_line IS NOT NULL THEN 'an earlier line has this sub-account' ELSE l.fault END,
  CASE WHEN l.fault = '' AND d.first_line IS NULL AND l.amount_fen - coalesce(b.closing_fen, 0) = e.effect_fen
    THEN 'explained' END,
  false
FROM bank_line l
LEFT JOIN day_twice d ON d.sub_account = l.payee_sub_account AND l.line > d.first_line
LEFT JOIN day_balance b ON b.sub_account = l.payee_sub_account
LEFT JOIN day_effect e ON e.sub_account = l.payee_sub_account
WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND NOT l.agrees
"""

OF_NO_BALANCE: Final[LiteralString] = """
INSERT INTO day_finding
SELECT
  NULL, 'balance', NULL, b.closing_fen, NULL, '', NULL, NULL, NULL, '', '', '', coalesce(m.member_id, ''),
  b.sub_account, 'the file has no line of this sub-account', NULL, false
FROM day_balance b
LEFT JOIN member m ON m.platform = %(platform)s AND m.sub_account = b.sub_account
WHERE b.closing_fen <> 0 AND NOT EXISTS (
  SELECT FROM bank_line l
  WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s::bigint AND l.payee_sub_account = b.sub_account
)
"""

STANDING: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_standing AS
SELECT * FROM break b
WHERE b.platform = %(platform)s AND b.is_open AND b.bank_day <= %(bank_day)s::date AND b.type <> 'YE'
UNION ALL
SELECT b.*
FROM break b
CROSS JOIN LATERAL (
  SELECT e.caller, e.operation_id FROM break_event e
  WHERE e.platform = b.platform AND e.break_id = b.break_id AND e.kind = 'closed'
  ORDER BY e.number DESC LIMIT 1
) last
WHERE b.platform = %(platform)s AND NOT b.is_open AND b.type <> 'YE'
  AND b.bank_day BETWEEN %(bank_day)s::date - 31 AND %(bank_day)s::date
  AND last.caller <> '' AND (
    last.operation_id IS NULL OR EXISTS (
      SELECT FROM reference x
      JOIN resolution r ON r.platform = x.platform AND r.operation_id = x.operation_id
      JOIN account a ON a.platform = x.platform AND a.name = 'difference:' || x.value
      WHERE x.platform = b.platform AND x.kind = 'break' AND x.value = b.break_id::text AND r.verdict = 'posted'
        AND (r.bank_day > %(bank_day)s::date OR a.balance_fen <> 0)
    )
  )
"""
"""The breaks of the day, and of those before, by which the balances at its end still differ: the open ones, and what
somebody has closed, as long as it was not adjusted by then, or on one side alone. What closed by itself is no longer
there. No day is matched by itself when it is older than 31 days (`JZB_RECONCILIATION__DAYS`), so closed ones are not
looked for further back.
"""

EFFECTS: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_effect AS
SELECT sub_account, sum(fen)::bigint AS effect_fen
FROM (
  SELECT side.sub_account, side.fen
  FROM day_standing b
  JOIN bank_line l ON l.platform = b.platform AND l.file_id = b.file_id AND l.line = b.line
  CROSS JOIN LATERAL (
    VALUES
      (l.payee_sub_account, CASE b.kind
        WHEN 'amount' THEN b.bank_fen - b.ledger_fen WHEN 'fee' THEN b.ledger_fen - b.bank_fen
        ELSE l.amount_fen - l.fee_fen END),
      (l.payer_sub_account, CASE b.kind
        WHEN 'amount' THEN b.ledger_fen - b.bank_fen WHEN 'fee' THEN 0
        ELSE -l.amount_fen END)
  ) AS side (sub_account, fen)
  WHERE b.file_id = (
      SELECT f.file_id FROM bank_file f
      WHERE f.platform = b.platform AND f.bank_day = b.bank_day AND f.type = b.type
      ORDER BY f.version DESC LIMIT 1
    )
    AND b.kind IN ('missing-here', 'state', 'amount', 'fee') AND side.sub_account <> ''
  UNION ALL
  SELECT split_part(side.name, ':', 2), side.fen
  FROM (
    SELECT platform, operation_id, part FROM day_standing WHERE kind = 'missing-there'
    UNION ALL
    SELECT r.platform, r.operation_id, r.part
    FROM day_standing b
    CROSS JOIN LATERAL (
      SELECT operation_id FROM reference
      WHERE platform = b.platform AND kind = 'break' AND value = b.break_id::text
      OFFSET 0
    ) x
    CROSS JOIN LATERAL (
      SELECT platform, operation_id, part FROM resolution
      WHERE platform = b.platform AND operation_id = x.operation_id AND verdict = 'posted'
        AND bank_day <= %(bank_day)s::date
      OFFSET 0
    ) r
  ) ours
  CROSS JOIN LATERAL (
    SELECT debit, credit, amount_fen FROM leg
    WHERE platform = ours.platform AND operation_id = ours.operation_id AND part = ours.part
    OFFSET 0
  ) l
  CROSS JOIN LATERAL (VALUES (l.debit, l.amount_fen), (l.credit, -l.amount_fen)) AS side (name, fen)
  WHERE split_part(side.name, ':', 1) IN ('withdrawable', 'waiting')
) moved
GROUP BY 1
"""
"""How far each sub-account's balance at the bank is to differ at the end of the day, less what was adjusted by then."""

OCCURRENCES: Final[LiteralString] = """
UPDATE day_finding f SET occurrence = o.occurrence
FROM (
  SELECT line, row_number() OVER (PARTITION BY digest ORDER BY line) AS occurrence
  FROM bank_line
  WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND NOT agrees
) o
WHERE o.line = f.line
"""
"""Which of the lines with the same bytes a line is, of those that do not agree."""

IDENTITIES: Final[LiteralString] = """
UPDATE day_finding SET break_id = md5(concat_ws(
  '|', %(platform)s::text, %(bank_day)s::date, %(type)s::text, kind, encode(digest, 'hex'), coalesce(occurrence, 0),
  CASE digest WHEN '' THEN coalesce(operation_id::text, sub_account) ELSE '' END,
  CASE digest WHEN '' THEN coalesce(part, 0) ELSE 0 END, coalesce(bank_fen, -1), coalesce(ledger_fen, -1)
))::uuid
"""
"""What a break is about: a line by its bytes, else a posting or a sub-account; and the amounts, so that what was
decided about one difference does not hold for another. The line's posting is no part of it: it may be found later.
"""

GONE: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_gone AS
SELECT
  b.break_id,
  CASE
    WHEN b.digest <> '' AND listed.digest IS NULL THEN 'superseded'
    WHEN b.kind = 'missing-there' AND beside.operation_id IS NOT NULL THEN 'next-file'
    WHEN b.kind IN ('missing-here', 'missing-there') AND shifted.line IS NOT NULL THEN 'next-file'
    ELSE 'ended'
  END AS reason
FROM break b
LEFT JOIN (
  SELECT DISTINCT digest FROM bank_line
  WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint AND digest <> ''
) listed ON listed.digest = b.digest
LEFT JOIN (SELECT DISTINCT operation_id, part FROM day_beside) beside
  ON beside.operation_id = b.operation_id AND beside.part = b.part
LEFT JOIN (SELECT DISTINCT line FROM day_finding WHERE kind = 'date-shifted') shifted ON shifted.line = b.line
WHERE b.platform = %(platform)s AND b.bank_day = %(bank_day)s::date AND b.type = %(type)s AND b.is_open
  AND NOT EXISTS (SELECT FROM day_finding f WHERE f.break_id = b.break_id)
"""
"""The breaks that are none any more, and why. A line has its digest since it did not agree."""

IDENTIFIED: Final[tuple[LiteralString, ...]] = (
    SETS,
    OCCURRENCES,
    IDENTITIES,
    "ANALYZE day_finding",
    GONE,
    LOOKUPS,
)
"""What is done with the findings before they are merged into the breaks."""

_EVENT: Final[LiteralString] = "INSERT INTO break_event (platform, break_id, kind, caller, person, note, reason, mac)"

MERGED: Final[tuple[LiteralString, ...]] = (
    f"""
    WITH made AS (
      INSERT INTO break (
        platform, break_id, bank_day, type, kind, bank_fen, ledger_fen, file_id, line, digest, operation_id, part,
        operation_kind, serial, bank_serial, member, sub_account, detail, is_open
      )
      SELECT
        %(platform)s, break_id, %(bank_day)s::date, %(type)s, kind, bank_fen, ledger_fen,
        CASE WHEN line IS NOT NULL THEN %(file_id)s::bigint END, line, digest, operation_id, part,
        operation_kind, serial, bank_serial, member, sub_account, detail, settled IS NULL
      FROM day_finding
      ON CONFLICT (break_id, platform) DO NOTHING
      RETURNING break_id
    )
    {_EVENT}
    SELECT %(platform)s, f.break_id, e.kind, '', '', '', e.reason, ''
    FROM made
    JOIN day_finding f ON f.break_id = made.break_id
    CROSS JOIN LATERAL (
      VALUES (1, 'opened', NULL),
        (2, CASE WHEN f.settled IS NOT NULL THEN 'closed' WHEN f.is_carried THEN 'carried' END, f.settled)
    ) AS e (step, kind, reason)
    WHERE e.kind IS NOT NULL
    ORDER BY f.line, f.break_id, e.step
    """,
    """
    UPDATE break b SET file_id = %(file_id)s::bigint, line = f.line
    FROM day_finding f
    WHERE b.platform = %(platform)s AND b.break_id = f.break_id AND f.line IS NOT NULL
      AND (b.file_id, b.line) IS DISTINCT FROM (%(file_id)s::bigint, f.line)
    """,
    # What had closed by itself is there again.
    f"""
    WITH again AS (
      UPDATE break b SET is_open = true
      FROM day_finding f
      WHERE b.platform = %(platform)s AND b.break_id = f.break_id AND NOT b.is_open AND f.settled IS NULL
        AND (
          SELECT e.caller FROM break_event e
          WHERE e.platform = b.platform AND e.break_id = b.break_id AND e.kind = 'closed'
          ORDER BY e.number DESC LIMIT 1
        ) = ''
      RETURNING b.break_id
    )
    {_EVENT} SELECT %(platform)s, break_id, 'opened', '', '', '', NULL, '' FROM again
    """,
    f"""
    WITH over AS (
      UPDATE break b SET is_open = false
      FROM day_finding f
      WHERE b.platform = %(platform)s AND b.break_id = f.break_id AND b.is_open AND f.settled IS NOT NULL
      RETURNING b.break_id, f.settled
    )
    {_EVENT} SELECT %(platform)s, break_id, 'closed', '', '', '', settled, '' FROM over
    """,
    f"""
    WITH over AS (
      UPDATE break b
      SET is_open = false, file_id = CASE reason WHEN 'superseded' THEN NULL ELSE b.file_id END,
        line = CASE reason WHEN 'superseded' THEN NULL ELSE b.line END
      FROM day_gone gone
      WHERE b.platform = %(platform)s AND b.break_id = gone.break_id
      RETURNING b.break_id, gone.reason
    )
    {_EVENT} SELECT %(platform)s, break_id, 'closed', '', '', '', reason, '' FROM over
    """,
    f"""
    {_EVENT}
    SELECT %(platform)s, b.break_id, 'raised', '', '', '', NULL, ''
    FROM break b
    JOIN day_finding f ON f.break_id = b.break_id
    WHERE b.platform = %(platform)s AND b.is_open AND NOT f.is_carried AND f.settled IS NULL AND (
      SELECT e.kind FROM break_event e
      WHERE e.platform = b.platform AND e.break_id = b.break_id
      ORDER BY e.number DESC LIMIT 1
    ) = 'carried'
    """,
    """
    UPDATE bank_file SET state = 'matched', matched_at = now()
    WHERE platform = %(platform)s AND file_id = %(file_id)s::bigint
    """,
)


def set_against(columns: int | None) -> tuple[LiteralString, ...]:
    """What is done with a file whose lines are postings, between `FINDINGS` and `OCCURRENCES`; ``columns`` where it has
    just been loaded, and by how many.
    """
    since, loaded = ((POSTED_SINCE,), ()) if columns is None else ((), digests(columns))
    return (*LEFT, *since, *MATCHED, *loaded, *MISSING, LOOKUPS, OF_LINES, OF_POSTINGS)


COMPARED: Final[tuple[LiteralString, ...]] = (
    SETS,
    BALANCES_TWICE,
    BALANCES_AGREE,
    LOOKUPS,
    STANDING,
    EFFECTS,
    SETS,
    OF_BALANCES,
    OF_NO_BALANCE,
)
"""What is done with the file of balances."""

DONE_WITH: Final[LiteralString] = (
    "DROP TABLE IF EXISTS day_posted, day_line, day_met, day_twice, day_missing, day_beside, day_finding, day_gone,"
    " day_balance, day_standing, day_effect"
)

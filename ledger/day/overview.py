"""What is to be done about bank days, as numbers: files that lack, breaks that are open, days without signatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, LiteralString

from ledger.day.values import BreakKind, FileType
from ledger.reads.work import WorkSum

DAYS_BACK: Final = 62
"""Files and signatures of so many past days are looked at; of breaks all that are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysOverview:
    """How far the closing of past days is. Breaks that rest or are carried over are not open."""

    missing: Mapping[FileType, int] = field(default_factory=dict)
    """Files and lists that are late or damaged."""
    breaks: Mapping[BreakKind, WorkSum] = field(default_factory=dict)
    unsigned: int = 0
    """Days that were loaded and that no two have signed since."""


OVERVIEW: Final[LiteralString] = """
WITH today AS (SELECT (now() AT TIME ZONE 'Asia/Shanghai')::date AS day),
tried AS (
  SELECT DISTINCT ON (a.bank_day, a.type) a.bank_day, a.type, a.state
  FROM bank_file_attempt a, today
  WHERE a.platform = :platform AND a.bank_day >= today.day - CAST(:days_back AS integer)
  ORDER BY a.bank_day, a.type, a.number DESC
),
loaded AS (
  SELECT f.bank_day, max(f.loaded_at) AS loaded_at
  FROM bank_file f, today
  WHERE f.platform = :platform AND f.bank_day >= today.day - CAST(:days_back AS integer)
  GROUP BY 1
)
SELECT 'missing' AS what, t.type AS name, count(*) AS count, 0::bigint AS amount_fen, 0::float8 AS age_s
FROM tried t
WHERE t.state IN ('late', 'damaged') AND NOT EXISTS (
  SELECT FROM bank_file f WHERE f.platform = :platform AND f.bank_day = t.bank_day AND f.type = t.type
)
GROUP BY t.type
UNION ALL
SELECT 'break', b.kind, count(*), CAST(sum(abs(coalesce(b.bank_fen, 0) - coalesce(b.ledger_fen, 0))) AS bigint),
  CAST(extract(epoch FROM now() - min(b.opened_at)) AS float8)
FROM break b
CROSS JOIN LATERAL (
  SELECT e.kind, e.until FROM break_event e
  WHERE e.platform = b.platform AND e.break_id = b.break_id
  ORDER BY e.number DESC LIMIT 1
) moved, today
WHERE b.platform = :platform AND b.is_open AND moved.kind <> 'carried'
  AND NOT (moved.kind = 'held' AND moved.until > today.day)
GROUP BY b.kind
UNION ALL
SELECT 'unsigned', '', count(*), 0, 0
FROM loaded l
WHERE NOT EXISTS (
  SELECT FROM sign_off s
  WHERE s.platform = :platform AND s.bank_day = l.bank_day AND s.place = 2 AND s.at >= l.loaded_at
)
"""

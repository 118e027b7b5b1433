"""Replays the journal and compares it with the balances: what `jzb verify` prints.

Works on the tables alone, with SQL of its own: neither the rules nor the writer are asked whether they were right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: which check, where, and the two values that differ."""

    check: str
    where: str
    expected: str
    found: str


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
    "all balances sum to zero": """
        SELECT 'all accounts', '0', sum(balance_fen)::text
        FROM account
        WHERE platform = :platform
        HAVING sum(balance_fen) <> 0
    """,
    "a posted transaction takes exactly what it held": """
        SELECT r.operation_id || '/' || r.part || ' ' || coalesce(h.account, l.debit),
          coalesce(h.amount_fen, 0)::text, coalesce(l.fen, 0)::text
        FROM resolution r
        JOIN LATERAL (
          SELECT account, amount_fen FROM hold
          WHERE platform = r.platform AND operation_id = r.operation_id AND part = r.part
        ) h ON true
        LEFT JOIN LATERAL (
          SELECT debit, sum(amount_fen) AS fen FROM leg
          WHERE platform = r.platform AND operation_id = r.operation_id AND part = r.part AND debit = h.account
          GROUP BY debit
        ) l ON true
        WHERE r.platform = :platform AND r.verdict = 'posted' AND h.amount_fen <> coalesce(l.fen, 0)
    """,
    "a voided transaction moves nothing": """
        SELECT l.operation_id || '/' || l.part, 'no legs', l.amount_fen::text
        FROM leg l
        JOIN resolution r USING (platform, operation_id, part)
        WHERE l.platform = :platform AND r.verdict = 'voided'
    """,
    "a final operation has no pending part": """
        SELECT o.id || '/' || t.part, 'resolved', 'pending in state ' || o.state
        FROM operation o
        JOIN transaction t ON t.platform = o.platform AND t.operation_id = o.id
        LEFT JOIN resolution r ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
        WHERE o.platform = :platform AND o.state IN ('done', 'refused', 'released') AND r.verdict IS NULL
    """,
    "the last event tells an operation's state": """
        SELECT o.id::text, e.state, o.state
        FROM operation o
        JOIN LATERAL (
          SELECT state FROM event
          WHERE platform = o.platform AND operation_id = o.id ORDER BY seq DESC LIMIT 1
        ) e ON true
        WHERE o.platform = :platform AND e.state <> o.state
    """,
}
"""Each query yields (where, expected, found) for what contradicts, and nothing when all is well."""


async def verify(engine: AsyncEngine, platform: str) -> list[Finding]:
    """Every contradiction in the platform's books; empty when they are whole."""
    findings: list[Finding] = []
    async with engine.connect() as connection:
        for check, query in CHECKS.items():
            rows = await connection.execute(text(query), {"platform": platform})
            findings.extend(Finding(check, *row) for row in rows)
    return findings

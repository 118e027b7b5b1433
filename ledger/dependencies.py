"""What still needs a member: its money, what is on its way from or to it, and what may yet come back.

Read before a member is closed, and once more when its `standing` is taken: from then on nothing new can be opened with
it, so that what is not found then does not come. A member is closed rarely, and this may read all that it ever did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import text

NAMED = 5
"""So many are named of each kind."""


class Need(StrEnum):
    """Why a member is still needed."""

    AVAILABLE = "available"
    FROZEN = "frozen"
    ESCROW = "escrow"
    """Money in its own pockets: available, held amounts included; frozen; prepaid by it for orders."""
    UNDER_WAY = "under_way"
    """An operation that is not final names it, as payer, payee or one of several."""
    TO_COLLECT = "to_collect"
    """Others have prepaid orders of which it is the payee."""
    PARKED = "parked"
    """The bank has parked what an acquired order was to bring it."""
    REFUNDABLE = "refundable"
    """A payment by it or to it can still be refunded."""
    REVOCABLE = "revocable"
    """A top-up of it can still be taken back."""
    UNDOABLE = "undoable"
    """Money of suspense that it was given can still be put back."""
    MAY_RETURN = "may_return"
    """A withdrawal that was paid out can still come back (6048)."""
    CARD = "card"
    """A card is bound to it."""


MONEY = frozenset({Need.AVAILABLE, Need.FROZEN, Need.ESCROW})
"""What lies in the member's own pockets."""

GIVEN_BACK = frozenset({Need.REFUNDABLE, Need.REVOCABLE, Need.UNDOABLE})
"""What nobody has asked to be given back, and may ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One kind of need: how many, how much in fen, and the first few by order number, serial or id."""

    need: Need
    count: int
    amount_fen: int
    first: tuple[str, ...]


DEPENDENCIES = text("""
    WITH
    mine AS (
      SELECT id FROM operation WHERE platform = :platform AND payer = :member_id AND payer <> ''
      UNION
      SELECT id FROM operation WHERE platform = :platform AND payee = :member_id AND payee <> ''
      UNION
      SELECT operation_id FROM reference WHERE platform = :platform AND kind = 'member' AND value = :member_id
    ),
    parts AS (
      SELECT
        o.kind, t.serial, t.payer, t.payee, r.bank_day, coalesce(nullif(t.order_no, ''), o.order_no) AS order_no
      FROM mine
      JOIN operation o ON o.platform = :platform AND o.id = mine.id
      JOIN transaction t ON t.platform = o.platform AND t.operation_id = o.id AND :member_id IN (t.payer, t.payee)
      JOIN resolution r
        ON r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part AND r.verdict = 'posted'
    ),
    needs (need, named, fen) AS (
      SELECT CASE WHEN kind IN ('withdrawable', 'waiting') THEN 'available' ELSE kind END, ref, balance_fen
      FROM account
      WHERE platform = :platform AND owner = :sub_account AND kind IN ('withdrawable', 'waiting', 'frozen', 'escrow')
        AND has_money
      UNION ALL
      SELECT 'under_way', o.id::text, o.amount_fen
      FROM due d
      JOIN operation o ON o.platform = d.platform AND o.id = d.operation_id
      WHERE d.platform = :platform AND o.id IS DISTINCT FROM CAST(:but AS uuid) AND (
        :member_id IN (o.payer, o.payee)
        OR EXISTS (
          SELECT FROM reference
          WHERE value = :member_id AND kind = 'member' AND platform = o.platform AND operation_id = o.id
        )
      )
      UNION ALL
      SELECT 'to_collect', p.order_no, a.balance_fen
      FROM parts p
      JOIN member m ON m.platform = :platform AND m.member_id = p.payer
      JOIN account a
        ON a.platform = :platform AND a.name = 'escrow:' || m.sub_account || ':' || p.order_no AND a.balance_fen > 0
      WHERE p.kind IN ('PREPAY_ORDER', 'BATCH_PREPAY') AND p.payee = :member_id
      UNION ALL
      SELECT 'parked', p.order_no, a.balance_fen
      FROM parts p
      JOIN account a ON a.platform = :platform AND a.name = 'parking:' || p.order_no AND a.balance_fen > 0
      WHERE p.kind = 'RECORD_ORDER' AND p.payee = :member_id
      UNION ALL
      SELECT a.kind, p.serial, a.balance_fen
      FROM parts p
      CROSS JOIN LATERAL (VALUES ('refundable:'), ('revocable:'), ('undoable:')) AS limits (prefix)
      JOIN account a ON a.platform = :platform AND a.name = limits.prefix || p.serial AND a.balance_fen > 0
      WHERE p.serial <> '' AND p.bank_day >= CAST(:limited_since AS date)
      UNION ALL
      SELECT 'may_return', serial, amount_fen
      FROM operation
      WHERE platform = :platform AND payer = :member_id AND payer <> '' AND kind = 'WITHDRAW' AND state = 'done'
        AND bank_day >= CAST(:returned_since AS date)
      UNION ALL
      SELECT 'card', card_id::text, 0
      FROM card
      WHERE platform = :platform AND member_id = :member_id AND state = 'bound'
    )
    SELECT
      need, count(*) AS count, sum(fen)::bigint AS fen,
      (array_agg(named ORDER BY named))[1:CAST(:first AS int)] AS first
    FROM needs
    GROUP BY need
""")


def dependencies_of(rows: Any) -> list[Dependency]:
    """What `DEPENDENCIES` has found, in the order of `Need`."""
    found = [
        Dependency(need=Need(row["need"]), count=row["count"], amount_fen=row["fen"], first=tuple(row["first"]))
        for row in rows
    ]
    return sorted(found, key=lambda one: list(Need).index(one.need))

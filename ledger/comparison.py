"""Whether the books agree with what the bank says of a sub-account, while money moves.

The bank's answer is true at a moment that nobody knows, between the question and its coming. So the books are read
before the question (`Position`), and after the answer is read what may have moved meanwhile (`Motion`): by every
operation that was open, or changed. The bank may have carried out each of them by then, or not, or in part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import LiteralString, NamedTuple

from ledger.accounts import Kind
from ledger.names import SubAccount


class Result(StrEnum):
    """How the books compare with the bank."""

    EQUAL = "equal"
    UNDER_WAY = "under-way"
    """Operations under way, in doubt, or ended while the bank was asked explain the difference."""
    CLEARING = "clearing"
    """The bank has made money of an earlier day withdrawable, and its clearing is not entered yet."""
    DIFFERS = "differs"


class Amounts(NamedTuple):
    """What the bank and the books can both state of a sub-account, in fen."""

    available_fen: int = 0
    withdrawable_fen: int = 0
    frozen_fen: int = 0

    def minus(self, other: Amounts) -> Amounts:
        """Amount by amount."""
        return Amounts(*(one - minus for one, minus in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The accounts of a sub-account, or the platform's own, at one moment: fen by kind, what is held included.

    ``earlier_fen`` is what of a kind is of earlier bank days. ``clearing_is_due`` says that money of an earlier day is
    still in transit from channels: that day's clearing is not entered. ``event`` and ``at`` are of the last change
    before it.
    """

    balance_fen: Mapping[Kind, int]
    held_fen: Mapping[Kind, int]
    earlier_fen: Mapping[Kind, int]
    clearing_is_due: bool
    event: int
    at: datetime
    now: datetime

    def sum_of(self, kinds: Collection[Kind]) -> int:
        """What the accounts of these kinds have, held money included."""
        return sum(self.balance_fen.get(kind, 0) for kind in kinds)

    def remaining_of(self, kinds: Collection[Kind]) -> int:
        """What the accounts of these kinds have, held money counted as gone."""
        return self.sum_of(kinds) - sum(self.held_fen.get(kind, 0) for kind in kinds)


@dataclass(frozen=True, slots=True)
class Motion:
    """What operations may have taken from accounts since a `Position`, and given to them: fen by kind."""

    taken_fen: Mapping[Kind, int] = field(default_factory=dict)
    given_fen: Mapping[Kind, int] = field(default_factory=dict)


class Comparison(NamedTuple):
    """One sub-account in the books and at the bank.

    ``kind`` is that of the platform's own sub-account, None for a member's. ``in_doubt_fen`` is what may still move, of
    the amount of which most may.
    """

    sub_account: SubAccount
    mirror: Amounts
    bank: Amounts
    in_doubt_fen: int
    result: Result
    compared_at: datetime
    kind: Kind | None = None


def judge(
    sub_account: SubAccount,
    bank: Amounts,
    position: Position,
    motion: Motion,
    *,
    kind: Kind | None = None,
    with_escrow: bool = False,
) -> Comparison:
    """Hold the bank's word against the books.

    ``with_escrow`` says whether the bank's frozen amount includes escrow (`frozen_amount_includes_escrow`).
    """
    available: tuple[Kind, ...] = (Kind.WITHDRAWABLE, Kind.UNCLEARED) if kind is None else (kind,)
    withdrawable: tuple[Kind, ...] = (Kind.WITHDRAWABLE,) if kind is None else ()
    frozen: tuple[Kind, ...] = () if kind else (Kind.FROZEN, Kind.ESCROW) if with_escrow else (Kind.FROZEN,)
    mirror = Amounts(*(position.remaining_of(kinds) for kinds in (available, withdrawable, frozen)))
    is_explained, is_cleared, in_doubt_fen = True, True, 0
    for kinds, stated_fen in zip(
        (available, withdrawable, frozen), (bank.available_fen, bank.withdrawable_fen, bank.frozen_fen), strict=True
    ):
        taken_fen = sum(motion.taken_fen.get(one, 0) for one in kinds)
        given_fen = sum(motion.given_fen.get(one, 0) for one in kinds)
        least_fen, most_fen = position.sum_of(kinds) - taken_fen, position.sum_of(kinds) + given_fen
        in_doubt_fen = max(in_doubt_fen, taken_fen + given_fen)
        is_explained &= least_fen <= stated_fen <= most_fen
        is_cleared &= least_fen <= stated_fen <= most_fen + _by_clearing(kinds, position)
    if bank == mirror:
        result = Result.EQUAL
    elif is_explained:
        result = Result.UNDER_WAY
    else:
        result = Result.CLEARING if is_cleared else Result.DIFFERS
    return Comparison(
        sub_account=sub_account,
        kind=kind,
        mirror=mirror,
        bank=bank,
        in_doubt_fen=in_doubt_fen,
        result=result,
        compared_at=position.now,
    )


def _by_clearing(kinds: tuple[Kind, ...], position: Position) -> int:
    """How much more an amount may be at the bank once it has cleared earlier days."""
    if kinds == (Kind.IN_TRANSIT,):
        return -position.earlier_fen.get(Kind.IN_TRANSIT, 0)
    # Until the clearing is entered, what was spent meanwhile may have come out of other pockets than at the bank.
    if kinds == (Kind.WITHDRAWABLE,) and (position.clearing_is_due or position.earlier_fen.get(Kind.UNCLEARED, 0)):
        return position.balance_fen.get(Kind.UNCLEARED, 0)
    return 0


POSITION: LiteralString = """
SELECT
  clock_timestamp() AS now, last.seq, last.at, a.kind, a.balance_fen, a.held_fen, a.earlier_fen,
  EXISTS (
    SELECT FROM account
    WHERE platform = :platform AND owner = '' AND kind = 'in-transit' AND ref < :today AND has_money
  ) AS clearing_is_due
FROM (SELECT) one
LEFT JOIN LATERAL (
  SELECT seq, at FROM event WHERE platform = :platform ORDER BY seq DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
  SELECT
    kind, sum(balance_fen)::bigint AS balance_fen, sum(held_fen)::bigint AS held_fen,
    coalesce(sum(balance_fen) FILTER (WHERE kind IN ('waiting', 'in-transit') AND ref < :today), 0)::bigint
      AS earlier_fen
  FROM account
  WHERE platform = :platform AND owner = :owner AND kind = ANY (CAST(:kinds AS text[])) AND has_money
  GROUP BY kind
) a ON true
"""
"""All of one moment, as every statement sees it."""

MOTION: LiteralString = """
WITH
unfinished AS MATERIALIZED (
  SELECT o.platform, o.id, o.state, o.plan
  FROM due d
  JOIN operation o ON o.platform = d.platform AND o.id = d.operation_id
  WHERE d.platform = :platform AND (
    :owner = '' OR o.payer = :member_id OR o.payee = :member_id OR EXISTS (
      SELECT FROM reference r
      WHERE r.platform = o.platform AND r.operation_id = o.id AND r.kind = 'member' AND r.value = :member_id
    )
  )
),
ended AS MATERIALIZED (
  SELECT r.platform, r.operation_id, r.part, r.verdict
  FROM (SELECT DISTINCT operation_id FROM event WHERE platform = :platform AND seq > :event) changed
  JOIN resolution r ON r.operation_id = changed.operation_id AND r.platform = :platform
  WHERE r.at > :at
),
planned AS (
  SELECT leg.value AS leg
  FROM unfinished u
  CROSS JOIN LATERAL (
    SELECT value FROM json_array_elements(u.plan->'drafts') WHERE u.state <> 'accepted'
    UNION ALL
    SELECT value FROM json_array_elements(u.plan->'then')
    UNION ALL
    SELECT value FROM json_array_elements(u.plan->'undo') WHERE u.state = 'accepted'
  ) draft
  CROSS JOIN LATERAL json_array_elements(draft.value->'legs') leg
),
moved AS (
  SELECT leg->1->>1 AS kind, leg->1->>2 AS owner, 0 AS taken_fen, (leg->>2)::bigint AS given_fen FROM planned
  UNION ALL
  -- What members have is held from the beginning, pocket by pocket; the platform's own accounts are not.
  SELECT leg->0->>1, leg->0->>2, (leg->>2)::bigint, 0
  FROM planned
  WHERE :owner = '' AND leg->0->>0 <> 'available'
  UNION ALL
  SELECT a.kind, a.owner, h.amount_fen, 0
  FROM (
    SELECT platform, operation_id, part FROM ended
    UNION ALL
    SELECT t.platform, t.operation_id, t.part
    FROM unfinished u
    JOIN transaction t ON t.platform = u.platform AND t.operation_id = u.id
    WHERE NOT EXISTS (
      SELECT FROM resolution r WHERE r.platform = t.platform AND r.operation_id = t.operation_id AND r.part = t.part
    )
  ) part
  JOIN hold h ON h.platform = part.platform AND h.operation_id = part.operation_id AND h.part = part.part
  JOIN account a ON a.platform = h.platform AND a.name = h.account
  WHERE :owner <> ''
  UNION ALL
  SELECT a.kind, a.owner, CASE WHEN l.debit = a.name THEN l.amount_fen ELSE 0 END,
    CASE WHEN l.credit = a.name THEN l.amount_fen ELSE 0 END
  FROM ended e
  JOIN leg l ON l.platform = e.platform AND l.operation_id = e.operation_id AND l.part = e.part
  JOIN account a ON a.platform = l.platform AND a.name IN (l.credit, CASE WHEN :owner = '' THEN l.debit END)
  WHERE e.verdict = 'posted'
)
SELECT kind, sum(taken_fen)::bigint AS taken_fen, sum(given_fen)::bigint AS given_fen
FROM moved
WHERE owner = :owner AND kind = ANY (CAST(:kinds AS text[]))
GROUP BY kind
"""

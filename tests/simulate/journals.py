"""A small journal that the checker finds right, with changes to break a fact of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from simulate.checker import Journal, Movement, Op, Posted

FIRST, ID = UUID(int=1), UUID(int=7)
NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)
DAY = date(2026, 11, 23)
SUB = "9930000000001001"
WAITING = f"waiting:{SUB}:20261123"
ADOPTED = 100_000_000


def posted(operation: UUID, part: int, debit: str, credit: str, fen: int, verdict: str = "posted") -> Posted:
    return Posted(operation, part, debit, credit, fen, verdict, DAY, NOON)


def moved(batch: int, debit: str, credit: str, fen: int) -> list[Movement]:
    return [Movement(batch, batch, debit, -fen, 0), Movement(batch, batch, credit, fen, 0)]


def journal(**changes: Any) -> Journal:
    """The platform's own funds taken over, then 5.00 topped up with a fee of 0.50."""
    given = {
        "operations": {
            "adoption": Op(FIRST, "adoption", "ADOPTION", "S1", "done", ADOPTED, "done"),
            "r-1": Op(ID, "r-1", "TOP_UP", "S7", "done", 500, "done"),
        },
        "legs": [
            posted(FIRST, 1, "pooled", "own-funds", ADOPTED),
            posted(ID, 1, "in-transit:20261123", WAITING, 450),
            posted(ID, 1, "in-transit:20261123", "fee", 50),
        ],
        "holds": [],
        "movements": [
            *moved(1, "pooled", "own-funds", ADOPTED),
            *moved(2, "in-transit:20261123", WAITING, 450),
            *moved(2, "in-transit:20261123", "fee", 50),
        ],
        "balances": {
            "pooled": (-ADOPTED, 0),
            "own-funds": (ADOPTED, 0),
            "in-transit:20261123": (-500, 0),
            WAITING: (450, 0),
            "fee": (50, 0),
        },
        "seals": [(1, NOON), (2, NOON + timedelta(seconds=1))],
        "pending": [],
        "due": 0,
        "once_unknown": 0,
    }
    return Journal(**{**given, **changes})

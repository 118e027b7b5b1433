"""What whoever runs the platform looks at: everything open, and its age, in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from ledger.reads.work import DIFFERENCES, OPEN, SUSPENDED, Patience, WorkKind, WorkQueue, WorkSum


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """Money of one kind of operation whose fate only the bank knows."""

    operations: int
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A platform at one moment. Ages are seconds by the database's clock, 0 where there is nothing of that age.

    ``overdue_s`` is for how long the question has been due that is due longest; ``in_doubt`` is by kind of operation,
    ``doubt_age_s`` the age of the oldest of them. ``statements_s`` is the age of
    the oldest event that statements do not have. ``sealed_s`` is None before the first seal. ``replicas_s`` is how far
    each standby is behind, by its application_name; only those that this user may see. ``work`` is all that waits.
    """

    overdue_s: float
    in_doubt: Mapping[str, InDoubt] = field(default_factory=dict)
    doubt_age_s: float
    accepted_age_s: float
    orphans: int
    suspense_fen: int
    suspense_age_s: float
    difference_fen: int
    difference_age_s: float
    statements_s: float
    sealed_s: float | None
    replicas_s: Mapping[str, float] = field(default_factory=dict)
    work: Mapping[WorkKind, WorkSum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The balance of a break's account `difference`, in fen, and since when it is not zero."""

    break_id: str
    balance_fen: int
    since: datetime


OVERVIEW = f"""
WITH
open AS (
  SELECT kind, state, amount_fen, extract(epoch FROM now() - created_at)::float8 AS age_s FROM ({OPEN}) AS open
),
doubt AS (
  SELECT kind, count(*) AS operations, sum(amount_fen)::bigint AS amount_fen, max(age_s) AS age_s
  FROM open
  WHERE state = 'unknown' OR (state = 'reserved' AND age_s > :reserved_for_s)
    OR (state = 'accepted' AND age_s > :accepted_for_s)
  GROUP BY kind
),
suspended AS (
  SELECT balance_fen, extract(epoch FROM now() - created_at)::float8 AS age_s FROM ({SUSPENDED}) AS suspended
),
differing AS ({DIFFERENCES}),
replica AS (
  SELECT application_name, max(extract(epoch FROM coalesce(replay_lag, '0')))::float8 AS behind_s
  FROM pg_stat_replication AS standby
  -- One that has replayed all has no lag; of one that replays nothing, such as a base backup, and of the sessions
  -- of others for a user without the right to see them, there is no position either.
  WHERE replay_lsn IS NOT NULL
    -- Whoever subscribes to changes of rows is no standby.
    AND NOT EXISTS (
      SELECT FROM pg_replication_slots AS slot WHERE slot.active_pid = standby.pid AND slot.slot_type = 'logical'
    )
  GROUP BY application_name
)
SELECT
  (
    SELECT extract(epoch FROM now() - ask_at)::float8
    FROM due WHERE platform = :platform ORDER BY ask_at LIMIT 1
  ) AS overdue_s,
  (SELECT json_object_agg(kind, json_build_array(operations, amount_fen)) FROM doubt) AS in_doubt,
  (SELECT max(age_s) FROM doubt) AS doubt_age_s,
  (SELECT max(age_s) FROM open WHERE state = 'accepted') AS accepted_age_s,
  (SELECT count(*) FROM open WHERE state = 'reserved' AND age_s > :reserved_for_s) AS orphans,
  (SELECT coalesce(sum(balance_fen), 0)::bigint FROM suspended) AS suspense_fen,
  (SELECT max(age_s) FROM suspended) AS suspense_age_s,
  (SELECT coalesce(sum(abs(balance_fen)), 0)::bigint FROM differing) AS difference_fen,
  (SELECT extract(epoch FROM now() - min(since))::float8 FROM differing) AS difference_age_s,
  (
    SELECT extract(epoch FROM now() - at)::float8
    FROM seal WHERE platform = :platform ORDER BY batch DESC LIMIT 1
  ) AS sealed_s,
  (
    SELECT extract(epoch FROM now() - at)::float8
    FROM event
    WHERE platform = :platform
      AND seq > coalesce((SELECT event FROM filled WHERE platform = :platform ORDER BY at DESC LIMIT 1), 0)
    ORDER BY seq LIMIT 1
  ) AS statements_s,
  (SELECT json_object_agg(application_name, behind_s) FROM replica) AS replicas_s
"""


class Overviews(WorkQueue):
    """The state of a platform."""

    async def differences(self, limit: int) -> list[Difference]:
        """Up to ``limit`` differences that are not zero, oldest first. Raises `LedgerUnavailable`."""
        rows = await self._rows(
            text(f"{DIFFERENCES} ORDER BY since, ref LIMIT :limit"), platform=self._platform, limit=limit
        )
        return [Difference(break_id=row["ref"], balance_fen=row["balance_fen"], since=row["since"]) for row in rows]

    async def overview(self, *, patience: Patience) -> Overview:
        """What is open now.

        In doubt is what waits for the bank's word: after an unknown outcome; reserved for longer than ``patience``
        has, by a process that has died since (an orphan); or accepted by the bank for longer than it has, without
        having said how it ended. Raises `LedgerUnavailable`.
        """
        (row,) = await self._rows(
            text(OVERVIEW),
            platform=self._platform,
            reserved_for_s=patience.reserved_for_s,
            accepted_for_s=patience.accepted_for_s,
        )
        return Overview(
            overdue_s=max(0.0, row["overdue_s"] or 0.0),
            in_doubt={
                kind: InDoubt(operations=operations, amount_fen=amount_fen)
                for kind, (operations, amount_fen) in (row["in_doubt"] or {}).items()
            },
            doubt_age_s=max(0.0, row["doubt_age_s"] or 0.0),
            accepted_age_s=max(0.0, row["accepted_age_s"] or 0.0),
            orphans=row["orphans"],
            suspense_fen=row["suspense_fen"],
            suspense_age_s=max(0.0, row["suspense_age_s"] or 0.0),
            difference_fen=row["difference_fen"],
            difference_age_s=max(0.0, row["difference_age_s"] or 0.0),
            statements_s=max(0.0, row["statements_s"] or 0.0),
            sealed_s=row["sealed_s"],
            replicas_s=row["replicas_s"] or {},
            work=await self.work_sums(patience),
        )

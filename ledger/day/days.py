"""The bank days of one platform: what was tried, files and lines, what does not agree, decisions, signatures.

Python moves states and nothing else: loading and matching are set SQL (`ledger.day.statements`), in a thread, on a
connection of their own; all other methods are one statement or two. What somebody decides has a MAC of the service over
who, what and about which break, as decisions on proposals have. Raises `DayError`, `LedgerUnavailable`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, Final, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg.errors import CheckViolation, UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import database
from ledger.answers import Encrypt
from ledger.day.errors import BreakClosed, BreakUnknown, DayChanged, DayNotReady, SignedBySame
from ledger.day.loading import NoReading
from ledger.day.matching import TURN, Matcher, matching
from ledger.day.overview import DAYS_BACK, OVERVIEW, DaysOverview
from ledger.day.values import (
    Attempt,
    BankFile,
    BankLine,
    Break,
    BreakEvent,
    BreakEventKind,
    BreakFilter,
    BreakKind,
    BreakState,
    CloseReason,
    Content,
    Day,
    DayFile,
    FileState,
    FileType,
    LineState,
    Loaded,
    NewFile,
    Piece,
    ProofRow,
    Reading,
    Signatory,
    SignOff,
)
from ledger.errors import LedgerUnavailable
from ledger.memory import BEFORE_ANYTHING
from ledger.reads.work import WorkSum
from ledger.turns import turn

CUT_OVER: Final = timedelta(hours=1)
"""How near to midnight something lies that the bank may have booked on the other day."""

Sign = Callable[[str], bytes]
"""Puts the service's MAC over a decision."""

_Result = TypeVar("_Result")

_FILE: Final[LiteralString] = """
SELECT
  f.file_id, f.bank_day, f.type, f.version, f.sha256, f.size, f.name, f.stated_rows, f.rows, f.bad_rows,
  f.repaired_rows, f.amount_fen, f.fee_fen,
  CASE
    WHEN f.state <> 'matched' OR newest.version > f.version THEN f.state
    WHEN NOT EXISTS (
      SELECT FROM break b
      WHERE b.platform = f.platform AND b.bank_day = f.bank_day AND b.type = f.type AND b.is_open
    ) THEN 'clean'
    WHEN EXISTS (
      SELECT FROM break b
      CROSS JOIN LATERAL (
        SELECT e.kind FROM break_event e
        WHERE e.platform = b.platform AND e.break_id = b.break_id
        ORDER BY e.number DESC LIMIT 1
      ) moved
      WHERE b.platform = f.platform AND b.bank_day = f.bank_day AND b.type = f.type AND b.is_open
        AND moved.kind <> 'carried'
    ) THEN 'breaks'
    ELSE 'matched'
  END AS state,
  f.loaded_at, f.matched_at, newest.version = f.version AS is_current
FROM bank_file f
CROSS JOIN LATERAL (
  SELECT max(n.version) AS version FROM bank_file n
  WHERE n.platform = f.platform AND n.bank_day = f.bank_day AND n.type = f.type
) newest
WHERE f.platform = :platform
"""

_TRIED: Final[LiteralString] = """
INSERT INTO bank_file_attempt (platform, bank_day, type, state, reason)
VALUES (:platform, :bank_day, :type, :state, :reason)
"""

_ATTEMPTS: Final[LiteralString] = """
SELECT DISTINCT ON (type) bank_day, type, state, reason, at
FROM bank_file_attempt
WHERE platform = :platform AND bank_day = :bank_day
ORDER BY type, number DESC
"""

_COUNTS: Final[LiteralString] = """
SELECT
  t.type,
  (
    SELECT count(*) FROM break b
    WHERE b.platform = :platform AND b.bank_day = :bank_day AND b.type = t.type AND b.is_open
  ) AS breaks,
  (
    SELECT count(*) FROM bank_line l WHERE l.platform = :platform AND l.file_id = t.file_id AND NOT l.agrees
  ) AS others
FROM unnest(CAST(:types AS text[]), CAST(:file_ids AS bigint[])) AS t (type, file_id)
"""

_DAYS: Final[LiteralString] = """
SELECT bank_day
FROM (
  SELECT bank_day FROM bank_file WHERE platform = :platform
  UNION SELECT bank_day FROM bank_file_attempt WHERE platform = :platform
) known
WHERE CAST(:before AS date) IS NULL OR bank_day < :before
ORDER BY bank_day DESC
LIMIT :limit
"""

_LINE_STATE: Final[LiteralString] = """
CASE
  WHEN fault <> '' THEN 'unreadable'
  WHEN NOT agrees AND operation_id IS NOT NULL THEN 'differs'
  WHEN NOT agrees THEN 'unmatched'
  WHEN operation_id IS NULL AND booking = 'outside' THEN 'outside'
  ELSE 'matched'
END
"""

_LINES: Final[LiteralString] = f"""
SELECT
  file_id, line, digest, {_LINE_STATE} AS state, fault, is_repaired, serial, bank_serial, payer, payer_sub_account,
  payee, payee_sub_account, amount_fen, fee_fen, day, time, order_no, booking, operation_id, part
FROM bank_line
WHERE platform = :platform AND file_id = :file_id AND line > :after
"""

_BREAKS: Final[LiteralString] = """
SELECT * FROM (
  SELECT
    b.break_id, b.bank_day, b.type, b.kind, b.bank_fen, b.ledger_fen, b.file_id, b.line, b.digest, b.operation_id,
    b.part, b.operation_kind, b.serial, b.bank_serial, b.member, b.sub_account, b.detail, b.opened_at,
    (SELECT f.sha256 FROM bank_file f WHERE f.platform = b.platform AND f.file_id = b.file_id) AS file_sha256,
    coalesce((
      SELECT a.balance_fen FROM account a WHERE a.platform = b.platform AND a.name = 'difference:' || b.break_id
    ), 0) AS adjusted_fen,
    CASE
      WHEN moved.kind = 'closed' THEN 'closed'
      WHEN moved.kind = 'carried' THEN 'carried'
      WHEN moved.kind = 'held' AND moved.until > (now() AT TIME ZONE 'Asia/Shanghai')::date THEN 'held'
      ELSE 'open'
    END AS state,
    coalesce((
      SELECT w.owner FROM work_event w
      WHERE w.platform = b.platform AND w.work_id = 'break:' || b.break_id AND w.kind = 'assigned'
      ORDER BY w.number DESC LIMIT 1
    ), '') AS owner,
    coalesce((
      SELECT note FROM (
        SELECT w.at, w.number, w.note FROM work_event w
        WHERE w.platform = b.platform AND w.work_id = 'break:' || b.break_id AND w.note <> ''
        UNION ALL
        SELECT e.at, e.number, e.note FROM break_event e
        WHERE e.platform = b.platform AND e.break_id = b.break_id AND e.note <> ''
      ) noted
      ORDER BY at DESC, number DESC LIMIT 1
    ), '') AS note,
    CASE moved.kind WHEN 'held' THEN moved.until END AS held_until,
    CASE moved.kind WHEN 'closed' THEN moved.reason END AS close_reason,
    greatest(moved.at, (
      SELECT w.at FROM work_event w
      WHERE w.platform = b.platform AND w.work_id = 'break:' || b.break_id
      ORDER BY w.number DESC LIMIT 1
    )) AS updated_at
  FROM break b
  CROSS JOIN LATERAL (
    SELECT e.kind, e.until, e.reason, e.at FROM break_event e
    WHERE e.platform = b.platform AND e.break_id = b.break_id
    ORDER BY e.number DESC LIMIT 1
  ) moved
  WHERE b.platform = :platform
"""

_IS_WANTED: Final[LiteralString] = """
    AND (CAST(:first_day AS date) IS NULL OR b.bank_day >= :first_day)
    AND (CAST(:last_day AS date) IS NULL OR b.bank_day <= :last_day)
    AND (CAST(:types AS text[]) = '{}' OR b.type = ANY (CAST(:types AS text[])))
    AND (CAST(:kinds AS text[]) = '{}' OR b.kind = ANY (CAST(:kinds AS text[])))
    AND (:member = '' OR b.member = :member)
    AND (CAST(:operation_id AS uuid) IS NULL OR b.operation_id = :operation_id)
    AND (NOT :open_alone OR b.is_open)
    AND (:owner = '' OR b.break_id IN (
      SELECT CAST(substr(work_id, 7) AS uuid) FROM work_event
      WHERE owner = :owner AND owner <> '' AND platform = :platform AND work_id LIKE 'break:%'
    ))
    AND abs(coalesce(b.bank_fen, 0) - coalesce(b.ledger_fen, 0)) >= :min_difference_fen
    AND (
      CAST(:after AS uuid) IS NULL OR (b.bank_day, b.break_id) > (
        SELECT bank_day, break_id FROM break WHERE platform = :platform AND break_id = :after
      )
    )
) found
WHERE (CAST(:states AS text[]) = '{}' OR state = ANY (CAST(:states AS text[]))) AND (:owner = '' OR owner = :owner)
ORDER BY bank_day, break_id
LIMIT :limit
"""

_EARLIER: Final[LiteralString] = """
SELECT o.break_id
FROM break b
JOIN break o
  ON o.platform = b.platform AND o.bank_day = b.bank_day AND o.type = b.type AND o.kind = b.kind
    AND o.break_id <> b.break_id AND o.file_id IS DISTINCT FROM b.file_id
    AND (o.operation_id, o.part, o.serial, o.bank_serial, o.sub_account)
      IS NOT DISTINCT FROM (b.operation_id, b.part, b.serial, b.bank_serial, b.sub_account)
WHERE b.platform = :platform AND b.break_id = :break_id
"""

_EVENTS: Final[LiteralString] = """
SELECT number, break_id, kind, caller, person, '' AS owner, note, until, reason, operation_id, at, mac
FROM break_event
WHERE platform = :platform AND break_id = :break_id
UNION ALL
SELECT number, :break_id, kind, caller, person, owner, note, NULL, NULL, NULL, at, ''::bytea
FROM work_event
WHERE platform = :platform AND work_id = 'break:' || :break_id
ORDER BY at, number
"""
"""What happened to it, and what people said of it in the queue (`ledger.reads.work`)."""

_DECIDE: Final[LiteralString] = """
WITH found AS (
  UPDATE break SET is_open = :stays_open
  WHERE platform = :platform AND break_id = :break_id AND is_open
  RETURNING platform, break_id
)
INSERT INTO break_event (platform, break_id, kind, caller, person, note, until, reason, mac)
SELECT platform, break_id, :kind, :caller, :person, :note, :until, :reason, :mac FROM found
"""

_AVAILABLE: Final[LiteralString] = """
CROSS JOIN LATERAL (VALUES (l.debit, -l.amount_fen), (l.credit, l.amount_fen)) AS side (name, fen)
WHERE (name = 'pooled' OR split_part(name, ':', 1) IN ('withdrawable', 'waiting')) AND NOT (
  split_part(l.debit, ':', 1) IN ('withdrawable', 'waiting')
  AND split_part(l.credit, ':', 1) IN ('withdrawable', 'waiting')
  AND split_part(l.debit, ':', 2) = split_part(l.credit, ':', 2)
)
"""
"""Those sides of legs that are a sub-account's available money, or the pooled account's. What becomes withdrawable by a
clearing was available before: it neither comes in nor goes out.
"""

_PROOF: Final[LiteralString] = f"""
WITH filled_to AS MATERIALIZED (
  SELECT coalesce((SELECT event FROM filled WHERE platform = :platform ORDER BY at DESC LIMIT 1), 0) AS event
), late AS MATERIALIZED (
  SELECT name, fen, bank_day
  FROM (
    SELECT DISTINCT operation_id, at FROM event
    WHERE platform = :platform AND seq > (SELECT event FROM filled_to)
  ) e
  CROSS JOIN LATERAL (
    SELECT part, bank_day FROM resolution
    WHERE platform = :platform AND operation_id = e.operation_id AND at = e.at AND verdict = 'posted'
    OFFSET 0
  ) r
  CROSS JOIN LATERAL (
    SELECT debit, credit, amount_fen FROM leg
    WHERE platform = :platform AND operation_id = e.operation_id AND part = r.part
    OFFSET 0
  ) l
  {_AVAILABLE} AND bank_day <> :bank_day
), side AS (
  SELECT split_part(name, ':', 2) AS sub_account, CASE name WHEN 'pooled' THEN -fen ELSE fen END AS fen, bank_day
  FROM late
  UNION ALL
  SELECT split_part(name, ':', 2), CASE name WHEN 'pooled' THEN -fen ELSE fen END, r.bank_day
  FROM resolution r
  CROSS JOIN LATERAL (
    SELECT debit, credit, amount_fen FROM leg
    WHERE platform = r.platform AND operation_id = r.operation_id AND part = r.part
    OFFSET 0
  ) l
  {_AVAILABLE} AND r.platform = :platform AND r.bank_day = :bank_day AND r.verdict = 'posted'
  UNION ALL
  SELECT sub_account, withdrawable_fen + uncleared_fen, bank_day
  FROM balance_day
  WHERE platform = :platform AND bank_day <> :bank_day
    AND (CAST(:after AS text) IS NULL OR sub_account > :after)
  UNION ALL
  SELECT '', debit_fen - credit_fen, bank_day
  FROM kind_day
  WHERE platform = :platform AND bank_day <> :bank_day AND kind = 'pooled'
), moved AS (
  SELECT
    sub_account, coalesce(sum(fen) FILTER (WHERE bank_day < :bank_day), 0) AS opening_fen,
    coalesce(sum(fen) FILTER (WHERE bank_day = :bank_day AND fen > 0), 0) AS credit_fen,
    coalesce(-sum(fen) FILTER (WHERE bank_day = :bank_day AND fen < 0), 0) AS debit_fen,
    coalesce(sum(fen) FILTER (WHERE bank_day > :bank_day), 0) AS later_fen
  FROM side
  GROUP BY 1
), present AS (
  SELECT
    CASE kind WHEN 'pooled' THEN '' ELSE owner END AS sub_account,
    sum(CASE kind WHEN 'pooled' THEN -balance_fen ELSE balance_fen END) AS fen
  FROM account
  WHERE platform = :platform AND kind IN ('withdrawable', 'waiting', 'pooled') AND has_money
  GROUP BY 1
), stated AS (
  SELECT l.payee_sub_account AS sub_account, min(l.amount_fen) AS fen
  FROM bank_line l
  WHERE l.platform = :platform AND l.fault = '' AND l.file_id = (
    SELECT file_id FROM bank_file
    WHERE platform = :platform AND bank_day = :bank_day AND type = 'YE'
    ORDER BY version DESC LIMIT 1
  )
  GROUP BY 1
)
SELECT
  found.sub_account, coalesce(m.member_id, '') AS member, opening_fen, credit_fen, debit_fen, closing_fen, bank_fen
FROM (
  SELECT
    sub_account, CAST(coalesce(v.opening_fen, 0) AS bigint) AS opening_fen,
    CAST(coalesce(v.credit_fen, 0) AS bigint) AS credit_fen, CAST(coalesce(v.debit_fen, 0) AS bigint) AS debit_fen,
    CAST(coalesce(p.fen, 0) - coalesce(v.later_fen, 0) AS bigint) AS closing_fen, s.fen AS bank_fen
  FROM present p
  FULL JOIN moved v USING (sub_account)
  FULL JOIN stated s USING (sub_account)
) found
LEFT JOIN member m ON m.platform = :platform AND m.sub_account = found.sub_account
WHERE CAST(:after AS text) IS NULL OR found.sub_account > :after
ORDER BY 1
LIMIT :limit
"""
"""The movements of the day are its legs; what came before and after is what `balance_day` and `kind_day` have of other
days (`ledger.entries`), and the legs of the batches that these have not got yet. So the time that it takes is that of
one day, however long the journal is.
"""

_JOURNAL: Final[LiteralString] = """
SELECT s.batch, s.digest
FROM platform p JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
WHERE p.platform = :platform
"""

_BREAK_FACTS: Final[LiteralString] = """
SELECT
  type, kind, is_open, count(*) AS count, CAST(coalesce(sum(bank_fen), 0) AS bigint) AS bank_fen,
  CAST(coalesce(sum(ledger_fen), 0) AS bigint) AS ledger_fen
FROM break
WHERE platform = :platform AND bank_day = :bank_day
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
"""

_BREAK_IDS: Final[LiteralString] = """
SELECT sha256(convert_to(coalesce(string_agg(break_id::text, ' ' ORDER BY break_id), ''), 'UTF8'))
FROM break
WHERE platform = :platform AND bank_day = :bank_day
"""

_SIGNATURES: Final[LiteralString] = """
SELECT bank_day, digest, place, caller, person, note, at, statement, mac
FROM sign_off
WHERE platform = :platform AND bank_day = :bank_day
ORDER BY at DESC, place
"""

_SIGN: Final[LiteralString] = """
INSERT INTO sign_off (
  platform, bank_day, digest, place, caller, person, note, statement, first_place, first_caller, first_person, mac
)
VALUES (
  :platform, :bank_day, :digest, :place, :caller, :person, :note, :statement, :first_place, :first_caller,
  :first_person, :mac
)
"""

_PIECES: Final[LiteralString] = """
SELECT piece, digest, key_id, content
FROM bank_file_piece
WHERE platform = :platform AND file_id = :file_id AND piece = :piece
"""

_READY: Final = (FileState.NONE, FileState.MATCHED, FileState.CLEAN, FileState.BREAKS)


class Days:
    """One platform's. ``encrypt`` seals what is kept of files, ``sign`` puts a MAC over what somebody decides."""

    def __init__(
        self,
        dsn: str,
        engine: AsyncEngine,
        platform: str,
        *,
        encrypt: Encrypt,
        sign: Sign,
        cut_over: timedelta = CUT_OVER,
    ) -> None:
        self._dsn = dsn
        self._engine = engine
        self._platform = platform
        self._encrypt = encrypt
        self._sign = sign
        self._cut_over = cut_over

    async def tried(self, bank_day: date, type_: FileType, state: FileState, reason: str) -> None:
        """No good file was had: NONE, LATE or DAMAGED. With NONE each posting that the file would show is a break."""
        values = {"bank_day": bank_day, "type": type_.value, "state": state.value, "reason": reason}
        async with database.reading(self._engine) as connection:
            await connection.execute(text(_TRIED), {"platform": self._platform, **values})
        if state is FileState.NONE:
            await self.match(bank_day, type_)

    async def load(self, new: NewFile, content: Content, reading: Reading | None = None) -> Loaded:
        """Keep a file, type its lines and match them. The very content that counts already changes nothing; any other
        becomes the version that counts. Where it has not as many lines as the bank states, it is kept unmatched.

        Raises `FileUnreadable`, and what ``content`` raises; then nothing was kept.
        """
        how = NoReading() if reading is None else reading
        file_id, did = await self._work(lambda matcher: matcher.load(new, content, how, self._encrypt))
        (file,) = await self._files(" AND f.file_id = :file_id", file_id=file_id)
        return Loaded(file, did)

    async def match(self, bank_day: date, type_: FileType) -> None:
        """Match a day's file with the journal as it is now: after operations have ended, or a part of it was away."""
        await self._work(lambda matcher: matcher.match(bank_day, type_))

    async def day(self, bank_day: date) -> Day:
        """All types of a day, and the signatures under it as it stands."""
        files = await self._day_files(bank_day)
        _, signatures = await self._standing(bank_day, files)
        if len(signatures) == 2:
            files = [replace(one, state=FileState.SIGNED) for one in files]
        return Day(bank_day=bank_day, files=tuple(files), signatures=tuple(signatures))

    async def days(self, before: date | None, limit: int) -> list[date]:
        """Up to ``limit`` bank days of which anything is known, before a day, newest first."""
        return [row["bank_day"] for row in await self._rows(_DAYS, before=before, limit=limit)]

    async def files(self, bank_day: date, type_: FileType | None = None) -> list[BankFile]:
        """All versions of a day's files, by type, newest first. Whether a day is signed is in `day`."""
        narrowed: LiteralString = (
            " AND f.bank_day = :bank_day AND (CAST(:type AS text) IS NULL OR f.type = :type)"
            " ORDER BY f.type, f.version DESC"
        )
        return await self._files(narrowed, bank_day=bank_day, type=type_ and type_.value)

    async def file(self, file_id: int) -> BankFile | None:
        """The version of this id, or None."""
        found = await self._files(" AND f.file_id = :file_id", file_id=file_id)
        return found[0] if found else None

    async def lines(self, file_id: int, after: int, limit: int, states: Sequence[LineState] = ()) -> list[BankLine]:
        """Up to ``limit`` lines behind line number ``after``, in order; of these states alone where any are named."""
        narrowed: LiteralString = ""
        if states and not {LineState.MATCHED, LineState.OUTSIDE} & set(states):
            narrowed += " AND NOT agrees"
        if states:
            narrowed += f" AND {_LINE_STATE} = ANY (:states)"
        narrowed += " ORDER BY line LIMIT :limit"
        rows = await self._rows(
            _LINES + narrowed, file_id=file_id, after=after, limit=limit, states=[one.value for one in states]
        )
        return [BankLine(**{**row, "digest": bytes(row["digest"]), "state": LineState(row["state"])}) for row in rows]

    async def content(self, file_id: int) -> AsyncIterator[Piece]:
        """What is kept of a file, piece by piece: encrypted, and compressed by zlib before that."""
        number = 0
        while rows := await self._rows(_PIECES, file_id=file_id, piece=number):
            (row,) = rows
            yield Piece(row["key_id"], bytes(row["digest"]), bytes(row["content"]))
            number += 1

    async def breaks(self, wanted: BreakFilter, after: UUID | None = None, limit: int = 100) -> list[Break]:
        """Up to ``limit`` breaks behind the break ``after``, by bank day and id."""
        states = [BreakState(one).value for one in wanted.states]
        rows = await self._rows(
            _BREAKS + _IS_WANTED,
            first_day=wanted.first_day,
            last_day=wanted.last_day,
            types=[FileType(one).value for one in wanted.types],
            kinds=[BreakKind(one).value for one in wanted.kinds],
            states=states,
            open_alone=bool(states) and BreakState.CLOSED.value not in states,
            member=wanted.member,
            owner=wanted.owner,
            operation_id=wanted.operation_id,
            min_difference_fen=wanted.min_difference_fen,
            after=after,
            limit=limit,
        )
        return [_break(row) for row in rows]

    async def break_(self, break_id: UUID) -> Break:
        """One break. Raises `BreakUnknown`."""
        for row in await self._rows(_BREAKS + " AND b.break_id = :break_id) found", break_id=break_id):
            return _break(row)
        raise BreakUnknown(f"there is no break {break_id}")

    async def earlier(self, break_id: UUID) -> list[UUID]:
        """The breaks that other versions of the file had of the same booking, posting or sub-account: a line that has
        changed in anything, if only in its number, is a break of its own.
        """
        return [row["break_id"] for row in await self._rows(_EARLIER, break_id=break_id)]

    async def events(self, break_id: UUID) -> list[BreakEvent]:
        """What has happened to a break, oldest first."""
        return [_event(row) for row in await self._rows(_EVENTS, break_id=break_id)]

    def alone(self, wait_s: float) -> AbstractAsyncContextManager[bool]:
        """Whether nothing is loaded or matched, and no break adjusted, beside the block: False where somebody is at it
        still after ``wait_s``. Raises `LedgerUnavailable`.
        """
        return turn(self._dsn, self._platform, TURN, wait_s=wait_s)

    async def hold(self, break_id: UUID, by: Signatory, until: date, note: str) -> Break:
        """Let it rest until a day, on which it is open again. Raises `BreakUnknown`, `BreakClosed`."""
        return await self._decide(break_id, BreakEventKind.HELD, by, until=until, note=note)

    async def close(self, break_id: UUID, by: Signatory, note: str) -> Break:
        """Close it by decision; it stays closed for as long as the bank's line is the same. An adjustment closes it
        with the step that posts it (`ledger.steps`). Raises `BreakUnknown`, `BreakClosed`.
        """
        return await self._decide(break_id, BreakEventKind.CLOSED, by, note=note, reason=CloseReason.DECIDED)

    async def proof(self, bank_day: date, after: str | None = None, limit: int = 1000) -> list[ProofRow]:
        """Opening + credits - debits = closing of each sub-account that has anything, behind one; the pooled account
        comes first, with an empty sub-account.
        """
        return [ProofRow(**row) for row in await self._rows(_PROOF, bank_day=bank_day, after=after, limit=limit)]

    async def overview(self) -> DaysOverview:
        """What is to be done, as numbers."""
        rows = await self._rows(OVERVIEW, days_back=DAYS_BACK)
        breaks = {
            BreakKind(row["name"]): WorkSum(count=row["count"], amount_fen=row["amount_fen"], age_s=row["age_s"])
            for row in rows
            if row["what"] == "break"
        }
        return DaysOverview(
            missing={FileType(row["name"]): row["count"] for row in rows if row["what"] == "missing"},
            breaks=breaks,
            unsigned=sum(row["count"] for row in rows if row["what"] == "unsigned"),
        )

    async def sign(self, bank_day: date, by: Signatory, note: str = "", *, under: bytes | None = None) -> SignOff:
        """Sign a day as it stands: first one, then another identity. A day that two have signed stays as it is.

        ``under`` is the digest of the first signature as the signatory has seen it, empty where there was none: the day
        is signed in that place or not at all. None takes the place that is free.

        Raises `DayNotReady`, `DayChanged`, `SignedBySame`.
        """
        files = await self._day_files(bank_day)
        lacking = [f"{one.type} is {one.state}" for one in files if one.state not in _READY]
        if lacking:
            raise DayNotReady(f"the bank day {bank_day} cannot be signed yet: {', '.join(lacking)}")
        facts, signatures = await self._standing(bank_day, files)
        if len(signatures) == 2:
            return signatures[1]
        first = signatures[0] if signatures else None
        if under is not None and under != (first.digest if first else b""):
            raise DayChanged(f"the bank day {bank_day} was signed meanwhile, or has changed")
        statement = first.statement if first else await self._statement(bank_day, facts)
        new = SignOff(
            bank_day=bank_day,
            digest=sha256(statement.encode()).digest(),
            place=2 if first else 1,
            caller=by.caller,
            person=by.person,
            note=note,
            at=BEFORE_ANYTHING,
            statement=statement,
            mac=b"",
        )
        values = {
            **{name: getattr(new, name) for name in SignOff.__slots__ if name != "at"},
            "first_place": 1 if first else None,
            "first_caller": first.caller if first else None,
            "first_person": first.person if first else None,
            "mac": self._sign(signature(new)),
        }
        try:
            async with database.reading(self._engine) as connection:
                await connection.execute(text(_SIGN), {"platform": self._platform, **values})
        except IntegrityError as refused:
            broken = refused.orig
            if isinstance(broken, CheckViolation) and broken.diag.constraint_name == "sign_off_by_another":
                raise SignedBySame(f"the bank day {bank_day} has the first signature of {by.caller} already") from None
            if isinstance(broken, UniqueViolation):
                raise DayChanged(f"the bank day {bank_day} was signed by another at this moment") from None
            raise
        _, signatures = await self._standing(bank_day, files)
        return signatures[new.place - 1]

    async def _statement(self, bank_day: date, facts: dict[str, Any]) -> str:
        breaks = [dict(row) for row in await self._rows(_BREAK_FACTS, bank_day=bank_day)]
        journal = [{"batch": row["batch"], "digest": bytes(row["digest"]).hex()} for row in await self._rows(_JOURNAL)]
        whole = {**facts, "platform": self._platform, "breaks": breaks, "journal": journal}
        return json.dumps(whole, ensure_ascii=False, sort_keys=True)

    async def _standing(self, bank_day: date, files: Sequence[DayFile]) -> tuple[dict[str, Any], list[SignOff]]:
        """What a signature must say to be one under the day as it stands, and those that say it."""
        (ids,) = await self._rows(_BREAK_IDS, bank_day=bank_day)
        facts: dict[str, Any] = {
            "bank_day": str(bank_day),
            "files": [_facts(one) for one in files],
            "break_ids": bytes(next(iter(ids.values()))).hex(),
        }
        found = [_sign_off(row) for row in await self._rows(_SIGNATURES, bank_day=bank_day)]
        standing = [one for one in found if facts.items() <= json.loads(one.statement).items()]
        newest = [one for one in standing if one.digest == standing[0].digest]
        return facts, sorted(newest, key=lambda one: one.place)

    async def _day_files(self, bank_day: date) -> list[DayFile]:
        files = {one.type: one for one in await self.files(bank_day) if one.is_current}
        attempts = {row["type"]: _attempt(row) for row in await self._rows(_ATTEMPTS, bank_day=bank_day)}
        ids = [files[one].file_id if one in files else None for one in FileType]
        rows = await self._rows(_COUNTS, bank_day=bank_day, types=[one.value for one in FileType], file_ids=ids)
        counts = {row["type"]: row for row in rows}
        found = []
        for type_ in FileType:
            file, tried = files.get(type_), attempts.get(type_)
            state = file.state if file else tried.state if tried else FileState.EXPECTED
            found.append(
                DayFile(
                    type=type_,
                    state=state,
                    file=file,
                    last_attempt=tried,
                    breaks=counts[type_]["breaks"],
                    matched_lines=file.rows - counts[type_]["others"] if file else 0,
                )
            )
        return found

    async def _decide(self, break_id: UUID, kind: BreakEventKind, by: Signatory, **what: Any) -> Break:
        values = {"note": "", "until": None, "reason": None, **what}
        event = BreakEvent(
            number=0,
            break_id=break_id,
            kind=kind,
            caller=by.caller,
            person=by.person,
            owner="",
            operation_id=None,
            at=BEFORE_ANYTHING,
            mac=b"",
            **values,
        )
        values |= {
            "break_id": break_id,
            "kind": kind.value,
            "caller": by.caller,
            "person": by.person,
            "stays_open": kind is not BreakEventKind.CLOSED,
            "mac": self._sign(decision(event)),
        }
        async with database.reading(self._engine) as connection:
            done = await connection.execute(text(_DECIDE), {"platform": self._platform, **values})
        found = await self.break_(break_id)
        if not done.rowcount:
            raise BreakClosed(f"break {break_id} is closed")
        return found

    async def _work(self, work: Callable[[Matcher], _Result]) -> _Result:
        """Do something that takes long in a thread; a caller who goes away ends it, and nothing of it stays."""
        held: list[psycopg.Connection[Any]] = []
        is_left = False

        def run() -> _Result:
            try:
                with matching(self._dsn, self._platform, self._cut_over) as (connection, matcher):
                    held.append(connection)
                    if is_left:
                        raise LedgerUnavailable("whoever asked has gone")
                    return work(matcher)
            except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
                raise LedgerUnavailable(str(failure)) from None

        task = asyncio.ensure_future(asyncio.to_thread(run))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            is_left = True
            for connection in held:
                connection.close()
            with suppress(Exception):
                await task
            raise

    async def _files(self, narrowed: LiteralString, **values: Any) -> list[BankFile]:
        rows = await self._rows(_FILE + narrowed, **values)
        return [
            BankFile(
                **{
                    **row,
                    "sha256": bytes(row["sha256"]),
                    "type": FileType(row["type"]),
                    "state": FileState(row["state"]),
                }
            )
            for row in rows
        ]

    async def _rows(self, statement: LiteralString, **values: Any) -> Sequence[Any]:
        async with database.reading(self._engine) as connection:
            found = await connection.execute(text(statement), {"platform": self._platform, **values})
            return found.mappings().all()


def decision(event: BreakEvent) -> str:
    """What the MAC of an event that somebody has decided is over."""
    texts = (str(event.break_id), event.kind.value, event.caller, event.person, event.owner, event.note)
    others = (None if one is None else str(one) for one in (event.until, event.reason, event.operation_id))
    return f"break {json.dumps((*texts, *others), ensure_ascii=False)}"


def signature(sign_off: SignOff) -> str:
    """What the MAC of a signature is over: the day, the digest of what was signed, and who has."""
    texts = (str(sign_off.bank_day), sign_off.digest.hex(), sign_off.place, sign_off.caller, sign_off.person)
    return f"sign-off {json.dumps((*texts, sign_off.note), ensure_ascii=False)}"


def _facts(file: DayFile) -> dict[str, Any]:
    if file.file is None:
        return {"type": file.type.value, "state": file.state.value}
    one = file.file
    return {
        "type": one.type.value,
        "version": one.version,
        "sha256": one.sha256.hex(),
        "rows": one.rows,
        "bad_rows": one.bad_rows,
        "amount_fen": one.amount_fen,
        "fee_fen": one.fee_fen,
    }


def _break(row: Mapping[str, Any]) -> Break:
    typed = {
        "type": FileType(row["type"]),
        "kind": BreakKind(row["kind"]),
        "state": BreakState(row["state"]),
        "close_reason": row["close_reason"] and CloseReason(row["close_reason"]),
        "digest": bytes(row["digest"]),
        "file_sha256": row["file_sha256"] and bytes(row["file_sha256"]),
    }
    return Break(**{**row, **typed})


def _event(row: Mapping[str, Any]) -> BreakEvent:
    reason = row["reason"] and CloseReason(row["reason"])
    return BreakEvent(**{**row, "kind": BreakEventKind(row["kind"]), "reason": reason, "mac": bytes(row["mac"])})


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return Attempt(**{**row, "type": FileType(row["type"]), "state": FileState(row["state"])})


def _sign_off(row: Mapping[str, Any]) -> SignOff:
    return SignOff(**{**row, "digest": bytes(row["digest"]), "mac": bytes(row["mac"])})

"""Loading and matching, as steps over one connection: what is staged becomes lines, lines meet postings, what does not
agree becomes breaks.

Runs in a thread, on a connection of its own. One process at a time does it on a platform; it locks no table of the
payments, and reads what they have written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any, Final, LiteralString

import psycopg

from ledger import session
from ledger.answers import Encrypt
from ledger.day import statements
from ledger.day.errors import FileUnreadable
from ledger.day.loading import Staged, stage
from ledger.day.sources import AMOUNT_ASKED, SOURCES
from ledger.day.values import Content, FileType, NewFile, Reading

FEN_MAX: Final = 2**63 - 1

SETTINGS: Final = {
    "work_mem": "128MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "1",
    "parallel_tuple_cost": "0.005",
}
"""A file's hash tables stay in memory. Two processes read the journal, which at the usual price the planner would not
have. Temporary tables are read by one.
"""

ONE_DAY: Final = timedelta(days=1)

TURN: Final = "reconciliation"
"""At which one takes its turn on a platform (`ledger.turns`): whoever loads, matches, or adjusts a break."""

_LOCK: LiteralString = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"

_NEW_FILE: LiteralString = """
INSERT INTO bank_file (
  platform, bank_day, type, version, sha256, size, name, stated_rows, rows, bad_rows, repaired_rows, amount_fen,
  fee_fen, state
)
SELECT
  %(platform)s, %(bank_day)s, %(type)s, 1 + coalesce(max(version), 0), %(sha256)s, %(size)s, %(name)s,
  %(stated_rows)s, 0, 0, 0, 0, 0, 'loaded'
FROM bank_file
WHERE platform = %(platform)s AND bank_day = %(bank_day)s AND type = %(type)s
RETURNING file_id
"""

_PIECES: LiteralString = """
INSERT INTO bank_file_piece (platform, file_id, piece, digest, key_id, content)
SELECT %(platform)s, %(file_id)s, piece, digest, key_id, content FROM day_piece
"""

_LOADED: LiteralString = """
UPDATE bank_file
SET rows = %(rows)s, bad_rows = %(bad)s, repaired_rows = %(repaired)s, amount_fen = %(amount)s, fee_fen = %(fee)s,
  state = CASE WHEN coalesce(stated_rows, %(rows)s) = %(rows)s THEN 'totals-right' ELSE 'loaded' END
WHERE platform = %(platform)s AND file_id = %(file_id)s
RETURNING state
"""

_RESTATED: LiteralString = """
UPDATE bank_file
SET stated_rows = %(stated_rows)s::bigint,
  state = CASE WHEN coalesce(%(stated_rows)s::bigint, rows) = rows THEN 'totals-right' ELSE 'loaded' END
WHERE platform = %(platform)s AND file_id = %(file_id)s AND state = 'loaded'
  AND stated_rows IS DISTINCT FROM %(stated_rows)s::bigint
"""
"""The bank had stated another number of lines for the same content, and has corrected that."""

_CURRENT: LiteralString = """
SELECT file_id, sha256, state
FROM bank_file
WHERE platform = %(platform)s AND bank_day = %(bank_day)s AND type = %(type)s
ORDER BY version DESC
LIMIT 1
"""

_IS_WORTH_IT: LiteralString = """
SELECT EXISTS (
  SELECT FROM break WHERE platform = %(platform)s AND bank_day = %(bank_day)s AND type = %(type)s AND is_open
)
"""


class Matcher:
    """One platform's work on one connection, under the platform's lock."""

    def __init__(self, connection: psycopg.Connection[Any], platform: str, cut_over: timedelta) -> None:
        self._connection = connection
        self._platform = platform
        self._cut_over = cut_over

    def load(self, new: NewFile, content: Content, reading: Reading, encrypt: Encrypt) -> tuple[int, bool]:
        """Keep, type and match a file; its id, and whether it is new. Raises `FileUnreadable`."""
        source = SOURCES[new.type]
        staged = stage(self._connection, source, content, reading, encrypt)
        current = self._current(new.bank_day, new.type)
        if current is not None and bytes(current[1]) == staged.sha256:
            values = {"platform": self._platform, "file_id": current[0], "stated_rows": new.stated_rows}
            self._connection.execute(_RESTATED, values)
            return current[0], False
        # Both are read before there is a transaction that writes: they take a while.
        parameters = self._parameters(new.bank_day, new.type, None)
        self._ours(new.type, parameters)
        with self._connection.transaction():
            file_id, state = self._kept(new, staged, parameters)
        if state == "totals-right":
            self._settle(new.bank_day, new.type, file_id, staged)
            self._follow(new.bank_day, new.type, is_changed=current is not None)
        return file_id, True

    def match(self, bank_day: date, type_: FileType) -> None:
        """Match the file that counts with the journal as it is now. Without a file each posting lacks its line."""
        current = self._current(bank_day, type_)
        if current is not None and current[2] == "loaded":
            return
        self._match(bank_day, type_, None if current is None else current[0])
        self._follow(bank_day, type_, is_changed=False)

    def _kept(self, new: NewFile, staged: Staged, parameters: dict[str, Any]) -> tuple[int, str]:
        more = {"sha256": staged.sha256, "size": staged.size, "name": new.name, "stated_rows": new.stated_rows}
        values: dict[str, Any] = {**parameters, **more, "day_text": f"{new.bank_day:%Y%m%d}"}
        self._connection.execute(statements.SETS)
        (values["file_id"],) = self._one(_NEW_FILE, values)
        self._connection.execute(_PIECES, values)
        lines = statements.inserted(
            SOURCES[new.type].layout(staged.columns),
            is_balances=new.type is FileType.BALANCES,
            member_pays=new.type is FileType.WITHDRAWALS,
        )
        self._connection.execute(lines, values)
        rows, bad, amount, fee = self._one(statements.SUMS, values)
        if max(abs(amount), abs(fee)) > FEN_MAX:
            raise FileUnreadable("the amounts of the file add up to more than there can be")
        sums = {"rows": rows, "bad": bad, "repaired": staged.repaired, "amount": int(amount), "fee": int(fee)}
        (state,) = self._one(_LOADED, {**values, **sums})
        return values["file_id"], state

    def _follow(self, bank_day: date, type_: FileType, *, is_changed: bool) -> None:
        """What a file settles on the days beside it, and of the members' balances; where it has taken the place of
        another, also what that one had settled and this one does not.
        """
        for other in (bank_day - ONE_DAY, bank_day + ONE_DAY):
            self._again(other, type_, is_worth_it=is_changed)
        if type_ is not FileType.BALANCES:
            for day in (bank_day, bank_day + ONE_DAY):
                self._again(day, FileType.BALANCES, is_worth_it=is_changed)

    def _again(self, bank_day: date, type_: FileType, *, is_worth_it: bool) -> None:
        current = self._current(bank_day, type_)
        if current is None or current[2] != "matched":
            return
        if not is_worth_it:
            (is_worth_it,) = self._one(_IS_WORTH_IT, self._parameters(bank_day, type_, None))
        if is_worth_it:
            self._match(bank_day, type_, current[0])

    def _match(self, bank_day: date, type_: FileType, file_id: int | None) -> None:
        self._ours(type_, self._parameters(bank_day, type_, file_id))
        self._settle(bank_day, type_, file_id)

    def _settle(self, bank_day: date, type_: FileType, file_id: int | None, staged: Staged | None = None) -> None:
        """Find what does not agree, beside the postings or balances that are there, and keep it."""
        parameters = self._parameters(bank_day, type_, file_id)
        beside = dict(self._connection.execute(statements.NEIGHBOURS, parameters).fetchall())
        before, after = beside.get(-1), beside.get(1)
        parameters |= {"before": before, "after": after, "has_next": after is not None}
        with self._connection.transaction():
            self._connection.execute(statements.FINDINGS)
            columns = None if staged is None else staged.columns
            found = statements.COMPARED if type_ is FileType.BALANCES else statements.set_against(columns)
            for statement in (*found, *statements.IDENTIFIED, *statements.MERGED):
                self._connection.execute(statement, parameters)
        self._connection.execute(statements.DONE_WITH)

    def _ours(self, type_: FileType, parameters: dict[str, Any]) -> None:
        """What the journal has to set against a file. A file before may have been kept unmatched."""
        self._connection.execute(statements.DONE_WITH)
        if type_ is FileType.BALANCES:
            self._connection.execute(statements.BALANCES, parameters)
            return
        self._connection.execute(statements.POSTED, parameters)
        self._connection.execute(statements.POSTED_ONCE)
        if type_ is FileType.WITHDRAWALS:
            self._connection.execute(statements.UNDONE, parameters)
        if type_ is FileType.TOP_UPS:
            self._connection.execute(statements.PARKED, parameters)

    def _current(self, bank_day: date, type_: FileType) -> tuple[Any, ...] | None:
        return self._connection.execute(_CURRENT, self._parameters(bank_day, type_, None)).fetchone()

    def _one(self, query: LiteralString, values: dict[str, Any]) -> tuple[Any, ...]:
        (row,) = self._connection.execute(query, values).fetchall()
        return tuple(row)

    def _parameters(self, bank_day: date, type_: FileType, file_id: int | None) -> dict[str, Any]:
        source = SOURCES[type_]
        return {
            "platform": self._platform,
            "bank_day": bank_day,
            "type": type_.value,
            "file_id": file_id,
            "kinds": list(source.kinds),
            "shown": [*source.kinds, *source.also],
            "amount_asked": list(AMOUNT_ASKED),
            "has_two_sides": type_ is FileType.TRANSACTIONS,
            "is_list": type_.value.isdecimal(),
            "cut_over": self._cut_over,
        }


@contextmanager
def matching(dsn: str, platform: str, cut_over: timedelta) -> Iterator[tuple[psycopg.Connection[Any], Matcher]]:
    """A connection that nobody else matches beside on this platform; the lock ends with it."""
    with session.opened_blocking(dsn, SETTINGS) as connection:
        connection.prepare_threshold = None
        connection.execute(_LOCK, [f"{TURN} {platform}"])
        yield connection, Matcher(connection, platform, cut_over)

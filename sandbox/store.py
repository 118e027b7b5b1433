"""Balances and records together, changed in units that apply whole and are written down whole.

Between two commits, `post` and `put` change the state at once; `rollback` takes all of it back,
`commit` hands it to the log as one line. The log is JSON lines, append only, and holds *effects*
(deltas and records), so books written by an older sandbox are read by a newer one whose handlers
behave otherwise. After a crash a last line cut short is dropped: its request was never answered,
because an answer waits for `Log.durable`, which calls fsync once for all that wait.

It must never read a clock, know an interface, or let two units overlap (there is no await in here
between a first change and its commit).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from sandbox.accounts import AccountRef
from sandbox.books import Books, Change, Move, SpendOrder
from sandbox.errors import LogDamaged, LogInUse
from sandbox.records import FIELDS_BEFORE, RECORDS, Counter, Record

R = TypeVar("R", bound=Record)


class Log:
    """The file of applied units."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._pending: list[bytes] = []
        self._appended = 0
        self._synced = 0
        self._flushing: asyncio.Task[None] | None = None
        self._broken: OSError | None = None

    def read(self) -> Iterator[Any]:
        """Open the file, alone; give every unit in it; stand behind the last whole line."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogInUse(self._path) from None
        whole = 0
        lines = self._path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                unit = json.loads(line)
            except ValueError as error:
                raise LogDamaged(number, str(error)) from error
            whole += len(line)
            yield unit
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)

    def append(self, unit: object) -> None:
        """Queue one unit; it is on disk once `durable` has returned."""
        text = json.dumps(unit, ensure_ascii=False, separators=(",", ":"))
        self._pending.append(text.encode() + b"\n")
        self._appended += 1

    async def durable(self) -> None:
        """Wait until all that was appended before this call is on disk."""
        target = self._appended
        while self._synced < target:
            if self._broken is not None:
                raise self._broken
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush())
            await asyncio.shield(self._flushing)

    async def close(self) -> None:
        """Write what is left and close the file."""
        try:
            await self.durable()
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    async def _flush(self) -> None:
        lines, self._pending = self._pending, []
        try:
            await asyncio.to_thread(self._write, b"".join(lines))
            self._synced += len(lines)
        except OSError as error:
            # What is on disk is unknown now: nothing may be answered any more.
            self._broken = error
            raise
        finally:
            self._flushing = None

    def _write(self, content: bytes) -> None:
        if self._file is None:
            raise RuntimeError("the log is not open")
        view = memoryview(content)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)


class Store:
    """The whole state of the bank."""

    def __init__(self, spend_order: SpendOrder, log: Log | None = None) -> None:
        self.books = Books(spend_order)
        self._tables: dict[type[Record], dict[str, Record]] = {kind: {} for kind in RECORDS.values()}
        self._log = log
        self._changes: list[Change] = []
        self._puts: list[tuple[Record, Record | None]] = []

    def load(self) -> None:
        """Read the log of an earlier process, once, before anything else."""
        if self._log is None:
            return
        for unit in self._log.read():
            self.books.redo(Change(AccountRef(*place), delta) for place, delta in unit["moved"])
            for name, fields in unit["put"]:
                record = _revive(RECORDS[name], fields)
                self._tables[type(record)][record.key] = record

    def get(self, kind: type[R], key: str) -> R | None:
        """The record of that class and key."""
        return cast("R | None", self._tables[kind].get(key))

    def all(self, kind: type[R]) -> list[R]:
        """Every record of a class, oldest first."""
        return cast("list[R]", list(self._tables[kind].values()))

    def put(self, record: Record) -> None:
        """Remember a record, in the place of the one with the same key if there is one."""
        table = self._tables[type(record)]
        self._puts.append((record, table.get(record.key)))
        table[record.key] = record

    def post(self, moves: Iterable[Move]) -> None:
        """Move money: all of `moves` or, with InsufficientFunds, none."""
        self._changes.extend(self.books.post(moves))

    def next_number(self, name: str, first: int = 1) -> int:
        """The next number of a series."""
        counter = self.get(Counter, name)
        number = first if counter is None else counter.last + 1
        self.put(Counter(name, number))
        return number

    @contextmanager
    def unit(self) -> Iterator[None]:
        """What is changed in the block stays whole, or not at all when it raises."""
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def commit(self) -> None:
        """Close the unit. It survives a crash once `durable` has returned."""
        if self._log is not None and (self._changes or self._puts):
            self._log.append({"moved": self._changes, "put": self._latest_puts()})
        self._changes = []
        self._puts = []

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        self.books.undo(self._changes)
        for record, before in reversed(self._puts):
            table = self._tables[type(record)]
            if before is None:
                del table[record.key]
            else:
                table[record.key] = before
        self._changes = []
        self._puts = []

    async def durable(self) -> None:
        """Wait until every committed unit is on disk."""
        if self._log is not None:
            await self._log.durable()

    async def close(self) -> None:
        """Write and close the log."""
        if self._log is not None:
            await self._log.close()

    def _latest_puts(self) -> list[tuple[str, dict[str, Any]]]:
        latest = {(type(record), record.key): record for record, _ in self._puts}
        return [
            (kind.__name__, {name: getattr(record, name) for name in kind.__match_args__})
            for (kind, _), record in latest.items()
        ]


def _revive(kind: type[Record], fields: dict[str, Any]) -> Record:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    in_log = {name: name if name in fields else FIELDS_BEFORE.get(name, name) for name in kind.__match_args__}
    return kind(**{name: fields[key] for name, key in in_log.items() if key in fields})

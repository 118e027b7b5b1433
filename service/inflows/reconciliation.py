"""Loads what the bank has of each day that is over, and has the ledger match it (quick start 2.3; 6103, 6050, 6048,
6108, 6109).

The four files are fetched from the hour at which the bank has them, and again until they are there; the lists of what
no file has are read as files of their own. A file is kept by its content, so that fetching it again does nothing, and a
changed one is a new version. Nothing here moves money: the collections enter what the bank did by itself before a day
is matched, and the bank is asked about open operations that a file shows. What stays is a break.

One process at a time does this, whichever is first; a large file never holds its event loop, since decrypting and
loading are done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, get_args
from uuid import UUID

from bankclient import (
    BANK_ZONE,
    BankClient,
    BankUnavailable,
    FileError,
    FileKind,
    FileQuestionRefused,
    FileServerRefused,
    FileUnavailable,
    LineReader,
    NoFile,
    SealedFile,
    fetch_sealed,
    wall_clock,
)
from ledger import Reads
from ledger.day import (
    SOURCES,
    BreakFilter,
    BreakKind,
    BreakState,
    DayFile,
    Days,
    FileState,
    FileType,
    FileUnreadable,
    NewFile,
    written,
)
from service import telemetry
from service.bankday import days_now
from service.inflows.collector import collecting
from service.inflows.day_lists import DayLists
from service.problems import Problem
from service.settings import ReconciliationSettings
from service.telemetry import events

FILES: Final[dict[FileType, FileKind]] = {FileType(kind): kind for kind in get_args(FileKind) if kind in set(FileType)}
"""What the bank gives as files (6103)."""

ORDER: Final = (
    *(FileType.TOP_UPS, FileType.WITHDRAWALS, FileType.TRANSACTIONS, FileType.TRANSFERS_IN, FileType.RETURNS),
    *(FileType.CLEARINGS, FileType.CHARGES, FileType.BALANCES),
)
"""Balances come last: a difference in one is explained by the other breaks of its member."""

SET_AGAINST: Final = (FileState.NONE, FileState.MATCHED, FileState.CLEAN, FileState.BREAKS)
"""The states of what has been set against the journal."""

OPEN: Final = (BreakState.OPEN, BreakState.CARRIED, BreakState.HELD)

ASKED_MAX: Final = 1000
"""So many open operations are asked about in one run of a day."""

ASKED_AT_ONCE: Final = 8
WAIT_S: Final = 20.0
"""How long whoever asks for a day by hand waits for the turn of another."""

WAIT_EVERY_S: Final = 0.2


class DayBusy(Exception):
    """Another process, or task, has its turn."""


class DayNotOver(Exception):
    """No file has the day yet."""


@dataclass(frozen=True, slots=True)
class Due:
    """When the files of a bank day are due, and from when on they are late."""

    at: datetime
    late_at: datetime

    @classmethod
    def of(cls, bank_day: date, settings: ReconciliationSettings) -> Due:
        """By the settings."""
        return cls(
            *(
                datetime.combine(bank_day + timedelta(days=1), time(hour), BANK_ZONE)
                for hour in (settings.files_from_hour, settings.files_late_hour)
            )
        )


class Reconciliation:
    """One instance a process.

    ``turn`` gives the platform's turn at this. ``collect`` enters what the bank did by itself up to a day. ``resolve``
    asks the bank about one operation now.
    """

    def __init__(
        self,
        days: Days,
        reads: Reads,
        bank: BankClient,
        lists: DayLists,
        turn: Callable[[], AbstractAsyncContextManager[bool]],
        collect: Callable[[date], Awaitable[None]],
        resolve: Callable[[UUID], Awaitable[None]],
        settings: ReconciliationSettings,
    ) -> None:
        self.days = days
        self._reads = reads
        self._bank = bank
        self._lists = lists
        self._turn = turn
        self._collect = collect
        self._resolve = resolve
        self._settings = settings
        self._again: set[tuple[date, FileType]] = set()
        self._entered: dict[date, int] = {}
        """How much the journal had of each day when it was last matched here."""
        self._running: set[asyncio.Task[Exception | None]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Reconciliation]:
        """Look at past days in the background for the life of the block, when the settings say so."""
        async with (
            collecting("reconciliation", self.run_past_days, self._settings.poll_s),
            asyncio.TaskGroup() as tasks,
        ):
            self._tasks = tasks
            try:
                yield self
            finally:
                self._tasks = None
                for task in self._running:
                    task.cancel()

    async def run_past_days(self) -> None:
        """Load and match what is due of the days before today, the oldest first; nothing while another process does.

        A signed day stays as it is.
        """
        async with self._turn() as is_mine:
            if not is_mine:
                return
            for bank_day in await self._due_days():
                if not (await self.days.day(bank_day)).is_signed:
                    await self._run(bank_day, by_hand=False)

    async def run_day(self, bank_day: date) -> None:
        """Load and match a day now, whatever the hour. It goes on when the caller gives up.

        Raises `DayNotOver`, `DayBusy`, `LedgerError`.
        """
        if bank_day >= await self.open_day(days_now()[1]):
            raise DayNotOver(f"{bank_day} is not over: no file has it before the bank's next day")
        if self._tasks is None:
            raise DayBusy("the service stops")
        task = self._tasks.create_task(self._run_in_turn(bank_day), name=f"reconcile {bank_day}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        failure = await asyncio.shield(task)
        if failure is not None:
            raise failure

    async def _run_in_turn(self, bank_day: date) -> Exception | None:
        """What went wrong is returned: raised, it would end every task beside this one."""
        try:
            async with asyncio.timeout(WAIT_S) as waiting:
                while True:
                    async with self._turn() as is_mine:
                        if is_mine:
                            waiting.reschedule(None)
                            await self._run(bank_day, by_hand=True)
                            return None
                    await asyncio.sleep(WAIT_EVERY_S)
        except TimeoutError:
            return DayBusy("days are being loaded and matched just now")
        except Exception as error:
            return error

    def next_attempt(self, bank_day: date, file: DayFile) -> datetime | None:
        """When the bank is asked by itself for a file or list that is not there; None when it is not."""
        poll_s, now = self._settings.poll_s, wall_clock()
        if poll_s is None or not self._is_due(bank_day, file, now, by_hand=False):
            return None
        due = Due.of(bank_day, self._settings)
        last = file.last_attempt.at if file.last_attempt is not None else now
        return max(due.at, last + timedelta(seconds=poll_s), now)

    async def _due_days(self) -> list[date]:
        booked = await self._reads.booked_days()
        if booked is None:
            return []
        now, (today, _) = wall_clock(), days_now()
        days = [today - timedelta(days=back) for back in range(self._settings.days, 0, -1)]
        return [day for day in days if day >= booked[0] and Due.of(day, self._settings).at <= now]

    async def open_day(self, today: date) -> date:
        """The first bank day that is not over, ``today`` by our clock. The bank's own counts, which may be ahead of
        ours: it has booked a later day, or cleared this one.
        """
        booked, cleared = await self._reads.booked_days(), await self._reads.cleared_through()
        return max(
            today, today if booked is None else booked[1], today if cleared is None else cleared + timedelta(days=1)
        )

    async def _run(self, bank_day: date, *, by_hand: bool) -> None:
        with telemetry.below(f"reconcile {bank_day}"):
            now = wall_clock()
            found = {one.type: one for one in (await self.days.day(bank_day)).files}
            due = [type_ for type_ in ORDER if self._is_due(bank_day, found[type_], now, by_hand=by_hand)]
            if due:
                await self._enter_inflows(bank_day)
            entered = await self._reads.entered_on(bank_day)
            for type_ in due:
                await self._load(bank_day, type_, found[type_], now)
            if self._entered.get(bank_day) != entered:
                # What was posted since on a day that is matched already, such as a late answer, has its break, too.
                for type_ in ORDER:
                    if type_ not in due and found[type_].state in SET_AGAINST:
                        await self.days.match(bank_day, type_)
                self._entered[bank_day] = entered
            await self._settle_breaks(bank_day)
            after = await self.days.day(bank_day)
            breaks = sum(one.breaks for one in after.files)
            if breaks != sum(one.breaks for one in found.values()):
                events.DAY_MATCHED.log(bank_day=str(bank_day), breaks=breaks)

    def _is_due(self, bank_day: date, file: DayFile, now: datetime, *, by_hand: bool) -> bool:
        """Whether the bank is to be asked for a file or list now."""
        if by_hand:
            return True
        due = Due.of(bank_day, self._settings)
        is_fresh = now < due.at + timedelta(seconds=self._settings.again_after_s)
        if file.file is None:
            is_empty = file.last_attempt is not None and file.last_attempt.state is FileState.NONE
            # A file that is not made yet looks like a day without any.
            if file.type in FILES:
                return not is_empty or (file.last_attempt is not None and file.last_attempt.at < due.late_at)
            return not is_empty or is_fresh
        if file.type not in FILES and is_fresh:
            # A list grows: a clearing may come in the evening.
            return True
        is_old = now >= file.file.loaded_at + timedelta(seconds=self._settings.again_after_s)
        return is_old and (bank_day, file.type) not in self._again

    async def _enter_inflows(self, bank_day: date) -> None:
        """So that a list has nothing that only was not collected yet."""
        try:
            await self._collect(bank_day)
        except Exception as error:
            events.NOT_COLLECTED.log_failure(error, what=f"inflows of {bank_day}")

    async def _load(self, bank_day: date, type_: FileType, before: DayFile, now: datetime) -> None:
        """Fetch or read one file or list, and keep and match it; or note why it was not had."""
        if type_ in FILES:
            had = await self._fetched(bank_day, FILES[type_])
        else:
            had = await self._listed(bank_day, type_, before)
        if isinstance(had, _NotHad):
            await self._note(bank_day, type_, before, had, now)
            return
        try:
            loaded = await self.days.load(had.file, had.content, LineReader(type_) if type_ in FILES else None)
        except FileUnreadable as fault:
            await self._note(bank_day, type_, before, _NotHad(FileState.DAMAGED, str(fault)), now)
            return
        if before.file is not None:
            self._again.add((bank_day, type_))
        if not loaded.did:
            await self.days.match(bank_day, type_)

    async def _fetched(self, bank_day: date, kind: FileKind) -> _Had | _NotHad:
        try:
            sealed = await fetch_sealed(self._bank, kind, bank_day)
            if isinstance(sealed, NoFile):
                return _NotHad(FileState.NONE, sealed.message)
            return await asyncio.to_thread(_opened, sealed, FileType(kind))
        except (FileUnavailable, FileQuestionRefused, FileServerRefused, BankUnavailable) as away:
            return _NotHad(FileState.EXPECTED, str(away))
        except FileError as fault:
            return _NotHad(FileState.DAMAGED, str(fault))

    async def _listed(self, bank_day: date, type_: FileType, before: DayFile) -> _Had | _NotHad:
        try:
            lines = await self._lists.read[type_](bank_day)
        except Problem as problem:
            return _NotHad(FileState.EXPECTED, problem.message)
        except BankUnavailable as away:
            return _NotHad(FileState.EXPECTED, str(away))
        # A list that has emptied is another one than that which is there.
        if not lines and before.file is None and not await self._has_postings(bank_day, type_):
            return _NotHad(FileState.NONE, "the bank lists nothing")
        content = list(written(lines))
        name = f"{type_} of {bank_day}"
        return _Had(NewFile(bank_day=bank_day, type=type_, name=name, stated_rows=len(lines)), lambda: iter(content))

    async def _note(self, bank_day: date, type_: FileType, before: DayFile, had: _NotHad, now: datetime) -> None:
        """Note why there is no file, once for each state and reason.

        A bank that has none of what the journal has is late, until it has said so for long: then each posting is a
        break, so that the day can be closed.
        """
        state, reason = had.state, had.reason
        if before.file is not None:
            # The version that is there counts until another one has come whole.
            events.FILE_NOT_FETCHED.log(bank_day=str(bank_day), type=type_, why=reason)
            return
        due = Due.of(bank_day, self._settings)
        is_believed = now >= due.late_at + timedelta(seconds=self._settings.again_after_s)
        if state is FileState.NONE and not is_believed and await self._has_postings(bank_day, type_):
            state, reason = FileState.EXPECTED, f"the bank has none, and the journal has bookings of it: {reason}"
        if state is FileState.EXPECTED:
            if now < due.late_at:
                return
            state = FileState.LATE
        last = before.last_attempt
        if last is not None and (last.state, last.reason) == (state, reason) and state is not FileState.NONE:
            return
        await self.days.tried(bank_day, type_, state, reason)
        if state is FileState.LATE:
            events.FILE_LATE.log(bank_day=str(bank_day), type=type_, why=reason)
        elif state is FileState.DAMAGED:
            events.FILE_DAMAGED.log(bank_day=str(bank_day), type=type_, why=reason)

    async def _has_postings(self, bank_day: date, type_: FileType) -> bool:
        """Whether the journal has what belongs into a file or list of a day."""
        if type_ is FileType.BALANCES:
            return await self._reads.had_members(datetime.combine(bank_day + timedelta(days=1), time(), BANK_ZONE))
        return await self._reads.has_postings(bank_day, SOURCES[type_].kinds)

    async def _settle_breaks(self, bank_day: date) -> None:
        """Ask the bank about open operations that a file shows as done, and match anew what has ended by that."""
        asked: set[UUID] = set()
        types: set[FileType] = set()
        wanted = BreakFilter(first_day=bank_day, last_day=bank_day, kinds=(BreakKind.STATE,), states=OPEN)
        after: UUID | None = None
        while len(asked) < ASKED_MAX and (page := await self.days.breaks(wanted, after, 200)):
            for one in page:
                if one.operation_id is not None:
                    asked.add(one.operation_id)
                    types.add(one.type)
            after = page[-1].break_id
        for batch in _batches(sorted(asked), ASKED_AT_ONCE):
            await asyncio.gather(*(self._resolve(operation_id) for operation_id in batch))
        for type_ in ORDER:
            if type_ in types or (types and type_ is FileType.BALANCES):
                await self.days.match(bank_day, type_)


@dataclass(frozen=True, slots=True)
class _Had:
    """A file or list that came, decrypted as it is read."""

    file: NewFile
    content: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class _NotHad:
    """Why a file or list did not come. EXPECTED: it may come later."""

    state: FileState
    reason: str


def _opened(sealed: SealedFile, type_: FileType) -> _Had:
    """Decrypt a file; its content is unpacked whenever it is read. Raises FileError's family."""
    envelope = sealed.envelope()
    # To the end once: a ZIP whose check fails is damaged before anything of it is kept.
    for _ in envelope.chunks():
        pass
    file = NewFile(bank_day=sealed.day, type=type_, name=sealed.name, stated_rows=sealed.stated_rows)
    return _Had(file, envelope.chunks)


def _batches(found: Sequence[UUID], size: int) -> list[Sequence[UUID]]:
    return [found[start : start + size] for start in range(0, len(found), size)]

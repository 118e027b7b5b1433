"""The days of a seed are reconciled, as the bank tells them and then as it tells them otherwise.

First some files come late, cut, or with another number of rows than the bank states; then every file and list says what
the bank's books say: whatever the seed broke, each posting is matched, and no break is left. Then every fault of a row
that the sandbox has (`sandbox.dayfaults`) is put into files and lists: each is found on its day and in its source, as
the right type of break and with the right amount, and nothing else is. In the end the files are the first ones again,
and the days are right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, Final, TypeAlias

import grpc

from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1 import reconciliation_pb2_grpc
from jzb.v1.reconciliation_pb2 import BreakType
from sandbox.clock import day_of
from sandbox.dayfaults import FILES, SOURCES_OF, TRADES
from sandbox.records import FAILED, Trade
from sandbox.server import Sandbox

RUN_S: Final = 30.0
ROUNDS: Final = 3
"""So often what found no row of its own, since others had them, is put into files once more."""

SOURCES: Final[Mapping[str, pb.BankSource.ValueType]] = {
    "CZ": pb.BANK_SOURCE_TOP_UPS,
    "TX": pb.BANK_SOURCE_WITHDRAWALS,
    "JY": pb.BANK_SOURCE_TRANSACTIONS,
    "YE": pb.BANK_SOURCE_BALANCES,
    "6050": pb.BANK_SOURCE_TRANSFERS_IN,
    "6048": pb.BANK_SOURCE_RETURNS,
    "6108": pb.BANK_SOURCE_CLEARINGS,
    "6109": pb.BANK_SOURCE_CHARGES,
}
NAMES: Final = {source: name for name, source in SOURCES.items()}

Fault: TypeAlias = tuple[str, str]
"""Its name, and its file or list."""

AT_FIRST: Final[tuple[Fault, ...]] = (
    *((fault, source) for fault in ("file_late", "file_count", "file_cut") for source in FILES),
    # One day has one record: an answer with two is none.
    ("row_duplicate", "6108"),
)
"""What keeps a file or list from being matched when it is fetched first; later the version that is there counts."""

ENTERED: Final[tuple[Fault, ...]] = (("row_invented", "6050"), ("row_invented", "6048"))
"""A service enters by itself what these lists show: what is invented there is no difference to the list."""

OUTSIDE: Final = ("6109",)
"""The bank takes its charges from an account that is not in the books: there is nothing to differ from."""

OF_ROWS: Final[tuple[Fault, ...]] = tuple(
    (fault, source)
    for fault, sources in SOURCES_OF.items()
    for source in sources
    if source not in OUTSIDE and (fault, source) not in (*AT_FIRST, *ENTERED)
)

UNREADABLE: Final = ("row_short", "row_not_gb18030", "row_bad_amount")

NOT_CLOSED: Final = (pb.BREAK_STATE_OPEN, pb.BREAK_STATE_CARRIED, pb.BREAK_STATE_HELD)
NOT_THERE: Final = (
    pb.RECONCILIATION_STATE_EXPECTED,
    pb.RECONCILIATION_STATE_LATE,
    pb.RECONCILIATION_STATE_NONE,
)

Files: TypeAlias = dict[tuple[date, str], pb.ReconciledSource]


class Days:
    """Those of one seed, at one of its services."""

    def __init__(self, sandbox: Sandbox, channel: grpc.aio.Channel, seed: int, first: date) -> None:
        self._faults = sandbox.faults.days
        self._service = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)
        self._dice = Random(f"days {seed}")
        days = (sandbox.clock.today() - first).days
        self._days = [first + timedelta(days=number) for number in range(days)]
        self._refused = {day_of(one.day) for one in sandbox.bank.store.all(Trade) if one.status == FAILED}

    async def play(self, counted: Counter[str], wanted: Sequence[Fault] = OF_ROWS) -> list[str]:
        """What is wrong; counts what was put into files and lists, and found."""
        self._add_at_first()
        first, found = await self._run(), await self._breaks()
        struck = self._struck(counted)
        clean = await self._run()
        wrong = [f"a clean day has a break: {_words(one)}" for one in await self._breaks()]
        wrong += _at_first(struck, first, clean, found)
        if wrong:
            return wrong
        left = list(wanted)
        for _ in range(ROUNDS):
            # Where rows are few, other faults have them in other seeds.
            self._dice.shuffle(left)
            self._add(left, clean)
            files = await self._run()
            struck = self._struck(counted)
            wrong += _differences(struck, await self._breaks(), await self._breaks(is_open=False), self._days)
            wrong += _repaired(struck, files)
            left = [fault for fault in left if fault not in {(one["fault"], one["source"]) for one in struck}]
            if wrong or not left:
                break
        mended = await self._run()
        wrong += [f"a mended day has a break: {_words(one)}" for one in await self._breaks()]
        wrong += [
            f"{source} of {day} is not the first one again"
            for (day, source), one in mended.items()
            if one.file.sha256 != clean[day, source].file.sha256 and one.file.rows + clean[day, source].file.rows
        ]
        return wrong

    def _add_at_first(self) -> None:
        for source in (*FILES, "6108"):
            faults = [fault for fault, of in AT_FIRST if of == source]
            self._dice.shuffle(faults)
            # One for each file; where there are fewer days than faults, some are left out.
            days = self._dice.sample(self._days, min(len(faults), len(self._days)))
            for fault, day in zip(faults, days, strict=False):
                self._faults.add(fault, source=source, day=day, times=None)

    def _add(self, faults: Sequence[Fault], clean: Files) -> None:
        """Each on a day with rows of its source. No file loses its last row, and no row is shifted into a day without a
        file: a bank that once gave a file and has none now takes nothing back.
        """
        gone: Counter[tuple[date, str]] = Counter()
        for number, (fault, source) in enumerate(faults):
            days = [day for day in self._days if clean[day, source].file.rows]
            if fault == "row_state" and source in TRADES:
                days = [day for day in days if day in self._refused] or days
            if source == "6108":
                # A day on which nothing is to be cleared may be entered or not.
                days = [day for day in days if clean[day, source].file.amount_fen]
            if fault == "row_shifted" and source in FILES:
                days = [day for day in days if _next(day) not in self._days or _next(day) in days]
            if fault in ("row_missing", "row_shifted") and source in FILES:
                days = [day for day in days if clean[day, source].file.rows > gone[day, source] + 1]
            if not days:
                continue
            day = self._dice.choice(days)
            gone[day, source] += fault in ("row_missing", "row_shifted")
            self._faults.add(
                fault,
                source=source,
                day=day,
                seed=self._dice.randrange(10**9) + number,
                amount_fen=self._dice.randint(1, 999_99),
            )

    def _struck(self, counted: Counter[str]) -> list[dict[str, Any]]:
        """What has struck; from here on the bank tells what it has."""
        found = self._faults.struck
        counted.update(f"{one['source']} {one['fault']}" for one in found)
        self._faults.clear()
        return found

    async def _run(self) -> Files:
        """Load and match each day; what there is of it then."""
        for day in self._days:
            await self._service.RunDay(pb.RunDayRequest(bank_day=day.isoformat()), timeout=RUN_S)
        found: Files = {}
        for day in self._days:
            # What a later day settles on an earlier one is there by now.
            request = pb.GetReconciledDayRequest(bank_day=day.isoformat())
            answer = await self._service.GetReconciledDay(request, timeout=RUN_S)
            found |= {(day, NAMES[one.source]): one for one in answer.day.sources}
        return found

    async def _breaks(self, *, is_open: bool = True) -> list[pb.Break]:
        """Those that are open, or those that have closed."""
        found: list[pb.Break] = []
        request = pb.ListBreaksRequest(
            first_bank_day=self._days[0].isoformat(),
            last_bank_day=self._days[-1].isoformat(),
            states=NOT_CLOSED if is_open else [pb.BREAK_STATE_CLOSED],
        )
        while True:
            page = await self._service.ListBreaks(request, timeout=RUN_S)
            found += page.breaks
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def _next(day: date) -> date:
    return day + timedelta(days=1)


def _at_first(
    struck: Sequence[Mapping[str, Any]], first: Files, clean: Files, found: Sequence[pb.Break]
) -> Iterator[str]:
    """What is wrong with what was had when files and lists were fetched first, beside what there was the second time.

    A file that came as it is does nothing when it comes again.
    """
    faults = {(day_of(one["day"]), one["source"]): one["fault"] for one in struck}
    breaks: dict[tuple[date, str], list[pb.Break]] = {}
    for one in found:
        breaks.setdefault((date.fromisoformat(one.bank_day), NAMES[one.source]), []).append(one)
    for key, then in clean.items():
        had, of_it = first[key], breaks.pop(key, [])
        missing = {pb.BREAK_TYPE_BALANCE if key[1] == "YE" else pb.BREAK_TYPE_MISSING_THERE}
        types = {one.type for one in of_it}
        missing_fen = -sum(one.difference_fen for one in of_it)
        state, version = had.state, had.file.version
        match faults.get(key):
            case None:
                is_right = not of_it and version == then.file.version
            case "file_late" | "row_duplicate":
                # A bank that has had none for long is believed: then each posting lacks its line.
                is_believed = state == pb.RECONCILIATION_STATE_NONE
                is_right = state in NOT_THERE and not version and types <= missing
                is_right &= missing_fen == (then.file.amount_fen if is_believed else 0)
            case "file_count":
                is_right = state == pb.RECONCILIATION_STATE_LOADED and not of_it and version == then.file.version
                is_right &= had.file.stated_rows == had.file.rows + 1
            case _:
                # Cut in the last row, which cannot be read: what it had is missing.
                is_right = state == pb.RECONCILIATION_STATE_BREAKS and had.file.bad_rows == 1
                is_right &= then.file.version == version + 1 and types - {pb.BREAK_TYPE_UNREADABLE} <= missing
                is_right &= [one.type for one in of_it].count(pb.BREAK_TYPE_UNREADABLE) == 1
                is_right &= missing_fen == then.file.amount_fen - had.file.amount_fen
        if not is_right:
            was, is_now = ({"state": one.state, "version": one.file.version} for one in (had, then))
            said = [_words(one) for one in of_it]
            yield f"{key[1]} of {key[0]} with {faults.get(key)} was {was}, then {is_now}, with breaks {said}"


def _differences(
    struck: Sequence[Mapping[str, Any]], found: Sequence[pb.Break], closed: Sequence[pb.Break], days: Sequence[date]
) -> Iterator[str]:
    """What was put into files and not found, and what was found and not put there."""
    rest = list(found)
    for one in struck:
        day = day_of(one["day"])
        if one["fault"] == "row_shifted" and _next(day) in days:
            came = (_next(day), one["source"], pb.BREAK_TYPE_DATE_SHIFTED, 0)
            if not any(
                _is_of(shift, *came, one) and shift.close_reason == pb.BREAK_CLOSE_REASON_NEXT_FILE
                for shift in closed
                if shift.bank_fen == abs(one["booked_fen"])
            ):
                yield f"not found and closed by the next file: {one}"
            continue
        for type_, difference_fen in _found_as(one):
            fit = [at for at, seen in enumerate(rest) if _is_of(seen, day, one["source"], type_, difference_fen, one)]
            if fit:
                del rest[fit[0]]
            else:
                yield f"not found: {BreakType.Name(type_)} of {difference_fen} fen for {one}"
    yield from (f"found and not put there: {_words(one)}" for one in rest)


def _found_as(one: Mapping[str, Any]) -> Iterator[tuple[BreakType.ValueType, int]]:
    """As which breaks, and with which differences, a row that was struck is to be found."""
    is_balance, fault = one["source"] == "YE", one["fault"]
    booked, told = one["booked_fen"], one["told_fen"]
    if one["source"] == "6108":
        # A day on which the channels get money has it below zero; its posting has no sign.
        booked, told = abs(booked), abs(told)
    missing = (pb.BREAK_TYPE_BALANCE if is_balance else pb.BREAK_TYPE_MISSING_THERE, -booked)
    match fault:
        case "row_invented":
            yield pb.BREAK_TYPE_BALANCE if is_balance else pb.BREAK_TYPE_MISSING_HERE, told
        case "row_amount":
            yield pb.BREAK_TYPE_BALANCE if is_balance else pb.BREAK_TYPE_AMOUNT, told - booked
        case "row_fee":
            yield pb.BREAK_TYPE_FEE, one["told_fee_fen"] - one["booked_fee_fen"]
        case "row_side":
            yield pb.BREAK_TYPE_MEMBER, 0
        case "row_state" if one["source"] != "6108":
            yield pb.BREAK_TYPE_STATE, told
        case "row_duplicate":
            yield pb.BREAK_TYPE_DUPLICATE, told
        case "row_ampersand":
            # Repaired: the row says what it said.
            return
        case _:
            # An empty sub-account misses nothing.
            if booked or not is_balance:
                yield missing
            if fault in UNREADABLE:
                yield pb.BREAK_TYPE_UNREADABLE, 0


def _repaired(struck: Sequence[Mapping[str, Any]], files: Files) -> Iterator[str]:
    """A row that an `&` had shifted is put right, and counted; no other is."""
    wanted = Counter((day_of(one["day"]), one["source"]) for one in struck if one["fault"] == "row_ampersand")
    for (day, source), one in files.items():
        if one.file.repaired_rows != wanted[day, source]:
            yield f"{source} of {day} has {one.file.repaired_rows} repaired rows, not {wanted[day, source]}"


def _is_of(
    seen: pb.Break,
    day: date,
    source: str,
    type_: BreakType.ValueType,
    difference_fen: int,
    one: Mapping[str, Any],
) -> bool:
    """Whether this is the break of a row that was struck."""
    if (seen.bank_day, NAMES[seen.source], seen.type) != (day.isoformat(), source, type_):
        return False
    # What cannot be read has no name, and a clearing has its day alone.
    is_named = type_ == pb.BREAK_TYPE_UNREADABLE or source == "6108"
    names = {one["serial"], one["row"]} - {""}
    return seen.difference_fen == difference_fen and (
        is_named or bool(names & {seen.serial, seen.bank_serial, seen.sub_account})
    )


def _words(one: pb.Break) -> str:
    known = (one.bank_day, NAMES[one.source], BreakType.Name(one.type), one.serial or one.bank_serial)
    return f"{known} {one.sub_account} bank {one.bank_fen}, ledger {one.ledger_fen}: {one.detail}"

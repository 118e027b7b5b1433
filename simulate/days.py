"""The days of a seed are reconciled, as the bank tells them and then as it tells them otherwise.

First every file and list says what the bank's books say: whatever the seed broke, each posting is matched, and no break
is left. Then faults by the seed are put into files (`sandbox.dayfaults`), which are loaded again: each is found, as the
right type of break and with the right amount, and nothing else is. In the end the files are right again, and so are the
days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, Final

import grpc

from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1 import reconciliation_pb2_grpc
from jzb.v1.reconciliation_pb2 import BreakType
from sandbox.clock import day_of
from sandbox.dayfaults import SOURCES_OF, DayFaults
from sandbox.server import Sandbox

RUN_S: Final = 30.0
FAULTS_MAX: Final = 4

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

PLAYED: Final = tuple(
    (fault, source)
    for fault in ("row_missing", "row_invented", "row_amount", "row_fee", "row_side", "row_duplicate", "row_bad_amount")
    for source in SOURCES_OF[fault]
    if source in ("CZ", "TX", "JY")
)
"""What is put into the files of a seed: what a service enters by itself from a list is no difference to that list."""

FOUND_AS: Final[Mapping[str, Sequence[BreakType.ValueType]]] = {
    "row_missing": (pb.BREAK_TYPE_MISSING_THERE,),
    "row_invented": (pb.BREAK_TYPE_MISSING_HERE,),
    "row_amount": (pb.BREAK_TYPE_AMOUNT,),
    "row_fee": (pb.BREAK_TYPE_FEE,),
    "row_side": (pb.BREAK_TYPE_MEMBER,),
    "row_duplicate": (pb.BREAK_TYPE_DUPLICATE,),
    # The posting has no line then.
    "row_bad_amount": (pb.BREAK_TYPE_MISSING_THERE, pb.BREAK_TYPE_UNREADABLE),
}

NOT_CLOSED: Final = (pb.BREAK_STATE_OPEN, pb.BREAK_STATE_CARRIED, pb.BREAK_STATE_HELD)


class Days:
    """Those of one seed, at one of its services."""

    def __init__(self, sandbox: Sandbox, channel: grpc.aio.Channel, seed: int, first: date) -> None:
        self._sandbox = sandbox
        self._service = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)
        self._dice = Random(f"days {seed}")
        days = (sandbox.clock.today() - first).days
        self._days = [first + timedelta(days=number) for number in range(days)]

    async def play(self, counted: Counter[str], chosen: Sequence[tuple[str, str]] = ()) -> list[str]:
        """What is wrong; counts what was put into files: the ``chosen`` faults and their files, or else by the dice."""
        wrong = [f"a clean day has a break: {_words(one)}" for one in await self._reconciled()]
        if wrong:
            return wrong
        faults = self._sandbox.faults.days
        by_dice = [self._dice.choice(PLAYED) for _ in range(self._dice.randint(1, FAULTS_MAX))]
        for number, (fault, source) in enumerate(chosen or by_dice):
            faults.add(
                fault,
                source=source,
                day=self._dice.choice(self._days),
                seed=number,
                amount_fen=self._dice.randint(1, 999_99),
            )
        found = await self._reconciled()
        counted.update(f"{one['source']} {one['fault']}" for one in faults.struck)
        wrong += list(_differences(faults, found))
        faults.clear()
        wrong += [f"a mended day has a break: {_words(one)}" for one in await self._reconciled()]
        return wrong

    async def _reconciled(self) -> list[pb.Break]:
        """What is open after each day was loaded and matched."""
        for day in self._days:
            await self._service.RunDay(pb.RunDayRequest(bank_day=day.isoformat()), timeout=RUN_S)
        found: list[pb.Break] = []
        request = pb.ListBreaksRequest(
            first_bank_day=self._days[0].isoformat(), last_bank_day=self._days[-1].isoformat(), states=NOT_CLOSED
        )
        while True:
            page = await self._service.ListBreaks(request, timeout=RUN_S)
            found += page.breaks
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def _differences(faults: DayFaults, found: Sequence[pb.Break]) -> Iterator[str]:
    """What was put into files and not found, and what was found and not put there."""
    expected: Counter[tuple[Any, ...]] = Counter()
    for one in faults.struck:
        for type_ in FOUND_AS[one["fault"]]:
            expected[_expected(one, type_)] += 1
    seen = Counter(_seen(one) for one in found)
    for key, number in (expected - seen).items():
        yield f"{number} times not found: {key}; struck {faults.struck}"
    for key, number in (seen - expected).items():
        yield f"{number} times found and not put there: {key}"


def _expected(one: Mapping[str, Any], type_: BreakType.ValueType) -> tuple[Any, ...]:
    difference = one["told_fen"] - one["booked_fen"]
    if type_ == pb.BREAK_TYPE_FEE:
        difference = one["told_fee_fen"] - one["booked_fee_fen"]
    elif type_ == pb.BREAK_TYPE_MISSING_THERE:
        difference = -one["booked_fen"]
    elif type_ == pb.BREAK_TYPE_DUPLICATE:
        difference = one["told_fen"]
    elif type_ == pb.BREAK_TYPE_UNREADABLE:
        difference = 0
    day = day_of(one["day"]).isoformat()
    # What cannot be read has no serial.
    serial = "" if type_ == pb.BREAK_TYPE_UNREADABLE else one["serial"]
    return (day, BankName(SOURCES[one["source"]]), BreakType.Name(type_), serial, difference)


def _seen(one: pb.Break) -> tuple[Any, ...]:
    serial = "" if one.type == pb.BREAK_TYPE_UNREADABLE else one.serial
    return (one.bank_day, BankName(one.source), BreakType.Name(one.type), serial, one.difference_fen)


def _words(one: pb.Break) -> str:
    return f"{_seen(one)} {one.detail}"


BankName = pb.BankSource.Name

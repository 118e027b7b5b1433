"""ClearingService: the bank's nightly clearing (6108)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bankclient import wall_clock
from jzb.v1 import clearing_pb2, clearing_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger import Reads, WaitingDay
from service import problems, view
from service.bankday import days_now
from service.inflows.clearing import BankDayStatus, Clearing
from service.path.repeats import Repeats
from service.rpc.context import Context
from service.rpc.dates import bank_day
from service.rpc.pages import page_size, page_start, page_token

STATES = {
    "0": clearing_pb2.CLEARING_STATE_CLEARED_AT_BANK,
    "1": clearing_pb2.CLEARING_STATE_FAILED,
    "2": clearing_pb2.CLEARING_STATE_ABNORMAL,
    "3": clearing_pb2.CLEARING_STATE_PENDING,
}
"""ClearingState of 6108, until the mirror has entered the day."""


@dataclass(frozen=True, kw_only=True)
class Clearings(clearing_pb2_grpc.ClearingServiceServicer):
    """See protos/jzb/v1/clearing.proto."""

    reads: Reads
    clearing: Clearing
    repeats: Repeats

    async def ClearDay(self, request: clearing_pb2.ClearDayRequest, context: Context) -> clearing_pb2.ClearDayResponse:
        """6108, then the mirror's side of it."""
        day = bank_day("bank_day", request.bank_day)
        earlier = await self.repeats.earlier(request)
        if earlier is not None:
            if (known := problems.of_operation(earlier, ())) is not None:
                raise known
            full = (await self.reads.full_operations([earlier.id]))[earlier.id]
            return clearing_pb2.ClearDayResponse(operation=view.operation(*full), day=await self._day(day))
        cleared = await self.reads.cleared_through()
        if cleared is not None and day <= cleared and (entered := await self.clearing.entered(day)) is not None:
            return clearing_pb2.ClearDayResponse(
                operation=view.operation(entered.operation, entered.parts), day=await self._day(day)
            )
        days = await self.reads.waiting_days()
        # The bank books under its own clock, which may be ahead of ours.
        if day > max((days_now()[1], *(waiting.bank_day for waiting in days))):
            raise problems.invalid("bank_day", f"{day} is not over", ErrorReason.BANK_DAY_INVALID)
        for waiting in days:
            if cleared is not None and waiting.bank_day <= cleared:
                continue
            if waiting.bank_day < day and waiting.in_transit_fen:
                raise problems.precondition(
                    ErrorReason.CLEARING_OUT_OF_ORDER,
                    f"{waiting.bank_day} is to be cleared before {day} (不支持跳日期清算)",
                    "clear the earlier day first; the request id is not used up",
                    bank_day=str(day),
                    first_open_day=str(waiting.bank_day),
                )
        status = await self.clearing.status(day)
        if status is None or not status.is_cleared or request.validate_only:
            return clearing_pb2.ClearDayResponse(day=await self._day(day, status))
        outcome = await self.repeats.enter(request, lambda key: self.clearing.enter(key, status))
        return clearing_pb2.ClearDayResponse(
            operation=view.operation(outcome.operation, outcome.parts), day=await self._day(day, status)
        )

    async def GetDay(self, request: clearing_pb2.GetDayRequest, context: Context) -> clearing_pb2.GetDayResponse:
        """The mirror's amounts beside the bank's word."""
        day = bank_day("bank_day", request.bank_day)
        return clearing_pb2.GetDayResponse(day=await self._day(day, await self.clearing.status(day)))

    async def ListDays(self, request: clearing_pb2.ListDaysRequest, context: Context) -> clearing_pb2.ListDaysResponse:
        """The days that wait, oldest first, from the mirror."""
        after, size = page_start(request.page_token, request), page_size(request.page_size)
        waiting = [day for day in await self.reads.waiting_days() if day.bank_day.isoformat() > after]
        page = waiting[:size]
        return clearing_pb2.ListDaysResponse(
            days=[_message(day.bank_day, day, None) for day in page],
            next_page_token=page_token(page[-1].bank_day.isoformat(), request) if len(waiting) > size else "",
        )

    async def _day(self, day: date, status: BankDayStatus | None = None) -> clearing_pb2.ClearingDay:
        waiting = {found.bank_day: found for found in await self.reads.waiting_days()}
        message = _message(day, waiting.get(day), status)
        if await self.clearing.entered(day) is not None:
            message.state = clearing_pb2.CLEARING_STATE_DONE
        return message


def _message(day: date, waiting: WaitingDay | None, status: BankDayStatus | None) -> clearing_pb2.ClearingDay:
    message = clearing_pb2.ClearingDay(
        bank_day=day.isoformat(),
        uncleared_fen=waiting.uncleared_fen if waiting else 0,
        in_transit_fen=waiting.in_transit_fen if waiting else 0,
    )
    if status is not None:
        message.bank_total_fen = status.total_fen
        message.shortfall_fen = 0 if status.is_cleared else status.total_fen
        message.state = STATES.get(status.status, clearing_pb2.CLEARING_STATE_UNSPECIFIED)
        message.bank_message = status.message
        message.query_time.FromDatetime(wall_clock())
    return message

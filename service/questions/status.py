"""6110, the state of a money call: what settles most lost answers (quick start: 6110)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, TypeAlias

from bankclient import Answer, BankClient, TransactionStatus, TransactionStatusReply, days_of_serial
from ledger import Leased, Part, State
from ledger.names import NO_BANK_SERIAL, BankSerial, Serial
from service.questions.bookings import booked_on
from service.questions.conflicts import response_mismatch
from service.questions.query import OutcomeQuery, QueryContext
from service.questions.results import BankResult, Verdict

Flag: TypeAlias = Literal["2", "3", "4"]
"""Of 6110: 2 member transactions, 3 withdrawals, 4 top-ups."""

VERDICTS: Final = {
    "0": Verdict.DONE,
    "1": Verdict.REFUSED,
    "2": Verdict.ACCEPTED,
    "5": Verdict.ACCEPTED,
    "6": Verdict.ACCEPTED,
}
"""TranStatus of 6110: 0 and 1 are final, 2, 5 and 6 ask on (quick start: 6110)."""

ROWS_AT_ONCE: Final = 5
"""Rows of one call that are asked for at once. One after the other, a slow bank would answer too late for the last."""

OLD: Final = timedelta(days=3)
"""From this age on 6110 wants a call's day."""


@dataclass(frozen=True, slots=True)
class StatusQuery(OutcomeQuery):
    """Asks 6110 for the state of a money call.

    With ``by_part`` each part of the plan is asked for by its own serial (6216, whose rows end one by one), and the
    results are in the order of the parts, whichever comes first; without it the whole call has one state.
    """

    by: ClassVar[str] = "status"

    flag: Flag
    by_part: bool = False

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        if not self.by_part:
            return [await status_result(context, self.flag)]
        slots = asyncio.Semaphore(ROWS_AT_ONCE)

        async def result_of(part: Part) -> BankResult:
            async with slots:
                return await status_result(context, self.flag, part)

        return await asyncio.gather(*map(result_of, context.pending))

    def first_result(self, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """Where the rows carry the bank's serials, they were booked together, and answer in the request's order."""
        result = BankResult.of_call(verdict, answer)
        if not self.by_part or answer.reply is None or result.bank_serial:
            return result
        serials = tuple(BankSerial(row.FrontSeqNo or "") for row in answer.reply.TranItemArray)
        first = next(filter(None, serials), NO_BANK_SERIAL)
        return replace(result, bank_serial=first, bank_serials=serials, bank_day=booked_on(first))


async def status_result(context: QueryContext, flag: Flag, part: Part | None = None) -> BankResult:
    """What 6110 says of one part, or without one of the whole."""
    operation = context.operation
    answer = await status_of(context.bank, flag, context.leased, operation.serial if part is None else part.serial)
    reply = answer.reply
    if reply is None:
        # Once accepted, a call cannot become unknown to the bank: the question went astray.
        is_missing = answer.is_no_record and operation.state is not State.ACCEPTED
        return BankResult.of_question(Verdict.NOT_FOUND if is_missing else Verdict.INCONCLUSIVE, answer)
    result = reply_result(answer, reply)
    if result.verdict in (Verdict.DONE, Verdict.ACCEPTED):
        mismatch = await response_mismatch(context.reads, operation, context.parts, reply, part)
        return replace(result, verdict=Verdict.INCONCLUSIVE, detail=mismatch) if mismatch else result
    return result


def reply_result(answer: Answer[TransactionStatusReply], reply: TransactionStatusReply) -> BankResult:
    """What a reply of 6110 says."""
    return BankResult(
        VERDICTS.get(reply.TranStatus, Verdict.INCONCLUSIVE),
        code=answer.code,
        message=reply.FailMsg or "",
        detail=f"6110 says TranStatus {reply.TranStatus}",
        bank_serial=BankSerial(reply.OldTranFrontSeqNo or ""),
        bank_day=booked_on(BankSerial(reply.OldTranFrontSeqNo or ""), reply.TranDate),
        evidence=answer.evidence,
    )


def query_days(serial: Serial, opened_at: datetime, now: datetime) -> tuple[date | None, ...]:
    """The days with which 6110 is asked about a call in turn, until one is found; as a rule it is asked without.

    It wants the day of what is older than three days (notes.md 9.14), by its own calendar. Ours is in the serial; the
    bank's may be the day after, or the day before where the clock of the machine that sent it was fast.
    """
    return days_of_serial(serial) if now - opened_at >= OLD else (None,)


async def status_of(bank: BankClient, flag: Flag, leased: Leased, serial: Serial) -> Answer[TransactionStatusReply]:
    """What 6110 answers about the call, or the row of a call, with this serial."""
    for day in query_days(serial, leased.operation.created_at, leased.at):
        answer = await bank.call(TransactionStatus(FunctionFlag=flag, TranNetSeqNo=serial, TranDate=day))
        if not answer.is_no_record:
            break
    return answer

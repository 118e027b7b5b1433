"""A call that the bank may want again: 6164, which searches its history for the payment that is to be given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bankclient import Answer, AnswerOutcome, RefundPayment, to_wire
from ledger import OpeningForged, Operation
from service.questions.query import OutcomeQuery, QueryContext
from service.questions.results import BankResult, Verdict
from service.questions.status import status_result
from service.recorded import SEND_AGAIN


@dataclass(frozen=True, slots=True)
class ResendQuery(OutcomeQuery):
    """Asks 6110 as `StatusQuery` does; but once the bank has said that the call is to be sent again, sends it again.

    Quick start, 6164: "searching the history, try again later". The message is kept as it went over the wire, so that
    any process can send it; it must be free of personal data.
    """

    by: ClassVar[str] = "resend"
    may_send_again: ClassVar[bool] = True

    flag: Literal["2"]
    interface: Literal["6164"]
    """The only one that is ever sent again: it gives back a payment that the bank has booked."""
    fields: dict[str, object]

    @classmethod
    def of(cls, flag: Literal["2"], message: RefundPayment) -> ResendQuery:
        """How to carry on a call that is this message."""
        return cls(flag, "6164", to_wire(message))

    def message(self, operation: Operation) -> RefundPayment:
        """The message to send again; with the same serial it acts once. Raises `OpeningForged` for another refund than
        the operation's: its amounts, parties and order are sealed with it.
        """
        message = RefundPayment.from_wire(self.fields)
        sealed = (operation.amount_fen, operation.fee_fen, operation.payee, operation.order_no or None)
        said = (message.ReturnAmt, message.ReturnCommission, message.OldOutMemberCode, message.OldOrderNo)
        # The fee of a `PayFrozen` is given back by nobody's account.
        if sealed != said or operation.payer not in ("", message.OldInMemberCode):
            raise OpeningForged(f"the message of {operation.id} is not that of its refund")
        return message

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        operation = context.operation
        if operation.reason != SEND_AGAIN:
            return [await status_result(context, self.flag)]
        answer = await context.bank.call(self.message(operation), operation.serial)
        is_on_schedule = context.leased.due_in_s <= 0
        is_last = is_on_schedule and operation.not_found + 1 >= context.settings.send_again_times
        return [resent_result(answer, is_last=is_last)]


def resent_result(answer: Answer[Any], *, is_last: bool) -> BankResult:
    """What a call that was sent again says. The bank acts once for a serial, so a lost answer is no reason to stop."""
    if answer.send_again:
        verdict = Verdict.REFUSED if is_last else Verdict.AGAIN
    elif answer.outcome is AnswerOutcome.DONE:
        verdict = Verdict.DONE
    elif answer.outcome is AnswerOutcome.REFUSED:
        verdict = Verdict.REFUSED
    else:
        # A signed answer that proves nothing (such as a serial repeated): from now on 6110 is asked instead.
        verdict = Verdict.INCONCLUSIVE if answer.evidence else Verdict.AGAIN
    return BankResult.of_call(verdict, answer)

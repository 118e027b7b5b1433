"""What the bank has said of a call, as values: a verdict, and what came with it.

The first answer to a call and the answer to every later question become the same `BankResult`, which
`service.plans.settlement` turns into a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any

from bankclient import NO_EVIDENCE, Answer, Evidence
from ledger import Draft, Member
from ledger.names import NO_BANK_SERIAL, BankSerial


class Verdict(Enum):
    """What the bank says of a call."""

    DONE = "done"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    """Taken, not final."""
    NOT_FOUND = "not found"
    """No such record: several times, far enough apart, it means that nothing happened."""
    AGAIN = "again"
    """Nothing has happened yet: the same call is to be sent again, with the same serial."""
    INCONCLUSIVE = "inconclusive"
    """The answer, or the question itself, failed: nothing is known."""


@dataclass(frozen=True, slots=True)
class CardResult:
    """What the bank says of a card beside its verdict: whether it is bound, and what the holder has to pay in."""

    is_bound: bool = False
    pay_in_fen: int | None = None


NO_CARD_RESULT = CardResult()


@dataclass(frozen=True, slots=True)
class BankResult:
    """What the bank said about one part, or about the whole call.

    ``bank_serials`` are those of the rows, in their order, where one answer has several; "" of a row without.
    ``bank_day`` is the bank's booking day where it gave one; ``members`` are the sub-accounts that it named, ``card``
    is what it said of the card that the plan is about. ``booked`` is posted in the place of the planned draft where the
    bank chooses the accounts; ``reason`` says why when it is not the bank's refusal.
    """

    verdict: Verdict
    code: str = ""
    message: str = ""
    detail: str = ""
    bank_serial: BankSerial = NO_BANK_SERIAL
    bank_serials: tuple[BankSerial, ...] = ()
    bank_day: date | None = None
    evidence: Evidence = NO_EVIDENCE
    members: tuple[Member, ...] = ()
    card: CardResult = NO_CARD_RESULT
    booked: Draft | None = None
    reason: str = ""

    def serials_of(self, parts: int) -> tuple[BankSerial, ...]:
        """The serial of each of so many parts that this result is of: those of the rows where it has one for each, else
        that of the whole. Where some rows are missing nobody knows which.
        """
        if not self.bank_serials:
            return (self.bank_serial,) * parts
        return self.bank_serials if len(self.bank_serials) == parts else (NO_BANK_SERIAL,) * parts

    @classmethod
    def of_question(cls, verdict: Verdict, answer: Answer[Any], **more: Any) -> BankResult:
        """What an answer proves that is about the call, and is not the call's own: its serial is the question's."""
        return cls(
            verdict, code=answer.code, message=answer.message, detail=answer.detail, evidence=answer.evidence, **more
        )

    @classmethod
    def of_call(cls, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """The same of the answer to the call itself, with the bank's serial and day."""
        return cls.of_question(verdict, answer, bank_serial=answer.front_seq_no or "", bank_day=answer.booking_date)

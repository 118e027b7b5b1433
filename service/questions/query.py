"""A query to the bank: what is stored of it, how it is sent, and what its answer means for the operation.

There are two kinds. The results of an `OutcomeQuery` are settled (`service.plans.settlement`). Any other `Query` is
carried on by what has made its operation (`service.inflows`): its answer enters parts by itself. A query is a frozen
dataclass of plain values, free of personal data; its class is found again by its name, ``by``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from pydantic import TypeAdapter

from bankclient import Answer, AnswerOutcome, BankClient, Request
from ledger import CardChange, Cards, Draft, Leased, Operation, Part, PartState, Reads
from ledger.names import NO_MEMBER_CODE, MemberCode, Serial
from service.questions.conflicts import without_conflict
from service.questions.results import BankResult, Verdict
from service.settings import ResolverSettings
from service.vault import Vault

_KINDS: dict[str, type[Query]] = {}


class Query(ABC):
    """A query as an operation keeps it. Its fields and its name are stored for ever."""

    __slots__ = ()

    by: ClassVar[str]
    """Its name in JSON."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if (name := cls.__dict__.get("by")) is None:
            return
        known = _KINDS.get(name)
        # A dataclass with slots is made twice, under the same name.
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.__qualname__} and {known.__qualname__} are both stored as {name!r}")
        _KINDS[name] = cls

    def to_json(self) -> dict[str, Any]:
        """Its name and its fields."""
        return {"by": self.by, **_adapter(type(self)).dump_python(self, mode="json")}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Query:
        """The query that `to_json` wrote. Raises ValueError for one that nobody knows."""
        kind = _KINDS.get(value["by"])
        if kind is None:
            raise ValueError(f"no query is stored as {value['by']!r}")
        return _adapter(kind).validate_python({name: field for name, field in value.items() if name != "by"})

    def closed_member(self) -> MemberCode:
        """The code of the member that the call closes, or nothing."""
        return NO_MEMBER_CODE

    def card_changes(self, result: BankResult) -> tuple[CardChange, ...]:
        """What a result does to cards."""
        return ()

    def unsent_cards(self) -> tuple[CardChange, ...]:
        """What it does to cards that the call was never sent."""
        return ()


@cache
def _adapter(kind: type[Query]) -> TypeAdapter[Query]:
    return TypeAdapter(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryContext:
    """One operation whose outcome is queried, and what queries use. ``drafts`` are the planned ones, ``parts``
    all that the operation has.
    """

    bank: BankClient
    reads: Reads
    cards: Cards
    vault: Vault
    settings: ResolverSettings
    leased: Leased
    drafts: Sequence[Draft]
    parts: Sequence[Part]

    @property
    def operation(self) -> Operation:
        """The operation as it was leased."""
        return self.leased.operation

    @property
    def pending(self) -> list[Part]:
        """The parts that are open."""
        return [part for part in self.parts if part.state is PartState.RESERVED]


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What came of sending a call. ``may_have_acted`` is False when nothing can have happened by it. ``answered`` is
    what was learnt of the bank's interface: that it works, or not; None when it was not even tried.
    """

    results: Sequence[BankResult]
    may_have_acted: bool
    answered: bool | None

    @property
    def inconclusive(self) -> BankResult | None:
        """The result that leaves the call open; None when it can be settled."""
        is_open = any(one.verdict is Verdict.INCONCLUSIVE for one in self.results)
        return self.results[0] if is_open else None


class OutcomeQuery(Query):
    """Finds out what became of a call. Never raises for trouble at the bank: what fails is `Verdict.INCONCLUSIVE`."""

    __slots__ = ()

    may_send_again: ClassVar[bool] = False
    """Whether any process can send the call again when the bank wants that."""

    @abstractmethod
    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """One result for each open part, or one for all of them."""

    async def call(
        self,
        bank: BankClient,
        reads: Reads,
        serial: Serial,
        message: Request[Any],
        drafts: Sequence[Draft],
        *,
        is_final: bool,
    ) -> FirstAnswer:
        """Send the call for the first time. ``is_final`` is False where a success is an acceptance (6033)."""
        answer = await bank.call(message, serial)
        verdict = first_verdict(answer, is_final=is_final, may_send_again=self.may_send_again)
        result = await without_conflict(reads, self.first_result(verdict, answer))
        may_have_acted = answer.outcome is not AnswerOutcome.NOT_SENT
        return FirstAnswer([result], may_have_acted, has_answered(answer))

    def first_result(self, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """The result that the answer to the call itself proves."""
        return BankResult.of_call(verdict, answer)


def first_verdict(answer: Answer[Any], *, is_final: bool, may_send_again: bool = False) -> Verdict:
    """What the answer to the call itself means.

    A success is only an acceptance when the plan says that the final word comes later (6033). ``may_send_again`` is
    for calls that can be sent again by any process.
    """
    if answer.send_again and may_send_again:
        return Verdict.AGAIN
    if answer.outcome is AnswerOutcome.DONE:
        return Verdict.DONE if is_final else Verdict.ACCEPTED
    return Verdict.REFUSED if answer.outcome is AnswerOutcome.REFUSED else Verdict.INCONCLUSIVE


def has_answered(answer: Answer[Any]) -> bool | None:
    """What an answer says about its interface: a signed one, be it a refusal or a doubt, comes from a bank that works.

    A call that was not even tried, because no connection became free, says nothing.
    """
    if answer.evidence:
        return True
    return None if answer.attempts == 0 else False

"""The one reader of the bank's lists: every page of a question, up to the one behind which the bank has no other.

Pages are counted by EndFlag and the length of the array; the counts in a reply look interchanged in the bank's
documents (notes.md 9.21) and are not read. "No such record" (ERR020) ends a list, which is empty if it comes first. Any
other refusal, no answer, or no end within `PAGES_MAX` leave the list incomplete, and what is not in it proves nothing.

`rows` is for callers, who get the error; `read_list` for those who must say what an incomplete list means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from bankclient import Answer, AnswerOutcome, BankClient, Evidence, Paged, Request, Row
from service.questions.calls import reply_of

PAGES_MAX: Final = 5000
"""Of 20 rows each."""

T = TypeVar("T", bound=Row)


@dataclass(frozen=True, slots=True)
class BankList(Generic[T]):
    """What the bank answered to the pages of one question, in order."""

    code: str
    answers: Sequence[Answer[Paged[T]]]

    @property
    def rows(self) -> list[T]:
        """Every row that was read."""
        return [row for answer in self.answers if answer.reply for row in answer.reply.rows]

    @property
    def is_complete(self) -> bool:
        """Whether these are all rows that the bank has."""
        return self.answers[-1].reply is not None or self.answers[-1].is_no_record

    @property
    def answer(self) -> Answer[Any]:
        """The last answer, which says why an incomplete list is, with the evidence of all."""
        return replace(self.answers[-1], evidence=Evidence.of_all(answer.evidence for answer in self.answers))

    def required(self, *, is_refusal_empty: bool = False) -> list[T]:
        """Every row. Raises `Problem` when the list is incomplete.

        With ``is_refusal_empty`` the refusal of the first page counts as "no such record".
        """
        reply_of(self.answers[-1], self.code, is_refusal_empty=is_refusal_empty and len(self.answers) == 1)
        return self.rows


async def read_list(bank: BankClient, request: Request[Paged[T]]) -> BankList[T]:
    """Read every page. Raises nothing for trouble at the bank."""
    return BankList(request.code, [answer async for answer in _pages(bank, request)])


async def rows(bank: BankClient, request: Request[Paged[T]]) -> AsyncIterator[T]:
    """Every row in the bank's order, as the pages come. Raises `Problem`."""
    async for answer in _pages(bank, request):
        reply = reply_of(answer, request.code)
        for row in reply.rows if reply else ():
            yield row


async def _pages(bank: BankClient, request: Request[Paged[T]]) -> AsyncIterator[Answer[Paged[T]]]:
    for number in range(1, PAGES_MAX + 1):
        answer = await bank.call(request.model_copy(update={"PageNum": number}))
        yield answer
        if answer.reply is None or answer.reply.is_last:
            return
    yield Answer(AnswerOutcome.UNKNOWN, "", "", f"the list did not end after {PAGES_MAX} pages", attempts=0)

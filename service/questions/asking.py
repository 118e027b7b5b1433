"""Questions to the bank that change nothing: one answer, or all pages of it, or the error they are to a caller.

Pages are counted by EndFlag and the length of the array; the counts in a reply look interchanged in the bank's
documents (notes.md 9.21) and are not read. A bank that never ends a list is stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc

from bankclient import (
    UNKNOWN_CODES,
    Answer,
    BankClient,
    MemberBalancesReply,
    Outcome,
    Paged,
    Reply,
    Request,
    SubAccountBalancesReply,
    SubAccountBalancesRow,
)
from service import problems
from service.problems import Problem

NO_RECORD = "ERR020"
SUCCESS = "000000"
LAST_PAGE = "1"
PAGES_MAX = 5000

R = TypeVar("R", bound=Reply)
P = TypeVar("P", bound=Paged)


async def ask(bank: BankClient, request: Request[R]) -> R | None:
    """The bank's reply, None when it has no such record. Raises `Problem`."""
    return told(await bank.call(request), request.code)


def told(answer: Answer[R], code: str) -> R | None:
    """The reply in an answer to a question of interface ``code``, None for "no such record". Raises `Problem`."""
    if answer.reply is not None:
        reply: R = answer.reply
        return reply
    if answer.outcome is not Outcome.REFUSED:
        raise problems.bank_unavailable(answer.detail)
    if answer.code == NO_RECORD:
        return None
    raise problems.question_refused(code, answer.code, answer.message)


async def told_once(bank: BankClient, request: Request[R], serial: str) -> R:
    """The reply to a call that is no operation, such as one for a text. Raises `Problem` when it is lost, too."""
    answer = await bank.call(request, serial)
    if answer.reply is not None:
        reply: R = answer.reply
        return reply
    # Nothing is held for such a call, so any code that is signed is its answer.
    if answer.outcome is Outcome.REFUSED or (answer.evidence and answer.code not in {SUCCESS, *UNKNOWN_CODES}):
        raise Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            "BANK_REFUSED",
            f"the bank refused: {answer.code} {answer.message}".rstrip(),
            next_step="correct the cause and ask again",
            metadata={"interface": request.code, "bank_code": answer.code, "bank_message": answer.message},
        )
    raise problems.bank_unavailable(f"{request.code} has no answer ({answer.detail}); no money moves by it")


async def rows(bank: BankClient, request: Request[P], array: str) -> AsyncIterator[Any]:
    """Every row of every page, in the bank's order. Raises `Problem`."""
    for number in range(1, PAGES_MAX + 1):
        reply = await ask(bank, request.model_copy(update={"PageNum": number}))
        found = () if reply is None else getattr(reply, array)
        for row in found:
            yield row
        if reply is None or not found or reply.EndFlag == LAST_PAGE:
            return
    raise problems.bank_unavailable(f"{request.code} did not end after {PAGES_MAX} pages")


def balances_of(
    sub_account: str, listed: SubAccountBalancesReply | None, frozen: MemberBalancesReply | None
) -> tuple[SubAccountBalancesRow, MemberBalancesReply] | None:
    """What 6010 (QueryFlag 2) and 6037 tell of a sub-account; None unless both tell of this one alone."""
    rows = () if listed is None else listed.AcctArray
    if frozen is None or len(rows) != 1 or {rows[0].SubAcctNo, frozen.SubAcctNo} != {sub_account}:
        return None
    return rows[0], frozen

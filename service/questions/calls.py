"""Calls to the bank outside the path of operations: the reply, or the error that a caller gets."""

from __future__ import annotations

from typing import TypeVar

import grpc

from bankclient import (
    SUCCESS_CODE,
    UNKNOWN_CODES,
    Answer,
    AnswerOutcome,
    BankClient,
    Reply,
    Request,
)
from jzb.v1.names import ErrorReason
from ledger.names import Serial
from service import problems
from service.problems import Problem

R = TypeVar("R", bound=Reply)


async def query_bank(bank: BankClient, request: Request[R]) -> R | None:
    """The bank's reply, None when it has no such record. Raises `Problem`."""
    return reply_of(await bank.call(request), request.code)


def reply_of(answer: Answer[R], code: str, *, is_refusal_empty: bool = False) -> R | None:
    """The reply in an answer to a question of interface ``code``, None for "no such record". Raises `Problem`.

    ``is_refusal_empty`` is for a day that may not have begun at the bank, which then refuses to list it.
    """
    if answer.reply is not None:
        reply: R = answer.reply
        return reply
    if answer.outcome is not AnswerOutcome.REFUSED:
        raise problems.bank_silent(f"{code}: {answer.detail}")
    if answer.is_no_record or is_refusal_empty:
        return None
    raise problems.question_refused(code, answer.code, answer.message)


async def call_once(bank: BankClient, request: Request[R], serial: Serial) -> R:
    """The reply to a call that is no operation, such as one for a text. Raises `Problem` when it is lost, too."""
    answer = await bank.call(request, serial)
    if answer.reply is not None:
        reply: R = answer.reply
        return reply
    # Nothing is held for such a call, so any code that is signed is its answer.
    if answer.outcome is AnswerOutcome.REFUSED or (
        answer.evidence and answer.code not in {SUCCESS_CODE, *UNKNOWN_CODES}
    ):
        raise Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            ErrorReason.BANK_REFUSED,
            f"the bank refused: {answer.code} {answer.message}".rstrip(),
            next_step="correct the cause and ask again",
            metadata={"interface": request.code, "bank_code": answer.code, "bank_message": answer.message},
        )
    raise problems.bank_silent(f"{request.code}: {answer.detail}")

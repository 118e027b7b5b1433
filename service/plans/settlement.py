"""What an answer of the bank does to an operation: pure functions from words to steps.

The first answer to a call and every later answer to a question end here, so that a payment is settled in the same way
whether its process lived, died or timed out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import UUID

from bankclient import Answer
from bankclient import Outcome as AnswerOutcome
from ledger import CardChange, CardState, Change, Draft, Member, Operation, State, Step
from service.plans.cards import NOTHING_SAID, CardSaid, change_of
from service.plans.plan import SEND_AGAIN, CardAsk, Stored, Word
from service.settings import ResolverSettings


@dataclass(frozen=True, slots=True)
class Told:
    """What the bank said about one part, or about the whole call.

    ``bank_serials`` are those of the rows where one answer has several. ``bank_day`` is the bank's booking day where it
    gave one; ``members`` are the sub-accounts it told of, ``card`` is what it told of the card that the plan is about.
    ``booked`` is posted in the place of the planned draft where the bank chooses the accounts; ``reason`` says why when
    it is not the bank's refusal.
    """

    word: Word
    code: str = ""
    message: str = ""
    detail: str = ""
    bank_serial: str = ""
    bank_serials: tuple[str, ...] = ()
    bank_day: date | None = None
    evidence: bytes = b""
    members: tuple[Member, ...] = ()
    card: CardSaid = NOTHING_SAID
    booked: Draft | None = None
    reason: str = ""


def together(evidence: Iterable[bytes]) -> bytes:
    """The digest of all the signed answers that something rests on: SHA-256 over theirs one behind the other, or its
    own when there is only one.
    """
    found = list(dict.fromkeys(filter(None, evidence)))
    return sha256(b"".join(found)).digest() if len(found) > 1 else b"".join(found)


def first_word(answer: Answer[Any], *, is_final: bool, may_send_again: bool = False) -> Word | None:
    """What the answer to the call itself says; None when it leaves the outcome open.

    A success is only an acceptance when the plan says that the final word comes later (6033). ``may_send_again`` is
    for plans that can be sent again by any process (`ResendAsk`).
    """
    if answer.send_again and may_send_again:
        return Word.AGAIN
    if answer.outcome is AnswerOutcome.DONE:
        return Word.DONE if is_final else Word.ACCEPTED
    return Word.REFUSED if answer.outcome is AnswerOutcome.REFUSED else None


def settle(
    operation: Operation,
    stored: Stored,
    pending: Sequence[int],
    told: Sequence[Told],
    today: date,
    settings: ResolverSettings,
    *,
    asked: bool,
    due_in_s: float = 0.0,
    took_s: float = 0.0,
) -> Step:
    """The step that the bank's words ask for.

    ``pending`` are the operation's open parts in order; ``told`` has one entry a part, or one for all of them.
    ``asked`` is False for the answer to the call itself. ``due_in_s`` says how much too early the question was asked,
    by the clock that wrote when it was due: above 0 neither a "no such record" nor a try counts, and the next question
    comes when it was to come. ``took_s`` of that time has gone by since.
    """
    each = list(told) * len(pending) if len(told) == 1 else list(told)
    drafts = stored.then if operation.state is State.ACCEPTED else stored.drafts
    asks = operation.asks + (1 if asked else 0)
    words = {one.word for one in told}
    # Tries of a call that is sent again are counted until 6110 is asked instead.
    is_other_question = operation.reason == SEND_AGAIN and Word.AGAIN not in words
    not_found = 0 if is_other_question else operation.not_found

    if Word.ACCEPTED in words:
        not_found = 0
    elif Word.NOT_FOUND in words and operation.state is not State.ACCEPTED:
        # A round with a question that failed proves nothing about that part.
        not_found += 1 if due_in_s <= 0 and Word.SILENT not in words else 0
        if not_found >= settings.not_found_times:
            each = [_as_refused(one) for one in each]
            told = [_as_refused(one) for one in told]
            words = {one.word for one in told}
    elif Word.AGAIN in words:
        not_found += 1 if asked and due_in_s <= 0 else 0

    last = told[-1]
    bank_day = next((one.bank_day for one in told if one.bank_day), today)
    by_word: dict[Word, dict[int, Draft]] = {}
    for number, draft, one in zip(pending, drafts, each, strict=True):
        by_word.setdefault(one.word, {})[number] = one.booked or draft

    def change(state: State, next_ask_in_s: float | None = None) -> Change:
        return Change(
            state=state,
            reason=SEND_AGAIN if Word.AGAIN in words else last.reason,
            message=last.detail,
            bank_code=last.code,
            bank_message=last.message,
            bank_serial=next((one.bank_serial for one in told if one.bank_serial), ""),
            bank_serials=tuple(
                filter(None, (serial for one in told for serial in (one.bank_serial, *one.bank_serials)))
            ),
            evidence=together(one.evidence for one in told),
            next_ask_in_s=next_ask_in_s,
            asks=asks,
            not_found=not_found,
        )

    step = Step(
        operation=operation.id,
        change=change(State.DONE),
        bank_day=bank_day,
        # Somebody else may have asked at the same time: what was accepted meanwhile has other parts pending.
        expects=frozenset({State.ACCEPTED})
        if operation.state is State.ACCEPTED
        else frozenset({State.RESERVED, State.UNKNOWN}),
        members=last.members,
        cards=_card_changes(stored, last),
    )
    if words <= {Word.DONE, Word.REFUSED}:
        done, refused = by_word.get(Word.DONE, {}), by_word.get(Word.REFUSED, {})
        if Word.DONE in words:
            # A call that ended before it was known to be accepted goes through both movements at once.
            enter = stored.then if operation.state is not State.ACCEPTED else ()
            return dataclasses.replace(step, post=done, void=tuple(refused), enter=enter)
        undo = stored.undo if operation.state is State.ACCEPTED else ()
        return dataclasses.replace(step, change=change(State.REFUSED), void=tuple(refused), enter=undo, members=())
    if words == {Word.ACCEPTED} and stored.then and operation.state is not State.ACCEPTED:
        return dataclasses.replace(
            step,
            change=change(State.ACCEPTED, settings.ask_after_s),
            post=by_word.get(Word.ACCEPTED, {}),
            pend=stored.then,
        )
    state = State.ACCEPTED if operation.state is State.ACCEPTED else State.UNKNOWN
    pause_s = _pause_s(words, settings)
    if due_in_s > 0:
        pause_s = min(pause_s, max(due_in_s - took_s, 0.0))
    return dataclasses.replace(step, change=change(state, pause_s), members=(), cards=())


def leave_open(operation: Operation, told: Told, today: date, settings: ResolverSettings) -> Step:
    """The answer was lost or proves nothing: keep the holds and ask later."""
    return Step(
        operation=operation.id,
        change=Change(
            state=State.UNKNOWN,
            reason=told.reason,
            message=told.detail,
            bank_code=told.code,
            bank_message=told.message,
            evidence=told.evidence,
            next_ask_in_s=settings.ask_after_s,
        ),
        bank_day=today,
        expects=frozenset({State.RESERVED}),
    )


def let_go(operation: Operation, stored: Stored, pending: Sequence[int], told: Told, today: date) -> Step:
    """The call never left this machine: nothing is held, and the same request id may try again."""
    return Step(
        operation=operation.id,
        change=Change(state=State.RELEASED, reason=told.reason, message=told.detail),
        bank_day=today,
        void=tuple(pending),
        expects=frozenset({State.RESERVED}),
        cards=(CardChange(card_id=UUID(stored.ask.card_id), state=CardState.UNSENT),)
        if isinstance(stored.ask, CardAsk) and stored.ask.does == "check"
        else (),
    )


def _card_changes(stored: Stored, told: Told) -> tuple[CardChange, ...]:
    if not isinstance(stored.ask, CardAsk):
        return ()
    change = change_of(stored.ask, told.word, told.code, told.card)
    return () if change is None else (change,)


def _as_refused(one: Told) -> Told:
    return dataclasses.replace(one, word=Word.REFUSED) if one.word is Word.NOT_FOUND else one


def _pause_s(words: set[Word], settings: ResolverSettings) -> float:
    if Word.AGAIN in words:
        return settings.send_again_interval_s
    if Word.SILENT in words:
        return settings.silent_interval_s
    return settings.not_found_interval_s if Word.NOT_FOUND in words else settings.in_process_interval_s

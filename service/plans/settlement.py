"""What an answer of the bank does to an operation: pure functions from results to steps.

The first answer to a call and every later answer to a question end here, so that a payment is settled in the same way
whether its process lived, died or timed out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date

from bankclient import Evidence
from ledger import Change, Draft, Operation, State, Step
from ledger.names import NO_BANK_SERIAL
from service.plans.plan import Stored
from service.questions.results import BankResult, Verdict
from service.recorded import SEND_AGAIN
from service.settings import ResolverSettings


def settle(
    operation: Operation,
    stored: Stored,
    pending: Sequence[int],
    results: Sequence[BankResult],
    today: date,
    settings: ResolverSettings,
    *,
    by_query: bool,
    due_in_s: float = 0.0,
    took_s: float = 0.0,
) -> Step:
    """The step that the bank's results ask for.

    ``pending`` are the operation's open parts in order; ``results`` has one entry a part, or one for all of them.
    ``by_query`` is False for the answer to the call itself. ``due_in_s`` says how much too early the query was sent,
    by the clock that wrote when it was due: above 0 neither a "no such record" nor a try counts, and the next question
    comes when it was to come. ``took_s`` of that time has gone by since.
    """
    tries, results = _counted(operation, results, settings, by_query=by_query, is_due=due_in_s <= 0)
    verdicts = {one.verdict for one in results}
    each = list(results) * len(pending) if len(results) == 1 else list(results)
    serials = results[0].serials_of(len(pending)) if len(results) == 1 else [one.bank_serial for one in results]
    drafts = stored.then if operation.state is State.ACCEPTED else stored.drafts

    last = results[-1]
    bank_day = next((one.bank_day for one in results if one.bank_day), today)
    by_verdict: dict[Verdict, dict[int, Draft]] = {}
    for number, draft, one, serial in zip(pending, drafts, each, serials, strict=True):
        booked = one.booked or draft
        by_verdict.setdefault(one.verdict, {})[number] = dataclasses.replace(booked, bank_serial=serial)

    # What proves nothing of this operation names no booking of it either: that may be another one's.
    named = [
        serial
        for one in results
        if one.verdict is not Verdict.INCONCLUSIVE
        for serial in (one.bank_serial, *one.bank_serials)
        if serial
    ]

    def change(state: State, next_ask_in_s: float | None = None) -> Change:
        return Change(
            state=state,
            reason=SEND_AGAIN if Verdict.AGAIN in verdicts else last.reason,
            message=last.detail,
            bank_code=last.code,
            bank_message=last.message,
            bank_serial=next(iter(named), NO_BANK_SERIAL),
            bank_serials=tuple(named),
            evidence=Evidence.of_all(one.evidence for one in results),
            next_ask_in_s=next_ask_in_s,
            query_attempts=operation.query_attempts + by_query,
            not_found=tries,
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
        cards=stored.query.card_changes(last),
    )
    if verdicts <= {Verdict.DONE, Verdict.REFUSED}:
        done, refused = by_verdict.get(Verdict.DONE, {}), by_verdict.get(Verdict.REFUSED, {})
        if Verdict.DONE in verdicts:
            # A call that ended before it was known to be accepted goes through both movements at once.
            then = (dataclasses.replace(draft, bank_serial=last.bank_serial) for draft in stored.then)
            enter = tuple(then) if operation.state is not State.ACCEPTED else ()
            return dataclasses.replace(step, post=done, void=tuple(refused), enter=enter)
        undo = stored.undo if operation.state is State.ACCEPTED else ()
        return dataclasses.replace(step, change=change(State.REFUSED), void=tuple(refused), enter=undo, members=())
    if verdicts == {Verdict.ACCEPTED} and stored.then and operation.state is not State.ACCEPTED:
        return dataclasses.replace(
            step,
            change=change(State.ACCEPTED, settings.ask_after_s),
            post=by_verdict.get(Verdict.ACCEPTED, {}),
            pend=stored.then,
        )
    state = State.ACCEPTED if operation.state is State.ACCEPTED else State.UNKNOWN
    pause_s = _pause_s(verdicts, settings)
    if due_in_s > 0:
        pause_s = min(pause_s, max(due_in_s - took_s, 0.0))
    return dataclasses.replace(step, change=change(state, pause_s), members=(), cards=())


def mark_unknown(operation: Operation, result: BankResult, today: date, settings: ResolverSettings) -> Step:
    """The answer was lost or proves nothing: keep the holds and ask later."""
    return Step(
        operation=operation.id,
        change=Change(
            state=State.UNKNOWN,
            reason=result.reason,
            message=result.detail,
            bank_code=result.code,
            bank_message=result.message,
            evidence=result.evidence,
            next_ask_in_s=settings.ask_after_s,
        ),
        bank_day=today,
        expects=frozenset({State.RESERVED}),
    )


def release(operation: Operation, stored: Stored, pending: Sequence[int], result: BankResult, today: date) -> Step:
    """The call never left this machine: nothing is held, and the same request id may try again."""
    return Step(
        operation=operation.id,
        change=Change(state=State.RELEASED, reason=result.reason, message=result.detail),
        bank_day=today,
        void=tuple(pending),
        expects=frozenset({State.RESERVED}),
        cards=stored.query.unsent_cards(),
    )


def _counted(
    operation: Operation, results: Sequence[BankResult], settings: ResolverSettings, *, by_query: bool, is_due: bool
) -> tuple[int, Sequence[BankResult]]:
    """How many tries in a row count, this one included: answers "no such record" (ERR020), or calls that were sent
    again. After enough of the former the bank did nothing, and the results are refusals.
    """
    verdicts = {one.verdict for one in results}
    # Tries of a call that is sent again are counted until 6110 is asked instead.
    is_other_question = operation.reason == SEND_AGAIN and Verdict.AGAIN not in verdicts
    tries = 0 if is_other_question else operation.not_found
    if Verdict.ACCEPTED in verdicts:
        return 0, results
    if Verdict.NOT_FOUND in verdicts and operation.state is not State.ACCEPTED:
        # A round with a question that failed proves nothing about that part.
        tries += is_due and Verdict.INCONCLUSIVE not in verdicts
        return tries, [_as_refused(one) for one in results] if tries >= settings.not_found_times else results
    if Verdict.AGAIN in verdicts:
        tries += by_query and is_due
    return tries, results


def _as_refused(one: BankResult) -> BankResult:
    return dataclasses.replace(one, verdict=Verdict.REFUSED) if one.verdict is Verdict.NOT_FOUND else one


def _pause_s(verdicts: set[Verdict], settings: ResolverSettings) -> float:
    if Verdict.AGAIN in verdicts:
        return settings.send_again_interval_s
    if Verdict.INCONCLUSIVE in verdicts:
        return settings.silent_interval_s
    return settings.not_found_interval_s if Verdict.NOT_FOUND in verdicts else settings.in_process_interval_s

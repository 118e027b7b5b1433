"""The service broken on purpose, in its own process: each mutant is a mistake to be made, and some seed sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

from bankclient import Answer
from ledger import Operation, State, Step, StepOutcome, writer
from ledger.accounts import FEE
from ledger.batch import Known, Rows, judge
from ledger.rules import Book, Leg
from service.inflows import withdrawable
from service.path import resolver, runner
from service.path.admission import Permit
from service.plans import payments
from service.plans.plan import Plan, Stored
from service.plans.settlement import settle
from service.questions import query
from service.questions.query import first_verdict
from service.questions.results import Verdict


def drop_hold_on_unknown() -> None:
    """An answer that was lost lets go what was held, and what the bank says later is posted all the same."""
    step_called = runner.Runner._step_called

    async def released(
        self: runner.Runner, operation: Operation, plan: Plan, pended: Sequence[int], permit: Permit
    ) -> Step:
        step = await step_called(self, operation, plan, pended, permit)
        return dataclasses.replace(step, void=tuple(pended)) if step.change.state is State.UNKNOWN else step

    def settled(operation: Operation, stored: Stored, pending: Sequence[int], *given: Any, **named: Any) -> Step:
        if pending:
            return settle(operation, stored, pending, *given, **named)
        step = settle(operation, stored, range(1, 1 + len(stored.drafts)), *given, **named)
        return dataclasses.replace(step, enter=(*step.enter, *step.post.values()), post={}, void=())

    patch.object(runner.Runner, "_step_called", released).start()
    patch.object(resolver, "settle", settled).start()


def post_twice() -> None:
    """What the bank has done is posted, and posted once more."""

    def mutated(*given: Any, **named: Any) -> Step:
        step = settle(*given, **named)
        return dataclasses.replace(step, enter=(*step.enter, *step.post.values()))

    patch.object(runner, "settle", mutated).start()
    patch.object(resolver, "settle", mutated).start()


def forget_fee_leg() -> None:
    """A payment's fee stays with its payer."""
    paid = payments.paid

    def mutated(*given: Any) -> tuple[Leg, ...]:
        return tuple(leg for leg in paid(*given) if leg.credit != FEE)

    patch.object(payments, "paid", mutated).start()


def settle_before_the_end() -> None:
    """A withdrawal counts as done as soon as the bank has accepted it (6033)."""

    def mutated(answer: Answer[Any], *, is_final: bool, may_send_again: bool = False) -> Verdict:
        return first_verdict(answer, is_final=True, may_send_again=may_send_again)

    patch.object(query, "first_verdict", mutated).start()


def settle_without_terminal_check() -> None:
    """An operation that is done is settled again when the same words come again."""

    def mutated(book: Book, known: Known, step: Step, rows: Rows) -> StepOutcome:
        operation = known.by_id.get(step.operation) if isinstance(step.operation, UUID) else None
        if operation is not None and operation.state is State.DONE and step.post:
            step = dataclasses.replace(
                step, enter=(*step.enter, *step.post.values()), post={}, expects=frozenset(State)
            )
        return judge(book, known, step, rows)

    patch.object(writer, "judge", mutated).start()


def forget_late_payments() -> None:
    """What members spent between the bank's clearing and ours stays as the mirror took it."""

    async def mutated(*_: Any) -> bool:
        return True

    patch.object(withdrawable.Withdrawable, "follow", mutated).start()


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "drop-hold-on-unknown": drop_hold_on_unknown,
    "post-twice": post_twice,
    "forget-fee-leg": forget_fee_leg,
    "settle-before-the-end": settle_before_the_end,
    "settle-without-terminal-check": settle_without_terminal_check,
    "forget-late-payments": forget_late_payments,
}

"""The one path of a money call: reserve, call, settle. What stays open goes to the resolver.

Promises: nothing is sent before its reservation is committed; no database transaction is open during the call; once
sent, a call is settled even when its caller is gone. One request id acts once: the same content gets the same
answer for ever, other content is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import UUID

import uuid_utils
from google.protobuf.message import Message
from pydantic import ValidationError

from bankclient import BankClient, BankUnavailable, ServiceIdMissing
from jzb.v1 import core_pb2
from jzb.v1.verification_pb2 import Verification
from ledger import (
    Account,
    Change,
    FloorBroken,
    Kind,
    LedgerBehind,
    LedgerError,
    LedgerUnavailable,
    NewOperation,
    Operation,
    Part,
    Reads,
    ReopeningUnproved,
    RequestIdReused,
    SerialNumbers,
    State,
    Step,
    StepOutcome,
    Writer,
)
from ledger.names import Serial, SubAccount
from service import policy, problems, telemetry, view
from service.bankday import bank_today
from service.inflows.clearing import Clearing
from service.path import deadline, details, rights
from service.path.admission import Admission, Permit
from service.path.fingerprint import Fingerprint
from service.path.parties import Parties
from service.path.proposals import Proposing, is_asked
from service.path.repeats import Repeats
from service.plans.plan import Movement, Plan, Serials
from service.plans.settlement import mark_unknown, release, settle
from service.plans.verification import mode_of
from service.policy import Rights
from service.problems import Problem
from service.questions.results import BankResult, Verdict
from service.recorded import APPROVAL, SERVICE_FAULT, STILL_NEEDED, STOPPED
from service.settings import Settings
from service.telemetry import events

MARK_S = 2.0
"""How long a process that stops takes to mark the calls that it leaves."""

BROKEN = BankResult(Verdict.INCONCLUSIVE, reason=SERVICE_FAULT, detail="the service met an error that nobody foresaw")

LEFT = BankResult(Verdict.INCONCLUSIVE, reason=STOPPED, detail="the service stopped before the bank had answered")


class Settled:
    """An operation with its parts, as the caller gets it."""

    def __init__(self, operation: Operation, parts: Sequence[Part]) -> None:
        self.operation = operation
        self.parts = parts

    @property
    def message(self) -> core_pb2.Operation:
        """The same in the contract's words."""
        return view.operation(self.operation, self.parts)


MakePlan: TypeAlias = Callable[[Serials], Awaitable[Movement]]

_Ended: TypeAlias = Settled | Problem | Operation
"""How a call's task ends: settled, refused, or with the operation that its request id has begun before."""


class Runner:
    """Takes any plan. One instance a process."""

    def __init__(
        self,
        writer: Writer,
        reads: Reads,
        bank: BankClient,
        numbers: SerialNumbers,
        admission: Admission,
        clearing: Clearing,
        repeats: Repeats,
        proposing: Proposing,
        settings: Settings,
    ) -> None:
        self._writer = writer
        self._proposing = proposing
        self._clearing = clearing
        self._reads = reads
        self._repeats = repeats
        self._bank = bank
        self._numbers = numbers
        self._admission = admission
        self._settings = settings
        self._parties = Parties(reads, settings)
        self._calls: set[asyncio.Task[_Ended]] = set()
        self._under_way: dict[UUID, asyncio.Task[_Ended]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Runner]:
        """Carry calls out for the life of the block; `drain` before its end, or what is under way is waited for."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield self
            finally:
                self._tasks = None

    async def drain(self, within_s: float) -> None:
        """Let in no more calls and wait for those under way; what is unfinished then is marked as in doubt.

        Takes ``within_s`` and `MARK_S` at most. What could not even be marked is an orphan, as after a crash.
        """
        self._admission.close()
        if await self._admission.calls.wait_idle(within_s):
            return
        self._tasks = None
        events.STOPPED_EARLY.log(calls=len(self._calls))
        for task in self._calls:
            task.cancel()
        if not await self._admission.calls.wait_idle(MARK_S):
            for task in self._calls:
                task.cancel()

    async def carry_out(self, request: Message, make_plan: MakePlan, *, rows: int = 0) -> core_pb2.Operation:
        """`run`, for a response that has the operation and no more of it."""
        return (await self.run(request, make_plan, rows=rows)).message

    async def run(self, request: Message, make_plan: MakePlan, *, rows: int = 0) -> Settled:
        """Carry out one request, or only judge it (validate_only), or give again the answer it had.

        ``rows`` is how many row serials the plan needs. Raises `Problem`.
        """
        try:
            return await self._run(request, make_plan, rows)
        except Problem as problem:
            raise await self._named(problem) from problem

    async def _naming_owner(self, problem: Problem, taken: Account) -> Problem:
        """The same error with the operation that has what the request wanted: an order number, or the member."""
        if taken.kind is not Kind.STANDING:
            return problems.used_by(problem, rights.if_seen(await self._reads.used_by(taken)))
        found = await self._reads.members_by_sub_account([taken.owner])
        member_id = found[taken.owner].member_id
        closing = await self._reads.used_by(taken, payer=member_id)
        return problems.used_by(problems.of_member(problem, member_id), rights.if_seen(closing))

    async def _run(self, request: Message, make_plan: MakePlan, rows: int) -> Settled:
        content = self._repeats.fingerprint(request)
        try:
            return await self._first_time(request, content, make_plan, rows)
        except Problem as refused:
            problem = refused
        except BankUnavailable as away:
            problem = problems.bank_unavailable(str(away))
        except ValidationError as wrong:
            problem = problems.unsendable(wrong)
        if problem.in_doubt:
            raise problem
        problem = await self._repeats.decide(problem, request)
        earlier = problem.operation
        if problem.looked_up is not None and earlier is not None and earlier.state is not State.RELEASED:
            # What stands in the way today is no matter to a request that was acted on before. One whose call never
            # left would be tried again, and that is what stands in the way of.
            return await self._again(earlier, content)
        raise problem

    async def _named(self, problem: Problem) -> Problem:
        """The same error, with the names that its caller knows things by."""
        if problem.taken is not None:
            return await self._naming_owner(problem, problem.taken)
        sub_account = SubAccount(problem.metadata.get("sub_account", ""))
        if sub_account and "member_id" not in problem.metadata:
            owners = await self._reads.members_by_sub_account([sub_account])
            return problems.short_of(problem, owners.get(sub_account))
        return problem

    async def _first_time(self, request: Message, content: Fingerprint, make_plan: MakePlan, rows: int) -> Settled:
        self._admit_mode(request)
        if getattr(request, "validate_only", False):
            plan, serial = await self._planned(request, make_plan, rows)
            if rights.needs_another(policy.present(), plan, request) and not is_asked(request):
                raise await self._proposing.answer(request, plan, content)
            return await self._checked(self._opening(request, content, plan, serial), content)
        began_s = time.perf_counter()
        with self._admission.admit() as permit:
            plan, serial = await self._planned(request, make_plan, rows)
            if self._is_proposed(plan, request):
                return await self._proposed(request, content, plan)
            if isinstance(plan, Plan):
                permit.use_for(plan.message.code)
                await self._bank.ready()
            deadline.require()
            telemetry.step_took("admission", began_s)
            task = self._begin(self._opening(request, content, plan, serial), content, plan, permit)
        ended = await asyncio.shield(task)
        return await self._again(ended, content) if isinstance(ended, Operation) else _or_problem(ended)

    def _is_proposed(self, plan: Movement, request: Message) -> bool:
        """Whether it waits for another identity: because its caller asks for that, or because that is wanted."""
        allowed = policy.present()
        return allowed.approved is None and (is_asked(request) or rights.needs_another(allowed, plan, request))

    async def _proposed(self, request: Message, content: Fingerprint, plan: Movement) -> Settled:
        """The answer that its operation has, once it has one. Raises `Problem`: until then it is a proposal."""
        earlier = await self._repeats.earlier(request)
        if earlier is not None and earlier.state is not State.RELEASED:
            return await self._again(earlier, content)
        raise await self._proposing.answer(request, plan, content)

    async def _planned(self, request: Message, make_plan: MakePlan, rows: int) -> tuple[Movement, Serial]:
        numbers = [await self._numbers.next() for _ in range(1 + rows)]
        serials = Serials.make(self._settings.bank.uid, bank_today(), numbers)
        plan = await make_plan(serials)
        plan = rights.required(policy.present(), plan, request, bank_today())
        if isinstance(plan, Plan):
            self._admit_interface(plan)
        deadline.require()
        return plan, serials.own

    def _admit_mode(self, request: Message) -> None:
        verification: Verification | None = getattr(request, "verification", None)
        if verification is None:
            return
        mode, enabled = mode_of(verification), self._settings.rules.verification
        if mode not in enabled:
            raise problems.not_enabled(
                f"verification {mode}",
                f"verification: {mode} is not switched on for this platform, which has {', '.join(enabled)}",
                "JZB_RULES__VERIFICATION",
            )

    def _admit_interface(self, plan: Plan) -> None:
        try:
            self._bank.service_id(type(plan.message))
        except ServiceIdMissing as missing:
            code = plan.message.code
            raise problems.not_enabled(code, str(missing), f'JZB_BANK__SERVICE_IDS (key "{code}")') from None

    def _opening(self, request: Message, content: Fingerprint, plan: Movement, serial: Serial) -> Step:
        allowed = policy.present()
        step = Step(
            operation=NewOperation(
                id=UUID(bytes=uuid_utils.uuid7().bytes),
                request_id=allowed.stored(request.request_id),  # type: ignore[attr-defined]  # as all of money have
                fingerprint=content.digest,
                kind=plan.kind,
                serial=serial,
                plan={
                    **plan.to_json(),
                    **details.kept(request),
                    **_approval(allowed),
                    "trace": telemetry.carrier(),
                },
                payer=plan.payer,
                payee=plan.payee,
                order_no=plan.order_no,
                amount_fen=plan.amount_fen,
                fee_fen=plan.fee_fen,
                trace_id=telemetry.trace_id(),
                found_by=(*plan.found_by, *details.names(request)),
                caller=allowed.caller,
                person=allowed.person,
            ),
            change=Change(state=State.DONE),
            bank_day=plan.bank_day or bank_today(),
            needs=plan.needs,
            caps=rights.caps(allowed, plan),
            adjusts=plan.adjusts,
            not_after_s=deadline.not_after_s(),
        )
        if not isinstance(plan, Plan):
            return replace(step, enter=plan.drafts)
        return replace(
            step,
            change=Change(state=State.RESERVED, next_ask_in_s=self._settings.resolver.orphan_after_s),
            pend=plan.drafts,
            cards_new=() if plan.card is None else (plan.card,),
        )

    async def _checked(self, step: Step, content: Fingerprint) -> Settled:
        judged = await self._reserve(replace(step, check_only=True), content)
        operation = judged.operation
        if operation.id == step.operation_id:
            return Settled(operation._replace(id=view.NOT_RECORDED), judged.parts)
        return Settled(*(await self._reads.full_operations([operation.id]))[operation.id])

    async def _reserve(self, step: Step, content: Fingerprint) -> StepOutcome:
        """Raises `Problem`: then nothing was reserved."""
        with telemetry.below("reserve") as span:
            try:
                began_s = time.perf_counter()
                reserved = await self._submit_new(step, content)
                telemetry.step_took("reserve", began_s)
            except LedgerError as error:
                if isinstance(error, FloorBroken):
                    assert isinstance(step.operation, NewOperation)
                    telemetry.count_outcome(step.operation.kind, State.REFUSED)
                if isinstance(error, LedgerBehind):
                    events.BOOKS_BEHIND.log(why=str(error))
                raise problems.of_ledger(error) from None
            span.set_attribute("jzb.operation_id", str(reserved.operation.id))
            span.set_attribute("jzb.serial", reserved.operation.serial)
        return reserved

    async def _submit_new(self, step: Step, content: Fingerprint) -> StepOutcome:
        try:
            return await self._submit_proved(step)
        except RequestIdReused as other:
            self._repeats.require_same(other.operation, content)
            recorded = other.operation.fingerprint
        # Recorded under an older key: the ledger compares bytes, and is given those that it has.
        assert isinstance(step.operation, NewOperation)
        return await self._submit_proved(replace(step, operation=replace(step.operation, fingerprint=recorded)))

    async def _submit_proved(self, step: Step) -> StepOutcome:
        try:
            return await self._clearing.submit(step)
        except ReopeningUnproved as unproved:
            released = unproved.operation
        operation, parts = (await self._reads.full_operations([released.id]))[released.id]
        if operation.state is not State.RELEASED:
            # It has gone on since, or somebody has only written that it was released: the bank may have acted.
            return StepOutcome(operation, False, parts)
        return await self._clearing.submit(replace(step, reopens=released.id))

    def _begin(self, step: Step, content: Fingerprint, plan: Movement, permit: Permit) -> asyncio.Task[_Ended]:
        if self._tasks is None:
            raise problems.stopping()
        # A task of its own: a caller who gives up must not stop a payment between reserve and settle.
        task = self._tasks.create_task(self._reserve_and_carry(step, content, plan, permit), name=plan.kind)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        permit.hand_over(task)
        return task

    async def _reserve_and_carry(self, step: Step, content: Fingerprint, plan: Movement, permit: Permit) -> _Ended:
        """The whole call, but for its plan. Raises nothing: an error would end all other calls with this one."""
        try:
            reserved = await self._reserve(step, content)
        except Problem as problem:
            return problem
        except Exception:
            return await self._mark_unforeseen(step.operation_id)
        events.about(reserved.operation)
        # Thousands may wait for the bank: what only the reservation needed is not kept until then.
        del step, content
        operation = reserved.operation
        if not reserved.did:
            return operation
        if not isinstance(plan, Plan):
            telemetry.count_outcome(plan.kind, operation.state)
            return Settled(operation, reserved.parts)
        task = asyncio.current_task()
        assert task is not None
        self._under_way[operation.id] = task
        try:
            return await self._carry(operation, plan, reserved.pended, permit)
        finally:
            del self._under_way[operation.id]

    async def _carry(
        self, operation: Operation, plan: Plan, pended: Sequence[int], permit: Permit
    ) -> Settled | Problem:
        """Call the bank and settle; what it cannot finish stays for the resolver."""
        needed: Problem | None = None
        try:
            try:
                needed = await self._parties.needed_after_all(operation, plan)
                if needed is None:
                    step = await self._step_called(operation, plan, pended, permit)
                else:
                    still_needed = BankResult(Verdict.INCONCLUSIVE, reason=STILL_NEEDED, detail=needed.message)
                    step = release(operation, plan.stored, pended, still_needed, bank_today())
            except asyncio.CancelledError:
                # By `drain` alone. Only what it marks is asked about soon, and not as late as an orphan.
                step = mark_unknown(operation, LEFT, bank_today(), self._settings.resolver)
            with telemetry.below("settle") as span:
                began_s = time.perf_counter()
                outcome = await self._writer.submit(step)
                telemetry.step_took("settle", began_s)
                span.set_attribute("jzb.state", outcome.operation.state.value)
        except (LedgerUnavailable, LedgerBehind) as error:
            events.LEFT_FOR_RESOLVER.log(why=events.why(error))
            if isinstance(error, LedgerBehind):
                events.BOOKS_BEHIND.log(why=str(error))
            return replace(problems.of_ledger(error), operation=operation)
        except Exception:
            return await self._mark_unforeseen(operation.id)
        telemetry.count_outcome(plan.kind, outcome.operation.state)
        if needed is not None:
            return replace(needed, operation=outcome.operation, parts=outcome.parts)
        return Settled(outcome.operation, outcome.parts)

    async def _mark_unforeseen(self, operation_id: UUID) -> Problem:
        """After an error that nobody foresaw: log it, and mark the operation at once, so that the bank is asked soon
        and not as late as about an orphan.
        """
        events.UNFORESEEN.log(operation_id=str(operation_id))
        try:
            operation = await self._reads.operation(operation_id=operation_id)
            if operation is None:
                return problems.service_fault()
            marked = await self._writer.submit(mark_unknown(operation, BROKEN, bank_today(), self._settings.resolver))
        except Exception as error:
            events.NOT_MARKED.log(operation_id=str(operation_id), why=type(error).__name__)
            return problems.service_fault()
        return problems.of_operation(marked.operation, marked.parts) or problems.service_fault()

    async def _step_called(self, operation: Operation, plan: Plan, pended: Sequence[int], permit: Permit) -> Step:
        began_s = time.perf_counter()
        first = await plan.query.call(
            self._bank, self._reads, operation.serial, plan.message, plan.drafts, is_final=not plan.then
        )
        telemetry.step_took("bank", began_s)
        permit.answered = first.answered
        today, resolver = bank_today(), self._settings.resolver
        if (inconclusive := first.inconclusive) is None:
            return settle(operation, plan.stored, pended, first.results, today, resolver, by_query=False)
        if first.may_have_acted:
            return mark_unknown(operation, inconclusive, today, resolver)
        return release(operation, plan.stored, pended, inconclusive, today)

    async def _again(self, earlier: Operation, content: Fingerprint) -> Settled:
        """The answer that this request id has had, or will have when its first call has come back."""
        self._repeats.require_same(earlier, content)
        task = self._under_way.get(earlier.id)
        if task is not None:
            ended = await asyncio.shield(task)
            if isinstance(ended, Settled):
                return _or_problem(ended)
        while True:
            found, parts = (await self._reads.full_operations([earlier.id]))[earlier.id]
            if found.state is not State.RESERVED:
                return _or_problem(Settled(found, parts))
            # Another process has the call in its hands; the caller's own deadline bounds this wait.
            await asyncio.sleep(0.1)


def _approval(allowed: Rights) -> dict[str, Any]:
    """What the plan keeps of who has approved it: sealed with it, as the caller's own name is with the operation."""
    one = allowed.approved
    if one is None:
        return {}
    return {APPROVAL: {"proposal": str(one.proposal_id), "caller": one.caller, "person": one.person}}


def _or_problem(ended: Settled | Problem) -> Settled:
    if isinstance(ended, Problem):
        raise ended
    problem = problems.of_operation(ended.operation, ended.parts)
    if problem is not None:
        raise problem
    return ended

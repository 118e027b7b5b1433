"""Callers as they are: patient, hurried, gone before the answer, two at once; and what they were told.

A caller that does not know repeats its request id a few times, then gives up. Nothing in here judges an answer but
what only the caller can see; the rest is the checker's.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from jzb.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    clearing_pb2,
    clearing_pb2_grpc,
    core_pb2,
    verification_pb2,
    verification_pb2_grpc,
)
from jzb.v1.names import ErrorReason
from sandbox.records import SmsCode
from simulate.market import BUYERS, MERCHANTS, Call, Cast, Effect, Market
from simulate.schedule import IN_PART, PROOFS, Action, ActionKind, Manner
from simulate.site import Stage

PATIENCE_S: Final = 4.0
TRIES: Final = 5
NEVER: Final = float("inf")
HURRIED: Final = 0.3
"""This share of the calls are repeated once more when their answer is there, with hardly any time left."""
REPEATS_MAX: Final = 8


class CallerVerdict(StrEnum):
    """What an answer says of the money."""

    DONE = "done"
    ACCEPTED = "accepted"
    NO_EFFECT = "no effect"
    UNKNOWN = "unknown"
    CHECKED = "checked"
    SILENT = "no answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told of a request id. ``ended_s`` is `NEVER` when it left before: its call may still act."""

    request_id: str
    what: str
    verdict: CallerVerdict
    began_s: float
    ended_s: float
    code: str = "OK"
    reason: str = ""
    operation_id: str = ""
    amount_fen: int = 0


@dataclass(slots=True)
class CallRecord:
    """What went out under a request id. ``effect`` is what it moves when it is done."""

    what: str
    effect: Effect
    checks_only: bool = False
    """Never asked to be done."""
    clashes: bool = False
    """Another content came under the same id."""
    call: Call | None = None
    part: Effect | None = None
    """What it moves when the bank does its first row alone, where that is played."""


class Callers:
    """All callers of one stage."""

    def __init__(self, stage: Stage, seed: int, insist_s: float) -> None:
        """``insist_s`` is for how long they ask for what nobody can do without."""
        self._stage = stage
        self._seed = seed
        self._insist_s = insist_s
        self.market = Market(stage.sandbox.bank)
        self.records: dict[str, CallRecord] = {}
        self.answers: list[Answer] = []
        self.wrong: list[str] = []
        self.did: Counter[str] = Counter()
        """What was answered DONE, by kind."""
        self.repeats: Counter[str] = Counter()
        """Repeats of what has had its answer, by how they came."""
        self.proofs: dict[str, str] = {}
        """How the payer has authorised a request, by request id."""
        self._done: set[str] = set()

    async def open_market(self) -> None:
        """Members with money."""
        await asyncio.gather(*(self._insist(call, "open member") for call in self.market.members(f"{self._seed}")))
        await asyncio.gather(*(self._insist(call, "first money") for call in self.market.funds(f"{self._seed}")))

    async def run(self, number: int, actions: Sequence[Action]) -> None:
        """One caller's day."""
        for count, action in enumerate(actions):
            await asyncio.sleep(action.pause_s)
            await self._act(action, f"{self._seed}-{number}-{count}")

    async def play(self, actions: Sequence[Action], name: str, cast: Cast) -> None:
        """One call after the other, each by the same two."""
        for count, action in enumerate(actions):
            await self._act(action, f"{self._seed}-{name}-{count}", cast)

    async def _act(self, action: Action, request_id: str, cast: Cast | None = None) -> None:
        dice = Random(action.dice)
        match action.kind:
            case ActionKind.LOOK:
                await self._look(dice)
            case ActionKind.CLEAR_DAYS:
                await self.clear_days(request_id)
            case ActionKind.TRANSFER_IN:
                self.market.transfer_in(request_id, dice)
            case _:
                call = self.market.call(action.kind, request_id, dice, action.remark, cast)
                if call is not None and cast is not None:
                    call = await self._proven(call, PROOFS[action.dice % len(PROOFS)])
                if call is not None:
                    await self._ask(call, action, dice)

    async def _proven(self, call: Call, mode: str) -> Call:
        """The call, authorised by its payer: with a code that the bank has texted, or its password page's signature."""
        if mode == "none" or "verification" not in call.request.DESCRIPTOR.fields_by_name:
            return call
        bank, purposes = self._stage.sandbox.bank, verification_pb2.SmsPurpose
        if mode == "password":
            signature = bank.type_password(self.market.sub_account(call.payer))
            proof = verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature=signature))
        else:
            is_withdrawal = call.method == "Withdraw"
            request = verification_pb2.RequestSmsCodeRequest(
                purpose=purposes.SMS_PURPOSE_WITHDRAWAL if is_withdrawal else purposes.SMS_PURPOSE_PAYMENT,
                member_id=call.payer,
                amount_fen=1,
                payee_member_id=call.payee,
            )
            order_no = await self._texted(request)
            if order_no is None:
                return call
            texted = bank.store.get(SmsCode, order_no)
            assert texted is not None
            proof = verification_pb2.Verification(
                sms=verification_pb2.SmsVerification(message_order_no=order_no, code=texted.code)
            )
        self.proofs[call.request_id] = mode
        return call.proven(proof)

    async def _texted(self, request: verification_pb2.RequestSmsCodeRequest) -> str | None:
        """The number of a code that the bank has texted; a bank too slow to answer is asked again."""
        stub = verification_pb2_grpc.VerificationServiceStub(self._stage.services[0].channel)
        told = ""
        for count in range(TRIES):
            await asyncio.sleep(0.1 * count)
            try:
                return (await stub.RequestSmsCode(request, timeout=PATIENCE_S)).message_order_no
            except grpc.aio.AioRpcError as error:
                told = error.details() or error.code().name
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    break
        self.wrong.append(f"no code was texted to {request.member_id}: {told}")
        return None

    async def _ask(self, call: Call, action: Action, dice: Random) -> None:
        what = str(action.kind)
        asked = self.records[call.request_id] = CallRecord(what, call.effect, call=call)
        if set(IN_PART) <= set(action.faults):
            asked.part = call.part
        service, names = dice.randrange(len(self._stage.services)), call.request.DESCRIPTOR.fields_by_name
        match action.manner:
            case Manner.CHECK_ONLY if "validate_only" in names:
                asked.checks_only = True
                await self._try(call, what, service, call.with_other(validate_only=True))
                return
            case Manner.CLASH if "remark" in names:
                asked.clashes = True
                other = call.with_other(remark=f"rq:{call.request_id} x {action.remark}"[:60])
                answer, _ = await asyncio.gather(
                    self._try(call, what, service), self._try(call, what, service + 1, other)
                )
            case Manner.TWICE:
                answer, _ = await asyncio.gather(self._try(call, what, service), self._try(call, what, service + 1))
            case Manner.SHORT:
                answer = await self._try(call, what, service, deadline_s=action.wait_s)
            case Manner.GONE:
                answer = await self._try(call, what, service, gone_s=action.wait_s)
            case _:
                answer = await self._try(call, what, service)
        for count in range(1, TRIES):
            if not _is_worth_a_repeat(answer):
                await self._hurry(call, what, service)
                return
            await asyncio.sleep(0.1 * count)
            answer = await self._try(call, what, service + count)

    async def _hurry(self, call: Call, what: str, service: int) -> None:
        # Of dice of their own: the market of a seed is the same with repeats and without.
        dice = Random(f"hurried {call.request_id}")
        if dice.random() < HURRIED:
            answer = await self._try(call, what, service, deadline_s=dice.uniform(0.02, 0.35))
            self.repeats[f"with a short deadline, told {answer.verdict}"] += 1

    async def repeat_at(self, service: int, for_s: float) -> None:
        """Repeat what is done at a service that stops, for as long as it answers."""
        ends_s = time.monotonic() + for_s
        done = [self.records[request_id] for request_id in sorted(self._done) if request_id in self.records]
        calls = [asked.call for asked in done if asked.call is not None and not asked.clashes]

        async def repeat(call: Call) -> None:
            while time.monotonic() < ends_s:
                answer = await self._try(call, self.records[call.request_id].what, service)
                self.repeats[f"while the service stops, told {answer.verdict}"] += 1
                await asyncio.sleep(0.02)

        await asyncio.gather(*(repeat(call) for call in calls[-REPEATS_MAX:]))

    async def record_orders(self) -> None:
        """What the bank has collected has to be entered; one that was refused once is asked for under a new id."""
        for order_no, call in list(self.market.unrecorded.items()):
            self.records[call.request_id] = CallRecord("record order", call.effect, call=call)
            answer = await self._until_answered(call, "record order")
            if answer.verdict is CallerVerdict.NO_EFFECT and answer.reason != ErrorReason.ACQUIRED_ORDER_RECORDED:
                again = f"{call.request_id}-again"
                other = Call(call.stub, call.method, call.with_other(request_id=again), call.effect, call.learn)
                await self._insist(other, "record order")
            self.market.unrecorded.pop(order_no, None)

    async def repeat_all(self, ended: Mapping[str, str]) -> None:
        """Ask once more for all that has ended, given as states by request id: the answer is the same for ever."""
        for request_id, asked in self.records.items():
            state = ended.get(request_id)
            if asked.call is None or asked.checks_only or state not in ("done", "refused"):
                continue
            answer = await self._until_answered(asked.call, asked.what)
            is_same = answer.verdict is (CallerVerdict.DONE if state == "done" else CallerVerdict.NO_EFFECT)
            if not is_same and not (asked.clashes and answer.reason == ErrorReason.REQUEST_ID_REUSED):
                self.wrong.append(f"{asked.what} {request_id} is {state}, and a repetition was told {answer}")

    async def look_at_all(self, sub_accounts: Mapping[str, Any]) -> None:
        """Every balance is answered as the bank has it; ``sub_accounts`` are the bank's books."""
        names = {"available_fen": "available", "withdrawable_fen": "withdrawable"}
        names |= {"frozen_fen": "frozen", "escrow_fen": "escrow"}
        stub = balance_pb2_grpc.BalanceServiceStub(self._stage.services[0].channel)
        for theirs in sub_accounts.values():
            request = balance_pb2.GetBalanceRequest(member_id=theirs["member"])
            try:
                seen = (await stub.GetBalance(request, timeout=PATIENCE_S, wait_for_ready=True)).balance
            except grpc.aio.AioRpcError as error:
                self.wrong.append(f"the balance of {theirs['member']} could not be read: {error.details()}")
                continue
            for ours, name in names.items():
                if getattr(seen, ours) != theirs[name]:
                    told, there = getattr(seen, ours), theirs[name]
                    self.wrong.append(f"GetBalance says {told} fen {name} of {theirs['member']}, the bank {there}")

    async def _insist(self, call: Call, what: str) -> None:
        self.records[call.request_id] = CallRecord(what, call.effect, call=call)
        answer = await self._until_answered(call, what)
        if answer.verdict is not CallerVerdict.DONE:
            self.wrong.append(f"{what} {call.request_id} is not done: {answer}")

    async def _until_answered(self, call: Call, what: str) -> Answer:
        """Ask until there is a final word, or for as long as anybody would."""
        ends_s = time.monotonic() + self._insist_s
        for count in itertools.count():
            answer = await self._try(call, what, count)
            is_final = not _is_worth_a_repeat(answer) and answer.verdict is not CallerVerdict.ACCEPTED
            if is_final or time.monotonic() > ends_s:
                return answer
            await asyncio.sleep(0.1)
        raise AssertionError

    async def _try(
        self,
        call: Call,
        what: str,
        service: int,
        request: Message | None = None,
        *,
        deadline_s: float = PATIENCE_S,
        gone_s: float | None = None,
    ) -> Answer:
        sent = request or call.request
        is_check = bool(getattr(sent, "validate_only", False))
        stub = call.stub(self._stage.services[service % len(self._stage.services)].channel)
        began_s = time.monotonic()
        asked = getattr(stub, call.method)(sent, timeout=deadline_s)
        if gone_s is not None:
            asyncio.get_running_loop().call_later(gone_s, asked.cancel)
        try:
            operation = (await asked).operation
        except grpc.aio.AioRpcError as error:
            answer = _told(error, call.request_id, what, began_s)
        except asyncio.CancelledError:
            if not asked.cancelled():
                raise
            answer = Answer(call.request_id, what, CallerVerdict.SILENT, began_s, NEVER, "CANCELLED")
        else:
            is_done = operation.state == core_pb2.OPERATION_STATE_DONE
            answer = Answer(
                call.request_id,
                what,
                CallerVerdict.CHECKED if is_check else CallerVerdict.DONE if is_done else CallerVerdict.ACCEPTED,
                began_s,
                time.monotonic(),
                operation_id=operation.operation_id,
                amount_fen=operation.amount_fen,
            )
            if is_done:
                self.did[what] += call.request_id not in self._done
                self._done.add(call.request_id)
                call.learn(operation)
        self.answers.append(answer)
        self._stage.note(f"{answer.what} {call.request_id}: {answer.verdict} {answer.reason}".rstrip())
        return answer

    async def clear_days(self, request_id: str) -> None:
        """Have past days cleared, as far as the bank has got; what is refused is refused."""
        service = self._stage.services[len(request_id) % len(self._stage.services)]
        stub = clearing_pb2_grpc.ClearingServiceStub(service.channel)
        try:
            listed = await stub.ListDays(clearing_pb2.ListDaysRequest(), timeout=PATIENCE_S)
            for day in listed.days:
                request = clearing_pb2.ClearDayRequest(request_id=f"{request_id}-{day.bank_day}", bank_day=day.bank_day)
                await stub.ClearDay(request, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError:
            return

    async def _look(self, dice: Random) -> None:
        member = dice.choice((*BUYERS, *MERCHANTS))
        service = dice.choice(self._stage.services)
        stub = balance_pb2_grpc.BalanceServiceStub(service.channel)
        try:
            seen = (await stub.GetBalance(balance_pb2.GetBalanceRequest(member_id=member), timeout=PATIENCE_S)).balance
        except grpc.aio.AioRpcError:
            return
        if (
            seen.available_fen != seen.withdrawable_fen + seen.uncleared_fen
            or min(seen.withdrawable_fen, seen.uncleared_fen) < 0
        ):
            self.wrong.append(f"a balance of {member} contradicts itself: {str(seen).split()}")


def _is_worth_a_repeat(answer: Answer) -> bool:
    if answer.verdict in (CallerVerdict.SILENT, CallerVerdict.UNKNOWN):
        return True
    return answer.verdict is CallerVerdict.NO_EFFECT and answer.code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


def _told(error: grpc.aio.AioRpcError, request_id: str, what: str, began_s: float) -> Answer:
    info, money = error_details_pb2.ErrorInfo(), core_pb2.MoneyError()
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(bytes(value)).details:
                for message in (info, money):
                    detail.Unpack(message)
    verdict = {core_pb2.OUTCOME_NO_EFFECT: CallerVerdict.NO_EFFECT, core_pb2.OUTCOME_DONE: CallerVerdict.DONE}.get(
        money.outcome, CallerVerdict.UNKNOWN
    )
    return Answer(
        request_id,
        what,
        verdict if info.reason else CallerVerdict.SILENT,
        began_s,
        time.monotonic() if info.reason else NEVER,
        error.code().name,
        info.reason,
        money.operation.operation_id,
        money.operation.amount_fen,
    )

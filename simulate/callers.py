"""Callers as they are: patient, hurried, gone before the answer, two at once; and what they were told.

A caller that does not know repeats its request id a few times, then gives up. Nothing in here judges an answer but
what only the caller can see; the rest is the checker's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from jzb.v1 import balance_pb2, balance_pb2_grpc, clearing_pb2, clearing_pb2_grpc, core_pb2
from simulate.market import BUYERS, LARGEST_FEN, MERCHANTS, Call, Market, Sum
from simulate.schedule import Action, Kind, Manner
from simulate.site import Stage

PATIENCE_S: Final = 4.0
TRIES: Final = 5
NEVER: Final = float("inf")
PAYER: Final = ("6200000000000000000", "虚构付款人", "虚构银行")


class Verdict(StrEnum):
    """What an answer says of the money."""

    DONE = "done"
    ACCEPTED = "accepted"
    NO_EFFECT = "no effect"
    UNKNOWN = "unknown"
    SILENT = "no answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told of a request id. ``ended_s`` is `NEVER` when it left before: its call may still act."""

    request_id: str
    what: str
    verdict: Verdict
    began_s: float
    ended_s: float
    code: str = "OK"
    reason: str = ""
    operation_id: str = ""
    amount_fen: int = 0


class Callers:
    """All callers of one stage."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seed = seed
        self._market = Market()
        self.answers: list[Answer] = []
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}

    async def open_market(self) -> None:
        """Members with money."""
        await asyncio.gather(*(self._insist(call, "open member") for call in self._market.members(f"{self._seed}")))
        await asyncio.gather(*(self._insist(call, "first money") for call in self._market.funds(f"{self._seed}")))

    async def run(self, number: int, actions: Sequence[Action]) -> None:
        """One caller's day."""
        for count, action in enumerate(actions):
            await asyncio.sleep(action.pause_s)
            self.done[action.kind] = self.done.get(action.kind, 0) + 1
            await self._act(action, f"{self._seed}-{number}-{count}")

    async def _act(self, action: Action, request_id: str) -> None:
        dice = Random(action.dice)
        match action.kind:
            case Kind.LOOK:
                await self._look(dice)
            case Kind.CLEAR_DAYS:
                await self.clear_days(request_id)
            case Kind.TRANSFER_IN:
                amount = dice.randint(1, LARGEST_FEN)
                inflow = self._stage.sandbox.bank.transfer_in("", amount, PAYER, "")
                self._market.transfers.append(Sum(inflow.front_seq_no, amount))
            case _:
                call = self._market.call(action.kind, request_id, dice, action.remark)
                if call is not None:
                    await self._ask(call, action, dice)

    async def _ask(self, call: Call, action: Action, dice: Random) -> None:
        what = str(action.kind)
        service = dice.randrange(len(self._stage.services))
        match action.manner:
            case Manner.TWICE:
                both = await asyncio.gather(self._try(call, what, service), self._try(call, what, service + 1))
                answer = both[0]
            case Manner.SHORT:
                answer = await self._try(call, what, service, deadline_s=action.wait_s)
            case Manner.GONE:
                answer = await self._try(call, what, service, gone_s=action.wait_s)
            case _:
                answer = await self._try(call, what, service)
        for count in range(1, TRIES):
            if not _is_worth_a_repeat(answer):
                return
            await asyncio.sleep(0.1 * count)
            answer = await self._try(call, what, service + count)

    async def _insist(self, call: Call, what: str) -> None:
        for count in range(100):
            answer = await self._try(call, what, count)
            if answer.verdict is Verdict.DONE:
                return
            await asyncio.sleep(0.1)
        self.wrong.append(f"{what} {call.request_id} is not done after 100 tries: {answer}")

    async def _try(
        self, call: Call, what: str, service: int, *, deadline_s: float = PATIENCE_S, gone_s: float | None = None
    ) -> Answer:
        stub = call.stub(self._stage.services[service % len(self._stage.services)].channel)
        began_s = time.monotonic()
        asked = getattr(stub, call.method)(call.request, timeout=deadline_s)
        if gone_s is not None:
            asyncio.get_running_loop().call_later(gone_s, asked.cancel)
        try:
            operation = (await asked).operation
        except grpc.aio.AioRpcError as error:
            answer = _told(error, call.request_id, what, began_s)
        except asyncio.CancelledError:
            if not asked.cancelled():
                raise
            answer = Answer(call.request_id, what, Verdict.SILENT, began_s, NEVER, "CANCELLED")
        else:
            is_done = operation.state == core_pb2.OPERATION_STATE_DONE
            answer = Answer(
                call.request_id,
                what,
                Verdict.DONE if is_done else Verdict.ACCEPTED,
                began_s,
                time.monotonic(),
                operation_id=operation.operation_id,
                amount_fen=operation.amount_fen,
            )
            if is_done:
                call.learn(operation)
        self.answers.append(answer)
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
            seen.available_fen != seen.withdrawable_fen + seen.waiting_fen
            or min(seen.withdrawable_fen, seen.waiting_fen) < 0
        ):
            self.wrong.append(f"a balance of {member} contradicts itself: {str(seen).split()}")


def _is_worth_a_repeat(answer: Answer) -> bool:
    if answer.verdict in (Verdict.SILENT, Verdict.UNKNOWN):
        return True
    return answer.verdict is Verdict.NO_EFFECT and answer.code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


def _told(error: grpc.aio.AioRpcError, request_id: str, what: str, began_s: float) -> Answer:
    info, money = error_details_pb2.ErrorInfo(), core_pb2.MoneyError()
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(bytes(value)).details:
                for message in (info, money):
                    detail.Unpack(message)
    verdict = {core_pb2.OUTCOME_NO_EFFECT: Verdict.NO_EFFECT, core_pb2.OUTCOME_DONE: Verdict.DONE}.get(
        money.outcome, Verdict.UNKNOWN
    )
    return Answer(
        request_id,
        what,
        verdict if info.reason else Verdict.SILENT,
        began_s,
        time.monotonic() if info.reason else NEVER,
        error.code().name,
        info.reason,
        money.operation.operation_id,
        money.operation.amount_fen,
    )

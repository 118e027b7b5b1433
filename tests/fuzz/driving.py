"""Sends made requests to the real service and judges each answer, then looks at what is left in the books."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import psycopg
from google.protobuf.message import Message

from jzb.v1 import core_pb2
from tests.fuzz.making import HUGE, MEMBERS, Call, Maker
from tests.service.contract import promises
from tests.service.marketplace import Marketplace, Refusal, open_marketplace, refusal_of

AT_ONCE: Final = 24
PATIENCE_S: Final = 60.0
WATCHED_S: Final = 0.2
READ_AT_MOST: Final = 50
REST_S: Final = 60.0

NEVER: Final = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass
class Report:
    """What was sent, how it was answered, and all that should not have been."""

    codes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    by_method: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    # What every answer to a request id said about its money.
    outcomes: dict[str, set[str]] = field(default_factory=dict)
    operations: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.codes.total()

    def count(self, call: Call, code: str, reason: str = "") -> None:
        """An answer."""
        self.codes[code] += 1
        self.reasons[reason or code] += 1
        self.by_method.setdefault(call.path, Counter())[code] += 1


@contextlib.asynccontextmanager
async def market(dsn: str) -> AsyncIterator[Marketplace]:
    """A marketplace with members that have money, and a service that settles by itself what it does not know."""
    rules = {"verification": ("none", "sms", "password"), "batch_direct_pay": True}
    async with open_marketplace(dsn, resolver={"ask_after_s": 0.5}, rules=rules) as shop:
        buyer, payer, merchant, store = MEMBERS
        await shop.buyer(buyer, 10_000_000, withdrawable=True)
        await shop.buyer(payer, 10_000_000)
        await shop.merchant(merchant, 10_000_000, withdrawable=True)
        await shop.merchant(store, 10_000_000)
        yield shop


async def fuzz(shop: Marketplace, seed: int, requests: int) -> Report:
    """Send so many requests, several at once; the books are looked at when nothing is in doubt any more."""
    report, maker, began_s = Report(), Maker(seed), time.monotonic()
    left = iter(range(requests))

    async def caller() -> None:
        for _ in left:
            if len(report.wrong) >= 10:
                return
            call = maker.call()
            await _send(shop, maker, call, report)

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    await _look(shop, report)
    report.seconds = time.monotonic() - began_s
    return report


async def _send(shop: Marketplace, maker: Maker, call: Call, report: Report) -> None:
    try:
        answers = await asyncio.wait_for(_answers(shop.channel, call), PATIENCE_S + 5.0)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        report.count(call, refusal.code.name, refusal.reason)
        if wrong := _wrong(call, refusal):
            report.wrong.append(
                f"{wrong}: answered {refusal.code.name} {refusal.reason} {refusal.message[:500]}\n  {call}"
            )
        # It says that another request has the id, and nothing about that one.
        outcome = "" if refusal.reason == "REQUEST_ID_REUSED" else core_pb2.Outcome.Name(refusal.outcome)
    except TimeoutError:
        report.wrong.append(f"no answer in {PATIENCE_S:g} s: {call}")
        return
    else:
        report.count(call, "OK")
        for answer in answers:
            maker.learn(answer)
        operation: Any = getattr(answers[0], "operation", None) if answers else None
        outcome = core_pb2.Outcome.Name(operation.outcome) if operation else "OK"
    if call.request_id:
        report.outcomes.setdefault(call.request_id, set()).add(outcome)


async def _answers(channel: grpc.aio.Channel, call: Call) -> list[Message]:
    if not call.method.server_streaming:
        ask = channel.unary_unary(call.path, response_deserializer=call.answer_class.FromString)
        return [await ask(call.body, timeout=PATIENCE_S)]
    is_watch = call.method.name.startswith("Watch")
    stream = channel.unary_stream(call.path, response_deserializer=call.answer_class.FromString)(
        call.body, timeout=WATCHED_S if is_watch else PATIENCE_S
    )
    answers: list[Message] = []
    try:
        async for answer in stream:
            answers.append(answer)
            if len(answers) == READ_AT_MOST:
                break
    except grpc.aio.AioRpcError as error:
        # A watch has no end of its own.
        if not (is_watch and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
    finally:
        stream.cancel()
    return answers


def _wrong(call: Call, refusal: Refusal) -> str:
    """What is wrong with an error, if anything."""
    if refusal.code in NEVER:
        return "a status that no request may bring about"
    if any(text in f"{refusal.message} {refusal}" for text in call.personal()):
        return "personal data in an error"
    if not refusal.reason:
        # gRPC itself turns away what is too long.
        is_too_long = refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED and len(call.body) > HUGE
        return "" if is_too_long else "an error without a reason"
    if refusal.reason == "LEDGER_UNAVAILABLE":
        return "an error that nobody foresaw"
    promise = promises().get(refusal.reason)
    if promise is None or promise.status != refusal.code.name or not promise.metadata <= refusal.metadata.keys():
        return "an error that its documentation does not describe"
    return ""


async def rested(dsn: str) -> tuple[int, int]:
    """Waits until nothing is in doubt: how many operations still are, and how many fen are held."""
    ends_s = time.monotonic() + REST_S
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            found = await connection.execute("SELECT count(*), (SELECT sum(held_fen) FROM account) FROM due")
            (due, held_fen) = await found.fetchone() or (0, 0)
            if due == 0 or time.monotonic() > ends_s:
                return due, held_fen
            await asyncio.sleep(0.1)


async def _look(shop: Marketplace, report: Report) -> None:
    """Nothing is left in doubt, nothing was done for a request that was told NO_EFFECT, and the bank agrees."""
    due, held_fen = await rested(shop.dsn)
    if due or held_fen:
        report.wrong.append(f"{due} operations are in doubt for good, {held_fen} fen are held")
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        found = await connection.execute("SELECT request_id, state FROM operation")
        states: dict[str, str] = dict(await found.fetchall())
    report.operations = len(states)
    for request_id, outcomes in report.outcomes.items():
        if outcomes == {"OUTCOME_NO_EFFECT"} and states.get(request_id, "refused") not in ("refused", "released"):
            report.wrong.append(f"{request_id} was told NO_EFFECT and is {states[request_id]}")
    try:
        # It answers as before.
        await shop.top_up(MEMBERS[0], 1)
        await shop.clear()
        await shop.assert_agrees()
    except (AssertionError, grpc.aio.AioRpcError) as error:
        report.wrong.append(f"the books are not whole: {error}")

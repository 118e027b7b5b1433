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
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from jzb.v1 import core_pb2, member_pb2
from service.problems import Problem
from service.rpc.validation import Validation
from tests.fuzz.making import MEMBERS, Call, Maker
from tests.fuzz.people import People
from tests.fuzz.texts import HUGE
from tests.sandbox.choices import BankChoices
from tests.world.binding import MOBILE
from tests.world.doubts import rested
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal, open_marketplace, refusal_of
from tests.world.promises import promises
from tests.world.verifying import SERVICE_IDS

AT_ONCE: Final = 24
PATIENCE_S: Final = 60.0
VERIFIED_S: Final = 600.0
"""A replay reads the whole journal, and waits for the one before it."""
WATCHED_S: Final = 0.2
WAITED_S: Final = 2.0
COMPARED_S: Final = 300.0
PEOPLE_ACT_EVERY: Final = 40
LARGE: Final = 200_000
CPU_S: Final = 0.05
"""What the judging of one request may take, whatever it is."""
MEASURED_FROM: Final = 20_000
"""From so many requests on every RPC is to have answered OK."""

VALIDATION: Final = Validation()

NEVER_OK: Final[dict[str, str]] = {}
"""Why no request of a fuzz can succeed, by RPC."""

OWN: Final = "r-"
"""How the request ids of the marketplace begin; those of the service itself have a space."""

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
    # Those that the contract's validation let through.
    valid: Counter[str] = field(default_factory=Counter)
    large: int = 0
    # The longest that a request took to be read and judged, in seconds of CPU, and which it was.
    slowest: tuple[float, str] = (0.0, "")
    wrong: list[str] = field(default_factory=list)
    # What every answer to a request id said about its money.
    outcomes: dict[str, set[str]] = field(default_factory=dict)
    # The request ids of which an answer said that something was recorded.
    recorded: set[str] = field(default_factory=set)
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
        self.valid[call.path] += reason != "REQUEST_INVALID" and (code == "OK" or reason != "")
        self.large += len(call.body) >= LARGE

    def judge(self, call: Call) -> None:
        """Measure what the service's own judgement of a request takes, apart from the service."""
        if len(call.body) > HUGE:
            # gRPC turns it away unread.
            return
        began_s = time.thread_time()
        with contextlib.suppress(DecodeError, Problem):
            VALIDATION.require_valid(message_factory.GetMessageClass(call.method.input_type).FromString(call.body))
        took_s = time.thread_time() - began_s
        if took_s > self.slowest[0]:
            self.slowest = took_s, call.path
        if took_s > CPU_S:
            self.wrong.append(f"judged for {took_s * 1000:.0f} ms, {len(call.body)} bytes: {str(call)[:200]}")


@contextlib.asynccontextmanager
async def market(dsn: str) -> AsyncIterator[Marketplace]:
    """A marketplace with members that have money, and a service that settles by itself what it does not know."""
    rules = {"verification": ("none", "sms", "password"), "batch_direct_pay": True}
    ids: BankChoices = {"service_ids": {**SERVICE_IDS, "6167": "SameName"}}
    async with open_marketplace(dsn, ids, bank=ids, resolver={"ask_after_s": 0.5}, rules=rules) as shop:
        buyer, payer, merchant, store = MEMBERS
        ordinary, collecting = member_pb2.MEMBER_PROPERTY_ORDINARY, member_pb2.MEMBER_PROPERTY_MERCHANT
        for member, kind in ((buyer, ordinary), (merchant, collecting), (payer, ordinary), (store, collecting)):
            request = member_pb2.OpenMemberRequest(
                request_id=shop.request_id(), member_id=member, property=kind, nickname=member, mobile=MOBILE
            )
            await shop.members.OpenMember(request, timeout=TIMEOUT_S)
            await shop.top_up(member, 10_000_000)
            if member in (buyer, merchant):
                await shop.clear()
        yield shop


async def fuzz(shop: Marketplace, seed: int, requests: int) -> Report:
    """Send so many requests, several at once; the books are looked at when nothing is in doubt any more."""
    report, maker, began_s = Report(), Maker(seed, shop.sandbox.clock.today), time.monotonic()
    people = People(shop, maker)
    left = iter(range(requests))

    async def caller() -> None:
        for number in left:
            if len(report.wrong) >= 10:
                return
            if number % PEOPLE_ACT_EVERY == 0:
                await people.act()
            call = maker.call()
            await _send(shop, maker, call, report)

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    await people.settle()
    await _look(shop, report)
    if requests >= MEASURED_FROM:
        report.wrong += [
            f"{path} never answered OK in {counts.total()} requests, {report.valid[path]} of them valid"
            for path, counts in report.by_method.items()
            if not counts["OK"] and path not in NEVER_OK
        ]
    report.seconds = time.monotonic() - began_s
    return report


async def _send(shop: Marketplace, maker: Maker, call: Call, report: Report) -> None:
    report.judge(call)
    try:
        patience_s = VERIFIED_S if call.method.name == "VerifyBooks" else PATIENCE_S
        answers = await asyncio.wait_for(_answers(shop.channel, call, patience_s), patience_s + 5.0)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        report.count(call, refusal.code.name, refusal.reason)
        if wrong := _wrong(call, refusal):
            report.wrong.append(
                f"{wrong}: answered {refusal.code.name} {refusal.reason} {refusal.message[:500]}\n  {call}"
            )
        told = refusal.operation
        # It says that another request has the id, and nothing about that one.
        outcome = "" if refusal.reason == "REQUEST_ID_REUSED" else core_pb2.Outcome.Name(refusal.outcome)
    except TimeoutError:
        report.wrong.append(f"no answer in time: {call}")
        return
    else:
        report.count(call, "OK")
        for answer in answers:
            maker.learn(call, answer)
        operation: Any = getattr(answers[0], "operation", None) if answers else None
        told = operation or core_pb2.Operation()
        outcome = core_pb2.Outcome.Name(operation.outcome) if operation else "OK"
    if call.request_id and not call.request_id.startswith(OWN):
        if told.operation_id and told.request_id == call.request_id:
            report.recorded.add(call.request_id)
        report.outcomes.setdefault(call.request_id, set()).add(outcome)


async def _answers(channel: grpc.aio.Channel, call: Call, patience_s: float) -> list[Message]:
    if not call.method.server_streaming:
        ask = channel.unary_unary(call.path, bytes, call.answer_class.FromString)
        is_wait = call.method.name.startswith("Wait")
        return [await ask(call.body, timeout=WAITED_S if is_wait else patience_s)]
    is_watch = call.method.name.startswith("Watch")
    stream = channel.unary_stream(call.path, bytes, call.answer_class.FromString)(
        call.body, timeout=WATCHED_S if is_watch else patience_s
    )
    answers: list[Message] = []
    try:
        async for answer in stream:
            answers.append(answer)
            if len(answers) == call.reads:
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
    if refusal.reason in ("LEDGER_UNAVAILABLE", "SERVICE_FAULT"):
        return "an error that nobody foresaw"
    if refusal.reason == "BANK_UNAVAILABLE":
        return "a bank that is well was told to be away"
    promise = promises().get(refusal.reason)
    # Whoever had a number may have given it back by the time it is looked for; the contract says so at ORDER_EXISTS.
    missing = frozenset() if promise is None else promise.metadata - refusal.metadata.keys()
    is_described = all(key.startswith("used_by_") for key in missing)
    if promise is None or promise.status != refusal.code.name or not is_described:
        return "an error that its documentation does not describe"
    return ""


async def _look(shop: Marketplace, report: Report) -> None:
    """Nothing is left in doubt, nothing was done for a request that was told NO_EFFECT, and the bank agrees."""
    due, held_fen = await rested(shop.dsn)
    if due or held_fen:
        report.wrong.append(f"{due} operations are in doubt for good, {held_fen} fen are held")
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        found = await connection.execute("SELECT request_id, state FROM operation")
        states: dict[str, str] = dict(await found.fetchall())
        found = await connection.execute(
            "SELECT c.masked, c.state, o.state FROM card c LEFT JOIN operation o USING (platform, serial)"
            " WHERE c.serial != '' AND (o.state IS NULL OR o.state = 'refused' AND c.state != 'failed')"
        )
        cards = await found.fetchall()
        report.wrong += [f"card {one} is {state}, the operation that checked it {of}" for one, state, of in cards]
    report.operations = len(states)
    for request_id in report.outcomes:
        if (request_id in states) != (request_id in report.recorded):
            report.wrong.append(
                f"{request_id} was {'' if request_id in report.recorded else 'never '}told to be recorded,"
                f" and is {states.get(request_id, 'not there')}"
            )
    # Those of the marketplace itself, and of what the bank does on its own, which no caller's request id looks like.
    unsent = [name for name in states.keys() - report.outcomes.keys() if not name.startswith(OWN) and " " not in name]
    report.wrong += [f"{name} was never sent and is {states[name]}" for name in unsent]
    for request_id, outcomes in report.outcomes.items():
        if outcomes == {"OUTCOME_NO_EFFECT"} and states.get(request_id, "refused") not in ("refused", "released"):
            report.wrong.append(f"{request_id} was told NO_EFFECT and is {states[request_id]}")
    try:
        # It answers as before.
        await shop.top_up(MEMBERS[0], 1)
        await shop.clear()
        await shop.assert_agrees(COMPARED_S)
    except (AssertionError, grpc.aio.AioRpcError) as error:
        report.wrong.append(f"the books are not whole: {error}")

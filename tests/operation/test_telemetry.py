"""What an engineer sees of a payment: one trace over every process that worked on it, and metrics; never personal data.

The service runs as a process of its own, since OpenTelemetry's providers are one a process.
"""

from __future__ import annotations

import ast
import asyncio
import binascii
import json
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
import psycopg
import pytest

from jzb.v1 import (
    clearing_pb2,
    clearing_pb2_grpc,
    core_pb2,
    member_pb2,
    member_pb2_grpc,
    operation_pb2,
    payment_pb2,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.collector import CALLER_SPAN, QUICK_EXPORT, RARE, SAMPLED, TRACE_ID, Collector, collecting, labels_of
from tests.world.marketplace import LENIENT, TIMEOUT_S
from tests.world.personal import everything_in
from tests.world.process import ROOT, ServiceProcess, service_process, shop_on, until

OTHER_TRACE = "f" * 32
"""An id that a small ratio does not take."""
NOT_TAKEN = (("traceparent", f"00-{OTHER_TRACE}-{CALLER_SPAN}-01"), ("tracestate", "a=marker"), ("baggage", "b=marker"))


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


def observed(
    database: str, bank: Sandbox, collector: Collector, **settings: Any
) -> AbstractAsyncContextManager[ServiceProcess]:
    """The service, which exports to the collector and logs all it can."""
    telemetry = {
        "otlp_endpoint": collector.url,
        "metrics_interval_s": 0.2,
        "log_level": "debug",
        "log_json": True,
        **settings.pop("telemetry", {}),
    }
    return service_process(database, bank, environment=QUICK_EXPORT, telemetry=telemetry, **settings)


async def prepared(database: str, bank: Sandbox, remark: str = "") -> payment_pb2.PayRequest:
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        return shop.pay_request("buyer", "seller", 30_00, remark=remark)


async def found(service: ServiceProcess, request_id: str) -> core_pb2.Operation:
    key = operation_pb2.OperationKey(request_id=request_id)
    answer = await service.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


async def test_a_payment_and_its_later_resolution_are_one_trace_which_the_caller_began(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank, remark="[[lose_after]]")
    async with observed(database, bank, collector) as service:
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
        assert lost.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: collector.named("jzb.v1.PaymentService/Pay"), "the spans arrive")
    # Another process resolves it, a moment later.
    async with observed(database, bank, collector) as service:
        operation = await found(service, request.request_id)
        assert operation.trace_id == TRACE_ID
        key = operation_pb2.OperationKey(operation_id=operation.operation_id)
        await service.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S)
        assert (await found(service, request.request_id)).state == core_pb2.OPERATION_STATE_DONE
        await until(lambda: collector.named("resolve"), "the spans arrive")
        resolved = [json.loads(line) for line in service.said if '"resolved"' in line]
        assert [(line["trace_id"], line["operation_id"], line["serial"]) for line in resolved] == [
            (TRACE_ID, operation.operation_id, operation.serial)
        ]

    mine = [span for span in collector.spans if span.trace_id.hex() == TRACE_ID]
    by_name: dict[str, list[Any]] = {}
    for span in sorted(mine, key=lambda one: one.start_time_unix_nano):
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(spans) for name, spans in by_name.items()} == {
        "jzb.v1.PaymentService/Pay": 1,
        "reserve": 1,
        "bank 6034": 1,
        "bank 6110": 1,
        "sign": 2,
        "settle": 1,
        "resolve": 1,
    }

    rpc, reserve, settle = by_name["jzb.v1.PaymentService/Pay"][0], by_name["reserve"][0], by_name["settle"][0]
    (call,), (question,) = by_name["bank 6034"], by_name["bank 6110"]
    assert rpc.parent_span_id.hex() == CALLER_SPAN
    assert {reserve.parent_span_id, call.parent_span_id, settle.parent_span_id} == {rpc.span_id}
    assert by_name["resolve"][0].parent_span_id == rpc.span_id
    assert question.parent_span_id == by_name["resolve"][0].span_id
    assert [span.parent_span_id for span in by_name["sign"]] == [call.span_id, question.span_id]

    labels = labels_of(call.attributes)
    assert (labels["jzb.interface"], labels["jzb.serial"]) == ("6034", operation.serial)
    assert (labels["jzb.outcome"], labels["jzb.attempts"], labels["jzb.bank_code"]) == ("UNKNOWN", "1", "")
    labels = labels_of(question.attributes)
    assert (labels["jzb.interface"], labels["jzb.bank_code"]) == ("6110", "000000")
    assert labels_of(settle.attributes)["jzb.state"] == "unknown"
    labels = labels_of(by_name["resolve"][0].attributes)
    assert (labels["jzb.operation_id"], labels["jzb.state"]) == (operation.operation_id, "done")
    assert labels_of(rpc.attributes)["jzb.request_id"] == request.request_id


async def test_a_payment_that_goes_well_tells_the_banks_code_and_the_state_it_reached(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank)
    async with observed(database, bank, collector) as service:
        answer = await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
        assert answer.operation.trace_id == TRACE_ID
        await until(lambda: collector.named("settle"), "the spans arrive")
    (call,) = collector.named("bank 6034")
    assert labels_of(call.attributes)["jzb.bank_code"] == "000000"
    assert labels_of(collector.named("settle")[0].attributes)["jzb.state"] == "done"


async def test_our_ratio_decides_what_is_recorded_and_of_a_callers_headers_the_trace_id_alone_is_taken(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank)
    async with observed(database, bank, collector, telemetry={"sample_ratio": RARE}) as service:
        answer = await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=NOT_TAKEN)
        assert answer.operation.trace_id == OTHER_TRACE
        service.signal(15)
        assert await service.ended() == 0
    assert not [span for span in collector.spans if span.trace_id.hex() == OTHER_TRACE]
    async with await psycopg.AsyncConnection.connect(database) as connection:
        rows = await (await connection.execute("SELECT plan::text FROM operation WHERE serial <> ''")).fetchall()
    assert OTHER_TRACE in str(rows)
    assert "marker" not in str(rows)


async def test_metrics_tell_requests_outcomes_bank_latency_and_the_money_in_doubt(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank, remark="[[lose_after]]")
    async with observed(database, bank, collector) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.payments.Pay(request, timeout=TIMEOUT_S)
        kind = {"kind": "PAY_T1"}
        await until(lambda: (kind, 30_00.0) in collector.points("jzb.doubt.amount"), "the money in doubt is told")
        await until(lambda: any(age > 0 for _, age in collector.points("jzb.doubt.age")), "and since when")

        pay = {"rpc.method": "jzb.v1.PaymentService/Pay", "rpc.response.status_code": "DEADLINE_EXCEEDED"}
        await until(lambda: (pay, 1.0) in collector.points("rpc.server.call.duration"), "requests")
        assert [count for labels, count in collector.points("jzb.outcomes") if labels["state"] == "unknown"] == [1.0]
        assert ({"interface": "6034", "outcome": "UNKNOWN"}, 1.0) in collector.points("jzb.bank.call.duration")
        assert ({"interface": "6034", "outcome": "UNKNOWN", "code": "none"}, 1.0) in collector.points(
            "jzb.bank.answers"
        )
        assert collector.points("jzb.ledger.batch.size")

        operation = await found(service, request.request_id)
        key = operation_pb2.OperationKey(operation_id=operation.operation_id)
        await service.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S)
        await until(lambda: ({}, 0.0) in collector.points("jzb.doubt.age"), "no money is in doubt any more")


async def test_a_quantile_of_the_histograms_is_what_callers_see(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank, remark="[[delay:0.15]]")
    took_s: list[float] = []

    async def pay(number: int) -> None:
        one = payment_pb2.PayRequest()
        one.CopyFrom(request)
        one.request_id, one.amount_fen = f"timed-{number}", 1
        began_s = time.perf_counter()
        await service.payments.Pay(one, timeout=TIMEOUT_S, metadata=SAMPLED)
        took_s.append(time.perf_counter() - began_s)

    async with observed(database, bank, collector) as service:
        for number in range(10):
            await pay(number)
        labels = {"rpc.method": "jzb.v1.PaymentService/Pay"}
        paid = {**labels, "rpc.response.status_code": "OK"}
        await until(lambda: (paid, 10.0) in collector.points("rpc.server.call.duration"), "requests")
    median_s = statistics.median(took_s)
    for metric, these in (("rpc.server.call.duration", labels), ("jzb.bank.call.duration", {"interface": "6034"})):
        # Buckets are at most twice as wide as the one before.
        assert 0.15 <= median_s < 2 * collector.quantile(metric, 0.5, **these) < 4 * median_s, metric

    # A duration shows a trace that took so long.
    points = collector.metrics["rpc.server.call.duration"].histogram.data_points
    (pays,) = (one for one in points if labels.items() <= labels_of(one.attributes).items())
    assert {exemplar.trace_id.hex() for exemplar in pays.exemplars} == {TRACE_ID}


async def test_no_call_of_the_bank_is_unseen(database: str, bank: Sandbox, collector: Collector) -> None:
    async with observed(database, bank, collector, telemetry={"sample_ratio": 1.0}) as service:
        clearing = clearing_pb2_grpc.ClearingServiceStub(service.channel)
        await clearing.GetDay(clearing_pb2.GetDayRequest(bank_day="2026-01-01"), timeout=TIMEOUT_S)

        def is_measured(interface: str) -> bool:
            return any(labels["interface"] == interface for labels, _ in collector.points("jzb.bank.call.duration"))

        def is_traced(interface: str) -> bool:
            return bool(collector.named(f"bank {interface}"))

        for interface in ("6010", "6108"):
            await until(partial(is_measured, interface), f"{interface} is measured")
            await until(partial(is_traced, interface), f"{interface} is traced")

        def are_counted() -> bool:
            # The service goes on asking meanwhile.
            received = sum(one.serial != "" for one in bank.requests)
            return received == sum(count for _, count in collector.points("jzb.bank.answers")) >= 2

        await until(are_counted, "all are counted")
    assert {one["service.version"] for one in collector.resources} == {version("jzb-ledger")}


def test_the_service_makes_no_client_of_the_bank_whose_calls_are_unseen() -> None:
    made = [
        call
        for path in (ROOT / "service").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "BankClient"
    ]
    assert made
    assert all("around" in {keyword.arg for keyword in call.keywords} for call in made)


async def test_a_refusal_is_an_event_of_its_span_and_no_error(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank)
    request.amount_fen = 500_00
    async with observed(database, bank, collector) as service:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        await until(lambda: collector.named("jzb.v1.PaymentService/Pay"), "the spans arrive")
    for name in ("jzb.v1.PaymentService/Pay", "reserve"):
        (span,) = collector.named(name)
        assert span.status.code == span.status.STATUS_CODE_UNSET
        assert [event.name for event in span.events] == ["refused"]
        assert labels_of(span.attributes)["jzb.reason"] == "INSUFFICIENT_FUNDS"


async def test_metrics_tell_the_calls_under_way_the_refusals_by_reason_and_the_breakers(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    request = await prepared(database, bank, remark="[[delay:1.0]]")
    breaker = {"failures": 1, "open_s": 0.5}
    async with observed(database, bank, collector, call_concurrency=1, breaker=breaker) as service:
        call = asyncio.ensure_future(service.payments.Pay(request, timeout=TIMEOUT_S))
        await until(lambda: ({}, 1.0) in collector.points("jzb.calls.under_way"), "a call is under way")
        again = payment_pb2.PayRequest()

        async def refused(request_id: str, remark: str = "") -> None:
            again.CopyFrom(request)
            again.request_id, again.amount_fen, again.remark = request_id, 1_00, remark
            with pytest.raises(grpc.aio.AioRpcError):
                await service.payments.Pay(again, timeout=TIMEOUT_S)

        await refused("too-many")
        await call
        await until(lambda: ({}, 0.0) in collector.points("jzb.calls.under_way"), "the call has ended")
        assert ({}, 0.0) in collector.points("jzb.ledger.queue")
        interface = {"interface": "6034"}
        await until(lambda: (interface, 0.0) in collector.points("jzb.bank.breaker"), "the breaker is closed")
        await refused("lost", "[[lose_after]]")
        await refused("suspended")
        await until(lambda: (interface, 2.0) in collector.points("jzb.bank.breaker"), "the breaker is open")

        def is_counted_once(reason: str) -> bool:
            labels = {"rpc.method": "jzb.v1.PaymentService/Pay", "reason": reason}
            return (labels, 1.0) in collector.points("jzb.refusals")

        for reason in ("OVERLOADED", "BANK_OUTCOME_UNKNOWN", "BANK_INTERFACE_SUSPENDED"):
            await until(partial(is_counted_once, reason), f"{reason} is counted")


CARD = "6222031415926535897"
HOLDER = "纳兰性德"
NICKNAME = "饮水词人"
MOBILE = "13924681357"
EMAIL = "nalan@example.test"
PERSONAL = (CARD, HOLDER, NICKNAME, MOBILE, EMAIL)


async def test_no_personal_data_in_any_span_metric_log_line_or_row(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    async with shop_on(database, bank) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
    async with observed(database, bank, collector) as service:
        members = member_pb2_grpc.MemberServiceStub(service.channel)
        withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(service.channel)

        async def open_member(number: int, fault: str = "", mobile: str = MOBILE) -> None:
            if fault:
                bank.faults.add(fault, code="6000")
            request = member_pb2.OpenMemberRequest(
                request_id=f"open-{number}",
                member_id=f"m{number}",
                property=member_pb2.MEMBER_PROPERTY_ORDINARY,
                nickname=NICKNAME,
                mobile=mobile,
                email=EMAIL,
            )
            await members.OpenMember(request, timeout=TIMEOUT_S, metadata=SAMPLED)

        async def withdraw(
            number: int, fault: str = "", card: str = CARD, holder: str = HOLDER, fen: int = 5_00
        ) -> None:
            if fault:
                bank.faults.add(fault, code="6033")
            request = withdrawal_pb2.WithdrawRequest(
                request_id=f"out-{number}",
                member_id="seller",
                card_number=card,
                card_holder_name=holder,
                amount_fen=fen,
            )
            await withdrawals.Withdraw(request, timeout=TIMEOUT_S, metadata=SAMPLED)

        await open_member(1)
        await withdraw(1)
        faults = ("lose_after", "refuse:ERR044", "bad_signature", "malformed", "http500", "token_expired")
        for number, fault in enumerate(faults, start=2):
            for call in (open_member, withdraw):
                with pytest.raises(grpc.aio.AioRpcError) if fault != "token_expired" else _nothing():
                    await call(number, fault)
        for number, (card, holder, fen) in enumerate(
            (
                (CARD + "x" * 30, HOLDER, 5_00),
                (CARD, HOLDER + "\x07", 5_00),
                (CARD, HOLDER, 500_00),
                (CARD, HOLDER, -1),
                (CARD, "null", 5_00),
            ),
            start=20,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await withdraw(number, card=card, holder=holder, fen=fen)
            assert not _shown(str(refused.value.details()))
        # The last one, a text that the bank's wire cannot carry.
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await open_member(30, mobile=MOBILE + "0")
        assert not _shown(str(refused.value.details()))
        # The same request id with other personal data.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await withdraw(1, card=CARD[:-1] + "0")
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
        assert not _shown(str(refused.value.details()))

        await until(lambda: len(collector.named("jzb.v1.WithdrawalService/Withdraw")) >= 10, "the spans arrive")
        await until(lambda: collector.metrics, "the metrics arrive")
        service.signal(15)
        assert await service.ended() == 0
        log = "".join(service.said)

    assert "out-1" in " ".join(collector.received)
    rows = await everything_in(database)
    assert "seller" in rows
    assert not _shown(log), "in the log"
    assert not _shown(" ".join(collector.received)), "in the telemetry"
    assert not _shown(rows), "in the database"


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _shown(text: str) -> list[str]:
    """Which personal values a text shows, as they are, escaped, or in hexadecimal."""
    forms = {
        value: (
            value,
            value.encode("unicode_escape").decode(),
            str(value.encode())[2:-1],
            "".join(f"\\{byte:03o}" for byte in value.encode()),
            binascii.hexlify(value.encode()).decode(),
        )
        for value in PERSONAL
    }
    return [value for value, written in forms.items() if any(form in text for form in written)]


async def test_without_a_collector_the_service_works_and_keeps_the_callers_trace_id(
    database: str, bank: Sandbox
) -> None:
    request = await prepared(database, bank)
    async with service_process(database, bank) as service:
        answer = await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
        assert answer.operation.trace_id == TRACE_ID
        request.request_id += "-alone"
        answer = await service.payments.Pay(request, timeout=TIMEOUT_S)
        assert re.fullmatch("[0-9a-f]{32}", answer.operation.trace_id)


async def test_a_collector_that_is_away_costs_no_payment(database: str, bank: Sandbox, collector: Collector) -> None:
    request = await prepared(database, bank)
    away = {"otlp_endpoint": "http://127.0.0.1:9", "metrics_interval_s": 0.2, "sample_ratio": 1.0}
    async with service_process(database, bank, environment=QUICK_EXPORT, telemetry=away) as service:
        answer = await service.payments.Pay(request, timeout=TIMEOUT_S)
        assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
        assert len(answer.operation.trace_id) == 32
        service.signal(15)
        assert await service.ended(10.0) == 0

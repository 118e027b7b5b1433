"""`jzb trace`: what happened to a payment, seen in a terminal, by any number that a person may hold."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from aiohttp import web
from opentelemetry.trace import Status, StatusCode, format_trace_id
from rich.console import Console

from jzb.v1 import (
    core_pb2,
    member_pb2,
    member_pb2_grpc,
    operation_pb2,
    operation_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    topup_pb2,
    topup_pb2_grpc,
)
from service.process.trace import Source, TraceNotFound, drawn, find, steps_of
from service.telemetry import kept
from service.telemetry.kept import KeptSpans, as_jaeger, served
from service.telemetry.spans import Tracer
from tests.world.cli import jzb, jzb_run
from tests.world.marketplace import TIMEOUT_S, Marketplace


async def payment(channel: grpc.aio.Channel) -> core_pb2.Operation:
    """A payment whose answer was lost, and which the resolver has settled."""
    members = member_pb2_grpc.MemberServiceStub(channel)
    for name, kind in (("buyer", member_pb2.MEMBER_PROPERTY_ORDINARY), ("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)):
        request = member_pb2.OpenMemberRequest(request_id=f"open-{name}", member_id=name, property=kind)
        await members.OpenMember(request, timeout=TIMEOUT_S)
    await topup_pb2_grpc.TopUpServiceStub(channel).TopUp(
        topup_pb2.TopUpRequest(
            request_id="top-up",
            member_id="buyer",
            amount_fen=100_00,
            order_no="T1",
            channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1", transaction_no="1"),
        ),
        timeout=TIMEOUT_S,
    )
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        await payment_pb2_grpc.PaymentServiceStub(channel).Pay(
            payment_pb2.PayRequest(
                request_id="pay",
                payer_member_id="buyer",
                payee_member_id="seller",
                amount_fen=30_00,
                settlement=payment_pb2.SETTLEMENT_T1,
                order_no="A-1",
                remark="[[lose_after]]",
            ),
            timeout=TIMEOUT_S,
        )
    assert lost.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    key = operation_pb2.OperationKey(request_id="pay")
    answer = await operation_pb2_grpc.OperationServiceStub(channel).WaitOperation(
        operation_pb2.WaitOperationRequest(key=key), timeout=TIMEOUT_S
    )
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    operation: core_pb2.Operation = answer.operation
    return operation


@pytest.mark.soak
async def test_a_newcomer_sees_a_lost_answer_and_the_question_about_it_in_one_tree(tmp_path: Path) -> None:
    data = tmp_path / "var"
    async with (
        jzb_run(data, {"JZB_RESOLVER__ASK_AFTER_S": "0.2", "JZB_RESOLVER__POLL_S": "0.1"}) as running,
        grpc.aio.insecure_channel(running.target) as channel,
    ):
        operation = await payment(channel)
        seen = await jzb("trace", "A-1", "--data", str(data))
        assert (seen.status, seen.error) == (0, "")
        assert "PAY_T1 DONE, 30.00 yuan" in seen.out
        # Names by depth; times follow each.
        tree = [(len(bars) // 4, name) for bars, name in re.findall(r"^([│├└─ ]+)([\w./ ]+?)  \+", seen.out, re.M)]
        assert tree == [
            (1, "jzb.v1.PaymentService/Pay"),
            (2, "reserve"),
            (2, "bank 6034"),
            (3, "sign"),
            (2, "settle"),
            (2, "resolve"),
            (3, "bank 6110"),
            (4, "sign"),
        ]
        assert re.search(r"Pay  .* DEADLINE_EXCEEDED, BANK_OUTCOME_UNKNOWN$", seen.out, re.M)
        assert re.search(r"bank 6034  \+\d+\.\d ms  took \d+\.\d ms  UNKNOWN, attempts 1$", seen.out, re.M)
        assert re.search(r"resolve  \+[\d.]+ m?s  took [\d.]+ m?s  done, query 1$", seen.out, re.M)
        unknown = await jzb("trace", "A-2", "--data", str(data))
        assert (unknown.status, unknown.out) == (1, "")
        assert "has no operation with number A-2" in unknown.error

        # Under the address that the setting names, as if Jaeger had it; by another number.
        url = json.loads((data / "traces.json").read_text())["url"]
        environment = {"JZB_TELEMETRY__JAEGER_URL": url}
        elsewhere = await jzb("trace", operation.serial, "--data", str(data), environment=environment)
        assert elsewhere.out == seen.out
    assert not (data / "traces.json").exists()


async def test_each_number_that_a_person_may_hold_finds_the_operation(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    prepaid = await shop.payments.PrepayOrder(
        payment_pb2.PrepayOrderRequest(
            request_id="prepay",
            payer_member_id="buyer",
            payee_member_id="seller",
            amount_fen=30_00,
            order_no="A-1",
        ),
        timeout=TIMEOUT_S,
    )
    confirmed = await shop.payments.ConfirmOrder(
        payment_pb2.ConfirmOrderRequest(request_id="confirm", amount_fen=30_00, order_no="A-1"), timeout=TIMEOUT_S
    )

    async def found(number: str) -> list[str]:
        return [str(one.id) for one in await find(shop.dsn, shop.sandbox.settings.mrch_code, number)]

    first, second = prepaid.operation, confirmed.operation
    for number in (first.operation_id, "prepay", first.serial, first.bank_serial):
        assert await found(number) == [first.operation_id], number
    # All that ever happened to an order, oldest first.
    assert await found("A-1") == [first.operation_id, second.operation_id]
    assert await found("A-2") == []


def recorded(spans: KeptSpans, traces: int = 1, each: int = 1) -> list[int]:
    """Traces of some spans, kept; their ids."""
    tracer = Tracer(1.0, [spans.keep])
    ids = []
    for _ in range(traces):
        with tracer.start_as_current_span("first") as first:
            ids.append(first.get_span_context().trace_id)
            for _ in range(each - 1):
                with tracer.start_as_current_span("then"):
                    pass
    return ids


def test_the_newest_traces_are_kept_and_never_more_than_so_many_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SPANS_MAX", 10)
    monkeypatch.setattr(kept, "OF_A_TRACE_MAX", 4)
    spans = KeptSpans()
    first, *_, last = recorded(spans, traces=4, each=3)
    assert (len(spans.trace(first)), len(spans.trace(last))) == (0, 3)
    (endless,) = recorded(spans, each=100)
    assert len(spans.trace(endless)) == 4


def test_kept_spans_are_read_on_this_machine_by_their_trace_id_and_in_no_other_way() -> None:
    spans = KeptSpans()
    (trace_id,) = recorded(spans, each=2)
    with served(spans) as url:
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, trust_env=False) as client:
            path = f"/api/traces/{format_trace_id(trace_id)}"
            assert [span["operationName"] for span in client.get(path).json()["data"][0]["spans"]] == ["then", "first"]
            # A page in a browser that has this address under a name of its own.
            assert client.get(path, headers={"Host": "pages.example.test"}).status_code == 403
            for other in ("/", "/api/traces", "/api/services", f"{path}/", "/../etc/passwd"):
                assert client.get(other).status_code == 404, other
            assert client.post(path).status_code == 501
    for is_kept, says in ((True, "start `jzb run` again"), (False, "see that JZB_TELEMETRY__JAEGER_URL")):
        with pytest.raises(TraceNotFound, match=says):
            Source(url, is_kept=is_kept).read("1")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ('{"data": null, "errors": [{"code": 404, "msg": "trace not found"}]}', 404, "it was not sampled"),
        ("<html>", 200, "it is not the query API of a Jaeger"),
        ('{"data": []}', 200, "it was not sampled"),
        ('{"errors": []}', 200, "it is not the query API of a Jaeger"),
        ("", 500, "answers 500 and no trace"),
    ],
)
async def test_what_jaeger_cannot_answer_is_said_with_what_to_do(body: str, status: int, says: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_get("/api/traces/{id}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        source = Source(f"http://127.0.0.1:{runner.addresses[0][1]}", is_kept=False)
        with pytest.raises(TraceNotFound, match=says):
            await asyncio.to_thread(source.read, "1" * 32)
    finally:
        await runner.cleanup()


def test_a_trace_as_jaeger_writes_it_is_a_tree_by_the_times_of_its_spans() -> None:
    # Jaeger leaves empty lists out, or writes null.
    def span(span_id: str, parent: str, name: str, start_us: int, **more: Any) -> dict[str, Any]:
        reference = {"refType": "CHILD_OF", "traceID": "1f", "spanID": parent}
        return {
            "traceID": "1f",
            "spanID": span_id,
            "operationName": name,
            "references": [reference] if parent else None,
            "startTime": start_us,
            "duration": 1500,
            **more,
        }

    refused = {"timestamp": 1_000_900, "fields": [{"key": "event", "type": "string", "value": "refused"}]}
    link = {"refType": "FOLLOWS_FROM", "traceID": "2e", "spanID": "99"}
    trace = {
        "spans": [
            span(
                "b",
                "a",
                "later",
                3_500_000,
                references=[{**link, "refType": "CHILD_OF", "traceID": "1f", "spanID": "a"}, link],
            ),
            span("c", "a", "first", 1_000_100, tags=[{"key": "jzb.state", "type": "string", "value": "done"}]),
            span("a", "not-here", "call", 1_000_000, logs=[refused], warnings=None),
        ]
    }
    console = Console(width=100)
    with console.capture() as written:
        console.print(drawn(steps_of(trace), "trace 1f"))
    assert written.get().splitlines() == [
        "trace 1f",
        "└── call  +0.0 ms  took 1.5 ms",
        "    ├── first  +0.1 ms  took 1.5 ms  done",
        "    ├── refused",
        "    └── later  +2.5 s  took 1.5 ms",
        "        └── linked to trace 2e",
    ]


def test_spans_keep_their_status_events_and_links_on_the_way() -> None:
    spans = KeptSpans()
    with Tracer(1.0, [spans.keep]).start_as_current_span("failed") as span:
        span.set_status(Status(StatusCode.ERROR, "UNKNOWN"))
        span.set_attribute("jzb.outcome", "UNKNOWN")
        span.add_event("refused", {"jzb.reason": "OVERLOADED"})
    (step,) = steps_of(as_jaeger(spans.trace(span.get_span_context().trace_id)))
    assert (step.name, step.tags["error"], step.tags["jzb.outcome"]) == ("failed", True, "UNKNOWN")
    assert [said for _, said in step.events] == ["refused OVERLOADED"]

"""What a span says and what it is linked with: the words of OpenTelemetry, numbers to search by, nothing personal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import SpanContext, TraceFlags, format_trace_id

from jzb.v1 import core_pb2, operation_pb2, payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.telemetry import tracing
from service.telemetry.kept import KeptSpans
from service.telemetry.spans import Tracer
from tests.world.collector import QUICK_EXPORT, RARE, SAMPLED, TRACE_ID, Collector, collecting, labels_of
from tests.world.marketplace import LENIENT, TIMEOUT_S
from tests.world.process import ServiceProcess, service_process, shop_on, until

PAY = "jzb.v1.PaymentService/Pay"


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


@pytest.fixture
async def request_(database: str, bank: Sandbox) -> payment_pb2.PayRequest:
    """A payment that can be made."""
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        request = shop.pay_request("buyer", "seller", 1_00)
        request.order_no = "A-1"
        return request


@pytest.fixture
async def service(
    database: str, bank: Sandbox, collector: Collector, request_: payment_pb2.PayRequest
) -> AsyncIterator[ServiceProcess]:
    """A service that records the traces of which a test gives the id, and of the rest nothing."""
    telemetry = {"otlp_endpoint": collector.url, "metrics_interval_s": 0.2, "sample_ratio": RARE}
    async with service_process(database, bank, environment=QUICK_EXPORT, telemetry=telemetry) as running:
        yield running


def another(request: payment_pb2.PayRequest, name: str, **fields: Any) -> payment_pb2.PayRequest:
    """The same payment once more."""
    copy = payment_pb2.PayRequest()
    copy.CopyFrom(request)
    copy.request_id = copy.order_no = name
    for field, value in fields.items():
        setattr(copy, field, value)
    return copy


def test_attributes_have_the_names_of_the_installed_conventions() -> None:
    assert (tracing.RPC_SYSTEM, tracing.RPC_METHOD, tracing.RPC_STATUS) == (
        rpc_attributes.RPC_SYSTEM_NAME,
        rpc_attributes.RPC_METHOD,
        rpc_attributes.RPC_RESPONSE_STATUS_CODE,
    )
    assert tracing.SERVER_ADDRESS == server_attributes.SERVER_ADDRESS
    assert tracing.ERROR_TYPE == error_attributes.ERROR_TYPE


async def test_a_call_is_found_by_each_number_of_its_request_and_by_its_operation(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    answer = await service.payments.Pay(request_, timeout=TIMEOUT_S, metadata=SAMPLED)
    await until(lambda: collector.named(PAY), "the spans arrive")
    (span,) = collector.named(PAY)
    assert labels_of(span.attributes) == {
        "rpc.system.name": rpc_attributes.RpcSystemNameValues.GRPC.value,
        "rpc.method": PAY,
        "rpc.response.status_code": "OK",
        "server.address": "127.0.0.1",
        "jzb.request_id": request_.request_id,
        "jzb.order_no": "A-1",
        "jzb.member_id": "buyer",
        "jzb.payee_member_id": "seller",
        "jzb.operation_id": answer.operation.operation_id,
        "jzb.serial": answer.operation.serial,
    }


async def test_a_name_in_the_wrong_field_is_in_no_span(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    wrong = {"payer_member_id": "纳兰性德", "order_no": "the order of Mr Li", "request_id": "r" * 65}
    for field, value in wrong.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.payments.Pay(
                another(request_, "wrong", **{field: value}), timeout=TIMEOUT_S, metadata=SAMPLED
            )
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: len(collector.named(PAY)) == len(wrong), "the spans arrive")
    received = " ".join(collector.received)
    assert not [value for value in wrong.values() if value in received or ascii(value)[1:-1] in received]
    assert "\\347\\272\\263" not in received


async def test_a_refusal_of_the_bank_is_an_event_and_an_answer_that_did_not_come_an_error(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    for name, remark in (("refused", "[[refuse:ERR044]]"), ("lost", "[[lose_after]]")):
        with pytest.raises(grpc.aio.AioRpcError):
            await service.payments.Pay(another(request_, name, remark=remark), timeout=TIMEOUT_S, metadata=SAMPLED)
    await until(lambda: len(collector.named(PAY)) == 2, "the spans arrive")
    refused, lost = sorted(collector.named("bank 6034"), key=lambda one: one.start_time_unix_nano)
    assert refused.status.code == refused.status.STATUS_CODE_UNSET
    assert [(event.name, labels_of(event.attributes)) for event in refused.events] == [
        ("refused", {"jzb.bank_code": "ERR044"})
    ]
    assert lost.status.code == lost.status.STATUS_CODE_ERROR
    assert (labels_of(lost.attributes)["error.type"], list(lost.events)) == ("UNKNOWN", [])


async def test_a_batch_is_a_trace_of_its_own_that_links_the_payments_recorded_in_it(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    await asyncio.gather(
        service.payments.Pay(another(request_, "silent"), timeout=TIMEOUT_S),
        *(
            service.payments.Pay(another(request_, f"seen-{number}"), timeout=TIMEOUT_S, metadata=SAMPLED)
            for number in range(5)
        ),
    )
    await until(lambda: len(collector.named(PAY)) == 5, "the spans arrive")
    linked = {"reserve": set[bytes](), "settle": set[bytes]()}

    def all_are_linked() -> bool:
        links = {link.span_id for batch in collector.named("ledger batch") for link in batch.links}
        for name, found in linked.items():
            found |= {span.span_id for span in collector.named(name)} & links
        return {name: len(found) for name, found in linked.items()} == {"reserve": 5, "settle": 5}

    await until(all_are_linked, "each of the five is linked where it was reserved and where it was settled")
    for batch in collector.named("ledger batch"):
        assert batch.trace_id.hex() != TRACE_ID
        assert not batch.parent_span_id
        # Steps of the payment that nobody records are counted.
        assert int(labels_of(batch.attributes)["jzb.steps"]) >= len(batch.links) > 0
    assert {one.trace_id.hex() for one in collector.spans} - {TRACE_ID} == {
        batch.trace_id.hex() for batch in collector.named("ledger batch")
    }


async def test_exemplars_of_calls_bank_calls_and_batches_lead_to_spans_that_are_there(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    await service.payments.Pay(request_, timeout=TIMEOUT_S, metadata=SAMPLED)
    names = {
        "rpc.server.call.duration": PAY,
        "jzb.bank.call.duration": "bank 6034",
        "jzb.ledger.batch.duration": "ledger batch",
    }

    def all_lead_somewhere() -> bool:
        there = {
            metric: {(span.trace_id.hex(), span.span_id.hex()) for span in collector.named(name)}
            for metric, name in names.items()
        }
        seen = collector.exemplars
        return all(seen.get(metric) and seen[metric] <= there[metric] for metric in names)

    await until(all_lead_somewhere, "each has one, and none leads nowhere")


async def test_a_question_asked_by_hand_is_in_the_payments_trace_and_links_who_asked(
    service: ServiceProcess, collector: Collector, request_: payment_pb2.PayRequest
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await service.payments.Pay(
            another(request_, "lost", remark="[[lose_after]]"), timeout=TIMEOUT_S, metadata=SAMPLED
        )
    key = operation_pb2.OperationKey(request_id="lost")
    other_trace = f"{'a' * 16}{1:016x}"
    by_hand = (("traceparent", f"00-{other_trace}-{'b' * 16}-01"),)
    answer = await service.operations.ResolveOperation(
        operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S, metadata=by_hand
    )
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    await until(lambda: collector.named("jzb.v1.OperationService/ResolveOperation"), "the spans arrive")
    (resolve,) = collector.named("resolve")
    (asked,) = collector.named("jzb.v1.OperationService/ResolveOperation")
    assert (resolve.trace_id.hex(), asked.trace_id.hex()) == (TRACE_ID, other_trace)
    assert [link.span_id for link in resolve.links] == [asked.span_id]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> KeptSpans:
    """The spans that this process makes, of which none is recorded by chance."""
    kept = KeptSpans()
    monkeypatch.setattr(tracing, "tracer", Tracer(0.0, [kept.keep]))
    return kept


def contexts(count: int, flags: int = TraceFlags.SAMPLED) -> list[SpanContext | None]:
    return [SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(flags)) for number in range(1, count + 1)]


def test_a_crowded_batch_links_so_many_payments_and_no_more(spans: KeptSpans) -> None:
    tracing.batch([None, *contexts(100)], 0.25)
    ((batch,),) = spans.traces()
    assert batch.attributes is not None
    assert (batch.attributes["jzb.steps"], len(batch.links)) == (101, tracing.LINKS_MAX)
    assert batch.start_time is not None
    assert batch.end_time is not None
    assert batch.end_time - batch.start_time == 250_000_000


def test_a_batch_of_payments_that_nobody_records_has_no_span(spans: KeptSpans) -> None:
    tracing.batch([None, None], 0.25)
    assert not spans.traces()


def test_work_that_goes_on_by_itself_is_linked_with_its_beginning_and_not_nested(spans: KeptSpans) -> None:
    began = {"traceparent": f"00-{TRACE_ID}-{'c' * 16}-01"}
    with tracing.later("resolve", {"linked": began}, {"jzb.serial": "1"}):
        pass
    ((resolve,),) = spans.traces()
    assert resolve.parent is None
    assert [format_trace_id(link.context.trace_id) for link in resolve.links] == [TRACE_ID]
    with tracing.later("resolve", {"trace": began}, {"jzb.serial": "1"}):
        pass
    (nested,) = spans.trace(int(TRACE_ID, 16))
    assert nested.parent is not None
    assert not nested.links

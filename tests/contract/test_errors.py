"""Bad input and bad luck: what each fault of the bank does to the money, and what its caller is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from bankclient.outcome import unknown
from jzb.v1 import (
    balance_pb2,
    core_pb2,
    error_reason_pb2,
    freeze_pb2,
    member_pb2,
    operation_pb2,
    payment_pb2,
    payment_pb2_grpc,
    refund_pb2,
    topup_pb2,
    withdrawal_pb2,
)
from jzb.v1.names import ErrorReason
from sandbox.codes import MESSAGES
from service.catalogue.interfaces import SERVICES, facts
from service.contract import methods
from service.problems import FLOOR_REASONS, Problem
from service.process.server import running
from service.rpc.errors import TRAILER_MAX, status_of
from tests.world.line import shop_on_a_line
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace, service_settings
from tests.world.process import until
from tests.world.promises import PROTO, promises
from tests.world.requests import altered

DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED


async def trade(shop: Marketplace) -> None:
    """A buyer with 100.00 and a seller."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")


async def operations(shop: Marketplace) -> int:
    answer = await shop.operations.ListOperations(operation_pb2.ListOperationsRequest(page_size=200), timeout=TIMEOUT_S)
    return len(answer.operations)


async def found(shop: Marketplace, request: payment_pb2.PayRequest) -> core_pb2.Operation:
    key = operation_pb2.OperationKey(request_id=request.request_id)
    answer = await shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


async def until_done(shop: Marketplace, request: payment_pb2.PayRequest) -> core_pb2.Operation:
    """Wait, without asking the bank, until the call has been settled."""

    async def is_done() -> bool:
        return (await found(shop, request)).state == DONE

    await until(is_done, "the call is settled")
    return await found(shop, request)


async def until_sent(shop: Marketplace) -> None:
    await until(lambda: shop.calls_received("MemberTransaction"), "the bank has the request")


# What the bank does.


@pytest.mark.parametrize(
    ("code", "text"), [("ERR044", "可用余额不足"), ("ERR130", "无此交易权限"), ("ERR127", "订单号重复")]
)
async def test_a_refusal_of_the_bank_is_told_with_its_code_and_its_chinese_text(
    shop: Marketplace, code: str, text: str
) -> None:
    await trade(shop)
    request = shop.pay_request("buyer", "seller", 30_00, 3_00, remark=f"[[refuse:{code}]]")
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BANK_REFUSED")
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert (refusal.metadata["bank_code"], refusal.metadata["bank_message"]) == (code, text)
    assert text in refusal.message
    assert (refusal.operation.state, refusal.operation.bank_code) == (REFUSED, code)
    buyer = await shop.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen) == (100_00, 0)
    again = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (again.reason, again.metadata["bank_code"]) == ("BANK_REFUSED", code)
    assert again.operation == refusal.operation
    assert shop.calls_received("MemberTransaction") == 1
    await shop.assert_agrees()


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("lose_before", REFUSED),
        ("lose_after", DONE),
        ("http500", REFUSED),
        ("bad_signature", DONE),
        ("no_signature", DONE),
        ("malformed", DONE),
        ("folded", DONE),
        ("err957", DONE),
        ("refuse:ERR108", REFUSED),
        ("delay:1.0", DONE),
        ("act_late:1.0", DONE),
    ],
)
async def test_an_answer_that_proves_nothing_is_unknown_until_the_bank_says(
    database: str, fault: str, end: core_pb2.OperationState.ValueType
) -> None:
    # Not found may count only once the late one has acted.
    resolver = {"not_found_interval_s": 0.4, "not_found_times": 3}
    async with open_marketplace(database, bank={"timeout_s": 0.7}, resolver=resolver) as shop:
        await trade(shop)
        request = shop.pay_request("buyer", "seller", 30_00, 3_00, remark=f"[[{fault}]]")
        lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (lost.code, lost.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "BANK_OUTCOME_UNKNOWN")
        assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
        buyer = await shop.balance("buyer")
        assert (buyer.available_fen, buyer.held_fen) == (70_00, 30_00)
        operation = await shop.until_final(lost.operation.operation_id)
        assert operation.state == end
        buyer, seller = await shop.balance("buyer"), await shop.balance("seller")
        expected = (70_00, 27_00) if end == DONE else (100_00, 0)
        assert (buyer.available_fen, seller.available_fen) == expected
        assert buyer.held_fen == 0
        assert shop.calls_received("MemberTransaction") == 1
        await shop.assert_agrees()


@pytest.mark.parametrize(
    "fault", ["token_expired", "expire_flag", "expire_flag_alone", "duplicate_delivery", "delay:0.1"]
)
async def test_what_harms_nothing_ends_done(shop: Marketplace, fault: str) -> None:
    await trade(shop)
    request = shop.pay_request("buyer", "seller", 30_00, 3_00, remark=f"[[{fault}]]")
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == DONE
    assert (await shop.balance("seller")).available_fen == 27_00
    serials = {one.serial for one in shop.sandbox.requests if one.service_id == "MemberTransaction"}
    assert len(serials) == 1
    await shop.assert_agrees()


async def test_a_status_query_that_goes_wrong_leaves_the_payment_in_doubt(database: str) -> None:
    # Only by hand: a question on schedule would take the fault of the next one.
    async with open_marketplace(database, resolver={"silent_interval_s": 3600.0}) as shop:
        await trade(shop)
        request = shop.pay_request("buyer", "seller", 30_00, remark="[[lose_after]]")
        lost = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        for fault in ("http500", "bad_signature", "no_signature", "malformed", "err957", "lose_before"):
            shop.sandbox.faults.add(fault, code="6110")
            still = await shop.resolve(lost.operation.operation_id)
            assert still.state == core_pb2.OPERATION_STATE_UNKNOWN, fault
            assert (await shop.balance("buyer")).held_fen == 30_00
        assert (await shop.until_final(lost.operation.operation_id)).state == DONE
        await shop.assert_agrees()


async def test_the_bank_is_down_before_anything_is_reserved(database: str) -> None:
    async with open_marketplace(database) as shop:
        await trade(shop)
        recorded = await operations(shop)
        dead = service_settings(database, shop.sandbox, bank={"base_url": "http://127.0.0.1:9", "connect_tries": 1})
        async with (
            running(dead) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            request = shop.pay_request("buyer", "seller", 30_00)
            payments = payment_pb2_grpc.PaymentServiceStub(channel)
            refusal = await shop.refusal(payments.Pay(request, timeout=TIMEOUT_S))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
            assert refusal.retry_after_s is not None
            assert not refusal.operation.operation_id
        assert await operations(shop) == recorded
        assert (await shop.balance("buyer")).held_fen == 0
        # The id is not used up.
        assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == DONE
        await shop.assert_agrees()


async def test_a_line_that_breaks_after_the_reservation_releases_it_and_the_same_id_works_later(database: str) -> None:
    async with shop_on_a_line(database) as (shop, line):
        await trade(shop)
        await line.down()
        request = shop.pay_request("buyer", "seller", 30_00, 3_00)
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
        assert (refusal.outcome, refusal.operation.state) == (
            core_pb2.OUTCOME_NO_EFFECT,
            core_pb2.OPERATION_STATE_RELEASED,
        )
        assert refusal.retry_after_s is not None
        # Only its caller can go on with it: nobody else need wait.
        wait = operation_pb2.WaitOperationRequest(key=operation_pb2.OperationKey(request_id=request.request_id))
        waited = (await shop.operations.WaitOperation(wait, timeout=TIMEOUT_S)).operation
        assert waited == refusal.operation
        buyer = await shop.balance("buyer")
        assert (buyer.available_fen, buyer.held_fen) == (100_00, 0)
        # Other content under that id stays refused.
        other = shop.pay_request("buyer", "seller", 30_01, 3_00)
        other.request_id = request.request_id
        await line.up()
        assert (await shop.refusal(shop.payments.Pay(other, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"
        operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert (operation.state, operation.operation_id) == (DONE, refusal.operation.operation_id)
        assert shop.calls_received("MemberTransaction") == 1
        assert (await shop.balance("seller")).available_fen == 27_00
        await shop.assert_agrees()


# What the caller does.


async def test_a_caller_that_cancels_after_the_reservation_does_not_stop_the_payment(shop: Marketplace) -> None:
    await trade(shop)
    request = shop.pay_request("buyer", "seller", 30_00, 3_00, remark="[[act_late:0.4]]")
    call = shop.payments.Pay(request, timeout=TIMEOUT_S)
    waiting = asyncio.ensure_future(_ended(call))
    await until_sent(shop)
    call.cancel()
    assert await waiting == grpc.StatusCode.CANCELLED
    operation = await until_done(shop, request)
    assert operation.query_attempts == 0
    assert (await shop.balance("seller")).available_fen == 27_00
    await shop.assert_agrees()


async def test_a_callers_deadline_ends_the_wait_and_not_the_payment(shop: Marketplace) -> None:
    await trade(shop)
    request = shop.pay_request("buyer", "seller", 30_00, 3_00, remark="[[act_late:1.2]]")
    assert await _ended(shop.payments.Pay(request, timeout=0.8)) == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await found(shop, request)).state == core_pb2.OPERATION_STATE_RESERVED
    # The same request id waits for the call that is under way and has its answer.
    answer = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert (answer.operation.state, answer.operation.query_attempts) == (DONE, 0)
    assert shop.calls_received("MemberTransaction") == 1
    await shop.assert_agrees()


async def _ended(call: Any) -> grpc.StatusCode | None:
    try:
        await call
    except asyncio.CancelledError:
        return grpc.StatusCode.CANCELLED
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_a_deadline_too_short_for_the_bank_begins_nothing(database: str) -> None:
    async with open_marketplace(database) as shop:
        await trade(shop)
        recorded = await operations(shop)
        slow = service_settings(database, shop.sandbox, deadline_min_s=30.0)
        async with (
            running(slow) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            request = shop.pay_request("buyer", "seller", 30_00)
            payments = payment_pb2_grpc.PaymentServiceStub(channel)
            refusal = await shop.refusal(payments.Pay(request, timeout=10.0))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
            assert refusal.metadata["required_ms"] == "30000"
            assert await operations(shop) == recorded
            # Reads are not bound by it, and without a deadline there is none to be short.
            get = payment_pb2.GetOrderRequest(order_no="O-none")
            assert (await shop.refusal(payments.GetOrder(get, timeout=10.0))).reason == "ORDER_NOT_FOUND"
            assert (await payments.Pay(request)).operation.state == DONE


async def test_too_many_calls_under_way_are_refused_before_anything_is_reserved(database: str) -> None:
    async with open_marketplace(database, call_concurrency=1) as shop:
        await trade(shop)
        first = shop.pay_request("buyer", "seller", 30_00, remark="[[delay:0.6]]")
        waiting = asyncio.ensure_future(_ended(shop.payments.Pay(first, timeout=TIMEOUT_S)))
        await until_sent(shop)
        second = shop.pay_request("buyer", "seller", 10_00)
        refusal = await shop.refusal(shop.payments.Pay(second, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refusal.retry_after_s is not None
        assert not refusal.operation.operation_id
        await waiting
        assert (await shop.payments.Pay(second, timeout=TIMEOUT_S)).operation.state == DONE
        await shop.assert_agrees()


# What is malformed.

LONG = "x" * 121
CHANNEL = topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="m", transaction_no="t")


def pay(**changed: object) -> payment_pb2.PayRequest:
    """A payment that is well formed but for what is changed; None leaves a field out."""
    request = payment_pb2.PayRequest(
        request_id="r",
        payer_member_id="a",
        payee_member_id="b",
        amount_fen=1,
        settlement=payment_pb2.SETTLEMENT_T1,
    )
    return altered(request, **changed)


def opening(**changed: object) -> member_pb2.OpenMemberRequest:
    ordinary = member_pb2.MEMBER_PROPERTY_ORDINARY
    return altered(member_pb2.OpenMemberRequest(request_id="r", member_id="m", property=ordinary), **changed)


def prepayment(**changed: object) -> payment_pb2.PrepayOrderRequest:
    request = payment_pb2.PrepayOrderRequest(
        request_id="r", payer_member_id="a", payee_member_id="b", order_no="O", amount_fen=1
    )
    return altered(request, **changed)


def topping_up(**changed: object) -> topup_pb2.TopUpRequest:
    request = topup_pb2.TopUpRequest(request_id="r", member_id="m", amount_fen=1, order_no="O", channel=CHANNEL)
    return altered(request, **changed)


def withdrawal(**changed: object) -> withdrawal_pb2.WithdrawRequest:
    request = withdrawal_pb2.WithdrawRequest(
        request_id="r", member_id="m", amount_fen=1, card_number="62260900", card_holder_name="n"
    )
    return altered(request, **changed)


def frozen_payment(*payees: freeze_pb2.FrozenPayee) -> freeze_pb2.PayFrozenRequest:
    return freeze_pb2.PayFrozenRequest(request_id="r", order_no="O", payees=payees)


def split(*shares: topup_pb2.TopUpShare) -> topup_pb2.SplitTopUpRequest:
    return topup_pb2.SplitTopUpRequest(request_id="r", order_no="O", channel=CHANNEL, shares=shares)


def keyed(**key: str) -> operation_pb2.GetOperationRequest:
    return operation_pb2.GetOperationRequest(key=operation_pb2.OperationKey(**key) if key else None)


CASES: list[tuple[str, str, Any, str]] = [
    ("members", "OpenMember", opening(property=0), "property"),
    ("members", "OpenMember", opening(property=9), "property"),
    ("members", "OpenMember", opening(member_id="m-1"), "member_id"),
    ("members", "OpenMember", opening(mobile="1380"), "mobile"),
    ("members", "OpenMember", opening(nickname=LONG), "nickname"),
    ("members", "GetMember", member_pb2.GetMemberRequest(), "member_id"),
    ("members", "ListMembers", member_pb2.ListMembersRequest(page_size=-1), "page_size"),
    ("payments", "Pay", pay(request_id=None), "request_id"),
    ("payments", "Pay", pay(request_id="r r"), "request_id"),
    ("payments", "Pay", pay(request_id="r" * 65), "request_id"),
    ("payments", "Pay", pay(amount_fen=0), "amount_fen"),
    ("payments", "Pay", pay(amount_fen=-1), "amount_fen"),
    ("payments", "Pay", pay(amount_fen=10**14), "amount_fen"),
    ("payments", "Pay", pay(fee_fen=-1), "fee_fen"),
    ("payments", "Pay", pay(settlement=None), "settlement"),
    ("payments", "Pay", pay(payer_member_id=""), "payer_member_id"),
    ("payments", "Pay", pay(remark=LONG), "remark"),
    ("payments", "Pay", pay(remark="a\nb"), "remark"),
    ("payments", "ConfirmOrder", payment_pb2.ConfirmOrderRequest(request_id="r", amount_fen=1), "order_no"),
    ("payments", "PrepayOrder", prepayment(order_no="O" * 31), "order_no"),
    ("payments", "PrepayOrder", prepayment(order_no="O 1"), "order_no"),
    ("freezes", "PayFrozen", frozen_payment(), "payees"),
    ("freezes", "PayFrozen", frozen_payment(freeze_pb2.FrozenPayee(member_id="a")), "payees[0].amount_fen"),
    ("refunds", "Refund", refund_pb2.RefundRequest(request_id="r", payment_serial="?", amount_fen=1), "payment_serial"),
    ("top_ups", "TopUp", topping_up(channel=None), "channel"),
    (
        "top_ups",
        "TopUp",
        topping_up(channel=topup_pb2.Channel(type=topup_pb2.ChannelType.ValueType(10_000), merchant_no="m")),
        "channel.type",
    ),
    ("top_ups", "SplitTopUp", split(), "shares"),
    ("withdrawals", "Withdraw", withdrawal(card_number="x"), "card_number"),
    ("withdrawals", "Withdraw", withdrawal(card_holder_name=""), "request"),
    ("balances", "BatchGetBalances", balance_pb2.BatchGetBalancesRequest(), "member_ids"),
    ("operations", "GetOperation", keyed(), "key"),
    ("operations", "GetOperation", keyed(operation_id="17"), "key.operation_id"),
]


async def test_a_malformed_request_is_refused_naming_its_field_and_nothing_is_recorded(shop: Marketplace) -> None:
    recorded, sent = await operations(shop), len(shop.sandbox.requests)
    for service, method, request, field in CASES:
        refusal = await shop.refusal(getattr(getattr(shop, service), method)(request, timeout=TIMEOUT_S))
        told = f"{method} {request}: {refusal}"
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"), told
        assert field in refusal.violations, told
        assert field in refusal.message, told
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT, told
    assert (await operations(shop), len(shop.sandbox.requests)) == (recorded, sent)


async def test_every_broken_field_is_named_at_once(shop: Marketplace) -> None:
    request = payment_pb2.PayRequest(payer_member_id="?", amount_fen=-5)
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert refusal.violations.keys() == {
        "request_id",
        "payer_member_id",
        "payee_member_id",
        "amount_fen",
        "settlement",
    }
    assert refusal.violations["settlement"] == "must be stated"


@pytest.mark.parametrize("body", [b"\x0a\x02\xff\xfe", b"\x0b", b"\x0a\xff"], ids=["no UTF-8", "no end", "cut off"])
@pytest.mark.parametrize("path", ["PaymentService/Pay", "BalanceService/CompareWithBank"])
async def test_bytes_that_are_no_message_are_an_error_of_the_contract(
    shop: Marketplace, path: str, body: bytes
) -> None:
    if path.endswith("Bank"):
        call: Awaitable[object] = shop.channel.unary_stream(f"/jzb.v1.{path}", bytes, bytes)(
            body, timeout=TIMEOUT_S
        ).read()
    else:
        call = shop.channel.unary_unary(f"/jzb.v1.{path}", bytes, bytes)(body, timeout=TIMEOUT_S)
    refusal = await shop.refusal(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert refusal.violations.keys() == {"request"}


async def test_hundreds_of_broken_fields_are_still_told_in_one_error(shop: Marketplace) -> None:
    request = freeze_pb2.PayFrozenRequest(payees=[freeze_pb2.FrozenPayee(member_id="\0") for _ in range(100)])
    refusal = await shop.refusal(shop.freezes.PayFrozen(request, timeout=TIMEOUT_S))
    assert refusal.reason == "REQUEST_INVALID"
    assert len(refusal.violations) == 10
    assert re.search(r"; and \d+ more$", refusal.message)


async def test_personal_fields_are_not_repeated_in_the_error(shop: Marketplace) -> None:
    request = opening(mobile="13800138abc")
    refusal = await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S))
    assert "13800138abc" not in str(refusal)


# What is promised.


def test_every_reason_documents_the_status_code_it_comes_with() -> None:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    assert promises().keys() == {value.name.removeprefix("ERROR_REASON_") for value in values if value.number}
    assert {promise.status for promise in promises().values()} <= {code.name for code in grpc.StatusCode}
    assert "INTERNAL" not in {promise.status for promise in promises().values()}


def test_every_broken_floor_comes_with_the_documented_status_code() -> None:
    for told in FLOOR_REASONS.values():
        assert promises()[told.reason].status == told.code.name


def test_no_rpc_declares_what_any_call_may_end_with() -> None:
    general = {
        value.number: value.GetOptions().Extensions[error_reason_pb2.scope]
        for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values
    }
    assert sorted(general.values())[-1] == error_reason_pb2.REASON_SCOPE_ANY_APPROVABLE
    for name, method in methods().items():
        declared = list(facts(method).reasons)
        assert len(declared) == len(set(declared)), name
        assert error_reason_pb2.ERROR_REASON_UNSPECIFIED not in declared, name
        scopes = {general[number] for number in declared}
        assert error_reason_pb2.REASON_SCOPE_ANY_CALL not in scopes, name
        if "request_id" in method.input_type.fields_by_name:
            assert error_reason_pb2.REASON_SCOPE_ANY_CHANGE not in scopes, name


@pytest.mark.parametrize("path", sorted(PROTO.parent.glob("*.proto")), ids=lambda path: path.stem)
def test_reasons_are_declared_and_in_no_comment_beside(path: Path) -> None:
    assert "Errors:" not in path.read_text("utf-8")


@pytest.mark.parametrize("letter", ["x", "农", "𠮷"])
def test_an_error_fits_into_a_trailer_however_much_is_wrong(letter: str) -> None:
    text = letter * 1000
    problem = Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.BANK_REFUSED,
        f"the bank refused: ERR044 {text}",
        metadata={"bank_code": "ERR044", "bank_message": text},
        violations=[(f"rows[{number}].remark", text) for number in range(200)],
    )
    status = status_of(problem)
    assert 4 * status.ByteSize() // 3 + 3 * len(status.message.encode()) <= TRAILER_MAX
    assert status.message.startswith("BANK_REFUSED: the bank refused: ERR044")


async def test_a_refusal_with_a_thousand_chinese_characters_keeps_its_reason(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MESSAGES, "ERR044", "农" * 1000)
    await trade(shop)
    request = shop.pay_request("buyer", "seller", 30_00, remark="[[refuse:ERR044]]")
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR044")
    assert refusal.metadata["bank_message"] == "农" * 199 + "…"
    assert (await found(shop, request)).bank_message == "农" * 1000


async def test_the_service_reflects_its_contract_and_says_that_it_serves(shop: Marketplace) -> None:
    health = health_pb2_grpc.HealthStub(shop.channel)
    for name in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    for version in ("v1", "v1alpha"):
        (listed,) = await reflected(shop, version, reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {service.name for service in listed.list_services_response.service}
        reflections = {f"grpc.reflection.{one}.ServerReflection" for one in ("v1", "v1alpha")}
        assert names == {*SERVICES, "grpc.health.v1.Health", *reflections}


async def reflected(
    shop: Marketplace, version: str, *asked: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    """What reflection of that version answers, in one stream."""
    call: Any = shop.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter(asked), timeout=TIMEOUT_S)
    return [answer async for answer in call]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_finds_every_service_method_message_and_oneof(shop: Marketplace, version: str) -> None:
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(name) for name in (*SERVICES, f"grpc.reflection.{version}.ServerReflection")]
    symbols = {method.full_name: service.file.name for service in services for method in service.methods}
    symbols |= {method.input_type.full_name: method.input_type.file.name for one in services for method in one.methods}
    symbols |= {service.full_name: service.file.name for service in services}
    symbols |= {
        "jzb.v1.OperationKey.key": "jzb/v1/operation.proto",
        "jzb.v1.PayRequest.amount_fen": "jzb/v1/payment.proto",
        "jzb.v1.MoneyError": "jzb/v1/core.proto",
        "google.rpc.ErrorInfo": "google/rpc/error_details.proto",
        "grpc.health.v1.Health.Check": "grpc_health/v1/health.proto",
    }
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
    unknown = ("jzb.v1.PaymentService.Steal", "jzb.v1.Nothing", "nothing")
    asked += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in unknown]
    answers = await reflected(shop, version, *asked)
    for symbol, answer in zip(symbols, answers, strict=False):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file).name
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert files[0] == symbols[symbol], symbol
    assert [answer.error_response.error_code for answer in answers[-len(unknown) :]] == [5] * len(unknown)


async def test_an_error_whose_words_cannot_be_sent_is_told_by_its_status_all_the_same(shop: Marketplace) -> None:
    question = balance_pb2.GetPooledBalanceRequest()
    with patch.object(shop.service.components.bank, "call", AsyncMock(return_value=unknown("\ud83d", 1))):
        refusal = await shop.refusal(shop.balances.GetPooledBalance(question, timeout=TIMEOUT_S))
    assert refusal.reason == "BANK_UNAVAILABLE"

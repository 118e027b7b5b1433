"""A repeat is never told NO_EFFECT for what is done, and a fault of the service is called one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable
from typing import Any
from unittest.mock import AsyncMock, patch
from uuid import UUID

import grpc
import psycopg
import pytest
from google.protobuf import descriptor_pool, message_factory
from structlog.testing import capture_logs

from bankclient import MemberPayment
from bankclient.outcome import not_sent
from jzb.v1 import (
    balance_pb2,
    card_pb2,
    card_pb2_grpc,
    clearing_pb2,
    core_pb2,
    error_reason_pb2,
    freeze_pb2,
    member_pb2,
    operation_pb2,
    payment_pb2,
)
from jzb.v1.names import ErrorReason
from ledger import Step
from ledger.names import MemberCode, RequestId
from service import problems
from service.catalogue.interfaces import SERVICES
from service.path import runner
from service.plans import payments as payment_plans
from service.plans.settlement import settle
from service.problems import NAMES_NOTHING, LookedUp
from service.process.server import running
from service.rpc.errors import _Method
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace, open_marketplace, service_settings
from tests.world.process import until

NO_EFFECT, UNKNOWN = core_pb2.OUTCOME_NO_EFFECT, core_pb2.OUTCOME_UNKNOWN
DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED


async def paid(shop: Marketplace) -> tuple[payment_pb2.PayRequest, core_pb2.Operation]:
    """A payment of 30.00 that is done, and its operation."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    return request, (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation


def raw(shop: Marketplace, path: str, request: bytes) -> Awaitable[bytes]:
    """A call as its bytes, of a message or of none."""
    return shop.channel.unary_unary(path, bytes, bytes)(request, timeout=TIMEOUT_S)


def by_request_id(request_id: str) -> operation_pb2.GetOperationRequest:
    return operation_pb2.GetOperationRequest(key=operation_pb2.OperationKey(request_id=request_id))


def of_another_amount(request: payment_pb2.PayRequest) -> payment_pb2.PayRequest:
    other = payment_pb2.PayRequest()
    other.CopyFrom(request)
    other.amount_fen += 1
    return other


def changing_methods() -> list[tuple[str, Any]]:
    """Path and request class of every RPC that has a request id."""
    services = (descriptor_pool.Default().FindServiceByName(name) for name in SERVICES)
    return [
        (f"/{service.full_name}/{method.name}", message_factory.GetMessageClass(method.input_type))
        for service in services
        for method in service.methods
        if "request_id" in method.input_type.fields_by_name
    ]


# Who has looked, and who has not.


def test_no_problem_says_no_effect_before_somebody_has_looked() -> None:
    made = [
        problems.invalid("amount_fen", "is too much"),
        problems.precondition(ErrorReason.MEMBER_CLOSED, "is closed", "use another"),
        problems.overloaded("too many"),
        problems.stopping(),
        problems.deadline_passed(),
        problems.deadline_too_short(0.1, 0.25),
        problems.bank_unavailable("no line"),
        problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", "m"),
    ]
    assert {problem.outcome for problem in made} == {UNKNOWN}
    assert {problem.after(None).outcome for problem in made} == {UNKNOWN}
    assert {problem.after(LookedUp()).outcome for problem in made} == {NO_EFFECT}


def test_what_may_have_acted_stays_in_doubt_even_when_nothing_is_found() -> None:
    for problem in (problems.ledger_unavailable(), problems.ledger_behind(), problems.service_fault()):
        assert dataclasses.replace(problem, looked_up=NAMES_NOTHING).outcome == UNKNOWN


# When they come in.


async def test_a_repeat_with_too_short_a_deadline_has_its_answer_and_only_something_new_is_refused(
    database: str,
) -> None:
    async with open_marketplace(database) as shop:
        request, operation = await paid(shop)
        hurried = service_settings(database, shop.sandbox, deadline_min_s=30.0)
        async with (
            running(hurried) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            late = Marketplace(database, shop.sandbox, service, channel)
            assert (await late.payments.Pay(request, timeout=10.0)).operation == operation
            reused = await late.refusal(late.payments.Pay(of_another_amount(request), timeout=10.0))
            assert (reused.reason, reused.metadata["operation_id"]) == ("REQUEST_ID_REUSED", operation.operation_id)
            new = await late.refusal(late.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=10.0))
            assert (new.reason, new.outcome) == ("DEADLINE_TOO_SHORT", NO_EFFECT)
        assert shop.calls_received("MemberTransaction") == 1


async def test_while_the_service_stops_repeats_have_their_answers_and_new_calls_are_sent_away(
    shop: Marketplace,
) -> None:
    request, operation = await paid(shop)
    too_much = shop.pay_request("buyer", "seller", 1_000_00)
    assert (await shop.refusal(shop.payments.Pay(too_much, timeout=TIMEOUT_S))).reason == "INSUFFICIENT_FUNDS"
    (day,) = (await shop.clearing.ListDays(clearing_pb2.ListDaysRequest(), timeout=TIMEOUT_S)).days
    clearing = clearing_pb2.ClearDayRequest(request_id="clear", bank_day=day.bank_day)
    cleared = (await shop.clearing.ClearDay(clearing, timeout=TIMEOUT_S)).operation
    shop.service.components.admission.close()
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == operation
    assert (await shop.clearing.ClearDay(clearing, timeout=TIMEOUT_S)).operation == cleared
    refused = await shop.refusal(shop.payments.Pay(too_much, timeout=TIMEOUT_S))
    assert (refused.reason, refused.operation.state) == ("INSUFFICIENT_FUNDS", REFUSED)
    reused = await shop.refusal(shop.payments.Pay(of_another_amount(request), timeout=TIMEOUT_S))
    assert reused.reason == "REQUEST_ID_REUSED"
    new = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
    assert (new.code, new.reason, new.outcome) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING", NO_EFFECT)
    # Who asks for an operation is not told that it has had no effect; of a balance there is nothing to be said.
    get = by_request_id(request.request_id)
    about_it = await shop.refusal(shop.operations.GetOperation(get, timeout=TIMEOUT_S))
    assert (about_it.reason, about_it.outcome) == ("SERVICE_STOPPING", UNKNOWN)
    read = balance_pb2.GetBalanceRequest(member_id="buyer")
    assert (await shop.refusal(shop.balances.GetBalance(read, timeout=TIMEOUT_S))).outcome == NO_EFFECT
    assert shop.calls_received("MemberTransaction") == 1


@pytest.mark.parametrize(
    ("path", "request_class"), changing_methods(), ids=lambda value: getattr(value, "__name__", value)
)
def test_every_rpc_that_changes_something_is_known_as_one(path: str, request_class: Any) -> None:
    assert _Method.of(path).changes
    assert request_class().request_id == ""


async def test_no_rpc_says_no_effect_for_a_request_id_that_is_done(shop: Marketplace) -> None:
    request, operation = await paid(shop)
    for is_closed in (False, True):
        shop.service.components.admission.is_closed = is_closed
        for path, request_class in changing_methods():
            same_id = request_class(request_id=request.request_id)
            refusal = await shop.refusal(raw(shop, path, same_id.SerializeToString()))
            assert (refusal.reason, refusal.metadata["operation_id"]) == ("REQUEST_ID_REUSED", operation.operation_id)
    assert len(changing_methods()) >= 33


@pytest.mark.parametrize("path", ["PaymentService/Pay", "FreezeService/Freeze"])
async def test_of_bytes_that_cannot_be_read_nobody_knows_what_they_repeat(shop: Marketplace, path: str) -> None:
    refusal = await shop.refusal(raw(shop, f"/jzb.v1.{path}", b"\x0a\xff"))
    assert (refusal.reason, refusal.outcome) == ("REQUEST_INVALID", UNKNOWN)


async def test_where_too_many_rpcs_are_under_way_nobody_looks_and_nobody_says_no_effect(database: str) -> None:
    async with open_marketplace(database, grpc={"rpcs_max": 1}) as shop:
        request, operation = await paid(shop)
        at_bank = len(shop.sandbox.requests)
        slow = shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00, remark="[[delay:1.0]]"), timeout=TIMEOUT_S)
        await until(lambda: len(shop.sandbox.requests) > at_bank, "the only place is taken")
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.outcome) == ("OVERLOADED", UNKNOWN)
        await slow
        await until(lambda: _answered(shop, request, operation), "the place is free")


async def _answered(shop: Marketplace, request: payment_pb2.PayRequest, operation: core_pb2.Operation) -> bool:
    try:
        return bool((await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == operation)
    except grpc.aio.AioRpcError:
        return False


# Once they are in.


async def test_a_repeat_that_finds_the_ledgers_queue_full_has_its_answer(shop: Marketplace) -> None:
    request, operation = await paid(shop)
    shop.service.components.writer._queue_max = 0
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == operation
    new = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
    assert (new.reason, new.outcome) == ("OVERLOADED", NO_EFFECT)


async def test_a_repeat_whose_words_the_bank_would_not_take_today_has_its_answer(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, operation = await paid(shop)

    def refusing(*_: Any) -> Any:
        MemberPayment.model_validate({})

    monkeypatch.setattr(payment_plans, "pay", refusing)
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == operation
    new = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
    assert (new.reason, new.outcome) == ("REQUEST_INVALID", NO_EFFECT)


async def test_what_never_left_and_cannot_be_tried_again_is_told_why(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    with patch.object(shop.service.components.bank, "_call", AsyncMock(return_value=not_sent("no line", 1))):
        away = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (away.reason, away.operation.state) == ("BANK_UNAVAILABLE", core_pb2.OPERATION_STATE_RELEASED)
    close = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id="seller")
    await shop.members.CloseMember(close, timeout=TIMEOUT_S)
    # To be told for ever that the bank is away, and to send the same again, would have no end.
    for _ in range(2):
        told = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (told.reason, told.outcome, told.operation) == ("MEMBER_CLOSED", NO_EFFECT, away.operation)
    released = await shop.service.components.reads.operation(request_id=RequestId(request.request_id))
    closed = problems.member_closed(MemberCode("seller"))
    assert closed.after(LookedUp(released)).next_step == closed.next_step
    assert shop.calls_received("MemberTransaction") == 0


async def test_a_card_request_is_repeated_where_the_key_is_retired(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.merchant("seller")
        refresh = {"request_id": "refresh", "member_id": "seller"}
        first = (await shop.cards.RefreshCards(card_request(**refresh), timeout=TIMEOUT_S)).operation
        keyless = service_settings(database, shop.sandbox, vault={"keys": [], "retired_keys": [VAULT_KEY]})
        async with (
            running(keyless) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            stub = card_pb2_grpc.CardServiceStub(channel)
            assert (await stub.RefreshCards(card_request(**refresh), timeout=TIMEOUT_S)).operation == first
            other = await shop.refusal(stub.RefreshCards(card_request("other", "seller"), timeout=TIMEOUT_S))
            assert (other.reason, other.outcome) == ("INTERFACE_NOT_ENABLED", NO_EFFECT)


def card_request(request_id: str, member_id: str) -> Any:
    return card_pb2.RefreshCardsRequest(request_id=request_id, member_id=member_id)


async def test_a_refusal_whose_request_id_cannot_be_looked_up_says_that_it_is_not_known(database: str) -> None:
    async with open_marketplace(database) as shop:
        request, _ = await paid(shop)
        hurried = service_settings(database, shop.sandbox, deadline_min_s=30.0)
        async with (
            running(hurried) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
            await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        ):
            late = Marketplace(database, shop.sandbox, service, channel)
            await connection.execute("ALTER TABLE event RENAME TO elsewhere")
            await connection.execute("ALTER TABLE due RENAME TO not_there")
            refusal = await late.refusal(late.payments.Pay(request, timeout=10.0))
            assert (refusal.reason, refusal.outcome) == ("DEADLINE_TOO_SHORT", UNKNOWN)
            await connection.execute("ALTER TABLE elsewhere RENAME TO event")
            await connection.execute("ALTER TABLE not_there RENAME TO due")
            # Books that are older than the bank cannot say that there was nothing.
            await connection.execute("UPDATE platform SET behind_since = now()")
            new = shop.pay_request("buyer", "seller", 1_00)
            refusal = await late.refusal(late.payments.Pay(new, timeout=10.0))
            assert (refusal.reason, refusal.outcome) == ("DEADLINE_TOO_SHORT", UNKNOWN)
            await connection.execute("UPDATE platform SET behind_since = NULL")


# Who asks for what is on its way.


async def test_what_is_not_found_may_be_on_its_way(shop: Marketplace) -> None:
    request, _ = await paid(shop)
    late = shop.pay_request("buyer", "seller", 1_00)
    refusal = await shop.refusal(shop.operations.GetOperation(by_request_id(late.request_id), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")
    assert refusal.outcome == UNKNOWN
    order = payment_pb2.GetOrderRequest(order_no="O-late")
    assert (await shop.refusal(shop.payments.GetOrder(order, timeout=TIMEOUT_S))).outcome == UNKNOWN
    frozen = freeze_pb2.GetFreezeRequest(order_no="O-late")
    assert (await shop.refusal(shop.freezes.GetFreeze(frozen, timeout=TIMEOUT_S))).outcome == UNKNOWN
    found = await shop.operations.GetOperation(by_request_id(request.request_id), timeout=TIMEOUT_S)
    assert found.operation.state == DONE


# What nobody foresaw.


@pytest.mark.parametrize("breaks", ["making the step", "writing the step"])
async def test_an_error_that_nobody_foresaw_marks_the_operation_at_once_and_the_bank_is_asked(
    database: str, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    async with open_marketplace(database, resolver={"orphan_after_s": 3600.0, "ask_after_s": 0.1}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")

        def broken(*args: Any, **kwargs: Any) -> Step:
            if breaks == "making the step":
                raise ZeroDivisionError
            step = settle(*args, **kwargs)
            change = dataclasses.replace(step.change, evidence=None)  # type: ignore[arg-type]  # nothing can write this
            return dataclasses.replace(step, change=change)

        monkeypatch.setattr(runner, "settle", broken)
        request = shop.pay_request("buyer", "seller", 30_00)
        with capture_logs() as logs:
            refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNKNOWN, "SERVICE_FAULT")
        assert refusal.outcome == UNKNOWN
        assert refusal.operation.state == core_pb2.OPERATION_STATE_UNKNOWN
        assert refusal.operation.reason == error_reason_pb2.ERROR_REASON_SERVICE_FAULT
        (entry,) = (entry for entry in logs if entry["event"] == "unforeseen")
        assert entry["operation_id"] == refusal.operation.operation_id
        assert str(UUID(refusal.operation.operation_id)) == refusal.operation.operation_id
        # Asked soon, by the schedule of what is in doubt and not that of orphans.
        await until(lambda: _is_done(shop, request), "the resolver has settled it")
        assert shop.calls_received("MemberTransaction") == 1
        assert (await shop.balance("seller")).available_fen == 30_00
        await shop.assert_agrees()


async def _is_done(shop: Marketplace, request: payment_pb2.PayRequest) -> bool:
    found = await shop.operations.GetOperation(by_request_id(request.request_id), timeout=TIMEOUT_S)
    return bool(found.operation.state == DONE)


async def test_when_only_the_answer_breaks_the_error_says_that_the_money_has_moved(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "view", None)
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.outcome) == ("SERVICE_FAULT", core_pb2.OUTCOME_DONE)
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == refusal.operation


async def test_half_a_character_in_the_banks_words_stops_neither_the_money_nor_the_answer(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")

    def halved(*args: Any, **kwargs: Any) -> Step:
        step = settle(*args, **kwargs)
        return dataclasses.replace(step, change=dataclasses.replace(step.change, bank_message="\ud83d"))

    monkeypatch.setattr(runner, "settle", halved)
    request = shop.pay_request("buyer", "seller", 30_00)
    first = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert (first.operation.state, first.operation.bank_message) == (DONE, "?")
    assert await shop.payments.Pay(request, timeout=TIMEOUT_S) == first


async def test_an_error_that_nobody_foresaw_before_the_reservation_is_logged_once_and_leaves_nothing(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(payment_plans, "pay", lambda *_: 1 // 0)
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNKNOWN, "SERVICE_FAULT")
    assert refusal.outcome == UNKNOWN
    assert [entry["request_id"] for entry in logs if entry["event"] == "unforeseen"] == [request.request_id]
    assert shop.calls_received("MemberTransaction") == 0
    # The request id is not used up.
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == DONE


async def test_a_database_that_is_away_is_no_fault_of_the_service(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as connection:
        await connection.execute("ALTER TABLE event RENAME TO elsewhere")
        with capture_logs() as logs:
            watch = shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest(), timeout=TIMEOUT_S)
            refusal = await shop.refusal(_first(watch))
        await connection.execute("ALTER TABLE elsewhere RENAME TO event")
    assert refusal.reason == "LEDGER_UNAVAILABLE"
    assert not [entry for entry in logs if entry["event"] == "unforeseen"]


async def _first(stream: Any) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        async for answer in stream:
            return answer
    return None

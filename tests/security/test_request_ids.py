"""A request id belongs to its namespace: another caller neither sees what it did, nor its content, nor uses it up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from jzb.v1 import core_pb2, operation_pb2
from service.rpc import access
from tests.world.callers import EVERYTHING, OPERATOR, Locked, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace, read_one
from tests.world.process import until
from tests.world.requests import altered

ORDERS = "spiffe://test/orders"
COPY = "spiffe://test/orders-too"
EVIL = "spiffe://test/evil"
OLD = "spiffe://test/old"

Shops = dict[str, Marketplace]


@pytest.fixture
async def service(database: str, tmp_path: Path) -> AsyncIterator[Locked]:
    scopes = ("money.pay", "read.own", "manual", "admin")
    async with locked(
        database,
        tmp_path,
        given(ORDERS, *scopes, namespace="orders"),
        given(COPY, *scopes, namespace="orders"),
        given(EVIL, *scopes, namespace="evil"),
        given(OLD, *scopes),
    ) as running:
        yield running


@pytest.fixture
async def shops(service: Locked) -> Shops:
    operator = await service.shop(OPERATOR)
    await operator.buyer("buyer", 1000_00)
    await operator.merchant("seller")
    return {name: await service.shop(name) for name in (OPERATOR, ORDERS, COPY, EVIL, OLD)}


async def test_an_id_cannot_be_squatted(shops: Shops) -> None:
    request = altered(shops[EVIL].pay_request("buyer", "seller", 1), request_id="order-17")
    await shops[EVIL].payments.Pay(request, timeout=TIMEOUT_S)
    honest = altered(shops[ORDERS].pay_request("buyer", "seller", 30_00), request_id="order-17")
    paid = (await shops[ORDERS].payments.Pay(honest, timeout=TIMEOUT_S)).operation
    assert (paid.state, paid.amount_fen) == (core_pb2.OPERATION_STATE_DONE, 30_00)
    again = (await shops[ORDERS].payments.Pay(honest, timeout=TIMEOUT_S)).operation
    assert again.operation_id == paid.operation_id, "the same id acts once within its namespace"
    assert (await shops[OPERATOR].balance("buyer")).available_fen == 969_99
    await shops[OPERATOR].assert_agrees()


async def test_another_callers_id_is_not_found_and_nothing_of_its_content_is_told(shops: Shops) -> None:
    request = altered(shops[ORDERS].pay_request("buyer", "seller", 30_00), request_id="order-18")
    paid = (await shops[ORDERS].payments.Pay(request, timeout=TIMEOUT_S)).operation
    evil = shops[EVIL]
    for key in (
        operation_pb2.OperationKey(request_id="order-18"),
        operation_pb2.OperationKey(operation_id=paid.operation_id),
        operation_pb2.OperationKey(serial=paid.serial),
        operation_pb2.OperationKey(bank_serial=paid.bank_serial),
    ):
        for call in (
            evil.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S),
            evil.operations.WaitOperation(operation_pb2.WaitOperationRequest(key=key), timeout=TIMEOUT_S),
            evil.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S),
        ):
            refusal = await evil.refusal(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"), key
            assert refusal.operation == core_pb2.Operation()
    probe = await evil.payments.Pay(altered(request, amount_fen=1), timeout=TIMEOUT_S)
    assert probe.operation.amount_fen == 1, "other content under the same id is no clash, and shows no fingerprint"


async def test_a_probe_by_dry_run_or_by_a_refusal_shows_nothing_of_others(shops: Shops) -> None:
    request = altered(shops[ORDERS].pay_request("buyer", "seller", 30_00), request_id="order-19")
    paid = (await shops[ORDERS].payments.Pay(request, timeout=TIMEOUT_S)).operation
    evil = shops[EVIL]
    dry = (await evil.payments.Pay(altered(request, validate_only=True), timeout=TIMEOUT_S)).operation
    assert dry.operation_id == ""
    refusal = await evil.refusal(evil.payments.Pay(altered(request, payer_member_id="nobody"), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.operation) == ("MEMBER_NOT_FOUND", core_pb2.Operation())
    refusal = await evil.refusal(evil.payments.Pay(altered(request, amount_fen=-1), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.operation) == ("REQUEST_INVALID", core_pb2.Operation())
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    refusal = await evil.refusal(evil.payments.Pay(request, timeout=0.2))
    assert refusal.operation.operation_id != paid.operation_id


async def test_no_request_id_reaches_into_another_namespace(shops: Shops) -> None:
    request = altered(shops[ORDERS].pay_request("buyer", "seller", 30_00), request_id="order-20")
    await shops[ORDERS].payments.Pay(request, timeout=TIMEOUT_S)
    for name in (OLD, EVIL, OPERATOR):
        for spelled in ("orders/order-20", "/order-20", "orders order-20", "../orders/order-20"):
            shop = shops[name]
            key = operation_pb2.OperationKey(request_id=spelled)
            refusal = await shop.refusal(
                shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
            )
            assert refusal.reason == "REQUEST_INVALID", (name, spelled)
            if name != OPERATOR:
                refusal = await shop.refusal(shop.payments.Pay(altered(request, request_id=spelled), timeout=TIMEOUT_S))
                assert (refusal.reason, refusal.operation) == ("REQUEST_INVALID", core_pb2.Operation())


async def test_lists_and_watches_show_the_own_namespace_and_what_the_bank_did(shops: Shops) -> None:
    mine = await shops[ORDERS].pay("buyer", "seller", 1_00)
    await shops[EVIL].pay("buyer", "seller", 2_00)
    copied = await shops[COPY].pay("buyer", "seller", 3_00)
    listed = await shops[ORDERS].operations.ListOperations(operation_pb2.ListOperationsRequest(), timeout=TIMEOUT_S)
    assert {one.namespace for one in listed.operations if one.request_id} == {"orders"}
    assert [one.operation_id for one in listed.operations if one.request_id] == [
        copied.operation_id,
        mine.operation_id,
    ], "callers of one namespace share it"
    assert any(not one.request_id for one in listed.operations), "the opening balance is the bank's"
    watch = shops[ORDERS].operations.WatchOperations(
        operation_pb2.WatchOperationsRequest(from_start=True, states=[core_pb2.OPERATION_STATE_DONE]), timeout=TIMEOUT_S
    )
    seen: list[core_pb2.Operation] = []
    while not seen or seen[-1].operation_id != copied.operation_id:
        seen.append((await read_one(watch)).operation)
    assert {one.namespace for one in seen if one.request_id} == {"orders"}


async def test_what_was_done_before_there_was_a_policy_belongs_to_the_default_namespace(shops: Shops) -> None:
    before = altered(shops[OPERATOR].pay_request("buyer", "seller", 4_00), request_id="from-long-ago")
    paid = (await shops[OPERATOR].payments.Pay(before, timeout=TIMEOUT_S)).operation
    again = (await shops[OLD].payments.Pay(before, timeout=TIMEOUT_S)).operation
    assert again.operation_id == paid.operation_id
    assert again.caller == OPERATOR, "who asked first is kept"
    assert (await shops[OPERATOR].balance("buyer")).available_fen == 996_00


async def test_a_refusal_looks_the_id_up_in_the_callers_own_namespace(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has lost a scope is told what its payment did, and never what another's of the same id did."""
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.02)
    payer, reader = given(ORDERS, "money.pay", namespace="orders"), given(EVIL, "read.own", namespace="evil")
    async with locked(database, tmp_path, payer, reader) as service:
        operator, orders, evil = [await service.shop(name) for name in (OPERATOR, ORDERS, EVIL)]
        await operator.buyer("buyer", 1000_00)
        await operator.merchant("seller")
        request = altered(orders.pay_request("buyer", "seller", 30_00), request_id="order-21")
        await orders.payments.Pay(request, timeout=TIMEOUT_S)
        theirs = altered(request, request_id="default-1", amount_fen=5_00)
        await operator.payments.Pay(theirs, timeout=TIMEOUT_S)
        for probe in (theirs, altered(theirs, amount_fen=1)):
            refusal = await evil.refusal(evil.payments.Pay(probe, timeout=TIMEOUT_S))
            assert (refusal.reason, refusal.outcome) == ("SCOPE_MISSING", core_pb2.OUTCOME_NO_EFFECT)
            assert refusal.operation == core_pb2.Operation()
        service.rewrite(EVERYTHING, given(ORDERS, "read.own", namespace="orders"))

        async def may_read() -> bool:
            try:
                await orders.balance("buyer")
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(may_read, "the policy without the scope holds")
        refusal = await orders.refusal(orders.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.outcome) == ("SCOPE_MISSING", core_pb2.OUTCOME_DONE), "the money has moved"
        assert refusal.operation.request_id == "order-21"


async def test_who_has_too_much_under_way_is_told_what_its_request_id_has_done(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given(ORDERS, "money.pay", "read.own", namespace="orders", calls_max=1)) as s:
        operator, orders = await s.shop(OPERATOR), await s.shop(ORDERS)
        await operator.buyer("buyer", 1000_00)
        await operator.merchant("seller")
        request = orders.pay_request("buyer", "seller", 30_00)
        await orders.payments.Pay(request, timeout=TIMEOUT_S)
        watch = orders.operations.WatchOperations(operation_pb2.WatchOperationsRequest(from_start=True))
        await read_one(watch)
        refusal = await orders.refusal(orders.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.outcome) == ("OVERLOADED", core_pb2.OUTCOME_DONE)

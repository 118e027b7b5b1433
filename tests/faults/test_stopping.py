"""SIGTERM: what is under way is finished or marked within a set time, and what is marked is ended by the next one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jzb.v1 import core_pb2, operation_pb2, payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace, read_one, refusal_of
from tests.world.process import ServiceProcess, service_process, shop_on, until, writer_held

DONE = core_pb2.OPERATION_STATE_DONE


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


async def prepared(database: str, bank: Sandbox, number: int, remark: str) -> list[payment_pb2.PayRequest]:
    """A buyer with 100.00 and a seller; returns payments of 1.00 that are about to be asked for."""
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        return [shop.pay_request("buyer", "seller", 1_00, remark=remark) for _ in range(number)]


def received(bank: Sandbox) -> int:
    return sum(one.service_id == "MemberTransaction" for one in bank.requests)


async def states(database: str) -> list[tuple[str, str]]:
    """State and reason of every payment."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        found = await connection.execute("SELECT state, reason FROM operation WHERE kind = 'PAY_T1' ORDER BY id")
        return [(row[0], row[1]) for row in await found.fetchall()]


async def stopped(service: ServiceProcess) -> float:
    """Ask it to stop; returns how long it took, in seconds."""
    began_s = time.monotonic()
    service.signal(signal.SIGTERM)
    assert await service.ended(30.0) == 0, "".join(service.said)
    return time.monotonic() - began_s


async def assert_all_paid(shop: Marketplace, number: int) -> None:
    """By the resolver, on its own schedule."""

    async def is_paid() -> bool:
        return (await shop.balance("seller")).available_fen == number * 1_00

    await until(is_paid, "the resolver has ended all payments")
    assert (await shop.balance("buyer")).held_fen == 0
    await shop.assert_agrees()


async def test_calls_slower_than_the_drain_are_marked_and_the_next_process_resolves_them(
    database: str, bank: Sandbox
) -> None:
    requests = await prepared(database, bank, 12, "[[delay:4.5]]")
    async with service_process(database, bank, drain_s=0.5, resolver={"ask_after_s": 0.2}) as service:
        calls = [asyncio.ensure_future(service.payments.Pay(request, timeout=TIMEOUT_S)) for request in requests]
        await until(lambda: received(bank) == 12, "the bank has all requests")
        # Waits for its caller's deadline no longer than for the drain.
        assert await stopped(service) < 4.0
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, grpc.aio.AioRpcError)
            told = refusal_of(error)
            assert (told.reason, told.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert await states(database) == [("unknown", "stopped")] * 12
    async with shop_on(database, bank) as shop:
        await assert_all_paid(shop, 12)
        assert shop.calls_received("MemberTransaction") == 12
        # The same request has the answer that it would have had.
        assert (await shop.payments.Pay(requests[0], timeout=TIMEOUT_S)).operation.state == DONE


async def test_while_a_call_ends_balancers_are_sent_away_and_new_calls_are_refused(
    database: str, bank: Sandbox
) -> None:
    slow, late = await prepared(database, bank, 2, "[[delay:2.5]]")
    async with service_process(database, bank, drain_s=20.0) as service:
        health = health_pb2_grpc.HealthStub(service.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = asyncio.ensure_future(service.payments.Pay(slow, timeout=TIMEOUT_S))
        await until(lambda: received(bank) == 1, "the bank has the request")
        service.signal(signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.payments.Pay(late, timeout=TIMEOUT_S)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        told = refusal_of(refused.value)
        assert (told.reason, told.outcome) == ("SERVICE_STOPPING", core_pb2.OUTCOME_NO_EFFECT)
        assert told.retry_after_s is not None
        # Connections are not taken any more, either.
        await asyncio.sleep(0.8)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.payments.Pay(late, timeout=TIMEOUT_S)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert not call.done()
        assert (await call).operation.state == DONE
        # The balancer still watches: it does not hold the end up.
        assert await service.ended(5.0) == 0
    assert await states(database) == [("done", "")]


async def test_a_watch_ends_with_its_process_and_goes_on_at_the_next_by_its_cursor(
    database: str, bank: Sandbox
) -> None:
    (request,) = await prepared(database, bank, 1, "")
    async with service_process(database, bank, drain_s=20.0) as service:
        watch = service.operations.WatchOperations(operation_pb2.WatchOperationsRequest(from_start=True))
        cursor = ""

        async def read() -> None:
            nonlocal cursor
            async for answer in watch:
                cursor = answer.cursor

        reading = asyncio.ensure_future(read())
        await until(lambda: cursor, "the watch has begun")
        assert await stopped(service) < 8.0
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await reading
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert refusal_of(ended.value).reason == "SERVICE_STOPPING"
        assert refusal_of(ended.value).metadata["cursor"] == cursor
    async with shop_on(database, bank) as shop:
        watch = shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest(cursor=cursor))
        assert (await read_one(watch)).cursor == cursor
        paid = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert (await read_one(watch)).operation.operation_id == paid.operation_id


async def test_a_ledger_that_stands_still_does_not_keep_the_process(database: str, bank: Sandbox) -> None:
    (request,) = await prepared(database, bank, 1, "[[delay:4.5]]")
    async with service_process(database, bank, drain_s=0.3) as service:
        call: asyncio.Future[Any] = asyncio.ensure_future(service.payments.Pay(request, timeout=TIMEOUT_S))
        await until(lambda: received(bank) == 1, "the bank has the request")
        async with writer_held(database, "9930"):
            assert await stopped(service) < 15.0
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    # Not even marked: an orphan, as after a crash.
    assert await states(database) == [("reserved", "")]

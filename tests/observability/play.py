"""What goes on while Prometheus looks: a marketplace's day at two service processes, faults of the bank by a schedule,
and one story for each alert that is to fire for real.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
import httpx

from jzb.v1 import (
    core_pb2,
    file_pb2,
    file_pb2_grpc,
    member_pb2,
    operation_pb2,
    suspense_pb2,
    withdrawal_pb2,
)
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process import demo
from service.process.server import Service
from tests.world.collector import QUICK_EXPORT, Collector, collecting
from tests.world.freezes import freeze_request
from tests.world.marketplace import SETTLED, TIMEOUT_S, Marketplace
from tests.world.orders import prepay_request
from tests.world.personal import CARD, HOLDER, MOBILE
from tests.world.process import ServiceProcess, service_process, until, writer_held
from tests.world.prometheus import Prometheus, free_port, prometheus
from tests.world.standby import STANDBY, detached, execute, pair

FAULTS = (
    *("lose_before", "lose_after", "delay:0.4", "http500", "bad_signature", "malformed"),
    *("token_expired", "refuse:ERR044", "err957", "delay:0.1"),
)
"""The schedule: one strikes each payment in turn."""

TIMED = 20
TIMED_DELAY_S = 0.24
"""Well inside a bucket, so that a busy machine does not carry it into the next."""

FIRES_WITHIN_S = 60.0
CLEARS_WITHIN_S = 60.0

PLATFORM = "9930"

FILLED = {
    "$platform": ".+",
    "$instance": ".+",
    # As Grafana has them: four scrapes at least, and the time that is shown.
    "$__rate_interval": "10s",
    "$__range": "300s",
}


def filled(expression: str) -> str:
    """A panel's query with its variables filled in, as Grafana sends it."""
    for variable, value in FILLED.items():
        expression = expression.replace(variable, value)
    return expression


@dataclass
class Process:
    """One service process as a caller has it; it may be another one after a while, at the same address of metrics."""

    metrics: str
    service: ServiceProcess
    shop: Marketplace


@dataclass
class World:
    """Everything that runs."""

    dsn: str
    standby_dsn: str
    bank: Sandbox
    collector: Collector
    prometheus: Prometheus
    processes: list[Process] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    stories: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    with_personal_data: list[str] = field(default_factory=list)
    """Request ids of calls with personal data in them."""
    took_s: list[float] = field(default_factory=list)
    timed_at_s: float = 0.0
    """When Prometheus had seen the timed calls and no others of their RPC."""

    @property
    def logs(self) -> str:
        """All lines of all processes that ever ran."""
        return "".join(line for lines in self.said for line in lines)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Two processes on a primary with a standby, a bank, a collector and Prometheus; the day and all stories are over
    when the block begins.
    """
    async with AsyncExitStack() as stack:
        primary, standby = await stack.enter_async_context(pair(folder))
        bank = await stack.enter_async_context(
            Sandbox(SandboxSettings(clear_same_day=True, any_code=True, withdrawal_delay_s=0.0))
        )
        collector = await stack.enter_async_context(collecting())
        targets = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        (folder / "prometheus").mkdir()
        server = await stack.enter_async_context(prometheus(folder / "prometheus", targets))
        found = World(primary.dsn, standby.dsn, bank, collector, server)
        for number, target in enumerate(targets):
            service = await stack.enter_async_context(_service(found, target))
            found.processes.append(Process(target, service, _shop(found, service, number)))
        await _play(found, stack)
        yield found


@asynccontextmanager
async def _service(world: World, metrics: str) -> AsyncIterator[ServiceProcess]:
    telemetry = {
        "otlp_endpoint": world.collector.url,
        "metrics_listen": metrics,
        "metrics_interval_s": 0.5,
        "log_level": "debug",
        "log_json": True,
    }
    async with service_process(
        world.dsn,
        world.bank,
        environment=QUICK_EXPORT,
        telemetry=telemetry,
        bank={"timeout_s": 3.0},
        breaker={"failures": 5, "open_s": 2.0},
        clearing={"poll_s": 1.0},
        returns={"poll_s": 1.0},
        transfers={"poll_s": 1.0},
        rules=SETTLED,
    ) as service:
        world.said.append(service.said)
        yield service


def _shop(world: World, service: ServiceProcess, number: int) -> Marketplace:
    # Its service is a process of its own: only what speaks gRPC is used here.
    shop = Marketplace(world.dsn, world.bank, cast(Service, None), service.channel)
    shop._numbers = itertools.count(10_000_000 * (number + 1))
    return shop


async def _play(world: World, stack: AsyncExitStack) -> None:
    first, second = (process.shop for process in world.processes)
    await first.buyer("buyer", 1_000_000_00)
    await first.merchant("seller")
    await _timed_calls(world)
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_watch(second))
        for number in range(2):
            tasks.create_task(_load(world, number, is_over))
        await _day(world)
        world.stories = _stories(world, stack)
        await asyncio.wait(world.stories.values())
        is_over.set()
        watch.cancel()
    # One more look of Prometheus at what came last.
    await asyncio.sleep(2.0)


async def _timed_calls(world: World) -> None:
    """Calls of one RPC that the client measures, before anybody else calls it."""
    shop = world.processes[0].shop
    for _ in range(TIMED):
        request = prepay_request(shop, "buyer", "seller", shop.order_no(), 1_00, remark=f"[[delay:{TIMED_DELAY_S}]]")
        began_s = time.perf_counter()
        await shop.payments.PrepayOrder(request, timeout=TIMEOUT_S)
        world.took_s.append(time.perf_counter() - began_s)

    async def is_seen() -> bool:
        found = await world.prometheus.at(
            'sum(rpc_server_call_duration_seconds_count{rpc_method="jzb.v1.PaymentService/PrepayOrder"})'
        )
        return bool(found) and float(found[0]["value"][1]) == TIMED

    await until(is_seen, "Prometheus has seen the timed calls")
    world.timed_at_s = time.time()


async def _watch(shop: Marketplace) -> None:
    """A caller that follows all operations, for as long as the process lives."""
    with suppress(grpc.aio.AioRpcError):
        async for _ in shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()):
            pass


async def _day(world: World) -> None:
    """The demo's day, and what it leaves out: a file, personal data, a refused request."""
    shop = world.processes[0].shop
    # Whether the books agree is not judged here: others pay meanwhile.
    await demo.run_demo(world.processes[0].service.target, world.bank.url)
    transfer = {"amount_fen": 300_00, "payer_name": HOLDER, "remark": "x"}
    async with httpx.AsyncClient(base_url=world.bank.url, trust_env=False) as control:
        sent = (await control.post("/control/transfers", json=transfer)).raise_for_status().json()["bank_day"]
    day = f"{sent[:4]}-{sent[4:6]}-{sent[6:]}"
    collect = suspense_pb2.CollectTransfersRequest(first_bank_day=day, last_bank_day=day)
    await shop.suspense.CollectTransfers(collect, timeout=TIMEOUT_S)
    files = file_pb2_grpc.FileServiceStub(shop.channel)
    with suppress(grpc.aio.AioRpcError):
        async for _ in files.FetchFile(
            file_pb2.FetchFileRequest(bank_day=day, type=file_pb2.FILE_TYPE_TRANSACTIONS), timeout=TIMEOUT_S
        ):
            pass
    member = member_pb2.OpenMemberRequest(
        request_id=shop.request_id(),
        member_id="known",
        property=member_pb2.MEMBER_PROPERTY_ORDINARY,
        nickname=HOLDER,
        mobile=MOBILE,
    )
    await shop.members.OpenMember(member, timeout=TIMEOUT_S)
    world.with_personal_data.append(member.request_id)
    for fault in ("", "refuse:ERR044", "lose_after"):
        if fault:
            world.bank.faults.add(fault, code="6033")
        request = withdrawal_pb2.WithdrawRequest(
            request_id=shop.request_id(),
            member_id="seller",
            amount_fen=1_00,
            card_number=CARD,
            card_holder_name=HOLDER,
        )
        with suppress(grpc.aio.AioRpcError):
            await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)
        world.with_personal_data.append(request.request_id)
    world.bank.faults.clear()


async def _load(world: World, number: int, is_over: asyncio.Event) -> None:
    """Small payments at one process, each with the next fault of the schedule; what is left in doubt is resolved."""
    for fault in _schedule():
        if is_over.is_set():
            return
        shop = world.processes[number].shop
        request = shop.pay_request("buyer", "seller", 1_00, remark=f"[[{fault}]]" if fault else "")
        with suppress(grpc.aio.AioRpcError):
            await shop.payments.Pay(request, timeout=TIMEOUT_S)
        if fault:
            await _resolved(shop, request.request_id)
        await asyncio.sleep(0.3)


def _schedule() -> Iterator[str]:
    """Each fault between payments that go well: no breaker opens by them."""
    for fault in itertools.cycle(FAULTS):
        yield from (fault, "", "", "")


async def _resolved(shop: Marketplace, request_id: str) -> None:
    key = operation_pb2.OperationKey(request_id=request_id)
    with suppress(grpc.aio.AioRpcError):
        await shop.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S)


def _stories(world: World, stack: AsyncExitStack) -> dict[str, asyncio.Task[None]]:
    """Each alert fires under its fault and clears after it. The one that stops everything comes after all others."""
    lost = asyncio.create_task(_interface_is_lost(world))
    stories = {
        "MoneyInDoubtLarge": asyncio.create_task(_money_is_in_doubt(world)),
        "RefusalsUnusual": asyncio.create_task(_members_are_without_money(world)),
        "BreakerOpen": lost,
        "BankOutcomesUnknown": lost,
        "ReplicaMissing": asyncio.create_task(_standby_goes_away(world)),
        "ServiceSilent": asyncio.create_task(_process_dies(world, stack)),
    }

    async def at_last() -> None:
        await asyncio.wait(stories.values())
        await _writer_stands_still(world)

    return {**stories, "LedgerQueueStanding": asyncio.create_task(at_last())}


async def _fires(world: World, alert: str, **labels: str) -> None:
    await until(lambda: world.prometheus.fires(alert, **labels), f"{alert} fires", FIRES_WITHIN_S)


async def _clears(world: World, alert: str, **labels: str) -> None:
    async def is_clear() -> bool:
        return not await world.prometheus.fires(alert, **labels)

    await until(is_clear, f"{alert} clears", CLEARS_WITHIN_S)


async def _is_silent(world: World, alert: str, **labels: str) -> None:
    assert not await world.prometheus.fires(alert, **labels), f"{alert} fires before its fault"


async def _money_is_in_doubt(world: World) -> None:
    """60 000 yuan, more than the alert's limit, in a payment whose answer is lost."""
    await _is_silent(world, "MoneyInDoubtLarge")
    shop = world.processes[0].shop
    request = shop.pay_request("buyer", "seller", 60_000_00, remark="[[lose_after]]")
    with suppress(grpc.aio.AioRpcError):
        await shop.payments.Pay(request, timeout=TIMEOUT_S)
    await _fires(world, "MoneyInDoubtLarge", platform=PLATFORM)
    await _resolved(shop, request.request_id)
    await _clears(world, "MoneyInDoubtLarge")


async def _members_are_without_money(world: World) -> None:
    """A caller that asks again and again for money that is not there."""
    reason = {"platform": PLATFORM, "reason": "INSUFFICIENT_FUNDS"}
    await _is_silent(world, "RefusalsUnusual", **reason)
    shop = world.processes[0].shop
    await shop.buyer("poor")

    async def again() -> None:
        while True:
            with suppress(grpc.aio.AioRpcError):
                await shop.payments.Pay(shop.pay_request("poor", "seller", 1_00), timeout=TIMEOUT_S)
            await asyncio.sleep(0.3)

    asking = asyncio.create_task(again())
    try:
        await _fires(world, "RefusalsUnusual", **reason)
    finally:
        asking.cancel()
    await _clears(world, "RefusalsUnusual", **reason)


async def _interface_is_lost(world: World) -> None:
    """Freezes (6007) whose answers are lost, until the interface is suspended; then it is back."""
    interface = {"platform": PLATFORM, "interface": "6007"}
    for alert in ("BreakerOpen", "BankOutcomesUnknown"):
        await _is_silent(world, alert, **interface)
    shop = world.processes[0].shop
    lost: list[str] = []

    async def freeze(remark: str) -> str:
        request = freeze_request(shop, "buyer", 1_00, remark=remark)
        with suppress(grpc.aio.AioRpcError):
            await shop.freezes.Freeze(request, timeout=TIMEOUT_S)
        return request.request_id

    for _ in range(5):
        lost.append(await freeze("[[lose_after]]"))
        # Prometheus has to see the number grow.
        await asyncio.sleep(1.1)
    await _fires(world, "BankOutcomesUnknown", **interface)
    await _fires(world, "BreakerOpen", **interface)
    for request_id in lost:
        await _resolved(shop, request_id)
    await freeze("")
    await _clears(world, "BreakerOpen", **interface)
    await _clears(world, "BankOutcomesUnknown", **interface)


async def _writer_stands_still(world: World) -> None:
    """Somebody holds the lock that each commit needs, while payments come."""
    await _is_silent(world, "LedgerQueueStanding")
    shop = world.processes[0].shop
    async with writer_held(world.dsn, PLATFORM) as lock:
        await until(lock.is_awaited, "the writer waits")
        paying = [
            asyncio.ensure_future(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=60.0))
            for _ in range(5)
        ]
        await _fires(world, "LedgerQueueStanding", instance=world.processes[0].metrics)
    assert all(one.operation.state == core_pb2.OPERATION_STATE_DONE for one in await asyncio.gather(*paying))
    await _clears(world, "LedgerQueueStanding")


async def _standby_goes_away(world: World) -> None:
    """The standby forgets its primary for a while. Payments do not wait for it."""
    await _is_silent(world, "ReplicaMissing")
    await execute(world.dsn, "ALTER SYSTEM RESET synchronous_standby_names")
    await execute(world.dsn, "SELECT pg_reload_conf()")
    async with detached(world.standby_dsn):
        await _fires(world, "ReplicaMissing", platform=PLATFORM, replica=STANDBY)
    await _clears(world, "ReplicaMissing")


async def _process_dies(world: World, stack: AsyncExitStack) -> None:
    """kill -9 of the second process; another one takes its place."""
    process = world.processes[1]
    await _is_silent(world, "ServiceSilent", instance=process.metrics)
    await process.service.kill()
    await _fires(world, "ServiceSilent", instance=process.metrics)
    service = await stack.enter_async_context(_service(world, process.metrics))
    world.processes[1] = Process(process.metrics, service, _shop(world, service, 3))
    await _clears(world, "ServiceSilent", instance=process.metrics)

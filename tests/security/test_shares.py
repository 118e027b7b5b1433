"""One caller may not take the room of the others: watches, comparisons, and what it may read of the service itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from jzb.v1 import balance_pb2, operation_pb2
from service.problems import Problem
from service.rpc import shares
from service.rpc.errors import OTHER_STREAMS_MAX
from service.rpc.shares import Shares
from service.settings import GrpcSettings, Settings
from tests.world.callers import given, locked
from tests.world.marketplace import Marketplace
from tests.world.process import until

ONE, OTHER = "spiffe://test/one", "spiffe://test/other"
READERS = (given(ONE, "read.all", "admin", "audit"), given(OTHER, "read.all", "admin", "audit"))


def watch(
    shop: Marketplace,
) -> grpc.aio.UnaryStreamCall[operation_pb2.WatchOperationsRequest, operation_pb2.WatchOperationsResponse]:
    return shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest())


async def test_a_caller_that_opens_all_its_watches_leaves_those_of_others(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *READERS, watch={"of_a_caller_max": 2}) as service:
        one, other = await service.shop(ONE), await service.shop(OTHER)
        open_ = [watch(one), watch(one)]
        for stream in open_:
            await stream.read()
        # Over another connection it is the same caller.
        refusal = await one.refusal(watch(await service.shop(ONE)).read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert "2 watches and waits of this caller are open already" in refusal.message
        await watch(other).read()


async def test_a_caller_compares_so_often_at_once_and_no_more(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *READERS, grpc={"comparisons_of_a_caller_max": 1}) as service:
        one, other = await service.shop(ONE), await service.shop(OTHER)
        with_bank = one.balances.CompareWithBank(balance_pb2.CompareWithBankRequest())
        await with_bank.initial_metadata()
        refusal = await one.refusal(one.balances.VerifyBooks(balance_pb2.VerifyBooksRequest()).read())
        assert refusal.reason == "OVERLOADED"
        async for _ in other.balances.VerifyBooks(balance_pb2.VerifyBooksRequest()):
            break
        with_bank.cancel()


def test_callers_that_have_nothing_open_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "KEPT_MAX", 10)
    watches = Shares("watches", 1)
    watches.of("busy").acquire()
    for number in range(100):
        watches.of(f"caller {number}")
    assert len(watches._of) <= 11
    with pytest.raises(Problem, match="1 watches of this caller are open already"):
        watches.of("busy")


@pytest.mark.parametrize(
    ("listen", "said", "reflects"),
    [
        ("127.0.0.1:0", None, True),
        ("0.0.0.0:50051", None, False),
        ("0.0.0.0:50051", True, True),
        ("127.0.0.1:0", False, False),
    ],
)
def test_the_contract_is_shown_on_loopback_alone_unless_it_is_said(
    listen: str, said: bool | None, reflects: bool
) -> None:
    settings = Settings.model_construct(listen=listen, grpc=GrpcSettings(reflection=said))
    assert settings.reflects is reflects


async def test_a_service_that_does_not_reflect_does_not_know_the_call(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *READERS, grpc={"reflection": False}) as service:
        call = (await service.channel(ONE)).stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_watches_of_the_health_are_counted_for_each_caller_over_all_its_connections(
    database: str, tmp_path: Path
) -> None:
    async with locked(database, tmp_path, *READERS) as service:
        request = health_pb2.HealthCheckRequest()
        open_ = []
        for _ in range(OTHER_STREAMS_MAX // 4):
            health = health_pb2_grpc.HealthStub(await service.channel(ONE))
            open_ += [health.Watch(request) for _ in range(4)]
        for stream in open_:
            assert (await stream.read()).status == health_pb2.HealthCheckResponse.SERVING
        one, other = await service.channel(ONE), await service.channel(OTHER)
        with pytest.raises(grpc.aio.AioRpcError, match="of this caller are open already") as refused:
            await health_pb2_grpc.HealthStub(one).Watch(request).read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await health_pb2_grpc.HealthStub(one).Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        await health_pb2_grpc.HealthStub(other).Watch(request).read()
        open_[0].cancel()

        async def is_let_in() -> bool:
            stream = health_pb2_grpc.HealthStub(one).Watch(request)
            try:
                await stream.read()
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_let_in, "one watch less leaves room for another", 5.0)


async def test_streams_of_reflection_are_counted_as_well(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *READERS, grpc={"reflection": True}) as service:

        async def asked(name: str) -> Any:
            call: Any = (await service.channel(name)).stream_stream(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )(None)
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert (await call.read()).list_services_response.service
            return call

        open_ = [await asked(ONE) for _ in range(OTHER_STREAMS_MAX)]
        with pytest.raises(grpc.aio.AioRpcError, match="of this caller are open already"):
            await asked(ONE)
        (await asked(OTHER)).cancel()
        for call in open_:
            call.cancel()

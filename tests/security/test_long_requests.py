"""A request that is long, and what it takes to judge it: nobody is kept waiting by another caller's lists."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.contract import methods, path_of
from service.problems import Problem
from service.rpc.validation import TooMany, Validation, _first, _List, maximum
from service.settings import GrpcSettings
from tests.world.marketplace import LENIENT, TIMEOUT_S
from tests.world.process import ServiceProcess, service_process

LONGEST = GrpcSettings().message_bytes_max
METHODS = methods()


def lists(message: Descriptor) -> list[FieldDescriptor]:
    """The lists of a request, those of its parts too."""
    found = []
    for field in message.fields:
        if field.is_repeated:
            found.append(field)
        if field.message_type is not None:
            found += lists(field.message_type)
    return found


def crowded(field: FieldDescriptor) -> bytes:
    """A request with as many empty elements in a list of its own as fit."""
    assert field.number < 16
    return bytes((field.number << 3 | 2, 0)) * (LONGEST // 2 - 8)


CROWDED = [
    (method, field)
    for method in METHODS.values()
    for field in method.input_type.fields
    if field.is_repeated and field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING)
]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_list_of_a_request_has_a_bound(method: MethodDescriptor) -> None:
    assert all(maximum(field) <= 200 for field in lists(method.input_type))


@pytest.mark.parametrize(("method", "field"), CROWDED, ids=lambda one: one.name)
def test_a_crowded_list_is_refused_by_its_length(method: MethodDescriptor, field: FieldDescriptor) -> None:
    request = message_factory.GetMessageClass(method.input_type).FromString(crowded(field))
    with pytest.raises(Problem, match=f"{field.name}: must contain no more than {maximum(field)} item") as refused:
        Validation().require_valid(request)
    assert refused.value.metadata == {"field": field.name, "rule": "repeated.max_items"}


def test_a_list_in_a_part_of_a_request_is_counted_too() -> None:
    # The contract has none of this shape today: a message of protobuf's own stands for it.
    file = FileDescriptorProto(message_type=[DescriptorProto(field=[FieldDescriptorProto(name="f")])])
    found = [_first(file, (_List("message_type", 1, (_List("field", limit, ()),)),), "") for limit in (1, 0)]
    assert found == [None, TooMany("message_type[0].field", 1, 0)]


async def test_the_longest_request_is_refused_for_little_more_than_a_short_wrong_one(
    database: str,
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank, service_process(database, bank) as service:

        async def cost_s(path: str, body: bytes, times: int) -> float:
            began_s = cpu_s(service)
            for _ in range(times):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await service.channel.unary_unary(f"/{path}", bytes, bytes)(body, timeout=TIMEOUT_S)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            return (cpu_s(service) - began_s) / times

        for method, field in CROWDED:
            path = path_of(method)
            short_s = await cost_s(path, b"", 50)
            assert await cost_s(path, crowded(field), 5) <= 50 * max(short_s, 0.001), path
        call = service.channel.unary_unary("/jzb.v1.PaymentService/Pay", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError) as too_long:
            await call(bytes(LONGEST + 1), timeout=TIMEOUT_S)
        assert too_long.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def cpu_s(service: ServiceProcess) -> float:
    """CPU seconds of a service so far."""
    fields = Path(f"/proc/{service.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

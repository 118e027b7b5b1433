"""Server reflection, v1 and v1alpha: any generic client (grpcurl, ghz, Postman) finds services, methods and messages.

grpcio-reflection has v1alpha alone, and its look-up knows neither methods nor oneofs. v1 is the same protocol under
another package: the library's servicer answers both, from a pool that finds what protobuf's own does not.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

V1ALPHA = "grpc.reflection.v1alpha"
V1 = "grpc.reflection.v1"
SERVICE = "ServerReflection"
SERVICE_NAMES = (f"{V1}.{SERVICE}", reflection.SERVICE_NAME)


class Symbols:
    """A pool of descriptors that finds the file of a method and of a oneof, too."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """Raises KeyError for what is not there."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            pass
        try:
            method: Any = self._pool.FindMethodByName(symbol)
            file: FileDescriptor = method.containing_service.file
        except KeyError:
            file = self._pool.FindOneofByName(symbol).containing_type.file
        return file


def _described_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Let the pool describe v1 as well: it is v1alpha, message by message, in a package of its own."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    alpha.name = alpha.name.replace("v1alpha", "v1")
    alpha.package = V1
    for message in alpha.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(V1ALPHA, V1)
    for method in alpha.service[0].method:
        method.input_type = method.input_type.replace(V1ALPHA, V1)
        method.output_type = method.output_type.replace(V1ALPHA, V1)
    pool.AddSerializedFile(alpha.SerializeToString())


_described_v1(descriptor_pool.Default())


def add_reflection(services: tuple[str, ...], server: grpc.aio.Server) -> None:
    """Let a server tell of these services, and of reflection itself."""
    pool: Any = Symbols(descriptor_pool.Default())
    servicer: Any = ReflectionServicer((*services, *SERVICE_NAMES), pool=pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler: Any = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"{V1}.{SERVICE}", {"ServerReflectionInfo": handler}),)
    )

"""What gRPC tells a servicer of the call it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

# grpc-stubs makes generic what grpcio does not.
if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

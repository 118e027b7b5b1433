"""What the commands share that are clients of a running service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from bankclient import BANK_ZONE
from jzb.v1 import core_pb2


def channel_to(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel to the service on ``target`` (host:port), in plaintext without credentials."""
    return grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)


def bank_time(stamp: Timestamp) -> str:
    """A time as people at the bank's place read it, to the second."""
    return f"{stamp.ToDatetime(BANK_ZONE):%Y-%m-%d %H:%M:%S}"


def yuan(fen: int) -> str:
    """Fen as yuan, for people: 1,234.50."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, core_pb2.MoneyError]:
    """The reason and the fate of the money, out of an error."""
    info, money = error_details_pb2.ErrorInfo(), core_pb2.MoneyError()
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(bytes(value)).details:
                detail.Unpack(info)
                detail.Unpack(money)
    return info, money

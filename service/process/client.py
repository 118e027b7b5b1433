"""What the commands share that are clients of a running service."""

from __future__ import annotations

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from bankclient import BANK_ZONE


def channel_to(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel to the service on ``target`` (host:port), in plaintext without credentials."""
    return grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)


def bank_time(stamp: Timestamp) -> str:
    """A time as people at the bank's place read it, to the second."""
    return f"{stamp.ToDatetime(BANK_ZONE):%Y-%m-%d %H:%M:%S}"

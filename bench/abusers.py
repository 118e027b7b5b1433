"""Callers that send a service what cannot be right, as fast as they are answered, until standard input ends.

    python -m bench.abusers TARGET COUNT

Each has a connection of its own. It says so when each has been answered once.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress

import grpc
import uvloop

from bench.parent import wanted_no_more
from jzb.v1 import freeze_pb2, member_pb2, payment_pb2

TIMEOUT_S = 30.0

NONSENSE = (
    # Without anything that it needs.
    ("/jzb.v1.PaymentService/Pay", b""),
    # As many payees as a message holds.
    ("/jzb.v1.FreezeService/PayFrozen", bytes((freeze_pb2.PayFrozenRequest.PAYEES_FIELD_NUMBER << 3 | 2, 0)) * 100_000),
    ("/jzb.v1.MemberService/OpenMember", member_pb2.OpenMemberRequest(request_id="x" * 200_000).SerializeToString()),
    ("/jzb.v1.PaymentService/Pay", payment_pb2.PayRequest(request_id="1", amount_fen=-1).SerializeToString()),
    ("/jzb.v1.MemberService/OpenMember", b"\xff" * 100_000),
)


async def _abuse(target: str, count: int) -> None:
    stop = wanted_no_more()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(count)]
    await asyncio.gather(*(_send(channel, *NONSENSE[0]) for channel in channels))
    print(f"listening on {target}", flush=True)
    abusing = [asyncio.create_task(_go_on(channel)) for channel in channels]
    await stop.wait()
    for task in abusing:
        task.cancel()
    await asyncio.gather(*abusing, return_exceptions=True)
    await asyncio.gather(*(channel.close(None) for channel in channels))


async def _go_on(channel: grpc.aio.Channel) -> None:
    for path, body in itertools.cycle(NONSENSE):
        await _send(channel, path, body)


async def _send(channel: grpc.aio.Channel, path: str, body: bytes) -> None:
    with suppress(grpc.aio.AioRpcError):
        await channel.unary_unary(path, bytes, bytes)(body, timeout=TIMEOUT_S)


if __name__ == "__main__":
    uvloop.run(_abuse(sys.argv[1], int(sys.argv[2])))

"""Idle watches of a service, held open by a process of their own until its standard input ends.

    python -m bench.watchers TARGET COUNT

It says so when each has had its first cursor.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

from bench.parent import wanted_no_more
from jzb.v1 import operation_pb2, operation_pb2_grpc

CHANNELS = 10
"""Over so many connections, as a platform's services would have them."""


async def _hold(target: str, count: int) -> None:
    stop = wanted_no_more()
    # A connection each: channels to one address share one otherwise.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)]
    stubs = [operation_pb2_grpc.OperationServiceStub(channel) for channel in channels]
    watches = [stubs[n % CHANNELS].WatchOperations(operation_pb2.WatchOperationsRequest()) for n in range(count)]
    await asyncio.gather(*(watch.read() for watch in watches))
    print(f"listening on {target}", flush=True)
    reading = [asyncio.create_task(_read(watch)) for watch in watches]
    await stop.wait()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await asyncio.gather(*(channel.close(None) for channel in channels))


async def _read(watch: Any) -> None:
    # The end is false.
    while await watch.read():
        pass


if __name__ == "__main__":
    uvloop.run(_hold(sys.argv[1], int(sys.argv[2])))

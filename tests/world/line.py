"""A line between the service and its bank, which a test takes down and up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from sandbox.server import Sandbox
from service.process.server import running
from tests.world.marketplace import Marketplace, open_marketplace, service_settings
from tests.world.process import until


class Line:
    """A line to the bank that can be down: nobody listens then, and what was connected is broken off."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._host, port = sandbox.url.removeprefix("http://").split(":")
        self._to = int(port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await until(lambda: not self._open, "what was connected is broken off")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, self._to)
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        finally:
            self._open -= {writer, there_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.read(65_536):
                writer.write(block)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def shop_on_a_line(database: str) -> AsyncIterator[tuple[Marketplace, Line]]:
    """A service that reaches the bank of an open marketplace by a line of its own."""
    async with open_marketplace(database) as shop:
        line = Line(shop.sandbox)
        await line.up()
        settings = service_settings(
            database, shop.sandbox, bank={"base_url": f"http://127.0.0.1:{line.port}", "connect_tries": 2}
        )
        async with (
            running(settings) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            yield Marketplace(database, shop.sandbox, service, channel), line
            await line.down()

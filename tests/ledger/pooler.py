"""A pooler between a client and PostgreSQL, in session or in transaction mode, as PgBouncer is one.

It reads no more of the protocol than it has to: where messages begin and end, the key that a server hands out (a pooler
makes up its own), and the word that a transaction is over, upon which the server is anybody's.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Mode = Literal["session", "transaction"]


@dataclass
class Server:
    """A connection to PostgreSQL."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass
class Pooler:
    """``dsn`` leads through it. ``idle`` are the servers that no client has, the latest used last."""

    mode: Mode
    host: str
    port: int
    idle: list[Server] = field(default_factory=list)
    dsn: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first message to its last."""
        server = Server(*await asyncio.open_connection(self.host, self.port))
        try:
            await _start(reader, writer, server)
            if self.mode == "session":
                await _relay(reader, writer, server)
            else:
                self.idle.append(server)
                await self._by_transactions(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _by_transactions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            sent = await _message(reader)
            server = self.idle.pop()
            while True:
                if sent[:1] == b"X":
                    self.idle.append(server)
                    return
                server.writer.write(sent)
                # A query, or the end of a series of extended ones: what follows is the server's answer.
                if sent[:1] in b"QS":
                    state = await _answer(server, writer)
                    if state == b"I":
                        break
                sent = await _message(reader)
            self.idle.append(server)


async def _start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
    """The client logs in at the server itself, and is told a made-up key."""
    while True:
        size = await reader.readexactly(4)
        body = await reader.readexactly(struct.unpack("!I", size)[0] - 4)
        if struct.unpack("!I", body[:4])[0] >> 16 == 3:
            break
        # It asks for TLS or GSSAPI: no.
        writer.write(b"N")
    server.writer.write(size + body)
    while True:
        told = await _message(server.reader)
        kind = told[:1]
        if kind == b"K":
            told = told[:5] + struct.pack("!I", 7) + told[9:]
        writer.write(told)
        if kind == b"Z":
            return
        # Authentication requests that want an answer; 0 is "ok", 12 the last word of SCRAM.
        if kind == b"R" and struct.unpack("!I", told[5:9])[0] not in (0, 12):
            server.writer.write(await _message(reader))


async def _answer(server: Server, writer: asyncio.StreamWriter) -> bytes:
    """Carry an answer to its end; returns the state of the transaction."""
    while True:
        told = await _message(server.reader)
        writer.write(told)
        if told[:1] == b"Z":
            await writer.drain()
            return told[5:6]


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(carry(reader, server.writer), carry(server.reader, writer))


@asynccontextmanager
async def pooled(dsn: str, mode: Mode) -> AsyncIterator[Pooler]:
    """A pooler before the server of ``dsn`` for the life of the block."""
    where = conninfo_to_dict(dsn)
    pooler = Pooler(mode, str(where["host"]), int(str(where["port"])))
    clients: set[asyncio.Task[None]] = set()

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.ensure_future(pooler.serve(reader, writer))
        clients.add(client)
        client.add_done_callback(clients.discard)

    listening = await asyncio.start_server(came, "127.0.0.1", 0)
    pooler.dsn = make_conninfo(dsn, port=listening.sockets[0].getsockname()[1])
    try:
        yield pooler
    finally:
        listening.close()
        for client in [*clients]:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for server in pooler.idle:
            server.writer.close()

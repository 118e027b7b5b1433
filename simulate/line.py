"""The line between the services and PostgreSQL, which can be cut in the middle of a commit."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from embedded import PostgresNotStarted
from simulate.schedule import Blow

_INSERT: Final = re.compile(rb"(\w+)\x00[^\x00]*INSERT INTO", re.DOTALL)
"""A statement that is prepared under a name; the ledger's writer has one that inserts, and it is a whole batch."""

SYNC: Final = b"S\x00\x00\x00\x04"
"""Ends a batch: with it PostgreSQL commits."""
READY: Final = b"Z\x00\x00\x00\x05"
"""PostgreSQL's answer to each `SYNC`, when what came before it is committed."""

CUTS: Final = 4
COMMIT_S: Final = 1.0
"""How long PostgreSQL may take to commit a batch whose answer is swallowed."""
RECEIVE_S: Final = 0.02
"""How long what was forwarded without its `SYNC` gets to be executed."""


class Line:
    """Carries connections to the port that ``to`` tells. PostgreSQL may move or be away: then they end."""

    def __init__(self, to: Callable[[], int]) -> None:
        self._to = to
        self._cuts_left = 0
        self._how = Blow.CUT_BEFORE_COMMIT
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts: Counter[Blow] = Counter()

    def cut_next(self, how: Blow) -> None:
        """Cut the connection at each of the next batches: before it is forwarded, before its end, or when PostgreSQL
        has committed it and has not been heard.
        """
        self._cuts_left, self._how = CUTS, how

    def heal(self) -> None:
        """Cut no more."""
        self._cuts_left = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen on a free port of loopback for the life of the block."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._carrying:
                task.cancel()
            await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            # The task is the stream server's own, which would complain of one that was cancelled.
            with suppress(OSError, PostgresNotStarted, asyncio.CancelledError):
                there, away = await asyncio.open_connection("127.0.0.1", self._to())
                wire = _Wire()
                answers = asyncio.create_task(self._answer(there, writer, wire))
                asking = asyncio.create_task(self._ask(reader, away, wire))
                try:
                    await asyncio.wait((asking, answers), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    asking.cancel()
                    answers.cancel()
                    away.transport.abort()
        finally:
            writer.transport.abort()
            self._carrying.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: _Wire) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(262_144):
                wire.open_syncs -= data.count(READY)
                if wire.is_mute:
                    if wire.open_syncs <= 0:
                        return
                    continue
                writer.write(data)
                await writer.drain()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: _Wire) -> None:
        batches: set[bytes] = set()
        with suppress(ConnectionError):
            while data := await reader.read(262_144):
                batches.update(b"\x00" + name + b"\x00" for name in _INSERT.findall(data))
                if self._cuts_left and not wire.is_mute and any(name in data for name in batches):
                    self._cuts_left -= 1
                    self.cuts[self._how] += 1
                    if self._how is Blow.CUT_BEFORE_COMMIT:
                        return
                    if self._how is Blow.CUT_IN_COMMIT:
                        writer.write(data[: data.rindex(SYNC)] if SYNC in data else data)
                        await writer.drain()
                        await asyncio.sleep(RECEIVE_S)
                        return
                    wire.is_mute = True
                    asyncio.get_running_loop().call_later(COMMIT_S, writer.transport.abort)
                wire.open_syncs += data.count(SYNC)
                writer.write(data)
                await writer.drain()


class _Wire:
    """One connection: whether its answers are swallowed, and how many ends of batches PostgreSQL has yet to confirm."""

    def __init__(self) -> None:
        self.is_mute = False
        self.open_syncs = 0

"""The line between the services and PostgreSQL, which can be cut in the middle of a commit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from ledger.embedded import PostgresNotStarted

_INSERT: Final = re.compile(rb"(\w+)\x00[^\x00]*INSERT INTO", re.DOTALL)
"""A statement that is prepared under a name; the ledger's writer has one that inserts, and it is a whole batch."""

CUTS: Final = 4

COMMIT_S: Final = 0.03
"""How long what was forwarded of a cut batch gets to be committed."""


class Line:
    """Carries connections to the port that ``to`` tells. PostgreSQL may move or be away: then they end."""

    def __init__(self, to: Callable[[], int]) -> None:
        self._to = to
        self._cuts_left = 0
        self._forwards = False
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut_next(self, *, forward: bool) -> None:
        """Cut the connection at each of the next batches: after it was forwarded, without its answer, or before."""
        self._cuts_left, self._forwards = CUTS, forward

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
                answers = asyncio.create_task(self._carry(there, writer))
                try:
                    asking = asyncio.create_task(self._ask(reader, away, answers))
                    await asyncio.wait((asking, answers), return_when=asyncio.FIRST_COMPLETED)
                    # An answer that was cut off: what was asked still gets there.
                    await asyncio.wait((asking,), timeout=COMMIT_S)
                    asking.cancel()
                finally:
                    answers.cancel()
                    away.transport.abort()
        finally:
            writer.transport.abort()
            self._carrying.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(262_144):
                writer.write(data)
                await writer.drain()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Task[None]
    ) -> None:
        batches: set[bytes] = set()
        with suppress(ConnectionError):
            while data := await reader.read(262_144):
                batches.update(b"\x00" + name + b"\x00" for name in _INSERT.findall(data))
                if self._cuts_left and any(name in data for name in batches):
                    self._cuts_left -= 1
                    answers.cancel()
                    if not self._forwards:
                        return
                writer.write(data)
                await writer.drain()

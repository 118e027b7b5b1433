"""The numbers that serials are made of."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.database import reading


class SerialNumbers:
    """The numbers from which serials are made, unique across processes and restarts: taken from a sequence in
    blocks.
    """

    BLOCK = 100

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._unused: list[int] = []

    async def next(self) -> int:
        """A number nobody has had before."""
        while not self._unused:
            async with reading(self._engine) as connection:
                first = (await connection.execute(text("SELECT nextval('bank_serial')"))).scalar_one()
            self._unused.extend(range(first + self.BLOCK - 1, first - 1, -1))
        return self._unused.pop()

"""The row of statements: what it costs payments that entries and snapshots are made behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from bench import site
from bench.drive import Seen, drive, pair
from bench.rows import Measured, faster
from bench.site import client
from bench.transfers import PLATFORM
from ledger import Entries, open_pool
from service.settings import Settings

PAYERS = 256
TURNS = 9
SECONDS_EACH = 2.5
POLL_S = float(Settings.model_fields["statements_poll_s"].default)


async def statements(folder: Path, measured: Measured) -> None:
    """The same service, whose own filling is off, in turn beside a filling that goes on as its own would, and without.

    Beside it there is no more to fill than the payments of the turn.
    """
    with (
        site.database(folder) as dsn,
        site.bank(folder / "bank") as bank,
        site.service(dsn, bank, STATEMENTS_POLL_S="86400") as target,
    ):
        async with client(target) as one, open_pool(dsn) as pool:
            await one.open_market()
            await drive(one.pay, PAYERS, 3.0)
            entries = Entries(pool, PLATFORM)
            turns: list[tuple[Seen, Seen]] = []
            behind = []
            for _ in range(TURNS):
                await entries.fill()
                async with _filling(entries):
                    beside = await drive(one.pay, PAYERS, SECONDS_EACH, lead_s=0.5)
                    behind.append(_behind(dsn))
                turns.append((beside, await drive(one.pay, PAYERS, SECONDS_EACH, lead_s=0.5)))
    found = pair(turns)
    what = f"payments a second, {PAYERS} callers, while statements are made behind them, against none"
    row = faster("statements", what, 0.9, ("filled", "alone"), found)
    row.detail["events_behind"] = max(behind)
    measured.rows.append(row)


@asynccontextmanager
async def _filling(entries: Entries) -> AsyncIterator[None]:
    async def again_and_again() -> None:
        while True:
            await entries.fill()
            await asyncio.sleep(POLL_S)

    filling = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        filling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await filling


def _behind(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM event WHERE seq > (SELECT coalesce(max(event), 0) FROM filled)"
        ).fetchone()
    assert row is not None
    return int(row[0])

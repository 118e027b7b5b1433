"""What Prometheus costs a service: reads `/metrics` of an address in OpenMetrics, until its standard input ends."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop

from bench.parent import wanted_no_more

EVERY_S = 5.0
"""Three times as often as Prometheus does where nobody says anything else."""
ACCEPT = "application/openmetrics-text; version=1.0.0"


async def _scrape(address: str) -> None:
    stop = wanted_no_more()
    async with aiohttp.ClientSession(headers={"Accept": ACCEPT}, trust_env=False) as session:
        print(f"listening on {address}", flush=True)
        while not stop.is_set():
            async with session.get(f"http://{address}/metrics") as answer:
                answer.raise_for_status()
                await answer.read()
            try:
                await asyncio.wait_for(stop.wait(), EVERY_S)
            except TimeoutError:
                continue


if __name__ == "__main__":
    uvloop.run(_scrape(sys.argv[1]))

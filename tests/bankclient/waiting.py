"""Waiting in tests for something that another task brings about."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event to set
            await asyncio.sleep(0.005)

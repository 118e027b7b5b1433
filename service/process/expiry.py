"""Says in the log, a month and a week ahead, that a certificate ends.

The gauge `jzb.certificate.remaining` shows it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from bankclient import wall_clock
from service.telemetry import events

MONTH: Final = timedelta(days=30)
WEEK: Final = timedelta(days=7)
LOOK_S: Final = 86_400.0
"""Once a day: a line that comes once is overlooked."""


def warn(ends: Mapping[str, datetime], now: datetime) -> None:
    """Log each certificate that ends soon, or has ended; ``ends`` by what it is for."""
    for name, end in ends.items():
        days = (end - now).days
        if end - now <= WEEK:
            events.CERTIFICATE_ENDS_NOW.log(certificate=name, ends=end.isoformat(), days=days)
        elif end - now <= MONTH:
            events.CERTIFICATE_ENDS.log(certificate=name, ends=end.isoformat(), days=days)


@asynccontextmanager
async def watched(ends: Callable[[], Mapping[str, datetime]]) -> AsyncIterator[None]:
    """Look at once, and each day for the life of the block."""

    async def look() -> None:
        while True:
            warn(ends(), wall_clock())
            await asyncio.sleep(LOOK_S)

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look(), name="certificates")
        try:
            yield
        finally:
            looking.cancel()

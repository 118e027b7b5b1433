"""How a process of the bench knows that it is wanted no more: its standard input ends."""

from __future__ import annotations

import asyncio
import sys


def wanted_no_more() -> asyncio.Event:
    """Set once the parent has closed the standard input of this process, or has died."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    return ended

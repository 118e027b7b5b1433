"""The command `jzb`, run to its end."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass

from tests.world.process import ROOT, clean_environment

JZB = (sys.executable, "-m", "service.process.cli")


@dataclass
class Ended:
    """A finished command."""

    status: int
    out: str
    error: str


async def jzb(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 90.0) -> Ended:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *JZB, *arguments, cwd=ROOT, env=clean_environment(**(environment or {})), stdout=PIPE, stderr=PIPE
    )
    try:
        out, error = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), error.decode())

"""The command `jzb`, run to its end, and `jzb run` while it runs."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.world.process import ROOT, clean_environment

JZB = (sys.executable, "-m", "service.process.cli")
START_S = 60.0
STOP_S = 30.0


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


class Started:
    """`jzb run`, ready."""

    def __init__(self, process: Process, said: list[str], started_in_s: float) -> None:
        self.process = process
        self.said = said
        self.started_in_s = started_in_s
        self.target = self.told(r"^gRPC +(\S+:\d+),")

    def told(self, pattern: str) -> str:
        """What a line of its announcement says."""
        found = re.search(pattern, "".join(self.said), re.MULTILINE)
        assert found is not None, self.said
        return found.group(1)

    async def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), STOP_S)


@asynccontextmanager
async def jzb_run(data: Path, environment: Mapping[str, str] | None = None, *more: str) -> AsyncIterator[Started]:
    """`jzb run` on free ports until it says that it is ready; stopped at the end if it still runs."""
    began_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(*JZB, "run", "--data", str(data), "--listen", "127.0.0.1:0", *more),
        cwd=ROOT,
        env=clean_environment(**(environment or {})),
        stdout=PIPE,
    )
    said: list[str] = []
    ready = asyncio.Event()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode())
            if said[-1].startswith("Ctrl-C"):
                ready.set()
        ready.set()

    reading = asyncio.create_task(read())
    try:
        await asyncio.wait_for(ready.wait(), START_S)
        yield Started(process, said, time.monotonic() - began_s)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), STOP_S)
        await reading

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.sandbox.wire import Merchant

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[tuple[Process, Merchant]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--port", "0", "--data-dir", str(data_dir)),
        cwd=ROOT,
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert "listening on http://127.0.0.1:" in line
        fields = json.loads((data_dir / "client.json").read_text())
        assert fields["base_url"] in line
        merchant = Merchant(fields)
        await merchant.approve()
        yield process, merchant
        await merchant.aclose()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(tmp_path: Path, stop: signal.Signals) -> None:
    async with running(tmp_path) as (process, _):
        process.send_signal(stop)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, merchant):
        member = await merchant.member("a", "00")
        requests = [merchant.top_up_request(member, 100, 0, f"T{n}") for n in range(100)]
        answered = 0
        for batch in range(0, 100, 25):
            await asyncio.gather(*(merchant.call(one) for one in requests[batch : batch + 25]))
            answered += 25
        process.kill()
        await process.wait()
    async with running(tmp_path) as (_, merchant):
        assert await merchant.balances(member) == (answered * 100, 0, 0)
        books = await merchant.control("GET", "books")
        assert books["difference"] == 0


async def test_a_bad_setting_is_said_and_ends_with_1(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--port", "99999", "--data-dir", str(tmp_path)),
        cwd=ROOT,
        stderr=PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 1
    assert b"port" in error

"""Where a process's CPU time goes: its main thread by what it is busy with, the others by their names."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.002

PARTS = {
    "opentelemetry": "telemetry",
    "service/telemetry": "telemetry",
    "prometheus_client": "telemetry",
    "bankclient": "the bank's wire: sign, HTTP, verify",
    "aiohttp": "the bank's wire: sign, HTTP, verify",
    "httpx": "the bank's wire: sign, HTTP, verify",
    "ledger": "ledger: judge, encode, send, answer",
    "psycopg": "ledger: judge, encode, send, answer",
    "service/plans": "plan",
    "service": "RPC, validation, path",
    "protovalidate": "RPC, validation, path",
    "grpc": "RPC, validation, path",
}
"""What a module works for, by the beginning of its path."""

LOOP = "event loop and gRPC's core"
SIGNING = "signing threads"
OTHERS = "other threads"

ROOTS = (str(Path(__file__).parent.parent) + os.sep, "site-packages" + os.sep)


async def profiled(seconds: float) -> dict[str, float]:
    """CPU seconds by what they went to, in the next ``seconds``; awaited in the main thread."""
    spent: defaultdict[str, float] = defaultdict(float)
    last_s = time.thread_time()

    def sample(_: int, frame: FrameType | None) -> None:
        nonlocal last_s
        now_s = time.thread_time()
        # The time since the last sample: what waits spends none.
        spent[_part(frame)] += now_s - last_s
        last_s = now_s

    before = _others_cpu_s()
    previous = signal.signal(signal.SIGALRM, sample)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
    try:
        await asyncio.sleep(seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for thread, cpu_s in _others_cpu_s().items():
        name = SIGNING if names.get(thread, "").startswith("bank-signer") else OTHERS
        spent[name] += cpu_s - before.get(thread, 0.0)
    return dict(spent)


def _part(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        for root in ROOTS:
            _, found, path = file.partition(root)
            if found:
                part = next((part for begin, part in PARTS.items() if path.startswith(begin)), None)
                if part is not None:
                    return part
        frame = frame.f_back
    return LOOP


def _others_cpu_s() -> dict[int, float]:
    """CPU seconds of this process's threads so far, the main one apart."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) == os.getpid():
            continue
        try:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return found

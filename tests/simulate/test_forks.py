"""How a service has ended is told right, whatever else is started meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection, forkserver

import pytest

from simulate.forks import Forks

KILLED = 12
LOOK_S = 0.05
"""Long enough for another thread to look as well."""


def test_a_killed_process_is_told_as_killed_while_others_start(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = Forks("signal")
    at_once: Callable[[int], int] = forkserver.read_signed

    def later(descriptor: int) -> int:
        time.sleep(LOOK_S)
        return at_once(descriptor)

    monkeypatch.setattr(forkserver, "read_signed", later)

    def start() -> None:
        other = forks.process(time.sleep, 0)
        forks.start(other)
        forks.status(other)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(KILLED):
            process = forks.process(time.sleep, 60)
            forks.start(process)
            process.kill()
            connection.wait([process.sentinel])
            starting = threads.submit(start)
            assert forks.status(process) == -signal.SIGKILL
            starting.result()

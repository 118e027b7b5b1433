"""Processes of a fork server, for an event loop that starts them from threads."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any


class Forks:
    """Starts processes and learns how they ended, one at a time.

    The standard library asks after all processes whenever it starts one. How one has ended can be read once: of two
    threads that ask at the same time one finds nothing, and calls it status 255.
    """

    def __init__(self, preload: str) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
        self._turn = threading.Lock()

    def number(self) -> Synchronized[int]:
        """A number that is shared with the processes it is given to."""
        return self._context.Value("i", 0)

    def process(self, target: Callable[..., object], *arguments: Any) -> ForkServerProcess:
        """A process that is not started yet, and that ends with this one."""
        return self._context.Process(target=target, args=arguments, daemon=True)

    def start(self, process: ForkServerProcess) -> None:
        """Start it, which takes a while."""
        with self._turn:
            process.start()

    def status(self, process: ForkServerProcess) -> int:
        """How it ended: its status, or less than 0 for a signal. Waits for its end."""
        with self._turn:
            process.join()
        assert process.exitcode is not None
        return process.exitcode

"""Work that a thread does again and again, and once more at the end: what is sent to a collector."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Turns:
    """Does ``work`` every ``interval_s`` seconds until `end`, in a thread of this name. Work raises nothing."""

    def __init__(self, name: str, interval_s: float, work: Callable[[], object]) -> None:
        self.is_ending = threading.Event()
        """Set once the end has been asked for: what waits is to wait no longer."""
        self._interval_s = interval_s
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Do the work once more, and wait for that."""
        self.is_ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.is_ending.wait(self._interval_s):
            self._work()
        self._work()

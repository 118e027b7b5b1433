"""A process whose clock is wrong, since a machine's own cannot be set by a test.

Whatever of the service reads the time of day reads another one: `datetime.now` wherever a module of ours has it, and
the ids that carry the time. Durations (`time.monotonic`) stay as they are, as on a real machine whose clock is wrong.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from unittest.mock import patch

import uuid_utils

OURS: Final = ("service", "embedded", "ledger", "bankclient")


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Within the block this process's clock is so many seconds fast; slow, when they are below 0."""
    real_id, ahead = uuid_utils.uuid7, timedelta(seconds=seconds)

    class AnyTime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Shifted(datetime, metaclass=AnyTime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # no Shifted
            return datetime.now(tz) + ahead

    def uuid7() -> uuid_utils.UUID:
        wrong = uuid_utils.UUID(bytes=real_id().bytes)
        milliseconds = max(time.time_ns() // 1_000_000 + int(seconds * 1000), 0)
        return uuid_utils.UUID(bytes=milliseconds.to_bytes(6) + wrong.bytes[6:])

    with ExitStack() as shifted:
        shifted.enter_context(patch.object(uuid_utils, "uuid7", uuid7))
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in OURS and getattr(module, "datetime", None) is datetime:
                shifted.enter_context(patch.object(module, "datetime", Shifted))
        yield

"""The bank's pen: signs answers in a thread of its own, all that wait in one go.

One hand-over to the thread serves many answers, because each hand-over between threads costs more
than a signature when the machine is busy. Promises: every answer gets the signature of its own
content; `close` leaves no thread behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from bankclient.canonical import canonical_string
from bankclient.signing import Identity

Waiting = tuple[Mapping[str, object], "asyncio.Future[str]"]


class Signer:
    """Signs with one identity; belongs to one event loop."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-sign")
        self._waiting: list[Waiting] = []
        self._work: asyncio.Task[None] | None = None

    async def sign(self, answer: Mapping[str, object]) -> str:
        """The signature of an answer, which must not change until it is there."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._waiting.append((answer, future))
        if self._work is None:
            self._work = loop.create_task(self._sign_waiting())
        return await future

    def close(self) -> None:
        """End the thread once its last answer is signed."""
        self._thread.shutdown()

    async def _sign_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                answers = [answer for answer, _ in batch]
                try:
                    signatures = await loop.run_in_executor(self._thread, self._sign_all, answers)
                except BaseException as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    raise
                for (_, future), signature in zip(batch, signatures, strict=True):
                    if not future.done():
                        future.set_result(signature)
        finally:
            self._work = None

    def _sign_all(self, answers: list[Mapping[str, object]]) -> list[str]:
        return [self._identity.sign(canonical_string(answer)) for answer in answers]

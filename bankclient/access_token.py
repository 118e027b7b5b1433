"""The access token that every call carries (approveDev, transport.md 1.3 and 1.4).

Promises one request for a token at a time, however many calls wait for it, and a renewal in the
background before the token ages, so that calls do not wait. A failed renewal leaves the old token
in use: only the bank can say that it is dead. The token is a secret and must never be printed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from bankclient.errors import BankUnavailable

_log = logging.getLogger(__name__)


class TokenKeeper:
    """Holds the token, asks for new ones, and owns the task that renews it."""

    def __init__(self, approve: Callable[[], Awaitable[str]], renew_s: float, retry_s: float) -> None:
        self._approve = approve
        self._renew_s = renew_s
        self._retry_s = retry_s
        self._token: str | None = None
        self._flight: asyncio.Task[str] | None = None
        self._ageing = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to watch the token's age; asks for nothing until somebody needs a token."""
        self._renewer = asyncio.create_task(self._renew_in_time(), name="bank-token-renewer")

    async def current(self) -> str:
        """The token held, or a new one when there is none. Raises BankUnavailable."""
        return self._token if self._token is not None else await self._fresh()

    async def after_refusal_of(self, token: str) -> str:
        """A token other than the one the bank refused. Raises BankUnavailable."""
        if self._token is not None and self._token != token:
            return self._token
        return await self._fresh()

    def renew_soon(self) -> None:
        """Have the token renewed in the background; returns at once."""
        self._ageing.set()

    async def aclose(self) -> None:
        """Stop renewing, and drop a request under way: who waits for it gets BankUnavailable."""
        self._closed = True
        for task in (self._renewer, self._flight):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, BankUnavailable):
                    await task
        self._token = None

    async def _fresh(self) -> str:
        if self._closed:
            raise BankUnavailable("the client is closed")
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="bank-token-request")
        flight = self._flight
        try:
            # Shielded: a caller that gives up must not take the token away from the others.
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                raise BankUnavailable("the client is closing") from None
            raise

    async def _fly(self) -> str:
        try:
            self._token = await self._approve()
            return self._token
        finally:
            self._flight = None

    async def _renew_in_time(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._renew_s):
                    await self._ageing.wait()
            self._ageing.clear()
            if self._token is None:
                continue
            try:
                await self._fresh()
            except BankUnavailable as error:
                _log.warning("the access token could not be renewed", extra={"why": str(error)})
                await asyncio.sleep(self._retry_s)
                self._ageing.set()

"""Somebody between the service and its bank who sees and changes every answer, and has nobody's key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import grpc
from aiohttp import web

from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.server import running
from tests.world.marketplace import LENIENT, Marketplace, service_settings

Answer: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Answer], Answer]


class Middleman:
    """Carries requests to the bank and answers back, but for those of one interface that he was told to meddle with.

    ``seen`` has every answer that the bank signed, by interface, oldest first.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._bank_url = sandbox.url
        self._swallowed: set[str] = set()
        self._lost: set[str] = set()
        self._changes: dict[str, Change] = {}
        self.seen: dict[str, list[Answer]] = {}
        self.url = ""

    def swallow(self, service_id: str) -> None:
        """The bank never sees such a request, and its answer never comes."""
        self._swallowed.add(service_id)

    def lose(self, service_id: str) -> None:
        """The bank acts, and its answer never comes."""
        self._lost.add(service_id)

    def change(self, service_id: str, change: Change) -> None:
        """What the bank answers is exchanged for what ``change`` makes of it."""
        self._changes[service_id] = change

    def behave(self) -> None:
        """Carry everything as it is from now on."""
        self._swallowed.clear()
        self._lost.clear()
        self._changes.clear()

    @asynccontextmanager
    async def between(self) -> AsyncIterator[Middleman]:
        """Carry for the life of the block."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._carry)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as self._session:
                yield self
        finally:
            await runner.cleanup()

    async def _carry(self, request: web.Request) -> web.StreamResponse:
        path, content = request.match_info["path"], await request.read()
        service_id = path.rpartition("/")[2]
        if service_id in self._swallowed:
            return self._broken_off(request)
        async with self._session.post(f"{self._bank_url}/{path}", data=content) as answered:
            status, content = answered.status, await answered.read()
        answer = json.loads(content)
        self.seen.setdefault(service_id, []).append(answer)
        if service_id in self._lost:
            return self._broken_off(request)
        if change := self._changes.get(service_id):
            content = json.dumps(change(answer)).encode()
        return web.Response(status=status, body=content, content_type="application/json")

    def _broken_off(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def folded(answer: Mapping[str, Any], into: str, *swallowed: str) -> Answer:
    """The answer with fields hidden in the text of the one before them, so that it signs like the whole.

    ``swallowed`` follow ``into`` in the order in which they are signed.
    """
    hidden = "".join(f"&{name}={answer[name]}" for name in swallowed)
    kept = {name: value for name, value in answer.items() if name not in swallowed}
    return {**kept, into: answer[into] + hidden}


@asynccontextmanager
async def shop_behind_a_middleman(database: str, **settings: Any) -> AsyncIterator[tuple[Marketplace, Middleman]]:
    """A marketplace whose one service reaches its bank through somebody else."""
    async with (
        Sandbox(SandboxSettings(**LENIENT)) as sandbox,
        Middleman(sandbox).between() as middleman,
        running(service_settings(database, sandbox, bank={"base_url": middleman.url}, **settings)) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        assert await service.components.clearing.enter_opening_balance()
        yield Marketplace(database, sandbox, service, channel), middleman

"""The sandbox as a server: the bank's addresses, the faults on the way, and its life in a process.

`Sandbox` is an async context manager for tests and the heart of `python -m sandbox`. An answer
leaves only after the books it speaks of are on disk. Signing and fsync run in threads; all else on
the event loop, so requests act in the order they were verified.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from sandbox import codes
from sandbox.bank import Bank
from sandbox.books import Books
from sandbox.clock import BankClock
from sandbox.control import control_routes
from sandbox.errors import GatewayRefusal
from sandbox.faults import FaultPlan, Faults
from sandbox.fileserver import FileServer
from sandbox.gateway import Gateway, Received
from sandbox.keys import Keyring, client_settings, open_keyring, write_client_settings
from sandbox.settings import SandboxSettings
from sandbox.signer import Signer
from sandbox.store import Log, Store

BODY_MAX: Final = 2 * 1024 * 1024
REQUESTS_KEPT: Final = 100_000
SHUTDOWN_S: Final = 5.0

APPROVE: Final = "approveDev"
BOOKS: Final = "books.jsonl"


class Sandbox:
    """A bank on a socket: `async with Sandbox(SandboxSettings()) as sandbox: sandbox.url`."""

    def __init__(self, settings: SandboxSettings | None = None, clock: BankClock | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self.faults = Faults(self.settings.remark_directives)
        self.requests: deque[Received] = deque(maxlen=REQUESTS_KEPT)
        self.clock = clock or BankClock()
        self.url = ""
        self._late: list[asyncio.TimerHandle] = []
        """Copies of requests that are still on their way."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            data_dir = self.settings.data_dir
            if data_dir is None:
                temporary = tempfile.TemporaryDirectory(prefix="jzb-sandbox-")
                self.folder = Path(stack.enter_context(temporary))
            else:
                self.folder = data_dir
            self.keyring: Keyring = open_keyring(self.folder, throwaway=data_dir is None)
            self._signer = Signer(self.keyring.bank)
            stack.callback(self._signer.close)
            log = None if data_dir is None else Log(self.folder / BOOKS)
            store = Store(self.settings.spend_order, log)
            stack.push_async_callback(store.close)
            stack.callback(self._lose_late)
            self.bank = Bank(self.settings, store, self.clock, self.faults)
            await store.durable()
            self.gateway = Gateway(self.settings, self.keyring)
            runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
            stack.push_async_callback(runner.cleanup)
            self.url = await self._listen(runner)
            self.client_settings = client_settings(self.settings, self.keyring, self.url)
            paths = write_client_settings(self.folder, self.client_settings)
            self.client_json_path, self.client_env_path = paths
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    @property
    def books(self) -> Books:
        """The bank's balances, to read."""
        return self.bank.store.books

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_MAX, middlewares=[_dropping])
        app.router.add_post("/api/approveDev", self._approve)
        app.router.add_post("/api/group/{service_id}", self._call)
        app.add_routes(FileServer(self.settings, self.bank.files, self.clock, self.gateway.is_token).routes())
        app.add_routes(control_routes(self.bank, self.faults, self.gateway, self.requests))
        return app

    async def _listen(self, runner: web.AppRunner) -> str:
        await runner.setup()
        await web.TCPSite(runner, self.settings.host, self.settings.port).start()
        host, port = runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _approve(self, request: web.Request) -> web.StreamResponse:
        text, body = await _read(request)
        self._note(APPROVE, "")
        fault_plan = self.faults.take(APPROVE, APPROVE, "", text)
        await _before(fault_plan)
        try:
            if fault_plan.has("token_expired"):
                raise GatewayRefusal(codes.TOKEN_WRONG)
            answer = self.gateway.approve(body)
        except GatewayRefusal as refusal:
            return _unsigned(refusal)
        return await self._answer(answer, fault_plan)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        service_id = request.match_info["service_id"]
        text, body = await _read(request)
        serial = str(body.get("CnsmrSeqNo", ""))
        self._note(service_id, serial)
        try:
            self.gateway.admit(body)
            route = self.bank.route(service_id)
            fault_plan = self.faults.take(service_id, route.code, serial, text)
            if fault_plan.has("token_expired"):
                raise GatewayRefusal(codes.TOKEN_WRONG)
            await _before(fault_plan)
            if fault_plan.has("expire_flag_alone"):
                return await self._answer({"CnsmrSeqNo": serial, "tokenExpiryFlag": "true"}, fault_plan)
            answer = self.bank.handle(service_id, body, fault_plan)
            if fault_plan.has("duplicate_delivery"):
                answer = self.bank.handle(service_id, body)
            if fault_plan.has("duplicate_late"):
                self._deliver_late(service_id, body, fault_plan.seconds("duplicate_late"))
        except GatewayRefusal as refusal:
            return _unsigned(refusal)
        delay_s = self.settings.answer_delay_s
        if delay_s:
            await asyncio.sleep(delay_s)
        return await self._answer(answer, fault_plan)

    async def _answer(self, answer: dict[str, object], fault_plan: FaultPlan) -> web.StreamResponse:
        if fault_plan.has("lose_after"):
            await self.bank.store.durable()
            raise _DroppedError
        signature = await self._signer.sign(answer)
        await self.bank.store.durable()
        if fault_plan.seconds("delay"):
            await asyncio.sleep(fault_plan.seconds("delay"))
        if fault_plan.has("bad_signature"):
            signature = _spoiled(signature)
        if not fault_plan.has("no_signature"):
            answer["RsaSign"] = signature
        if fault_plan.has("folded"):
            answer = _folded(answer)
        text = json.dumps(answer, ensure_ascii=False)
        if fault_plan.has("malformed"):
            text = text[: len(text) // 2]
        return web.Response(text=text, content_type="application/json", charset="utf-8")

    def _deliver_late(self, service_id: str, body: Mapping[str, Any], after_s: float) -> None:
        def deliver() -> None:
            self._late.remove(copy)
            self.bank.handle(service_id, body)

        copy = asyncio.get_running_loop().call_later(after_s, deliver)
        self._late.append(copy)

    def _lose_late(self) -> None:
        for copy in self._late:
            copy.cancel()

    def _note(self, service_id: str, serial: str) -> None:
        at = self.clock.now().isoformat(timespec="milliseconds")
        self.requests.append(Received(service_id, serial, at))


async def _read(request: web.Request) -> tuple[str, Mapping[str, Any]]:
    try:
        text = (await request.read()).decode()
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="the body is no JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is no JSON object")
    return text, body


async def _before(fault_plan: FaultPlan) -> None:
    if fault_plan.has("lose_before"):
        raise _DroppedError
    if fault_plan.has("http500"):
        raise web.HTTPInternalServerError(text="sandbox fault")
    if fault_plan.seconds("act_late"):
        await asyncio.sleep(fault_plan.seconds("act_late"))


class _DroppedError(Exception):
    """The connection must end without an answer."""


@web.middleware
async def _dropping(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except _DroppedError:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _unsigned(refusal: GatewayRefusal) -> web.Response:
    answer = {"errorCode": refusal.code, "errorMsg": refusal.message}
    return web.json_response(text=json.dumps(answer, ensure_ascii=False))


def _folded(answer: dict[str, object]) -> dict[str, object]:
    """The same signed text, which names no CnsmrSeqNo any more: somebody between needs no key for that."""
    texts = sorted(name for name, value in answer.items() if isinstance(value, str) and value and name != "RsaSign")
    behind = next((name for name in texts if name > "CnsmrSeqNo"), None)
    if "CnsmrSeqNo" not in texts or behind is None:
        return answer
    kept = {name: value for name, value in answer.items() if name not in ("CnsmrSeqNo", behind)}
    return {**kept, f"CnsmrSeqNo={answer['CnsmrSeqNo']}&{behind}": answer[behind]}


def _spoiled(signature: str) -> str:
    first = "B" if signature[0] != "B" else "C"
    return first + signature[1:]

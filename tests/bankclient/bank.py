"""A bank of few words on loopback: it checks and signs like the real one and does as the test says."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bankclient import canonical_string, sign, unescape_from_approve, verify
from tests.bankclient.keys import Keys

Body = dict[str, Any]
Reaction = Callable[["TestBank", web.Request, Body], Awaitable[web.StreamResponse]]


@dataclass
class TestBank:
    """Reacts to each business call with the next reaction, the last one again and again."""

    __test__ = False

    keys: Keys
    reactions: list[Reaction] = field(default_factory=list)
    received: list[Body] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    peers: set[tuple[str, int]] = field(default_factory=set)
    approve_delay_s: float = 0.0
    approve_body: Body | None = None
    approve_status: int = 200
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> "TestBank":
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/api/approveDev", self._approve)
        app.router.add_post("/api/group/{service_id}", self._call)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signed(self, body: Body) -> Body:
        return body | {"RsaSign": sign(self.keys.bank, canonical_string(body))}

    def success(self, body: Body, **fields: Any) -> Body:
        return self.signed(
            {
                "TxnReturnCode": "000000",
                "TxnReturnMsg": "交易成功",
                "CnsmrSeqNo": body["CnsmrSeqNo"],
                "FrontSeqNo": "2411051234567890",
                "tokenExpiryFlag": "false",
            }
            | fields
        )

    def refusal(self, body: Body, code: str, message: str = "失败", **fields: Any) -> Body:
        return self.success(body, TxnReturnCode=code, TxnReturnMsg=message, **fields)

    async def _approve(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        named = {k: body[k] for k in ("ApplicationID", "RandomNumber", "SDKType")}
        signature = unescape_from_approve(body["RsaSign"])
        assert verify(self.keys.merchant.public_key(), canonical_string(named), signature)
        self.headers.append(request.headers)
        self.tokens.append(f"{len(self.tokens):032x}")
        token = self.tokens[-1]
        await asyncio.sleep(self.approve_delay_s)
        if self.approve_body is not None:
            return web.json_response(self.approve_body, status=self.approve_status)
        answer = {"errorCode": "OPEN-E-000000", "errorMsg": "成功", "appAccessToken": token}
        return web.json_response(self.signed(answer), status=self.approve_status)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        assert verify(self.keys.merchant.public_key(), canonical_string(body), body["RsaSign"])
        self.received.append(body)
        self.paths.append(request.path)
        self.headers.append(request.headers)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        reaction = self.reactions.pop(0) if len(self.reactions) > 1 else self.reactions[0]
        return await reaction(self, request, body)


def answers(make: Callable[[TestBank, Body], Body], status: int = 200) -> Reaction:
    """React with a JSON body made from the request."""

    async def react(bank: TestBank, request: web.Request, body: Body) -> web.StreamResponse:
        return web.json_response(make(bank, body), status=status)

    return react


def answers_bytes(make: Callable[[TestBank, Body], bytes], status: int = 200) -> Reaction:
    """React with raw bytes made from the request."""

    async def react(bank: TestBank, request: web.Request, body: Body) -> web.StreamResponse:
        return web.Response(body=make(bank, body), status=status)

    return react


def succeeds(**fields: Any) -> Reaction:
    return answers(lambda bank, body: bank.success(body, **fields))


def refuses(code: str, message: str = "失败") -> Reaction:
    return answers(lambda bank, body: bank.refusal(body, code, message))


async def hangs_up(bank: TestBank, request: web.Request, body: Body) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def sleeps(seconds: float) -> Reaction:
    async def react(bank: TestBank, request: web.Request, body: Body) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.json_response(bank.success(body))

    return react


async def stops_halfway(bank: TestBank, request: web.Request, body: Body) -> web.StreamResponse:
    content = json.dumps(bank.success(body)).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(content))})
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response

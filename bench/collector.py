"""A collector of traces and metrics (OTLP over HTTP) that throws them away; it ends when its standard input does."""

from __future__ import annotations

import uvloop
from aiohttp import web

from bench.parent import wanted_no_more


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


async def _serve() -> None:
    stop = wanted_no_more()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", _take), web.post("/v1/metrics", _take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())

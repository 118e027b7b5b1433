"""`jzb serve`: the service alone, as it runs in production."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import typer
import uvloop

from service import telemetry
from service.process.cli.complaints import complaints
from service.process.server import running, tune_garbage_collector
from service.process.terminal import console
from service.settings import Settings, from_environment, secrets_that_all_may_read
from service.telemetry import events

app = typer.Typer()


@app.command()
def serve() -> None:
    """Run the service alone, with the settings of the environment."""
    with complaints():
        settings = from_environment()

        def announce(port: int) -> None:
            if settings.telemetry.log_json:
                events.LISTENS.log(port=port)
            else:
                console.print(f"gRPC listens on port {port}")

        uvloop.run(serving(settings, announce))


async def serving(
    settings: Settings, announce: Callable[[int], None], spans: telemetry.KeptSpans | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C; ``announce`` is given the port when calls are answered."""
    flush = telemetry.set_up(settings.telemetry, settings.platform, spans)
    for name, path in secrets_that_all_may_read(settings):
        events.SECRET_OPEN_TO_ALL.log(setting=name, path=str(path))
    stop, is_up = asyncio.Event(), asyncio.Event()

    async def served() -> None:
        async with running(settings) as service:
            is_up.set()
            tune_garbage_collector()
            announce(service.port)
            await stop.wait()

    serving = asyncio.create_task(served())

    def end() -> None:
        stop.set()
        if not is_up.is_set():
            # It may wait for its database for as long as it likes: there is nothing to drain yet.
            serving.cancel()

    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, end)
    try:
        await serving
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        flush()

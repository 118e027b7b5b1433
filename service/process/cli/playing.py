"""`jzb demo`: a marketplace day, played at a service that runs or is started for it."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from service.process import demo as day
from service.process.cli.calling import credentials_of
from service.process.cli.complaints import complaints

app = typer.Typer()


@app.command()
def demo(
    target: Annotated[
        str | None, typer.Option(help="A running service; without it one is started for the demo.")
    ] = None,
    sandbox_url: Annotated[
        str | None,
        typer.Option(
            "--sandbox", help="With --target, its sandbox bank: there an order is acquired and a transfer comes in."
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="With --target, whose certificate the service must have (PEM): TLS.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="With --ca, the certificate of the caller.")] = None,
    key: Annotated[Path | None, typer.Option(help="With --certificate, its key.")] = None,
) -> None:
    """Play a marketplace day through the gRPC API, then compare every balance with the bank's own."""
    with complaints():
        if target:
            given = {"target": target, "ca": ca, "certificate": certificate, "key": key}
            options = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in given.items() if value)
            credentials = credentials_of(ca, certificate, key)
            raise typer.Exit(asyncio.run(day.run_demo(target, sandbox_url, credentials, options)))
        raise typer.Exit(_alone())


def _alone() -> int:
    """Start a service for the demo, and play against it."""
    # Only without --target.
    from service import telemetry
    from service.process.server import running
    from service.process.stack import Stack, started

    async def played(stack: Stack) -> int:
        telemetry.set_up(stack.settings.telemetry, stack.settings.platform)
        async with running(stack.settings) as service:
            return await day.run_demo(f"127.0.0.1:{service.port}", stack.sandbox_url)

    with tempfile.TemporaryDirectory(prefix="jzb-demo-") as folder:
        settings = {"listen": "127.0.0.1:0", "telemetry": {"log_level": "error"}}
        with started(Path(folder), settings=settings) as stack:
            return asyncio.run(played(stack))

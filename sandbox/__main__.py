"""`python -m sandbox`: the sandbox bank as a process, until SIGTERM or SIGINT, or until whoever started it is gone.

Options win over the environment (prefix `SANDBOX_`, see `settings.py` for all of them). The line
"listening on" is printed once requests are answered.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError

from sandbox.errors import SandboxError
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings


def main(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Keys and books; kept.")] = None,
    clear_same_day: Annotated[bool | None, typer.Option(help="A 6108 for today clears today at once.")] = None,
    any_code: Annotated[bool | None, typer.Option(help="Any six digits bind a card, as in the bank's test.")] = None,
    until_stdin_ends: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
) -> None:
    """Run the sandbox bank."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "clear_same_day": clear_same_day,
        "any_code": any_code,
    }
    try:
        settings = SandboxSettings(**{k: v for k, v in given.items() if v is not None})
        uvloop.run(_serve(settings, until_stdin_ends=until_stdin_ends))
    except (ValidationError, SandboxError, OSError) as error:
        typer.echo(f"sandbox bank: {error}", err=True)
        raise typer.Exit(1) from None


async def _serve(settings: SandboxSettings, *, until_stdin_ends: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    if until_stdin_ends:
        # Nothing is ever written to it, so that it becomes readable only by ending.
        loop.add_reader(sys.stdin.fileno(), stop.set)
    async with Sandbox(settings) as sandbox:
        typer.echo(f"sandbox bank listening on {sandbox.url}")
        typer.echo(f"client settings: {sandbox.client_json_path} and {sandbox.client_env_path}")
        typer.echo(f"merchant key: {sandbox.keyring.pfx_path}")
        typer.echo(f"bank certificate: {sandbox.keyring.bank_certificate_path}")
        await stop.wait()
    typer.echo("sandbox bank stopped")


if __name__ == "__main__":
    typer.run(main)

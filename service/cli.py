"""The command line: run, serve, migrate, verify, demo."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from bankclient import BankConfigError
from ledger import LedgerError, connect, migrate, verify
from service import demo as day
from service import telemetry
from service.server import running
from service.settings import Settings, from_environment
from service.stack import StackNotStarted, started

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The payment ledger for Ping An's JZB.",
)
console = Console(highlight=False, soft_wrap=True)

Data = Annotated[Path, typer.Option(help="Where PostgreSQL and the sandbox keep their data.")]


@app.command()
def run(
    data: Data = Path("var"), listen: Annotated[str | None, typer.Option(help="host:port of gRPC.")] = None
) -> None:
    """Start PostgreSQL, the sandbox bank and the service; Ctrl-C stops them."""
    with _complaints(), started(data, settings={"listen": listen} if listen else None) as stack:
        settings = stack.settings

        def announce(port: int) -> None:
            host = settings.listen.rsplit(":", 1)[0]
            if stack.postgres_port:
                console.print(f"PostgreSQL    127.0.0.1:{stack.postgres_port}, data in {data / 'postgres'}")
            if stack.sandbox_url:
                console.print(f"sandbox bank  {stack.sandbox_url}, books in {data / 'sandbox'}")
            console.print(f"gRPC          {host}:{port}, platform {settings.platform}, reflection and health on")
            console.print()
            console.print("Try, in another terminal:")
            console.print(f"  .venv/bin/jzb demo --target {host}:{port}")
            console.print(
                "  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge --schema protos \\\n"
                f"    http://{host}:{port}/jzb.v1.BalanceService/GetTrialBalance"
            )
            console.print("Ctrl-C stops everything; the data stay.")

        _run(_serve(settings, announce))


@app.command()
def serve() -> None:
    """Run the service alone, with the settings of the environment."""
    with _complaints():
        settings = from_environment()
        _run(_serve(settings, lambda port: console.print(f"gRPC listens on port {port}")))


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database of the environment up to date."""
    with _complaints():
        migrate(from_environment().database_url.get_secret_value())
        console.print("the database is up to date")


@app.command("verify")
def verify_command(data: Data = Path("var")) -> None:
    """Replay the journal and compare it with the balances; exits 1 when they differ."""
    with _complaints(), started(data) as stack:
        findings = asyncio.run(_verify(stack.settings))
        if not findings:
            console.print("the journal and the balances agree")
            return
        table = Table("check", "where", "expected", "found")
        for finding in findings:
            table.add_row(finding.check, finding.where, finding.expected, finding.found)
        console.print(table)
        raise typer.Exit(1)


@app.command()
def demo(
    target: Annotated[
        str | None, typer.Option(help="A running service; without it one is started for the demo.")
    ] = None,
) -> None:
    """Play a marketplace day through the gRPC API, then compare every balance with the bank's own."""
    with _complaints():
        if target:
            raise typer.Exit(asyncio.run(day.play(target)))
        with tempfile.TemporaryDirectory(prefix="jzb-demo-") as folder:
            settings = {"listen": "127.0.0.1:0", "telemetry": {"log_level": "error"}}
            with started(Path(folder), settings=settings) as stack:
                raise typer.Exit(asyncio.run(_demo(stack.settings)))


async def _demo(settings: Settings) -> int:
    telemetry.set_up(settings.telemetry, settings.platform)
    async with running(settings) as service:
        return await day.play(f"127.0.0.1:{service.port}")


async def _verify(settings: Settings) -> list[Any]:
    engine = connect(settings.database_url.get_secret_value(), 1)
    try:
        return await verify(engine, settings.platform)
    finally:
        await engine.dispose()


async def _serve(settings: Settings, announce: Any) -> None:
    flush = telemetry.set_up(settings.telemetry, settings.platform)
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    try:
        async with running(settings) as service:
            announce(service.port)
            await stop.wait()
    finally:
        flush()


def _run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


class _complaints:
    """Turns what a user can mend into one line on standard error and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, ValidationError):
            for one in error.errors():
                name = "__".join(str(part) for part in one["loc"]).upper()
                print(f"jzb: setting JZB_{name}: {one['msg']}", file=sys.stderr)
            raise typer.Exit(1) from None
        if isinstance(error, (BankConfigError, LedgerError, OSError, StackNotStarted)):
            print(f"jzb: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


if __name__ == "__main__":
    app()

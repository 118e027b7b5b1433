"""`jzb run`: everything in one command, for whoever tries it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from service.process import four_eyes
from service.process import trace as traces
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.cli.serving import serving
from service.process.stack import started
from service.process.terminal import console
from service.settings import Settings

app = typer.Typer()


@app.command()
def run(
    data: Data = Path("var"),
    listen: Annotated[str | None, typer.Option(help="host:port of gRPC.")] = None,
    needs_two: Annotated[
        bool,
        typer.Option("--four-eyes", help="With certificates and a policy: a shop, one who proposes, one who approves."),
    ] = False,
) -> None:
    """Start PostgreSQL, the sandbox bank and the service; Ctrl-C stops them."""
    given: dict[str, Any] = {"listen": listen} if listen else {}
    with complaints():
        given |= four_eyes.settings(data) if needs_two else {}
    with complaints(), started(data, settings=given) as stack:
        settings = _with_metrics(stack.settings)

        def announce(port: int) -> None:
            host = settings.listen.rsplit(":", 1)[0]
            if stack.postgres_port:
                console.print(f"PostgreSQL    127.0.0.1:{stack.postgres_port}, data in {data / 'postgres'}")
            if stack.sandbox_url:
                console.print(f"sandbox bank  {stack.sandbox_url}, books in {data / 'sandbox'}")
            shown = "reflection and health" if settings.reflects else "health"
            console.print(f"gRPC          {host}:{port}, platform {settings.platform}, {shown} on")
            if settings.telemetry.metrics_listen:
                console.print(f"metrics       http://{settings.telemetry.metrics_listen}/metrics")
            for number, line in enumerate(four_eyes.lines(data) if needs_two else ()):
                console.print(f"{'' if number else 'callers':14}{line}", markup=False)
            console.print()
            console.print("Try, in another terminal:")
            program = Path(sys.argv[0]) if Path(sys.argv[0]).name == "jzb" else Path(".venv/bin/jzb")
            option = f" --sandbox {stack.sandbox_url}" if stack.sandbox_url else ""
            if needs_two:
                option += f" --certificate {four_eyes.certificate_of(data, four_eyes.SHOP)}"
            elif settings.tls_certificate is not None:
                option += f" --ca {settings.tls_client_ca or settings.tls_certificate}"
                if settings.tls_client_ca is not None:
                    option += " --certificate YOURS.pem --key YOURS.key"
            console.print(f"  {program} demo --target {host}:{port}{option}")
            # An installed wheel brings neither buf nor the contract's files.
            if (buf := program.with_name("buf")).exists():
                scheme, line = "http", "--http2-prior-knowledge"
                if settings.tls_certificate is not None:
                    scheme, line = "https", f"--cacert {settings.tls_client_ca or settings.tls_certificate}"
                if settings.tls_client_ca is not None:
                    own = four_eyes.certificate_of(data, four_eyes.SHOP) if needs_two else Path("YOURS.pem")
                    line += f" --cert {own} --key {own.with_suffix('.key')}"
                console.print(f"  {buf} curl --protocol grpc {line} --schema protos \\")
                console.print(f"    {scheme}://{host}:{port}/jzb.v1.BalanceService/GetTrialBalance")
            if data.exists():
                console.print(f"  {program} trace NUMBER{_option(data)}   (of an order, a request, a serial)")
            console.print("Ctrl-C stops everything; the data stay.")

        with traces.keeping(data) as spans:
            uvloop.run(serving(settings, announce, spans))


METRICS_LISTEN = "127.0.0.1:9464"
"""Where `jzb run` serves metrics, unless the environment names an address; somewhere else where that is taken."""


def _with_metrics(settings: Settings) -> Settings:
    if settings.telemetry.metrics_listen is not None:
        return settings
    host, _, port = METRICS_LISTEN.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            probe.bind((host, 0))
        address = f"{host}:{probe.getsockname()[1]}"
    telemetry_too = settings.telemetry.model_copy(update={"metrics_listen": address})
    return settings.model_copy(update={"telemetry": telemetry_too})


def _option(data: Path) -> str:
    return "" if data == Path("var") else f" --data {data}"

"""`jzb docs`: the documents that are made from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.catalogue import bank_document, log_document, metrics_document
from service.process.cli.complaints import complaints
from service.process.terminal import console

app = typer.Typer()
docs = typer.Typer(no_args_is_help=True, help="Documents that are made from the code.")
app.add_typer(docs, name="docs")


@docs.command("bank")
def docs_bank(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = bank_document.PATH,
) -> None:
    """Write docs/bank.md from the code: the interfaces, and the choices that the bank's documents leave."""
    with complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(bank_document.render(), "utf-8")
        console.print(f"wrote {out}")


@docs.command("metrics")
def docs_metrics(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = metrics_document.PATH,
) -> None:
    """Write docs/operations/metrics.md from the code: each metric, and which dashboards and alerts use it."""
    with complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(metrics_document.render(), "utf-8")
        console.print(f"wrote {out}")


@docs.command("logs")
def docs_logs(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = log_document.PATH,
) -> None:
    """Write docs/operations/logs.md from the code: every event of the log, and what to do about it."""
    with complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(log_document.render(), "utf-8")
        console.print(f"wrote {out}")

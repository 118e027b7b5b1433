"""`jzb certificates`: an authority for a trial, and what it issues."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.process.certificates import issue, make_ca
from service.process.cli.complaints import complaints
from service.process.terminal import console

app = typer.Typer()
certificates = typer.Typer(no_args_is_help=True, help="Certificates for a trial: an authority, and what it issues.")
app.add_typer(certificates, name="certificates")


CertificateFolder = Annotated[Path, typer.Option("--folder", help="Where the authority and its certificates are.")]


@certificates.command("ca")
def certificates_ca(folder: CertificateFolder = Path("var/certificates")) -> None:
    """Make an authority: its certificate is what the service and its callers trust."""
    with complaints():
        made = make_ca(folder)
        console.print(f"wrote {made.certificate}, which all trust, and {made.key}, which nobody else may have")


@certificates.command("issue")
def certificates_issue(
    names: Annotated[
        list[str],
        typer.Argument(help="A host for the service (localhost), a SPIFFE id or a host name for who calls it."),
    ],
    folder: CertificateFolder = Path("var/certificates"),
    days: Annotated[int, typer.Option(min=1, max=825, help="How long they are valid.")] = 90,
) -> None:
    """Issue certificates, or renew them: a running service takes its new one with the next connection."""
    with complaints():
        for name in names:
            made = issue(folder, name, days)
            console.print(f"{name}: wrote {made.certificate} and {made.key}")

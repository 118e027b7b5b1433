"""`jzb evidence`: what the bank has signed of an operation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from service.process import evidence, inquiries
from service.process import trace as traces
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.stack import bank_certificate, kept, platform_of, vault_settings
from service.process.terminal import console

app = typer.Typer()


@app.command("evidence")
def evidence_command(
    number: Annotated[
        str, typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="A folder for the signed texts, which have personal data, and signatures.")
    ] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option(help="The bank's certificate of that time; may be repeated.")
    ] = None,
    data: Data = Path("var"),
) -> None:
    """Prove what was recorded of an operation by what the bank has signed; exits 1 when something is not proved.

    With --to, anybody who has the bank's public key can check the signature:
    `openssl dgst -md5 -verify BANK.pub -signature X.sig X.txt`.
    """
    with complaints():
        platform = platform_of(data)
        keys = vault_settings(data)
        bank = evidence.certificates(certificate or [bank_certificate(data)])
        with kept(data) as dsn:
            operations = asyncio.run(traces.find(dsn, platform, number))
            decisions = asyncio.run(evidence.decisions_of(dsn, platform, operations))
        if not operations:
            raise traces.TraceNotFound(f"platform {platform} has no operation with number {number}")
        unproved = 0
        for operation, decided in zip(operations, decisions, strict=True):
            console.print(inquiries.title_of(operation), markup=False)
            if not decided:
                console.print("  nothing was recorded of it by a signed answer of the bank")
            for decision in decided:
                console.print(f"  {decision.at:%Y-%m-%d %H:%M:%S}  {decision.state} {decision.bank_code}".rstrip())
                for one in evidence.proved(decision, keys.of(platform), bank):
                    unproved += bool(one.fault)
                    said = one.fault or f"signed by {one.signer}"
                    written = f", in {evidence.write(one, to)}" if to and one.canonical else ""
                    console.print(f"    {one.digest.hex()[:16]}  {said}{written}", markup=False)
        if unproved:
            raise typer.Exit(1)

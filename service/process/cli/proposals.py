"""`jzb proposals`: what waits for a second person at a running service, and the decision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from jzb.v1 import approval_pb2
from service.process import deciding
from service.process.cli.calling import LOCAL, Authority, CallerCertificate, CallerKey, Target, credentials_of
from service.process.cli.complaints import complaints
from service.process.terminal import console, wide

app = typer.Typer()
proposals = typer.Typer(no_args_is_help=True, help="What two people are needed for, at a running service.")
app.add_typer(proposals, name="proposals")


Token = Annotated[Path | None, typer.Option(help="A file with the bearer token of the person who decides.")]
ProposalId = Annotated[UUID, typer.Argument(help="The proposal's id, as the list has it.")]
Note = Annotated[str, typer.Option(help="A note, kept for ever; no place for personal data.")]


@proposals.command("list")
def proposals_list(
    state: Annotated[str, typer.Option(help=f"One of {', '.join(deciding.STATES)}; empty for all.")] = "pending",
    at_most: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest.")] = 50,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """List what waits for a second person, or other proposals, newest first."""
    with complaints():
        if state and state not in deciding.STATES:
            raise typer.BadParameter(f"{state} is none of {', '.join(deciding.STATES)}", param_hint="--state")

        async def listed() -> list[approval_pb2.Proposal]:
            async with deciding.Connection(target, credentials_of(ca, certificate, key), token).client() as client:
                return await client.list(state, at_most)

        found = asyncio.run(listed())
        if not found:
            console.print(f"no {state} proposals" if state else "no proposals")
            return
        wide().print(deciding.listed(found))


def _proposal(
    connection: deciding.Connection, asked: Callable[[deciding.Client], Awaitable[approval_pb2.Proposal]]
) -> approval_pb2.Proposal:
    """Ask for something about one proposal, and print it as it is then."""

    async def answered() -> approval_pb2.Proposal:
        async with connection.client() as client:
            return await asked(client)

    one = asyncio.run(answered())
    for line in deciding.lines(one):
        console.print(line, markup=False)
    return one


@proposals.command("show")
def proposals_show(
    proposal_id: ProposalId,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Show a proposal with its request, which whoever approves it has to see before."""
    with complaints():
        connection = deciding.Connection(target, credentials_of(ca, certificate, key), token)
        _proposal(connection, lambda client: client.get(str(proposal_id)))


@proposals.command("approve")
def proposals_approve(
    proposal_id: ProposalId,
    note: Note = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Approve a proposal as another than its proposer, and have it carried out; exits 1 unless that is done."""
    with complaints():
        connection = deciding.Connection(target, credentials_of(ca, certificate, key), token)
        one = _proposal(connection, lambda client: client.approve(str(proposal_id), note))
        if one.state != approval_pb2.PROPOSAL_STATE_EXECUTED:
            raise typer.Exit(1)


@proposals.command("reject")
def proposals_reject(
    proposal_id: ProposalId,
    note: Note = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Reject a proposal: it will never run. Its proposer may do so, too."""
    with complaints():
        connection = deciding.Connection(target, credentials_of(ca, certificate, key), token)
        _proposal(connection, lambda client: client.reject(str(proposal_id), note))

"""`jzb proposals`: what two people are needed for, listed, shown, approved and rejected from the terminal.

A client of ApprovalService: who runs it is known to the service by certificate and token, as any caller is, and may do
what the policy gives. So it needs no right of the database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from rich.table import Table

from bankclient import yuan
from jzb.v1 import approval_pb2, approval_pb2_grpc, error_reason_pb2
from jzb.v1.approval_pb2 import Proposal, ProposalState
from service.process.client import bank_time, channel_to
from service.process.terminal import table

CALL_S: Final = 60.0
"""How long the service may take. An approved request is carried out by it even when nobody waits any more."""

STATES: Final = tuple(name.removeprefix("PROPOSAL_STATE_").lower() for name in ProposalState.keys()[1:])
"""As the command line has them."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How the service on ``target`` (host:port) is reached: in plaintext without credentials. ``token`` is a file with
    the token of who asks.
    """

    target: str
    credentials: grpc.ChannelCredentials | None = None
    token: Path | None = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client for the life of the block. Raises OSError for a token that cannot be read."""
        sent = () if self.token is None else (("authorization", f"Bearer {self.token.read_text('ascii').strip()}"),)
        async with channel_to(self.target, self.credentials) as channel:
            yield Client(channel, sent)


class Client:
    """The calls that are made. Each raises gRPC's errors."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        self._service = approval_pb2_grpc.ApprovalServiceStub(channel)
        self._metadata = tuple(metadata)

    async def list(self, state: str, at_most: int) -> list[Proposal]:
        """The newest proposals in a state, in any where it is empty."""
        found: list[Proposal] = []
        wanted = ProposalState.Value(f"PROPOSAL_STATE_{state.upper() or 'UNSPECIFIED'}")
        request = approval_pb2.ListProposalsRequest(state=wanted)
        while len(found) < at_most:
            page = await self._service.ListProposals(request, timeout=CALL_S, metadata=self._metadata)
            found += page.proposals
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found[:at_most]

    async def get(self, proposal_id: str) -> Proposal:
        """One, with its request."""
        request = approval_pb2.GetProposalRequest(proposal_id=proposal_id)
        return (await self._service.GetProposal(request, timeout=CALL_S, metadata=self._metadata)).proposal

    async def approve(self, proposal_id: str, note: str) -> Proposal:
        """Approve one; returns it after its request ran."""
        request = approval_pb2.ApproveRequest(proposal_id=proposal_id, note=note)
        return (await self._service.Approve(request, timeout=CALL_S, metadata=self._metadata)).proposal

    async def reject(self, proposal_id: str, note: str) -> Proposal:
        """Reject one."""
        request = approval_pb2.RejectRequest(proposal_id=proposal_id, note=note)
        return (await self._service.Reject(request, timeout=CALL_S, metadata=self._metadata)).proposal


def listed(found: Sequence[Proposal]) -> Table:
    """Proposals as a table."""
    shown = table("proposal", "proposed", "by", "what", "yuan", "from", "to", "why", "state", "until")
    for one in found:
        shown.add_row(
            one.proposal_id,
            bank_time(one.propose_time),
            _who(one.proposer_caller, one.proposer_person),
            one.method.rpartition("/")[2],
            yuan(one.amount_fen),
            one.payer_member_id,
            one.payee_member_id,
            one.reason,
            _state(one),
            bank_time(one.expire_time) if one.state == approval_pb2.PROPOSAL_STATE_PENDING else "",
        )
    return shown


def lines(one: Proposal) -> list[str]:
    """A proposal in full: what an approver has to see."""
    found = [
        f"proposal   {one.proposal_id}, {_state(one)}",
        f"proposed   {bank_time(one.propose_time)} by {_who(one.proposer_caller, one.proposer_person)}: {one.reason}",
        f"request    {one.method}, {one.request_id}" + (f" of {one.namespace}" if one.namespace else ""),
        f"money      {yuan(one.amount_fen)} yuan from {one.payer_member_id or '-'} to {one.payee_member_id or '-'}"
        + (f", order {one.order_no}" if one.order_no else ""),
    ]
    if one.state == approval_pb2.PROPOSAL_STATE_PENDING:
        found.append(f"expires    {bank_time(one.expire_time)}")
    if one.HasField("decide_time"):
        decider = _who(one.decider_caller, one.decider_person) or "nobody"
        found.append(f"decided    {bank_time(one.decide_time)} by {decider}" + (f": {one.note}" if one.note else ""))
    if one.operation_id:
        found.append(f"operation  {one.operation_id}")
    if one.refusal:
        found.append(f"refused    {_reason(one)}: {one.refusal_message}")
    return found + ([one.request_json] if one.request_json else [])


def _state(one: Proposal) -> str:
    return ProposalState.Name(one.state).removeprefix("PROPOSAL_STATE_").lower()


def _reason(one: Proposal) -> str:
    return error_reason_pb2.ErrorReason.Name(one.refusal).removeprefix("ERROR_REASON_")


def _who(caller: str, person: str) -> str:
    return f"{person} at {caller}" if person else caller

"""ApprovalService: proposals, listed, shown, approved and rejected."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from google.protobuf.message import Message

from jzb.v1 import approval_pb2, approval_pb2_grpc, error_reason_pb2
from jzb.v1.names import ErrorReason
from ledger import Proposal, Proposals, ProposalState, ProposerApproves
from service import policy, problems, view
from service.path import rights
from service.path.carrying import LEASE_S, Carrying
from service.path.proposals import APPROVED, REJECTED, Proposing, is_same_identity, shown_json
from service.policy import namespace_of
from service.rpc.context import Context
from service.rpc.pages import PAGE_SIZE_MAX, page_size, page_start, page_token, start_id
from service.telemetry import events
from service.vault import SealBroken

STATES = {state: approval_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state.name}") for state in ProposalState}
STATE_OF = {value: state for state, value in STATES.items()}


@dataclass(frozen=True, kw_only=True)
class Approvals(approval_pb2_grpc.ApprovalServiceServicer):
    """See protos/jzb/v1/approval.proto."""

    store: Proposals
    proposing: Proposing
    carrying: Carrying

    async def ListProposals(
        self, request: approval_pb2.ListProposalsRequest, context: Context
    ) -> approval_pb2.ListProposalsResponse:
        """From the mirror, newest first."""
        size = page_size(request.page_size)
        start = page_start(request.page_token, request)
        seen: list[Proposal] = []
        before = start_id(start)
        # A token names the last row, and must tell of none that is left out.
        while found := await self.store.page(before, PAGE_SIZE_MAX, STATE_OF.get(request.state)):
            seen += [one for one in found if rights.sees_proposal(policy.present(), one)]
            before = found[-1].proposal_id
            if len(seen) > size:
                break
        shown = seen[:size]
        return approval_pb2.ListProposalsResponse(
            proposals=[_message(one) for one in shown],
            next_page_token=page_token(str(shown[-1].proposal_id), request) if len(seen) > size else "",
        )

    async def GetProposal(
        self, request: approval_pb2.GetProposalRequest, context: Context
    ) -> approval_pb2.GetProposalResponse:
        """From the mirror, with the request."""
        found, asked = await self._seen(request.proposal_id)
        return approval_pb2.GetProposalResponse(proposal=_message(found, shown_json(asked)))

    async def Approve(self, request: approval_pb2.ApproveRequest, context: Context) -> approval_pb2.ApproveResponse:
        """Decided first, then carried out."""
        found, _ = await self._seen(request.proposal_id)
        allowed = policy.present()
        if is_same_identity(found, allowed.caller, allowed.person):
            raise problems.approver_is_proposer(found, allowed)
        if allowed.per_call_fen is not None and found.amount_fen > allowed.per_call_fen:
            raise problems.amount_not_permitted(allowed.caller, found.amount_fen, allowed.per_call_fen)
        decision = self.proposing.decision(found, APPROVED, allowed, request.note)
        try:
            lease = await self.store.approve(found.proposal_id, decision, LEASE_S)
        except ProposerApproves:
            raise problems.approver_is_proposer(found, allowed) from None
        found = await self._decided_by(found, ProposalState.APPROVED, ProposalState.EXECUTED, ProposalState.REFUSED)
        if found.state is ProposalState.APPROVED:
            await self.carrying.carry_out(found.proposal_id, lease)
            found = await self._again(found)
        return approval_pb2.ApproveResponse(proposal=_message(found))

    async def Reject(self, request: approval_pb2.RejectRequest, context: Context) -> approval_pb2.RejectResponse:
        """Decided, and over."""
        found, _ = await self._seen(request.proposal_id)
        decision = self.proposing.decision(found, REJECTED, policy.present(), request.note)
        await self.store.reject(found.proposal_id, decision)
        found = await self._decided_by(found, ProposalState.REJECTED)
        return approval_pb2.RejectResponse(proposal=_message(found))

    async def _seen(self, proposal_id: str) -> tuple[Proposal, Message]:
        """A proposal and its request, of which the caller may see everything. Raises `Problem`."""
        found, allowed = await self.store.proposal(UUID(proposal_id)), policy.present()
        if found is None or not rights.sees_proposal(allowed, found):
            raise _not_found(proposal_id)
        try:
            asked = self.proposing.opened(found)
        except SealBroken as broken:
            events.PROPOSAL_FORGED.log(proposal_id=proposal_id, why=str(broken))
            raise problems.proposal_changed(found) from None
        if not all(allowed.has_member(member_id) for member_id in rights.members_in(asked)):
            raise _not_found(proposal_id)
        return found, asked

    async def _decided_by(self, before: Proposal, *states: ProposalState) -> Proposal:
        """The proposal after it was decided. Raises `Problem` unless that is the caller's own decision."""
        found, allowed = await self._again(before), policy.present()
        is_own = (found.decider_caller, found.decider_person) == (allowed.caller, allowed.person)
        if found.state not in states or not is_own:
            raise problems.proposal_decided(found)
        return found

    async def _again(self, before: Proposal) -> Proposal:
        return await self.store.proposal(before.proposal_id) or before


def _not_found(proposal_id: str) -> problems.Problem:
    return problems.not_found(ErrorReason.PROPOSAL_NOT_FOUND, "proposal", proposal_id)


def _message(found: Proposal, request_json: str = "") -> approval_pb2.Proposal:
    namespace, request_id = namespace_of(found.request_id)
    refusal = error_reason_pb2.ERROR_REASON_UNSPECIFIED
    if found.refusal:
        refusal = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{found.refusal}")
    return approval_pb2.Proposal(
        proposal_id=str(found.proposal_id),
        request_id=request_id,
        namespace=namespace,
        method=found.method,
        amount_fen=found.amount_fen,
        payer_member_id=found.payer,
        payee_member_id=found.payee,
        order_no=found.order_no,
        reason=found.reason,
        state=STATES[found.state],
        proposer_caller=found.caller,
        proposer_person=found.person,
        propose_time=view.timestamp(found.proposed_at),
        expire_time=view.timestamp(found.expires_at),
        decider_caller=found.decider_caller,
        decider_person=found.decider_person,
        note=found.note,
        decide_time=view.timestamp(found.decided_at),
        operation_id="" if found.operation_id is None else str(found.operation_id),
        refusal=refusal,
        refusal_message=view.sendable(found.refusal_message),
        request_json=request_json,
    )

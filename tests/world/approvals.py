"""Proposals as callers make them and decide on them."""

from __future__ import annotations

from jzb.v1 import approval_pb2, core_pb2, payment_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal


def asking(
    shop: Marketplace, payer: str, payee: str, fen: int, reason: str = "a supplier is owed"
) -> payment_pb2.PayRequest:
    """A payment whose caller asks for an approval."""
    request = shop.pay_request(payer, payee, fen)
    request.approval.reason = reason
    return request


async def proposed(shop: Marketplace, request: payment_pb2.PayRequest) -> str:
    """Propose a payment; returns the proposal's id."""
    answer = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (answer.reason, answer.outcome) == ("APPROVAL_PENDING", core_pb2.OUTCOME_NO_EFFECT), answer
    return answer.metadata["proposal_id"]


async def approve(shop: Marketplace, proposal_id: str, note: str = "") -> approval_pb2.Proposal:
    """Approve a proposal; returns it as it is after it ran."""
    request = approval_pb2.ApproveRequest(proposal_id=proposal_id, note=note)
    return (await shop.approvals.Approve(request, timeout=TIMEOUT_S)).proposal


async def approval_refused(shop: Marketplace, proposal_id: str) -> Refusal:
    """The error of an approval that must fail."""
    return await shop.refusal(approve(shop, proposal_id))


async def reject(shop: Marketplace, proposal_id: str, note: str = "") -> approval_pb2.Proposal:
    """Reject a proposal."""
    request = approval_pb2.RejectRequest(proposal_id=proposal_id, note=note)
    return (await shop.approvals.Reject(request, timeout=TIMEOUT_S)).proposal


async def proposal(shop: Marketplace, proposal_id: str) -> approval_pb2.Proposal:
    """A proposal as its reader sees it."""
    request = approval_pb2.GetProposalRequest(proposal_id=proposal_id)
    return (await shop.approvals.GetProposal(request, timeout=TIMEOUT_S)).proposal


async def listed(shop: Marketplace, **wanted: object) -> list[str]:
    """The ids of all proposals that a caller is shown, newest first."""
    found: list[str] = []
    token = None
    while token != "":
        request = approval_pb2.ListProposalsRequest(page_token=token or "", **wanted)  # type: ignore[arg-type]
        page = await shop.approvals.ListProposals(request, timeout=TIMEOUT_S)
        found += [one.proposal_id for one in page.proposals]
        token = page.next_page_token
    return found

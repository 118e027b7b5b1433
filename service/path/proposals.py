"""Two people: makes a proposal of a request, seals it, and recognises what somebody has decided.

A proposal's request is sealed by the vault for this proposal and for everything that an approver is shown of it: its
names, its amount, its members. Whoever changes one of these in the database makes the request unreadable. A decision
has a MAC of the vault: one that somebody else wrote to the database carries nothing out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC
from uuid import UUID

import uuid_utils
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ledger import AuditedCall, AuditTrail, KeyNeed, NewProposal, Proposal, ProposalDecision, Proposals
from service import contract, policy, problems
from service.path.fingerprint import Fingerprint, clear_personal
from service.path.rights import rpc_of
from service.personal import looks_personal
from service.plans.plan import Movement, Plan
from service.plans.verification import mode_of
from service.policy import Rights
from service.problems import Problem
from service.vault import SealBroken, Vault, VaultClosed, VaultKeyMissing


class Proposing:
    """One platform's. ``life_s`` is how long a proposal can be approved."""

    def __init__(self, store: Proposals, trail: AuditTrail, vault: Vault, life_s: float) -> None:
        self._store = store
        self._trail = trail
        self._vault = vault
        self._life_s = life_s

    async def answer(self, request: Message, plan: Movement, content: Fingerprint) -> Problem:
        """What the caller gets of a request that two people are needed for, and that has no operation.

        The first time it is stored, if its caller asks for the approval. Raises `Problem`.
        """
        request_id = policy.present().stored(request.request_id)  # type: ignore[attr-defined]  # as all of money have
        found = await self._store.of_request(request_id)
        if found is None:
            if not is_asked(request):
                scope = policy.scope_name(rpc_of(request).scope)
                raise problems.approval_required(scope, is_always=not isinstance(plan, Plan))
            new = self._new(request, plan, content)
            await self._trail.add(entry_of(new, "PROPOSED"))
            await self._store.propose(new, self._life_s)
            found = await self._store.of_request(request_id)
            assert found is not None
        self.require_same(found, content)
        return problems.of_proposal(found)

    def require_same(self, earlier: Proposal, content: Fingerprint) -> None:
        """Raises `Problem` when the request id has been proposed with something else, or when that cannot be known."""
        try:
            is_same = content.is_of(earlier.fingerprint)
        except VaultKeyMissing as gone:
            raise problems.key_missing(str(gone)) from None
        if not is_same:
            raise problems.proposed_otherwise(earlier)

    def _new(self, request: Message, plan: Movement, content: Fingerprint) -> NewProposal:
        reason: str = request.approval.reason  # type: ignore[attr-defined]  # by `is_asked`
        require_impersonal("approval.reason", reason)
        verification = getattr(request, "verification", None)
        if verification is not None and mode_of(verification) != "none":
            raise problems.invalid(
                "verification",
                "ends within minutes and is not kept: what waits for an approval has none",
                rule="approval.no_verification",
            )
        rights = policy.present()
        proposal_id = UUID(bytes=uuid_utils.uuid7().bytes)
        try:
            key_id = self._vault.key_id
        except VaultClosed:
            raise problems.key_missing("there is no key under which a proposal could be kept", "proposals") from None
        new = NewProposal(
            proposal_id=proposal_id,
            request_id=rights.stored(request.request_id),  # type: ignore[attr-defined]  # as all of money have
            fingerprint=content.digest,
            method=contract.path_of(rpc_of(request).method),
            key_id=key_id,
            sealed=b"",
            amount_fen=plan.amount_fen,
            payer=plan.payer,
            payee=plan.payee,
            order_no=plan.order_no,
            reason=reason,
            caller=rights.caller,
            person=rights.person,
        )
        return new.with_sealed(self._vault.enclose(request.SerializeToString(deterministic=True), _place(new)))

    def opened(self, proposal: Proposal) -> Message:
        """The proposed request. Raises `Problem` where its key is gone, `SealBroken` where anything was changed."""
        try:
            content = self._vault.disclose(proposal.key_id, proposal.sealed, _place(proposal))
        except (VaultClosed, VaultKeyMissing) as missing:
            raise problems.key_missing(str(missing), "proposals") from None
        return message_factory.GetMessageClass(method_of(proposal).input_type).FromString(content)

    def decision(self, proposal: Proposal, verdict: str, rights: Rights, note: str) -> ProposalDecision:
        """What these rights' caller decides, with a MAC. Raises `Problem`."""
        require_impersonal("note", note)
        decided = _decided(proposal, verdict, rights.caller, rights.person, note)
        return ProposalDecision(rights.caller, rights.person, note, self._vault.sign_decision(decided))

    def is_approved_here(self, proposal: Proposal) -> bool:
        """Whether a service that has the vault's key has taken the approval, with these names."""
        names = (proposal.decider_caller, proposal.decider_person)
        decided = _decided(proposal, APPROVED, *names, proposal.note)
        return self._vault.knows_decision(decided, proposal.mac) and not is_same_identity(proposal, *names)


def lacking(needs: Sequence[KeyNeed], key_ids: Collection[str]) -> str:
    """Which waiting proposals none of these keys opens, and what to do; empty where there are none."""
    found = [need for need in needs if need.key_id not in key_ids]
    return "".join(
        f"{need.proposals} proposals wait that only the key {need.key_id} opens, until"
        f" {need.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC at the latest: keep it in JZB_VAULT__KEYS until they are"
        " approved, rejected or expired (`jzb proposals list`). "
        for need in found
    ).rstrip()


def entry_of(proposal: NewProposal, outcome: str) -> AuditedCall:
    """What the audit trail has of a proposal: that it was made, and what has come of it."""
    return AuditedCall(
        caller=proposal.caller,
        person=proposal.person,
        method=proposal.method,
        subject=f"proposal_id={proposal.proposal_id}",
        digest=proposal.fingerprint,
        outcome=outcome,
    )


APPROVED = "approved"
REJECTED = "rejected"


def is_asked(request: Message) -> bool:
    """Whether its caller asks for an approval."""
    return "approval" in request.DESCRIPTOR.fields_by_name and request.HasField("approval")


def is_same_identity(proposal: Proposal, caller: str, person: str) -> bool:
    """Whether these are the proposer: as the constraint proposal_approved_by_another says it to PostgreSQL."""
    return person == proposal.person if person and proposal.person else caller == proposal.caller


def require_impersonal(field: str, text: str) -> None:
    """Raises `Problem` for words that hold what looks like a card, a mobile or an identity number."""
    if looks_personal(text):
        raise problems.invalid(
            field, "holds a number that looks like a card, a mobile or an identity number", rule="approval.impersonal"
        )


def shown_json(request: Message) -> str:
    """A request as an approver sees it: without its personal fields."""
    shown = type(request)()
    shown.CopyFrom(request)
    clear_personal(shown)
    return json_format.MessageToJson(shown, preserving_proto_field_name=True, indent=2)


def method_of(proposal: Proposal) -> MethodDescriptor:
    """The RPC of a proposal. Raises `SealBroken` for none."""
    path = proposal.method.removeprefix("jzb.v1.").replace("/", ".")
    method = contract.methods().get(path)
    if method is None:
        raise SealBroken(f"proposal {proposal.proposal_id} is of no RPC of this contract")
    return method


def _place(of: NewProposal) -> str:
    """What the request of a proposal is bound to, beside the platform: all that is told of it."""
    return json.dumps(
        [
            "proposal",
            str(of.proposal_id),
            of.request_id,
            of.fingerprint.hex(),
            of.method,
            of.amount_fen,
            of.payer,
            of.payee,
            of.order_no,
            of.reason,
            of.caller,
            of.person,
        ]
    )


def _decided(proposal: Proposal, verdict: str, caller: str, person: str, note: str) -> str:
    return json.dumps([_place(proposal), proposal.sealed.hex(), verdict, caller, person, note])

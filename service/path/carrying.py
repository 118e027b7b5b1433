"""Carries out what was approved, on the ordinary path of its RPC: under its own request id, with the rights that the
policy gives its proposer now.

Approve begins it at once; if its process dies, the loop of any process goes on. The request id makes it act once. What
is refused is recorded and not tried again; what could not be sent is tried again until the proposal expires. A lost
answer of the bank leaves an ordinary operation in doubt, which is the resolver's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import grpc
from google.protobuf.message import Message

from ledger import AuditTrail, Lease, LedgerError, Proposal, Proposals, State
from service import policy, problems, telemetry
from service.catalogue.interfaces import facts
from service.path import deadline, rights
from service.path.proposals import Proposing, entry_of, method_of
from service.policy import Approved, Rights, Scope, namespace_of
from service.problems import Problem
from service.telemetry import events
from service.vault import SealBroken

EVERY_S = 1.0
"""How often a process looks for what has expired and what is to be carried out."""

LEASE_S: Final = 60.0
"""How long one process has a proposal to itself. It opens an operation in a third of it, or not at all."""

AGAIN_S = 5.0
"""After what could not be sent it is tried again."""

FORGED_AGAIN_S: Final = 3600.0
"""How often what was forged is looked at again."""

AT_ONCE: Final = 10

Handler = Callable[[Any, Any], Awaitable[Any]]

NOT_NOW: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
"""What says nothing of the request, only of this moment."""


class Carrying:
    """One process's. ``rights_of`` is what the policy gives to a caller and a person now; it raises `Problem` where the
    scope is missing. ``handlers`` are those of the RPCs whose requests can be proposed, by their paths; they are put in
    before anything is carried out.
    """

    def __init__(
        self,
        store: Proposals,
        proposing: Proposing,
        trail: AuditTrail,
        rights_of: Callable[[str, str, Scope], Rights],
    ) -> None:
        self._store = store
        self._proposing = proposing
        self._trail = trail
        self.handlers: dict[str, Handler] = {}
        self._rights_of = rights_of
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Carrying]:
        """Carry out in the background for the life of the block."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            loop = tasks.create_task(self._run(), name="proposals")
            try:
                yield self
            finally:
                self._tasks = None
                loop.cancel()

    async def carry_out(self, proposal_id: UUID, lease: Lease | None) -> None:
        """Carry out an approved proposal now, unless somebody does; it goes on when the caller of this is gone."""
        lease = lease or await self._store.lease(LEASE_S, proposal_id)
        if self._tasks is not None and lease is not None:
            # A task of its own, since it has the rights of another than the approver.
            await asyncio.shield(self._tasks.create_task(self._carry_safely(lease), name="approved"))

    async def _run(self) -> None:
        while True:
            try:
                await self._store.expire()
                leases = [lease async for lease in self._due()]
                await asyncio.gather(*(asyncio.create_task(self._carry_safely(lease)) for lease in leases))
                if len(leases) == AT_ONCE:
                    continue
            except Exception as error:
                events.PROPOSALS_NOT_READ.log_failure(error)
            await asyncio.sleep(EVERY_S)

    async def _due(self) -> AsyncIterator[Lease]:
        for _ in range(AT_ONCE):
            lease = await self._store.lease(LEASE_S)
            if lease is None:
                return
            yield lease

    async def _carry_safely(self, lease: Lease) -> None:
        """Raises nothing: an error would end all others with it."""
        try:
            proposal = await self._store.proposal(lease.proposal_id)
            assert proposal is not None
            with telemetry.root(f"carry out {proposal.method}"):
                await self._carry(lease, proposal)
        except Exception as error:
            events.PROPOSALS_NOT_READ.log_failure(error)

    async def _carry(self, lease: Lease, proposal: Proposal) -> None:
        try:
            operation_id = await self._performed(proposal)
        except SealBroken as forged:
            events.PROPOSAL_FORGED.log(proposal_id=str(proposal.proposal_id), why=str(forged))
            await self._store.later(lease, FORGED_AGAIN_S)
        except Problem as problem:
            await self._ended(lease, proposal, problem)
        except LedgerError as error:
            await self._ended(lease, proposal, problems.of_ledger(error))
        else:
            await self._executed(lease, proposal, operation_id)

    async def _performed(self, proposal: Proposal) -> UUID:
        """The operation that the request has become. Raises `Problem`, `SealBroken`."""
        if not self._proposing.is_approved_here(proposal):
            raise SealBroken("the approval has no MAC of this service's vault")
        request = self._proposing.opened(proposal)
        scope = facts(method_of(proposal)).scope
        allowed = self._rights_of(proposal.caller, proposal.person, scope)
        rights.require_members(allowed, request)
        approved = Approved(
            proposal_id=proposal.proposal_id,
            caller=proposal.decider_caller,
            person=proposal.decider_person,
            payer=proposal.payer,
            payee=proposal.payee,
            amount_fen=proposal.amount_fen,
        )
        # Under the request id that it was proposed with, whatever namespace the policy gives the proposer now.
        policy.begin(replace(allowed, namespace=namespace_of(proposal.request_id)[0], approved=approved))
        deadline.begin(LEASE_S / 3)
        answer: Message = await self.handlers[proposal.method](request, None)
        return UUID(answer.operation.operation_id)  # type: ignore[attr-defined]  # as all that can be proposed have

    async def _executed(self, lease: Lease, proposal: Proposal, operation_id: UUID) -> None:
        if await self._store.executed(lease, operation_id):
            await self._trail.add(entry_of(proposal, f"EXECUTED {operation_id}"))

    async def _refused(self, lease: Lease, proposal: Proposal, problem: Problem) -> None:
        operation_id = None if problem.operation is None else problem.operation.id
        if await self._store.refused(lease, problem.reason, problem.message, operation_id):
            await self._trail.add(entry_of(proposal, f"REFUSED {problem.reason}"))

    async def _ended(self, lease: Lease, proposal: Proposal, problem: Problem) -> None:
        operation = problem.operation
        if operation is not None and operation.state is State.REFUSED:
            await self._refused(lease, proposal, problem)
        elif operation is not None and operation.state is not State.RELEASED:
            await self._executed(lease, proposal, operation.id)
        elif problem.in_doubt or (problem.code in NOT_NOW and proposal.left_s > 0):
            await self._store.later(lease, AGAIN_S)
        else:
            await self._refused(lease, proposal, problem)

"""Whether a call's request id has been used before: the look-up that goes before every NO_EFFECT.

A call that begins an operation needs none, the ledger sees a repeat when it reserves. What is refused before that is
looked up here, so that a repeat is never told that what is done has had no effect.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from google.protobuf.message import Message

from jzb.v1.names import ErrorReason
from ledger import (
    LedgerBehind,
    LedgerUnavailable,
    Operation,
    Proposal,
    Proposals,
    Reads,
    RequestIdReused,
    State,
    StepOutcome,
)
from service import policy, problems
from service.inflows.recorder import Key
from service.path.fingerprint import Fingerprint
from service.problems import LookedUp, Problem
from service.telemetry import events
from service.vault import Vault, VaultKeyMissing

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Repeats:
    """One platform's."""

    def __init__(self, reads: Reads, proposals: Proposals, vault: Vault) -> None:
        self._reads = reads
        self._proposals = proposals
        self._vault = vault

    def fingerprint(self, request: Message) -> Fingerprint:
        """What the request asks for."""
        return Fingerprint(request, self._vault)

    async def earlier(self, request: Message) -> Operation | None:
        """The operation that an earlier call of this request began. Raises `Problem`, also for other content."""
        found = await self._find(request)
        if found is not None:
            self.require_same(found, self.fingerprint(request))
        return found

    def require_same(self, earlier: Operation, content: Fingerprint) -> None:
        """Raises `Problem` when the request id has been used for something else, or when that cannot be known."""
        try:
            is_same = content.is_of(earlier.fingerprint)
        except VaultKeyMissing as gone:
            raise problems.repeat_not_recognised(earlier, str(gone)) from None
        if not is_same:
            raise problems.request_id_reused(earlier)

    async def enter(self, request: Message, entered: Callable[[Key], Awaitable[StepOutcome]]) -> StepOutcome:
        """Enter what a request asks for, once. Of two at once, one may be recorded under another key of the vault: the
        ledger compares bytes, and is given those that it has. Raises `Problem`, also for other content.
        """
        content = self.fingerprint(request)
        key = Key.of_caller(request.request_id, content.digest)  # type: ignore[attr-defined]  # as every such request has
        try:
            return await entered(key)
        except RequestIdReused as other:
            self.require_same(other.operation, content)
            return await entered(replace(key, fingerprint=other.operation.fingerprint))

    async def decide(self, problem: Problem, request: Message) -> Problem:
        """The same problem, with what happened to the money if that can be looked up."""
        if problem.is_decided or problem.reason == ErrorReason.LEDGER_UNAVAILABLE:
            # A database that is away cannot be asked, either.
            return problem
        try:
            # First the proposal: what it becomes in between is then seen as an operation.
            proposal = await self._proposal(request)
            earlier = await self.earlier(request)
            may_act = earlier is None or earlier.state is State.RELEASED
            if may_act and proposal is not None and proposal.state.may_run:
                return problems.beside_proposal(problem, proposal)
            if earlier is None:
                return problem.after(LookedUp())
            return problem.after(LookedUp(*(await self._reads.full_operations([earlier.id]))[earlier.id]))
        except Problem as reused:
            return reused
        except (LedgerUnavailable, LedgerBehind):
            return problem.after(None)
        except Exception:
            events.UNFORESEEN.log(reason=problem.reason)
            return problem.after(None)

    async def _proposal(self, request: Message) -> Proposal | None:
        """The proposal of a request's id, unless it is being carried out here."""
        if "approval" not in request.DESCRIPTOR.fields_by_name or policy.present().approved is not None:
            return None
        request_id: str = request.request_id  # type: ignore[attr-defined]  # as every request of money has
        if not REQUEST_ID.fullmatch(request_id):
            return None
        return await self._proposals.of_request(policy.present().stored(request_id))

    async def _find(self, request: Message) -> Operation | None:
        request_id: str = request.request_id  # type: ignore[attr-defined]  # as every request of money has
        # What no call can have was never recorded.
        if not REQUEST_ID.fullmatch(request_id):
            return None
        found = await self._reads.operation_of_request(policy.present().stored(request_id))
        # What nobody with the keys has sealed is no earlier call, whatever its row says.
        return None if found is None else (await self._reads.full_operations([found.id]))[found.id].operation

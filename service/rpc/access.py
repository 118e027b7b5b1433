"""Whether a call may be made: who makes it, and what the policy of the moment gives him.

Deny by default: a caller that the policy does not name has nothing, an RPC without a scope is nobody's. While there is
no policy, the local caller has everything and everybody else nothing. What was found for a caller and a person is kept
until the policy changes, so that a call costs two look-ups.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from service import policy, problems
from service.filestamp import stamp
from service.path.admission import ConcurrencyLimit
from service.policy import EVERYTHING, LOCAL, Policy, PolicyWrong, Rights, Scope
from service.rpc.context import Context
from service.rpc.identity import KEPT_MAX, Caller, Identities
from service.telemetry import events

LOOK_EVERY_S = 1.0
"""How soon a changed policy file is seen."""


class Access:
    """One process's. ``path`` is the policy file, if there is one. Raises `PolicyWrong`."""

    def __init__(self, identities: Identities, path: Path | None) -> None:
        self._identities = identities
        self._path = path
        self._stamp = stamp(path)
        self._policy = None if path is None else policy.read(path)
        self._rights: dict[Caller, Rights | str] = {}
        self._in_flight: dict[str, ConcurrencyLimit] = {}

    @property
    def has_policy(self) -> bool:
        """Whether there is a file that gives rights."""
        return self._policy is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Access]:
        """Follow the policy file for the life of the block."""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._follow(), name="policy")
            try:
                yield self
            finally:
                looking.cancel()

    async def rights(self, context: Context, scope: Scope) -> Rights:
        """What the call may do whose RPC has this scope. Raises `Problem`."""
        certificate = self._identities.certificate(context)
        if certificate is not None and self._policy is not None and certificate.digest in self._policy.revoked:
            raise problems.caller_unknown(f"the certificate of {certificate.name} was revoked")
        caller = Caller(LOCAL if certificate is None else certificate.name, await self._identities.person(context))
        return self.rights_of(caller, scope)

    def rights_of(self, caller: Caller, scope: Scope) -> Rights:
        """What these two may do at this moment. Raises `Problem`, which names the scope, where that is nothing."""
        rights = self._rights.get(caller)
        if rights is None:
            if len(self._rights) >= KEPT_MAX:
                self._rights.clear()
            rights = self._rights[caller] = self._of(caller)
        if isinstance(rights, str):
            raise problems.scope_missing(caller.name, caller.person, policy.scope_name(scope), rights)
        return rights

    def now(self, caller: str, person: str, scope: Scope) -> Rights:
        """What these two may do now, for what is carried out for them. Raises `Problem` without the scope."""
        rights = self.rights_of(Caller(caller, person), scope)
        self.require(rights, scope)
        return rights

    @staticmethod
    def require(rights: Rights, scope: Scope, others: Collection[Scope] = ()) -> None:
        """Raises `Problem` unless the scope is given, or one of the others that will do."""
        if scope not in rights.scopes and rights.scopes.isdisjoint(others):
            raise problems.scope_missing(rights.caller, rights.person, policy.scope_name(scope))

    def limits(self, rights: Rights) -> Sequence[ConcurrencyLimit]:
        """What counts the calls of these names, each with room for one more. Raises `Problem`."""
        found = []
        for who, maximum in rights.in_flight:
            limit = self._in_flight.get(who)
            if limit is None:
                limit = self._in_flight[who] = ConcurrencyLimit(maximum)
            limit.maximum = maximum
            if limit.is_reached:
                raise problems.overloaded(f"{maximum} calls of {who} are under way already")
            found.append(limit)
        return found

    def _of(self, caller: Caller) -> Rights | str:
        if self._policy is not None:
            return policy.rights_of(self._policy, caller.name, caller.person)
        if caller.name == LOCAL:
            return replace(EVERYTHING, person=caller.person)
        return "there is no policy (JZB_POLICY), which alone gives rights"

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.reload()

    async def reload(self) -> None:
        """Read the file again if it has changed; one that is wrong, or gone, changes nothing."""
        if self._path is None or (now := stamp(self._path)) == self._stamp:
            return
        self._stamp = now
        try:
            read = await asyncio.to_thread(policy.read, self._path)
        except PolicyWrong as wrong:
            events.POLICY_REFUSED.log(why=str(wrong))
            return
        self._take(read)

    def _take(self, new: Policy) -> None:
        self._policy = new
        self._rights.clear()
        events.POLICY_READ.log(callers=len(new.callers), people=len(new.people))

"""Puts each call of a scope for few into the audit trail: who, when, which RPC, about what; and how it ended.

The entry is committed before the call acts: where it cannot be written, the call is refused. How the call ended is a
second entry, written behind its back; without one the process died in between, or the database was away, and the log
says so. A request is kept as the digest by which repeats are recognised, so nothing personal is in the trail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from google.protobuf.message import Message

from ledger import AuditedCall, AuditTrail, Operation
from service.path.repeats import Repeats
from service.personal import masked
from service.policy import Rights
from service.problems import Problem
from service.telemetry import events

SUBJECT_MAX = 64
"""Characters of what a call is about."""

End = Callable[[str], None]
"""To be called with how the call ended: "OK", or a reason."""


class Auditing:
    """One instance a process."""

    def __init__(self, trail: AuditTrail, repeats: Repeats) -> None:
        self._trail = trail
        self._repeats = repeats
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Auditing]:
        """Write for the life of the block; what is to be written at its end is waited for."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            yield self

    async def begin(self, rights: Rights, method: str, request: Message) -> End:
        """Write that a call begins; returns what is called when it has ended. Raises `LedgerUnavailable`."""
        call = AuditedCall(
            caller=rights.caller,
            person=rights.person,
            method=method,
            subject=_subject(rights, request),
            digest=self._digest(request),
        )
        number = await self._trail.add(call)
        events.AUDITED.log(number=number, method=method, caller=rights.caller)

        def end(outcome: str) -> None:
            assert self._tasks is not None
            self._tasks.create_task(self._end(replace(call, began=number, outcome=outcome)), name="audit")

        return end

    async def _end(self, call: AuditedCall) -> None:
        try:
            await self._trail.add(call)
        except Exception as failure:
            events.AUDIT_END_NOT_WRITTEN.log(
                number=call.began, outcome=call.outcome, method=call.method, why=events.why(failure)
            )

    def _digest(self, request: Message) -> bytes:
        with suppress(Problem):
            return self._repeats.fingerprint(request).digest
        # Personal values, and no key to digest them under.
        return b""


def _subject(rights: Rights, request: Message) -> str:
    """What a call names: its request id with the namespace, the key of an operation, or what it chooses by."""
    fields = request.DESCRIPTOR.fields_by_name
    if "request_id" in fields:
        return _plain(rights.stored(request.request_id))  # type: ignore[attr-defined]  # by its descriptor
    if "key" in fields:
        key = request.key  # type: ignore[attr-defined]  # by its descriptor
        kind = key.WhichOneof("key") or "operation_id"
        return _plain(rights.stored(key.request_id) if kind == "request_id" else getattr(key, kind))
    named = ((field.name, value) for field, value in request.ListFields() if isinstance(value, str))
    return _plain(" ".join(f"{name}={value}" for name, value in named if not name.startswith("page_")))


def subjects_of(operation: Operation) -> Iterator[str]:
    """What calls that are about an operation are audited under."""
    for name in (operation.request_id, str(operation.id), operation.serial, operation.bank_serial):
        if name:
            yield _plain(name)


def _plain(text: str) -> str:
    return masked(text)[:SUBJECT_MAX] if text.isprintable() else ""

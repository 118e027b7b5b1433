"""WorkService: everything that waits for a person or for the bank, in one queue; who takes it, what he found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from bankclient import BANK_ZONE, wall_clock
from jzb.v1 import core_pb2, work_pb2, work_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger import Patience, Reads, Work, WorkKind, WorkNote, WorkSum, WorkWanted
from service import policy, problems, view
from service.bankday import bank_today
from service.inflows import collector
from service.inflows.collector import Unentered
from service.inflows.returns import Returns
from service.inflows.transfers import Transfers
from service.personal import masked
from service.rpc.context import Context
from service.rpc.pages import no_token, page_size, page_start, page_token
from service.settings import ResolverSettings

RESOLVE: Final = "jzb.v1.OperationService/ResolveOperation"
RECONCILIATION: Final = "jzb.v1.ReconciliationService"
ADJUST: Final = "jzb.v1.AdjustmentService/Adjust"
COLLECT: Final = {
    "transfers": "jzb.v1.SuspenseService/CollectTransfers",
    "returns": "jzb.v1.WithdrawalService/CollectReturns",
    "clearing": "jzb.v1.ClearingService/ClearDay",
}
"""By the name of a collection."""

ACTIONS: Final[Mapping[WorkKind, tuple[str, ...]]] = {
    WorkKind.IN_DOUBT: (RESOLVE,),
    WorkKind.ORPHANED: (RESOLVE,),
    WorkKind.UNDER_WAY: (RESOLVE,),
    WorkKind.RETURN: (RESOLVE, COLLECT["returns"]),
    WorkKind.SUSPENSE: ("jzb.v1.SuspenseService/AllocateSuspense",),
    WorkKind.CLEARING: ("jzb.v1.ClearingService/GetDay", "jzb.v1.ClearingService/ClearDay"),
    WorkKind.PROPOSAL: ("jzb.v1.ApprovalService/Approve", "jzb.v1.ApprovalService/Reject"),
    WorkKind.BREAK: (f"{RECONCILIATION}/HoldBreak", f"{RECONCILIATION}/CloseBreak", ADJUST),
    WorkKind.DIFFERENCE: (ADJUST,),
}
"""What a person may do about an item; what else depends on the item."""

NEXT: Final[Mapping[WorkKind, str]] = {
    WorkKind.IN_DOUBT: "the service queries the bank",
    WorkKind.ORPHANED: "the service queries the bank",
    WorkKind.UNDER_WAY: "the service queries the bank",
    WorkKind.RETURN: "the service asks the bank (6048) which withdrawal it was",
    WorkKind.SUSPENSE: "",
    WorkKind.CLEARING: "the service asks the bank (6108) whether the day is cleared",
    WorkKind.PROPOSAL: "it expires",
    WorkKind.BREAK: "the service matches it with the next file",
    WorkKind.DIFFERENCE: "",
    WorkKind.COLLECTION: "the service collects again",
}


def patience(settings: ResolverSettings) -> Patience:
    """When what is open becomes work."""
    return Patience(reserved_for_s=settings.orphan_after_s, accepted_for_s=settings.accepted_long_s, today=bank_today())


def actions(item: Work) -> tuple[str, ...]:
    """The RPCs by which a person ends an item."""
    if item.kind is WorkKind.COLLECTION:
        collection = item.work_id.split(":")[1]
        return (COLLECT[collection],) if collection in COLLECT else ()
    return () if item.is_decided else ACTIONS[item.kind]


def next_step(item: Work) -> str:
    """What happens to an item by itself, in words."""
    return "the service carries it out" if item.is_decided else NEXT[item.kind]


def not_collected(unentered: Iterable[Unentered]) -> list[Work]:
    """What this process could not enter of what the bank did by itself, and which of its collections fail."""
    now = wall_clock()
    found = [
        _work(
            now,
            datetime.combine(one.bank_day, time(), BANK_ZONE),
            f"collection:{one.collection}:{one.bank_serial or 'none'}:{one.reason}",
            amount_fen=one.amount_fen,
            subject=one.bank_serial,
            detail=one.reason,
        )
        for one in unentered
    ]
    found += [
        _work(now, one.since, f"collection:{name.replace(' ', '-')}", detail=one.why)
        for name, one in collector.failing().items()
    ]
    # One row may be listed on two days.
    return sorted({one.work_id: one for one in found}.values(), key=_place)


def _work(
    now: datetime, since: datetime, work_id: str, *, amount_fen: int = 0, subject: str = "", detail: str = ""
) -> Work:
    return Work(
        kind=WorkKind.COLLECTION,
        work_id=work_id,
        amount_fen=amount_fen,
        since=since,
        age_s=max(0.0, (now - since).total_seconds()),
        subject=subject,
        detail=detail,
    )


def sums_of(items: Iterable[Work]) -> dict[WorkKind, WorkSum]:
    """The sums of what is in no table."""
    found = list(items)
    if not found:
        return {}
    return {
        WorkKind.COLLECTION: WorkSum(
            count=len(found), amount_fen=sum(one.amount_fen for one in found), age_s=max(one.age_s for one in found)
        )
    }


def _place(item: Work) -> tuple[datetime, str]:
    return item.since, item.work_id


@dataclass(frozen=True, kw_only=True)
class WorkRpc(work_pb2_grpc.WorkServiceServicer):
    """See protos/jzb/v1/work.proto."""

    reads: Reads
    returns: Returns
    transfers: Transfers
    resolver: ResolverSettings

    async def ListWork(self, request: work_pb2.ListWorkRequest, context: Context) -> work_pb2.ListWorkResponse:
        """From the mirror, and from the last collection of this process."""
        start, size = page_start(request.page_token, request), page_size(request.page_size)
        wanted, sums = wanted_of(request), dict[WorkKind, WorkSum]()
        if start:
            found = await self._found(wanted, _behind(start), size + 1)
        else:
            first, sums = await self.reads.first_work(wanted, patience(self.resolver), limit=size + 1)
            found = await self._with_others(first, wanted, None, size + 1)
            sums |= sums_of(self._not_collected())
        shown = found[:size]
        return work_pb2.ListWorkResponse(
            items=[message_of(one) for one in shown],
            sums=[sum_of(kind, one) for kind, one in sorted(sums.items())],
            next_page_token=page_token(_start(shown[-1]), request) if len(found) > size else "",
        )

    async def AssignWork(self, request: work_pb2.AssignWorkRequest, context: Context) -> work_pb2.AssignWorkResponse:
        """Into the mirror."""
        item = await self._said(request.work_id, request.owner, request.note)
        return work_pb2.AssignWorkResponse(item=message_of(item))

    async def NoteWork(self, request: work_pb2.NoteWorkRequest, context: Context) -> work_pb2.NoteWorkResponse:
        """Into the mirror."""
        item = await self._said(request.work_id, None, request.note)
        return work_pb2.NoteWorkResponse(item=message_of(item))

    async def _said(self, work_id: str, owner: str | None, note: str) -> Work:
        """The item after somebody has said something of it. Raises `Problem` when it does not wait."""
        wanted, allowed = WorkWanted(work_id=work_id), policy.present()
        waiting = await self._found(wanted, None, 1)
        if waiting and await self._is_own(waiting[0]):
            await self.reads.say(work_id, owner=owner, note=masked(note), caller=allowed.caller, person=allowed.person)
            if found := await self._found(wanted, None, 1):
                return found[0]
        raise problems.not_found(ErrorReason.WORK_NOT_FOUND, "item of work", work_id)

    async def _is_own(self, item: Work) -> bool:
        """Whether the present caller has every member that an item is about. What is about none is the platform's."""
        allowed = policy.present()
        if not allowed.members:
            return True
        if item.operation_id is None:
            return False
        full = (await self.reads.full_operations([item.operation_id]))[item.operation_id]
        sides = [(full.operation.payer, full.operation.payee), *((part.payer, part.payee) for part in full.parts)]
        named = [name for side in sides for name in side if name]
        return bool(named) and all(allowed.has_member(name) for name in named)

    async def _found(self, wanted: WorkWanted, behind: tuple[datetime, str] | None, limit: int) -> list[Work]:
        found = await self.reads.work(wanted, patience(self.resolver), behind=behind, limit=limit)
        return await self._with_others(found, wanted, behind, limit)

    async def _with_others(
        self, found: list[Work], wanted: WorkWanted, behind: tuple[datetime, str] | None, limit: int
    ) -> list[Work]:
        """With what is in no table among them."""
        others = self._not_collected()
        if others:
            said = await self.reads.said([one.work_id for one in others])
            others = [one if one.work_id not in said else said[one.work_id].of(one) for one in others]
            found += [one for one in others if wanted.takes(one) and (behind is None or _place(one) > behind)]
            found.sort(key=_place)
        return found[:limit]

    def _not_collected(self) -> list[Work]:
        return not_collected((*self.returns.unentered, *self.transfers.unentered))


KINDS: Final[dict[WorkKind, work_pb2.WorkKind.ValueType]] = {
    kind: work_pb2.WorkKind.Value(f"WORK_KIND_{kind.name}") for kind in WorkKind
}
KIND_OF: Final = {value: kind for kind, value in KINDS.items()}


def wanted_of(request: work_pb2.ListWorkRequest) -> WorkWanted:
    """Which items a request wants."""
    return WorkWanted(
        kinds=tuple(KIND_OF[kind] for kind in request.kinds),
        owner=request.owner or ("" if request.unassigned else None),
    )


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _start(item: Work) -> str:
    """Where an item stands, to the microsecond."""
    return f"{(item.since - EPOCH) // timedelta(microseconds=1)} {item.work_id}"


def _behind(start: str) -> tuple[datetime, str]:
    micros, _, work_id = start.partition(" ")
    try:
        return EPOCH + timedelta(microseconds=int(micros)), work_id
    except (ValueError, OverflowError):
        raise no_token() from None


def sum_of(kind: WorkKind, one: WorkSum) -> work_pb2.WorkSum:
    """A sum as the contract has it."""
    return work_pb2.WorkSum(kind=KINDS[kind], count=one.count, amount_fen=one.amount_fen, oldest_age_s=int(one.age_s))


def message_of(item: Work) -> work_pb2.WorkItem:
    """An item as the contract has it."""
    return work_pb2.WorkItem(
        work_id=item.work_id,
        kind=KINDS[item.kind],
        amount_fen=item.amount_fen,
        since=view.timestamp(item.since),
        age_s=int(item.age_s),
        owner=item.owner,
        notes=[_note(one) for one in item.notes],
        next_step=next_step(item),
        next_time=view.timestamp(item.next_at),
        actions=actions(item),
        operation_id=str(item.operation_id or ""),
        operation_kind=view.KINDS.get(item.operation_kind, core_pb2.OPERATION_KIND_UNSPECIFIED),
        operation_state=view.STATES[item.state] if item.state else core_pb2.OPERATION_STATE_UNSPECIFIED,
        proposal_id=str(item.proposal_id or ""),
        break_id=str(item.break_id or ""),
        bank_day=item.bank_day.isoformat() if item.bank_day else "",
        subject=item.subject,
        detail=view.sendable(item.detail),
    )


def _note(one: WorkNote) -> work_pb2.WorkNote:
    return work_pb2.WorkNote(
        time=view.timestamp(one.at),
        caller=one.caller,
        person=one.person,
        assigns=one.owner is not None,
        owner=one.owner or "",
        note=one.note,
    )

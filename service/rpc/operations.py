"""OperationService: every operation, found, listed, watched, waited for, and asked about now (6110)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from jzb.v1 import core_pb2, operation_pb2, operation_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from jzb.v1.options_pb2 import SCOPE_AUDIT
from ledger import (
    OPEN_STATES,
    Account,
    Event,
    Filter,
    FullOperation,
    LedgerUnavailable,
    Lists,
    Match,
    Moment,
    Number,
    Operation,
    Reads,
    Wanted,
)
from ledger.names import BankSerial, MemberCode, Serial, SubAccount
from service import policy, problems, view
from service.feed import Feed
from service.path import details, rights
from service.path.resolver import Resolver
from service.problems import Problem
from service.rpc.auditing import subjects_of
from service.rpc.context import Context
from service.rpc.dates import bank_day, moment
from service.rpc.listing import page_seen
from service.rpc.pages import page_size, page_start, page_token, start_id, start_row
from service.view import STATE_OF, STATES

WAIT_MAX_S = 60.0
"""How long a wait lasts whose caller set no deadline, or a later one."""

TIMELINE_MAX = 100
"""Operations of one order; the newest."""

ANSWER_S = 0.25
"""So long before its caller's deadline a wait is answered."""

MATCHES: dict[Match, operation_pb2.NumberMatch.ValueType] = {
    Match.CHANNEL_NO: operation_pb2.NUMBER_MATCH_CHANNEL_TRANSACTION_NO,
    **{
        match: operation_pb2.NumberMatch.Value(f"NUMBER_MATCH_{match.name}")
        for match in Match
        if match is not Match.CHANNEL_NO
    },
}


@dataclass(frozen=True, kw_only=True)
class Operations(operation_pb2_grpc.OperationServiceServicer):
    """See protos/jzb/v1/operation.proto."""

    reads: Reads
    lists: Lists
    feed: Feed
    resolver: Resolver
    # Many watches show the same event at the same time.
    _shown: Callable[[Event], operation_pb2.WatchOperationsResponse] = field(
        init=False, default_factory=lambda: lru_cache(maxsize=1024)(_shown)
    )

    async def GetOperation(
        self, request: operation_pb2.GetOperationRequest, context: Context
    ) -> operation_pb2.GetOperationResponse:
        """From the mirror."""
        found = await self._find(request.key)
        return operation_pb2.GetOperationResponse(operation=await self._message(found))

    async def ListOperations(
        self, request: operation_pb2.ListOperationsRequest, context: Context
    ) -> operation_pb2.ListOperationsResponse:
        """From the mirror, newest first."""
        size = page_size(request.page_size)
        last_id, _, first_cursor = page_start(request.page_token, request).partition(" ")
        behind = start_id(last_id)
        first = _position(first_cursor, "page_token") if behind else None
        booked = bank_day("bank_day", request.bank_day) if request.bank_day else None
        wanted = Filter(
            states=frozenset({STATE_OF[request.state]} if request.state else ()),
            kinds=frozenset({_kind(request.kind)} if request.kind else ()),
            member_id=MemberCode(request.member_id),
            sub_account=SubAccount(request.sub_account),
            order_no=request.order_no,
            days=(booked, booked) if booked else None,
            bank_serial=BankSerial(request.bank_serial),
            channel_no=request.channel_transaction_no,
            caller=request.caller,
            person=request.person,
            tags=details.names(request),
        )
        page, _ = await page_seen(self.reads, self.lists, wanted, behind=behind, size=size)
        # As of the first page, and told by all: what changes while pages are read is behind it.
        cursor = page.last_event if first is None else first
        return operation_pb2.ListOperationsResponse(
            operations=[view.operation(*full) for full in page.full_operations],
            next_page_token=page_token(f"{page.further} {cursor}", request) if page.further else "",
            cursor=page_token(str(cursor)),
        )

    async def FindOperations(
        self, request: operation_pb2.FindOperationsRequest, context: Context
    ) -> operation_pb2.FindOperationsResponse:
        """From the mirror, newest first."""
        wanted = Filter(
            number=await self._number(request.number),
            states=frozenset(STATE_OF[state] for state in request.states)
            | (OPEN_STATES if request.all_open else set()),
            kinds=frozenset({_kind(request.kind)} if request.kind else ()),
            amount_min_fen=request.min_amount_fen or None,
            amount_max_fen=request.max_amount_fen or None,
            since=moment("since", request.since) if request.HasField("since") else None,
            until=moment("until", request.until) if request.HasField("until") else None,
        )
        behind, size = start_id(page_start(request.page_token, request)), page_size(request.page_size)
        page, matches = await page_seen(self.reads, self.lists, wanted, behind=behind, size=size)
        return operation_pb2.FindOperationsResponse(
            found=[
                operation_pb2.FoundOperation(operation=view.operation(*full), matches=[MATCHES[one] for one in matched])
                for full, matched in zip(page.full_operations, matches, strict=True)
            ],
            next_page_token=page_token(str(page.further), request) if page.further else "",
        )

    async def GetTimeline(
        self, request: operation_pb2.GetTimelineRequest, context: Context
    ) -> operation_pb2.GetTimelineResponse:
        """From the mirror."""
        offset, size = start_row(page_start(request.page_token, request)), page_size(request.page_size)
        found = await self._subject(request)
        is_audited = SCOPE_AUDIT in policy.present().scopes
        subjects = {name: full.operation.id for full in found if is_audited for name in subjects_of(full.operation)}
        ids = [full.operation.id for full in found]
        moments = await self.reads.timeline(ids, subjects, offset=offset, limit=size + 1)
        return operation_pb2.GetTimelineResponse(
            operations=[] if offset else [view.operation(*full) for full in found],
            entries=[_entry(one) for one in moments[:size]],
            next_page_token=page_token(str(offset + size), request) if len(moments) > size else "",
        )

    async def _subject(self, request: operation_pb2.GetTimelineRequest) -> list[FullOperation]:
        """The operations that a timeline is of, oldest first, all seen by the caller. Raises `Problem`."""
        if request.WhichOneof("subject") == "key":
            full = (await self.reads.full_operations([(await self._find(request.key)).id])).values()
            found = [one for one in full if rights.sees_operation(policy.present(), *one)]
            if not found:
                raise rights.hidden(operation_pb2.GetOperationRequest(key=request.key))
            return found
        wanted = Filter(order_no=request.order_no)
        page, _ = await page_seen(self.reads, self.lists, wanted, behind=None, size=TIMELINE_MAX)
        if not page.full_operations:
            raise problems.not_found(ErrorReason.ORDER_NOT_FOUND, "order", request.order_no)
        return page.full_operations[::-1]

    async def WatchOperations(
        self, request: operation_pb2.WatchOperationsRequest, context: Context
    ) -> AsyncIterator[operation_pb2.WatchOperationsResponse]:
        """Every wanted change of state after the cursor, in commit order, until the caller goes."""
        wanted = Wanted(
            operation_id=UUID(request.operation_id) if request.operation_id else None,
            member_id=request.member_id,
            order_no=request.order_no,
            kinds=frozenset(_kind(kind) for kind in request.kinds),
            states=frozenset(STATE_OF[state] for state in request.states),
            is_shown=rights.filter_of(policy.present()),
        )
        after = _position(page_start(request.cursor, field="cursor"), "cursor") if request.cursor else None
        if after is None and request.from_start:
            after = 0
        told = "" if after is None else page_token(str(after))
        try:
            async with aclosing(self.feed.follow(wanted, after)) as following:
                async for cursor, event in following:
                    told = page_token(str(cursor))
                    yield operation_pb2.WatchOperationsResponse(cursor=told) if event is None else self._shown(event)
        except LedgerUnavailable:
            raise problems.at_cursor(problems.ledger_unavailable(), told) from None
        except Problem as problem:
            raise problems.at_cursor(problem, told) from None

    async def WaitOperation(
        self, request: operation_pb2.WaitOperationRequest, context: Context
    ) -> operation_pb2.WaitOperationResponse:
        """From the mirror, when the bank has spoken, or when the caller's deadline is near."""
        ends_s = time.monotonic() + _patience_s(context.time_remaining())
        found = await self._find(request.key)
        async with self.feed.watching(Wanted(operation_id=found.id)) as watch:
            # Read when the place is taken: what comes later is seen by the watch.
            full = (await self.reads.full_operations([found.id]))[found.id]
            while full.operation.state in OPEN_STATES:
                event = await watch.next(ends_s - time.monotonic())
                if event is None:
                    break
                full = event.full
        return operation_pb2.WaitOperationResponse(operation=view.operation(*full))

    async def ResolveOperation(
        self, request: operation_pb2.ResolveOperationRequest, context: Context
    ) -> operation_pb2.ResolveOperationResponse:
        """6110 or the operation's own question, now."""
        found = await self._find(request.key)
        if not found.state.is_final:
            await self.resolver.resolve_now(found.id)
            found = await self.reads.operation(operation_id=found.id) or found
        return operation_pb2.ResolveOperationResponse(operation=await self._message(found))

    async def _number(self, text: str) -> Number | None:
        """What to look up for a number: nothing that would tell of members whom the caller may not see."""
        if not text:
            return None
        allowed = policy.present()
        owner = (await self.reads.members_by_sub_account([SubAccount(text)])).get(SubAccount(text))
        return Number(
            text=text,
            request_ids=allowed.ways_to_store(text),
            member_id=MemberCode(text if allowed.has_member(text) else ""),
            owner_id=MemberCode(owner.member_id if owner is not None and allowed.has_member(owner.member_id) else ""),
        )

    async def _find(self, key: operation_pb2.OperationKey) -> Operation:
        match key.WhichOneof("key"):
            case "operation_id":
                named, found = key.operation_id, await self.reads.operation(operation_id=UUID(key.operation_id))
            case "request_id":
                stored = policy.present().stored(key.request_id)
                named, found = key.request_id, await self.reads.operation(request_id=stored)
            case "bank_serial":
                named, full = key.bank_serial, await self.lists.newest(Filter(bank_serial=BankSerial(key.bank_serial)))
                found = None if full is None else full.operation
            case _:
                named, found = key.serial, await self.reads.operation(serial=Serial(key.serial))
                if found is None and (part := await self.reads.payment(Serial(key.serial))) is not None:
                    found = part.operation
        if found is None:
            raise problems.operation_not_found(named, is_request_id=key.WhichOneof("key") == "request_id")
        return found

    async def _message(self, found: Operation) -> core_pb2.Operation:
        return view.operation(*(await self.reads.full_operations([found.id]))[found.id])


def _position(text: str, field: str) -> int:
    """The number of an event, as a cursor or a page token has it. Raises `Problem`."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise problems.invalid(field, "is not a cursor of this stream", ErrorReason.PAGE_TOKEN_INVALID)
    return int(text)


def _patience_s(remaining_s: float | None) -> float:
    """How long a caller can be kept waiting."""
    return WAIT_MAX_S if remaining_s is None else max(0.0, min(WAIT_MAX_S, remaining_s - ANSWER_S))


def _shown(event: Event) -> operation_pb2.WatchOperationsResponse:
    return operation_pb2.WatchOperationsResponse(
        cursor=page_token(str(event.seq)),
        operation=view.operation(*event.full),
        state=STATES[event.state],
        event_time=view.timestamp(event.at),
    )


def _kind(kind: core_pb2.OperationKind.ValueType) -> OperationKind:
    return OperationKind[core_pb2.OperationKind.Name(kind).removeprefix("OPERATION_KIND_")]


def _entry(one: Moment) -> operation_pb2.TimelineEntry:
    return operation_pb2.TimelineEntry(
        time=view.timestamp(one.at),
        kind=operation_pb2.TimelineKind.Value(f"TIMELINE_KIND_{one.kind.name}"),
        operation_id=str(one.operation_id),
        state=core_pb2.OPERATION_STATE_UNSPECIFIED if one.state is None else STATES[one.state],
        after_query=one.after_query,
        detail=one.reason,
        bank_code=one.bank_code,
        bank_message=view.sendable(one.bank_message),
        part=one.part,
        account=_account(one.account),
        credited_account=_account(one.credited),
        amount_fen=one.amount_fen,
        bank_day=one.bank_day.isoformat() if one.bank_day else "",
        bank_serial=one.bank_serial,
        caller=one.caller,
        person=one.person,
        method=one.what,
        outcome=one.outcome,
        note=one.note,
    )


def _account(one: Account | None) -> operation_pb2.LedgerAccount | None:
    if one is None:
        return None
    return operation_pb2.LedgerAccount(
        account_kind=view.ACCOUNT_KINDS[one.kind], sub_account=one.owner, reference=one.ref
    )

"""OperationService: every operation, found, listed, watched, and asked about now (6110)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from jzb.v1 import core_pb2, operation_pb2, operation_pb2_grpc
from ledger import Filter, Operation
from service import problems, view
from service.rpc.desk import Context, Desk, bank_day, page_size, page_start, page_token
from service.view import STATES

WATCH_PAGE = 200
WATCH_POLL_S = 0.2

STATE_OF = {value: state for state, value in STATES.items()}


class Operations(operation_pb2_grpc.OperationServiceServicer):
    """See protos/jzb/v1/operation.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

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
        start = page_start(request.page_token, request)
        try:
            before = UUID(start) if start else None
        except ValueError:
            raise problems.invalid("page_token", "is not a token of this list", "PAGE_TOKEN_INVALID") from None
        wanted = await self._wanted(request)
        if wanted is None:
            return operation_pb2.ListOperationsResponse()
        page, further = await self._desk.reads.operations_page(wanted, before=before, limit=size)
        parts = await self._desk.reads.parts([operation.id for operation in page])
        return operation_pb2.ListOperationsResponse(
            operations=[view.operation(operation, parts.get(operation.id, ())) for operation in page],
            next_page_token=page_token(str(further), request) if further else "",
        )

    async def _wanted(self, request: operation_pb2.ListOperationsRequest) -> Filter | None:
        """What the list is to have; None when nothing can match."""
        member_id = request.member_id
        if request.sub_account:
            owner = (await self._desk.reads.members_by_sub_account([request.sub_account])).get(request.sub_account)
            if owner is None or member_id not in ("", owner.member_id):
                return None
            member_id = owner.member_id
        kind = core_pb2.OperationKind.Name(request.kind).removeprefix("OPERATION_KIND_")
        return Filter(
            state=STATE_OF[request.state] if request.state else None,
            kind=kind if request.kind else "",
            member_id=member_id,
            order_no=request.order_no,
            bank_day=bank_day("bank_day", request.bank_day) if request.bank_day else None,
            bank_serial=request.bank_serial,
            channel_no=request.channel_transaction_no,
        )

    async def WatchOperations(
        self, request: operation_pb2.WatchOperationsRequest, context: Context
    ) -> AsyncIterator[operation_pb2.WatchOperationsResponse]:
        """Every change of state after the cursor, in commit order, until the caller goes."""
        if request.cursor:
            start = page_start(request.cursor, field="cursor")
            if not (start.isascii() and start.isdigit()) or len(start) > 18:
                raise problems.invalid("cursor", "is not a cursor of this stream", "PAGE_TOKEN_INVALID")
            after = int(start)
        else:
            after = 0 if request.from_start else await self._desk.reads.last_event()
        while True:
            events = await self._desk.reads.events(after, WATCH_PAGE)
            parts = await self._desk.reads.parts({operation.id for _, operation in events})
            for event, operation in events:
                after = event.seq
                if request.member_id and request.member_id not in (operation.payer, operation.payee):
                    continue
                message = view.operation(operation, parts.get(operation.id, ()))
                # The operation as it is now, in the state that this event brought.
                message.state = STATES[event.state]
                message.outcome = view.OUTCOMES[event.state]
                yield operation_pb2.WatchOperationsResponse(cursor=page_token(str(event.seq)), operation=message)
            if self._desk.admission.is_closed:
                # The cursor goes on at another process.
                raise problems.stopping()
            if len(events) < WATCH_PAGE:
                await asyncio.sleep(WATCH_POLL_S)

    async def ResolveOperation(
        self, request: operation_pb2.ResolveOperationRequest, context: Context
    ) -> operation_pb2.ResolveOperationResponse:
        """6110 or the operation's own question, now."""
        found = await self._find(request.key)
        if not found.state.is_final:
            await self._desk.resolver.resolve_now(found.id)
            found = await self._desk.reads.operation(operation_id=found.id) or found
        return operation_pb2.ResolveOperationResponse(operation=await self._message(found))

    async def _find(self, key: operation_pb2.OperationKey) -> Operation:
        match key.WhichOneof("key"):
            case "operation_id":
                named, found = key.operation_id, await self._desk.reads.operation(operation_id=UUID(key.operation_id))
            case "request_id":
                named, found = key.request_id, await self._desk.reads.operation(request_id=key.request_id)
            case "bank_serial":
                named = key.bank_serial
                found = await self._desk.reads.newest(Filter(bank_serial=named))
            case _:
                named, found = key.serial, await self._desk.reads.operation(serial=key.serial)
                if found is None and (part := await self._desk.reads.payment(key.serial)) is not None:
                    found = part.operation
        if found is None:
            raise problems.operation_not_found(named, is_request_id=key.WhichOneof("key") == "request_id")
        return found

    async def _message(self, found: Operation) -> core_pb2.Operation:
        parts = await self._desk.reads.parts([found.id])
        return view.operation(found, parts.get(found.id, ()))

"""SuspenseService: transfers into the pooled account, and what of them lies in suspense (6050, 6139, 6140)."""

from __future__ import annotations

from dataclasses import dataclass

from jzb.v1 import suspense_pb2, suspense_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Operation, Reads, State
from ledger.accounts import undoable, undoable_fee
from ledger.names import BankSerial, MemberCode, Serial
from service import problems, view
from service.inflows.transfers import Collected, Transfers, request_id
from service.path import rights
from service.path.runner import Runner
from service.plans import suspense
from service.plans.plan import Plan, Serials
from service.rpc.amounts import fee_within
from service.rpc.context import Context
from service.rpc.dates import bank_day
from service.rpc.facts import MemberFacts
from service.rpc.pages import page_size, page_start, page_token

TRANSFER_DAYS_MAX = 31


@dataclass(frozen=True, kw_only=True)
class Suspense(suspense_pb2_grpc.SuspenseServiceServicer):
    """See protos/jzb/v1/suspense.proto."""

    runner: Runner
    reads: Reads
    transfers: Transfers
    members: MemberFacts

    async def CollectTransfers(
        self, request: suspense_pb2.CollectTransfersRequest, context: Context
    ) -> suspense_pb2.CollectTransfersResponse:
        """6050, day by day."""
        first = bank_day("first_bank_day", request.first_bank_day)
        last = bank_day("last_bank_day", request.last_bank_day)
        if not 0 <= (last - first).days < TRANSFER_DAYS_MAX:
            raise problems.invalid(
                "last_bank_day", f"is not within {TRANSFER_DAYS_MAX} days from {first} on", ErrorReason.BANK_DAY_INVALID
            )
        after = page_start(request.page_token, request)
        if after:
            bank_day("page_token", after.partition(" ")[0], ErrorReason.PAGE_TOKEN_INVALID)
        page = await self.transfers.collect(first, last, after, page_size(request.page_size))
        return _collected(request, page)

    async def ListSuspense(
        self, request: suspense_pb2.ListSuspenseRequest, context: Context
    ) -> suspense_pb2.ListSuspenseResponse:
        """From the mirror."""
        limit = page_size(request.page_size)
        found = await self.reads.suspended(page_start(request.page_token, request), limit + 1)
        shown = found[:limit]
        entries = [
            suspense_pb2.SuspenseEntry(
                transfer_bank_serial=one.transfer,
                operation_id=str(one.operation_id or ""),
                bank_day=one.bank_day.isoformat() if one.bank_day else "",
                amount_fen=one.amount_fen,
                remaining_fen=one.remaining_fen,
                held_fen=one.held_fen,
            )
            for one in shown
        ]
        return suspense_pb2.ListSuspenseResponse(
            entries=entries, next_page_token=page_token(shown[-1].transfer, request) if len(found) > limit else ""
        )

    async def AllocateSuspense(
        self, request: suspense_pb2.AllocateSuspenseRequest, context: Context
    ) -> suspense_pb2.AllocateSuspenseResponse:
        """6139."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            transfer = await self._transfer(request.transfer_bank_serial)
            facts = await self.members.facts(others=[MemberCode(request.member_id)])
            return suspense.allocate_suspense(request, transfer, facts.members[MemberCode(request.member_id)], serials)

        return suspense_pb2.AllocateSuspenseResponse(operation=await self.runner.carry_out(request, plan))

    async def ReverseSuspenseAllocation(
        self, request: suspense_pb2.ReverseSuspenseAllocationRequest, context: Context
    ) -> suspense_pb2.ReverseSuspenseAllocationResponse:
        """6140."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            allocation = await self._allocation(request)
            if not allocation.state.is_final:
                raise problems.precondition(
                    ErrorReason.SUSPENSE_ALLOCATION_IN_DOUBT,
                    f"the outcome of allocation {request.allocation_serial} is not known yet",
                    "wait until the allocation is final; the request id is not used up",
                    operation_id=str(allocation.id),
                )
            await self.reads.require_as_opened(allocation)
            facts = await self.members.facts(others=[allocation.payee])
            return suspense.reverse_suspense_allocation(request, allocation, facts.members[allocation.payee], serials)

        return suspense_pb2.ReverseSuspenseAllocationResponse(operation=await self.runner.carry_out(request, plan))

    async def GetSuspenseAllocation(
        self, request: suspense_pb2.GetSuspenseAllocationRequest, context: Context
    ) -> suspense_pb2.GetSuspenseAllocationResponse:
        """From the mirror."""
        allocation = await self._allocation(request)
        allocation, parts = (await self.reads.full_operations([allocation.id]))[allocation.id]
        limit, fee_limit = undoable(allocation.serial), undoable_fee(allocation.serial)
        remaining = await self.reads.remaining([limit, fee_limit])
        return suspense_pb2.GetSuspenseAllocationResponse(
            operation=view.operation(allocation, parts),
            transfer_bank_serial=allocation.plan["keep"][suspense.TRANSFER],
            remaining_fen=remaining[limit.name],
            remaining_fee_fen=remaining[fee_limit.name],
        )

    async def _transfer(self, transfer_bank_serial: str) -> Operation:
        found = await self.reads.operation(request_id=request_id(BankSerial(transfer_bank_serial)))
        if found is None or found.payee:
            raise problems.not_found(ErrorReason.TRANSFER_NOT_FOUND, "transfer in suspense", transfer_bank_serial)
        return found

    async def _allocation(
        self, request: suspense_pb2.ReverseSuspenseAllocationRequest | suspense_pb2.GetSuspenseAllocationRequest
    ) -> Operation:
        found = await self.reads.operation(serial=Serial(request.allocation_serial))
        if (
            found is None
            or found.kind != OperationKind.ALLOCATE_SUSPENSE
            or found.state in (State.REFUSED, State.RELEASED)
        ):
            raise problems.not_found(
                ErrorReason.SUSPENSE_ALLOCATION_NOT_FOUND, "allocation of suspense", request.allocation_serial
            )
        rights.require_own(request, found.payee)
        return found


def _collected(request: suspense_pb2.CollectTransfersRequest, page: Collected) -> suspense_pb2.CollectTransfersResponse:
    return suspense_pb2.CollectTransfersResponse(
        transfers=[
            suspense_pb2.Transfer(
                transfer_bank_serial=one.row.FrontSeqNo,
                operation=view.operation(one.outcome.operation, one.outcome.parts),
                payer_name=one.row.InAcctName or "",
                payer_account=one.row.InAcctNo or "",
                payer_bank_name=one.row.BankName or "",
                payer_note=one.row.Remark or "",
            )
            for one in page.transfers
        ],
        entered=page.entered,
        skipped=[
            suspense_pb2.SkippedTransfers(
                reason=suspense_pb2.TransferSkipReason.Value(f"TRANSFER_SKIP_REASON_{skip.name}"),
                count=count,
                amount_fen=page.skipped_fen[skip],
            )
            for skip, count in page.skipped.items()
        ],
        problems=[
            suspense_pb2.TransferProblem(
                transfer_bank_serial=one.row.FrontSeqNo,
                bank_day=one.day.isoformat(),
                amount_fen=one.row.TranAmt,
                reason=suspense_pb2.TransferProblemReason.Value(f"TRANSFER_PROBLEM_REASON_{one.reason.name}"),
                sub_account=one.row.SubAcctNo,
                bank_type=one.row.InAcctType,
            )
            for one in page.problems
        ],
        next_page_token=page_token(page.next, request) if page.next else "",
    )

"""WithdrawalService: money paid out to a card (6033)."""

from __future__ import annotations

from dataclasses import dataclass

from jzb.v1 import withdrawal_pb2, withdrawal_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import OPEN_STATES, Filter, FullOperation, Lists, Reads, State
from ledger.names import MemberCode, Serial
from service import problems, view
from service.inflows.returns import Returns
from service.path import details
from service.path.runner import Runner
from service.plans import withdrawals
from service.plans.plan import Plan, Serials
from service.rpc.context import Context
from service.rpc.dates import bank_day
from service.rpc.facts import CardFacts, MemberFacts
from service.rpc.listing import days_of, page_seen
from service.rpc.pages import no_token, page_size, page_start, page_token, start_id
from service.view import STATE_OF

RETURN_DAYS_MAX = 31


@dataclass(frozen=True, kw_only=True)
class Withdrawals(withdrawal_pb2_grpc.WithdrawalServiceServicer):
    """See protos/jzb/v1/withdrawal.proto."""

    runner: Runner
    reads: Reads
    lists: Lists
    returns: Returns
    members: MemberFacts
    card_facts: CardFacts
    platform: str

    async def Withdraw(
        self, request: withdrawal_pb2.WithdrawRequest, context: Context
    ) -> withdrawal_pb2.WithdrawResponse:
        """6033; the final word comes later."""

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(others=[MemberCode(request.member_id)])
            card = None
            if request.card_id:
                _, card = await self.card_facts.get_bound(request.card_id, MemberCode(request.member_id))
            return withdrawals.withdraw(request, facts, serials, self.platform, card)

        return withdrawal_pb2.WithdrawResponse(operation=await self.runner.carry_out(request, plan))

    async def GetWithdrawal(
        self, request: withdrawal_pb2.GetWithdrawalRequest, context: Context
    ) -> withdrawal_pb2.GetWithdrawalResponse:
        """From the mirror."""
        found = await self.reads.operation(serial=Serial(request.withdrawal_serial))
        if found is None or found.kind != OperationKind.WITHDRAW:
            raise problems.not_found(ErrorReason.WITHDRAWAL_NOT_FOUND, "withdrawal", request.withdrawal_serial)
        returns = await self.reads.operations_naming(found.serial, OperationKind.WITHDRAWAL_RETURN)
        full_operations = await self.reads.full_operations([found.id, *(one.id for one in returns)])
        return withdrawal_pb2.GetWithdrawalResponse(
            operation=view.operation(*full_operations[found.id]),
            returns=[view.operation(*full_operations[one.id]) for one in returns],
            returned_fen=sum(one.amount_fen for one in returns),
        )

    async def ListWithdrawals(
        self, request: withdrawal_pb2.ListWithdrawalsRequest, context: Context
    ) -> withdrawal_pb2.ListWithdrawalsResponse:
        """From the mirror: those that are open, oldest first, then those that have ended, newest first."""
        size = page_size(request.page_size)
        begun, _, last_id = page_start(request.page_token, request).partition(" ")
        if begun not in ("", "open", "ended"):
            raise no_token()
        behind = start_id(last_id)
        asked = frozenset(STATE_OF[state] for state in request.states) or frozenset(State)
        shown: list[FullOperation] = []
        end = ""
        for stretch, states in (("open", asked & OPEN_STATES), ("ended", asked - OPEN_STATES)):
            if not states or (begun == "ended" and stretch == "open"):
                continue
            if len(shown) == size:
                # Whether there are any is seen by the next page.
                end = f"{stretch} "
                break
            wanted = Filter(
                kinds=frozenset({OperationKind.WITHDRAW}),
                states=states,
                member_id=MemberCode(request.member_id),
                days=days_of(request.first_bank_day, request.last_bank_day),
                tags=details.names(request),
                oldest_first=stretch == "open",
            )
            page, _ = await page_seen(self.reads, self.lists, wanted, behind=behind, size=size - len(shown))
            shown += page.full_operations
            behind = None
            if page.further:
                end = f"{stretch} {page.further}"
                break
        returned = await self.reads.returned([full.operation.serial for full in shown], OperationKind.WITHDRAWAL_RETURN)
        return withdrawal_pb2.ListWithdrawalsResponse(
            withdrawals=[
                withdrawal_pb2.Withdrawal(
                    operation=view.operation(*full), returned_fen=returned.get(full.operation.serial, 0)
                )
                for full in shown
            ],
            next_page_token=page_token(end, request) if end else "",
        )

    async def CollectReturns(
        self, request: withdrawal_pb2.CollectReturnsRequest, context: Context
    ) -> withdrawal_pb2.CollectReturnsResponse:
        """6048, day by day."""
        first = bank_day("first_bank_day", request.first_bank_day)
        last = bank_day("last_bank_day", request.last_bank_day)
        if not 0 <= (last - first).days < RETURN_DAYS_MAX:
            raise problems.invalid(
                "last_bank_day", f"is not within {RETURN_DAYS_MAX} days from {first} on", ErrorReason.BANK_DAY_INVALID
            )
        after = page_start(request.page_token, request)
        if after:
            bank_day("page_token", after.partition(" ")[0], ErrorReason.PAGE_TOKEN_INVALID)
        page = await self.returns.collect(first, last, after, page_size(request.page_size))
        return withdrawal_pb2.CollectReturnsResponse(
            returns=[view.operation(one.operation, one.parts) for one in page.outcomes],
            entered=page.entered,
            problems=[
                withdrawal_pb2.ReturnProblem(
                    return_bank_serial=one.row.PayeeFrontSeqNo,
                    bank_day=one.day.isoformat(),
                    amount_fen=one.row.RejectInAcctTranAmt,
                    reason=withdrawal_pb2.ReturnProblemReason.Value(f"RETURN_PROBLEM_REASON_{one.reason.name}"),
                    sub_account=one.row.PayeeWitnessSubAcctNo,
                )
                for one in page.problems
            ],
            next_page_token=page_token(page.next, request) if page.next else "",
        )

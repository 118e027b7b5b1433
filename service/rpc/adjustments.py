"""AdjustmentService: what people put right in the books. The bank is not called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from uuid import UUID

from jzb.v1 import adjustment_pb2, adjustment_pb2_grpc, balance_pb2
from jzb.v1.names import ErrorReason, OperationKind
from ledger import (
    EXAMINED_MAX,
    Account,
    AdjustedBreak,
    Filter,
    FullOperation,
    Kind,
    Lists,
    Member,
    Reads,
    State,
)
from ledger.accounts import FEE, OWN_FUNDS, POOLED, WITHDRAWING, escrow, frozen, in_transit, parking, suspense
from ledger.accounts import uncleared as uncleared_of
from ledger.accounts import withdrawable as withdrawable_of
from ledger.day import Break, BreakState, BreakUnknown, CloseReason
from ledger.names import BankSerial, MemberCode, Serial
from service import problems, view
from service.bankday import bank_today, days_now
from service.inflows.reconciliation import Reconciliation
from service.path import rights
from service.path.proposals import require_impersonal
from service.path.runner import Runner
from service.plans.adjustments import BREAK, adjustment, evidence_of, told
from service.plans.plan import Movement, Serials
from service.policy import present
from service.rpc.context import Context
from service.rpc.dates import bank_day
from service.rpc.facts import MemberFacts
from service.rpc.listing import page_seen
from service.rpc.pages import page_size, page_start, page_token, start_id

DIFFERENCES_MAX: Final = 1000

ALONE_S: Final = 5.0
"""How long an approved adjustment of a break waits while a day is loaded or matched; it is tried again later."""

ADD: Final = adjustment_pb2.ADJUSTMENT_DIRECTION_ADD

Named = adjustment_pb2.AdjustedAccount


def _begun(account: Named) -> date:
    """The bank day that names an account. Raises `Problem` for one that has not begun."""
    day = bank_day("account.bank_day", account.bank_day)
    if day > days_now()[1]:
        raise problems.invalid("account.bank_day", f"{day} is in the future", ErrorReason.BANK_DAY_INVALID)
    return day


OF_MEMBER: Final[dict[int, tuple[tuple[str, ...], Callable[[Member, Named], Account]]]] = {
    balance_pb2.ACCOUNT_KIND_WITHDRAWABLE: ((), lambda member, _: withdrawable_of(member.sub_account)),
    balance_pb2.ACCOUNT_KIND_UNCLEARED: (
        ("bank_day",),
        lambda member, named: uncleared_of(member.sub_account, _begun(named)),
    ),
    balance_pb2.ACCOUNT_KIND_FROZEN: (
        ("order_no",),
        lambda member, named: frozen(member.sub_account, named.order_no),
    ),
    balance_pb2.ACCOUNT_KIND_ESCROW: (
        ("order_no",),
        lambda member, named: escrow(member.sub_account, named.order_no),
    ),
}
"""The accounts of members by kind: what else names each, and which it is."""

OF_PLATFORM: Final[dict[int, tuple[tuple[str, ...], Callable[[Named], Account]]]] = {
    balance_pb2.ACCOUNT_KIND_FEE: ((), lambda _: FEE),
    balance_pb2.ACCOUNT_KIND_OWN_FUNDS: ((), lambda _: OWN_FUNDS),
    balance_pb2.ACCOUNT_KIND_WITHDRAWAL_IN_TRANSIT: ((), lambda _: WITHDRAWING),
    balance_pb2.ACCOUNT_KIND_INTEREST: ((), lambda _: Account(Kind.INTEREST)),
    balance_pb2.ACCOUNT_KIND_MARKETING: ((), lambda _: Account(Kind.MARKETING)),
    balance_pb2.ACCOUNT_KIND_POOLED: ((), lambda _: POOLED),
    balance_pb2.ACCOUNT_KIND_IN_TRANSIT: (
        ("bank_day",),
        lambda named: in_transit(_begun(named)),
    ),
    balance_pb2.ACCOUNT_KIND_ACQUIRING_PARKING: (("order_no",), lambda named: parking(named.order_no)),
    balance_pb2.ACCOUNT_KIND_SUSPENSE: (
        ("transfer_bank_serial",),
        lambda named: suspense(BankSerial(named.transfer_bank_serial)),
    ),
}
"""The platform's own accounts by kind, in the same way."""

NAMES: Final = ("member_id", "bank_day", "order_no", "transfer_bank_serial")
"""The fields that name an account beside its kind."""


@dataclass(frozen=True, kw_only=True)
class Adjustments(adjustment_pb2_grpc.AdjustmentServiceServicer):
    """See protos/jzb/v1/adjustment.proto."""

    runner: Runner
    reads: Reads
    lists: Lists
    members: MemberFacts
    reconciliation: Reconciliation

    async def Adjust(self, request: adjustment_pb2.AdjustRequest, context: Context) -> adjustment_pb2.AdjustResponse:
        """Posted at once when it is approved."""
        require_impersonal("note", request.note)
        _require_named(request.account)
        break_id = _break_id(request)

        async def plan(_: Serials) -> Movement:
            member_id = MemberCode(request.account.member_id)
            if present().members and not member_id:
                # Whoever sees some members alone sees nothing of what is the platform's.
                raise rights.hidden(request)
            await self._require_corrected(request)
            whole, adjusts = (request, None) if break_id is None else await self._of_break(request, break_id)
            if request.account.kind in OF_PLATFORM:
                account = OF_PLATFORM[request.account.kind][1](request.account)
            else:
                account = OF_MEMBER[request.account.kind][1](await self.members.get_open(member_id), request.account)
            bank_day = await self.reconciliation.open_day(bank_today())
            return adjustment(whole, account, member_id, adjusts, bank_day)

        if break_id is None or present().approved is None:
            return adjustment_pb2.AdjustResponse(operation=await self.runner.carry_out(request, plan))
        # What it fits beside stays as it was read, until it is posted.
        async with self.reconciliation.days.alone(ALONE_S) as is_alone:
            if not is_alone:
                raise problems.day_busy("a bank day is being loaded and matched", "wait a moment, and call again")
            return adjustment_pb2.AdjustResponse(operation=await self.runner.carry_out(request, plan))

    async def _of_break(
        self, request: adjustment_pb2.AdjustRequest, break_id: UUID
    ) -> tuple[adjustment_pb2.AdjustRequest, AdjustedBreak]:
        """The request with what its break says, and the break to be closed. Raises `Problem` unless they fit."""
        try:
            found = await self.reconciliation.days.break_(break_id)
        except BreakUnknown:
            found = None
        if found is None or not present().has_member(found.member):
            raise problems.not_found(ErrorReason.BREAK_NOT_FOUND, "break", request.break_id)
        whole = adjustment_pb2.AdjustRequest()
        whole.CopyFrom(request)
        whole.amount_fen = request.amount_fen or found.adjustable_fen
        own = evidence_of(found)
        if not request.HasField("evidence"):
            whole.evidence.CopyFrom(own)
        elif request.evidence != own and not _explains(whole, found):
            raise _other_evidence(request.evidence, own, found)
        breaks = [break_id, *await self.reconciliation.days.earlier(break_id)]
        _require_fitting(whole, found, sum([await self._added_fen(whole.account, one) for one in breaks]))
        approved = present().approved
        names = ("", "") if approved is None else (approved.caller, approved.person)
        return whole, AdjustedBreak(break_id, *names, request.note)

    async def _added_fen(self, account: Named, break_id: UUID) -> int:
        """How much more the adjustments of a break have added to the money of an account's member, or to the account,
        than they have taken from it.
        """
        whose, added_fen = _whose(account), 0
        wanted, behind = _adjustments_of(str(break_id)), None
        while True:
            page = await self.lists.page(wanted, behind=behind, limit=EXAMINED_MAX)
            for full in page.full_operations:
                kept = told(full.operation.plan["keep"])
                if full.operation.state is State.DONE and _whose(kept.account) == whose:
                    added_fen += kept.amount_fen if kept.direction == ADD else -kept.amount_fen
            if (behind := page.further) is None:
                return added_fen

    async def ListAdjustments(
        self, request: adjustment_pb2.ListAdjustmentsRequest, context: Context
    ) -> adjustment_pb2.ListAdjustmentsResponse:
        """From the mirror, newest first."""
        behind, size = start_id(page_start(request.page_token, request)), page_size(request.page_size)
        wanted = _adjustments_of(request.break_id)
        page, _ = await page_seen(self.reads, self.lists, wanted, behind=behind, size=size)
        return adjustment_pb2.ListAdjustmentsResponse(
            adjustments=[_message(full) for full in page.full_operations],
            next_page_token=page_token(str(page.further), request) if page.further else "",
        )

    async def ListDifferences(
        self, request: adjustment_pb2.ListDifferencesRequest, context: Context
    ) -> adjustment_pb2.ListDifferencesResponse:
        """From the mirror, oldest first."""
        found = await self.reads.differences(DIFFERENCES_MAX)
        return adjustment_pb2.ListDifferencesResponse(
            differences=[
                adjustment_pb2.Difference(
                    break_id=one.break_id, difference_fen=one.balance_fen, since_time=view.timestamp(one.since)
                )
                for one in found
            ],
            total_fen=sum(abs(one.balance_fen) for one in found),
        )

    async def _require_corrected(self, request: adjustment_pb2.AdjustRequest) -> None:
        """Raises `Problem` where nothing has the serial that is to be corrected."""
        if not request.corrects_serial:
            return
        serial = Serial(request.corrects_serial)
        found = await self.reads.operation(serial=serial)
        if found is None and (part := await self.reads.payment(serial)) is not None:
            found = part.operation
        if found is None or not rights.sees_operation(present(), found):
            raise problems.operation_not_found(serial, is_request_id=False)


def _break_id(request: adjustment_pb2.AdjustRequest) -> UUID | None:
    """The break of the reconciliation that a request is about; None for what it has a name of its own for. Raises
    `Problem`.
    """
    try:
        found = UUID(request.break_id)
    except ValueError:
        for field, is_said in (("evidence", request.HasField("evidence")), ("amount_fen", request.amount_fen > 0)):
            if not is_said:
                raise problems.invalid(
                    field, "is needed, unless break_id is that of a break of the reconciliation", rule="adjust.break"
                ) from None
        return None
    if str(found) != request.break_id:
        raise problems.invalid("break_id", f"is written as {found}", rule="adjust.break")
    return found


def _adjustments_of(break_id: str) -> Filter:
    tags = ((BREAK, break_id),) if break_id else ()
    return Filter(kinds=frozenset({OperationKind.ADJUSTMENT}), tags=tags)


def _whose(account: Named) -> tuple[object, ...]:
    """Whose money an account is: a member's, or that of one of the platform's own accounts."""
    return (account.member_id,) if account.member_id else (account.kind, *(getattr(account, name) for name in NAMES))


def _require_fitting(request: adjustment_pb2.AdjustRequest, found: Break, added_fen: int) -> None:
    """Raises `Problem` where more would have been moved for the break than differs: on the whole, or to or from the
    same member or account (``added_fen`` so far, with earlier versions of the line), whatever has been moved on the
    other side meanwhile. One that was closed otherwise than by an adjustment is only brought back to zero.
    """
    before_fen, limit_fen = found.adjusted_fen, found.adjustable_fen
    if found.state is BreakState.CLOSED and found.close_reason is not CloseReason.ADJUSTED:
        if not _explains(request, found):
            raise problems.break_closed(found.break_id)
        return
    moved_fen = max(-before_fen, added_fen) if request.direction == ADD else max(before_fen, -added_fen)
    left_fen = max(0, limit_fen - max(0, moved_fen))
    if request.amount_fen > left_fen or not limit_fen:
        raise problems.difference_exceeded(
            found.break_id,
            request.amount_fen,
            left_fen,
            differs_fen=limit_fen,
            moved_fen=max(0, moved_fen),
            adjusted_fen=before_fen,
        )


def _explains(request: adjustment_pb2.AdjustRequest, found: Break) -> bool:
    """Whether it brings the difference of a break nearer to zero: something else of the bank's may be the reason."""
    moved_fen = -request.amount_fen if request.direction == ADD else request.amount_fen
    return abs(found.adjusted_fen + moved_fen) < abs(found.adjusted_fen)


def _other_evidence(
    said: adjustment_pb2.AdjustmentEvidence, own: adjustment_pb2.AdjustmentEvidence, found: Break
) -> problems.Problem:
    """The first field in which a request names other evidence than its break has."""
    field = next(name for name in ("file_sha256", "line", "list_key") if getattr(said, name) != getattr(own, name))
    return replace(
        problems.invalid(
            f"evidence.{field}",
            f"is {getattr(said, field) or 'empty'}, and break {found.break_id} has {getattr(own, field) or 'none'}",
            rule="adjust.evidence",
        ),
        next_step="leave the evidence out, which is then the break's own, or name the break that it is of (ListBreaks);"
        " the request id is not used up",
    )


def _require_named(account: Named) -> None:
    """Raises `Problem` unless the account has the names that its kind needs, and no others."""
    of_member = OF_MEMBER.get(account.kind)
    needed = {"member_id", *of_member[0]} if of_member else {*OF_PLATFORM[account.kind][0]}
    kind = balance_pb2.AccountKind.Name(account.kind).removeprefix("ACCOUNT_KIND_")
    for name in NAMES:
        if bool(getattr(account, name)) != (name in needed):
            wrong = f"is needed for {kind}" if name in needed else f"does not name an account of {kind}"
            raise problems.invalid(f"account.{name}", wrong, rule="adjust.account")


def _message(full: FullOperation) -> adjustment_pb2.Adjustment:
    message = told(full.operation.plan["keep"])
    message.operation.CopyFrom(view.operation(*full))
    return message

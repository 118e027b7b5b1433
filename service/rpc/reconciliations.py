"""ReconciliationService: bank days that are over, beside the bank's files and lists of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

import grpc

from bankclient import BANK_ZONE
from jzb.v1 import core_pb2, reconciliation_pb2, reconciliation_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger.day import (
    BankFile,
    BankLine,
    Break,
    BreakClosed,
    BreakEvent,
    BreakEventKind,
    BreakFilter,
    BreakKind,
    BreakState,
    BreakUnknown,
    CloseReason,
    Day,
    DayChanged,
    DayFile,
    DayNotReady,
    FileState,
    FileType,
    LineState,
    Signatory,
    SignedBySame,
    SignOff,
)
from service import policy, problems, view
from service.bankday import days_now
from service.inflows.reconciliation import DayBusy, DayNotOver, Due, Reconciliation
from service.path import rights
from service.path.proposals import require_impersonal
from service.plans.adjustments import evidence_of
from service.problems import Problem
from service.rpc.context import Context
from service.rpc.dates import bank_day
from service.rpc.pages import page_size, page_start, page_token, start_id
from service.settings import ReconciliationSettings
from service.vault import Vault

PAGE: Final = 500
"""So many rows of a stream are read at once."""

PROOF_PAGE: Final = 20_000
"""So many of a balance proof: each page reads the legs of the whole day."""

pb = reconciliation_pb2

SOURCES: Final = {type_: pb.BankSource.Value(f"BANK_SOURCE_{type_.name}") for type_ in FileType}
TYPE_OF: Final = {value: type_ for type_, value in SOURCES.items()}
STATES: Final = {state: pb.ReconciliationState.Value(f"RECONCILIATION_STATE_{state.name}") for state in FileState}
BREAK_TYPES: Final = {kind: pb.BreakType.Value(f"BREAK_TYPE_{kind.name}") for kind in BreakKind}
KIND_OF: Final = {value: kind for kind, value in BREAK_TYPES.items()}
BREAK_STATES: Final = {state: pb.BreakState.Value(f"BREAK_STATE_{state.name}") for state in BreakState}
BREAK_STATE_OF: Final = {value: state for state, value in BREAK_STATES.items()}
CLOSE_REASONS: Final = {one: pb.BreakCloseReason.Value(f"BREAK_CLOSE_REASON_{one.name}") for one in CloseReason}
EVENT_KINDS: Final = {kind: pb.BreakEventKind.Value(f"BREAK_EVENT_KIND_{kind.name}") for kind in BreakEventKind}
LINE_STATES: Final = {state: pb.BankLineState.Value(f"BANK_LINE_STATE_{state.name}") for state in LineState}
LINE_STATE_OF: Final = {value: state for state, value in LINE_STATES.items()}

FURTHEST_BEHIND: Final = (
    *(FileState.DAMAGED, FileState.LATE, FileState.EXPECTED, FileState.LOADED, FileState.TOTALS_RIGHT),
    *(FileState.MATCHED, FileState.BREAKS, FileState.CLEAN, FileState.NONE, FileState.SIGNED),
)
"""The state of a day is the first of these that one of its files or lists has."""

NEXT_STEPS: Final = {
    BreakKind.MISSING_HERE: "find out who sent this to the bank: GetOperation by its serial, then the order number; an"
    " adjustment brings it into the books when it is the platform's own, else ask the bank to take it back",
    BreakKind.MISSING_THERE: "have the bank queried again (ResolveOperation) and ask it about the serial; an adjustment"
    " takes it out of the books when the bank has not booked it",
    BreakKind.AMOUNT: "ask the bank which amount it has booked under this serial; an adjustment moves the difference"
    " when the bank's amount stands",
    BreakKind.FEE: "compare the fee with your contract, and ask the bank; an adjustment moves the difference when the"
    " bank's fee stands",
    BreakKind.MEMBER: "ask the bank which sub-account it has booked; an adjustment moves the money to that member when"
    " the bank's booking stands",
    BreakKind.STATE: "the bank is queried about the operation by itself; where that does not end it, ask the bank",
    BreakKind.DATE_SHIFTED: "it closes when the file of the other day has it; if it does not, ask the bank for the day",
    BreakKind.DUPLICATE: "ask the bank whether it has booked this twice, or only listed it twice",
    BreakKind.UNREADABLE: "have a person read the line (`jzb files fetch` writes it), then close the break with what"
    " was found, or ask the bank for a corrected file",
    BreakKind.BALANCE: "compare the member with the bank (CompareWithBank) and look at its operations of the day; an"
    " adjustment sets it right when the bank's balance stands",
}
"""What a person does about a break of each type."""


@dataclass(frozen=True, kw_only=True)
class Reconciliations(reconciliation_pb2_grpc.ReconciliationServiceServicer):
    """See protos/jzb/v1/reconciliation.proto."""

    reconciliation: Reconciliation
    vault: Vault
    settings: ReconciliationSettings

    async def ListReconciledDays(
        self, request: reconciliation_pb2.ListReconciledDaysRequest, context: Context
    ) -> reconciliation_pb2.ListReconciledDaysResponse:
        """From the ledger, newest first."""
        start, size = page_start(request.page_token, request), page_size(request.page_size)
        before = bank_day("page_token", start, ErrorReason.PAGE_TOKEN_INVALID) if start else None
        found = await self.reconciliation.days.days(before, size + 1)
        shown = found[:size]
        return pb.ListReconciledDaysResponse(
            days=[await self._present(day) for day in shown],
            next_page_token=page_token(shown[-1].isoformat(), request) if len(found) > size else "",
        )

    async def GetReconciledDay(
        self, request: reconciliation_pb2.GetReconciledDayRequest, context: Context
    ) -> reconciliation_pb2.GetReconciledDayResponse:
        """From the ledger."""
        day = bank_day("bank_day", request.bank_day)
        versions = await self.reconciliation.days.files(day)
        return pb.GetReconciledDayResponse(day=await self._present(day), files=[_file(one) for one in versions])

    async def ListBankLines(
        self, request: reconciliation_pb2.ListBankLinesRequest, context: Context
    ) -> AsyncIterator[reconciliation_pb2.ListBankLinesResponse]:
        """From the ledger, page by page."""
        day, days = bank_day("bank_day", request.bank_day), self.reconciliation.days
        versions = await days.files(day, TYPE_OF[request.source])
        wanted = [one for one in versions if (one.version == request.version if request.version else one.is_current)]
        states = [LINE_STATE_OF[request.state]] if request.state else []
        for file in wanted:
            after = 0
            while page := await days.lines(file.file_id, after, PAGE, states):
                for line in page:
                    yield pb.ListBankLinesResponse(line=_line(line))
                after = page[-1].line

    async def ListBreaks(
        self, request: reconciliation_pb2.ListBreaksRequest, context: Context
    ) -> reconciliation_pb2.ListBreaksResponse:
        """From the ledger."""
        start, size = page_start(request.page_token, request), page_size(request.page_size)
        first = bank_day("first_bank_day", request.first_bank_day) if request.first_bank_day else None
        last = bank_day("last_bank_day", request.last_bank_day) if request.last_bank_day else None
        wanted = BreakFilter(
            first_day=first,
            last_day=last,
            types=(TYPE_OF[request.source],) if request.source else (),
            kinds=(KIND_OF[request.type],) if request.type else (),
            states=tuple(BREAK_STATE_OF[state] for state in request.states),
            owner=request.owner,
            member=request.member_id,
            min_difference_fen=request.min_difference_fen,
        )
        found = await self.reconciliation.days.breaks(wanted, start_id(start), size + 1)
        shown = found[:size]
        return pb.ListBreaksResponse(
            breaks=[self._break(one) for one in shown],
            next_page_token=page_token(str(shown[-1].break_id), request) if len(found) > size else "",
        )

    async def GetBreak(
        self, request: reconciliation_pb2.GetBreakRequest, context: Context
    ) -> reconciliation_pb2.GetBreakResponse:
        """From the ledger."""
        found = await self._found(request.break_id)
        happened = await self.reconciliation.days.events(found.break_id)
        return pb.GetBreakResponse(current=self._break(found), events=[_event(one) for one in happened])

    async def HoldBreak(
        self, request: reconciliation_pb2.HoldBreakRequest, context: Context
    ) -> reconciliation_pb2.HoldBreakResponse:
        """Decided by the present caller. To say it twice adds nothing."""
        require_impersonal("note", request.note)
        until = bank_day("until_bank_day", request.until_bank_day)
        if until <= days_now()[0]:
            raise problems.invalid("until_bank_day", f"{until} is not later than today", ErrorReason.BANK_DAY_INVALID)
        found = await self._open(request.break_id)
        if (found.held_until, found.note) != (until, request.note):
            try:
                await self.reconciliation.days.hold(found.break_id, _caller(), until, request.note)
            except BreakClosed:
                raise problems.break_closed(found.break_id) from None
        return pb.HoldBreakResponse(current=self._break(await self._found(request.break_id)))

    async def CloseBreak(
        self, request: reconciliation_pb2.CloseBreakRequest, context: Context
    ) -> reconciliation_pb2.CloseBreakResponse:
        """Decided by the present caller."""
        require_impersonal("note", request.note)
        found = await self._open(request.break_id)
        try:
            await self.reconciliation.days.close(found.break_id, _caller(), request.note)
        except BreakClosed:
            raise problems.break_closed(found.break_id) from None
        return pb.CloseBreakResponse(current=self._break(await self._found(request.break_id)))

    async def RunDay(
        self, request: reconciliation_pb2.RunDayRequest, context: Context
    ) -> reconciliation_pb2.RunDayResponse:
        """6103, 6050, 6048, 6108 and 6109."""
        day = bank_day("bank_day", request.bank_day)
        if not self.vault.is_open:
            raise problems.key_missing("there is no key under which the bank's files could be kept", "reconciliation")
        try:
            await self.reconciliation.run_day(day)
        except DayNotOver as early:
            raise problems.invalid("bank_day", str(early), ErrorReason.BANK_DAY_INVALID) from None
        except DayBusy as busy:
            read = "read the day, which may have been run meanwhile, and call again"
            raise problems.day_busy(f"{day} was not run: {busy}", read, bank_day=str(day)) from None
        return pb.RunDayResponse(day=await self._present(day))

    async def GetBalanceProof(
        self, request: reconciliation_pb2.GetBalanceProofRequest, context: Context
    ) -> AsyncIterator[reconciliation_pb2.GetBalanceProofResponse]:
        """From the journal, page by page."""
        day = bank_day("bank_day", request.bank_day)
        after: str | None = None
        while page := await self.reconciliation.days.proof(day, after, PROOF_PAGE):
            for row in page:
                yield pb.GetBalanceProofResponse(
                    sub_account=row.sub_account,
                    member_id=row.member,
                    opening_fen=row.opening_fen,
                    credit_fen=row.credit_fen,
                    debit_fen=row.debit_fen,
                    closing_fen=row.closing_fen,
                    bank_fen=row.bank_fen,
                    is_proved=row.is_proved,
                )
            after = page[-1].sub_account

    async def ProposeSignOff(
        self, request: reconciliation_pb2.ProposeSignOffRequest, context: Context
    ) -> reconciliation_pb2.ProposeSignOffResponse:
        """The first signature. To give it again adds nothing."""
        day, signatures = await self._to_sign(request)
        if not signatures:
            await self._sign(day, request.note, b"")
        elif (signatures[0].caller, signatures[0].person) != (_caller().caller, _caller().person):
            by = signatures[0].person or signatures[0].caller
            raise _not_ready(day, f"{by} has proposed it already", "approve it with the digest of that signature")
        return pb.ProposeSignOffResponse(day=await self._present(day))

    async def ApproveSignOff(
        self, request: reconciliation_pb2.ApproveSignOffRequest, context: Context
    ) -> reconciliation_pb2.ApproveSignOffResponse:
        """The second signature."""
        day, signatures = await self._to_sign(request)
        if not signatures:
            raise _not_ready(
                day, "nobody has signed it as it stands now", "look at the day, then propose its sign-off anew"
            )
        if signatures[0].digest.hex() != request.digest:
            raise _not_ready(
                day,
                "it has changed since the signature with this digest",
                "look at the day again, then approve it with the digest of its present signature",
            )
        await self._sign(day, request.note, signatures[0].digest)
        return pb.ApproveSignOffResponse(day=await self._present(day))

    async def _to_sign(
        self, request: reconciliation_pb2.ProposeSignOffRequest | reconciliation_pb2.ApproveSignOffRequest
    ) -> tuple[date, Sequence[SignOff]]:
        """A day that no two have signed, and the signature that it may have. Raises `Problem`."""
        require_impersonal("note", request.note)
        if (allowed := policy.present()).members:
            # A day is everybody's.
            scope = policy.scope_name(rights.rpc_of(request).scope)
            raise problems.scope_missing(allowed.caller, allowed.person, f"{scope} for all members")
        day = bank_day("bank_day", request.bank_day)
        signatures = (await self.reconciliation.days.day(day)).signatures
        if len(signatures) > 1:
            raise _signed(day)
        return day, signatures

    async def _sign(self, day: date, note: str, under: bytes) -> None:
        """In this place alone: who may propose is not to close a day because another has proposed it meanwhile."""
        caller = _caller()
        try:
            await self.reconciliation.days.sign(day, caller, note, under=under)
        except DayChanged as changed:
            raise _not_ready(day, str(changed), "look at the day again") from None
        except DayNotReady as not_ready:
            raise _not_ready(day, str(not_ready), "run the day again once the bank has its files") from None
        except SignedBySame:
            raise Problem(
                grpc.StatusCode.PERMISSION_DENIED,
                ErrorReason.SIGNER_IS_PROPOSER,
                f"the second signature under {day} is by who gave the first",
                next_step="have another identity approve it",
                metadata={"bank_day": str(day), "caller": caller.caller, "person": caller.person},
            ) from None

    async def _present(self, day: date) -> reconciliation_pb2.ReconciledDay:
        return self._day(await self.reconciliation.days.day(day))

    async def _found(self, break_id: str) -> Break:
        try:
            return await self.reconciliation.days.break_(UUID(break_id))
        except BreakUnknown:
            raise problems.not_found(ErrorReason.BREAK_NOT_FOUND, "break", break_id) from None

    async def _open(self, break_id: str) -> Break:
        """A break that the present caller may decide about. Raises `Problem`: one of another member is not there."""
        found = await self._found(break_id)
        if not policy.present().has_member(found.member):
            raise problems.not_found(ErrorReason.BREAK_NOT_FOUND, "break", break_id)
        if found.state is BreakState.CLOSED:
            raise problems.break_closed(found.break_id)
        return found

    def _day(self, day: Day) -> reconciliation_pb2.ReconciledDay:
        states = {one.state for one in day.files}
        state = FileState.SIGNED if day.is_signed else next((one for one in FURTHEST_BEHIND if one in states), None)
        return pb.ReconciledDay(
            bank_day=day.bank_day.isoformat(),
            state=pb.RECONCILIATION_STATE_UNSPECIFIED if state is None else STATES[state],
            sources=[self._source(day.bank_day, one) for one in day.files],
            breaks=sum(one.breaks for one in day.files),
            signatures=[
                pb.DaySignature(
                    digest=one.digest.hex(),
                    caller=one.caller,
                    person=one.person,
                    note=one.note,
                    sign_time=view.timestamp(one.at),
                )
                for one in day.signatures
            ],
        )

    def _source(self, day: date, one: DayFile) -> reconciliation_pb2.ReconciledSource:
        attempt = one.last_attempt
        return pb.ReconciledSource(
            source=SOURCES[one.type],
            state=STATES[one.state],
            file=None if one.file is None else _file(one.file),
            breaks=one.breaks,
            matched_lines=one.matched_lines,
            attempt_time=None if attempt is None else view.timestamp(attempt.at),
            attempt_reason="" if attempt is None else view.sendable(attempt.reason),
            next_attempt_time=view.timestamp(self.reconciliation.next_attempt(day, one)),
        )

    def _break(self, one: Break) -> reconciliation_pb2.Break:
        step, at = self._next_step(one)
        kind = OperationKind(one.operation_kind).name if one.operation_kind else "UNSPECIFIED"
        return pb.Break(
            break_id=str(one.break_id),
            bank_day=one.bank_day.isoformat(),
            source=SOURCES[one.type],
            type=BREAK_TYPES[one.kind],
            state=BREAK_STATES[one.state],
            bank_fen=one.bank_fen,
            ledger_fen=one.ledger_fen,
            difference_fen=one.difference_fen,
            member_id=one.member,
            sub_account=one.sub_account,
            serial=one.serial,
            bank_serial=one.bank_serial,
            operation_id="" if one.operation_id is None else str(one.operation_id),
            operation_kind=core_pb2.OperationKind.Value(f"OPERATION_KIND_{kind}"),
            file_id=one.file_id or 0,
            line=one.line,
            line_sha256=one.digest.hex(),
            detail=view.sendable(one.detail),
            open_time=view.timestamp(one.opened_at),
            owner=one.owner,
            note=one.note,
            hold_until_day="" if one.held_until is None else one.held_until.isoformat(),
            close_reason=pb.BREAK_CLOSE_REASON_UNSPECIFIED
            if one.close_reason is None
            else CLOSE_REASONS[one.close_reason],
            update_time=view.timestamp(one.updated_at),
            next_step=step,
            next_step_time=view.timestamp(at),
            evidence=evidence_of(one),
            adjustable_fen=one.adjustable_fen,
            adjusted_fen=one.adjusted_fen,
        )

    def _next_step(self, one: Break) -> tuple[str, datetime | None]:
        """What is done next about a break, and when, if the service does it by itself."""
        if one.state is BreakState.CLOSED:
            return "", None
        if one.state is BreakState.CARRIED:
            next_day = one.bank_day + timedelta(days=1)
            step = f"the file of {next_day} is awaited; the break closes when it has this, and is open when it has not"
            return step, None if self.settings.poll_s is None else Due.of(next_day, self.settings).at
        if one.state is BreakState.HELD and one.held_until is not None:
            return (
                f"it rests until {one.held_until}; then {NEXT_STEPS[one.kind]}",
                datetime.combine(one.held_until, datetime.min.time(), BANK_ZONE),
            )
        return NEXT_STEPS[one.kind], None


def _caller() -> Signatory:
    allowed = policy.present()
    return Signatory(allowed.caller, allowed.person)


def _signed(day: date) -> Problem:
    return problems.precondition(
        ErrorReason.DAY_SIGNED, f"{day} is signed by two as it stands", "nothing is left to do", bank_day=str(day)
    )


def _not_ready(day: date, why: str, next_step: str) -> Problem:
    return problems.precondition(
        ErrorReason.DAY_NOT_READY, f"{day} cannot be signed: {why}", next_step, bank_day=str(day)
    )


def _file(file: BankFile) -> reconciliation_pb2.BankFileVersion:
    return pb.BankFileVersion(
        file_id=file.file_id,
        source=SOURCES[file.type],
        version=file.version,
        sha256=file.sha256.hex(),
        name=file.name,
        size_bytes=file.size,
        rows=file.rows,
        bad_rows=file.bad_rows,
        repaired_rows=file.repaired_rows,
        stated_rows=file.stated_rows,
        amount_fen=file.amount_fen,
        fee_fen=file.fee_fen,
        load_time=view.timestamp(file.loaded_at),
        match_time=view.timestamp(file.matched_at),
        is_current=file.is_current,
    )


def _line(line: BankLine) -> reconciliation_pb2.BankLine:
    booked = None
    if line.day is not None and line.time is not None:
        booked = view.timestamp(datetime.combine(line.day, line.time, BANK_ZONE))
    return pb.BankLine(
        line=line.line,
        state=LINE_STATES[line.state],
        fault=view.sendable(line.fault),
        is_repaired=line.is_repaired,
        serial=line.serial,
        bank_serial=line.bank_serial,
        payer_member_id=line.payer,
        payer_sub_account=line.payer_sub_account,
        payee_member_id=line.payee,
        payee_sub_account=line.payee_sub_account,
        amount_fen=line.amount_fen or 0,
        fee_fen=line.fee_fen or 0,
        book_time=booked,
        order_no=line.order_no,
        bank_text=line.booking,
        operation_id="" if line.operation_id is None else str(line.operation_id),
        part=line.part,
    )


def _event(one: BreakEvent) -> reconciliation_pb2.BreakEvent:
    return pb.BreakEvent(
        kind=EVENT_KINDS[one.kind],
        event_time=view.timestamp(one.at),
        caller=one.caller,
        person=one.person,
        owner=one.owner,
        note=one.note,
        hold_until_day="" if one.until is None else one.until.isoformat(),
        close_reason=pb.BREAK_CLOSE_REASON_UNSPECIFIED if one.reason is None else CLOSE_REASONS[one.reason],
        operation_id="" if one.operation_id is None else str(one.operation_id),
    )

"""StatementService: what the bank has booked, asked of the bank (6072, 6073, 6109)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from bankclient import BankCharges, BankClient, CashMovements, SubAccountTransactions
from jzb.v1 import statement_pb2, statement_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger.names import MemberCode
from service import problems
from service.bankday import days_now
from service.questions.lists import rows
from service.rpc.context import Context
from service.rpc.dates import booked_at, booking_day_text, days, iso_day
from service.rpc.facts import MemberFacts

QueryWay = Literal["1", "2", "3"]

DIRECTIONS: dict[statement_pb2.Direction.ValueType, QueryWay] = {
    statement_pb2.DIRECTION_UNSPECIFIED: "1",
    statement_pb2.DIRECTION_OUT: "2",
    statement_pb2.DIRECTION_IN: "3",
}
WAYS = {"1": statement_pb2.DIRECTION_OUT, "2": statement_pb2.DIRECTION_IN}

TRANSACTION_KINDS: dict[str, statement_pb2.TransactionKind.ValueType] = {
    "1": statement_pb2.TRANSACTION_KIND_PAYMENT,
    "2": statement_pb2.TRANSACTION_KIND_FREEZE,
    "3": statement_pb2.TRANSACTION_KIND_RELEASE,
    "4": statement_pb2.TRANSACTION_KIND_SUSPENSE,
    "6": statement_pb2.TRANSACTION_KIND_PREPAY,
    "7": statement_pb2.TRANSACTION_KIND_CONFIRM,
    "8": statement_pb2.TRANSACTION_KIND_CANCEL,
    "9": statement_pb2.TRANSACTION_KIND_PLATFORM,
    "22": statement_pb2.TRANSACTION_KIND_REBOOKING,
    "23": statement_pb2.TRANSACTION_KIND_FREEZE,
    "24": statement_pb2.TRANSACTION_KIND_RELEASE,
    "25": statement_pb2.TRANSACTION_KIND_REFUND,
    "33": statement_pb2.TRANSACTION_KIND_RELEASE,
}
"""BookingType of 6072 (catalogue, booking_type_6072). 6110 has another list: never share one."""

WITHDRAWALS, TOP_UPS = "2", "3"
MOVEMENTS: dict[statement_pb2.CashMovementKind.ValueType, tuple[Literal["2", "3"], ...]] = {
    statement_pb2.CASH_MOVEMENT_KIND_UNSPECIFIED: ("2", "3"),
    statement_pb2.CASH_MOVEMENT_KIND_WITHDRAWAL: ("2",),
    statement_pb2.CASH_MOVEMENT_KIND_TOP_UP: ("3",),
}
CHARGE_KINDS = {
    "1": statement_pb2.BANK_CHARGE_KIND_WITHDRAWAL,
    "2": statement_pb2.BANK_CHARGE_KIND_VERIFICATION,
    "3": statement_pb2.BANK_CHARGE_KIND_SERVICE,
}
CHARGE_STATES = {
    "0": statement_pb2.BANK_CHARGE_STATE_TAKEN,
    "1": statement_pb2.BANK_CHARGE_STATE_FAILED,
    "2": statement_pb2.BANK_CHARGE_STATE_TIMED_OUT,
    "3": statement_pb2.BANK_CHARGE_STATE_PENDING,
}


@dataclass(frozen=True, kw_only=True)
class Statements(statement_pb2_grpc.StatementServiceServicer):
    """See protos/jzb/v1/statement.proto."""

    bank: BankClient
    members: MemberFacts

    async def ListTransactions(
        self, request: statement_pb2.ListTransactionsRequest, context: Context
    ) -> AsyncIterator[statement_pb2.ListTransactionsResponse]:
        """6072: history, then the bank's current day."""
        first, last = days(request.first_bank_day, request.last_bank_day)
        member = await self.members.get(MemberCode(request.member_id))
        way = DIRECTIONS[request.direction]
        present = SubAccountTransactions(FunctionFlag="1", SubAcctNo=member.sub_account, QueryFlag=way)

        def history(until: date) -> SubAccountTransactions:
            span = {"FunctionFlag": "2", "StartDate": first, "EndDate": until}
            return present.model_copy(update=span)

        async for row in self._rows(present, history, first, last):
            yield statement_pb2.ListTransactionsResponse(
                transaction=statement_pb2.Transaction(
                    bank_serial=row.FrontSeqNo,
                    kind=TRANSACTION_KINDS.get(row.BookingType, statement_pb2.TRANSACTION_KIND_UNSPECIFIED),
                    bank_kind=row.BookingType,
                    direction=WAYS.get(row.BookingFlag, statement_pb2.DIRECTION_UNSPECIFIED),
                    amount_fen=row.TranAmt,
                    payer_sub_account=row.OutSubAcctNo or "",
                    payee_sub_account=row.InSubAcctNo or "",
                    bank_day=booking_day_text(row.FrontSeqNo, row.TranDate),
                    book_time=booked_at(row.TranDate, row.TranTime),
                    remark=row.Remark or "",
                )
            )

    async def ListCashMovements(
        self, request: statement_pb2.ListCashMovementsRequest, context: Context
    ) -> AsyncIterator[statement_pb2.ListCashMovementsResponse]:
        """6073: withdrawals, then top-ups; of each history, then the bank's current day."""
        first, last = days(request.first_bank_day, request.last_bank_day)
        member = await self.members.get(MemberCode(request.member_id))
        for flag in MOVEMENTS[request.kind]:
            present = CashMovements(FunctionFlag="1", SubAcctNo=member.sub_account, QueryFlag=flag)

            def history(until: date, present: CashMovements = present) -> CashMovements:
                return present.model_copy(update={"FunctionFlag": "2", "BeginDate": first, "EndDate": until})

            async for row in self._rows(present, history, first, last):
                yield statement_pb2.ListCashMovementsResponse(
                    movement=statement_pb2.CashMovement(
                        bank_serial=row.FrontSeqNo,
                        kind=(
                            statement_pb2.CASH_MOVEMENT_KIND_WITHDRAWAL
                            if flag == WITHDRAWALS
                            else statement_pb2.CASH_MOVEMENT_KIND_TOP_UP
                        ),
                        bank_text=row.BookingMsg or "",
                        amount_fen=row.TranAmt,
                        fee_fen=row.Commission or 0,
                        bank_day=booking_day_text(row.FrontSeqNo, row.TranDate),
                        book_time=booked_at(row.TranDate, row.TranTime),
                        remark=row.Remark or "",
                    )
                )

    async def ListBankCharges(
        self, request: statement_pb2.ListBankChargesRequest, context: Context
    ) -> AsyncIterator[statement_pb2.ListBankChargesResponse]:
        """6109."""
        question = BankCharges(FunctionFlag="1")
        if request.first_bank_day or request.last_bank_day:
            if not (request.first_bank_day and request.last_bank_day):
                raise problems.invalid(
                    "last_bank_day", "first_bank_day and last_bank_day are given together", ErrorReason.BANK_DAY_INVALID
                )
            first, last = days(request.first_bank_day, request.last_bank_day)
            question = BankCharges(FunctionFlag="2", StartDate=first, EndDate=last)
        async for row in rows(self.bank, question):
            yield statement_pb2.ListBankChargesResponse(
                charge=statement_pb2.BankCharge(
                    kind=CHARGE_KINDS.get(row.FeeType, statement_pb2.BANK_CHARGE_KIND_UNSPECIFIED),
                    first_bank_day=iso_day(row.FeeStartDate),
                    last_bank_day=iso_day(row.FeeEndDate),
                    bank_day=iso_day(row.FeeDeductDate),
                    amount_fen=row.ChargeAmt,
                    state=CHARGE_STATES.get(row.TranStatus, statement_pb2.BANK_CHARGE_STATE_UNSPECIFIED),
                )
            )

    async def _rows(self, present: Any, history: Callable[[date], Any], first: date, last: date) -> AsyncIterator[Any]:
        """The bookings of these days out of both lists, each once, history first.

        A day turns into history while they are asked: so the present one is asked first, and yielded last. ``history``
        is the question up to a day.
        """
        begun, _ = days_now()
        listed = [row async for row in rows(self.bank, present)] if last >= begun else []
        seen: set[tuple[str, str]] = set()
        # The bank refuses a day that has not begun there, and later ones have not ended.
        if first <= (until := min(last, begun)):
            async for row in rows(self.bank, history(until)):
                if listed:
                    seen.add((row.FrontSeqNo, row.BookingFlag))
                yield row
        for row in listed:
            # The day that is present at the bank may have begun after the last one that is asked for.
            is_asked_for = first.isoformat() <= booking_day_text(row.FrontSeqNo, row.TranDate) <= last.isoformat()
            if is_asked_for and (row.FrontSeqNo, row.BookingFlag) not in seen:
                yield row

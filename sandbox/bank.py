"""The bank behind the gateway: one verified request in, one unsigned answer out.

Promises: a request that changes something acts once per CnsmrSeqNo, and every repeat gets the first
answer (quick start, 会员间交易类); refusals are remembered the same way, save those about the
moment (`codes.PASSING`, the history answer of 6164). What it answers is in the store, and on disk
once `Store.durable` has returned. Synchronous, and never awaits: requests act one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from bankclient.messages import Request, to_wire
from bankclient.serials import is_consumer_serial
from sandbox import codes, dayends, passwords
from sandbox.books import OUTSIDE, OWN_FUNDS, Move, functional
from sandbox.clock import BankClock, day_text
from sandbox.context import Context
from sandbox.errors import GatewayRefusal, InsufficientFunds, Refused
from sandbox.faults import NO_FAULTS, FaultPlan, Faults
from sandbox.filestore import FileStore
from sandbox.handlers import Route, acquiring, cards, clearing, routes_by_service_id, transfers, withdrawals
from sandbox.handlers.registry import ROUTES
from sandbox.records import (
    ACCEPTED,
    FAILED,
    SUCCEEDED,
    AcquiredShare,
    BankCharge,
    Call,
    Inflow,
    Mark,
    Trade,
    Withdrawal,
)
from sandbox.settings import SandboxSettings
from sandbox.store import Store

CLOCK_MOVED: Final = "clock_moved_days"


class Bank:
    """Opens the books in `store` (loading what is there) and serves requests and commands."""

    def __init__(self, settings: SandboxSettings, store: Store, clock: BankClock, faults: Faults) -> None:
        self.store = store
        self.clock = clock
        self.faults = faults
        self.files = FileStore()
        self._settings = settings
        self._routes = routes_by_service_id(settings.service_ids)
        self._ran_on = ""
        store.load()
        moved = store.get(Mark, CLOCK_MOVED)
        if moved is not None:
            clock.moved_days = int(moved.text)
        self._pending = [
            one.serial for one in sorted(store.all(Withdrawal), key=lambda one: one.due_at) if one.status == ACCEPTED
        ]
        if store.get(Mark, clearing.FIRST_DAY) is None:
            store.put(Mark(clearing.FIRST_DAY, day_text(clock.today())))
            self._add_own_funds(settings.own_funds_fen)
            store.commit()

    def route(self, service_id: str) -> Route:
        """The interface behind a service id."""
        route = self._routes.get(service_id)
        if route is None:
            raise GatewayRefusal(codes.NO_SUCH_SERVICE)
        return route

    def handle(self, service_id: str, body: Mapping[str, Any], fault_plan: FaultPlan = NO_FAULTS) -> dict[str, object]:
        """Act on one request (or repeat, or refuse) and say what to answer."""
        self.catch_up()
        route = self.route(service_id)
        serial = str(body.get("CnsmrSeqNo", ""))
        try:
            self._check_envelope(body, serial)
            if route.changes:
                code, message, fields = self._change(route, service_id, serial, body, fault_plan)
            else:
                code, message, fields = self._query(route, serial, body, fault_plan)
        except Refused as refusal:
            code, message, fields = refusal.code, refusal.message, {}
        if hidden := codes.QUERY_LATER if fault_plan.has("err957") else fault_plan.text("answer"):
            code, message, fields = hidden, codes.MESSAGES.get(hidden, codes.FAILED_MESSAGE), {}
        return {
            "TxnReturnCode": code,
            "TxnReturnMsg": message,
            "CnsmrSeqNo": serial,
            "tokenExpiryFlag": "true" if fault_plan.has("expire_flag") else "false",
            **fields,
        }

    def catch_up(self) -> None:
        """Do what time has made due: withdrawals, and the night's run after a change of day."""
        context = self._context()
        if self._ran_on != context.today:
            dayends.close_days(context)
        if self._pending:
            self._pending = withdrawals.finish_due(context, self._pending)
        if self._ran_on != context.today:
            clearing.run(context)
            self._ran_on = context.today
        self.store.commit()

    def move_clock(self, days: int) -> None:
        """Move the bank's day forward."""
        if not 0 <= days <= 3660:
            raise ValueError("the clock moves forward, by ten years at most")
        self.clock.moved_days += days
        self.store.put(Mark(CLOCK_MOVED, str(self.clock.moved_days)))
        self.store.commit()
        self.catch_up()

    def decide_withdrawal(self, serial: str, result: str) -> Withdrawal | None:
        """End a withdrawal now (`success`, `fail`) or let a successful one come back (`return`).

        None when there is no such withdrawal; `Refused` when it is too late or too early.
        """
        self.catch_up()
        withdrawal = self.store.get(Withdrawal, serial)
        if withdrawal is None:
            return None
        with self.store.unit():
            if result == "return":
                return withdrawals.give_back(self._context(), withdrawal)
            if withdrawal.status != ACCEPTED:
                raise Refused(codes.NOT_NOW)
            outcome = SUCCEEDED if result == "success" else FAILED
            return withdrawals.finish(self._context(), withdrawal, outcome)

    def add_own_funds(self, amount_fen: int) -> None:
        """Pay real money of the platform into its own-funds account."""
        self._add_own_funds(amount_fen)
        self.store.commit()

    def type_password(self, sub_acct_no: str) -> str:
        """The bank's password page, with the right password typed: the signature that WebSign carries."""
        signature = passwords.sign(self._context(), sub_acct_no)
        self.store.commit()
        return signature

    def pay_in(self, sub_acct_no: str, card_no: str, amount_fen: int) -> None:
        """The holder of a card pays in for the check that waits for it (6055); `Refused` when none does."""
        cards.pay_in(self._context(), sub_acct_no, card_no, amount_fen)
        self.store.commit()

    def transfer_in(self, sub_acct_no: str, amount_fen: int, payer: tuple[str, str, str], remark: str) -> Inflow:
        """A transfer comes into the pooled account (6050); `Refused` when there is no such sub-account."""
        self.catch_up()
        inflow = transfers.take_in(self._context(), sub_acct_no, amount_fen, payer, remark)
        self.store.commit()
        return inflow

    def acquire(
        self, channel: str, order_no: str, amount_fen: int, remark: str, *, missed: bool = False, booked_to: str = ""
    ) -> list[AcquiredShare]:
        """An acquiring product collects an order (`handlers.acquiring.collect`); `Refused` when it cannot."""
        self.catch_up()
        context = self._context(ROUTES["6147"])
        with self.store.unit():
            return acquiring.collect(context, channel, order_no, amount_fen, remark, missed=missed, booked_to=booked_to)

    def charge(self, fee_type: str, amount_fen: int) -> None:
        """Charge the platform today, from an account outside these books (6109)."""
        today = day_text(self.clock.today())
        number = self.store.next_number("charge")
        self.store.put(BankCharge(number, fee_type, today, today, today, amount_fen))
        self.store.commit()

    def hold_clearing(self, held: bool) -> None:
        """Let the channels keep back what they owe (6108 shows 3), or pay it."""
        self.catch_up()
        clearing.hold(self._context(), held)
        self.store.commit()

    def _add_own_funds(self, amount_fen: int) -> None:
        self.store.post([Move(OUTSIDE, functional(OWN_FUNDS), amount_fen)])

    def _context(self, route: Route | None = None, serial: str = "", fault_plan: FaultPlan = NO_FAULTS) -> Context:
        return Context(
            store=self.store,
            settings=self._settings,
            now=self.clock.now(),
            serial=serial,
            code="" if route is None else route.code,
            asked_by="" if route is None else route.asked_by,
            fault_plan=fault_plan,
            faults=self.faults,
            files=self.files,
        )

    def _check_envelope(self, body: Mapping[str, Any], serial: str) -> None:
        if not is_consumer_serial(serial, self._settings.uid):
            raise Refused(codes.WRONG_SERIAL)
        if body.get("MrchCode") != self._settings.mrch_code:
            raise Refused(codes.WRONG_PLATFORM)
        if "FundSummaryAcctNo" not in body:
            raise Refused(codes.FIELD_INVALID, "FundSummaryAcctNo")
        if body["FundSummaryAcctNo"] != self._settings.fund_summary_acct_no:
            raise Refused(codes.WRONG_POOLED_ACCOUNT)

    def _query(
        self, route: Route, serial: str, body: Mapping[str, Any], fault_plan: FaultPlan
    ) -> tuple[str, str, dict[str, object]]:
        _refuse_if_planned(fault_plan)
        context = self._context(route, serial, fault_plan)
        fields = self._run(route, context, _parse(route, body))
        self.store.commit()
        if context.ends_day:
            self.move_clock(1)
        return codes.OK, codes.OK_MESSAGE, fields

    def _change(
        self,
        route: Route,
        service_id: str,
        serial: str,
        body: Mapping[str, Any],
        fault_plan: FaultPlan,
    ) -> tuple[str, str, dict[str, object]]:
        request: Request[Any] | None = None
        invalid: Refused | None = None
        try:
            request = _parse(route, body)
        except Refused as refusal:
            invalid = refusal
        fingerprint = "" if request is None else _fingerprint(request)
        earlier = self.store.get(Call, serial)
        if earlier is not None:
            if (earlier.service_id, earlier.fingerprint) != (service_id, fingerprint):
                raise Refused(codes.SERIAL_REPEATED)
            return (
                earlier.return_code,
                earlier.return_message,
                json.loads(earlier.reply),
            )
        context = self._context(route, serial, fault_plan)
        try:
            if request is None:
                raise invalid or Refused(codes.FIELD_INVALID)
            _refuse_if_planned(fault_plan)
            fields = self._run(route, context, request)
        except Refused as refusal:
            for record in refusal.keeps:
                self.store.put(record)
            if _lasts(refusal):
                self._remember_refusal(route, service_id, context, request, fingerprint, refusal)
            raise
        self._remember(service_id, context, fingerprint, codes.OK, codes.OK_MESSAGE, fields)
        if self.store.get(Withdrawal, serial) is not None:
            self._pending.append(serial)
        hidden = fault_plan.text("not_found_first")
        if hidden is not None:
            self.faults.hide(serial, int(hidden))
        return codes.OK, codes.OK_MESSAGE, fields

    def _run(self, route: Route, context: Context, request: Request[Any]) -> dict[str, object]:
        """Run the handler; whatever it raises, nothing of it stays."""
        try:
            return to_wire(route.handler(context, request))
        except InsufficientFunds as shortage:
            self.store.rollback()
            in_order = shortage.account.kind in ("frozen", "escrow")
            code = codes.ORDER_FUNDS_SHORT if in_order else codes.INSUFFICIENT
            raise Refused(code) from shortage
        except BaseException:
            self.store.rollback()
            raise

    def _remember(
        self,
        service_id: str,
        context: Context,
        fingerprint: str,
        code: str,
        message: str,
        fields: dict[str, object],
    ) -> None:
        reply = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        at = context.now.isoformat(timespec="seconds")
        self.store.put(Call(context.serial, service_id, fingerprint, at, code, message, reply))
        self.store.commit()

    def _remember_refusal(
        self,
        route: Route,
        service_id: str,
        context: Context,
        request: Request[Any] | None,
        fingerprint: str,
        refusal: Refused,
    ) -> None:
        serials = [] if request is None else route.serials(request, context.serial)
        for serial in serials:
            if self.store.get(Trade, serial) is None:
                self.store.put(
                    Trade(
                        serial=serial,
                        call_serial=context.serial,
                        code=route.code,
                        function_flag="",
                        asked_by=route.asked_by,
                        booking_flag="N",
                        status=FAILED,
                        at=context.now.isoformat(timespec="seconds"),
                        day=context.today,
                        fail_message=refusal.message,
                    )
                )
        self._remember(service_id, context, fingerprint, refusal.code, refusal.message, {})


def _refuse_if_planned(fault_plan: FaultPlan) -> None:
    code = fault_plan.text("refuse")
    if code is not None:
        raise Refused(code)


def _lasts(refusal: Refused) -> bool:
    passing = refusal.code in codes.PASSING
    return not passing and refusal.message != codes.SEARCHING_HISTORY_MESSAGE


def _fingerprint(request: Request[Any]) -> str:
    content = request.model_dump_json(exclude_none=True).encode()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _parse(route: Route, body: Mapping[str, Any]) -> Request[Any]:
    try:
        return route.request_class.from_wire(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        if field == "FunctionFlag" and problem["type"] == "literal_error":
            raise Refused(codes.WRONG_FLAG) from error
        raise Refused(codes.FIELD_INVALID, field) from error

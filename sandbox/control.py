"""The control plane under `/control/`: what only a sandbox lets one see and do. Loopback only.

| request | effect |
|---|---|
| `GET /control/books` | all balances in fen |
| `GET /control/requests` | what arrived: service id, serial, time |
| `POST /control/faults` | ask for a fault: fault, service_id or code, times (null: until deleted), after |
| `DELETE /control/faults` | forget all faults |
| `POST /control/clock` | `{"advance_days": n}` or `{"date": "YYYY-MM-DD"}`, forward only |
| `POST /control/withdrawals/{serial}` | `{"result": "success" \\| "fail" \\| "return"}` |
| `POST /control/own-funds` | `{"amount_fen": n}`: the platform pays money in |
| `POST /control/transfers` | `{"amount_fen": n, "sub_acct_no": "…", "remark": "…"}`: an inflow; no number: suspense |
| `POST /control/charges` | `{"fee_type": "1", "amount_fen": n}`: the bank charges the platform today (6109) |
| `POST /control/acquired_orders` | an acquiring product collects an order: `AcquiredOrderCommand` |
| `POST /control/clearing` | `{"held": true}`: channels keep their money, days stay 3; false: they pay |
| `GET /control/sms` | every text sent, with its code, oldest first |
| `POST /control/card-payments` | `{"sub_acct_no": "…", "card_no": "…", "amount_fen": n}`: the holder pays in for 6055 |
| `GET /control/card-payments` | what the bank paid out to cards for 6055, oldest first |
| `POST /control/web-signatures` | `{"sub_acct_no": "…"}`: the member types its password; answers the signature |
| `DELETE /control/tokens` | every access token expires |

Every change is on disk before it is answered, as for the bank's own requests.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import asdict
from ipaddress import ip_address
from typing import Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.bank import Bank
from sandbox.books import FUNCTIONAL
from sandbox.clock import day_text
from sandbox.errors import Refused
from sandbox.faults import Faults
from sandbox.gateway import Gateway, Received
from sandbox.handlers.cards import PAY_OUT
from sandbox.records import CardCheck, Member, SmsCode

OWN_FUNDS_MAX_FEN: Final = 10**15


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultCommand(_Command):
    """A fault of the next matching deliveries."""

    fault: str
    service_id: str | None = None
    code: str | None = None
    times: int | None = Field(default=1, ge=1)
    after: int = Field(default=0, ge=0)


class ClockCommand(_Command):
    """Exactly one of the two."""

    advance_days: int | None = Field(default=None, ge=0)
    date: datetime.date | None = None


class WithdrawalCommand(_Command):
    """How a withdrawal ends."""

    result: Literal["success", "fail", "return"]


class OwnFundsCommand(_Command):
    """Real money of the platform, in fen."""

    amount_fen: int = Field(ge=1, le=OWN_FUNDS_MAX_FEN)


class PasswordCommand(_Command):
    """Whose password is typed, rightly, on the bank's page."""

    sub_acct_no: str


class PayInCommand(_Command):
    """A small transfer from a card into the pooled account, in fen."""

    sub_acct_no: str
    card_no: str
    amount_fen: int = Field(ge=1, le=100)


class TransferCommand(_Command):
    """A transfer into the pooled account, in fen; without a sub-account it lies in suspense."""

    amount_fen: int = Field(ge=1, le=OWN_FUNDS_MAX_FEN)
    sub_acct_no: str = ""
    payer_name: str = Field(default="虚构付款人", min_length=1, max_length=120)
    payer_account: str = Field(default="6200000000000000000", pattern=r"^[0-9]{5,32}$")
    payer_bank_name: str = Field(default="虚构银行", max_length=120)
    remark: str = Field(default="", max_length=120)


class ChargeCommand(_Command):
    """What the bank charges the platform, in fen: 1 withdrawals, 2 verification, 3 service."""

    fee_type: Literal["1", "2", "3"]
    amount_fen: int = Field(ge=1, le=OWN_FUNDS_MAX_FEN)


class AcquiredOrderCommand(_Command):
    """An order that an acquiring product collects, in fen, with the remark from which the bank books it.

    The bank misses it (`missed`), or books it to `parking` or a wrong sub-account (`booked_to`); both may be asked for.
    """

    channel: Literal["01", "02", "03", "04", "YST1"]
    order_no: str = Field(min_length=1, max_length=30)
    amount_fen: int = Field(ge=1, le=OWN_FUNDS_MAX_FEN)
    remark: str = Field(min_length=1, max_length=2500)
    missed: bool = False
    booked_to: str = ""


class ClearingCommand(_Command):
    """Whether the channels keep back what they owe."""

    held: bool


C = TypeVar("C", bound=_Command)


def books_view(bank: Bank) -> dict[str, object]:
    """Every balance in fen; `waiting` and the order pockets are there to find a difference by."""
    books = bank.store.books
    sub_accounts = {}
    for member in bank.store.all(Member):
        one = books.sub_account(member.sub_acct_no)
        sub_accounts[member.sub_acct_no] = {
            "member": member.code,
            "property": member.kind,
            "available": one.available_fen,
            "withdrawable": one.withdrawable,
            "frozen": one.frozen_fen,
            "escrow": one.escrow_fen,
            "waiting_by_day": dict(one.waiting),
            "frozen_by_order": dict(one.frozen),
            "escrow_by_order": dict(one.escrow),
        }
    return {
        "bank_day": day_text(bank.clock.today()),
        "sub_accounts": sub_accounts,
        "functional": {suffix: books.functional_fen(suffix) for suffix in FUNCTIONAL},
        "pooled": books.pooled_fen,
        "owed": books.owed_fen,
        "difference": books.difference_fen(),
    }


def control_routes(bank: Bank, faults: Faults, gateway: Gateway, requests: Iterable[Received]) -> list[web.RouteDef]:
    """The control plane of one sandbox."""
    plane = _Plane(bank, faults, gateway, requests)
    return [
        web.get("/control/books", plane.books),
        web.get("/control/requests", plane.received),
        web.post("/control/faults", plane.add_fault),
        web.delete("/control/faults", plane.clear_faults),
        web.post("/control/clock", plane.move_clock),
        web.post("/control/withdrawals/{serial}", plane.decide_withdrawal),
        web.post("/control/own-funds", plane.add_own_funds),
        web.post("/control/transfers", plane.transfer_in),
        web.post("/control/charges", plane.charge),
        web.post("/control/acquired_orders", plane.acquire),
        web.post("/control/clearing", plane.hold_clearing),
        web.get("/control/sms", plane.texts),
        web.get("/control/card-payments", plane.paid_out),
        web.post("/control/card-payments", plane.pay_in),
        web.post("/control/web-signatures", plane.type_password),
        web.delete("/control/tokens", plane.expire_tokens),
    ]


class _Plane:
    def __init__(self, bank: Bank, faults: Faults, gateway: Gateway, requests: Iterable[Received]) -> None:
        self._bank = bank
        self._faults = faults
        self._gateway = gateway
        self._requests = requests

    async def books(self, request: web.Request) -> web.Response:
        _loopback(request)
        self._bank.catch_up()
        return await self._done(books_view(self._bank))

    async def received(self, request: web.Request) -> web.Response:
        _loopback(request)
        return web.json_response([asdict(one) for one in self._requests])

    async def add_fault(self, request: web.Request) -> web.Response:
        command = await _command(request, FaultCommand)
        try:
            self._faults.add(
                command.fault,
                service_id=command.service_id,
                code=command.code,
                times=command.times,
                after=command.after,
            )
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return await self._done({})

    async def clear_faults(self, request: web.Request) -> web.Response:
        _loopback(request)
        self._faults.clear()
        return await self._done({})

    async def move_clock(self, request: web.Request) -> web.Response:
        command = await _command(request, ClockCommand)
        if (command.advance_days is None) == (command.date is None):
            raise web.HTTPBadRequest(text="either advance_days or date")
        days = command.advance_days
        if command.date is not None:
            days = self._bank.clock.days_to(command.date)
        try:
            self._bank.move_clock(days or 0)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return await self._done({"bank_day": day_text(self._bank.clock.today())})

    async def decide_withdrawal(self, request: web.Request) -> web.Response:
        command = await _command(request, WithdrawalCommand)
        try:
            decided = self._bank.decide_withdrawal(request.match_info["serial"], command.result)
        except Refused as refusal:
            raise web.HTTPConflict(text=refusal.message) from None
        if decided is None:
            raise web.HTTPNotFound(text="no withdrawal has this serial")
        return await self._done(asdict(decided))

    async def add_own_funds(self, request: web.Request) -> web.Response:
        command = await _command(request, OwnFundsCommand)
        self._bank.add_own_funds(command.amount_fen)
        return await self._done({})

    async def transfer_in(self, request: web.Request) -> web.Response:
        command = await _command(request, TransferCommand)
        payer = (command.payer_account, command.payer_name, command.payer_bank_name)
        try:
            inflow = self._bank.transfer_in(command.sub_acct_no, command.amount_fen, payer, command.remark)
        except Refused as refusal:
            raise web.HTTPConflict(text=refusal.message) from None
        return await self._done({"front_seq_no": inflow.front_seq_no, "bank_day": inflow.day})

    async def charge(self, request: web.Request) -> web.Response:
        command = await _command(request, ChargeCommand)
        self._bank.charge(command.fee_type, command.amount_fen)
        return await self._done({})

    async def acquire(self, request: web.Request) -> web.Response:
        command = await _command(request, AcquiredOrderCommand)
        try:
            shares = self._bank.acquire(**command.model_dump())
        except Refused as refusal:
            raise web.HTTPConflict(text=refusal.message) from None
        return await self._done({"shares": [asdict(one) for one in shares]})

    async def hold_clearing(self, request: web.Request) -> web.Response:
        command = await _command(request, ClearingCommand)
        self._bank.hold_clearing(command.held)
        return await self._done({})

    async def texts(self, request: web.Request) -> web.Response:
        _loopback(request)
        return web.json_response([asdict(sent) for sent in self._bank.store.all(SmsCode)])

    async def paid_out(self, request: web.Request) -> web.Response:
        _loopback(request)
        checks = [one for one in self._bank.store.all(CardCheck) if one.kind == PAY_OUT]
        return web.json_response(
            [{"sub_acct_no": one.card[0], "card_no": one.card[1], "amount_fen": one.amount_fen} for one in checks]
        )

    async def pay_in(self, request: web.Request) -> web.Response:
        command = await _command(request, PayInCommand)
        try:
            self._bank.pay_in(command.sub_acct_no, command.card_no, command.amount_fen)
        except Refused as refusal:
            raise web.HTTPConflict(text=refusal.message) from None
        return await self._done({})

    async def type_password(self, request: web.Request) -> web.Response:
        command = await _command(request, PasswordCommand)
        return await self._done({"signature": self._bank.type_password(command.sub_acct_no)})

    async def expire_tokens(self, request: web.Request) -> web.Response:
        _loopback(request)
        self._gateway.expire_tokens()
        return await self._done({})

    async def _done(self, answer: dict[str, object]) -> web.Response:
        await self._bank.store.durable()
        return web.json_response(answer)


def _loopback(request: web.Request) -> None:
    if request.remote is None or not ip_address(request.remote).is_loopback:
        raise web.HTTPForbidden(text="the control plane is for this machine")


async def _command(request: web.Request, kind: type[C]) -> C:
    _loopback(request)
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=str(error)) from None

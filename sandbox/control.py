"""The control plane under `/control/`: what only a sandbox lets one see and do. Loopback only.

| request | effect |
|---|---|
| `GET /control/books` | all balances in fen |
| `GET /control/requests` | what arrived: service id, serial, time |
| `POST /control/faults` | ask for a fault: fault, service_id or code, times (null: until deleted), after |
| `DELETE /control/faults` | forget all faults |
| `POST /control/day-faults` | a fault in the rows of a day's file or list: `DayFaultCommand`, `sandbox/dayfaults.py` |
| `GET /control/day-faults` | what those have done: the row, what the books have of it and what was told, in fen |
| `DELETE /control/day-faults` | forget them |
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
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

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


class DayFaultCommand(_Command):
    """A fault of a file (CZ, TX, JY, YE) or list (6050, 6048, 6108, 6109) of a day, in a row that the seed picks."""

    fault: str
    source: str
    day: datetime.date
    seed: int = 0
    amount_fen: int = Field(default=1_00, ge=1, le=OWN_FUNDS_MAX_FEN)
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)


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
    plane = _Plane(bank, requests)
    return [
        web.get("/control/books", plane.answers(plane.books)),
        web.get("/control/requests", plane.answers(plane.received)),
        web.post("/control/faults", plane.answers(faults.add, FaultCommand)),
        web.delete("/control/faults", plane.answers(faults.clear)),
        web.post("/control/day-faults", plane.answers(faults.days.add, DayFaultCommand)),
        web.get("/control/day-faults", plane.answers(lambda: faults.days.struck)),
        web.delete("/control/day-faults", plane.answers(faults.days.clear)),
        web.post("/control/clock", plane.answers(plane.move_clock, ClockCommand)),
        web.post("/control/withdrawals/{serial}", plane.answers(plane.decide_withdrawal, WithdrawalCommand)),
        web.post("/control/own-funds", plane.answers(bank.add_own_funds, OwnFundsCommand)),
        web.post("/control/transfers", plane.answers(plane.transfer_in, TransferCommand)),
        web.post("/control/charges", plane.answers(bank.charge, ChargeCommand)),
        web.post("/control/acquired_orders", plane.answers(plane.acquire, AcquiredOrderCommand)),
        web.post("/control/clearing", plane.answers(bank.hold_clearing, ClearingCommand)),
        web.get("/control/sms", plane.answers(plane.texts)),
        web.get("/control/card-payments", plane.answers(plane.paid_out)),
        web.post("/control/card-payments", plane.answers(bank.pay_in, PayInCommand)),
        web.post("/control/web-signatures", plane.answers(plane.type_password, PasswordCommand)),
        web.delete("/control/tokens", plane.answers(gateway.expire_tokens)),
    ]


class _Plane:
    """What is done for each request; it gets the command's fields, and what it returns is answered as JSON."""

    def __init__(self, bank: Bank, requests: Iterable[Received]) -> None:
        self._bank = bank
        self._requests = requests

    def answers(
        self, act: Callable[..., object], command: type[_Command] = _Command
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The handler of requests by which ``act`` is done with the fields of the command and of the path."""

        async def handler(request: web.Request) -> web.Response:
            if request.remote is None or not ip_address(request.remote).is_loopback:
                raise web.HTTPForbidden(text="the control plane is for this machine")
            try:
                fields = dict(command.model_validate_json(await request.read() or "{}"))
                answer = act(**fields, **request.match_info)
            except Refused as refusal:
                raise web.HTTPConflict(text=refusal.message) from None
            except ValueError as error:
                raise web.HTTPBadRequest(text=str(error)) from None
            await self._bank.store.durable()
            return web.json_response({} if answer is None else answer)

        return handler

    def books(self) -> object:
        self._bank.catch_up()
        return books_view(self._bank)

    def received(self) -> object:
        return [asdict(one) for one in self._requests]

    def move_clock(self, advance_days: int | None, date: datetime.date | None) -> object:
        if (advance_days is None) == (date is None):
            raise ValueError("either advance_days or date")
        self._bank.move_clock(self._bank.clock.days_to(date) if date else advance_days or 0)
        return {"bank_day": day_text(self._bank.clock.today())}

    def decide_withdrawal(self, serial: str, result: str) -> object:
        decided = self._bank.decide_withdrawal(serial, result)
        if decided is None:
            raise web.HTTPNotFound(text="no withdrawal has this serial")
        return asdict(decided)

    def transfer_in(
        self, amount_fen: int, sub_acct_no: str, payer_account: str, payer_name: str, payer_bank_name: str, remark: str
    ) -> object:
        payer = (payer_account, payer_name, payer_bank_name)
        inflow = self._bank.transfer_in(sub_acct_no, amount_fen, payer, remark)
        return {"front_seq_no": inflow.front_seq_no, "bank_day": inflow.day}

    def acquire(self, **order: Any) -> object:
        return {"shares": [asdict(one) for one in self._bank.acquire(**order)]}

    def texts(self) -> object:
        return [asdict(sent) for sent in self._bank.store.all(SmsCode)]

    def paid_out(self) -> object:
        checks = [one for one in self._bank.store.all(CardCheck) if one.kind == PAY_OUT]
        return [{"sub_acct_no": one.card[0], "card_no": one.card[1], "amount_fen": one.amount_fen} for one in checks]

    def type_password(self, sub_acct_no: str) -> object:
        return {"signature": self._bank.type_password(sub_acct_no)}

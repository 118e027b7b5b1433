"""The transfers that the ledger rows carry out, and a database to carry them out on.

A transfer is what a payment is to the mirror: a step that opens an operation and holds the payer's money, then a step
that posts it to the payee and the fee, once the bank has answered.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

import uuid_utils

from jzb.v1.names import OperationKind
from ledger import Account, Change, Draft, Kind, Leg, NewOperation, OfDay, State, Step, Writer
from ledger.accounts import FEE, POOLED, withdrawable
from ledger.names import BankSerial, MemberCode, RequestId, Serial, SubAccount
from ledger.rules import draft_to_json

PLATFORM = "9930"
DAY = date(2026, 11, 23)
MEMBERS = 10_000
FUNDS_FEN = 10**12

_serials = itertools.count(int.from_bytes(os.urandom(4)) * 10**9)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Both steps of one transfer."""

    reserve: Step
    settle: Step


class Load:
    """An endless stream of transfers between random members; the same for the same seed.

    ``hot`` sends every fee to the platform's one fee account, otherwise each goes to a member of its own.
    """

    def __init__(self, *, hot: bool, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._hot = hot

    def prepare(self, count: int) -> Iterator[Transfer]:
        """``count`` transfers made beforehand, and more as they are asked for."""
        ready = [self.transfer() for _ in range(count)]
        return itertools.chain(ready, (self.transfer() for _ in itertools.count()))

    def transfer(self) -> Transfer:
        """The next one: 100 fen, of which 1 is the fee."""
        payer, payee, other = self._random.sample(range(MEMBERS), 3)
        serial = f"{next(_serials):022d}"
        fee = FEE if self._hot else withdrawable(SubAccount(member(other)))
        draft = Draft(
            (
                Leg(withdrawable(SubAccount(member(payer))), OfDay(Kind.UNCLEARED, SubAccount(member(payee))), 99),
                Leg(withdrawable(SubAccount(member(payer))), fee, 1),
            ),
            Serial(serial),
            MemberCode(member(payer)),
            MemberCode(member(payee)),
            100,
            1,
        )
        operation = NewOperation(
            id=UUID(bytes=uuid_utils.uuid7().bytes),
            request_id=RequestId(serial),
            fingerprint=hashlib.sha256(serial.encode()).digest(),
            kind=OperationKind.PAY_T1,
            serial=Serial(serial),
            plan={"drafts": [draft_to_json(draft)]},
            payer=MemberCode(member(payer)),
            payee=MemberCode(member(payee)),
            amount_fen=100,
            fee_fen=1,
        )
        reserve = Step(
            operation=operation,
            change=Change(state=State.RESERVED, next_ask_in_s=60.0),
            bank_day=DAY,
            pend=(draft,),
        )
        settle = Step(
            operation=operation.id,
            change=Change(
                state=State.DONE, bank_code="000000", bank_serial=BankSerial(serial[:16]), evidence=bytes(32)
            ),
            bank_day=DAY,
            post={1: replace(draft, bank_serial=BankSerial(serial[:16]))},
        )
        return Transfer(reserve, settle)


Submit = Callable[[Step], Awaitable[object]]


def carrying_out(submit: Submit, transfers: Iterator[Transfer]) -> Callable[[], Awaitable[None]]:
    """A call that carries out the next transfer, both steps of it."""

    async def call() -> None:
        transfer = next(transfers)
        await submit(transfer.reserve)
        await submit(transfer.settle)

    return call


def member(number: int) -> str:
    """A member's sub-account."""
    return f"{number:016d}"


@asynccontextmanager
async def writing(dsn: str) -> AsyncIterator[Writer]:
    """The platform's writer, as the service runs it."""
    async with Writer(dsn, PLATFORM).running() as writer:
        yield writer


async def endow(writer: Writer) -> None:
    """Give every member money to spend."""
    for first in range(0, MEMBERS, 500):
        await writer.submit(_money([withdrawable(SubAccount(member(number))) for number in range(first, first + 500)]))


def _money(accounts: list[Account]) -> Step:
    serial = f"{next(_serials):022d}"
    operation = NewOperation(
        id=UUID(bytes=uuid_utils.uuid7().bytes),
        request_id=RequestId(serial),
        fingerprint=bytes(32),
        kind=OperationKind.OPENING_BALANCE,
        serial=Serial(serial),
        plan={},
    )
    draft = Draft(tuple(Leg(POOLED, account, FUNDS_FEN) for account in accounts), amount_fen=FUNDS_FEN * len(accounts))
    return Step(operation=operation, change=Change(state=State.DONE), bank_day=DAY, enter=(draft,))

"""Builders for tests of the mirror: drafts as a marketplace makes them, steps, and books with money in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import uuid_utils

from ledger import Account, Available, Change, Draft, Kind, Leg, NewOperation, OfDay, State, Step, StepOutcome, accounts
from ledger.accounts import (
    FEE,
    LIMITS,
    POOLED,
    escrow,
    frozen,
    order,
    refundable,
    refundable_fee,
    withdrawable,
)
from ledger.batch import Known, Rows, judge
from ledger.names import NO_SERIAL, NO_SUB_ACCOUNT, MemberCode, RequestId, Serial, SubAccount
from ledger.rules import Balance, Book, SpendOrder

PLATFORM = "9930"
DAY = date(2026, 11, 23)
DAY_BEFORE = date(2026, 11, 22)
DAY_AFTER = date(2026, 11, 24)
ANN, BOB, CAT = SubAccount("1001"), SubAccount("1002"), SubAccount("1003")

_numbers = itertools.count(1)


def new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


def money(account: Account, fen: int) -> Draft:
    """Money out of nowhere (the pooled account), to begin with."""
    return Draft((Leg(POOLED, account, fen),), amount_fen=fen)


def top_up(member: SubAccount, fen: int, fee_fen: int = 0) -> Draft:
    legs = [Leg(OfDay(Kind.IN_TRANSIT), OfDay(Kind.UNCLEARED, member), fen - fee_fen)]
    if fee_fen:
        legs.append(Leg(OfDay(Kind.IN_TRANSIT), FEE, fee_fen))
    return Draft(tuple(legs), payee=MemberCode(member), amount_fen=fen, fee_fen=fee_fen)


def pay(payer: SubAccount, payee: SubAccount, fen: int, fee_fen: int = 0, serial: Serial = NO_SERIAL) -> Draft:
    """T+1: out of available money. With a serial it may be refunded."""
    legs = [Leg(Available(payer), OfDay(Kind.UNCLEARED, payee), fen - fee_fen)]
    if fee_fen:
        legs.append(Leg(Available(payer), FEE, fee_fen))
    if serial:
        legs.append(Leg(LIMITS, refundable(serial), fen))
    if serial and fee_fen:
        legs.append(Leg(LIMITS, refundable_fee(serial), fee_fen))
    return Draft(tuple(legs), serial, MemberCode(payer), MemberCode(payee), fen, fee_fen)


def pay_today(payer: SubAccount, payee: SubAccount, fen: int) -> Draft:
    """T+0: from withdrawable to withdrawable."""
    return Draft(
        (Leg(withdrawable(payer), withdrawable(payee), fen),),
        payer=MemberCode(payer),
        payee=MemberCode(payee),
        amount_fen=fen,
    )


def prepay(payer: SubAccount, order_no: str, fen: int) -> Draft:
    return Draft((Leg(order(order_no), LIMITS, 1), Leg(Available(payer), escrow(payer, order_no), fen)), amount_fen=fen)


def confirm(payer: SubAccount, payee: SubAccount, order_no: str, fen: int) -> Draft:
    return Draft((Leg(escrow(payer, order_no), OfDay(Kind.UNCLEARED, payee), fen),), amount_fen=fen)


def cancel(payer: SubAccount, order_no: str, fen: int) -> Draft:
    return Draft((Leg(escrow(payer, order_no), OfDay(Kind.UNCLEARED, payer), fen),), amount_fen=fen)


def freeze(member: SubAccount, order_no: str, fen: int) -> Draft:
    return Draft((Leg(Available(member), frozen(member, order_no), fen),), amount_fen=fen)


def refund(serial: Serial, payer: SubAccount, payee: SubAccount, fen: int, fee_fen: int = 0) -> Draft:
    """From ``payee`` back to ``payer``; the fee out of the fee account."""
    legs = [Leg(refundable(serial), LIMITS, fen)]
    if fee_fen:
        legs += [Leg(refundable_fee(serial), LIMITS, fee_fen), Leg(FEE, OfDay(Kind.UNCLEARED, payer), fee_fen)]
    if fen > fee_fen:
        legs.append(Leg(Available(payee), OfDay(Kind.UNCLEARED, payer), fen - fee_fen))
    return Draft(tuple(legs), amount_fen=fen, fee_fen=fee_fen)


def closing(sub_account: SubAccount) -> Draft:
    """From here on nothing new is opened with the sub-account."""
    return Draft((Leg(accounts.standing(sub_account), LIMITS, 1),))


def opening(
    *drafts: Draft,
    enter: Iterable[Draft] = (),
    request_id: str = "",
    serial: Serial = NO_SERIAL,
    content: bytes = b"content",
    state: State | None = None,
    bank_day: date = DAY,
    plan: dict[str, Any] | None = None,
    kind: str = "PAY_T1",
    payer: SubAccount = NO_SUB_ACCOUNT,
    payee: SubAccount = NO_SUB_ACCOUNT,
    order_no: str = "",
    amount_fen: int = 0,
    **step: Any,
) -> Step:
    """A step that opens an operation: RESERVED with its pending drafts, or DONE with what it enters."""
    number = next(_numbers)
    chosen = state or (State.RESERVED if drafts else State.DONE)
    new = NewOperation(
        id=new_id(),
        request_id=RequestId(request_id or f"request-{number}"),
        fingerprint=content,
        kind=kind,
        serial=Serial(serial or f"S{number:021}"),
        plan=plan or {},
        payer=MemberCode(payer),
        payee=MemberCode(payee),
        order_no=order_no,
        amount_fen=amount_fen,
    )
    change = Change(state=chosen, next_ask_in_s=None if chosen.is_final else 60.0)
    return Step(operation=new, change=change, bank_day=bank_day, pend=drafts, enter=tuple(enter), **step)


def again(step: Step, content: bytes = b"content") -> Step:
    """The same request once more, as its caller would send it: another id, another serial."""
    assert isinstance(step.operation, NewOperation)
    return opening(*step.pend, enter=step.enter, request_id=step.operation.request_id, content=content)


def posting(opened: Step, *numbers: int, bank_day: date = DAY, **step: Any) -> Step:
    """The bank has acted: post the parts of an opened operation (all of them unless numbered)."""
    parts = numbers or range(1, 1 + len(opened.pend))
    drafts = {number: opened.pend[number - 1] for number in parts}
    return Step(operation=opened.operation_id, change=Change(state=State.DONE), bank_day=bank_day, post=drafts, **step)


def voiding(opened: Step, *numbers: int, state: State = State.REFUSED, bank_day: date = DAY, **step: Any) -> Step:
    """The bank has refused: let the parts go."""
    parts = numbers or tuple(range(1, 1 + len(opened.pend)))
    return Step(operation=opened.operation_id, change=Change(state=state), bank_day=bank_day, void=parts, **step)


def doubting(opened: Step) -> Step:
    """The answer was lost."""
    return Step(
        operation=opened.operation_id,
        change=Change(state=State.UNKNOWN, next_ask_in_s=60.0),
        bank_day=DAY,
        expects=frozenset({State.RESERVED}),
    )


def clearing(bank_day: date) -> Step:
    """The bank has cleared a day; what waits is moved by other steps."""
    return opening(enter=[Draft((Leg(order(f"clearing {bank_day}"), LIMITS, 1),))], cleared_through=bank_day)


def book_of(
    balances: Mapping[Account, int], cleared_through: date | None = None, spend_order: SpendOrder = "waiting_first"
) -> Book:
    """A book as it is loaded: these balances, nothing held."""
    book = Book(cleared_through, spend_order)
    for account, fen in balances.items():
        book.add(Balance(account, fen, is_known=True))
    return book


def standing(book: Book) -> dict[str, tuple[int, int]]:
    """Balance and held amount by name, empty accounts left out."""
    return {
        account.name: (state.balance_fen, state.held_fen)
        for account, state in book.balances.items()
        if state.balance_fen or state.held_fen
    }


def assert_whole(book: Book) -> None:
    """No floor is broken, and nothing is held where there is none."""
    for state in book.balances.values():
        assert state.held_fen >= 0, state
        assert state.account.floor is None or state.remaining_fen >= 0, state
        assert state.account.floor is not None or state.held_fen == 0, state


class OneByOne:
    """The pure judge over one growing book: what the journal must come to, without a database or a batch."""

    def __init__(self, book: Book | None = None) -> None:
        self.book = book or Book()
        self.known = Known(datetime(2026, 11, 23, 4, 0, tzinfo=UTC))
        self.rows = Rows()

    def judge(self, step: Step) -> StepOutcome:
        return judge(self.book, self.known, step, self.rows)


def stored(dsn: str, platform: str = PLATFORM) -> dict[str, tuple[int, int]]:
    """Balance and held amount by name as the database has them, empty accounts left out."""
    return {
        name: (balance_fen, held_fen)
        for name, balance_fen, held_fen in ask(
            dsn,
            "SELECT name, balance_fen, held_fen FROM account WHERE platform = %s AND (balance_fen, held_fen) <> (0, 0)",
            platform,
        )
    }


def ask(dsn: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query, over a connection of its own."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        return connection.execute(query.encode(), values).fetchall()


def execute(dsn: str, *statements: str) -> None:
    """Statements in one transaction, over a connection of their own."""
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        for statement in statements:
            connection.execute(statement.encode())

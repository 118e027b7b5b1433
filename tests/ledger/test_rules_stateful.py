"""A marketplace in any order of events, judged by the ledger and by a plain count of what everybody has.

The count knows no accounts, legs, holds or days: who can spend how much, what lies under an order, what of a payment
can still be refunded. After every event both must say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger import Draft, FloorBroken, Kind, State, Step
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    OneByOne,
    again,
    assert_whole,
    book_of,
    cancel,
    clearing,
    confirm,
    doubting,
    freeze,
    opening,
    pay,
    posting,
    prepay,
    refund,
    standing,
    top_up,
    voiding,
)

Count = Counter[tuple[str, ...]]
MEMBERS = (ANN, BOB, CAT)
ORDERS = ("O1", "O2")

members = st.sampled_from(MEMBERS)
orders = st.sampled_from(ORDERS)
amounts = st.integers(1, 30)
fees = st.integers(0, 5)
days = st.sampled_from((DAY_BEFORE, DAY, DAY_AFTER))
chosen = st.integers(0, 7)


class Marketplace(RuleBasedStateMachine):
    """``have`` is what can be spent; what a pending operation has taken is in nobody's hands."""

    spend_order: ClassVar[Any] = "waiting_first"

    @initialize()
    def opens(self) -> None:
        self.ledger = OneByOne(book_of({}, spend_order=self.spend_order))
        self.have: Count = Counter({("order", order_no): 1 for order_no in ORDERS})
        self.pending: list[tuple[Step, Count, Count]] = []
        self.payments: dict[str, tuple[str, str]] = {}
        self.cleared: set[Any] = set()
        self.number = 0

    def ask(self, draft: Draft, takes: Mapping[tuple[str, ...], int], gives: Mapping[tuple[str, ...], int]) -> bool:
        """Open an operation with one pending draft: refused if and only if somebody lacks something."""
        step = opening(draft)
        # A count of 0 is no demand, as a fee of 0 has no leg.
        wanted = Counter({key: fen for key, fen in takes.items() if fen})
        before = standing(self.ledger.book)
        if any(self.have[key] < fen for key, fen in wanted.items()):
            with pytest.raises(FloorBroken) as refusal:
                self.ledger.judge(step)
            assert refusal.value.breach.needed_fen > refusal.value.breach.left_fen >= 0
            assert standing(self.ledger.book) == before
            return False
        outcome = self.ledger.judge(step)
        assert (outcome.did, outcome.operation.state) == (True, State.RESERVED)
        self.have -= wanted
        self.pending.append((step, wanted, Counter(gives)))
        return True

    @rule(member=members, fen=amounts, fee=fees)
    def tops_up(self, member: str, fen: int, fee: int) -> None:
        if fee < fen:
            self.ask(top_up(member, fen, fee), {}, {("available", member): fen - fee})

    @rule(payer=members, payee=members, fen=amounts, fee=fees)
    def pays(self, payer: str, payee: str, fen: int, fee: int) -> None:
        if payer == payee or fee >= fen:
            return
        self.number += 1
        serial = f"P{self.number}"
        gives = {("available", payee): fen - fee, ("refund", serial): fen, ("refund fee", serial): fee}
        if self.ask(pay(payer, payee, fen, fee, serial), {("available", payer): fen}, gives):
            self.payments[serial] = (payer, payee)

    @precondition(lambda self: self.payments)
    @rule(index=chosen, fen=amounts, fee=fees)
    def refunds(self, index: int, fen: int, fee: int) -> None:
        serial = list(self.payments)[index % len(self.payments)]
        payer, payee = self.payments[serial]
        if fee > fen:
            return
        takes = {("refund", serial): fen, ("refund fee", serial): fee, ("available", payee): fen - fee}
        self.ask(refund(serial, payer, payee, fen, fee), takes, {("available", payer): fen})

    @rule(payer=members, order_no=orders, fen=amounts)
    def prepays(self, payer: str, order_no: str, fen: int) -> None:
        takes = {("available", payer): fen, ("order", order_no): 1}
        self.ask(prepay(payer, order_no, fen), takes, {("escrow", payer, order_no): fen})

    @rule(payer=members, payee=members, order_no=orders, fen=amounts)
    def confirms(self, payer: str, payee: str, order_no: str, fen: int) -> None:
        takes = {("escrow", payer, order_no): fen}
        self.ask(confirm(payer, payee, order_no, fen), takes, {("available", payee): fen})

    @rule(payer=members, order_no=orders, fen=amounts)
    def cancels(self, payer: str, order_no: str, fen: int) -> None:
        self.ask(cancel(payer, order_no, fen), {("escrow", payer, order_no): fen}, {("available", payer): fen})

    @rule(member=members, order_no=orders, fen=amounts)
    def freezes(self, member: str, order_no: str, fen: int) -> None:
        takes = {("available", member): fen}
        self.ask(freeze(member, order_no, fen), takes, {("frozen", member, order_no): fen})

    @precondition(lambda self: self.pending)
    @rule(index=chosen, day=days)
    def the_bank_has_acted(self, index: int, day: Any) -> None:
        step, _, gives = self.pending.pop(index % len(self.pending))
        assert self.ledger.judge(posting(step, bank_day=day)).operation.state is State.DONE
        self.have += gives
        self.comes_late(posting(step, bank_day=day))
        self.comes_late(voiding(step))

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def the_bank_has_refused(self, index: int) -> None:
        step, takes, _ = self.pending.pop(index % len(self.pending))
        assert self.ledger.judge(voiding(step)).operation.state is State.REFUSED
        self.have += takes
        self.comes_late(voiding(step))
        self.comes_late(posting(step))

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def an_answer_is_lost(self, index: int) -> None:
        step, _, _ = self.pending[index % len(self.pending)]
        assert self.ledger.judge(doubting(step)).operation.state is State.UNKNOWN

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def a_step_is_run_again(self, index: int) -> None:
        step, before = self.pending[index % len(self.pending)][0], standing(self.ledger.book)
        # A commit that was not heard of, and a caller who repeats himself.
        self.ledger.judge(step)
        assert not self.ledger.judge(again(step)).did
        assert standing(self.ledger.book) == before

    @rule(day=days)
    def a_day_is_cleared(self, day: Any) -> None:
        if day not in self.cleared:
            self.cleared.add(day)
            self.ledger.judge(clearing(day))

    def comes_late(self, step: Step) -> None:
        """A step whose work is done finds it done."""
        before = standing(self.ledger.book)
        assert not self.ledger.judge(step).did
        assert standing(self.ledger.book) == before

    @invariant()
    def the_books_are_whole(self) -> None:
        book, rows = self.ledger.book, self.ledger.rows
        assert_whole(book)
        assert sum(balance.balance_fen for balance in book.balances.values()) == 0
        resolved = {(operation_id, part) for operation_id, part, _, _ in rows.resolutions}
        held: Counter[str] = Counter()
        for operation_id, part, hold in rows.holds:
            if (operation_id, part) not in resolved:
                held[hold.account.name] += hold.amount_fen
        assert held == Counter({name: fen for name, (_, fen) in standing(book).items() if fen})

    @invariant()
    def everybody_has_what_was_counted(self) -> None:
        spendable: Count = Counter()
        for balance in self.ledger.book.balances.values():
            account = balance.account
            match account.kind:
                case Kind.WITHDRAWABLE | Kind.WAITING:
                    spendable["available", account.owner] += balance.left_fen
                case Kind.FROZEN | Kind.ESCROW:
                    spendable[account.kind.value, account.owner, account.ref] += balance.left_fen
                case Kind.REFUNDABLE:
                    spendable["refund", account.ref] += balance.left_fen
                case Kind.REFUNDABLE_FEE:
                    spendable["refund fee", account.ref] += balance.left_fen
        counted = Counter({key: fen for key, fen in self.have.items() if key[0] != "order"})
        assert +spendable == +counted


class WithdrawableFirst(Marketplace):
    """The same for a platform that spends withdrawable money first."""

    spend_order = "withdrawable_first"


TestMarketplace = Marketplace.TestCase
TestMarketplace.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWithdrawableFirst = WithdrawableFirst.TestCase
TestWithdrawableFirst.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)

"""A marketplace in any order of events, judged by the ledger and by a plain count of what everybody has.

The count knows no legs and no holds: what of whose money can be withdrawn, what of it waits since which day, what lies
under an order or in suspense, what of a payment can still be given back. After every event both must say the same.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger import Available, Change, Draft, FloorBroken, Kind, Leg, OfDay, Operation, State, Step
from ledger.accounts import (
    FEE,
    LIMITS,
    OWN_FUNDS,
    POOLED,
    WITHDRAWING,
    frozen,
    refundable,
    refundable_fee,
    revocable,
    revocable_fee,
    suspense,
    uncleared,
    undoable,
    undoable_fee,
    withdrawable,
)
from ledger.names import BankSerial, Serial, SubAccount
from ledger.rules import AMOUNT_MAX_FEN, Source, SpendOrder, Target, reverse
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
    freeze,
    money,
    opening,
    pay,
    pay_today,
    prepay,
    standing,
    top_up,
)

Count = Counter[tuple[str, ...]]
Amounts = dict[tuple[str, ...], int]
MEMBERS = (ANN, BOB, CAT)
ORDERS = ("O1", "O2", "O3", "O4")

members = st.sampled_from(MEMBERS)
orders = st.sampled_from(ORDERS)
small = st.integers(1, 30)
LARGEST = st.sampled_from((99_999_999_999_999, AMOUNT_MAX_FEN))
# Small ones meet each other's limits; now and then the largest that the bank and the ledger know.
amounts = st.integers(0, 9).flatmap(lambda number: small if number else LARGEST)
parts = st.one_of(st.integers(1, 10), amounts)
fees = st.sampled_from((0, 0, 1, 5))
days = st.sampled_from((DAY_BEFORE, DAY, DAY_AFTER))
chosen = st.integers(0, 7)


def legs(*moves: tuple[Source, Target, int]) -> tuple[Leg, ...]:
    """Those of an amount: a fee of 0 has no leg."""
    return tuple(Leg(debit, credit, fen) for debit, credit, fen in moves if fen)


@dataclass
class Pending:
    """An operation that the bank has not decided: each part's draft, what it has taken, and what it will give."""

    step: Step
    operation: UUID
    parts: dict[int, tuple[Draft, Count, Amounts]] = field(default_factory=dict)
    asked: list[tuple[Draft, Amounts, Amounts]] = field(default_factory=list)
    then: tuple[Draft, ...] = ()
    some_done: bool = False


class Marketplace(RuleBasedStateMachine):
    """``have`` is what can be spent; what a pending operation has taken is in nobody's hands."""

    spend_order: ClassVar[SpendOrder] = "waiting_first"

    @initialize()
    def opens(self) -> None:
        self.ledger = OneByOne(book_of({}, spend_order=self.spend_order))
        self.have: Count = Counter({("order", order_no): 1 for order_no in ORDERS})
        for member in MEMBERS:
            for account, key in (
                (withdrawable(member), ("withdrawable", member)),
                (uncleared(member, DAY), ("waiting", member, f"{DAY:%Y%m%d}")),
                (frozen(member, ORDERS[0]), ("frozen", member, ORDERS[0])),
            ):
                self.ledger.judge(opening(enter=[money(account, 50)]))
                self.have[key] += 50
        self.the_platform_pays_in(20)
        self.pending: list[Pending] = []
        self.accepted: list[Pending] = []
        self.released: list[Pending] = []
        self.payments: dict[str, tuple[str, str]] = {}
        self.top_ups: dict[str, str] = {}
        self.prepaid: list[tuple[str, str]] = []
        self.transfers: list[str] = []
        self.clearings: dict[str, tuple[str, str]] = {}
        self.cleared: set[date] = set()
        self.number = self.asked = 0

    # What is asked for.

    def ask(self, draft: Draft, takes: Amounts, gives: Amounts, *, then: tuple[Draft, ...] = ()) -> bool:
        """Open an operation with one pending draft: refused if and only if somebody lacks something."""
        return self.ask_all([(draft, takes, gives)], then=then)

    def ask_all(self, asked: list[tuple[Draft, Amounts, Amounts]], *, then: tuple[Draft, ...] = ()) -> bool:
        """The same with several drafts, which are held together or not at all."""
        step = opening(*(draft for draft, _, _ in asked))
        did = self.begin(Pending(step, step.operation_id, asked=asked, then=then))
        self.asked += did
        if did and self.asked % 2:
            # Or most would wait for an answer that is never drawn.
            self.acts(self.pending.pop(), DAY)
        return did

    def begin(self, new: Pending) -> bool:
        # A count of 0 is no demand, as a fee of 0 has no leg.
        wanted: Count = Counter()
        for _, takes, _ in new.asked:
            wanted.update({key: fen for key, fen in takes.items() if fen})
        before = standing(self.ledger.book)
        if any(self.remaining(key) < fen for key, fen in wanted.items()):
            with pytest.raises(FloorBroken) as refusal:
                self.ledger.judge(new.step)
            assert refusal.value.breach.needed_fen > refusal.value.breach.left_fen >= 0
            assert standing(self.ledger.book) == before
            return False
        outcome = self.ledger.judge(new.step)
        assert (outcome.did, outcome.operation.state) == (True, State.RESERVED)
        new.operation = outcome.operation.id
        for number, (draft, takes, gives) in zip(outcome.pended, new.asked, strict=True):
            taken = Counter(dict(self.pockets(takes)))
            self.have -= taken
            new.parts[number] = (draft, taken, gives)
        self.pending.append(new)
        return True

    def remaining(self, key: tuple[str, ...]) -> int:
        """What can be taken; ``available`` money is in several pockets."""
        kind, *of = key
        return (
            sum(self.have[one] for one in self.spendable(SubAccount(of[0]))) if kind == "available" else self.have[key]
        )

    def spendable(self, member: SubAccount) -> list[tuple[str, ...]]:
        waits = sorted(key for key in self.have if key[:2] == ("waiting", member))
        now = ("withdrawable", member)
        return [*waits, now] if self.spend_order == "waiting_first" else [now, *waits]

    def pockets(self, takes: Amounts) -> Iterator[tuple[tuple[str, ...], int]]:
        """Which pockets an amount comes out of."""
        for key, wanted_fen in takes.items():
            left_fen = wanted_fen
            for pocket in self.spendable(SubAccount(key[1])) if key[0] == "available" else [key]:
                if taken_fen := min(left_fen, self.have[pocket]):
                    yield pocket, taken_fen
                    left_fen -= taken_fen

    def arrive(self, amounts: Amounts, day: date) -> None:
        """What comes to a member waits for the clearing of its day, unless that day is cleared already."""
        for key, fen in amounts.items():
            self.have[self.of_day(SubAccount(key[1]), day) if key[0] == "available" else key] += fen

    def of_day(self, member: SubAccount, day: date) -> tuple[str, ...]:
        return ("withdrawable", member) if self.is_cleared(day) else ("waiting", member, f"{day:%Y%m%d}")

    def is_cleared(self, day: date) -> bool:
        return bool(self.cleared) and day <= max(self.cleared)

    def serial(self) -> str:
        self.number += 1
        return f"N{self.number}"

    @rule(member=members, fen=amounts, fee=fees)
    def tops_up(self, member: SubAccount, fen: int, fee: int) -> None:
        if fee >= fen:
            return
        serial, draft = self.serial(), top_up(member, fen, fee)
        limits = legs((LIMITS, revocable(Serial(serial)), fen - fee), (LIMITS, revocable_fee(Serial(serial)), fee))
        gives: Amounts = {("available", member): fen - fee, ("revoke", serial): fen - fee, ("revoke fee", serial): fee}
        self.ask(dataclasses.replace(draft, legs=(*draft.legs, *limits)), {}, gives)
        self.top_ups[serial] = member

    @precondition(lambda self: self.top_ups)
    @rule(index=chosen, net=parts, fee=fees)
    def revokes(self, index: int, net: int, fee: int) -> None:
        serial, member = list(self.top_ups.items())[index % len(self.top_ups)]
        channel = OfDay(Kind.IN_TRANSIT)
        draft = Draft(
            legs(
                (revocable(Serial(serial)), LIMITS, net),
                (revocable_fee(Serial(serial)), LIMITS, fee),
                (Available(SubAccount(member)), channel, net),
                (FEE, channel, fee),
            )
        )
        self.ask(draft, {("revoke", serial): net, ("revoke fee", serial): fee, ("available", member): net}, {})

    @rule(payer=members, payee=members, fen=amounts, fee=fees)
    def pays(self, payer: SubAccount, payee: SubAccount, fen: int, fee: int) -> None:
        if payer == payee or fee >= fen:
            return
        serial = self.serial()
        gives: Amounts = {("available", payee): fen - fee, ("refund", serial): fen, ("refund fee", serial): fee}
        if self.ask(pay(payer, payee, fen, fee, Serial(serial)), {("available", payer): fen}, gives):
            self.payments[serial] = (payer, payee)

    @rule(payer=members, payee=members, fen=amounts)
    def pays_what_is_withdrawable_at_once(self, payer: SubAccount, payee: SubAccount, fen: int) -> None:
        if payer != payee:
            self.ask(pay_today(payer, payee, fen), {("withdrawable", payer): fen}, {("withdrawable", payee): fen})

    @precondition(lambda self: self.payments)
    @rule(index=chosen, fen=parts, fee=fees, is_advanced=st.booleans())
    def refunds(self, index: int, fen: int, fee: int, is_advanced: bool) -> None:
        serial = list(self.payments)[index % len(self.payments)]
        payer, payee = self.payments[serial]
        if fee > fen:
            return
        back = OfDay(Kind.UNCLEARED, SubAccount(payer))
        draft = Draft(
            legs(
                (refundable(Serial(serial)), LIMITS, fen),
                (refundable_fee(Serial(serial)), LIMITS, fee),
                (OWN_FUNDS if is_advanced else FEE, back, fee),
                (Available(SubAccount(payee)), back, fen - fee),
            )
        )
        takes: Amounts = {("refund", serial): fen, ("refund fee", serial): fee, ("available", payee): fen - fee}
        if is_advanced:
            takes["own funds",] = fee
        self.ask(draft, takes, {("available", payer): fen})

    @rule(fen=amounts)
    def the_platform_pays_in(self, fen: int) -> None:
        self.ledger.judge(opening(enter=[money(OWN_FUNDS, fen)]))
        self.have["own funds",] += fen

    @rule(payer=members, order_no=orders, fen=amounts)
    def prepays(self, payer: SubAccount, order_no: str, fen: int) -> None:
        takes: Amounts = {("available", payer): fen, ("order", order_no): 1}
        if self.ask(prepay(payer, order_no, fen), takes, {("escrow", payer, order_no): fen}):
            self.prepaid.append((payer, order_no))

    @precondition(lambda self: self.prepaid)
    @rule(index=chosen, payee=members, fen=parts)
    def confirms(self, index: int, payee: SubAccount, fen: int) -> None:
        payer, order_no = self.prepaid[index % len(self.prepaid)]
        takes: Amounts = {("escrow", payer, order_no): fen}
        self.ask(confirm(SubAccount(payer), payee, order_no, fen), takes, {("available", payee): fen})

    @precondition(lambda self: self.prepaid)
    @rule(index=chosen, fen=parts)
    def cancels(self, index: int, fen: int) -> None:
        payer, order_no = self.prepaid[index % len(self.prepaid)]
        self.ask(
            cancel(SubAccount(payer), order_no, fen), {("escrow", payer, order_no): fen}, {("available", payer): fen}
        )

    @rule(member=members, order_no=orders, fen=amounts)
    def freezes(self, member: SubAccount, order_no: str, fen: int) -> None:
        takes: Amounts = {("available", member): fen}
        self.ask(freeze(member, order_no, fen), takes, {("frozen", member, order_no): fen})

    @rule(payer=members, order_no=orders, shares=st.lists(st.tuples(members, small), min_size=1, max_size=3))
    def pays_several_out_of_frozen_money(self, payer: SubAccount, order_no: str, shares: list[tuple[str, int]]) -> None:
        pocket = frozen(payer, order_no)
        self.ask_all(
            [
                (
                    Draft(legs((pocket, OfDay(Kind.UNCLEARED, SubAccount(payee)), fen))),
                    {("frozen", payer, order_no): fen},
                    {("available", payee): fen},
                )
                for payee, fen in shares
            ]
        )

    @rule(fen=amounts)
    def a_stranger_pays_in(self, fen: int) -> None:
        self.transfers.append(self.serial())
        self.ledger.judge(opening(enter=[money(suspense(BankSerial(self.transfers[-1])), fen)]))
        self.have["suspense", self.transfers[-1]] += fen

    @precondition(lambda self: self.transfers)
    @rule(index=chosen, member=members, fen=amounts, fee=fees)
    def clears_suspense(self, index: int, member: SubAccount, fen: int, fee: int) -> None:
        if fee > fen:
            return
        transfer, serial = self.transfers[index % len(self.transfers)], self.serial()
        draft = Draft(
            legs(
                (LIMITS, undoable(Serial(serial)), fen),
                (LIMITS, undoable_fee(Serial(serial)), fee),
                (suspense(BankSerial(transfer)), withdrawable(member), fen - fee),
                (suspense(BankSerial(transfer)), FEE, fee),
            )
        )
        gives: Amounts = {("withdrawable", member): fen - fee, ("undo", serial): fen, ("undo fee", serial): fee}
        if self.ask(draft, {("suspense", transfer): fen}, gives):
            self.clearings[serial] = (transfer, member)

    @precondition(lambda self: self.clearings)
    @rule(index=chosen, fen=parts, fee=fees)
    def undoes_a_clearing_of_suspense(self, index: int, fen: int, fee: int) -> None:
        if fee > fen:
            return
        serial = list(self.clearings)[index % len(self.clearings)]
        transfer, member = self.clearings[serial]
        draft = Draft(
            legs(
                (undoable(Serial(serial)), LIMITS, fen),
                (undoable_fee(Serial(serial)), LIMITS, fee),
                (FEE, suspense(BankSerial(transfer)), fee),
                (withdrawable(SubAccount(member)), suspense(BankSerial(transfer)), fen - fee),
            )
        )
        takes: Amounts = {("undo", serial): fen, ("undo fee", serial): fee, ("withdrawable", member): fen - fee}
        self.ask(draft, takes, {("suspense", transfer): fen})

    @rule(member=members, fen=amounts, fee=fees)
    def withdraws(self, member: SubAccount, fen: int, fee: int) -> None:
        draft = Draft(legs((withdrawable(member), WITHDRAWING, fen), (withdrawable(member), FEE, fee)))
        then = Draft((Leg(WITHDRAWING, POOLED, fen),))
        self.ask(draft, {("withdrawable", member): fen + fee}, {}, then=(then,))

    # What becomes of it.

    def carry_on(self, one: Pending, change: Change, day: date = DAY, **step: Any) -> Operation:
        """A step of an operation, which finds its work done when it comes again."""
        carried = Step(operation=one.operation, change=change, bank_day=day, **step)
        outcome = self.ledger.judge(carried)
        assert (outcome.did, outcome.operation.state) == (True, change.state)
        if change.state.is_final:
            before = standing(self.ledger.book)
            for word in (carried, dataclasses.replace(carried, change=Change(state=State.REFUSED), post={})):
                assert not self.ledger.judge(word).did
            assert standing(self.ledger.book) == before
        return outcome.operation

    @precondition(lambda self: self.pending)
    @rule(index=chosen, day=days, only_one=st.booleans())
    def the_bank_has_acted(self, index: int, day: date, only_one: bool) -> None:
        self.acts(self.pending.pop(index % len(self.pending)), day, only_one=only_one)

    def acts(self, one: Pending, day: date, *, only_one: bool = False) -> None:
        """The bank's word for an operation, or for its first part only."""
        numbers = list(one.parts)[:1] if only_one else list(one.parts)
        posted = {number: one.parts.pop(number) for number in numbers}
        post = {number: draft for number, (draft, _, _) in posted.items()}
        if one.then:
            # Taken on, with its end to come.
            self.carry_on(one, Change(state=State.ACCEPTED, next_ask_in_s=60.0), day, post=post, pend=one.then)
            one.parts = posted
            self.accepted.append(one)
        elif one.parts:
            one.some_done = True
            self.carry_on(one, Change(state=State.UNKNOWN, next_ask_in_s=60.0), day, post=post)
            self.pending.append(one)
        else:
            self.carry_on(one, Change(state=State.DONE), day, post=post)
        for _, _, gives in posted.values():
            self.arrive(gives, day)

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def the_bank_has_refused(self, index: int) -> None:
        one = self.pending.pop(index % len(self.pending))
        state = State.DONE if one.some_done else State.REFUSED
        self.carry_on(one, Change(state=state), void=tuple(one.parts))
        self.give_back(one)

    @precondition(lambda self: self.accepted)
    @rule(index=chosen, is_done=st.booleans())
    def what_was_accepted_ends(self, index: int, is_done: bool) -> None:
        one = self.accepted.pop(index % len(self.accepted))
        ((first, (draft, _, _)),) = one.parts.items()
        if is_done:
            self.carry_on(one, Change(state=State.DONE), post={first + 1: one.then[0]})
        else:
            undo = reverse(draft, first)
            self.carry_on(one, Change(state=State.REFUSED), void=(first + 1,), enter=(undo,))
            self.give_back(one)

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def a_call_never_left(self, index: int) -> None:
        one = self.pending[index % len(self.pending)]
        if not one.some_done:
            self.pending.remove(one)
            self.carry_on(one, Change(state=State.RELEASED), void=tuple(one.parts))
            self.give_back(one)
            self.released.append(one)

    @precondition(lambda self: self.released)
    @rule(index=chosen)
    def what_never_left_is_tried_again(self, index: int) -> None:
        one = self.released.pop(index % len(self.released))
        self.begin(Pending(again(one.step), one.operation, asked=one.asked, then=one.then))

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def an_answer_is_lost(self, index: int) -> None:
        self.carry_on(self.pending[index % len(self.pending)], Change(state=State.UNKNOWN, next_ask_in_s=60.0))

    @precondition(lambda self: self.pending)
    @rule(index=chosen)
    def a_step_is_run_again(self, index: int) -> None:
        step, before = self.pending[index % len(self.pending)].step, standing(self.ledger.book)
        # A commit that was not heard of, and a caller who repeats himself.
        self.ledger.judge(step)
        assert not self.ledger.judge(again(step)).did
        assert standing(self.ledger.book) == before

    @rule(day=days)
    def a_day_is_cleared(self, day: date) -> None:
        if day not in self.cleared:
            self.cleared.add(day)
            self.ledger.judge(clearing(day))

    def give_back(self, one: Pending) -> None:
        """What was taken is where it came from, or withdrawable if its day was cleared meanwhile."""
        for _, taken, _ in one.parts.values():
            for key, fen in taken.items():
                kind, *of = key
                swept = kind == "waiting" and self.is_cleared(date.fromisoformat(of[1]))
                self.have[("withdrawable", of[0]) if swept else key] += fen
        one.parts = {}

    @invariant()
    def the_books_are_whole(self) -> None:
        book, rows = self.ledger.book, self.ledger.rows
        assert_whole(book)
        assert sum(balance.balance_fen for balance in book.balances.values()) == 0
        resolved = {(operation_id, part) for operation_id, part, *_ in rows.resolutions}
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
            if name := COUNTED.get(account.kind):
                spendable[name, *filter(None, (account.owner, account.ref))] += balance.remaining_fen
        counted = Counter({key: fen for key, fen in self.have.items() if key[0] != "order"})
        assert +spendable == +counted


COUNTED = {
    Kind.WITHDRAWABLE: "withdrawable",
    Kind.UNCLEARED: "waiting",
    Kind.FROZEN: "frozen",
    Kind.ESCROW: "escrow",
    Kind.REFUNDABLE: "refund",
    Kind.REFUNDABLE_FEE: "refund fee",
    Kind.REVOCABLE: "revoke",
    Kind.REVOCABLE_FEE: "revoke fee",
    Kind.SUSPENSE: "suspense",
    Kind.UNDOABLE: "undo",
    Kind.UNDOABLE_FEE: "undo fee",
    Kind.OWN_FUNDS: "own funds",
}
"""What can be spent, or given back, by the kind of its account."""


class WithdrawableFirst(Marketplace):
    """The same for a platform that spends withdrawable money first."""

    spend_order: ClassVar[SpendOrder] = "withdrawable_first"


TestMarketplace = Marketplace.TestCase
TestMarketplace.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestWithdrawableFirst = WithdrawableFirst.TestCase
TestWithdrawableFirst.settings = settings(max_examples=30, stateful_step_count=60, deadline=None)

"""The rules about money, one by one, and all of them against a model that counts single fen."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import (
    Account,
    Available,
    Draft,
    FloorBroken,
    Kind,
    LedgerCorrupt,
    Leg,
    OfDay,
    SpendOrder,
    draft_from_json,
    draft_to_json,
    reverse,
    rules,
)
from ledger.accounts import (
    FEE,
    LIMITS,
    POOLED,
    escrow,
    frozen,
    order,
    refundable,
    refundable_fee,
    uncleared,
    withdrawable,
)
from ledger.errors import Breach
from ledger.names import NO_MEMBER_CODE, MemberCode, Serial, SubAccount
from ledger.rules import AMOUNT_MAX_FEN, Balance, Book, Hold, Posting, Source, Target
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    assert_whole,
    book_of,
    cancel,
    confirm,
    freeze,
    pay,
    pay_today,
    prepay,
    refund,
    standing,
    top_up,
)


def breach_of(book: Book, *drafts: Draft) -> Breach:
    """The floor that these drafts would break; the book stays as it was."""
    before = standing(book)
    with pytest.raises(FloorBroken) as refusal:
        rules.reserve(book, drafts)
    assert standing(book) == before
    return refusal.value.breach


def carry_out(book: Book, draft: Draft, bank_day: date = DAY) -> None:
    rules.enter(book, draft, bank_day)


def test_a_member_cannot_spend_a_fen_more_than_he_has() -> None:
    book = book_of({withdrawable(ANN): 60, uncleared(ANN, DAY): 40})
    assert breach_of(book, pay(ANN, BOB, 101)) == Breach("available", ANN, "", needed_fen=101, left_fen=100)
    carry_out(book, pay(ANN, BOB, 100))
    assert standing(book) == {uncleared(BOB, DAY).name: (100, 0)}


def test_what_is_held_is_gone_for_everybody_else() -> None:
    book = book_of({withdrawable(ANN): 100})
    rules.reserve(book, [pay(ANN, BOB, 70)])
    assert breach_of(book, pay(ANN, CAT, 31)) == Breach("available", ANN, "", needed_fen=31, left_fen=30)
    assert breach_of(book, pay_today(ANN, CAT, 31)) == Breach("withdrawable", ANN, "", needed_fen=31, left_fen=30)


def test_waiting_money_is_spent_first_and_the_oldest_day_before_others() -> None:
    book = book_of({withdrawable(ANN): 50, uncleared(ANN, DAY): 20, uncleared(ANN, DAY_BEFORE): 10})
    ((*holds,),) = rules.reserve(book, [pay(ANN, BOB, 60)])
    assert holds == [Hold(uncleared(ANN, DAY_BEFORE), 10), Hold(uncleared(ANN, DAY), 20), Hold(withdrawable(ANN), 30)]


def test_a_platform_may_spend_withdrawable_money_first() -> None:
    book = book_of({uncleared(ANN, DAY): 20, withdrawable(ANN): 50}, spend_order="withdrawable_first")
    ((*holds,),) = rules.reserve(book, [pay(ANN, BOB, 60)])
    assert holds == [Hold(withdrawable(ANN), 50), Hold(uncleared(ANN, DAY), 10)]


def test_waiting_money_cannot_be_paid_on_the_same_day() -> None:
    book = book_of({withdrawable(ANN): 10, uncleared(ANN, DAY): 90})
    assert breach_of(book, pay_today(ANN, BOB, 11)) == Breach("withdrawable", ANN, "", needed_fen=11, left_fen=10)


def test_a_refusal_names_the_whole_demand_of_the_step() -> None:
    book = book_of({withdrawable(ANN): 100})
    assert breach_of(book, pay(ANN, BOB, 60, 10), pay(ANN, CAT, 50)).needed_fen == 110


def test_available_and_withdrawable_of_one_member_are_not_spent_twice() -> None:
    book = book_of({withdrawable(ANN): 100})
    assert breach_of(book, pay_today(ANN, BOB, 60), pay(ANN, CAT, 60)).left_fen == 40


def test_all_drafts_of_a_step_are_reserved_or_none() -> None:
    book = book_of({withdrawable(ANN): 100})
    breach_of(book, pay(ANN, BOB, 100), pay(BOB, CAT, 1))


def test_money_that_is_only_promised_cannot_be_spent() -> None:
    book = book_of({withdrawable(ANN): 100})
    rules.reserve(book, [pay(ANN, BOB, 100)])
    assert breach_of(book, pay(BOB, CAT, 1)).left_fen == 0


def test_net_and_fee_make_gross() -> None:
    book = book_of({withdrawable(ANN): 100})
    carry_out(book, pay(ANN, BOB, 100, 7))
    assert standing(book) == {uncleared(BOB, DAY).name: (93, 0), FEE.name: (7, 0)}


def test_a_pending_transaction_moves_nothing() -> None:
    book = book_of({withdrawable(ANN): 100})
    rules.reserve(book, [pay(ANN, BOB, 70, 7)])
    assert standing(book) == {withdrawable(ANN).name: (100, 70)}


def test_voiding_lets_everything_go() -> None:
    book = book_of({withdrawable(ANN): 100, uncleared(ANN, DAY): 5})
    before = standing(book)
    (holds,) = rules.reserve(book, [pay(ANN, BOB, 70)])
    rules.void(book, holds)
    assert standing(book) == before


def test_the_bank_day_of_the_booking_decides_where_money_waits() -> None:
    book = book_of({withdrawable(ANN): 100})
    draft = pay(ANN, BOB, 70)
    (holds,) = rules.reserve(book, [draft])
    rules.post(book, draft, holds, DAY_AFTER)
    assert standing(book)[uncleared(BOB, DAY_AFTER).name] == (70, 0)


def test_money_booked_on_a_cleared_day_is_withdrawable_at_once() -> None:
    book = book_of({withdrawable(ANN): 100}, cleared_through=DAY)
    carry_out(book, pay(ANN, BOB, 70), DAY_BEFORE)
    carry_out(book, pay(ANN, BOB, 20), DAY)
    carry_out(book, pay(ANN, BOB, 10), DAY_AFTER)
    assert standing(book) == {withdrawable(BOB).name: (90, 0), uncleared(BOB, DAY_AFTER).name: (10, 0)}


def test_held_money_whose_day_was_cleared_becomes_withdrawable_when_it_is_let_go() -> None:
    book = book_of({uncleared(ANN, DAY): 70, withdrawable(ANN): 30})
    (holds,) = rules.reserve(book, [pay(ANN, BOB, 100)])
    book.cleared_through = DAY
    rules.void(book, holds)
    swept = rules.sweep(book, holds)
    assert swept == Draft((Leg(uncleared(ANN, DAY), withdrawable(ANN), 70),))
    carry_out(book, swept)
    assert standing(book) == {withdrawable(ANN).name: (100, 0)}


def test_held_money_whose_day_still_waits_goes_on_waiting() -> None:
    book = book_of({uncleared(ANN, DAY): 70}, cleared_through=DAY_BEFORE)
    (holds,) = rules.reserve(book, [pay(ANN, BOB, 70)])
    rules.void(book, holds)
    assert rules.sweep(book, holds) is None


def test_an_order_number_is_used_once_unless_its_payment_fails() -> None:
    book = book_of({withdrawable(ANN): 100})
    (holds,) = rules.reserve(book, [prepay(ANN, "O1", 10)])
    assert breach_of(book, prepay(ANN, "O1", 10)).pocket == "order"
    rules.void(book, holds)
    carry_out(book, prepay(ANN, "O1", 10))
    assert breach_of(book, prepay(ANN, "O1", 10)) == Breach("order", "", "O1", needed_fen=1, left_fen=0)


def test_an_order_cannot_be_confirmed_beyond_what_is_in_escrow() -> None:
    book = book_of({withdrawable(ANN): 100})
    carry_out(book, prepay(ANN, "O1", 40))
    carry_out(book, confirm(ANN, BOB, "O1", 30))
    assert breach_of(book, confirm(ANN, BOB, "O1", 11)) == Breach("escrow", ANN, "O1", needed_fen=11, left_fen=10)
    carry_out(book, cancel(ANN, "O1", 10))
    assert breach_of(book, confirm(ANN, BOB, "O1", 1)).left_fen == 0


def test_frozen_money_of_one_order_does_not_pay_another() -> None:
    book = book_of({withdrawable(ANN): 100})
    carry_out(book, freeze(ANN, "F1", 60))
    payment = Draft((Leg(frozen(ANN, "F2"), withdrawable(BOB), 1),))
    assert breach_of(book, payment) == Breach("frozen", ANN, "F2", needed_fen=1, left_fen=0)


def test_a_second_refund_cannot_exceed_what_is_left_while_the_first_is_pending() -> None:
    book = book_of({withdrawable(ANN): 100, withdrawable(BOB): 500})
    carry_out(book, pay(ANN, BOB, 100, serial=Serial("S1")))
    rules.reserve(book, [refund(Serial("S1"), ANN, BOB, 60)])
    assert breach_of(book, refund(Serial("S1"), ANN, BOB, 41)) == Breach(
        "refundable", "", "S1", needed_fen=41, left_fen=40
    )


def test_a_fee_is_refunded_up_to_the_fee_even_where_the_amount_would_allow_more() -> None:
    book = book_of({withdrawable(ANN): 100})
    carry_out(book, pay(ANN, BOB, 100, 5, serial=Serial("S1")))
    assert breach_of(book, refund(Serial("S1"), ANN, BOB, 20, 6)).pocket == "refundable-fee"
    carry_out(book, refund(Serial("S1"), ANN, BOB, 20, 5))
    assert breach_of(book, refund(Serial("S1"), ANN, BOB, 20, 1)).left_fen == 0


def test_what_channels_owe_and_what_the_platform_earns_has_no_floor() -> None:
    book = Book()
    carry_out(book, top_up(ANN, 100, 4))
    carry_out(book, Draft((Leg(FEE, withdrawable(BOB), 50),)))
    assert standing(book)[f"in-transit:{DAY:%Y%m%d}"] == (-100, 0)
    assert standing(book)["fee"] == (-46, 0)


def test_the_longest_amount_of_the_bank_fits_and_one_fen_more_than_the_bound_does_not() -> None:
    assert AMOUNT_MAX_FEN == 1_000_000_000_000_000
    # 13 digits and two decimals.
    for fen in (1, 999_999_999_999_999, 1_000_000_000_000_000):
        assert Leg(POOLED, FEE, fen).amount_fen == fen
    for fen in (0, 1_000_000_000_000_001):
        with pytest.raises(ValueError, match="a leg moves 1 to 1000000000000000 fen"):
            Leg(POOLED, FEE, fen)


@pytest.mark.parametrize("fen", [0, -1, AMOUNT_MAX_FEN + 1])
def test_a_leg_moves_a_positive_amount_within_the_banks_longest(fen: int) -> None:
    with pytest.raises(ValueError, match="a leg moves"):
        Leg(POOLED, FEE, fen)


def test_a_debit_that_has_a_floor_must_be_known_when_it_is_reserved() -> None:
    with pytest.raises(ValueError, match="waiting has a floor"):
        Leg(OfDay(Kind.UNCLEARED, ANN), FEE, 1)


def test_a_need_is_met_by_a_single_unit_that_is_left_and_takes_nothing() -> None:
    book = book_of({withdrawable(ANN): 1})
    rules.require(book, [withdrawable(ANN), order("O1")])
    assert standing(book) == {withdrawable(ANN).name: (1, 0)}
    rules.reserve(book, [pay(ANN, BOB, 1)])
    for account, breach in (
        (withdrawable(ANN), Breach("withdrawable", ANN, "", needed_fen=1, left_fen=0)),
        (refundable(Serial("S1")), Breach("refundable", "", "S1", needed_fen=1, left_fen=0)),
    ):
        with pytest.raises(FloorBroken) as refusal:
            rules.require(book, [order("O1"), account])
        assert refusal.value.breach == breach


def test_an_empty_pocket_holds_nothing() -> None:
    book = book_of({uncleared(ANN, DAY_BEFORE): 0, uncleared(ANN, DAY): 1, withdrawable(ANN): 50})
    ((*holds,),) = rules.reserve(book, [pay(ANN, BOB, 51)])
    assert holds == [Hold(uncleared(ANN, DAY), 1), Hold(withdrawable(ANN), 50)]


def test_what_several_legs_of_a_draft_take_of_an_account_is_one_hold() -> None:
    book = book_of({withdrawable(ANN): 100})
    draft = Draft((Leg(Available(ANN), FEE, 5), Leg(withdrawable(ANN), FEE, 6), Leg(withdrawable(ANN), POOLED, 7)))
    assert rules.reserve(book, [draft]) == [[Hold(withdrawable(ANN), 18)]]


def test_a_leg_is_posted_from_each_pocket_that_it_took_from() -> None:
    book = book_of({withdrawable(ANN): 50, uncleared(ANN, DAY): 20})
    holds, postings = rules.enter(book, pay(ANN, BOB, 60, 6), DAY_AFTER)
    assert holds == [Hold(uncleared(ANN, DAY), 20), Hold(withdrawable(ANN), 40)]
    assert postings == [
        Posting(uncleared(ANN, DAY), uncleared(BOB, DAY_AFTER), 20),
        Posting(withdrawable(ANN), uncleared(BOB, DAY_AFTER), 34),
        Posting(withdrawable(ANN), FEE, 6),
    ]


def test_named_accounts_take_their_own_before_any_pocket_gives() -> None:
    book = book_of({uncleared(ANN, DAY): 20, withdrawable(ANN): 50}, spend_order="withdrawable_first")
    draft = Draft((Leg(Available(ANN), FEE, 30), Leg(withdrawable(ANN), POOLED, 40)))
    holds, postings = rules.enter(book, draft, DAY)
    assert holds == [Hold(withdrawable(ANN), 50), Hold(uncleared(ANN, DAY), 20)]
    assert postings == [
        Posting(withdrawable(ANN), FEE, 10),
        Posting(uncleared(ANN, DAY), FEE, 20),
        Posting(withdrawable(ANN), POOLED, 40),
    ]


def test_no_member_pays_for_another_in_a_draft_of_several() -> None:
    book = book_of({withdrawable(ANN): 50, withdrawable(BOB): 50})
    draft = Draft((Leg(Available(ANN), FEE, 5), Leg(Available(BOB), POOLED, 7), Leg(Available(ANN), POOLED, 6)))
    assert rules.enter(book, draft, DAY)[1] == [
        Posting(withdrawable(ANN), FEE, 5),
        Posting(withdrawable(BOB), POOLED, 7),
        Posting(withdrawable(ANN), POOLED, 6),
    ]


def test_money_that_stays_where_it_is_has_no_posting() -> None:
    book = book_of({uncleared(ANN, DAY): 20})
    draft = Draft((Leg(Available(ANN), OfDay(Kind.UNCLEARED, ANN), 15), Leg(Available(ANN), FEE, 5)))
    assert rules.enter(book, draft, DAY)[1] == [Posting(uncleared(ANN, DAY), FEE, 5)]
    assert standing(book) == {uncleared(ANN, DAY).name: (15, 0), FEE.name: (5, 0)}


def test_the_accounts_that_a_batch_has_changed_are_known() -> None:
    book = book_of({withdrawable(ANN): 100, withdrawable(CAT): 1})
    rules.reserve(book, [pay(ANN, BOB, 10)])
    assert book.touched == {withdrawable(ANN)}
    carry_out(book, pay_today(ANN, BOB, 10))
    assert book.touched == {withdrawable(ANN), withdrawable(BOB)}


def test_an_account_that_nobody_has_loaded_is_empty_and_unknown() -> None:
    new = Book().of(withdrawable(ANN))
    assert (new.account, new.balance_fen, new.held_fen, new.remaining_fen) == (withdrawable(ANN), 0, 0, 0)
    assert (new.is_known, new.is_stored, new.written_fen, new.written_held_fen) == (False, False, 0, 0)


def test_waiting_money_is_spent_first_where_nothing_else_is_chosen() -> None:
    book = Book()
    for account in (withdrawable(ANN), uncleared(ANN, DAY)):
        book.add(Balance(account, 5))
    assert rules.reserve(book, [pay(ANN, BOB, 5)]) == [[Hold(uncleared(ANN, DAY), 5)]]


def test_an_account_that_is_loaded_again_stays_as_the_batch_has_left_it() -> None:
    book = book_of({withdrawable(ANN): 100})
    carry_out(book, pay(ANN, BOB, 30))
    book.add(Balance(withdrawable(ANN), 100))
    assert standing(book)[withdrawable(ANN).name] == (70, 0)
    assert book.available_fen(ANN) == 70


def test_a_single_fen_that_was_never_held_is_corruption() -> None:
    with pytest.raises(LedgerCorrupt, match="1 fen of withdrawable"):
        rules.post(book_of({withdrawable(ANN): 100}), pay_today(ANN, BOB, 1), [], DAY)


def test_posting_what_was_never_held_is_corruption() -> None:
    book = book_of({withdrawable(ANN): 100})
    for draft in (pay(ANN, BOB, 10), pay_today(ANN, BOB, 10)):
        with pytest.raises(LedgerCorrupt, match="never held"):
            rules.post(book, draft, [Hold(withdrawable(ANN), 9)], DAY)


def test_posting_less_than_was_held_is_corruption() -> None:
    book = book_of({withdrawable(ANN): 100})
    (holds,) = rules.reserve(book, [pay(ANN, BOB, 10)])
    with pytest.raises(LedgerCorrupt, match="no leg takes it"):
        rules.post(book, pay(ANN, BOB, 9), holds, DAY)


def test_reversing_a_posted_draft_puts_everything_back() -> None:
    book = book_of({withdrawable(ANN): 100})
    before = standing(book)
    draft = Draft(
        (Leg(withdrawable(ANN), Account(Kind.WITHDRAWING), 95), Leg(withdrawable(ANN), FEE, 5)),
        Serial("S1"),
        MemberCode("ann"),
        NO_MEMBER_CODE,
        100,
        5,
    )
    carry_out(book, draft)
    back = reverse(draft, part=1)
    assert (back.corrects, back.payee, back.amount_fen) == (1, "ann", 100)
    carry_out(book, back)
    assert standing(book) == before


@pytest.mark.parametrize(
    "leg",
    [
        Leg(Available(ANN), OfDay(Kind.UNCLEARED, BOB), 10),
        Leg(Available(ANN), withdrawable(BOB), 10),
        Leg(withdrawable(ANN), OfDay(Kind.UNCLEARED, BOB), 10),
    ],
)
def test_a_draft_whose_accounts_are_not_known_cannot_be_reversed(leg: Leg) -> None:
    with pytest.raises(ValueError, match="not concrete"):
        reverse(Draft((leg,)), part=1)


def test_what_is_reversed_goes_from_its_payee_to_its_payer_and_names_the_part_it_takes_back() -> None:
    draft = Draft(
        (Leg(withdrawable(ANN), withdrawable(BOB), 9),),
        Serial("S1"),
        MemberCode("ann"),
        MemberCode("bob"),
        9,
        2,
        None,
        "O1",
    )
    back = Draft(
        (Leg(withdrawable(BOB), withdrawable(ANN), 9),),
        payer=MemberCode("bob"),
        payee=MemberCode("ann"),
        amount_fen=9,
        corrects=4,
    )
    assert reverse(draft, part=4) == back


members = st.sampled_from([ANN, BOB])
days = st.sampled_from([DAY_BEFORE, DAY, DAY_AFTER])
sources: st.SearchStrategy[Source] = st.one_of(
    members.map(Available),
    members.map(withdrawable),
    st.builds(uncleared, members, days),
    st.builds(escrow, members, st.just("O1")),
    st.just(order("O1")),
    st.just(refundable(Serial("S1"))),
    st.just(refundable_fee(Serial("S1"))),
    st.just(FEE),
    st.just(OfDay(Kind.IN_TRANSIT)),
)
targets: st.SearchStrategy[Target] = st.one_of(
    members.map(withdrawable),
    st.builds(uncleared, members, days),
    members.map(lambda member: OfDay(Kind.UNCLEARED, member)),
    st.builds(escrow, members, st.just("O1")),
    st.just(refundable(Serial("S1"))),
    st.just(FEE),
    st.just(LIMITS),
)
drafts = st.builds(
    Draft, st.lists(st.builds(Leg, sources, targets, st.integers(1, 12)), min_size=1, max_size=4).map(tuple)
)


@given(drafts)
def test_a_draft_survives_being_stored(draft: Draft) -> None:
    assert draft_from_json(draft_to_json(draft)) == draft


def test_a_draft_is_stored_as_every_process_reads_it() -> None:
    draft = Draft(
        (
            Leg(Available(ANN), OfDay(Kind.UNCLEARED, BOB), 9),
            Leg(escrow(ANN, "O1"), FEE, 1),
        ),
        Serial("S1"),
        MemberCode("ann"),
        MemberCode("bob"),
        10,
        1,
        2,
        "O7",
    )
    stored = {
        "legs": [
            [["available", ANN], ["of-day", "waiting", BOB], 9],
            [["account", "escrow", ANN, "O1"], ["account", "fee", "", ""], 1],
        ],
        "serial": "S1",
        "payer": "ann",
        "payee": "bob",
        "amount_fen": 10,
        "fee_fen": 1,
        "corrects": 2,
        "order_no": "O7",
    }
    assert draft_to_json(draft) == stored
    assert draft_from_json(stored) == draft


def test_a_draft_of_nothing_but_legs_is_stored_without_an_order() -> None:
    stored = {"serial": "", "payer": "", "payee": "", "amount_fen": 0, "fee_fen": 0, "corrects": None}
    assert draft_to_json(Draft(())) == {"legs": [], **stored}
    assert draft_from_json({"legs": [], **stored}) == Draft(())


def test_a_stored_leg_that_credits_whichever_pocket_is_corruption() -> None:
    with pytest.raises(LedgerCorrupt, match="credits an Available"):
        draft_from_json({"legs": [[["account", "fee", "", ""], ["available", ANN], 1]]})


@pytest.mark.parametrize("side", [["nowhere", "1001"], ["account", "fee"], []])
def test_a_stored_side_that_nobody_wrote_is_corruption(side: list[str]) -> None:
    value = {**draft_to_json(pay(ANN, BOB, 1)), "legs": [[side, ["account", "fee", "", ""], 1]]}
    with pytest.raises(LedgerCorrupt):
        draft_from_json(value)


@dataclass
class FenByFen:
    """The rules again, as slow and as plain as can be: every fen is taken on its own from the first that has one."""

    order: SpendOrder
    balance: Counter[Account] = field(default_factory=Counter)
    held: Counter[Account] = field(default_factory=Counter)
    cleared: date = date.min

    def remaining(self, account: Account) -> int:
        return self.balance[account] - self.held[account] - (account.floor or 0)

    def pockets(self, member: SubAccount) -> list[Account]:
        lots = [uncleared(member, day) for day in (DAY_BEFORE, DAY, DAY_AFTER)]
        return [*lots, withdrawable(member)] if self.order == "waiting_first" else [withdrawable(member), *lots]

    def reserve(self, draft: Draft) -> Counter[Account] | None:
        """What is held for the draft, or None when a fen is missing."""
        wanted = Counter[Source]()
        for leg in draft.legs:
            wanted[leg.debit] += leg.amount_fen
        taken = Counter[Account]()
        # What names its account comes first; whoever takes from any pocket takes from what is left.
        for source, fen in sorted(wanted.items(), key=lambda one: isinstance(one[0], Available)):
            if isinstance(source, OfDay):
                continue
            choice = self.pockets(source.sub_account) if isinstance(source, Available) else [source]
            if choice[0].floor is None:
                continue
            for _ in range(fen):
                giver = next((account for account in choice if self.remaining(account) > 0), None)
                if giver is None:
                    self.held -= taken
                    return None
                self.held[giver] += 1
                taken[giver] += 1
        return taken

    def void(self, taken: Counter[Account]) -> None:
        self.held -= taken
        for account, fen in taken.items():
            if account.kind is Kind.UNCLEARED and account.day <= self.cleared:
                self.balance[account] -= fen
                self.balance[withdrawable(account.owner)] += fen

    def post(self, draft: Draft, taken: Counter[Account], bank_day: date) -> None:
        self.held -= taken
        self.balance.subtract(taken)
        for leg in draft.legs:
            if isinstance(leg.debit, OfDay):
                self.balance[leg.debit.on(bank_day)] -= leg.amount_fen
            elif isinstance(leg.debit, Account) and leg.debit.floor is None:
                self.balance[leg.debit] -= leg.amount_fen
            credit = leg.credit.on(bank_day) if isinstance(leg.credit, OfDay) else leg.credit
            if credit.kind is Kind.UNCLEARED and credit.day <= self.cleared:
                credit = withdrawable(credit.owner)
            self.balance[credit] += leg.amount_fen

    def standing(self) -> dict[str, tuple[int, int]]:
        names = {*self.balance, *self.held}
        return {a.name: (self.balance[a], self.held[a]) for a in names if self.balance[a] or self.held[a]}


actions = st.one_of(
    st.tuples(st.just("reserve"), drafts),
    st.tuples(st.just("reserve"), drafts),
    st.tuples(st.just("post"), st.tuples(st.integers(0, 3), days)),
    st.tuples(st.just("void"), st.integers(0, 3)),
    st.tuples(st.just("clear"), days),
    st.tuples(st.just("enter"), st.tuples(drafts, days)),
)


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(["waiting_first", "withdrawable_first"]),
    st.dictionaries(
        st.one_of(members.map(withdrawable), st.builds(uncleared, members, days), st.just(refundable(Serial("S1")))),
        st.integers(1, 30),
    ),
    st.lists(actions, max_size=15),
)
def test_the_rules_agree_with_a_count_of_single_fen(
    spend_order: SpendOrder, given_money: dict[Account, int], chosen: list[tuple[str, object]]
) -> None:
    book, model = book_of(given_money, spend_order=spend_order), FenByFen(spend_order, Counter(given_money))
    total = sum(given_money.values())
    pending: list[tuple[Draft, list[Hold], Counter[Account]]] = []
    for action in chosen:
        match action:
            case ("reserve", Draft() as draft):
                before, taken = copy.deepcopy(standing(book)), model.reserve(draft)
                if taken is None:
                    with pytest.raises(FloorBroken):
                        rules.reserve(book, [draft])
                    assert standing(book) == before
                else:
                    pending.append((draft, rules.reserve(book, [draft])[0], taken))
            case ("enter", (Draft() as draft, date() as day)):
                before, taken = copy.deepcopy(standing(book)), model.reserve(draft)
                if taken is None:
                    with pytest.raises(FloorBroken):
                        rules.enter(book, draft, day)
                    assert standing(book) == before
                else:
                    rules.enter(book, draft, day)
                    model.post(draft, taken, day)
            case ("post", (int() as index, date() as day)) if index < len(pending):
                draft, holds, taken = pending.pop(index)
                rules.post(book, draft, holds, day)
                model.post(draft, taken, day)
            case ("void", int() as index) if index < len(pending):
                _, holds, taken = pending.pop(index)
                rules.void(book, holds)
                if (swept := rules.sweep(book, holds)) is not None:
                    rules.enter(book, swept, DAY)
                model.void(taken)
            case ("clear", date() as day):
                book.cleared_through = max(day, book.cleared_through or date.min)
                model.cleared = max(day, model.cleared)
        assert standing(book) == model.standing()
        assert_whole(book)
        assert sum(balance_fen for balance_fen, _ in standing(book).values()) == total

"""What a plan moves in the mirror is what its message asks of the bank, for any amount and fee.

The expected effects are written down per interface as the catalogue words them, by owner and to the fen; where the
money lies in between is left to the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bankclient import to_wire, yuan
from jzb.v1 import (
    acquiring_pb2,
    batch_pb2,
    freeze_pb2,
    payment_pb2,
    refund_pb2,
    suspense_pb2,
    topup_pb2,
    verification_pb2,
    withdrawal_pb2,
)
from ledger import Account, Available, Draft, Kind, Leg, Member, OfDay, Part, PartState, Payment
from ledger.accounts import CONTROLS
from ledger.names import MemberCode, Serial, SubAccount
from service.plans import acquiring, batches, refunds, suspense
from service.plans.freezes import freeze, pay_frozen, release
from service.plans.payments import cancel_order, confirm_order, pay, prepay_order, settle_order
from service.plans.plan import Names, Plan
from service.plans.revocations import RevokedShare, revoke_split_top_up, revoke_top_up
from service.plans.topups import split_top_up, top_up
from service.plans.withdrawals import withdraw
from service.questions.acquiring import AcquiredQuery
from service.questions.shares import AcquiredShare
from tests.plans.facts import FACTS, PAYEE, PAYER, SERIALS, THIRD, operation

ORDER = "O1"
MEMBERS = {member.sub_account: member for member in (PAYER, PAYEE, THIRD)}
UNVERIFIED = verification_pb2.Verification(none=verification_pb2.NoVerification())

AMOUNT_MAX_FEN = 99_999_999_999_999
amounts = st.integers(1, AMOUNT_MAX_FEN // 4)


@st.composite
def amounts_with_fees(draw: st.DrawFn) -> tuple[int, int]:
    """An amount and a fee that is at most the amount."""
    amount_fen = draw(amounts)
    return amount_fen, draw(st.one_of(st.just(0), st.just(amount_fen), st.integers(0, amount_fen)))


def owner_of(side: Account | OfDay | Available) -> str:
    """Whose money it is: a member's sub-account, or the kind of one of the platform's accounts."""
    if isinstance(side, Available):
        return side.sub_account
    return side.owner or side.kind.value


def moved(drafts: Iterable[Draft]) -> dict[str, int]:
    """What every owner has more or less of, in fen; limits and what changes nothing left out."""
    effects: Counter[str] = Counter()
    for draft in drafts:
        for leg in draft.legs:
            if not is_limit(leg):
                effects[owner_of(leg.debit)] -= leg.amount_fen
                effects[owner_of(leg.credit)] += leg.amount_fen
    assert sum(effects.values()) == 0
    return {owner: fen for owner, fen in effects.items() if fen}


def is_limit(leg: Leg) -> bool:
    sides = [side.kind for side in (leg.debit, leg.credit) if isinstance(side, Account | OfDay)]
    of_limits = [kind for kind in sides if kind in CONTROLS]
    # A limit is no money: no leg goes from one to the other.
    assert len(of_limits) in (0, 2)
    return bool(of_limits)


def refundable(plan: Plan) -> int:
    """What can be refunded once the plan is posted, in fen."""
    return sum(
        leg.amount_fen
        for draft in plan.drafts
        for leg in draft.legs
        if isinstance(leg.credit, Account) and leg.credit.kind is Kind.REFUNDABLE
    )


def pockets(plan: Plan) -> set[Any]:
    """Where the money of a plan comes from and goes to: a member's pockets by kind, or the platform's own."""
    found: set[Any] = set()
    for leg in (leg for draft in plan.drafts for leg in draft.legs if not is_limit(leg)):
        for side in (leg.debit, leg.credit):
            kind = "available" if isinstance(side, Available) else side.kind.value
            member = MEMBERS.get(SubAccount(owner_of(side)))
            found.add((kind, member) if member else kind)
    return found


def limited(plan: Plan, kind: Kind) -> int:
    """What a plan takes of a limit, in fen."""
    return sum(
        leg.amount_fen
        for draft in plan.drafts
        for leg in draft.legs
        if isinstance(leg.debit, Account) and leg.debit.kind is kind
    )


def part_of(amount_fen: int, fee_fen: int) -> Part:
    return Part(
        1,
        Serial("P1"),
        MemberCode("payer"),
        MemberCode("payee"),
        amount_fen,
        fee_fen,
        PartState.POSTED,
        date(2026, 11, 24),
        None,
    )


def said(plan: Plan) -> dict[str, Any]:
    assert all(leg.amount_fen > 0 for draft in plan.drafts for leg in draft.legs)
    wire = to_wire(plan.message)
    # Whoever the bank is told of must be open when the plan is reserved, also where nothing of it moves yet.
    assert {account.owner for account in plan.needs} >= named(wire)
    return wire


def named(value: Any) -> set[str]:
    """The members' sub-accounts in a message."""
    if isinstance(value, dict):
        return set[str]().union(*(named(one) for one in value.values()))
    if isinstance(value, list | tuple):
        return set[str]().union(*(named(one) for one in value))
    return {value} & MEMBERS.keys()


def without_zero(effects: dict[str, int]) -> dict[str, int]:
    return {owner: fen for owner, fen in effects.items() if fen}


@given(amounts_with_fees(), st.sampled_from([payment_pb2.SETTLEMENT_T0, payment_pb2.SETTLEMENT_T1]))
def test_a_payment_takes_the_amount_and_gives_what_the_fee_leaves(
    amount: tuple[int, int], settlement: payment_pb2.Settlement.ValueType
) -> None:
    fen, fee_fen = amount
    request = payment_pb2.PayRequest(
        payer_member_id="payer", payee_member_id="payee", amount_fen=fen, fee_fen=fee_fen, settlement=settlement
    )
    plan = pay(request, FACTS, SERIALS)
    if settlement == payment_pb2.SETTLEMENT_T0:
        assert pockets(plan) <= {("withdrawable", PAYER), ("withdrawable", PAYEE), "fee"}
    else:
        assert pockets(plan) <= {("available", PAYER), ("waiting", PAYEE), "fee"}
    wire = said(plan)
    assert (wire["TranAmt"], wire["TranFee"]) == (yuan(fen), yuan(fee_fen))
    assert (wire["OutSubAcctNo"], wire["InSubAcctNo"]) == (PAYER.sub_account, PAYEE.sub_account)
    assert wire["FunctionFlag"] == ("9" if settlement == payment_pb2.SETTLEMENT_T0 else "6")
    expected = {PAYER.sub_account: -fen, PAYEE.sub_account: fen - fee_fen, "fee": fee_fen}
    assert moved(plan.drafts) == without_zero(expected)
    assert refundable(plan) == fen


@given(amounts_with_fees(), st.sampled_from([Kind.UNCLEARED, Kind.WITHDRAWABLE]))
def test_an_order_is_paid_out_of_escrow_or_given_back(amount: tuple[int, int], settled: Kind) -> None:
    fen, fee_fen = amount
    prepaid = prepay_order(
        payment_pb2.PrepayOrderRequest(
            payer_member_id="payer", payee_member_id="payee", amount_fen=fen, order_no=ORDER
        ),
        FACTS,
        SERIALS,
    )
    # It stays the payer's, under the order.
    assert moved(prepaid.drafts) == {}
    assert refundable(prepaid) == 0
    confirmed = confirm_order(
        payment_pb2.ConfirmOrderRequest(order_no=ORDER, amount_fen=fen, fee_fen=fee_fen), PAYER, PAYEE, SERIALS, settled
    )
    expected = {PAYER.sub_account: -fen, PAYEE.sub_account: fen - fee_fen, "fee": fee_fen}
    assert moved(confirmed.drafts) == without_zero(expected)
    assert refundable(confirmed) == fen
    assert pockets(confirmed) <= {("escrow", PAYER), (settled.value, PAYEE), "fee"}
    cancelled = cancel_order(payment_pb2.CancelOrderRequest(order_no=ORDER, amount_fen=fen), PAYER, PAYEE, SERIALS)
    assert moved(cancelled.drafts) == {}
    settle = payment_pb2.SettleOrderRequest(
        order_no=ORDER, amount_fen=fen, fee_fen=fee_fen, end=payment_pb2.ORDER_END_CONFIRM
    )
    for_silent = settle_order(settle, PAYER, PAYEE, SERIALS, settled, Names(payer="甲", payee="乙"))
    assert moved(for_silent.drafts) == without_zero(expected)
    for plan, flag in ((prepaid, "1"), (confirmed, "2"), (cancelled, "3"), (for_silent, "2")):
        wire = said(plan)
        assert (wire["FunctionFlag"], wire["TranAmt"]) == (flag, yuan(fen))


@given(amounts_with_fees())
def test_frozen_money_stays_its_owners_until_it_is_paid(amount: tuple[int, int]) -> None:
    fen, fee_fen = amount
    frozen = freeze(freeze_pb2.FreezeRequest(member_id="payer", amount_fen=fen, order_no=ORDER), FACTS, SERIALS)
    assert (moved(frozen.drafts), said(frozen)["TranAmt"]) == ({}, yuan(fen))
    released = release(freeze_pb2.ReleaseRequest(order_no=ORDER, amount_fen=fen, fee_fen=fee_fen), PAYER, SERIALS)
    assert moved(released.drafts) == without_zero({PAYER.sub_account: -fee_fen, "fee": fee_fen})
    wire = said(released)
    assert (wire["TranAmt"], wire["TranCommission"]) == (yuan(fen), yuan(fee_fen))


@given(amounts, amounts, st.integers(0, AMOUNT_MAX_FEN // 4))
def test_what_is_paid_out_of_frozen_money_has_its_fee_on_top(first_fen: int, second_fen: int, fee_fen: int) -> None:
    request = freeze_pb2.PayFrozenRequest(
        order_no=ORDER,
        fee_on_top_fen=fee_fen,
        payees=[
            freeze_pb2.FrozenPayee(member_id="payee", amount_fen=first_fen),
            freeze_pb2.FrozenPayee(member_id="third", amount_fen=second_fen),
        ],
    )
    plan = pay_frozen(request, PAYER, FACTS, SERIALS, 0)
    whole_fen = first_fen + second_fen + fee_fen
    expected: dict[str, int] = {
        PAYER.sub_account: -whole_fen,
        PAYEE.sub_account: first_fen,
        THIRD.sub_account: second_fen,
    }
    assert moved(plan.drafts) == without_zero({**expected, "fee": fee_fen})
    assert refundable(plan) == whole_fen
    wire = said(plan)
    assert wire["Commission"] == yuan(fee_fen)
    assert [row["TranAmt"] for row in wire["TranItemArray"]] == [yuan(first_fen), yuan(second_fen)]


@given(amounts, st.integers(0, AMOUNT_MAX_FEN // 4))
def test_a_withdrawal_takes_amount_and_fee_and_its_undoing_gives_both_back(fen: int, fee_fen: int) -> None:
    request = withdrawal_pb2.WithdrawRequest(
        member_id="payer", amount_fen=fen, fee_on_top_fen=fee_fen, card_number="9999990000000000", card_holder_name="甲"
    )
    plan = withdraw(request, FACTS, SERIALS, "platform")
    taken = without_zero({PAYER.sub_account: -(fen + fee_fen), "withdrawing": fen, "fee": fee_fen})
    assert moved(plan.drafts) == taken
    assert pockets(plan) <= {("withdrawable", PAYER), "withdrawing", "fee"}
    assert moved(plan.then) == {"withdrawing": -fen, "pooled": fen}
    assert moved(plan.undo) == {owner: -moved_fen for owner, moved_fen in taken.items()}
    assert said(plan)["CashAmt"] == yuan(fen)


@given(amounts_with_fees(), amounts_with_fees(), st.sampled_from(["gross", "net"]))
def test_a_top_up_is_owed_by_its_channel_and_split_between_member_and_fee(
    first: tuple[int, int], second: tuple[int, int], reading: Any
) -> None:
    channel = topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1", transaction_no="T1")
    fen, fee_fen = first
    one = top_up(
        topup_pb2.TopUpRequest(member_id="payer", amount_fen=fen, fee_fen=fee_fen, channel=channel, order_no=ORDER),
        FACTS,
        SERIALS,
        reading,
    )
    expected = {"in-transit": -fen, PAYER.sub_account: fen - fee_fen, "fee": fee_fen}
    assert moved(one.drafts) == without_zero(expected)
    wire = said(one)
    assert wire["MemberFillAmt"] == yuan(fen if reading == "gross" else fen - fee_fen)
    assert wire["Commission"] == yuan(fee_fen)
    shares = [
        topup_pb2.TopUpShare(member_id=member_id, amount_fen=share[0], fee_fen=share[1], order_no=f"S{number}")
        for number, (member_id, share) in enumerate((("payer", first), ("payee", second)))
    ]
    split = split_top_up(topup_pb2.SplitTopUpRequest(channel=channel, order_no=ORDER, shares=shares), FACTS, SERIALS)
    assert moved(split.drafts) == without_zero(
        {
            "in-transit": -(first[0] + second[0]),
            PAYER.sub_account: first[0] - first[1],
            PAYEE.sub_account: second[0] - second[1],
            "fee": first[1] + second[1],
        }
    )
    assert said(split)["TranTotalAmt"] == yuan(first[0] + second[0])


@given(amounts_with_fees(), st.sampled_from(sorted(refunds.SOURCES)), st.integers(0, 200), st.booleans())
def test_a_refund_gives_back_what_the_payee_and_the_advance_return(
    amount: tuple[int, int], kind: str, days_ago: int, is_fee: bool
) -> None:
    fen, fee_fen = amount
    # The fee of a payment out of frozen money is a payment by itself: to nobody, and without a fee.
    payee = None if is_fee and kind == "PAY_FROZEN" else PAYEE
    fee_fen = 0 if kind == "PAY_FROZEN" else fee_fen
    payment = Payment(
        serial=Serial("P1"),
        operation=operation(kind, order_no=ORDER),
        part=part_of(fen, fee_fen),
        refundable_fen=fen,
        refundable_fee_fen=fee_fen,
    )
    plan = refunds.refund(
        refund_pb2.RefundRequest(payment_serial="P1", amount_fen=fen, fee_fen=fee_fen),
        payment,
        PAYER,
        payee,
        SERIALS,
        today=date(2026, 11, 24) + timedelta(days=days_ago),
        fee_sub_account="9930000000000003",
    )
    giver = PAYEE.sub_account if payee else "fee"
    expected = {PAYER.sub_account: fen, giver: -(fen - fee_fen), "own-funds": -fee_fen}
    assert moved(plan.drafts) == without_zero(expected)
    assert (limited(plan, Kind.REFUNDABLE), limited(plan, Kind.REFUNDABLE_FEE)) == (fen, fee_fen)
    assert pockets(plan) <= {("waiting", PAYER), ("available", PAYEE), "fee", "own-funds"}
    wire = said(plan)
    assert (wire["ReturnAmt"], wire["ReturnCommission"]) == (yuan(fen), yuan(fee_fen))
    assert ("ReservedMsg" in wire) == (days_ago >= 90)


@given(amounts_with_fees(), amounts_with_fees())
def test_a_revocation_takes_the_members_part_and_the_fee_apart(first: tuple[int, int], second: tuple[int, int]) -> None:
    fen, fee_fen = first
    top_up = operation("TOP_UP", bank_serial="B1", order_no=ORDER, keep={"channel": "0001", "channel_serial": "T1"})
    request = topup_pb2.RevokeTopUpRequest(top_up_serial=top_up.serial, amount_fen=fen, fee_fen=fee_fen)
    one = revoke_top_up(request, top_up, PAYER, SERIALS)
    assert moved(one.drafts) == without_zero({PAYER.sub_account: -(fen - fee_fen), "fee": -fee_fen, "in-transit": fen})
    assert (limited(one, Kind.REVOCABLE), limited(one, Kind.REVOCABLE_FEE)) == (fen - fee_fen, fee_fen)
    wire = said(one)
    assert (wire["ApplyCancelMemberAmt"], wire["ApplyCancelCommission"]) == (yuan(fen - fee_fen), yuan(fee_fen))
    taken = [RevokedShare(Serial("S1"), "R1", PAYER, *first), RevokedShare(Serial("S2"), "R2", THIRD, *second)]
    split = revoke_split_top_up(top_up, taken, SERIALS, "original")
    expected = {
        PAYER.sub_account: -(fen - fee_fen),
        THIRD.sub_account: -(second[0] - second[1]),
        "fee": -(fee_fen + second[1]),
        "in-transit": fen + second[0],
    }
    assert moved(split.drafts) == without_zero(expected)
    wire = said(split)
    assert wire["TotalRefundAmt"] == yuan(fen + second[0])
    asked = [(row["SubOrderMemberRefundAmt"], row["SubOrderFeeRefundAmt"]) for row in wire["TranItemArray"]]
    assert asked == [(yuan(row[0] - row[1]), yuan(row[1])) for row in (first, second)]


@given(amounts_with_fees(), amounts_with_fees(), st.sampled_from([Kind.UNCLEARED, Kind.WITHDRAWABLE]))
def test_each_row_of_a_batch_moves_what_its_own_call_would(
    first: tuple[int, int], second: tuple[int, int], settled: Kind
) -> None:
    rows = [("O1", "payee", *first), ("O2", "third", *second)]
    prepaid = batches.prepay(
        batch_pb2.BatchPrepayRequest(
            payer_member_id="payer",
            verification=UNVERIFIED,
            orders=[
                batch_pb2.OrderToPrepay(order_no=order, payee_member_id=payee, amount_fen=fen)
                for order, payee, fen, _ in rows
            ],
        ),
        FACTS,
        SERIALS,
    )
    assert moved(prepaid.drafts) == {}
    confirmed = batches.confirm(
        batch_pb2.BatchConfirmRequest(
            verification=UNVERIFIED,
            orders=[
                batch_pb2.OrderToConfirm(order_no=order, amount_fen=fen, fee_fen=fee) for order, _, fen, fee in rows
            ],
        ),
        PAYER,
        {"O1": PAYEE, "O2": THIRD},
        SERIALS,
        settled,
    )
    paid = batches.pay(
        batch_pb2.BatchPayRequest(
            payer_member_id="payer",
            verification=UNVERIFIED,
            payments=[
                batch_pb2.PaymentOfBatch(order_no=order, payee_member_id=payee, amount_fen=fen, fee_fen=fee)
                for order, payee, fen, fee in rows
            ],
        ),
        FACTS,
        SERIALS,
    )
    whole_fen = first[0] + second[0]
    expected = {
        PAYER.sub_account: -whole_fen,
        PAYEE.sub_account: first[0] - first[1],
        THIRD.sub_account: second[0] - second[1],
        "fee": first[1] + second[1],
    }
    for plan in (confirmed, paid):
        assert moved(plan.drafts) == without_zero(expected)
        assert refundable(plan) == whole_fen
    assert pockets(confirmed) <= {("escrow", PAYER), (settled.value, PAYEE), (settled.value, THIRD), "fee"}
    assert pockets(paid) <= {("available", PAYER), ("waiting", PAYEE), ("waiting", THIRD), "fee"}
    for plan, flag in ((prepaid, "1"), (confirmed, "2"), (paid, "3")):
        wire = said(plan)
        assert (wire["FunctionFlag"], wire["OrdersCount"]) == (flag, "2")
        assert [row["TranAmt"] for row in wire["TranItemArray"]] == [yuan(first[0]), yuan(second[0])]


@given(amounts_with_fees())
def test_money_of_suspense_is_withdrawable_at_once_and_goes_back_the_same_way(amount: tuple[int, int]) -> None:
    fen, fee_fen = amount
    transfer = operation("TRANSFER_IN", bank_serial="26112400001")
    request = suspense_pb2.AllocateSuspenseRequest(
        transfer_bank_serial="26112400001", member_id="payee", amount_fen=fen, fee_fen=fee_fen, order_no=ORDER
    )
    cleared = suspense.allocate_suspense(request, transfer, PAYEE, SERIALS)
    expected = without_zero({"suspense": -fen, PAYEE.sub_account: fen - fee_fen, "fee": fee_fen})
    assert moved(cleared.drafts) == expected
    assert pockets(cleared) <= {"suspense", ("withdrawable", PAYEE), "fee"}
    clearing = operation("ALLOCATE_SUSPENSE", order_no=ORDER, keep=cleared.keep)
    undone = suspense.reverse_suspense_allocation(
        suspense_pb2.ReverseSuspenseAllocationRequest(
            allocation_serial=clearing.serial, amount_fen=fen, fee_fen=fee_fen
        ),
        clearing,
        PAYEE,
        SERIALS,
    )
    assert moved(undone.drafts) == {owner: -moved_fen for owner, moved_fen in expected.items()}
    assert pockets(undone) == pockets(cleared)
    assert (limited(undone, Kind.UNDOABLE), limited(undone, Kind.UNDOABLE_FEE)) == (fen, fee_fen)
    assert (said(cleared)["SuspendAmt"], said(cleared)["TranFee"]) == (yuan(fen), yuan(fee_fen))
    assert (said(undone)["CancelAmt"], said(undone)["TranFee"]) == (yuan(fen), yuan(fee_fen))


@given(amounts_with_fees(), amounts_with_fees(), st.booleans(), st.booleans())
def test_an_acquired_order_is_owed_by_its_channel_and_moved_from_where_it_lies(
    first: tuple[int, int], second: tuple[int, int], is_frozen: bool, at_release: bool
) -> None:
    holds_fee = is_frozen and at_release
    credit = acquiring_pb2.ORDER_CREDIT_FROZEN if is_frozen else acquiring_pb2.ORDER_CREDIT_AVAILABLE
    shares = [
        acquiring_pb2.OrderShare(
            member_id=member, amount_fen=share[0], fee_fen=share[1], credit=credit, sub_order_no=number
        )
        for member, share, number in (("payee", first, "S1"), ("third", second, "S2"))
    ]
    whole_fen = first[0] + second[0]
    plan = acquiring.record_order(
        acquiring_pb2.RecordOrderRequest(
            channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD, order_no=ORDER, amount_fen=whole_fen, shares=shares
        ),
        FACTS,
        SERIALS,
        fee_at_release=at_release,
    )
    assert moved(plan.drafts) == without_zero(
        {
            "in-transit": -whole_fen,
            PAYEE.sub_account: first[0] - (0 if holds_fee else first[1]),
            THIRD.sub_account: second[0] - (0 if holds_fee else second[1]),
            "fee": 0 if holds_fee else first[1] + second[1],
        }
    )
    pocket = "frozen" if is_frozen else "waiting"
    assert pockets(plan) <= {"in-transit", (pocket, PAYEE), (pocket, THIRD), "fee"}
    assert said(plan)["Amt"] == yuan(whole_fen)
    assert isinstance(plan.query, AcquiredQuery)
    share = plan.query.shares[0]
    parked = share.booked(plan.drafts[0], None)
    assert moved([parked]) == {"in-transit": -first[0], "parking": first[0]}
    # The fee of what was parked is taken with the move; from a wrong member only the net comes back. A fee that is
    # frozen with the rest stays so.
    for payer, given_back in ((None, first[0]), (THIRD, first[0] - (0 if holds_fee else first[1]))):
        rebooked = _rebooked(share, payer, *first)
        giver = THIRD.sub_account if payer else "parking"
        fee_fen = 0 if payer or holds_fee else first[1]
        expected = {giver: -given_back, PAYEE.sub_account: given_back - fee_fen, "fee": fee_fen}
        assert moved(rebooked.drafts) == without_zero(expected)
        assert said(rebooked)["Amt"] == yuan(first[0])


def _rebooked(share: AcquiredShare, payer: Member | None, amount_fen: int, fee_fen: int) -> Plan:
    request = acquiring_pb2.RebookOrderRequest(order_no="S1", member_id="payee")
    part = part_of(amount_fen, fee_fen)
    return acquiring.rebook_order(request, "X1", "YST1", share, part, payer, PAYEE, "乙", SERIALS)

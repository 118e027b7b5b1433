"""What a plan moves in the mirror is what its message asks of the bank, for any amount and fee.

The expected effects are written down per interface as the catalogue words them, by owner and to the fen; where the
money lies in between is left to the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bankclient import to_wire, yuan
from jzb.v1 import freeze_pb2, payment_pb2, topup_pb2, withdrawal_pb2
from ledger import Account, Available, Draft, Kind, Leg, Member, OfDay
from ledger.accounts import CONTROLS
from service.plans.freezes import freeze, pay_frozen, release
from service.plans.payments import cancel_order, confirm_order, pay, prepay_order, settle_order
from service.plans.plan import Facts, Names, Plan, Serials
from service.plans.topups import split_top_up, top_up
from service.plans.withdrawals import withdraw

PAYER = Member(member_id="payer", sub_account="9930000000001000", property="00")
PAYEE = Member(member_id="payee", sub_account="9930000000001001", property="SH")
THIRD = Member(member_id="third", sub_account="9930000000001002", property="SH")
FACTS = Facts({member.member_id: member for member in (PAYER, PAYEE, THIRD)})
SERIALS = Serials("X285502611240000000001", ("26112400000000000001", "26112400000000000002"))
ORDER = "O1"

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


def said(plan: Plan) -> dict[str, Any]:
    assert all(leg.amount_fen > 0 for draft in plan.drafts for leg in draft.legs)
    return to_wire(plan.message)


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
    wire = said(plan)
    assert (wire["TranAmt"], wire["TranFee"]) == (yuan(fen), yuan(fee_fen))
    assert (wire["OutSubAcctNo"], wire["InSubAcctNo"]) == (PAYER.sub_account, PAYEE.sub_account)
    assert wire["FunctionFlag"] == ("9" if settlement == payment_pb2.SETTLEMENT_T0 else "6")
    expected = {PAYER.sub_account: -fen, PAYEE.sub_account: fen - fee_fen, "fee": fee_fen}
    assert moved(plan.drafts) == without_zero(expected)
    assert refundable(plan) == fen


@given(amounts_with_fees(), st.sampled_from([Kind.WAITING, Kind.WITHDRAWABLE]))
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
        fee_fen=fee_fen,
        payees=[
            freeze_pb2.FrozenPayee(member_id="payee", amount_fen=first_fen),
            freeze_pb2.FrozenPayee(member_id="third", amount_fen=second_fen),
        ],
    )
    plan = pay_frozen(request, PAYER, FACTS, SERIALS)
    whole_fen = first_fen + second_fen + fee_fen
    expected = {PAYER.sub_account: -whole_fen, PAYEE.sub_account: first_fen, THIRD.sub_account: second_fen}
    assert moved(plan.drafts) == without_zero({**expected, "fee": fee_fen})
    assert refundable(plan) == whole_fen
    wire = said(plan)
    assert wire["Commission"] == yuan(fee_fen)
    assert [row["TranAmt"] for row in wire["TranItemArray"]] == [yuan(first_fen), yuan(second_fen)]


@given(amounts, st.integers(0, AMOUNT_MAX_FEN // 4))
def test_a_withdrawal_takes_amount_and_fee_and_its_undoing_gives_both_back(fen: int, fee_fen: int) -> None:
    request = withdrawal_pb2.WithdrawRequest(
        member_id="payer", amount_fen=fen, fee_fen=fee_fen, card_number="9999990000000000", card_holder_name="甲"
    )
    plan = withdraw(request, FACTS, SERIALS, "platform")
    taken = without_zero({PAYER.sub_account: -(fen + fee_fen), "withdrawing": fen, "fee": fee_fen})
    assert moved(plan.drafts) == taken
    assert moved(plan.then) == {"withdrawing": -fen, "pooled": fen}
    assert moved(plan.undo) == {owner: -moved_fen for owner, moved_fen in taken.items()}
    assert said(plan)["CashAmt"] == yuan(fen)


@given(amounts_with_fees(), amounts_with_fees(), st.sampled_from(["gross", "net"]))
def test_a_top_up_is_owed_by_its_channel_and_split_between_member_and_fee(
    first: tuple[int, int], second: tuple[int, int], reading: Any
) -> None:
    channel = topup_pb2.Channel(type="0001", merchant_no="1", transaction_no="T1")
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

"""Every plan there is, made from small requests with amounts that no two of are alike, and written out as a page.

`tests/plans/plans.txt` has the pages as they must be; a reader finds there what each request says to the bank, what
it holds and moves, and how a lost answer is settled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import date
from uuid import UUID

from bankclient import to_wire
from jzb.v1 import (
    acquiring_pb2,
    batch_pb2,
    card_pb2,
    freeze_pb2,
    member_pb2,
    payment_pb2,
    refund_pb2,
    suspense_pb2,
    topup_pb2,
    verification_pb2,
    withdrawal_pb2,
)
from ledger import Account, Available, Card, CheckedBy, Draft, Kind, OfDay, Part, PartState, Payment
from ledger.names import NO_MEMBER_CODE, MemberCode, Serial
from ledger.rules import Source
from service.plans import acquiring, batches, cards, freezes, members, payments, refunds, revocations, suspense, topups
from service.plans.plan import Names, Plan
from service.plans.withdrawals import withdraw
from service.questions.acquiring import AcquiredQuery
from service.vault import Personal
from tests.plans.facts import FACTS, PAYEE, PAYER, SERIALS, THIRD, operation

NONE = verification_pb2.Verification(none=verification_pb2.NoVerification())
SMS = verification_pb2.Verification(sms=verification_pb2.SmsVerification(message_order_no="M1", code="123456"))
PASSWORD = verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature="SIGNATURE"))
NAMES = Names(payer="甲", payee="乙")
BOOKED = date(2026, 11, 24)
CARD = Card(
    card_id=UUID(int=5),
    member_id=MemberCode("payer"),
    key_id="k",
    digest=b"d",
    sealed=b"s",
    masked="0000",
    bank_type="1",
    checked_by=CheckedBy.SMS,
)
NUMBER = "9999990000000000"

Cases = Iterator[tuple[str, Plan]]


def payment_plans() -> Cases:
    """6034 with its verified twins, and 6031."""
    for settlement in (payment_pb2.SETTLEMENT_T0, payment_pb2.SETTLEMENT_T1):
        name = payment_pb2.Settlement.Name(settlement).removeprefix("SETTLEMENT_")
        for fee_fen in (0, 3_00, 100_00):
            request = payment_pb2.PayRequest(
                verification=NONE,
                payer_member_id="payer",
                payee_member_id="payee",
                amount_fen=100_00,
                fee_fen=fee_fen,
                order_no="O1" if fee_fen else "",
                remark="r" if fee_fen else "",
                settlement=settlement,
            )
            yield f"pay {name} with a fee of {fee_fen}", payments.pay(request, FACTS, SERIALS)
    for verification in (SMS, PASSWORD):
        request.verification.CopyFrom(verification)
        mode = verification.WhichOneof("method")
        yield f"pay T1 verified by {mode}", payments.pay(request, FACTS, SERIALS, NAMES)
    prepay = payment_pb2.PrepayOrderRequest(
        order_no="O1",
        amount_fen=40_00,
        verification=NONE,
        payer_member_id="payer",
        payee_member_id="payee",
        remark="r",
    )
    yield "pre-pay an order", payments.prepay_order(prepay, FACTS, SERIALS)
    confirm = payment_pb2.ConfirmOrderRequest(
        order_no="O1", amount_fen=40_00, verification=NONE, fee_fen=4_00, remark="r"
    )
    for settled in (Kind.UNCLEARED, Kind.WITHDRAWABLE):
        plan = payments.confirm_order(confirm, PAYER, PAYEE, SERIALS, settled)
        yield f"confirm an order, {settled.value} at once", plan
    cancel = payment_pb2.CancelOrderRequest(order_no="O1", amount_fen=40_00, verification=NONE, remark="r")
    yield "cancel an order", payments.cancel_order(cancel, PAYER, PAYEE, SERIALS)
    for end in (payment_pb2.ORDER_END_CONFIRM, payment_pb2.ORDER_END_CANCEL):
        confirms = end == payment_pb2.ORDER_END_CONFIRM
        settle = payment_pb2.SettleOrderRequest(
            order_no="O1", amount_fen=40_00, fee_fen=4_00 if confirms else 0, end=end, remark="r"
        )
        for settled in (Kind.UNCLEARED, Kind.WITHDRAWABLE) if confirms else (Kind.UNCLEARED,):
            plan = payments.settle_order(settle, PAYER, PAYEE, SERIALS, settled, NAMES)
            yield f"settle an order for a silent buyer, {plan.kind}, {settled.value}", plan


def freeze_plans() -> Cases:
    """6007 and 6163."""
    request = freeze_pb2.FreezeRequest(
        member_id="payer", amount_fen=50_00, order_no="F1", remark="r", verification=NONE
    )
    yield "freeze", freezes.freeze(request, FACTS, SERIALS)
    for fee_fen in (0, 5_00, 50_00):
        release = freeze_pb2.ReleaseRequest(order_no="F1", amount_fen=50_00, fee_fen=fee_fen, verification=NONE)
        yield f"release with a fee of {fee_fen}", freezes.release(release, PAYER, SERIALS)
    release.fee_fen = 0
    release.remark = "r"
    yield "release what an acquired order has frozen", freezes.release(release, PAYER, SERIALS, is_acquired=True)
    yield (
        "release what an acquired order has frozen with its fee",
        freezes.release(release, PAYER, SERIALS, is_acquired=True, order_fee_fen=6_00),
    )
    for fee_fen, order_fee_fen in ((0, 0), (5_00, 0), (0, 6_00)):
        pay = freeze_pb2.PayFrozenRequest(
            order_no="F1",
            fee_on_top_fen=fee_fen,
            verification=NONE,
            remark="r" if fee_fen else "",
            payees=[
                freeze_pb2.FrozenPayee(member_id="payee", amount_fen=30_00),
                freeze_pb2.FrozenPayee(member_id="third", amount_fen=20_00),
            ],
        )
        plan = freezes.pay_frozen(pay, PAYER, FACTS, SERIALS, order_fee_fen)
        yield f"pay frozen money with a fee of {fee_fen}, {order_fee_fen} of the order", plan


def top_up_plans() -> Cases:
    """6129, 6216, 6130, 6217."""
    channel = topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="M1", transaction_no="T1")
    for reading in ("gross", "net"):
        for fee_fen in (0, 2_00, 70_00) if reading == "gross" else (2_00,):
            request = topup_pb2.TopUpRequest(
                member_id="payer",
                amount_fen=70_00,
                fee_fen=fee_fen,
                channel=channel,
                order_no="T-O1",
                remark="r" if fee_fen else "",
            )
            plan = topups.top_up(request, FACTS, SERIALS, reading)
            yield f"top up with a fee of {fee_fen}, told {reading}", plan
    plan = topups.top_up(request, FACTS, SERIALS, "net", {"T-O2": 7})
    yield "top up that takes of another order's number", plan
    shares = [
        topup_pb2.TopUpShare(member_id="payer", amount_fen=30_00, fee_fen=1_00, order_no="S1", remark="r"),
        topup_pb2.TopUpShare(member_id="payee", amount_fen=20_00, order_no="S2"),
    ]
    split = topup_pb2.SplitTopUpRequest(channel=channel, order_no="T-O1", shares=shares)
    yield "split a top-up", topups.split_top_up(split, FACTS, SERIALS)
    shares[0].fee_fen = shares[0].amount_fen
    split = topup_pb2.SplitTopUpRequest(channel=channel, order_no="T-O1", shares=shares)
    yield "split a top-up, one share all fee", topups.split_top_up(split, FACTS, SERIALS)
    kept = operation("TOP_UP", bank_serial="B1", order_no="T-O1", keep={"channel": "0001", "channel_serial": "T1"})
    for fee_fen in (0, 1_00, 30_00):
        revoke = topup_pb2.RevokeTopUpRequest(
            top_up_serial=kept.serial, amount_fen=30_00, fee_fen=fee_fen, remark="r" if fee_fen else ""
        )
        yield f"revoke a top-up with {fee_fen} of its fee", revocations.revoke_top_up(revoke, kept, PAYER, SERIALS)
    taken = [
        revocations.RevokedShare(Serial("P1"), "S1", PAYER, 30_00, 1_00),
        revocations.RevokedShare(Serial("P2"), "S2", THIRD, 20_00, 0),
    ]
    for order in ("original", "new"):
        plan = revocations.revoke_split_top_up(kept, taken, SERIALS, order)
        yield f"revoke a split top-up, order numbers {order}", plan
    all_fee = [revocations.RevokedShare(Serial("P1"), "S1", PAYER, 30_00, 30_00), taken[1]]
    plan = revocations.revoke_split_top_up(kept, all_fee, SERIALS, "original")
    yield "revoke a split top-up, one share all fee", plan


def refund_plans() -> Cases:
    """6164 of every source, on both sides of the three months."""
    for kind in sorted(refunds.SOURCES):
        yield f"refund a {kind}", _refund(kind, 20_00, 0 if kind == "PAY_FROZEN" else 2_00, BOOKED)
    yield "refund the whole fee by itself", _refund("PAY_FROZEN", 20_00, 0, BOOKED, is_fee=True)
    yield "refund nothing but the fee", _refund("PAY_T1", 2_00, 2_00, BOOKED)
    yield "refund on the 89th day", _refund("PAY_T1", 20_00, 0, date(2027, 2, 21))
    yield "refund on the 90th day", _refund("PAY_T1", 20_00, 0, date(2027, 2, 22))


def _refund(kind: str, amount_fen: int, fee_fen: int, today: date, *, is_fee: bool = False) -> Plan:
    part = Part(1, Serial("P1"), MemberCode("payer"), MemberCode("payee"), 90_00, 9_00, PartState.POSTED, BOOKED, None)
    if kind.startswith("BATCH"):
        part = part._replace(order_no="ROW-O1")
    return refunds.refund(
        refund_pb2.RefundRequest(
            payment_serial="P1", amount_fen=amount_fen, fee_fen=fee_fen, remark="r" if fee_fen else ""
        ),
        Payment(
            serial=Serial("P1"),
            operation=operation(kind, order_no="" if fee_fen == amount_fen else "O1"),
            part=part,
            refundable_fen=90_00,
            refundable_fee_fen=9_00,
        ),
        PAYER,
        None if is_fee else PAYEE,
        SERIALS,
        today=today,
        fee_sub_account="9930000000000003",
    )


def batch_plans() -> Cases:
    """6052 with its verified twins."""
    for verification in (NONE, SMS, PASSWORD):
        mode = verification.WhichOneof("method")
        prepay = batch_pb2.BatchPrepayRequest(
            payer_member_id="payer",
            verification=verification,
            orders=[
                batch_pb2.OrderToPrepay(order_no="O1", payee_member_id="payee", amount_fen=30_00, remark="r"),
                batch_pb2.OrderToPrepay(order_no="O2", payee_member_id="third", amount_fen=20_00),
            ],
        )
        yield f"pre-pay a batch, {mode}", batches.prepay(prepay, FACTS, SERIALS)
    for settled in (Kind.UNCLEARED, Kind.WITHDRAWABLE):
        confirm = batch_pb2.BatchConfirmRequest(
            verification=NONE,
            orders=[
                batch_pb2.OrderToConfirm(order_no="O1", amount_fen=30_00, fee_fen=3_00, remark="r"),
                batch_pb2.OrderToConfirm(order_no="O2", amount_fen=20_00),
            ],
        )
        plan = batches.confirm(confirm, PAYER, {"O1": PAYEE, "O2": THIRD}, SERIALS, settled)
        yield f"confirm a batch, {settled.value} at once", plan
    pay = batch_pb2.BatchPayRequest(
        payer_member_id="payer",
        verification=NONE,
        payments=[
            batch_pb2.PaymentOfBatch(
                order_no="O1", payee_member_id="payee", amount_fen=30_00, fee_fen=3_00, remark="r"
            ),
            batch_pb2.PaymentOfBatch(order_no="O2", payee_member_id="third", amount_fen=20_00),
        ],
    )
    yield "pay a batch", batches.pay(pay, FACTS, SERIALS)


def suspense_plans() -> Cases:
    """6139 and 6140."""
    transfer = operation("TRANSFER_IN", bank_serial="26112400001")
    for fee_fen in (0, 2_00, 20_00):
        request = suspense_pb2.AllocateSuspenseRequest(
            transfer_bank_serial="26112400001",
            member_id="payee",
            amount_fen=20_00,
            fee_fen=fee_fen,
            order_no="C1",
            remark="r" if fee_fen else "",
        )
        cleared = suspense.allocate_suspense(request, transfer, PAYEE, SERIALS)
        yield f"clear suspense with a fee of {fee_fen}", cleared
        undo = suspense_pb2.ReverseSuspenseAllocationRequest(
            allocation_serial="X1", amount_fen=20_00, fee_fen=fee_fen, remark="r" if fee_fen else ""
        )
        clearing = operation("ALLOCATE_SUSPENSE", order_no="C1", keep=cleared.keep)
        yield f"undo it with {fee_fen} of the fee", suspense.reverse_suspense_allocation(undo, clearing, PAYEE, SERIALS)


def acquiring_plans() -> Cases:
    """6147 and 6145."""
    for channel in acquiring.CHANNELS:
        name = acquiring_pb2.AcquiringChannel.Name(channel).removeprefix("ACQUIRING_CHANNEL_")
        for credit, at_release in (
            (acquiring_pb2.ORDER_CREDIT_AVAILABLE, True),
            (acquiring_pb2.ORDER_CREDIT_FROZEN, False),
            (acquiring_pb2.ORDER_CREDIT_FROZEN, True),
        ):
            shares = [
                acquiring_pb2.OrderShare(
                    member_id="payee", amount_fen=30_00, fee_fen=3_00, credit=credit, sub_order_no="S1"
                ),
                acquiring_pb2.OrderShare(member_id="third", amount_fen=20_00, credit=credit, sub_order_no="S2"),
            ]
            if channel != acquiring_pb2.ACQUIRING_CHANNEL_CLOUD and at_release:
                continue
            how = f"{acquiring_pb2.OrderCredit.Name(credit)}, fee at release {at_release}"
            request = acquiring_pb2.RecordOrderRequest(channel=channel, order_no="O1", amount_fen=50_00, shares=shares)
            plan = acquiring.record_order(request, FACTS, SERIALS, fee_at_release=at_release)
            yield f"record an order of {name} in two shares, {how}", plan
            request = acquiring_pb2.RecordOrderRequest(
                channel=channel,
                order_no="O1",
                amount_fen=30_00,
                shares=[acquiring_pb2.OrderShare(member_id="payee", amount_fen=30_00, fee_fen=3_00, credit=credit)],
            )
            plan = acquiring.record_order(request, FACTS, SERIALS, fee_at_release=at_release)
            yield f"record an order of {name} for one member, {how}", plan
            query = plan.query
            assert isinstance(query, AcquiredQuery)
            share = query.shares[0]
            for payer in (None, THIRD):
                rebook = acquiring_pb2.RebookOrderRequest(order_no="O1", member_id="payee", remark="r" if payer else "")
                part = Part(
                    1, Serial("P1"), NO_MEMBER_CODE, MemberCode("payee"), 30_00, 3_00, PartState.POSTED, BOOKED, None
                )
                moved = acquiring.rebook_order(rebook, "X1", query.channel, share, part, payer, PAYEE, "乙", SERIALS)
                where = "from the wrong member" if payer else "from parking"
                yield f"rebook an order of {name} {where}, {how}", moved
    for fee_fen, credit in ((30_00, acquiring_pb2.ORDER_CREDIT_AVAILABLE), (1, acquiring_pb2.ORDER_CREDIT_FROZEN)):
        share_of_fee = acquiring_pb2.OrderShare(member_id="payee", amount_fen=30_00, fee_fen=fee_fen, credit=credit)
        request = acquiring_pb2.RecordOrderRequest(
            channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD, order_no="O1", amount_fen=30_00, shares=[share_of_fee]
        )
        plan = acquiring.record_order(request, FACTS, SERIALS, fee_at_release=True)
        yield f"record an order with a fee of {fee_fen}", plan
        query = plan.query
        assert isinstance(query, AcquiredQuery)
        share = query.shares[0]
        for payer in (None, THIRD):
            rebook = acquiring_pb2.RebookOrderRequest(order_no="O1", member_id="payee")
            part = Part(
                1, Serial("P1"), NO_MEMBER_CODE, MemberCode("payee"), 30_00, fee_fen, PartState.POSTED, BOOKED, None
            )
            moved = acquiring.rebook_order(rebook, "X1", query.channel, share, part, payer, PAYEE, "乙", SERIALS)
            where = "from the wrong member" if payer else "from parking"
            yield f"rebook an order with a fee of {fee_fen} {where}", moved


def member_plans() -> Cases:
    """6000, 6167, 6084."""
    for given in (member_pb2.MEMBER_PROPERTY_ORDINARY, member_pb2.MEMBER_PROPERTY_MERCHANT):
        request = member_pb2.OpenMemberRequest(member_id="payer", property=given)
        yield f"open a member, {member_pb2.MemberProperty.Name(given)}", members.open_member(request)
    request = member_pb2.OpenMemberRequest(
        member_id="payer", property=given, nickname="n", mobile="13900000000", email="a@example.test"
    )
    yield "open a member with all that is known", members.open_member(request)
    for member in (PAYER, PAYEE):
        yield f"close a member, {member.property}", members.close_member(member)
    link = member_pb2.LinkSameNameRequest(ordinary_member_id="payer", merchant_member_id="payee")
    for ordinary, merchant in ((None, None), (None, PAYEE), (PAYER, None)):
        plan = members.link_same_name(link, ordinary, merchant)
        yield f"link one customer's members, {ordinary is not None} and {merchant is not None}", plan
    link.MergeFrom(
        member_pb2.LinkSameNameRequest(
            ordinary_nickname="o", merchant_nickname="m", mobile="13900000000", email="a@example.test"
        )
    )
    yield "link one customer's members with all that is known", members.link_same_name(link, None, None)
    for proof in (member_pb2.MOBILE_PROOF_OLD_MOBILE, member_pb2.MOBILE_PROOF_CARD):
        change = member_pb2.ConfirmMobileChangeRequest(
            member_id="payer", proof=proof, message_order_no="M1", code="123456"
        )
        yield f"change a mobile, {member_pb2.MobileProof.Name(proof)}", members.change_mobile(change, PAYER, b"\1\2")


def withdrawal_plans() -> Cases:
    """6033 with its verified twins."""
    for verification in (NONE, SMS, PASSWORD):
        for fee_fen in (0, 1_00):
            request = withdrawal_pb2.WithdrawRequest(
                member_id="payer",
                amount_fen=60_00,
                fee_on_top_fen=fee_fen,
                card_number=NUMBER,
                card_holder_name="甲",
                verification=verification,
                remark="r" if fee_fen else "",
            )
            mode = verification.WhichOneof("method")
            yield f"withdraw with a fee of {fee_fen}, {mode}", withdraw(request, FACTS, SERIALS, "platform")
    request.ClearField("card_number")
    request.ClearField("card_holder_name")
    request.card_id = str(CARD.card_id)
    known = Personal(number=NUMBER, holder="丙", identity_type="1", identity_number="1", mobile="13900000000")
    yield "withdraw to a bound card", withdraw(request, FACTS, SERIALS, "platform", known)


def card_plans() -> Cases:
    """6066, 6067, 6055, 6064, 6065, 6138."""
    by_sms = card_pb2.CheckCardBySmsRequest(
        member_id="payer",
        card_number=NUMBER,
        card_holder_name="甲",
        identity_type=card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
        identity_number="1",
        bank_type=card_pb2.BANK_TYPE_OTHER,
        branch_name="支行",
        mobile="13900000000",
        cnaps_no="C1",
    )
    yield "check a card by SMS", cards.check_by_sms(by_sms, PAYER, CARD, SERIALS, 60.0)
    by_transfer = card_pb2.CheckCardByTransferRequest(
        member_id="payer",
        card_number=NUMBER,
        card_holder_name="甲",
        identity_type=card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
        identity_number="1",
        bank_type=card_pb2.BANK_TYPE_OTHER,
        branch_name="支行",
        mobile="13900000000",
        super_bank_no="E1",
    )
    for way in (CheckedBy.PAY_OUT, CheckedBy.PAY_IN):
        checked = dataclasses.replace(CARD, checked_by=way)
        plan = cards.check_by_transfer(by_transfer, PAYER, checked, SERIALS, 60.0)
        yield f"check a card by transfer, {way.value}", plan
    yield "confirm a card by SMS", cards.confirm_by_sms(PAYER, CARD, NUMBER, "123456")
    yield "confirm a card by transfer", cards.confirm_by_transfer(PAYER, CARD, NUMBER, 12)
    yield "unbind a card", cards.unbind(PAYER, CARD, NUMBER)
    correct = card_pb2.CorrectCardBranchRequest(branch_name="支行", cnaps_no="C1", super_bank_no="E1")
    yield "correct a card's branch", cards.correct_branch(correct, PAYER, CARD, NUMBER)
    correct = card_pb2.CorrectCardBranchRequest(branch_name="支行", cnaps_no="C1")
    yield "correct a card's branch by one number", cards.correct_branch(correct, PAYER, CARD, NUMBER)


def all_plans() -> dict[str, Plan]:
    """Every case by its name, which no other has."""
    found: dict[str, Plan] = {}
    for cases in (
        payment_plans,
        freeze_plans,
        top_up_plans,
        refund_plans,
        batch_plans,
        suspense_plans,
        acquiring_plans,
        member_plans,
        withdrawal_plans,
        card_plans,
    ):
        for name, plan in cases():
            assert name not in found, name
            found[name] = plan
    return found


def page(plan: Plan) -> str:
    """A plan as text: what it says to the bank, what it moves, how it is asked about, what it is known by."""
    wire = "\n".join(f"    {name} = {_value(value)}" for name, value in to_wire(plan.message).items())
    known = {
        "payer": plan.payer,
        "payee": plan.payee,
        "order": plan.order_no,
        "amount": plan.amount_fen,
        "fee": plan.fee_fen,
        "channel": dict(plan.found_by).get("channel", ""),
        "keep": dict(plan.keep),
        "needs": " ".join(sorted(account.name for account in plan.needs)),
        "card": "" if plan.card is None else f"{plan.card.card_id} begun by {plan.card.serial}",
    }
    lines = [f"{plan.kind.name}: {' '.join(f'{name}={_value(value)}' for name, value in known.items() if value)}"]
    lines.append(f"  says {plan.message.code}\n{wire}")
    for title, drafts in (("holds", plan.drafts), ("then", plan.then), ("undo", plan.undo)):
        lines += [f"  {title} {_draft(draft)}" for draft in drafts]
    stored = plan.stored.to_json()
    assert plan.stored.from_json(stored) == plan.stored
    lines.append(f"  asks {_value(stored['ask'])}")
    return "\n".join(lines)


def _draft(draft: Draft) -> str:
    known = {
        "serial": draft.serial,
        "payer": draft.payer,
        "payee": draft.payee,
        "order": draft.order_no,
        "amount": draft.amount_fen,
        "fee": draft.fee_fen,
        "corrects": draft.corrects,
    }
    legs = "\n".join(f"    {leg.amount_fen:>6} {_side(leg.debit)} -> {_side(leg.credit)}" for leg in draft.legs)
    return f"{' '.join(f'{name}={value}' for name, value in known.items() if value)}\n{legs}"


def _side(side: Source) -> str:
    if isinstance(side, Available):
        return f"available:{side.sub_account}"
    if isinstance(side, OfDay):
        return ":".join(filter(None, (side.kind.value, side.owner, "<day>")))
    assert isinstance(side, Account)
    return side.name


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)

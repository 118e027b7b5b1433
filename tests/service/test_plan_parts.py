"""What plans are made of and what is done with them later, piece by piece: what no page of plans.txt shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal
from uuid import UUID

import pytest

from bankclient import Booked
from jzb.v1 import acquiring_pb2, card_pb2, verification_pb2
from ledger import CardChange, CardState, Draft, Kind, Leg, Member, OfDay
from ledger.accounts import FEE, LIMITS, acquired, parking
from service.plans import acquiring, cards, members, refunds, verification
from service.plans.cards import CardSaid
from service.plans.plan import AcquiredAsk, CardAsk, SameNameAsk, Word
from service.vault import Personal
from tests.service.test_plans_property import FACTS, SERIALS, THIRD

CARD_ID = UUID(int=5)


def recorded() -> tuple[Draft, AcquiredAsk]:
    """An acquired order of 30 yuan for one member, 3 yuan of it the fee."""
    share = acquiring_pb2.OrderShare(
        member_id="payee", amount_fen=30_00, fee_fen=3_00, credit=acquiring_pb2.ORDER_CREDIT_AVAILABLE
    )
    request = acquiring_pb2.RecordOrderRequest(
        channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD, order_no="O1", amount_fen=30_00, shares=[share]
    )
    plan = acquiring.record_order(request, FACTS, SERIALS, fee_at_release=False)
    assert isinstance(plan.ask, AcquiredAsk)
    return plan.drafts[0], plan.ask


def test_an_order_that_the_bank_parked_lies_whole_in_parking_and_keeps_its_number_used() -> None:
    planned, ask = recorded()
    used, owed = Leg(acquired("O1"), LIMITS, 1), OfDay(Kind.IN_TRANSIT)
    parked = acquiring.booked(planned, ask.shares[0], None)
    assert parked == replace(planned, legs=(used, Leg(owed, parking("O1"), 30_00)))
    assert parked.payee == "payee"


def test_an_order_that_the_bank_gave_to_another_member_is_booked_there() -> None:
    planned, ask = recorded()
    used, owed = Leg(acquired("O1"), LIMITS, 1), OfDay(Kind.IN_TRANSIT)
    there = OfDay(Kind.WAITING, THIRD.sub_account)
    moved = acquiring.booked(planned, ask.shares[0], THIRD.sub_account, "third")
    legs = (used, Leg(owed, there, 27_00), Leg(owed, FEE, 3_00))
    assert moved == replace(planned, legs=legs, payee="third")


def test_a_customers_two_members_are_recorded_with_the_property_of_each_and_name_one_another() -> None:
    assert members.same_name(SameNameAsk("ann", "annshop"), "993001", "993002") == (
        Member(member_id="ann", sub_account="993001", property="00", same_name="annshop"),
        Member(member_id="annshop", sub_account="993002", property="SH", same_name="ann"),
    )


def test_the_fee_that_is_refunded_by_itself_is_that_of_source_6() -> None:
    # The quick start, 6164 branch 6.
    assert refunds.FEE_BY_ITSELF == "6"


NONE = verification_pb2.Verification(none=verification_pb2.NoVerification())
SMS = verification_pb2.Verification(sms=verification_pb2.SmsVerification(message_order_no="M1", code="123456"))
PASSWORD = verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature="SIGNATURE"))


def test_a_request_is_verified_in_the_mode_that_it_names_and_in_none_where_it_names_none() -> None:
    for given, mode in (
        (verification_pb2.Verification(), "none"),
        (NONE, "none"),
        (SMS, "sms"),
        (PASSWORD, "password"),
    ):
        assert verification.mode_of(given) == mode
    assert verification.proof(SMS) == {"MessageOrderNo": "M1", "MessageCheckCode": "123456"}
    assert verification.proof(PASSWORD) == {"WebSign": "SIGNATURE"}


@pytest.mark.parametrize(
    ("family", "codes"),
    [
        (verification.PAYMENT, ("6034", "6101", "6006")),
        (verification.FREEZE, ("6007", "6135", "6134")),
        (verification.PAY_FROZEN, ("6163", "6166", "6165")),
        (verification.BATCH, ("6052", "6120", "6133")),
        (verification.WITHDRAWAL, ("6033", "6085", "6111")),
    ],
)
def test_a_call_has_an_interface_for_each_mode(family: verification.Family, codes: tuple[str, ...]) -> None:
    assert (family.none.code, family.sms.code, family.password.code) == codes


# What the bank's word does to a card.


def reply(reserved: str | None) -> Booked:
    return Booked(FrontSeqNo="1", ReservedMsg=reserved)


@pytest.mark.parametrize(
    ("reserved", "said"),
    [
        ("VERIFIED", CardSaid(is_bound=True, pay_in_fen=None)),
        ("0.12", CardSaid(is_bound=False, pay_in_fen=12)),
        ("", CardSaid(is_bound=False, pay_in_fen=None)),
        (None, CardSaid(is_bound=False, pay_in_fen=None)),
        ("verified", CardSaid(is_bound=False, pay_in_fen=None)),
    ],
)
def test_what_the_bank_says_of_a_card_stands_in_reserved_msg(reserved: str | None, said: CardSaid) -> None:
    assert cards.card_said(reply(reserved)) == said
    assert CardSaid() == CardSaid(is_bound=False, pay_in_fen=None)


BOUND = CardSaid(is_bound=True)
SILENT = CardSaid()
PAY_IN = CardSaid(pay_in_fen=12)
ENDED = ("ERR137", "ERR147", "ERR157", "ERR163", "ERR258", "ERR264")
WRONG = ("ERR138", "ERR126")


@pytest.mark.parametrize(
    ("does", "word", "code", "said", "change"),
    [
        ("check", Word.DONE, "000000", BOUND, CardChange(card_id=CARD_ID, state=CardState.BOUND)),
        ("check", Word.DONE, "000000", SILENT, CardChange(card_id=CARD_ID, life_s=60.0)),
        ("check", Word.DONE, "000000", PAY_IN, CardChange(card_id=CARD_ID, life_s=60.0, pay_in_fen=12)),
        ("check", Word.REFUSED, "ERR138", SILENT, CardChange(card_id=CARD_ID, state=CardState.FAILED)),
        ("confirm", Word.DONE, "000000", SILENT, CardChange(card_id=CARD_ID, state=CardState.BOUND)),
        *(
            ("confirm", Word.REFUSED, code, SILENT, CardChange(card_id=CARD_ID, state=CardState.FAILED))
            for code in ENDED
        ),
        *(("confirm", Word.REFUSED, code, SILENT, CardChange(card_id=CARD_ID, wrong=1)) for code in WRONG),
        ("confirm", Word.REFUSED, "ERR257", SILENT, None),
        ("unbind", Word.DONE, "000000", SILENT, CardChange(card_id=CARD_ID, state=CardState.UNBOUND)),
        ("unbind", Word.REFUSED, "ERR263", SILENT, None),
        (
            "correct",
            Word.DONE,
            "000000",
            SILENT,
            CardChange(card_id=CARD_ID, branch_name="支行", cnaps_no="C1", super_bank_no="E1"),
        ),
        ("correct", Word.REFUSED, "ERR033", SILENT, None),
        *((does, Word.SILENT, "", SILENT, None) for does in ("check", "confirm", "unbind", "correct")),
    ],
)
def test_what_the_banks_final_word_does_to_a_card(
    does: Literal["check", "confirm", "unbind", "correct"],
    word: Word,
    code: str,
    said: CardSaid,
    change: CardChange | None,
) -> None:
    ask = CardAsk(
        sub_account="993",
        card_id=str(CARD_ID),
        does=does,
        life_s=60.0,
        branch_name="支行",
        cnaps_no="C1",
        super_bank_no="E1",
    )
    assert cards.change_of(ask, word, code, said) == change


def test_what_is_personal_in_a_check_is_all_that_is_sealed() -> None:
    request = card_pb2.CheckCardByTransferRequest(
        member_id="payer",
        card_number="9999990000000000",
        card_holder_name="甲",
        identity_type=card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
        identity_number="N1",
        mobile="13900000000",
    )
    assert cards.personal(request) == Personal(
        number="9999990000000000", holder="甲", identity_type="1", identity_number="N1", mobile="13900000000"
    )

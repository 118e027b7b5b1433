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
from ledger.names import MemberCode, SubAccount
from service.plans import acquiring, cards, refunds, verification
from service.questions.acquiring import AcquiredQuery
from service.questions.cards import CardQuery, card_result
from service.questions.members import SameNameQuery
from service.questions.results import BankResult, CardResult, Verdict
from service.vault import Personal
from tests.plans.facts import FACTS, SERIALS, THIRD

CARD_ID = UUID(int=5)


def recorded() -> tuple[Draft, AcquiredQuery]:
    """An acquired order of 30 yuan for one member, 3 yuan of it the fee."""
    share = acquiring_pb2.OrderShare(
        member_id="payee", amount_fen=30_00, fee_fen=3_00, credit=acquiring_pb2.ORDER_CREDIT_AVAILABLE
    )
    request = acquiring_pb2.RecordOrderRequest(
        channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD, order_no="O1", amount_fen=30_00, shares=[share]
    )
    plan = acquiring.record_order(request, FACTS, SERIALS, fee_at_release=False)
    assert isinstance(plan.query, AcquiredQuery)
    return plan.drafts[0], plan.query


def test_an_order_that_the_bank_parked_lies_whole_in_parking_and_keeps_its_number_used() -> None:
    planned, query = recorded()
    used, owed = Leg(acquired("O1"), LIMITS, 1), OfDay(Kind.IN_TRANSIT)
    parked = query.shares[0].booked(planned, None)
    assert parked == replace(planned, legs=(used, Leg(owed, parking("O1"), 30_00)))
    assert parked.payee == "payee"


def test_an_order_that_the_bank_gave_to_another_member_is_booked_there() -> None:
    planned, query = recorded()
    used, owed = Leg(acquired("O1"), LIMITS, 1), OfDay(Kind.IN_TRANSIT)
    there = OfDay(Kind.UNCLEARED, THIRD.sub_account)
    moved = query.shares[0].booked(planned, THIRD.sub_account, MemberCode("third"))
    legs = (used, Leg(owed, there, 27_00), Leg(owed, FEE, 3_00))
    assert moved == replace(planned, legs=legs, payee=MemberCode("third"))


def test_a_customers_two_members_are_recorded_with_the_property_of_each_and_name_one_another() -> None:
    assert SameNameQuery(MemberCode("ann"), MemberCode("annshop")).members(
        SubAccount("993001"), SubAccount("993002")
    ) == (
        Member(
            member_id=MemberCode("ann"),
            sub_account=SubAccount("993001"),
            property="00",
            same_name=MemberCode("annshop"),
        ),
        Member(
            member_id=MemberCode("annshop"),
            sub_account=SubAccount("993002"),
            property="SH",
            same_name=MemberCode("ann"),
        ),
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
        ("VERIFIED", CardResult(is_bound=True, pay_in_fen=None)),
        ("0.12", CardResult(is_bound=False, pay_in_fen=12)),
        ("", CardResult(is_bound=False, pay_in_fen=None)),
        (None, CardResult(is_bound=False, pay_in_fen=None)),
        ("verified", CardResult(is_bound=False, pay_in_fen=None)),
    ],
)
def test_what_the_bank_says_of_a_card_stands_in_reserved_msg(reserved: str | None, said: CardResult) -> None:
    assert card_result(reply(reserved)) == said
    assert CardResult() == CardResult(is_bound=False, pay_in_fen=None)


BOUND = CardResult(is_bound=True)
NOTHING = CardResult()
PAY_IN = CardResult(pay_in_fen=12)
ENDED = ("ERR137", "ERR147", "ERR157", "ERR163", "ERR258", "ERR264")
WRONG = ("ERR138", "ERR126")


@pytest.mark.parametrize(
    ("does", "verdict", "code", "said", "change"),
    [
        ("check", Verdict.DONE, "000000", BOUND, CardChange(card_id=CARD_ID, state=CardState.BOUND)),
        ("check", Verdict.DONE, "000000", NOTHING, CardChange(card_id=CARD_ID, life_s=60.0)),
        ("check", Verdict.DONE, "000000", PAY_IN, CardChange(card_id=CARD_ID, life_s=60.0, pay_in_fen=12)),
        ("check", Verdict.REFUSED, "ERR138", NOTHING, CardChange(card_id=CARD_ID, state=CardState.FAILED)),
        ("confirm", Verdict.DONE, "000000", NOTHING, CardChange(card_id=CARD_ID, state=CardState.BOUND)),
        *(
            ("confirm", Verdict.REFUSED, code, NOTHING, CardChange(card_id=CARD_ID, state=CardState.FAILED))
            for code in ENDED
        ),
        *(("confirm", Verdict.REFUSED, code, NOTHING, CardChange(card_id=CARD_ID, wrong=1)) for code in WRONG),
        ("confirm", Verdict.REFUSED, "ERR257", NOTHING, None),
        ("unbind", Verdict.DONE, "000000", NOTHING, CardChange(card_id=CARD_ID, state=CardState.UNBOUND)),
        ("unbind", Verdict.REFUSED, "ERR263", NOTHING, None),
        (
            "correct",
            Verdict.DONE,
            "000000",
            NOTHING,
            CardChange(card_id=CARD_ID, branch_name="支行", cnaps_no="C1", super_bank_no="E1"),
        ),
        ("correct", Verdict.REFUSED, "ERR033", NOTHING, None),
        *((does, Verdict.INCONCLUSIVE, "", NOTHING, None) for does in ("check", "confirm", "unbind", "correct")),
    ],
)
def test_what_the_banks_final_word_does_to_a_card(
    does: Literal["check", "confirm", "unbind", "correct"],
    verdict: Verdict,
    code: str,
    said: CardResult,
    change: CardChange | None,
) -> None:
    query = CardQuery(
        sub_account=SubAccount("993"),
        card_id=str(CARD_ID),
        does=does,
        life_s=60.0,
        branch_name="支行",
        cnaps_no="C1",
        super_bank_no="E1",
    )
    result = BankResult(verdict, code=code, card=said)
    assert query.card_changes(result) == (() if change is None else (change,))


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

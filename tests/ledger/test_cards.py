"""What the mirror keeps of cards: bindings that begin and end with the steps of operations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ledger import Card, CardChange, Cards, CardState, CheckedBy, Member, StepOutcome
from ledger.names import MemberCode, SubAccount
from tests.ledger.bookkeeping import ANN, BOB, PLATFORM, execute, new_id, opening, pay_today
from tests.ledger.conftest import Mirror


def card(member: SubAccount = ANN, digest: bytes = b"digest", **fields: Any) -> Card:
    """A check by SMS that has just begun."""
    return Card(
        **{
            "card_id": new_id(),
            "member_id": member,
            "key_id": "k1",
            "digest": digest,
            "sealed": b"sealed",
            "masked": "****0001",
            "bank_type": "1",
            "checked_by": CheckedBy.SMS,
            **fields,
        }
    )


async def changed(mirror: Mirror, change: CardChange) -> Card:
    await mirror.do(opening(cards=(change,)))
    found = await cards_of(mirror).card(change.card_id)
    assert found is not None
    return found


def cards_of(mirror: Mirror, platform: str = PLATFORM) -> Cards:
    return Cards(mirror.engine, platform)


@pytest.fixture
async def cards(mirror: Mirror) -> Cards:
    """Two members, no card yet."""
    members = (
        Member(member_id=MemberCode(ANN), sub_account=SubAccount("A1"), property="00"),
        Member(member_id=MemberCode(BOB), sub_account=SubAccount("B1"), property="SH"),
    )
    await mirror.do(opening(members=members))
    return cards_of(mirror)


async def test_a_card_begins_with_the_step_that_records_it(mirror: Mirror, cards: Cards) -> None:
    begun = card()
    outcome = await mirror.do(opening(cards_new=(begun,)))
    assert isinstance(outcome, StepOutcome)
    found = await cards.card(begun.card_id)
    assert found is not None
    assert found.created_at is not None
    assert replace(found, created_at=None) == begun
    assert await cards_of(mirror, "0000").card(begun.card_id) is None


async def test_a_step_that_breaks_a_floor_records_no_card(mirror: Mirror, cards: Cards) -> None:
    begun = card()
    (refused,) = await mirror.together(opening(pay_today(ANN, BOB, 1), cards_new=(begun,)))
    assert isinstance(refused, BaseException)
    assert await cards.card(begun.card_id) is None


async def test_a_binding_goes_forward_only(mirror: Mirror, cards: Cards) -> None:
    begun = card()
    await mirror.do(opening(cards_new=(begun,)))
    bound = await changed(mirror, CardChange(card_id=begun.card_id, state=CardState.BOUND))
    assert bound.state is CardState.BOUND
    assert bound.bound_at is not None
    late = await changed(mirror, CardChange(card_id=begun.card_id, state=CardState.FAILED))
    assert late == bound
    gone = await changed(mirror, CardChange(card_id=begun.card_id, state=CardState.UNBOUND))
    assert gone.state is CardState.UNBOUND
    assert gone.ended_at is not None
    late = await changed(mirror, CardChange(card_id=begun.card_id, state=CardState.BOUND))
    assert late == gone


async def test_wrong_answers_add_up_and_a_life_ends_by_the_databases_clock(mirror: Mirror, cards: Cards) -> None:
    begun = card()
    await mirror.do(opening(cards_new=(begun,)))
    await changed(mirror, CardChange(card_id=begun.card_id, wrong=1))
    twice = await changed(mirror, CardChange(card_id=begun.card_id, wrong=1, life_s=120.0))
    assert twice.wrong == 2
    assert twice.ends_at is not None
    assert twice.created_at is not None
    assert timedelta(seconds=120) <= twice.ends_at - twice.created_at < timedelta(seconds=180)


async def test_a_card_is_known_again_by_its_digest(mirror: Mirror, cards: Cards) -> None:
    mine, theirs = card(ANN), card(BOB)
    await mirror.do(opening(cards_new=(mine, theirs)))
    assert await cards.bound([b"digest"]) == []
    await changed(mirror, CardChange(card_id=theirs.card_id, state=CardState.BOUND))
    assert [one.card_id for one in await cards.bound([b"other", b"digest"])] == [theirs.card_id]
    assert [one.card_id for one in await cards.of_member(MemberCode(ANN))] == [mine.card_id]
    assert await cards.of_member(MemberCode(ANN), (CardState.BOUND,)) == []


async def test_only_checks_that_reached_the_bank_count(mirror: Mirror, cards: Cards) -> None:
    asked = [card() for _ in range(3)]
    await mirror.do(opening(cards_new=(*asked, card(checked_by=CheckedBy.PAY_OUT), card(digest=b"another"))))
    await changed(mirror, CardChange(card_id=asked[0].card_id, state=CardState.UNSENT))
    await changed(mirror, CardChange(card_id=asked[1].card_id, state=CardState.FAILED))
    assert await cards.checks_today([b"digest"], CheckedBy.SMS, "Asia/Shanghai") == 2


async def test_checks_are_counted_from_midnight_in_shanghai_by_the_clock_that_wrote_them(
    mirror: Mirror, cards: Cards
) -> None:
    await mirror.do(opening(cards_new=(card(), card())))
    first, second = (one.card_id for one in await cards.of_member(MemberCode(ANN)))
    midnight = "date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') AT TIME ZONE 'Asia/Shanghai'"
    execute(mirror.dsn, f"UPDATE card SET created_at = {midnight} WHERE card_id = '{first}'")
    execute(mirror.dsn, f"UPDATE card SET created_at = {midnight} - interval '1 us' WHERE card_id = '{second}'")
    assert await cards.checks_today([b"digest"], CheckedBy.SMS, "Asia/Shanghai") == 1


async def test_the_last_check_is_the_latest_that_the_bank_did_not_refuse(mirror: Mirror, cards: Cards) -> None:
    first, second = card(checked_by=CheckedBy.PAY_OUT), card(checked_by=CheckedBy.PAY_OUT)
    await mirror.do(opening(cards_new=(first, second)))
    await changed(mirror, CardChange(card_id=second.card_id, state=CardState.FAILED))
    last = await cards.last_check(MemberCode(ANN), CheckedBy.PAY_OUT)
    assert last is not None
    assert last.card_id == first.card_id
    assert await cards.last_check(MemberCode(ANN), CheckedBy.PAY_IN) is None


async def test_a_card_is_put_under_another_key_once(mirror: Mirror, cards: Cards) -> None:
    begun = card()
    await mirror.do(opening(cards_new=(begun,)))
    (old,) = await cards.sealed_otherwise("k2", limit=10)
    assert await cards.reseal(old, "k2", b"digest 2", b"sealed 2")
    assert not await cards.reseal(old, "k3", b"digest 3", b"sealed 3")
    found = await cards.card(begun.card_id)
    assert found is not None
    assert (found.key_id, found.digest, found.sealed) == ("k2", b"digest 2", b"sealed 2")
    assert await cards.sealed_otherwise("k2", limit=10) == []


async def test_same_name_members_stay_linked_when_recorded_again(mirror: Mirror, cards: Cards) -> None:
    await mirror.do(
        opening(
            members=(
                Member(
                    member_id=MemberCode(ANN), sub_account=SubAccount("A1"), property="00", same_name=MemberCode(BOB)
                ),
                Member(
                    member_id=MemberCode(BOB), sub_account=SubAccount("B1"), property="SH", same_name=MemberCode(ANN)
                ),
            )
        )
    )
    await mirror.do(opening(members=(Member(member_id=MemberCode(ANN), sub_account=SubAccount("A1"), property="00"),)))
    found = await mirror.reads.member(MemberCode(ANN))
    assert found is not None
    assert found.same_name == MemberCode(BOB)

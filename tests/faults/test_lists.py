"""The one reader of the bank's lists, against the sandbox with pages of two rows."""

from __future__ import annotations

import pytest

from bankclient import AnswerOutcome, BankClient, BoundCards, SubAccountBalances
from ledger.names import MemberCode
from sandbox import paging
from service.problems import Problem
from service.questions import lists
from service.questions.lists import read_list, rows
from tests.world.marketplace import Marketplace

PLATFORMS_OWN = SubAccountBalances(QueryFlag="3")


@pytest.fixture
def bank(shop: Marketplace, monkeypatch: pytest.MonkeyPatch) -> BankClient:
    monkeypatch.setattr(paging, "ROWS_A_PAGE", 2)
    return shop.service.components.bank


async def test_all_pages_are_read_in_order_and_rest_on_the_evidence_of_each(bank: BankClient) -> None:
    listed = await read_list(bank, PLATFORMS_OWN)
    numbers = [row.SubAcctNo for row in listed.rows]
    assert listed.is_complete
    assert len(listed.answers) == (len(numbers) + 1) // 2 > 2
    assert len(set(numbers)) == len(numbers)
    assert [row.SubAcctNo async for row in rows(bank, PLATFORMS_OWN)] == numbers
    evidence = {answer.evidence for answer in listed.answers}
    assert len(evidence) == len(listed.answers)
    assert listed.answer.evidence not in evidence | {b""}


async def test_no_such_record_is_an_empty_list_or_the_end_of_one(shop: Marketplace, bank: BankClient) -> None:
    (buyer,) = (await shop.service.components.reads.members([MemberCode(await shop.buyer("buyer"))])).values()
    cards = await read_list(bank, BoundCards(QueryFlag="2", SubAcctNo=buyer.sub_account))
    assert (cards.is_complete, cards.required(), cards.answer.is_no_record) == (True, [], True)
    shop.sandbox.faults.add("refuse:ERR020", code="6010", after=1)
    cut = await read_list(bank, PLATFORMS_OWN)
    assert (cut.is_complete, len(cut.required())) == (True, 2)


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        ("lose_after", AnswerOutcome.UNKNOWN, "BANK_UNAVAILABLE"),
        ("refuse:ERR026", AnswerOutcome.REFUSED, "BANK_REFUSED"),
    ],
)
async def test_a_list_with_a_page_missing_is_never_taken_for_all(
    shop: Marketplace, bank: BankClient, fault: str, outcome: AnswerOutcome, reason: str
) -> None:
    shop.sandbox.faults.add(fault, code="6010", after=1)
    listed = await read_list(bank, PLATFORMS_OWN)
    assert (listed.is_complete, listed.answer.outcome, len(listed.rows)) == (False, outcome, 2)
    for is_refusal_empty in (False, True):
        with pytest.raises(Problem) as raised:
            listed.required(is_refusal_empty=is_refusal_empty)
        assert raised.value.reason == reason


async def test_only_a_refusal_of_the_first_page_may_count_as_empty(shop: Marketplace, bank: BankClient) -> None:
    shop.sandbox.faults.add("refuse:ERR026", code="6010")
    listed = await read_list(bank, PLATFORMS_OWN)
    assert not listed.is_complete
    assert listed.required(is_refusal_empty=True) == []


async def test_a_bank_that_never_ends_a_list_is_stopped(bank: BankClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PAGES_MAX", 2)
    listed = await read_list(bank, PLATFORMS_OWN)
    assert (listed.is_complete, listed.answer.outcome, len(listed.rows)) == (False, AnswerOutcome.UNKNOWN, 4)
    read: list[str] = []

    async def stream() -> None:
        async for row in rows(bank, PLATFORMS_OWN):
            read.append(row.SubAcctNo)

    with pytest.raises(Problem, match="did not end after 2 pages"):
        await stream()
    assert len(read) == 4

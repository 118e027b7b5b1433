"""FindOperations: an operation by any number that a person may hold, by amount, by time, by several states."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from jzb.v1 import core_pb2, operation_pb2
from tests.world.callers import OPERATOR, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.withdrawals import withdraw

Find = operation_pb2.FindOperationsRequest
OURS = "spiffe://test/ours"
OTHERS = "spiffe://test/others"


async def found(shop: Marketplace, request: Find) -> list[tuple[str, list[str]]]:
    """Request ids with what matched, every page of it."""
    rows: list[tuple[str, list[str]]] = []
    while True:
        page = await shop.operations.FindOperations(request, timeout=TIMEOUT_S)
        rows += [
            (
                one.operation.request_id,
                [operation_pb2.NumberMatch.Name(match).removeprefix("NUMBER_MATCH_") for match in one.matches],
            )
            for one in page.found
        ]
        if not page.next_page_token:
            return rows
        request.page_token = page.next_page_token


async def test_a_payment_is_found_by_each_of_its_numbers_and_the_answer_says_which_it_is(shop: Marketplace) -> None:
    await shop.buyer("buyer", 500_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 20_00)
    request.order_no = shop.order_no()
    request.tags.reference = "invoice-7"
    paid = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
    other = await shop.pay("buyer", "seller", 30_00)
    for number, match in (
        (paid.operation_id, ["OPERATION_ID"]),
        (paid.request_id, ["REQUEST_ID"]),
        (paid.serial, ["SERIAL", "PART_SERIAL"]),
        (paid.bank_serial, ["BANK_SERIAL"]),
        (paid.order_no, ["ORDER_NO"]),
        ("invoice-7", ["REFERENCE"]),
    ):
        assert await found(shop, Find(number=number)) == [(paid.request_id, match)], number
    sub_account = (await shop.balance("seller")).sub_account
    for number, matched in (("seller", "MEMBER"), (sub_account, "SUB_ACCOUNT")):
        rows = await found(shop, Find(number=number, kind=core_pb2.OPERATION_KIND_PAY_T1, page_size=1))
        assert rows == [(other.request_id, [matched]), (paid.request_id, [matched])]
    assert await found(shop, Find(number="nothing-has-it")) == []
    # In another case it is another number.
    assert await found(shop, Find(number="Seller")) == []


async def test_a_top_up_is_found_by_its_channels_number(shop: Marketplace) -> None:
    await shop.merchant("seller")
    request = shop.top_up_request("seller", 5_00)
    await shop.top_ups.TopUp(request, timeout=TIMEOUT_S)
    number = request.channel.transaction_no
    assert await found(shop, Find(number=number)) == [(request.request_id, ["CHANNEL_TRANSACTION_NO"])]


async def test_what_is_found_is_narrowed_by_amount_and_time_without_a_number(shop: Marketplace) -> None:
    await shop.buyer("buyer", 500_00)
    await shop.merchant("seller")
    paid = [await shop.pay("buyer", "seller", fen) for fen in (19_99, 20_00, 20_01)]
    for least, most, wanted in ((20_00, 0, paid[1:]), (0, 20_00, paid[:2]), (20_00, 20_00, paid[1:2])):
        request = Find(min_amount_fen=least, max_amount_fen=most, kind=core_pb2.OPERATION_KIND_PAY_T1)
        assert await found(shop, request) == [(one.request_id, []) for one in reversed(wanted)]
    middle = paid[1].create_time
    assert await found(shop, Find(since=middle)) == [(one.request_id, []) for one in reversed(paid[1:])]
    before = await found(shop, Find(until=middle, number="seller"))
    assert next(request_id for request_id, _ in before) == paid[0].request_id
    later = Find()
    later.since.FromDatetime(middle.ToDatetime() + timedelta(days=1))
    assert await found(shop, later) == []
    impossible = Find()
    impossible.until.seconds = 10**12
    refusal = await shop.refusal(shop.operations.FindOperations(impossible, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "until")


async def test_all_that_is_open_is_one_choice_and_states_add_to_it(shop: Marketplace) -> None:
    await shop.buyer("buyer", 500_00, withdrawable=True)
    accepted = await withdraw(shop, "buyer", 40_00)
    assert accepted.state == core_pb2.OPERATION_STATE_ACCEPTED
    refusal = await shop.refusal(shop.pay("buyer", "buyer2", 10**9))
    assert refusal.reason == "MEMBER_NOT_FOUND"
    assert await found(shop, Find(all_open=True)) == [(accepted.request_id, [])]
    assert await found(shop, Find(all_open=True, number="buyer")) == [(accepted.request_id, ["MEMBER"])]
    done = core_pb2.OPERATION_STATE_DONE
    with_done = await found(shop, Find(all_open=True, states=[done]))
    assert len(with_done) == len(await found(shop, Find())) > 2


async def test_what_a_caller_may_not_see_is_found_by_no_number(database: str, tmp_path: Path) -> None:
    policy = given(OURS, "money.pay", "read.own", namespace="ours", members=["A"])
    policy += given(OTHERS, "money.pay", "read.own", namespace="others")
    async with locked(database, tmp_path, policy) as service:
        operator, ours, others = [await service.shop(name) for name in (OPERATOR, OURS, OTHERS)]
        for letter in "AB":
            await operator.buyer(f"{letter}1", 100_00)
            await operator.merchant(f"{letter}2")
        mine = await ours.pay("A1", "A2", 1_00)
        request = others.pay_request("B1", "B2", 1_00)
        request.order_no = others.order_no()
        theirs = (await others.payments.Pay(request, timeout=TIMEOUT_S)).operation
        sub_account = (await operator.balance("B2")).sub_account
        for number in (
            *(theirs.operation_id, theirs.request_id, f"others/{theirs.request_id}", theirs.serial),
            *(theirs.bank_serial, theirs.order_no, "B1", "B2", sub_account),
        ):
            page = await ours.operations.FindOperations(Find(number=number), timeout=TIMEOUT_S)
            assert page == operation_pb2.FindOperationsResponse(), number
            assert theirs.request_id in [one for one, _ in await found(operator, Find(number=number))], number
        assert await found(ours, Find(number=mine.request_id)) == [(mine.request_id, ["REQUEST_ID"])]
        assert await found(ours, Find(number="A1")) == [(mine.request_id, ["MEMBER"])]
        assert await found(ours, Find()) == [(mine.request_id, [])]


@pytest.mark.parametrize("number", ["a b", "x" * 65, "中"])
async def test_what_is_no_number_is_refused_by_the_rule(shop: Marketplace, number: str) -> None:
    refusal = await shop.refusal(shop.operations.FindOperations(Find(number=number), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "number")

"""Lists of orders in escrow, of frozen orders and of withdrawals: from the mirror, page by page, each row as it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from jzb.v1 import acquiring_pb2, core_pb2, freeze_pb2, payment_pb2, withdrawal_pb2
from service.process import listed
from tests.world.acquiring import acquire, rebook_request, record, share
from tests.world.batches import prepaid
from tests.world.callers import OPERATOR, given, locked
from tests.world.freezes import freeze, frozen_order, pay_frozen, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day, open_marketplace
from tests.world.orders import cancel, confirm, confirm_request, order, prepay, prepay_request
from tests.world.returns import collect, send_back
from tests.world.verifying import named
from tests.world.withdrawals import withdraw

PENDING, OPEN, CLOSED = core_pb2.ORDER_STATE_PENDING, core_pb2.ORDER_STATE_OPEN, core_pb2.ORDER_STATE_CLOSED


async def orders(shop: Marketplace, **wanted: Any) -> list[payment_pb2.Order]:
    """All pages."""
    found: list[payment_pb2.Order] = []
    request = payment_pb2.ListOrdersRequest(**wanted)
    while True:
        page = await shop.payments.ListOrders(request, timeout=TIMEOUT_S)
        assert not request.page_size or len(page.orders) <= request.page_size
        found += page.orders
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def freezes(shop: Marketplace, **wanted: Any) -> list[freeze_pb2.FrozenOrder]:
    """All pages."""
    found: list[freeze_pb2.FrozenOrder] = []
    request = freeze_pb2.ListFreezesRequest(**wanted)
    while True:
        page = await shop.freezes.ListFreezes(request, timeout=TIMEOUT_S)
        found += page.orders
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def withdrawals(shop: Marketplace, **wanted: Any) -> list[withdrawal_pb2.Withdrawal]:
    """All pages."""
    found: list[withdrawal_pb2.Withdrawal] = []
    request = withdrawal_pb2.ListWithdrawalsRequest(**wanted)
    while True:
        page = await shop.withdrawals.ListWithdrawals(request, timeout=TIMEOUT_S)
        found += page.withdrawals
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def numbers(found: list[payment_pb2.Order] | list[freeze_pb2.FrozenOrder]) -> list[str]:
    return [one.order_no for one in found]


async def test_orders_are_listed_newest_first_with_what_is_confirmed_cancelled_and_still_held(
    shop: Marketplace,
) -> None:
    await shop.buyer("buyer", 1000_00)
    for seller in ("seller", "shoes", "hats"):
        await shop.merchant(seller)
    whole, parted, ended = [await prepay(shop, "buyer", "seller", 100_00) for _ in range(3)]
    refused = prepay_request(shop, "buyer", "seller", shop.order_no(), 9_000_00)
    await shop.refusal(shop.payments.PrepayOrder(refused, timeout=TIMEOUT_S))
    lost = prepay_request(shop, "buyer", "seller", shop.order_no(), 70_00, remark="[[lose_before]]")
    await shop.refusal(shop.payments.PrepayOrder(lost, timeout=TIMEOUT_S))
    tagged = prepay_request(shop, "buyer", "seller", shop.order_no(), 30_00)
    tagged.tags.reference = "cart 9"
    prepayment = (await shop.payments.PrepayOrder(tagged, timeout=TIMEOUT_S)).operation
    shoes, hats = await prepaid(shop)
    await cancel(shop, ended, 100_00)
    await confirm(shop, parted, 60_00, 6_00)
    in_doubt = confirm_request(shop, parted, 10_00, remark="[[lose_before]]")
    await shop.refusal(shop.payments.ConfirmOrder(in_doubt, timeout=TIMEOUT_S))

    found = await orders(shop)
    assert numbers(found) == [shoes, hats, tagged.order_no, lost.order_no, ended, parted, whole]
    by_number = {one.order_no: one for one in found}
    one = by_number[parted]
    assert (one.prepaid_fen, one.confirmed_fen, one.cancelled_fen, one.held_fen, one.remaining_fen) == (
        *(100_00, 60_00, 0),
        *(10_00, 30_00),
    )
    assert one.state == OPEN
    one = by_number[ended]
    assert (one.prepaid_fen, one.cancelled_fen, one.remaining_fen, one.state) == (100_00, 100_00, 0, CLOSED)
    one = by_number[lost.order_no]
    assert (one.prepaid_fen, one.remaining_fen, one.state, one.bank_day) == (0, 0, PENDING, "")
    assert (by_number[hats].payee_member_id, by_number[hats].remaining_fen) == ("hats", 50_00)
    one = by_number[tagged.order_no]
    assert (one.operation_id, one.tags, one.bank_day) == (
        *(prepayment.operation_id, tagged.tags),
        str(bank_day(shop)),
    )
    assert one.create_time == prepayment.create_time
    assert [await order(shop, number) for number in numbers(found)] == found

    for size in (1, 2, 5):
        assert await orders(shop, page_size=size) == found
        assert numbers(await orders(shop, page_size=size, states=[OPEN])) == [
            *(shoes, hats, tagged.order_no),
            *(parted, whole),
        ]
    assert numbers(await orders(shop, states=[CLOSED, PENDING])) == [lost.order_no, ended]
    assert numbers(await orders(shop, member_id="hats", page_size=1)) == [hats]
    assert await orders(shop, member_id="buyer") == found
    assert numbers(await orders(shop, tags=tagged.tags)) == [tagged.order_no]
    today, yesterday = str(bank_day(shop)), str(bank_day(shop) - timedelta(days=1))
    of_today = await orders(shop, first_bank_day=yesterday, last_bank_day=today, page_size=3)
    assert numbers(of_today) == [number for number in numbers(found) if number != lost.order_no]
    assert await orders(shop, first_bank_day=yesterday, last_bank_day=yesterday) == []


async def test_pages_of_orders_are_the_same_while_others_are_prepaid(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1000_00)
    for seller in ("seller", "shoes", "hats"):
        await shop.merchant(seller)
    await prepaid(shop)
    await prepay(shop, "buyer", "seller", 1_00)
    await prepaid(shop)
    before = numbers(await orders(shop))
    pages: list[str] = []
    request = payment_pb2.ListOrdersRequest(page_size=1)
    while True:
        page = await shop.payments.ListOrders(request, timeout=TIMEOUT_S)
        pages += numbers(list(page.orders))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        await prepay(shop, "buyer", "seller", 1_00)
    assert pages == before


async def test_frozen_orders_are_listed_with_what_is_released_paid_and_still_frozen(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1000_00)
    await named(shop, "seller", collects=True)
    untouched, used, gone = [await freeze(shop, "buyer", 100_00) for _ in range(3)]
    await shop.freezes.Release(release_request(shop, gone, 100_00), timeout=TIMEOUT_S)
    await shop.freezes.Release(release_request(shop, used, 20_00, 1_00), timeout=TIMEOUT_S)
    await pay_frozen(shop, used, [("seller", 30_00)], 5_00)
    # An acquired order that froze one share of two; and one that the bank booked to a wrong member.
    frozen = {"credit": acquiring_pb2.ORDER_CREDIT_FROZEN}
    await record(
        shop, await acquire(shop, share("seller", 60_00, 1_00, "S1", **frozen), share("seller", 9_00, 0, "S2"))
    )
    wrong = (await shop.balance("buyer")).sub_account
    await record(shop, await acquire(shop, share("seller", 40_00, 0, "S3", **frozen), booked_to=wrong))
    assert [numbers(await freezes(shop, member_id=one))[0] for one in ("buyer", "seller")] == ["S3", "S1"]
    await shop.acquiring.RebookOrder(rebook_request(shop, "S3", "seller"), timeout=TIMEOUT_S)

    found = await freezes(shop)
    assert numbers(found) == ["S3", "S1", gone, used, untouched]
    assert [one.member_id for one in found] == ["seller", "seller", "buyer", "buyer", "buyer"]
    assert [one.frozen_fen for one in found] == [40_00, 60_00, 100_00, 100_00, 100_00]
    assert [one.state for one in found] == [OPEN, OPEN, CLOSED, OPEN, OPEN]
    one = found[3]
    assert (one.released_fen, one.paid_fen, one.remaining_fen, one.held_fen) == (20_00, 35_00, 45_00, 0)
    assert [await frozen_order(shop, number) for number in numbers(found)] == found
    assert (
        sum(one.remaining_fen for one in found if one.member_id == "buyer") == (await shop.balance("buyer")).frozen_fen
    )
    for size in (1, 2):
        assert await freezes(shop, page_size=size) == found
    assert numbers(await freezes(shop, member_id="seller")) == ["S3", "S1"]
    assert numbers(await freezes(shop, states=[CLOSED])) == [gone]


async def test_withdrawals_that_are_open_come_first_the_oldest_first_then_the_newest_that_have_ended(
    database: str,
) -> None:
    async with open_marketplace(database, {"withdrawal_delay_s": 3600.0}) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        await shop.merchant("other", 100_00, withdrawable=True)
        made = [await withdraw(shop, "seller", fen, 1) for fen in (1_00, 2_00, 3_00, 4_00)]
        made.append(await withdraw(shop, "other", 5_00))
        for number, verdict in ((0, "success"), (2, "fail"), (3, "success")):
            shop.sandbox.bank.decide_withdrawal(made[number].serial, verdict)
            await shop.until_final(made[number].operation_id)
        send_back(shop, made[0])
        today = bank_day(shop)
        shop.sandbox.bank.move_clock(1)
        await collect(shop, today)

        found = await withdrawals(shop)
        assert [one.operation.amount_fen for one in found] == [2_00, 5_00, 4_00, 3_00, 1_00]
        assert [core_pb2.OperationState.Name(one.operation.state)[16:] for one in found] == [
            *("ACCEPTED", "ACCEPTED"),
            *("DONE", "REFUSED", "DONE"),
        ]
        assert [one.returned_fen for one in found] == [0, 0, 0, 0, 1_00]
        row = found[0].operation
        assert (row.masked_card_number[-4:], row.fee_fen, row.bank_day) == ("0048", 1, str(today))
        assert (row.bank_serial, row.create_time) == (made[1].bank_serial, made[1].create_time)
        for size in (1, 2, 3, 4):
            assert await withdrawals(shop, page_size=size) == found
        assert await withdrawals(shop, member_id="other") == [found[1]]
        assert await withdrawals(shop, states=[core_pb2.OPERATION_STATE_DONE], page_size=1) == [found[2], found[4]]
        assert await withdrawals(shop, states=[core_pb2.OPERATION_STATE_ACCEPTED], page_size=1) == found[:2]
        assert await withdrawals(shop, first_bank_day=str(today), last_bank_day=str(today)) == found


async def test_a_caller_has_the_orders_freezes_and_withdrawals_of_its_own_members_and_namespace(
    database: str, tmp_path: Path
) -> None:
    ours = "spiffe://test/ours"
    policy = given(ours, "money.pay", "money.withdraw", "read.own", members=["A"], namespace="a")
    async with locked(database, tmp_path, policy) as service:
        operator, limited = await service.shop(OPERATOR), await service.shop(ours)
        await operator.buyer("A1", 100_00, withdrawable=True)
        await operator.merchant("A2")
        await operator.merchant("B2")
        for shop, payee in ((operator, "A2"), (limited, "A2"), (operator, "B2")):
            await prepay(shop, "A1", payee, 10_00)
            await freeze(shop, "A1", 5_00)
            await withdraw(shop, "A1", 1_00)
        assert [len(await orders(limited)), len(await freezes(limited)), len(await withdrawals(limited))] == [1, 1, 1]
        assert [len(await orders(operator)), len(await freezes(operator)), len(await withdrawals(operator))] == [
            3,
            3,
            3,
        ]
        (own,) = await orders(limited, page_size=1)
        assert own.operation_id
        # An order of its members that another has prepaid is told by its number, without the request's own.
        foreign = (await orders(operator))[-1]
        told = await order(limited, foreign.order_no)
        assert (told.remaining_fen, told.operation_id, foreign.operation_id != "") == (10_00, "", True)
        assert await orders(limited, member_id="B2") == []


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"first_bank_day": "2026-11-01"}, "BANK_DAY_INVALID"),
        ({"first_bank_day": "2026-11-02", "last_bank_day": "2026-11-01"}, "BANK_DAY_INVALID"),
        ({"first_bank_day": "2024-11-02", "last_bank_day": "2025-11-04"}, "BANK_DAY_INVALID"),
        ({"page_token": "bm9uZQ"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(shop: Marketplace, wanted: dict[str, str], reason: str) -> None:
    for read in (orders, freezes, withdrawals):
        assert (await shop.refusal(read(shop, **wanted))).reason == reason


async def test_the_lists_are_printed_in_yuan(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller")
    kept, ended = [await prepay(shop, "buyer", "seller", 10_00) for _ in range(2)]
    await confirm(shop, ended, 10_00, 1_00)
    frozen = await freeze(shop, "buyer", 5_00)
    made = await withdraw(shop, "buyer", 2_00)
    target = f"127.0.0.1:{shop.service.port}", None
    of_buyer = listed.wanted("buyer", bank_day(shop) - timedelta(days=1), bank_day(shop))
    table, is_cut = await listed.orders(target, of_buyer, is_open=False)
    assert ([list(column.cells) for column in table.columns[:2]], is_cut) == ([[ended, kept], ["buyer"] * 2], False)
    assert [list(column.cells) for column in table.columns[3:8]] == [
        *(["CLOSED", "OPEN"], ["10.00", "10.00"], ["10.00", "0.00"]),
        *(["0.00", "0.00"], ["0.00", "10.00"]),
    ]
    table, _ = await listed.orders(target, listed.wanted("", None, None), is_open=True)
    assert list(table.columns[0].cells) == [kept]
    table, _ = await listed.freezes(target, of_buyer, is_open=True)
    assert [next(iter(column.cells)) for column in table.columns[:4]] == [frozen, "buyer", "OPEN", "5.00"]
    table, _ = await listed.withdrawals(target, of_buyer, is_open=False)
    row = [str(next(iter(column.cells))) for column in table.columns]
    assert (row[1], row[3], row[5][-4:], row[9]) == ("buyer", "2.00", "0048", made.serial)
    with patch.object(listed, "SHOWN_MAX", 1):
        table, is_cut = await listed.orders(target, of_buyer, is_open=False)
    assert (table.row_count, is_cut) == (1, True)

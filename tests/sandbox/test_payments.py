from __future__ import annotations

import pytest

from bankclient.messages import EscrowBalance
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.wire import Merchant, PaymentFlag


async def test_a_confirmed_order_brings_the_payee_90_of_100_and_the_fee_account_10(
    bank: Merchant,
) -> None:
    buyer, shop = await shop_and_buyer(bank)
    await bank.pay("1", buyer, shop, 10000, order_no="O1")
    assert await bank.balances(buyer) == (0, 0, 0)
    assert (await bank.call(EscrowBalance(SubAcctNo=buyer.no))).SubAcctAssureAmt == 10000
    assert bank.functional("5") == 10000
    await bank.pay("2", buyer, shop, 10000, 1000, order_no="O1")
    assert await bank.balances(shop) == (9000, 0, 0)
    assert (bank.functional("3"), bank.functional("5")) == (1000, 0)


async def test_an_order_is_given_back_to_the_payer_who_stays_the_payer(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    await bank.pay("1", buyer, shop, 4000, order_no="O1")
    await bank.pay("3", buyer, shop, 4000, order_no="O1")
    assert await bank.balances(buyer) == (10000, 0, 0)
    again = bank.payment("3", buyer, shop, 1, order_no="O1")
    assert await bank.refusal(again) == "ERR317"


async def test_an_order_is_confirmed_and_given_back_in_parts_but_never_twice(
    bank: Merchant,
) -> None:
    buyer, shop = await shop_and_buyer(bank)
    await bank.pay("1", buyer, shop, 1000, order_no="O1")
    await bank.pay("2", buyer, shop, 600, order_no="O1")
    await bank.pay("3", buyer, shop, 300, order_no="O1")
    assert await bank.refusal(bank.payment("2", buyer, shop, 101, order_no="O1")) == "ERR317"
    await bank.pay("2", buyer, shop, 100, order_no="O1")
    assert (await bank.balances(buyer))[0] == 9300
    assert (await bank.balances(shop))[0] == 700


async def test_an_order_belongs_to_the_two_who_opened_it(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    other = await bank.member("other", "SH")
    await bank.pay("1", buyer, shop, 1000, order_no="O1")
    assert await bank.refusal(bank.payment("2", buyer, other, 1000, order_no="O1")) == "ERR149"
    assert await bank.refusal(bank.payment("1", buyer, shop, 1000, order_no="O1")) == "ERR127"
    assert await bank.refusal(bank.payment("2", buyer, shop, 1000, order_no="O2")) == "ERR115"


async def test_a_t1_payment_may_spend_waiting_money_and_waits_itself(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    serial = bank.new_serial()
    await bank.pay("6", buyer, shop, 10000, 1000, serial=serial)
    assert await bank.balances(shop) == (9000, 0, 0)
    assert await bank.status("2", serial) == "0"


async def test_a_t0_payment_needs_withdrawable_money_and_brings_it(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    assert await bank.refusal(bank.payment("9", buyer, shop, 100)) == "ERR044"
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.pay("9", buyer, shop, 100, 10)
    assert await bank.balances(shop) == (90, 90, 0)
    assert await bank.balances(buyer) == (9900, 9900, 0)


@pytest.mark.parametrize("flag", ["1", "6", "9"])
async def test_ordinary_members_only_pay_and_merchants_only_collect(bank: Merchant, flag: PaymentFlag) -> None:
    buyer, shop = await shop_and_buyer(bank)
    await bank.top_up(shop, 100)
    assert await bank.refusal(bank.payment(flag, shop, shop, 100, order_no="O1")) == "ERR130"
    assert await bank.refusal(bank.payment(flag, buyer, buyer, 100, order_no="O1")) == "ERR130"


async def test_more_than_available_is_refused_and_moves_nothing(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    serial = bank.new_serial()
    assert await bank.refusal(bank.payment("6", buyer, shop, 10001), serial) == "ERR044"
    assert await bank.balances(buyer) == (10000, 0, 0)
    assert await bank.status("2", serial) == "1"


async def test_amount_and_fee_have_bounds(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    assert await bank.refusal(bank.payment("6", buyer, shop, 0)) == "ERR042"
    assert await bank.refusal(bank.payment("6", buyer, shop, 100, 101)) == "ERR126"

from __future__ import annotations

from tests.sandbox.conftest import Opened
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.requests import freezing, paying, refund
from tests.sandbox.wire import FEE_ACCOUNT, Member, Merchant


async def paid(bank: Merchant) -> tuple[Member, Member, str]:
    """100 yuan paid directly with a fee of 10; returns payer, payee, serial."""
    buyer, shop = await shop_and_buyer(bank)
    serial = bank.new_serial()
    await bank.pay("6", buyer, shop, 10000, 1000, serial=serial)
    return buyer, shop, serial


async def test_a_refund_takes_the_fee_part_from_own_funds_and_the_rest_from_the_seller(
    bank: Merchant,
) -> None:
    buyer, shop, serial = await paid(bank)
    own_funds = bank.functional("10")
    await bank.call(refund("2", serial, buyer, shop, 10000, 1000))
    assert await bank.balances(buyer) == (10000, 0, 0)
    assert await bank.balances(shop) == (0, 0, 0)
    assert (bank.functional("10"), bank.functional("3")) == (own_funds - 1000, 1000)


async def test_amount_and_fee_are_limited_apart_over_all_refunds(bank: Merchant) -> None:
    buyer, shop, serial = await paid(bank)
    await bank.call(refund("2", serial, buyer, shop, 4000, 600))
    assert await bank.refusal(refund("2", serial, buyer, shop, 6001)) == "ERR271"
    assert await bank.refusal(refund("2", serial, buyer, shop, 1000, 401)) == "ERR271"
    await bank.call(refund("2", serial, buyer, shop, 5600, 400))
    await bank.call(refund("2", serial, buyer, shop, 400))
    assert await bank.refusal(refund("2", serial, buyer, shop, 1)) == "ERR271"


async def test_a_seller_without_money_cannot_refund(bank: Merchant) -> None:
    buyer, shop, serial = await paid(bank)
    assert await bank.refusal(refund("2", serial, buyer, shop, 10000)) == "ERR044"
    await bank.call(refund("2", serial, buyer, shop, 9000))


async def test_a_confirmed_order_is_refunded_under_its_order_number(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    serial = bank.new_serial()
    await bank.pay("1", buyer, shop, 10000, order_no="O1")
    await bank.pay("2", buyer, shop, 5000, 500, order_no="O1", serial=serial)
    assert await bank.refusal(refund("1", serial, buyer, shop, 1, order_no="O2")) == "ERR115"
    assert await bank.refusal(refund("2", serial, buyer, shop, 1)) == "ERR270"
    await bank.call(refund("1", serial, buyer, shop, 5000, 500, order_no="O1"))
    assert await bank.balances(buyer) == (5000, 0, 0)


async def test_a_refund_names_the_parties_of_its_payment(bank: Merchant) -> None:
    buyer, shop, serial = await paid(bank)
    other = await bank.member("other", "SH")
    assert await bank.refusal(refund("2", serial, buyer, other, 100)) == "ERR149"
    assert await bank.refusal(refund("2", serial, other, shop, 100)) == "ERR149"
    mixed = Member(other.code, shop.no)
    assert await bank.refusal(refund("2", serial, buyer, mixed, 100)) == "ERR149"


async def test_a_payment_out_of_frozen_money_is_refunded_row_by_row_and_its_fee_apart(
    bank: Merchant,
) -> None:
    buyer = await bank.member("buyer", "00")
    one, two = await bank.member("one", "SH"), await bank.member("two", "SH")
    await bank.top_up(buyer, 10000)
    await bank.call(freezing("1", buyer, 10000))
    serial = bank.new_serial()
    await bank.call(paying(buyer, 500, ("R1", one, 3000), ("R2", two, 2000)), serial)
    fee_account = Member("platform", FEE_ACCOUNT)

    assert await bank.refusal(refund("6", "R1", buyer, two, 1, order_no="F1")) == "ERR149"
    await bank.call(refund("6", "R1", buyer, one, 3000, order_no="F1"))
    assert await bank.refusal(refund("6", "R1", buyer, one, 1, order_no="F1")) == "ERR271"
    await bank.call(refund("6", serial, fee_account, buyer, 200, order_no="F1"))
    over = refund("6", serial, fee_account, one, 301, order_no="F1")
    assert await bank.refusal(over) == "ERR271"
    await bank.call(refund("6", serial, fee_account, one, 300, order_no="F1"))
    assert bank.functional("3") == 0
    assert await bank.balances(buyer) == (3500, 0, 4500)


async def test_after_thirty_days_a_payment_is_not_refunded(bank: Merchant) -> None:
    buyer, shop, serial = await paid(bank)
    await bank.control("POST", "clock", {"advance_days": 30})
    await bank.call(refund("2", serial, buyer, shop, 1))
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.refusal(refund("2", serial, buyer, shop, 1)) == "ERR143"


async def test_after_three_months_the_booking_date_must_be_named(open_bank: Opened) -> None:
    bank = await open_bank(refund_window_days=365)
    buyer, shop, serial = await paid(bank)
    day = bank.view()["bank_day"]
    await bank.control("POST", "clock", {"advance_days": 93})
    assert await bank.refusal(refund("2", serial, buyer, shop, 1)) == "ERR936"
    wrong = refund("2", serial, buyer, shop, 1, reserved="20200101")
    assert await bank.refusal(wrong) == "ERR270"
    await bank.call(refund("2", serial, buyer, shop, 1, reserved=day))
    await bank.call(refund("2", serial, buyer, shop, 1, reserved=day[2:]))


async def test_an_unknown_original_is_not_found(bank: Merchant) -> None:
    buyer, shop, _ = await paid(bank)
    unknown = refund("2", bank.new_serial(), buyer, shop, 1)
    assert await bank.refusal(unknown) == "ERR270"


async def test_the_history_answer_comes_n_times_and_then_the_same_serial_acts(
    bank: Merchant,
) -> None:
    buyer, shop, serial = await paid(bank)
    request = refund("2", serial, buyer, shop, 1000, remark="[[history:2]]")
    refund_serial = bank.new_serial()
    for _ in range(2):
        answer = await bank.raw(request, refund_serial)
        assert answer["TxnReturnMsg"] == "未检索到原交易，正在尝试查询历史数据，请稍后再试"
        assert answer["TxnReturnCode"] == "ERR270"
    await bank.call(request, refund_serial)
    assert (await bank.balances(buyer))[0] == 1000

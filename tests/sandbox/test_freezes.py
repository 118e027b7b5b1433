from __future__ import annotations

from tests.sandbox.requests import freezing, paying
from tests.sandbox.wire import Merchant


async def test_a_freeze_takes_no_fee_and_a_release_does(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await bank.top_up(member, 10000)
    await bank.call(freezing("1", member, 10000, 500))
    assert await bank.balances(member) == (0, 0, 10000)
    await bank.call(freezing("2", member, 10000, 1000))
    assert await bank.balances(member) == (9000, 0, 0)
    assert bank.functional("3") == 1000


async def test_withdrawable_money_is_frozen_and_released_as_such(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 1000)
    assert await bank.refusal(freezing("5", member, 1)) == "ERR044"
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.call(freezing("5", member, 600))
    assert await bank.balances(member) == (400, 400, 600)
    await bank.call(freezing("6", member, 500, 100))
    assert await bank.balances(member) == (800, 800, 100)


async def test_a_freeze_is_released_in_parts_but_not_beyond(bank: Merchant) -> None:
    member, other = await bank.member("a", "00"), await bank.member("b", "00")
    await bank.top_up(member, 1000)
    await bank.call(freezing("1", member, 1000))
    await bank.call(freezing("2", member, 400))
    assert await bank.refusal(freezing("2", member, 601)) == "ERR317"
    assert await bank.refusal(freezing("2", other, 1)) == "ERR149"
    assert await bank.refusal(freezing("2", member, 1, order="F2")) == "ERR115"
    assert await bank.refusal(freezing("1", member, 1)) == "ERR127"


async def test_orders_of_payments_and_freezes_share_their_numbers(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    await bank.top_up(buyer, 1000)
    await bank.pay("1", buyer, shop, 100, order_no="X")
    assert await bank.refusal(freezing("1", buyer, 100, order="X")) == "ERR127"
    assert await bank.refusal(freezing("2", buyer, 100, order="X")) == "ERR115"


async def test_frozen_money_is_paid_to_several_with_the_commission_on_top(bank: Merchant) -> None:
    buyer = await bank.member("buyer", "00")
    one, two = await bank.member("one", "SH"), await bank.member("two", "SH")
    await bank.top_up(buyer, 10000)
    await bank.call(freezing("1", buyer, 10000))
    serial = bank.new_serial()
    await bank.call(paying(buyer, 500, ("R1", one, 3000), ("R2", two, 2000)), serial)
    assert await bank.balances(buyer) == (0, 0, 4500)
    assert (await bank.balances(one), await bank.balances(two)) == ((3000, 0, 0), (2000, 0, 0))
    assert bank.functional("3") == 500
    assert [await bank.status("2", one) for one in (serial, "R1", "R2")] == ["0", "0", "0"]


async def test_paying_more_than_is_frozen_pays_nobody(bank: Merchant) -> None:
    buyer, shop = await bank.member("buyer", "00"), await bank.member("shop", "SH")
    await bank.top_up(buyer, 1000)
    await bank.call(freezing("1", buyer, 1000))
    assert await bank.refusal(paying(buyer, 1, ("R1", shop, 1000))) == "ERR317"
    assert await bank.balances(shop) == (0, 0, 0)
    await bank.call(paying(buyer, 0, ("R1", shop, 1000)))


async def test_row_serials_never_repeat(bank: Merchant) -> None:
    buyer, shop = await bank.member("buyer", "00"), await bank.member("shop", "SH")
    await bank.top_up(buyer, 1000)
    await bank.call(freezing("1", buyer, 1000))
    await bank.call(paying(buyer, 0, ("R1", shop, 100)))
    assert await bank.refusal(paying(buyer, 0, ("R1", shop, 100))) == "ERR160"
    assert await bank.refusal(paying(buyer, 0, ("R2", shop, 1), ("R2", shop, 1))) == "ERR160"


async def test_frozen_money_goes_to_merchants_only(bank: Merchant) -> None:
    buyer, other = await bank.member("buyer", "00"), await bank.member("other", "00")
    await bank.top_up(buyer, 1000)
    await bank.call(freezing("1", buyer, 1000))
    assert await bank.refusal(paying(buyer, 0, ("R1", other, 100))) == "ERR130"

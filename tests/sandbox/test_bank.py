from __future__ import annotations

import asyncio

from bankclient.canonical import canonical_string
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.wire import Merchant


async def test_twenty_deliveries_of_one_serial_act_once_and_get_one_answer(
    bank: Merchant,
) -> None:
    buyer, shop = await shop_and_buyer(bank)
    request, serial = bank.payment("6", buyer, shop, 100), bank.new_serial()
    replies = await asyncio.gather(*(bank.call(request, serial) for _ in range(20)))
    assert len({reply.FrontSeqNo for reply in replies}) == 1
    assert await bank.balances(shop) == (100, 0, 0)


async def test_a_refusal_is_repeated_even_when_the_money_has_come_since(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank, 50)
    request, serial = bank.payment("6", buyer, shop, 100), bank.new_serial()
    assert await bank.refusal(request, serial) == "ERR044"
    await bank.top_up(buyer, 100)
    assert await bank.refusal(request, serial) == "ERR044"
    await bank.call(request)


async def test_another_business_under_a_used_serial_is_refused_and_leaves_the_first_alone(
    bank: Merchant,
) -> None:
    buyer, shop = await shop_and_buyer(bank)
    serial = bank.new_serial()
    await bank.pay("6", buyer, shop, 100, serial=serial)
    assert await bank.refusal(bank.payment("6", buyer, shop, 101), serial) == "ERR160"
    topping = bank.top_up_request(buyer, 100, 0, "T1")
    assert await bank.refusal(topping, serial) == "ERR160"
    assert await bank.status("2", serial) == "0"


async def test_a_repeat_may_carry_another_token_and_time(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    request, serial = bank.payment("6", buyer, shop, 100), bank.new_serial()
    first = await bank.call(request, serial)
    await bank.approve()
    body = bank.body(request, serial) | {"TxnTime": "20260106000000000"}
    again = (await bank.post("MemberTransaction", body)).json()
    assert again["FrontSeqNo"] == first.FrontSeqNo


async def refusal_of(bank: Merchant, **changed: str | None) -> str:
    buyer, shop = await shop_and_buyer(bank)
    body = bank.body(bank.payment("6", buyer, shop, 100), bank.new_serial())
    body.update(changed)
    body = {name: value for name, value in body.items() if value is not None}
    answer = (await bank.post("MemberTransaction", body)).json()
    assert bank.bank.verify(canonical_string(answer), answer["RsaSign"])
    assert (await bank.balances(shop))[0] == 0
    return str(answer["TxnReturnCode"])


async def test_a_missing_field_is_named(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    body = bank.body(bank.payment("6", buyer, shop, 100), bank.new_serial())
    del body["TranFee"]
    answer = (await bank.post("MemberTransaction", body)).json()
    assert answer["TxnReturnCode"] == "ERR936"
    assert "TranFee" in answer["TxnReturnMsg"]


async def test_lengths_are_checked(bank: Merchant) -> None:
    assert await refusal_of(bank, Remark="x" * 121) == "ERR936"


async def test_amounts_are_plain_yuan_to_the_fen(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    for amount in ("1.001", "1e3", "-1.00", "", "NaN"):
        body = bank.body(bank.payment("6", buyer, shop, 100), bank.new_serial())
        answer = (await bank.post("MemberTransaction", body | {"TranAmt": amount})).json()
        assert answer["TxnReturnCode"] == "ERR936"


async def test_an_unknown_flag_is_a_wrong_function_code(bank: Merchant) -> None:
    assert await refusal_of(bank, FunctionFlag="8") == "ERR021"


async def test_the_platform_must_be_its_own(bank: Merchant) -> None:
    assert await refusal_of(bank, MrchCode="1234") == "ERR026"


async def test_the_pooled_account_must_be_the_platforms(bank: Merchant) -> None:
    assert await refusal_of(bank, FundSummaryAcctNo="1") == "ERR256"


async def test_the_pooled_account_must_be_there(bank: Merchant) -> None:
    assert await refusal_of(bank, FundSummaryAcctNo=None) == "ERR936"


async def test_a_serial_has_22_characters_and_the_users_prefix(bank: Merchant) -> None:
    assert await refusal_of(bank, CnsmrSeqNo="X28550260105") == "ERR070"


async def test_a_serial_of_another_user_is_refused(bank: Merchant) -> None:
    assert await refusal_of(bank, CnsmrSeqNo="Y285502601050000000001") == "ERR070"

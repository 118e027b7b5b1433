from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from bankclient.canonical import canonical_string
from bankclient.messages import SubAccountTransactions, TransactionStatus
from sandbox.faults import Fault
from tests.sandbox.conftest import Opened
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.wire import Member, Merchant, Refusal


class Marketplace:
    """A bank, a buyer with 100 yuan and a shop."""

    def __init__(self, bank: Merchant, buyer: Member, shop: Member) -> None:
        self.bank, self.buyer, self.shop = bank, buyer, shop
        self.serial = bank.new_serial()

    async def pay(self, directive: str = "") -> dict[str, Any]:
        """Pay 1 yuan, always under one serial."""
        remark = f"[[{directive}]]" if directive else None
        request = self.bank.payment("6", self.buyer, self.shop, 100, remark=remark)
        return await self.bank.raw(request, self.serial)

    @property
    def paid(self) -> bool:
        available_fen: int = self.bank.view()["sub_accounts"][self.shop.no]["available"]
        return available_fen == 100

    def verified(self, answer: dict[str, Any]) -> bool:
        signature = str(answer.get("RsaSign", ""))
        return self.bank.bank.verify(canonical_string(answer), signature)


@pytest.fixture
async def market(bank: Merchant) -> Marketplace:
    return Marketplace(bank, *await shop_and_buyer(bank))


async def test_lost_after_acting_the_retry_gets_the_first_answer(market: Marketplace) -> None:
    with pytest.raises(httpx.TransportError):
        await market.pay("lose_after")
    assert market.paid
    assert await market.bank.status("2", market.serial) == "0"
    assert (await market.pay("lose_after"))["TxnReturnCode"] == "000000"
    assert market.paid


async def test_lost_before_acting_the_bank_knows_nothing(market: Marketplace) -> None:
    with pytest.raises(httpx.TransportError):
        await market.pay("lose_before")
    assert not market.paid
    with pytest.raises(Refusal, match="ERR020"):
        await market.bank.status("2", market.serial)
    await market.pay("lose_before")
    assert market.paid


async def test_refusing_moves_nothing_and_is_remembered(market: Marketplace) -> None:
    answer = await market.pay("refuse:ERR130")
    assert (answer["TxnReturnCode"], market.verified(answer)) == ("ERR130", True)
    assert not market.paid
    assert await market.bank.status("2", market.serial) == "1"


async def test_a_refusal_about_the_moment_is_not_remembered(market: Marketplace) -> None:
    assert (await market.pay("refuse:ERR152"))["TxnReturnCode"] == "ERR152"
    assert (await market.pay("refuse:ERR152"))["TxnReturnCode"] == "000000"


async def test_http500_does_not_act(market: Marketplace) -> None:
    with pytest.raises(json.JSONDecodeError):
        await market.pay("http500")
    assert not market.paid


@pytest.mark.parametrize("fault", ["bad_signature", "no_signature"])
async def test_an_answer_without_a_good_signature_was_acted_on(market: Marketplace, fault: str) -> None:
    answer = await market.pay(fault)
    assert answer["TxnReturnCode"] == "000000"
    assert not market.verified(answer)
    assert market.paid
    assert market.verified(await market.pay(fault))


async def test_a_folded_answer_was_acted_on_and_is_signed_without_naming_its_request(market: Marketplace) -> None:
    answer = await market.pay("folded")
    assert market.paid
    assert market.verified(answer)
    assert "CnsmrSeqNo" not in answer


async def test_a_malformed_answer_was_acted_on(market: Marketplace) -> None:
    with pytest.raises(json.JSONDecodeError):
        await market.pay("malformed")
    assert market.paid


async def test_an_expired_token_is_a_gateway_error_and_not_acted_on(market: Marketplace) -> None:
    answer = await market.pay("token_expired")
    assert answer["errorCode"] == "OPEN-E-100073"
    assert "RsaSign" not in answer
    assert not market.paid


async def test_the_expiry_flag_rides_on_a_good_answer(market: Marketplace) -> None:
    answer = await market.pay("expire_flag")
    assert (answer["tokenExpiryFlag"], market.verified(answer)) == ("true", True)
    assert market.paid


async def test_the_expiry_flag_alone_is_signed_and_not_acted_on(market: Marketplace) -> None:
    answer = await market.pay("expire_flag_alone")
    assert ("TxnReturnCode" in answer, answer["tokenExpiryFlag"], market.verified(answer)) == (False, "true", True)
    assert not market.paid
    assert (await market.pay("expire_flag_alone"))["TxnReturnCode"] == "000000"


async def test_err957_hides_an_act_that_the_retry_shows(market: Marketplace) -> None:
    answer = await market.pay("err957")
    assert (answer["TxnReturnCode"], market.verified(answer)) == ("ERR957", True)
    assert market.paid
    assert (await market.pay("err957"))["TxnReturnCode"] == "000000"


async def test_6110_may_know_nothing_at_first(market: Marketplace) -> None:
    await market.pay("not_found_first:2")
    for _ in range(2):
        with pytest.raises(Refusal, match="ERR020"):
            await market.bank.status("2", market.serial)
    assert await market.bank.status("2", market.serial) == "0"


async def test_a_duplicate_delivery_acts_once(market: Marketplace) -> None:
    assert (await market.pay("duplicate_delivery"))["TxnReturnCode"] == "000000"
    assert market.paid


async def test_a_late_copy_acts_no_second_time_whatever_happened_meanwhile(market: Marketplace) -> None:
    assert (await market.pay("duplicate_late:0.2"))["TxnReturnCode"] == "000000"
    await market.bank.pay("6", market.buyer, market.shop, 200)
    await asyncio.sleep(0.4)
    assert market.bank.view()["sub_accounts"][market.shop.no]["available"] == 300


async def test_6072_may_not_list_a_payment_at_first(market: Marketplace) -> None:
    await market.pay("not_found_first:1")
    listed = SubAccountTransactions(FunctionFlag="1", SubAcctNo=market.buyer.no, QueryFlag="1", PageNum=1)
    assert await market.bank.refusal(listed) == "ERR020"
    assert len((await market.bank.call(listed)).TranItemArray) == 1


async def test_a_delayed_answer_was_acted_on_at_once(market: Marketplace) -> None:
    started = time.monotonic()
    call = asyncio.create_task(market.pay("delay:0.2"))
    while not market.paid:
        assert time.monotonic() - started < 0.2
        await asyncio.sleep(0.005)
    await call
    assert time.monotonic() - started >= 0.2


async def test_a_late_act_comes_after_the_query_found_nothing(market: Marketplace) -> None:
    call = asyncio.create_task(market.pay("act_late:0.2"))
    await asyncio.sleep(0.05)
    with pytest.raises(Refusal, match="ERR020"):
        await market.bank.status("2", market.serial)
    assert (await call)["TxnReturnCode"] == "000000"
    assert await market.bank.status("2", market.serial) == "0"


async def test_a_rule_waits_for_its_service_skips_and_counts(market: Marketplace) -> None:
    rule = {"service_id": "MemberTransaction", "fault": "http500", "times": 1, "after": 1}
    await market.bank.control("POST", "faults", rule)
    assert (await market.bank.balances(market.buyer))[0] == 10000
    await market.pay()
    with pytest.raises(json.JSONDecodeError):
        await market.pay()
    await market.pay()


async def test_a_rule_without_end_lasts_until_deleted(market: Marketplace) -> None:
    rule = {"code": "6034", "fault": "token_expired", "times": None}
    await market.bank.control("POST", "faults", rule)
    for _ in range(3):
        assert "errorCode" in await market.pay()
    await market.bank.control("DELETE", "faults")
    assert (await market.pay())["TxnReturnCode"] == "000000"


async def test_not_found_first_on_the_query_itself_counts_queries(market: Marketplace) -> None:
    await market.pay()
    rule = {"service_id": "SingleTransactionStatusQuery", "fault": "not_found_first:2"}
    await market.bank.control("POST", "faults", rule)
    query = TransactionStatus(FunctionFlag="2", TranNetSeqNo=market.serial)
    assert [await market.bank.refusal(query) for _ in range(2)] == ["ERR020", "ERR020"]
    assert await market.bank.status("2", market.serial) == "0"


async def test_approval_can_fail_too(market: Marketplace) -> None:
    await market.bank.control("POST", "faults", {"service_id": "approveDev", "fault": "lose_before"})
    with pytest.raises(httpx.TransportError):
        await market.bank.approve()
    await market.bank.approve()


async def test_directives_can_be_switched_off(open_bank: Opened) -> None:
    bank = await open_bank(remark_directives=False)
    market = Marketplace(bank, *await shop_and_buyer(bank))
    assert (await market.pay("refuse:ERR130"))["TxnReturnCode"] == "000000"


async def test_what_arrived_is_listed_also_when_it_was_lost(market: Marketplace) -> None:
    with pytest.raises(httpx.TransportError):
        await market.pay("lose_before")
    last = (await market.bank.control("GET", "requests"))[-1]
    assert (last["service_id"], last["serial"]) == ("MemberTransaction", market.serial)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "refuse", "refuse:x", "delay:-1", "delay:x", "history:0", "http500:1"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Fault.parse(text)

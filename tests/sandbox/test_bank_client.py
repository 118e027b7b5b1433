"""The product's own client against the sandbox: the two readings of the wire agree."""

from __future__ import annotations

from bankclient import AnswerOutcome, BankClient, BankSettings
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.wire import Merchant


async def test_the_bank_client_pays_and_is_refused(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    async with BankClient(BankSettings.model_validate(bank.fields)) as client:
        done = await client.call(bank.payment("6", buyer, shop, 100), bank.new_serial())
        assert (done.outcome, done.code) == (AnswerOutcome.DONE, "000000")
        refused = await client.call(bank.payment("6", buyer, shop, 10**9), bank.new_serial())
        assert (refused.outcome, refused.code) == (AnswerOutcome.REFUSED, "ERR044")


async def test_the_bank_client_is_in_doubt_when_the_answer_is_lost(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    async with BankClient(BankSettings.model_validate(bank.fields)) as client:
        request = bank.payment("6", buyer, shop, 100, remark="[[lose_after]]")
        serial = bank.new_serial()
        assert (await client.call(request, serial)).outcome is AnswerOutcome.UNKNOWN
        assert (await client.call(request, serial)).outcome is AnswerOutcome.DONE
    assert await bank.balances(shop) == (100, 0, 0)


async def test_the_bank_client_renews_an_expired_token_and_acts_once(bank: Merchant) -> None:
    buyer, shop = await shop_and_buyer(bank)
    async with BankClient(BankSettings.model_validate(bank.fields)) as client:
        request = bank.payment("6", buyer, shop, 100, remark="[[token_expired]]")
        answer = await client.call(request, bank.new_serial())
        assert answer.outcome is AnswerOutcome.DONE
    assert await bank.balances(shop) == (100, 0, 0)

from __future__ import annotations

import httpx
import pytest

from bankclient.messages import TransactionStatus
from tests.sandbox.conftest import Opened
from tests.sandbox.people import rich_member
from tests.sandbox.requests import withdrawal
from tests.sandbox.wire import Merchant


async def test_waiting_money_cannot_be_withdrawn(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    await bank.top_up(member, 10000)
    assert await bank.refusal(withdrawal(member, 1)) == "ERR044"


async def test_an_accepted_withdrawal_leaves_the_member_at_once_and_the_bank_later(
    open_bank: Opened,
) -> None:
    bank = await open_bank(withdrawal_delay_s=3600)
    member = await rich_member(bank)
    pooled = bank.view()["pooled"]
    serial = bank.new_serial()
    reply = await bank.call(withdrawal(member, 4000), serial)
    assert reply.TransferFee == 0
    assert await bank.balances(member) == (6000, 6000, 0)
    assert (bank.functional("12"), bank.view()["pooled"]) == (4000, pooled)
    assert await bank.status("3", serial) == "5"
    await bank.control("POST", "clock", {"advance_days": 1})
    status = await bank.call(TransactionStatus(FunctionFlag="3", TranNetSeqNo=serial))
    assert (status.TranStatus, status.TranAmt, status.OutSubAcctNo) == ("0", 4000, None)
    assert (bank.functional("12"), bank.view()["pooled"]) == (0, pooled - 4000)


async def test_half_way_a_withdrawal_is_in_process(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=100 * 86400)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    await bank.control("POST", "clock", {"advance_days": 51})
    assert await bank.status("3", serial) == "6"


async def test_a_failed_withdrawal_gives_the_money_back_withdrawable(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=3600)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    await bank.control("POST", f"withdrawals/{serial}", {"result": "fail"})
    assert await bank.status("3", serial) == "1"
    assert await bank.balances(member) == (10000, 10000, 0)


async def test_a_directive_makes_a_withdrawal_fail_when_it_is_due(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=0)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000, "[[withdrawal_fail]]"), serial)
    assert await bank.status("3", serial) == "1"


async def test_a_returned_withdrawal_stays_a_success_and_is_a_new_waiting_inflow(
    open_bank: Opened,
) -> None:
    bank = await open_bank(withdrawal_delay_s=0)
    member = await rich_member(bank)
    pooled = bank.view()["pooled"]
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    await bank.control("POST", f"withdrawals/{serial}", {"result": "return"})
    assert await bank.status("3", serial) == "0"
    assert await bank.balances(member) == (10000, 6000, 0)
    assert bank.view()["pooled"] == pooled


async def test_a_withdrawal_ends_once(open_bank: Opened) -> None:
    bank = await open_bank(withdrawal_delay_s=3600)
    member = await rich_member(bank)
    serial = bank.new_serial()
    await bank.call(withdrawal(member, 4000), serial)
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await bank.control("POST", f"withdrawals/{serial}", {"result": "return"})
    await bank.control("POST", f"withdrawals/{serial}", {"result": "success"})
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await bank.control("POST", f"withdrawals/{serial}", {"result": "fail"})
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await bank.control("POST", "withdrawals/unknown", {"result": "fail"})

from __future__ import annotations

from typing import Literal

from bankclient.messages import FindSubAccount, OpenMember
from tests.sandbox.wire import PLATFORM, Merchant, PropertyFlag


def opening(code: str, flag: Literal["1", "3"] = "1", kind: PropertyFlag = "00") -> OpenMember:
    return OpenMember(FunctionFlag=flag, TranNetMemberCode=code, MemberProperty=kind)


async def test_sub_accounts_carry_the_platform_and_rise_from_1000(bank: Merchant) -> None:
    first, second = await bank.member("a", "00"), await bank.member("b", "SH")
    assert (first.no, second.no) == (f"{PLATFORM}000000001000", f"{PLATFORM}000000001001")


async def test_a_member_code_is_given_out_once(bank: Merchant) -> None:
    await bank.member("a", "00")
    assert await bank.refusal(opening("a", kind="SH")) == "ERR114"


async def test_a_member_is_found_by_code_with_its_kind(bank: Merchant) -> None:
    shop = await bank.member("shop", "SH")
    found = await bank.call(FindSubAccount(TranNetMemberCode="shop"))
    assert (found.SubAcctNo, found.ReservedMsg) == (shop.no, "SH")
    assert await bank.refusal(FindSubAccount(TranNetMemberCode="nobody")) == "ERR254"


async def test_an_account_with_money_cannot_be_closed_and_a_closed_one_is_gone(
    bank: Merchant,
) -> None:
    await bank.member("empty", "00")
    rich = await bank.member("rich", "00")
    await bank.top_up(rich, 1)
    assert await bank.refusal(opening("rich", flag="3")) == "ERR095"
    await bank.call(opening("empty", flag="3"))
    assert await bank.refusal(FindSubAccount(TranNetMemberCode="empty")) == "ERR254"
    assert await bank.refusal(opening("empty")) == "ERR114"

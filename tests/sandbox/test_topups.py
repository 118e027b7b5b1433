from __future__ import annotations

import pytest

from tests.sandbox.conftest import Opened
from tests.sandbox.requests import row, split
from tests.sandbox.wire import Member, Merchant


async def test_the_quick_starts_top_up_of_100_with_fee_10_brings_the_member_90(
    bank: Merchant,
) -> None:
    member = await bank.member("a", "SH")
    serial = await bank.top_up(member, 10000, 1000)
    assert await bank.balances(member) == (9000, 0, 0)
    assert (bank.functional("3"), bank.functional("7")) == (1000, -10000)
    assert await bank.status("4", serial) == "0"


async def test_with_net_amounts_the_fee_comes_on_top(open_bank: Opened) -> None:
    bank = await open_bank(top_up_amount="net")
    member = await bank.member("a", "SH")
    await bank.top_up(member, 9000, 1000)
    assert await bank.balances(member) == (9000, 0, 0)
    assert (bank.functional("3"), bank.functional("7")) == (1000, -10000)


async def test_an_order_number_tops_up_once(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await bank.call(bank.top_up_request(member, 100, 0, "T1"))
    assert await bank.refusal(bank.top_up_request(member, 100, 0, "T1")) == "ERR127"


async def test_the_fee_cannot_be_more_than_the_amount(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    assert await bank.refusal(bank.top_up_request(member, 100, 101, "T1")) == "ERR126"
    assert await bank.refusal(bank.top_up_request(member, 0, 0, "T2")) == "ERR042"


async def test_number_and_code_must_belong_to_one_member(bank: Merchant) -> None:
    one, other = await bank.member("a", "00"), await bank.member("b", "00")
    mixed = Member(other.code, one.no)
    assert await bank.refusal(bank.top_up_request(mixed, 100, 0, "T1")) == "ERR031"
    unknown = Member("nobody", one.no)
    assert await bank.refusal(bank.top_up_request(unknown, 100, 0, "T1")) == "ERR254"


async def test_the_quick_starts_split_of_1000_among_three_shops(bank: Merchant) -> None:
    a, b, c = [await bank.member(code, "SH") for code in "abc"]
    serial = bank.new_serial()
    rows = [
        row(a, 45000, 5000, "s1", "ROW1"),
        row(b, 27000, 3000, "s2", "ROW2"),
        row(c, 18000, 2000, "s3", "ROW3"),
    ]
    reply = await bank.call(split(*rows, total_fen=100000), serial)
    assert [(await bank.balances(one))[0] for one in (a, b, c)] == [45000, 27000, 18000]
    assert bank.functional("3") == 10000
    assert len({one.FrontSeqNo for one in reply.TranItemArray}) == 3
    for one, front in zip(rows, reply.TranItemArray, strict=True):
        assert one.SubOrderBussSeqNo is not None
        assert await bank.status("4", one.SubOrderBussSeqNo) == "0"
        assert await bank.status("4", front.FrontSeqNo) == "0"


@pytest.mark.parametrize("bad", ["total", "twice", "serial", "member"])
async def test_a_split_applies_all_its_rows_or_none(bank: Merchant, bad: str) -> None:
    a, b = await bank.member("a", "SH"), await bank.member("b", "SH")
    good = row(a, 100, 0, "s1", "ROW1")
    second = {
        "total": row(b, 100, 1, "s2", "ROW2"),
        "twice": row(a, 100, 0, "s2", "ROW2"),
        "serial": row(b, 100, 0, "s2", "ROW1"),
        "member": row(Member("b", "9930000000009999"), 100, 0, "s2", "ROW2"),
    }[bad]
    code = {"total": "ERR126", "twice": "ERR127", "serial": "ERR160", "member": "ERR031"}[bad]
    assert await bank.refusal(split(good, second, total_fen=200)) == code
    assert await bank.balances(a) == (0, 0, 0)
    assert await bank.status("4", "ROW1") == "1"
    await bank.call(split(good, total_fen=100))
    assert await bank.status("4", "ROW1") == "0"

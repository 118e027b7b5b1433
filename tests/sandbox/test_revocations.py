from __future__ import annotations

from bankclient.messages import ClearingResult, RevokeSplitTopUp, RevokeSplitTopUpRow, RevokeTopUp
from tests.sandbox.requests import row, split
from tests.sandbox.wire import Member, Merchant


async def top_up(bank: Merchant, member: Member, fen: int, fee_fen: int, order_no: str = "T1") -> str:
    """A 6129; returns the bank's serial, by which 6130 names it."""
    return (await bank.call(bank.top_up_request(member, fen, fee_fen, order_no))).FrontSeqNo


def revocation(front: str, fen: int, fee_fen: int, order_no: str = "T1") -> RevokeTopUp:
    return RevokeTopUp(
        OldFillFrontSeqNo=front,
        OldFillPayChannelType="0001",
        OldPayChannelTranSeqNo=order_no,
        OldFillEjzbOrderNo=order_no,
        ApplyCancelMemberAmt=fen,
        ApplyCancelCommission=fee_fen,
    )


def split_revocation(*rows: RevokeSplitTopUpRow, total_fen: int) -> RevokeSplitTopUp:
    return RevokeSplitTopUp(
        OldPayChannelType="0001",
        OldTotalOrderNo="total-1",
        TotalRefundAmt=total_fen,
        RefundOrderNum=len(rows),
        TranItemArray=rows,
    )


def revoked_row(member: Member, fen: int, fee_fen: int, serial: str) -> RevokeSplitTopUpRow:
    return RevokeSplitTopUpRow(
        SubOrderRefundSubAcctNo=member.no,
        SubOrderRefundMemberCd=member.code,
        SubOrderMemberRefundAmt=fen,
        SubOrderFeeRefundAmt=fee_fen,
        SubOrderRefundOrderNo=f"R{serial}",
        SubOrderRefundSeqNo=serial,
    )


async def test_a_revocation_takes_member_and_fee_apart_and_the_channel_owes_less(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    front = await top_up(bank, member, 10000, 1000)
    serial = bank.new_serial()
    await bank.call(revocation(front, 4000, 300), serial)
    assert await bank.balances(member) == (5000, 0, 0)
    assert (bank.functional("3"), bank.functional("7")) == (700, -5700)
    assert await bank.status("4", serial) == "0"


async def test_partial_revocations_together_stay_within_what_was_credited(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    front = await top_up(bank, member, 10000, 1000)
    await bank.call(revocation(front, 5000, 600))
    assert await bank.refusal(revocation(front, 4001, 0)) == "ERR271"
    assert await bank.refusal(revocation(front, 0, 401)) == "ERR271"
    await bank.call(revocation(front, 4000, 400))
    assert await bank.balances(member) == (0, 0, 0)
    assert bank.functional("7") == 0


async def test_money_that_the_member_has_spent_cannot_be_revoked(bank: Merchant) -> None:
    buyer, shop = await bank.member("a", "00"), await bank.member("b", "SH")
    front = await top_up(bank, buyer, 10000, 0)
    await bank.pay("6", buyer, shop, 6000)
    assert await bank.refusal(revocation(front, 4001, 0)) == "ERR044"
    await bank.call(revocation(front, 4000, 0))


async def test_all_that_names_the_original_must_fit(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    front = await top_up(bank, member, 10000, 0)
    assert await bank.refusal(revocation("9912310000000001", 1, 0)) == "ERR270"
    assert await bank.refusal(revocation(front, 1, 0, order_no="T2")) == "ERR270"
    assert await bank.refusal(revocation(front, 0, 0)) == "ERR042"


async def test_after_the_clearing_a_revocation_belongs_to_its_own_day(bank: Merchant) -> None:
    member = await bank.member("a", "SH")
    front = await top_up(bank, member, 10000, 0)
    await bank.control("POST", "clock", {"advance_days": 1})
    bank.channels_may_be_owed = True
    await bank.call(revocation(front, 3000, 0))
    assert await bank.balances(member) == (7000, 7000, 0)
    assert bank.functional("7") == 3000
    await top_up(bank, member, 500, 0, "T2")
    pooled = bank.view()["pooled"]
    await bank.control("POST", "clock", {"advance_days": 1})
    assert (bank.functional("7"), bank.view()["pooled"]) == (0, pooled - 2500)
    last = (await bank.call(ClearingResult(FunctionFlag="1"))).TranItemArray[-1]
    assert (last.ClearingState, last.TotalAmt) == ("0", -2500)


async def test_rows_of_a_split_are_revoked_together_and_known_by_their_own_serials(bank: Merchant) -> None:
    a, b = await bank.member("a", "SH"), await bank.member("b", "SH")
    await bank.call(split(row(a, 450, 50, "S1", "row-1"), row(b, 270, 30, "S2", "row-2"), total_fen=800))
    await bank.call(split_revocation(revoked_row(a, 450, 0, "r-1"), revoked_row(b, 70, 30, "r-2"), total_fen=550))
    assert await bank.balances(a) == (0, 0, 0)
    assert await bank.balances(b) == (200, 0, 0)
    assert (bank.functional("3"), bank.functional("7")) == (50, -250)
    assert [await bank.status("4", serial) for serial in ("r-1", "r-2")] == ["0", "0"]
    over = split_revocation(revoked_row(b, 200, 0, "r-3"), revoked_row(a, 1, 0, "r-4"), total_fen=201)
    assert await bank.refusal(over) == "ERR271"
    assert await bank.balances(b) == (200, 0, 0)
    assert await bank.status("4", "r-3") == "1"
    assert await bank.refusal(split_revocation(revoked_row(b, 1, 0, "r-2"), total_fen=1)) == "ERR160"
    assert await bank.refusal(split_revocation(revoked_row(b, 1, 0, "r-5"), total_fen=2)) == "ERR126"

"""Cards, twins and mobiles at the bank, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from bankclient.messages import (
    BindCardBySmallTransfer,
    BindCardByUnionPay,
    BoundCards,
    ChangeMobile,
    ConfirmMobileChange,
    ConfirmSmallTransfer,
    ConfirmUnionPayCode,
    CorrectCardBranch,
    SmallTransferResult,
    UnbindCard,
    Withdraw,
)
from bankclient.money import fen
from tests.sandbox.conftest import Opened
from tests.sandbox.wire import Member, Merchant

CARD = "6222000000000001"
OTHER_CARD = "6222000000000002"
MOBILE = "13000000001"


def asked(member: Member, card: str = CARD, **fields: Any) -> dict[str, Any]:
    """The fields of 6066 and 6055 for a card of the bank itself."""
    return {
        "SubAcctNo": member.no,
        "TranNetMemberCode": member.code,
        "MemberName": "测试甲",
        "MemberGlobalType": "1",
        "MemberGlobalId": "TEST0001",
        "MemberAcctNo": card,
        "BankType": "1",
        "AcctOpenBranchName": "平安银行",
        "Mobile": MOBILE,
        **fields,
    }


def code_of(member: Member, code: str, card: str = CARD) -> ConfirmUnionPayCode:
    return ConfirmUnionPayCode(
        TranNetMemberCode=member.code, SubAcctNo=member.no, MemberAcctNo=card, MessageCheckCode=code
    )


def amount_of(member: Member, amount_fen: int) -> ConfirmSmallTransfer:
    return ConfirmSmallTransfer(
        TranNetMemberCode=member.code, SubAcctNo=member.no, TakeCashAcctNo=CARD, AuthAmt=amount_fen
    )


async def last_code(bank: Merchant) -> str:
    return str((await bank.control("GET", "sms"))[-1]["code"])


async def bound(bank: Merchant, member: Member, card: str = CARD, **fields: Any) -> None:
    await bank.call(BindCardByUnionPay(**asked(member, card, **fields)))
    await bank.call(code_of(member, await last_code(bank), card))


async def cards(bank: Merchant, member: Member) -> list[str]:
    reply = await bank.call(BoundCards(QueryFlag="2", SubAcctNo=member.no))
    return [row.MemberAcctNo for row in reply.TranItemArray]


async def no_card_is_bound(bank: Merchant, member: Member) -> bool:
    return await bank.refusal(BoundCards(QueryFlag="2", SubAcctNo=member.no)) == "ERR020"


@pytest.fixture
async def seller(bank: Merchant) -> Member:
    return await bank.member("seller", "SH")


async def test_a_card_is_bound_by_the_code_of_the_text(bank: Merchant, seller: Member) -> None:
    await bank.call(BindCardByUnionPay(**asked(seller)))
    assert await no_card_is_bound(bank, seller)
    assert await bank.refusal(BindCardByUnionPay(**asked(seller))) == "ERR135"
    await bank.call(code_of(seller, await last_code(bank)))
    assert await cards(bank, seller) == [CARD]
    assert await bank.refusal(BindCardByUnionPay(**asked(seller))) == "ERR134"


async def test_five_wrong_codes_end_a_check(bank: Merchant, seller: Member) -> None:
    await bank.call(BindCardByUnionPay(**asked(seller)))
    right = await last_code(bank)
    wrong = "000000" if right != "000000" else "111111"
    assert [await bank.refusal(code_of(seller, wrong)) for _ in range(5)] == ["ERR138"] * 5
    assert await bank.refusal(code_of(seller, right)) == "ERR157"
    await bound(bank, seller)


async def test_a_code_is_too_late_after_its_life(bank: Merchant, seller: Member) -> None:
    await bank.call(BindCardByUnionPay(**asked(seller)))
    right = await last_code(bank)
    await bank.control("POST", "clock", {"advance_days": 1})
    assert await bank.refusal(code_of(seller, right)) == "ERR163"


async def test_a_card_is_checked_six_times_a_day(bank: Merchant, seller: Member) -> None:
    await bank.call(BindCardByUnionPay(**asked(seller)))
    again = [await bank.refusal(BindCardByUnionPay(**asked(seller))) for _ in range(6)]
    assert again == [*["ERR135"] * 5, "ERR258"]
    await bank.control("POST", "clock", {"advance_days": 1})
    await bound(bank, seller)


async def test_another_banks_card_needs_the_super_bank_number(bank: Merchant, seller: Member) -> None:
    by_routing = asked(seller, BankType="2", CnapsBranchId="000000000001")
    assert await bank.refusal(BindCardByUnionPay(**by_routing)) == "ERR236"
    await bank.call(BindCardByUnionPay(**by_routing, EiconBankBranchId="000000000002"))


@pytest.mark.parametrize(("shared", "refused"), [(False, True), (True, False)])
async def test_one_card_has_one_customer_unless_the_bank_allows_more(
    open_bank: Opened, shared: bool, refused: bool
) -> None:
    bank = await open_bank(shared_cards=shared)
    seller, other = await bank.member("seller", "SH"), await bank.member("other", "SH")
    await bound(bank, seller)
    if refused:
        assert await bank.refusal(BindCardByUnionPay(**asked(other))) == "ERR134"
    else:
        await bound(bank, other)
        assert await cards(bank, other) == [CARD]


async def test_the_first_binding_fixes_the_holder(bank: Merchant, seller: Member) -> None:
    await bound(bank, seller)
    other = asked(seller, OTHER_CARD, MemberName="测试乙")
    assert await bank.refusal(BindCardByUnionPay(**other)) == "ERR175"


async def test_a_pay_out_is_answered_with_its_amount(bank: Merchant, seller: Member) -> None:
    serial = bank.new_serial()
    await bank.call(BindCardBySmallTransfer(**asked(seller)), serial)
    (paid,) = await bank.control("GET", "card-payments")
    assert 1 <= paid["amount_fen"] <= 50
    assert bank.sandbox is not None
    asking = SmallTransferResult(OldTranSeqNo=serial, TranDate=bank.sandbox.bank.clock.today())
    assert (await bank.call(asking)).ReturnStatu == "0"
    assert await bank.refusal(BindCardBySmallTransfer(**asked(seller, OTHER_CARD))) == "ERR145"
    assert await bank.refusal(amount_of(seller, paid["amount_fen"] % 50 + 1)) == "ERR126"
    await bank.call(amount_of(seller, paid["amount_fen"]))
    assert await cards(bank, seller) == [CARD]


async def test_a_pay_out_ends_with_five_wrong_amounts_or_after_two_days(bank: Merchant, seller: Member) -> None:
    await bank.call(BindCardBySmallTransfer(**asked(seller)))
    (paid,) = await bank.control("GET", "card-payments")
    wrong = paid["amount_fen"] % 50 + 1
    assert [await bank.refusal(amount_of(seller, wrong)) for _ in range(5)] == ["ERR126"] * 5
    assert await bank.refusal(amount_of(seller, paid["amount_fen"])) == "ERR157"
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.call(BindCardBySmallTransfer(**asked(seller)))
    paid = (await bank.control("GET", "card-payments"))[-1]
    await bank.control("POST", "clock", {"advance_days": 3})
    assert await bank.refusal(amount_of(seller, paid["amount_fen"])) == "ERR147"


async def test_a_pay_in_binds_once_the_exact_amount_has_come(bank: Merchant, seller: Member) -> None:
    reply = await bank.call(BindCardBySmallTransfer(**asked(seller, ReservedMsg="2")))
    assert reply.ReservedMsg is not None
    amount = fen(reply.ReservedMsg)
    assert await bank.refusal(amount_of(seller, 0)) == "ERR265"
    paid = {"sub_acct_no": seller.no, "card_no": CARD, "amount_fen": amount}
    await bank.control("POST", "card-payments", paid)
    await bank.call(amount_of(seller, 0))
    assert await cards(bank, seller) == [CARD]


async def test_a_branch_is_mended_and_a_card_unbound(bank: Merchant, seller: Member) -> None:
    await bound(bank, seller)
    mended = CorrectCardBranch(
        SubAcctNo=seller.no, MemberBindAcctNo=CARD, AcctOpenBranchName="新支行", CnapsBranchId="000000000003"
    )
    await bank.call(mended)
    (row,) = (await bank.call(BoundCards(QueryFlag="1"))).TranItemArray
    assert (row.AcctOpenBranchName, row.CnapsBranchId) == ("新支行", "000000000003")
    gone = UnbindCard(FunctionFlag="1", TranNetMemberCode=seller.code, SubAcctNo=seller.no, MemberAcctNo=CARD)
    await bank.call(gone)
    assert await no_card_is_bound(bank, seller)
    assert await bank.refusal(gone) == "ERR235"


async def test_a_card_stays_while_a_withdrawal_is_under_way_and_none_goes_elsewhere(open_bank: Opened) -> None:
    bank = await open_bank(bound_cards_only=True, withdrawal_delay_s=600)
    seller = await bank.member("seller", "SH")
    await bound(bank, seller)
    await bank.top_up(seller, 100_00)
    await bank.control("POST", "clock", {"advance_days": 1})

    def withdrawal(card: str) -> Withdraw:
        return Withdraw(
            SubAcctNo=seller.no,
            TranNetMemberCode=seller.code,
            TranWebName="9930",
            MemberName="测试甲",
            TakeCashAcctNo=card,
            OutAmtAcctName="测试甲",
            CashAmt=10_00,
        )

    assert await bank.refusal(withdrawal(OTHER_CARD)) == "ERR235"
    await bank.call(withdrawal(CARD))
    gone = UnbindCard(FunctionFlag="1", TranNetMemberCode=seller.code, SubAcctNo=seller.no, MemberAcctNo=CARD)
    assert await bank.refusal(gone) == "ERR263"


async def test_a_mobile_is_changed_by_a_code_to_the_old_one(bank: Merchant, seller: Member) -> None:
    change: dict[str, Any] = {"TranNetMemberCode": seller.code, "SubAcctNo": seller.no, "ModifyType": "1"}
    assert await bank.refusal(ChangeMobile(**change, NewMobile="13000000002")) == "ERR137"
    await bound(bank, seller)
    sent = await bank.call(ChangeMobile(**change, NewMobile="13000000002"))
    assert sent.ReceiveMobile == MOBILE[-4:]
    await bank.call(
        ConfirmMobileChange(**change, MessageOrderNo=sent.MessageOrderNo, MessageCheckCode=await last_code(bank))
    )
    (row,) = (await bank.call(BoundCards(QueryFlag="2", SubAcctNo=seller.no))).TranItemArray
    assert row.Mobile == "13000000002"

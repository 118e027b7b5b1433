"""Cards: check and bind (6066, 6067, 6055, 6064, 6061), list (6098), mend (6138), unbind (6065). Quick start:
会员注册与绑定.

A check belongs to one sub-account and one card; a new one takes the place of the one before. Wrong answers are counted
although the request that brought them is refused. Where the bank pays out a few fen it is money of its own, outside
these books, and so is what a holder pays in.
"""

from __future__ import annotations

import secrets
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from typing import Any, Final

from bankclient.messages import (
    Accepted,
    BindCardBySmallTransfer,
    BindCardByUnionPay,
    Booked,
    BoundCards,
    BoundCardsRow,
    ConfirmSmallTransfer,
    ConfirmUnionPayCode,
    CorrectCardBranch,
    ListReply,
    MaybeBooked,
    SmallTransferResult,
    SmallTransferResultReply,
    UnbindCard,
)
from bankclient.money import yuan
from sandbox import codes, sms
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.paging import page_of
from sandbox.records import ACCEPTED, BoundCard, CardCheck, Counter, Member, Withdrawal, card_key

SMS: Final = "sms"
PAY_OUT: Final = "out"
PAY_IN: Final = "in"

CODE_LIFE: Final = timedelta(seconds=120)
AMOUNT_LIFE: Final = timedelta(hours=48)
PAY_OUT_INTERVAL: Final = timedelta(hours=24)
CHECKS_A_DAY: Final = 6
WRONG_MAX: Final = 5
AMOUNT_MAX_FEN: Final = 50

OTHER_BANK: Final = "2"
VERIFIED: Final = "VERIFIED"
ALL: Final = "1"


@handles(BindCardByUnionPay)
def bind_by_union_pay(context: Context, request: BindCardByUnionPay) -> Accepted:
    """6066. Refusals count as checks of the day too."""
    member, card = _asked(context, request)
    if card.bank_type == OTHER_BANK and not card.super_bank:
        raise Refused(codes.ROUTING_MISSING)
    counted = _counted(context, card)
    try:
        if _binds_at_once(context, member, card):
            return Accepted(ReservedMsg=VERIFIED)
        if _live(context, context.store.get(CardCheck, card.key), SMS):
            raise Refused(codes.CHECK_UNDER_WAY)
    except Refused as refusal:
        refusal.keeps = (counted,)
        raise
    sent = sms.send(context, sms.CARD, member.sub_acct_no, mobile=card.mobile, life_s=CODE_LIFE.total_seconds())
    _begin(context, card, SMS, CODE_LIFE, code=sent.code)
    context.store.put(counted)
    return Accepted()


@handles(ConfirmUnionPayCode)
def confirm_union_pay_code(context: Context, request: ConfirmUnionPayCode) -> MaybeBooked:
    """6067."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    check = _waiting(context, member, request.MemberAcctNo, SMS)
    given = request.MessageCheckCode
    fits = given == check.code or (context.settings.any_code and len(given) == 6 and given.isdigit())
    if not fits:
        raise Refused(codes.WRONG_SMS_CODE, keeps=(_one_wrong(check),))
    _bind(context, member, _card_of(check))
    context.store.put(replace(check, over=True))
    return MaybeBooked(FrontSeqNo=context.front_seq_no())


@handles(BindCardBySmallTransfer)
def bind_by_small_transfer(context: Context, request: BindCardBySmallTransfer) -> Accepted:
    """6055. ReservedMsg 2 is a pay-in, whose amount the answer names; anything else a pay-out."""
    member, card = _asked(context, request)
    if _binds_at_once(context, member, card):
        return Accepted(ReservedMsg=VERIFIED)
    amount = 1 if context.settings.any_code else 1 + secrets.randbelow(AMOUNT_MAX_FEN)
    if request.ReservedMsg == "2":
        _begin(context, card, PAY_IN, AMOUNT_LIFE, amount_fen=amount)
        return Accepted(ReservedMsg=yuan(amount))
    begun = [one for one in context.store.all(CardCheck) if one.kind == PAY_OUT and one.card[0] == member.sub_acct_no]
    if any(context.now - datetime.fromisoformat(one.began_at) < PAY_OUT_INTERVAL for one in begun):
        raise Refused(codes.PAY_OUT_WAITS)
    _begin(context, card, PAY_OUT, AMOUNT_LIFE, amount_fen=amount)
    return Accepted()


@handles(ConfirmSmallTransfer)
def confirm_small_transfer(context: Context, request: ConfirmSmallTransfer) -> Booked:
    """6064. For a pay-in the amount is 0, and the question is whether it has come."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    check = _waiting(context, member, request.TakeCashAcctNo, PAY_OUT, PAY_IN)
    if check.kind == PAY_IN and not check.paid_in:
        raise Refused(codes.NOT_PAID_IN)
    if check.kind == PAY_OUT and request.AuthAmt != check.amount_fen:
        raise Refused(codes.AMOUNT_MISMATCH, keeps=(_one_wrong(check),))
    _bind(context, member, _card_of(check))
    context.store.put(replace(check, over=True))
    return Booked(FrontSeqNo=context.front_seq_no())


@handles(SmallTransferResult)
def small_transfer_result(context: Context, request: SmallTransferResult) -> SmallTransferResultReply:
    """6061: a pay-out arrives at once here."""
    for check in context.store.all(CardCheck):
        day = datetime.fromisoformat(check.began_at).date()
        if (check.serial, check.kind, day) == (request.OldTranSeqNo, PAY_OUT, request.TranDate):
            return SmallTransferResultReply(ReturnStatu="0")
    raise Refused(codes.NO_RECORD)


@handles(BoundCards)
def bound_cards(context: Context, request: BoundCards) -> ListReply[BoundCardsRow]:
    """6098. Flag 3 gives one row, the identity that the last binding has."""
    cards = [one for one in context.store.all(BoundCard) if not one.unbound]
    if request.QueryFlag != ALL:
        member = context.member(request.SubAcctNo or "")
        cards = [one for one in cards if one.sub_acct_no == member.sub_acct_no]
        if request.QueryFlag == "3":
            cards = cards[-1:]
    page = page_of(cards, request.PageNum)
    return ListReply[BoundCardsRow](**page.fields, TranItemArray=tuple(_row(context, one) for one in page.rows))


@handles(CorrectCardBranch)
def correct_card_branch(context: Context, request: CorrectCardBranch) -> Accepted:
    """6138."""
    card = _bound(context, context.member(request.SubAcctNo), request.MemberBindAcctNo)
    context.store.put(
        replace(
            card,
            branch=request.AcctOpenBranchName,
            cnaps=request.CnapsBranchId or "",
            super_bank=request.EiconBankBranchId or "",
        )
    )
    return Accepted()


@handles(UnbindCard)
def unbind_card(context: Context, request: UnbindCard) -> MaybeBooked:
    """6065. Not while a withdrawal of the member is under way."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    card = _bound(context, member, request.MemberAcctNo)
    withdrawals = context.store.all(Withdrawal)
    if any(one.sub_acct_no == member.sub_acct_no and one.status == ACCEPTED for one in withdrawals):
        raise Refused(codes.WITHDRAWAL_UNDER_WAY)
    context.store.put(replace(card, unbound=True))
    return MaybeBooked(FrontSeqNo=context.front_seq_no())


def pay_in(context: Context, sub_acct_no: str, card_no: str, amount_fen: int) -> None:
    """The holder pays in; another amount than the one asked for is matched to nothing."""
    check = context.store.get(CardCheck, card_key(sub_acct_no, card_no))
    if check is None or not _live(context, check, PAY_IN) or check.amount_fen != amount_fen:
        raise Refused(codes.NO_CHECK)
    context.store.put(replace(check, paid_in=True))


def _asked(context: Context, request: BindCardByUnionPay | BindCardBySmallTransfer) -> tuple[Member, BoundCard]:
    """The member and the card that a request wants to bind, when nothing speaks against it."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    card = BoundCard(
        sub_acct_no=member.sub_acct_no,
        card_no=request.MemberAcctNo,
        name=request.MemberName,
        id_type=request.MemberGlobalType,
        id_no=request.MemberGlobalId,
        bank_type=request.BankType,
        branch=request.AcctOpenBranchName,
        cnaps=request.CnapsBranchId or "",
        super_bank=request.EiconBankBranchId or "",
        mobile=request.Mobile,
    )
    if member.holder and member.holder != card.name:
        raise Refused(codes.NAME_DIFFERS)
    for other in context.store.all(BoundCard):
        if other.card_no != card.card_no or other.unbound:
            continue
        own = other.sub_acct_no == member.sub_acct_no
        if own or (other.sub_acct_no != member.same_name and not context.settings.shared_cards):
            raise Refused(codes.CARD_BOUND)
    return member, card


def _counted(context: Context, card: BoundCard) -> Counter:
    name = f"checks:{card.card_no}:{context.today}"
    counter = context.store.get(Counter, name)
    done = 0 if counter is None else counter.last
    if done >= CHECKS_A_DAY:
        raise Refused(codes.TOO_MANY_CHECKS)
    return Counter(name, done + 1)


def _binds_at_once(context: Context, member: Member, card: BoundCard) -> bool:
    """Whether the same customer's other sub-account has this card of this holder; then it is bound (6167)."""
    twin = context.store.get(BoundCard, card_key(member.same_name, card.card_no)) if member.same_name else None
    if twin is None or twin.unbound:
        return False
    if (twin.name, twin.id_type, twin.id_no) != (card.name, card.id_type, card.id_no):
        raise Refused(codes.HOLDER_DIFFERS)
    _bind(context, member, card)
    return True


def _begin(context: Context, card: BoundCard, kind: str, life: timedelta, code: str = "", amount_fen: int = 0) -> None:
    fields = tuple(str(value) for value in astuple(card)[:-1])
    ends = context.now + life
    context.store.put(
        CardCheck(
            kind, context.serial, fields, context.now.isoformat(), ends.isoformat(), code=code, amount_fen=amount_fen
        )
    )


def _card_of(check: CardCheck) -> BoundCard:
    fields: Any = check.card
    return BoundCard(*fields)


def _live(context: Context, check: CardCheck | None, *kinds: str) -> bool:
    if check is None or check.kind not in kinds or check.over or check.wrong >= WRONG_MAX:
        return False
    return context.now <= datetime.fromisoformat(check.ends_at)


def _waiting(context: Context, member: Member, card_no: str, *kinds: str) -> CardCheck:
    """The check that waits for an answer; refuses with the reason why none does."""
    check = context.store.get(CardCheck, card_key(member.sub_acct_no, card_no))
    by_sms = SMS in kinds
    if check is None or check.kind not in kinds or check.over:
        raise Refused(codes.NO_VERIFICATION if by_sms else codes.NO_CHECK)
    if check.wrong >= WRONG_MAX:
        raise Refused(codes.TOO_MANY_ERRORS)
    if not _live(context, check, *kinds):
        raise Refused(codes.INSTRUCTION_EXPIRED if by_sms else codes.PAY_OUT_EXPIRED)
    return check


def _one_wrong(check: CardCheck) -> CardCheck:
    return replace(check, wrong=check.wrong + 1)


def _bind(context: Context, member: Member, card: BoundCard) -> None:
    """The first binding fixes the holder's name, which becomes the name of the sub-account."""
    context.store.put(card)
    context.store.put(replace(member, holder=card.name, name=card.name, mobile=member.mobile or card.mobile))


def _bound(context: Context, member: Member, card_no: str) -> BoundCard:
    card = context.store.get(BoundCard, card_key(member.sub_acct_no, card_no))
    if card is None or card.unbound:
        raise Refused(codes.NO_CARD)
    return card


def _row(context: Context, card: BoundCard) -> BoundCardsRow:
    member = context.member(card.sub_acct_no)
    return BoundCardsRow(
        FundSummaryAcctNo=context.settings.fund_summary_acct_no,
        SubAcctNo=card.sub_acct_no,
        TranNetMemberCode=member.code,
        MemberName=card.name,
        MemberGlobalType=card.id_type,
        MemberGlobalId=card.id_no,
        MemberAcctNo=card.card_no,
        BankType=card.bank_type,
        AcctOpenBranchName=card.branch,
        Mobile=member.mobile or card.mobile,
        CnapsBranchId=card.cnaps,
        EiconBankBranchId=card.super_bank,
    )

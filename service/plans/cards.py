"""Plans that bind, mend and unbind members' cards: 6066, 6067, 6055, 6064, 6065, 6138. They move no money.

A binding takes two calls: one has the bank check card and holder and send something only the holder can know (a code,
or a small amount), the other hands that in. What the bank's words do to the card is `change_of`, whoever heard them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from bankclient import (
    BindCardBySmallTransfer,
    BindCardByUnionPay,
    ConfirmSmallTransfer,
    ConfirmUnionPayCode,
    CorrectCardBranch,
    Reply,
    Request,
    UnbindCard,
    fen,
)
from jzb.v1 import card_pb2
from jzb.v1.names import OperationKind
from ledger import Card, CardChange, CardState, CheckedBy, Member
from service.plans.plan import CardAsk, Plan, Serials, Word
from service.vault import Personal

VERIFIED = "VERIFIED"
"""ReservedMsg of 6066 and 6055: the same customer's other sub-account was checked before, the card is bound at once."""

PAYS_OUT: Literal["1"] = "1"
PAYS_IN: Literal["2"] = "2"
"""ReservedMsg of 6055: which way the small transfer goes."""

WRONG_ANSWER = frozenset({"ERR138", "ERR126"})
"""A wrong code, or a wrong amount (transport.md 3.5)."""

CHECK_ENDED = frozenset({"ERR137", "ERR147", "ERR157", "ERR163", "ERR258", "ERR264"})
"""The check is past its time, had too many wrong answers, or is not there (transport.md 3.5)."""

KEPT_CARD = "card_id"
"""In `Plan.keep`: the card that the operation is about."""


@dataclass(frozen=True, slots=True)
class CardSaid:
    """What the bank says of a card beside its word: whether it is bound, and what the holder has to pay in."""

    is_bound: bool = False
    pay_in_fen: int | None = None


NOTHING_SAID = CardSaid()


def card_said(reply: Reply) -> CardSaid:
    """What the reply to a call says of its card; nothing for calls that are not about one."""
    reserved: str = getattr(reply, "ReservedMsg", None) or ""
    if reserved == VERIFIED:
        return CardSaid(is_bound=True)
    try:
        return CardSaid(pay_in_fen=fen(reserved))
    except ValueError:
        return NOTHING_SAID


def change_of(ask: CardAsk, word: Word, code: str, said: CardSaid) -> CardChange | None:
    """What the bank's final word does to the card; None when it leaves the card as it is."""
    same = CardChange(card_id=UUID(ask.card_id))
    match ask.does, word:
        case "check", Word.DONE if said.is_bound:
            return replace(same, state=CardState.BOUND)
        case "check", Word.DONE:
            return replace(same, life_s=ask.life_s, pay_in_fen=said.pay_in_fen)
        case "check", Word.REFUSED:
            return replace(same, state=CardState.FAILED)
        case "confirm", Word.DONE:
            return replace(same, state=CardState.BOUND)
        case "confirm", Word.REFUSED if code in CHECK_ENDED:
            return replace(same, state=CardState.FAILED)
        case "confirm", Word.REFUSED if code in WRONG_ANSWER:
            return replace(same, wrong=1)
        case "unbind", Word.DONE:
            return replace(same, state=CardState.UNBOUND)
        case "correct", Word.DONE:
            return replace(same, branch_name=ask.branch_name, cnaps_no=ask.cnaps_no, super_bank_no=ask.super_bank_no)
    return None


def personal(request: card_pb2.CheckCardBySmsRequest | card_pb2.CheckCardByTransferRequest) -> Personal:
    """What is personal in a request that begins a check."""
    return Personal(
        number=request.card_number,
        holder=request.card_holder_name,
        identity_type=str(request.identity_type),
        identity_number=request.identity_number,
        mobile=request.mobile,
    )


def check_by_sms(
    request: card_pb2.CheckCardBySmsRequest, member: Member, card: Card, serials: Serials, life_s: float
) -> Plan:
    """6066: the bank compares card, name, document and mobile, and texts a code."""
    message = BindCardByUnionPay(**_to_bind(request, member))
    ask = CardAsk(sub_account=member.sub_account, card_id=str(card.card_id), does="check", life_s=life_s)
    return _plan(OperationKind.CHECK_CARD_BY_SMS, message, member, ask, card=replace(card, serial=serials.own))


def check_by_transfer(
    request: card_pb2.CheckCardByTransferRequest, member: Member, card: Card, serials: Serials, life_s: float
) -> Plan:
    """6055: the bank pays a few fen out to the card, or tells the holder what to pay in from it."""
    pays_out = card.checked_by is CheckedBy.PAY_OUT
    message = BindCardBySmallTransfer(**_to_bind(request, member), ReservedMsg=PAYS_OUT if pays_out else PAYS_IN)
    ask = CardAsk(
        sub_account=member.sub_account,
        card_id=str(card.card_id),
        does="check",
        life_s=life_s,
        pays_out=pays_out,
    )
    return _plan(OperationKind.CHECK_CARD_BY_TRANSFER, message, member, ask, card=replace(card, serial=serials.own))


def confirm_by_sms(member: Member, card: Card, number: str, code: str) -> Plan:
    """6067: the code of 6066 binds the card."""
    message = ConfirmUnionPayCode(
        TranNetMemberCode=member.member_id,
        SubAcctNo=member.sub_account,
        MemberAcctNo=number,
        MessageCheckCode=code,
    )
    return _plan(OperationKind.CONFIRM_CARD_BY_SMS, message, member, _about(member, card, "confirm"))


def confirm_by_transfer(member: Member, card: Card, number: str, received_fen: int) -> Plan:
    """6064: the amount of a pay-out binds the card; of a pay-in, 0 asks the bank whether it has come."""
    message = ConfirmSmallTransfer(
        TranNetMemberCode=member.member_id,
        SubAcctNo=member.sub_account,
        TakeCashAcctNo=number,
        AuthAmt=received_fen,
    )
    return _plan(OperationKind.CONFIRM_CARD_BY_TRANSFER, message, member, _about(member, card, "confirm"))


def unbind(member: Member, card: Card, number: str) -> Plan:
    """6065."""
    message = UnbindCard(
        FunctionFlag="1", TranNetMemberCode=member.member_id, SubAcctNo=member.sub_account, MemberAcctNo=number
    )
    return _plan(OperationKind.UNBIND_CARD, message, member, _about(member, card, "unbind"))


def correct_branch(request: card_pb2.CorrectCardBranchRequest, member: Member, card: Card, number: str) -> Plan:
    """6138: other routing numbers for a bound card, without a new check."""
    message = CorrectCardBranch(
        SubAcctNo=member.sub_account,
        MemberBindAcctNo=number,
        AcctOpenBranchName=request.branch_name,
        CnapsBranchId=request.cnaps_no or None,
        EiconBankBranchId=request.super_bank_no or None,
    )
    ask = replace(
        _about(member, card, "correct"),
        branch_name=request.branch_name,
        cnaps_no=request.cnaps_no,
        super_bank_no=request.super_bank_no,
    )
    return _plan(OperationKind.CORRECT_CARD_BRANCH, message, member, ask)


def _to_bind(
    request: card_pb2.CheckCardBySmsRequest | card_pb2.CheckCardByTransferRequest, member: Member
) -> dict[str, Any]:
    return {
        "SubAcctNo": member.sub_account,
        "TranNetMemberCode": member.member_id,
        "MemberName": request.card_holder_name,
        "MemberGlobalType": str(request.identity_type),
        "MemberGlobalId": request.identity_number,
        "MemberAcctNo": request.card_number,
        "BankType": str(request.bank_type),
        "AcctOpenBranchName": request.branch_name,
        "CnapsBranchId": request.cnaps_no or None,
        "EiconBankBranchId": request.super_bank_no or None,
        "Mobile": request.mobile,
    }


def _about(member: Member, card: Card, does: Literal["confirm", "unbind"] | Literal["correct"]) -> CardAsk:
    return CardAsk(sub_account=member.sub_account, card_id=str(card.card_id), does=does)


def _plan(kind: OperationKind, message: Request[Any], member: Member, ask: CardAsk, card: Card | None = None) -> Plan:
    return Plan(
        kind=kind,
        message=message,
        drafts=(),
        ask=ask,
        payer=member.member_id,
        keep={KEPT_CARD: ask.card_id},
        card=card,
        # A card can be unbound from a member that is being closed: it may be what stands in the way.
        with_members=() if ask.does == "unbind" else (member.sub_account,),
    )

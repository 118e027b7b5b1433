"""Plans that bind, mend and unbind members' cards: 6066, 6067, 6055, 6064, 6065, 6138. They move no money.

A binding takes two calls: one has the bank check card and holder and send something only the holder can know (a code,
or a small amount), the other hands that in. What the bank's answer does to the card is `CardQuery.card_changes`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from bankclient import (
    BindCardBySmallTransfer,
    BindCardByUnionPay,
    ConfirmSmallTransfer,
    ConfirmUnionPayCode,
    CorrectCardBranch,
    Request,
    UnbindCard,
)
from jzb.v1 import card_pb2
from jzb.v1.names import OperationKind
from ledger import Card, CheckedBy, Member
from service.plans.plan import Plan, Serials
from service.questions.cards import CardQuery
from service.recorded import MASKED_CARD
from service.vault import Personal

PAYS_OUT: Literal["1"] = "1"
PAYS_IN: Literal["2"] = "2"
"""ReservedMsg of 6055: which way the small transfer goes."""

KEPT_CARD = "card_id"
"""In `Plan.keep`: the card that the operation is about."""


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
    query = CardQuery(sub_account=member.sub_account, card_id=str(card.card_id), does="check", life_s=life_s)
    return _plan(OperationKind.CHECK_CARD_BY_SMS, message, member, query, card, serials)


def check_by_transfer(
    request: card_pb2.CheckCardByTransferRequest, member: Member, card: Card, serials: Serials, life_s: float
) -> Plan:
    """6055: the bank pays a few fen out to the card, or tells the holder what to pay in from it."""
    pays_out = card.checked_by is CheckedBy.PAY_OUT
    message = BindCardBySmallTransfer(**_to_bind(request, member), ReservedMsg=PAYS_OUT if pays_out else PAYS_IN)
    query = CardQuery(
        sub_account=member.sub_account,
        card_id=str(card.card_id),
        does="check",
        life_s=life_s,
        pays_out=pays_out,
    )
    return _plan(OperationKind.CHECK_CARD_BY_TRANSFER, message, member, query, card, serials)


def confirm_by_sms(member: Member, card: Card, number: str, code: str) -> Plan:
    """6067: the code of 6066 binds the card."""
    message = ConfirmUnionPayCode(
        TranNetMemberCode=member.member_id,
        SubAcctNo=member.sub_account,
        MemberAcctNo=number,
        MessageCheckCode=code,
    )
    return _plan(OperationKind.CONFIRM_CARD_BY_SMS, message, member, _about(member, card, "confirm"), card)


def confirm_by_transfer(member: Member, card: Card, number: str, received_fen: int) -> Plan:
    """6064: the amount of a pay-out binds the card; of a pay-in, 0 asks the bank whether it has come."""
    message = ConfirmSmallTransfer(
        TranNetMemberCode=member.member_id,
        SubAcctNo=member.sub_account,
        TakeCashAcctNo=number,
        AuthAmt=received_fen,
    )
    return _plan(OperationKind.CONFIRM_CARD_BY_TRANSFER, message, member, _about(member, card, "confirm"), card)


def unbind(member: Member, card: Card, number: str) -> Plan:
    """6065."""
    message = UnbindCard(
        FunctionFlag="1", TranNetMemberCode=member.member_id, SubAcctNo=member.sub_account, MemberAcctNo=number
    )
    return _plan(OperationKind.UNBIND_CARD, message, member, _about(member, card, "unbind"), card)


def correct_branch(request: card_pb2.CorrectCardBranchRequest, member: Member, card: Card, number: str) -> Plan:
    """6138: other routing numbers for a bound card, without a new check."""
    message = CorrectCardBranch(
        SubAcctNo=member.sub_account,
        MemberBindAcctNo=number,
        AcctOpenBranchName=request.branch_name,
        CnapsBranchId=request.cnaps_no or None,
        EiconBankBranchId=request.super_bank_no or None,
    )
    query = replace(
        _about(member, card, "correct"),
        branch_name=request.branch_name,
        cnaps_no=request.cnaps_no,
        super_bank_no=request.super_bank_no,
    )
    return _plan(OperationKind.CORRECT_CARD_BRANCH, message, member, query, card)


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


def _about(member: Member, card: Card, does: Literal["confirm", "unbind", "correct"]) -> CardQuery:
    return CardQuery(sub_account=member.sub_account, card_id=str(card.card_id), does=does)


def _plan(
    kind: OperationKind,
    message: Request[Any],
    member: Member,
    query: CardQuery,
    card: Card,
    begun_by: Serials | None = None,
) -> Plan:
    """``begun_by`` where the card is new, and recorded with the reservation."""
    return Plan(
        kind=kind,
        message=message,
        query=query,
        payer=member.member_id,
        keep={KEPT_CARD: query.card_id, MASKED_CARD: card.masked},
        card=None if begun_by is None else replace(card, serial=begun_by.own),
        # A card can be unbound from a member that is being closed: it may be what stands in the way.
        with_members=() if query.does == "unbind" else (member.sub_account,),
    )

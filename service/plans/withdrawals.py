"""Plans that pay withdrawable money out to a card: 6033, 6085, 6111 (quick start: 会员提现).

The bank's success means accepted: the money leaves the member for the withdrawal in-transit account and waits there
for the bank's final word. On success it leaves the pooled account; on failure the first movement is taken back.
"""

from __future__ import annotations

from typing import Any

from bankclient import Request, Withdraw, WithdrawByPassword, WithdrawBySms, yuan
from jzb.v1 import withdrawal_pb2
from jzb.v1.names import OperationKind
from ledger import Draft, Leg, Member, reverse
from ledger.accounts import POOLED, WITHDRAWING, withdrawable
from ledger.names import MemberCode
from service.plans.cards import KEPT_CARD
from service.plans.payments import paid
from service.plans.plan import Facts, Plan, Serials
from service.plans.verification import mode_of, proof
from service.questions.status import StatusQuery
from service.recorded import MASKED_CARD
from service.vault import Personal, masked


def withdraw(
    request: withdrawal_pb2.WithdrawRequest,
    facts: Facts,
    serials: Serials,
    platform_name: str,
    card: Personal | None = None,
) -> Plan:
    """``amount_fen`` reaches the card, ``fee_on_top_fen`` comes on top; the final word is 6110's, whatever the flavour.

    ``card`` is what the request's card_id stands for; without it the request names number and holder itself.
    """
    member = facts.members[MemberCode(request.member_id)]
    taken = Draft(
        paid(
            withdrawable(member.sub_account),
            WITHDRAWING,
            request.amount_fen + request.fee_on_top_fen,
            request.fee_on_top_fen,
        ),
        serial=serials.own,
        payer=member.member_id,
        amount_fen=request.amount_fen + request.fee_on_top_fen,
        fee_fen=request.fee_on_top_fen,
    )
    return Plan(
        kind=OperationKind.WITHDRAW,
        message=_message(request, member, platform_name, card),
        drafts=(taken,),
        then=(
            Draft(
                (Leg(WITHDRAWING, POOLED, request.amount_fen),), payer=member.member_id, amount_fen=request.amount_fen
            ),
        ),
        undo=(reverse(taken, part=1),),
        query=StatusQuery("3"),
        payer=member.member_id,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_on_top_fen,
        keep={
            **({KEPT_CARD: request.card_id} if request.card_id else {}),
            MASKED_CARD: masked(card.number if card else request.card_number),
        },
    )


def _message(
    request: withdrawal_pb2.WithdrawRequest, member: Member, platform_name: str, card: Personal | None
) -> Request[Any]:
    number = card.number if card else request.card_number
    holder = card.holder if card else request.card_holder_name
    fields: dict[str, Any] = {
        "SubAcctNo": member.sub_account,
        "TranNetMemberCode": member.member_id,
        "TakeCashAcctNo": number,
        "Remark": request.remark or None,
    }
    mode = mode_of(request.verification)
    if mode == "none":
        # 6033 has no field for a fee: it travels in ReservedMsg (notes.md 9.12).
        return Withdraw(
            **fields,
            TranWebName=platform_name,
            MemberName=holder,
            OutAmtAcctName=holder,
            CashAmt=request.amount_fen,
            ReservedMsg=yuan(request.fee_on_top_fen) if request.fee_on_top_fen else None,
        )
    fields |= {
        "SubAcctName": holder,
        "TakeCashAcctName": holder,
        "TakeCashCommission": request.fee_on_top_fen,
        **proof(request.verification),
    }
    if mode == "sms":
        return WithdrawBySms(**fields, CashAmt=request.amount_fen)
    return WithdrawByPassword(**fields, ApplyTakeCashAmt=request.amount_fen)

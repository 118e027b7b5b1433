"""Plans that pay withdrawable money out to a card: 6033 (quick start: 会员提现).

The bank's success means accepted: the money leaves the member for the withdrawal in-transit account and waits there
for the bank's final word. On success it leaves the pooled account; on failure the first movement is taken back.
"""

from __future__ import annotations

from bankclient import Withdraw, yuan
from jzb.v1 import withdrawal_pb2
from ledger import Draft, Leg, reverse
from ledger.accounts import POOLED, WITHDRAWING, withdrawable
from service.plans.payments import paid
from service.plans.plan import Facts, Plan, Serials, StatusAsk


def withdraw(request: withdrawal_pb2.WithdrawRequest, facts: Facts, serials: Serials, platform_name: str) -> Plan:
    """6033: ``amount_fen`` reaches the card, ``fee_fen`` comes on top and travels in ReservedMsg (notes.md 9.12)."""
    member = facts.members[request.member_id]
    taken = Draft(
        paid(withdrawable(member.sub_account), WITHDRAWING, request.amount_fen + request.fee_fen, request.fee_fen),
        serial=serials.own,
        payer=member.member_id,
        amount_fen=request.amount_fen + request.fee_fen,
        fee_fen=request.fee_fen,
    )
    return Plan(
        kind="WITHDRAW",
        message=Withdraw(
            TranWebName=platform_name,
            SubAcctNo=member.sub_account,
            TranNetMemberCode=member.member_id,
            MemberName=request.card_holder_name,
            TakeCashAcctNo=request.card_number,
            OutAmtAcctName=request.card_holder_name,
            CashAmt=request.amount_fen,
            Remark=request.remark or None,
            ReservedMsg=yuan(request.fee_fen) if request.fee_fen else None,
        ),
        drafts=(taken,),
        then=(
            Draft(
                (Leg(WITHDRAWING, POOLED, request.amount_fen),), payer=member.member_id, amount_fen=request.amount_fen
            ),
        ),
        undo=(reverse(taken, part=1),),
        ask=StatusAsk("3"),
        payer=member.member_id,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
    )

"""Plans that take a top-up back: 6130 and 6217 (quick start: 撤销会员在途充值, 第三方支付渠道在途充值撤销（分账）).

The member gives its part out of its available money, the fee account gives the fee, and the channel owes that much
less. The two parts are limited apart, as the bank counts them (catalogue 6130): by what is left of each in the
top-up's own accounts, so that revocations that are still pending count. The in-transit account is that of the bank
day of the revocation, before and after the clearing of the top-up's day alike, because the bank makes one record a
day of what was booked on it (6108).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bankclient import RevokeSplitTopUp, RevokeSplitTopUpRow, RevokeTopUp
from jzb.v1 import topup_pb2
from jzb.v1.names import OperationKind
from ledger import Available, Draft, Kind, Leg, Member, OfDay, Operation
from ledger.accounts import FEE, LIMITS, revocable, revocable_fee
from ledger.names import Serial
from service.plans.plan import Plan, Serials
from service.plans.topups import through
from service.questions.status import StatusQuery
from service.recorded import CHANNEL, CHANNEL_SERIAL, ORIGINAL

RevokedOrder = Literal["original", "new"]
"""What SubOrderRefundOrderNo of 6217 says: the row's SubOrderNo again, or a number of its own (not published)."""


@dataclass(frozen=True, slots=True)
class RevokedShare:
    """What is to be taken back of a share; ``amount_fen`` is gross, the fee inside."""

    serial: Serial
    order_no: str
    member: Member
    amount_fen: int
    fee_fen: int

    @property
    def net_fen(self) -> int:
        """The member's part."""
        return self.amount_fen - self.fee_fen


def revoke_top_up(request: topup_pb2.RevokeTopUpRequest, top_up: Operation, member: Member, serials: Serials) -> Plan:
    """6130: the bank knows the top-up by its own serial and by all that the channel said of it."""
    share = RevokedShare(top_up.serial, top_up.order_no, member, request.amount_fen, request.fee_fen)
    kept = top_up.plan["keep"]
    return Plan(
        kind=OperationKind.REVOKE_TOP_UP,
        message=RevokeTopUp(
            OldFillFrontSeqNo=top_up.bank_serial,
            OldFillPayChannelType=kept[CHANNEL],
            OldPayChannelTranSeqNo=kept[CHANNEL_SERIAL],
            OldFillEjzbOrderNo=top_up.order_no,
            ApplyCancelMemberAmt=share.net_fen,
            ApplyCancelCommission=share.fee_fen,
            Remark=request.remark or None,
        ),
        drafts=(_draft(share, serials.own),),
        query=StatusQuery("4"),
        payer=member.member_id,
        order_no=top_up.order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        keep={ORIGINAL: top_up.serial},
        found_by=through(kept[CHANNEL_SERIAL]),
        with_members=(member.sub_account,),
    )


def revoke_split_top_up(
    top_up: Operation, shares: Sequence[RevokedShare], serials: Serials, order: RevokedOrder
) -> Plan:
    """6217: each row has a serial of its own by which 6110 knows it, as in 6216."""
    rows = list(zip(shares, serials.rows, strict=True))
    total_fen = sum(one.amount_fen for one in shares)
    return Plan(
        kind=OperationKind.REVOKE_SPLIT_TOP_UP,
        message=RevokeSplitTopUp(
            OldPayChannelType=top_up.plan["keep"][CHANNEL],
            OldTotalOrderNo=top_up.order_no,
            TotalRefundAmt=total_fen,
            RefundOrderNum=len(rows),
            TranItemArray=tuple(
                RevokeSplitTopUpRow(
                    SubOrderRefundSubAcctNo=one.member.sub_account,
                    SubOrderRefundMemberCd=one.member.member_id,
                    SubOrderMemberRefundAmt=one.net_fen,
                    SubOrderFeeRefundAmt=one.fee_fen,
                    SubOrderRefundOrderNo=one.order_no if order == "original" else serial,
                    SubOrderRefundSeqNo=serial,
                )
                for one, serial in rows
            ),
        ),
        drafts=tuple(_draft(one, serial, one.order_no) for one, serial in rows),
        query=StatusQuery("4", by_part=True),
        order_no=top_up.order_no,
        amount_fen=total_fen,
        fee_fen=sum(one.fee_fen for one in shares),
        keep={ORIGINAL: top_up.serial},
        with_members=tuple(one.member.sub_account for one in shares),
    )


def _draft(share: RevokedShare, serial: Serial, order_no: str = "") -> Draft:
    owed = OfDay(Kind.IN_TRANSIT)
    legs = []
    if share.net_fen:
        legs.append(Leg(revocable(share.serial), LIMITS, share.net_fen))
    if share.fee_fen:
        legs.append(Leg(revocable_fee(share.serial), LIMITS, share.fee_fen))
    if share.net_fen:
        legs.append(Leg(Available(share.member.sub_account), owed, share.net_fen))
    if share.fee_fen:
        legs.append(Leg(FEE, owed, share.fee_fen))
    return Draft(
        tuple(legs),
        serial=serial,
        payer=share.member.member_id,
        amount_fen=share.amount_fen,
        fee_fen=share.fee_fen,
        order_no=order_no,
    )

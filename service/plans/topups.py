"""Plans for money that a payment channel has collected: 6129 and 6216 (quick start: 会员充值).

The channel owes the gross amount (in-transit of the bank day), the member gets the net in its uncleared pocket, the fee
account the rest. Public amounts are gross with the fee inside, as in the quick start's examples. Each credit opens what
may be taken back of it later (6130, 6217), the member's part in `revocable`, the fee in `revocable_fee`, and uses its
order numbers up: the bank wants them unique among top-ups, and lets other business have them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bankclient import SplitTopUp, SplitTopUpRow, TopUp
from jzb.v1 import topup_pb2
from jzb.v1.names import OperationKind
from ledger import Draft, Kind, Leg, OfDay
from ledger.accounts import FEE, LIMITS, TOP_UP_ORDER_UNITS, revocable, revocable_fee, top_up_order
from ledger.names import MemberCode, Serial, SubAccount
from service.plans.plan import Facts, Plan, Serials
from service.questions.status import StatusQuery
from service.recorded import CHANNEL, CHANNEL_SERIAL

NOTHING_ELSE: Mapping[str, int] = {}

TopUpReading = Literal["gross", "net"]
"""What MemberFillAmt of 6129 means: the quick start's example says gross, another source net (notes.md 9.1)."""


def channel_code(channel: topup_pb2.Channel) -> str:
    """PayChannelType (catalogue, pay_channel_type): the channel's number in four digits."""
    return f"{channel.type:04d}"


def through(channel_no: str) -> tuple[tuple[str, str], ...]:
    """By what a top-up, and a revocation of it, is found: the channel's transaction number, where it has one."""
    return ((CHANNEL, channel_no),) if channel_no else ()


def _credit(
    sub_account: SubAccount,
    member_id: MemberCode,
    amount_fen: int,
    fee_fen: int,
    serial: Serial,
    uses: Mapping[str, int],
    order_no: str = "",
) -> Draft:
    """``uses`` is what it takes of which order numbers; ``order_no`` its own where the operation has several."""
    owed = OfDay(Kind.IN_TRANSIT)
    legs = [Leg(top_up_order(number), LIMITS, units) for number, units in uses.items()]
    if amount_fen > fee_fen:
        legs.append(Leg(owed, OfDay(Kind.UNCLEARED, sub_account), amount_fen - fee_fen))
        legs.append(Leg(LIMITS, revocable(serial), amount_fen - fee_fen))
    if fee_fen:
        legs.append(Leg(owed, FEE, fee_fen))
        legs.append(Leg(LIMITS, revocable_fee(serial), fee_fen))
    return Draft(tuple(legs), serial=serial, payee=member_id, amount_fen=amount_fen, fee_fen=fee_fen, order_no=order_no)


def top_up(
    request: topup_pb2.TopUpRequest,
    facts: Facts,
    serials: Serials,
    reading: TopUpReading,
    also_uses: Mapping[str, int] = NOTHING_ELSE,
) -> Plan:
    """6129: one member. ``also_uses`` is what it takes beside its order number (`service.questions.top_up_reading`)."""
    sub_account = facts.sub_account(MemberCode(request.member_id))
    net_fen = request.amount_fen - request.fee_fen
    return Plan(
        kind=OperationKind.TOP_UP,
        message=TopUp(
            MemberSubAcctNo=sub_account,
            TranWebMemberId=request.member_id,
            MemberFillAmt=request.amount_fen if reading == "gross" else net_fen,
            Commission=request.fee_fen,
            PayChannelType=channel_code(request.channel),
            PayChannelAssignMerNo=request.channel.merchant_no,
            PayChannelTranSeqNo=request.channel.transaction_no,
            EjzbOrderNo=request.order_no,
            Remark=request.remark or None,
        ),
        drafts=(
            _credit(
                sub_account,
                MemberCode(request.member_id),
                request.amount_fen,
                request.fee_fen,
                serials.own,
                {request.order_no: TOP_UP_ORDER_UNITS, **also_uses},
            ),
        ),
        query=StatusQuery("4"),
        payee=MemberCode(request.member_id),
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=request.fee_fen,
        keep={CHANNEL: channel_code(request.channel), CHANNEL_SERIAL: request.channel.transaction_no},
        found_by=through(request.channel.transaction_no),
        with_members=(sub_account,),
    )


def split_top_up(request: topup_pb2.SplitTopUpRequest, facts: Facts, serials: Serials) -> Plan:
    """6216: several members, each row with a serial of its own by which 6110 knows it."""
    rows = list(zip(request.shares, serials.rows, strict=True))
    total_fen = sum(share.amount_fen for share in request.shares)
    return Plan(
        kind=OperationKind.SPLIT_TOP_UP,
        message=SplitTopUp(
            PayChannelType=channel_code(request.channel),
            PayChannelAssignMerNo=request.channel.merchant_no,
            TotalOrderNo=request.order_no,
            TranTotalAmt=total_fen,
            OrdersCount=len(rows),
            TranItemArray=tuple(
                SplitTopUpRow(
                    RechargeSubAcctNo=facts.sub_account(MemberCode(share.member_id)),
                    SubOrderFillMemberCd=share.member_id,
                    SubOrderTranAmt=share.amount_fen - share.fee_fen,
                    SubOrderTranFee=share.fee_fen,
                    SubOrderNo=share.order_no,
                    SubOrderBussSeqNo=serial,
                    SubOrderRemark=share.remark or None,
                )
                for share, serial in rows
            ),
        ),
        drafts=tuple(
            _credit(
                facts.sub_account(MemberCode(share.member_id)),
                MemberCode(share.member_id),
                share.amount_fen,
                share.fee_fen,
                serial,
                # The whole order's number comes last: a share may have the same one.
                {
                    share.order_no: TOP_UP_ORDER_UNITS,
                    request.order_no: 1 if number else TOP_UP_ORDER_UNITS - len(rows) + 1,
                },
                share.order_no,
            )
            for number, (share, serial) in enumerate(rows)
        ),
        query=StatusQuery("4", by_part=True),
        order_no=request.order_no,
        amount_fen=total_fen,
        fee_fen=sum(share.fee_fen for share in request.shares),
        keep={
            CHANNEL: channel_code(request.channel),
            **({CHANNEL_SERIAL: request.channel.transaction_no} if request.channel.transaction_no else {}),
        },
        found_by=through(request.channel.transaction_no),
        with_members=tuple(facts.sub_account(MemberCode(share.member_id)) for share in request.shares),
    )

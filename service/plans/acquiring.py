"""Plans for orders that the bank's acquiring products have collected: 6146 with 6147, and 6145 (quick start 2.4).

The channel owes the gross amount (in-transit of the bank day), as for a top-up. A share reaches its member less the
fee, waiting or frozen under the share's number; the fee of a frozen share stays frozen with it until the first release
or payment, or is taken at once, by setting. What the bank could not credit is parked whole, and its fee is taken when
6145 books it again. Pure: what the bank says of an order is an argument.
"""

from __future__ import annotations

from bankclient import AcquiringChannel, RebookAcquiringOrder, SupplyAcquiringOrder
from jzb.v1 import acquiring_pb2
from jzb.v1.names import OperationKind
from ledger import Available, Draft, Leg, Member, Part
from ledger.accounts import LIMITS, acquired, frozen, frozen_fee, order, parking, rebooked
from ledger.names import NO_MEMBER_CODE, NO_SERIAL, MemberCode
from service.plans.plan import Facts, Plan, Serials
from service.questions.acquiring import AcquiredQuery, RebookQuery
from service.questions.shares import AcquiredShare
from service.recorded import ORIGINAL

CHANNELS: dict[acquiring_pb2.AcquiringChannel.ValueType, AcquiringChannel] = {
    acquiring_pb2.ACQUIRING_CHANNEL_CHENG_E: "01",
    acquiring_pb2.ACQUIRING_CHANNEL_QUICK: "02",
    acquiring_pb2.ACQUIRING_CHANNEL_QUICK_T0: "03",
    acquiring_pb2.ACQUIRING_CHANNEL_AGGREGATED: "04",
    acquiring_pb2.ACQUIRING_CHANNEL_CLOUD: "YST1",
}
"""AcquiringChannelType (catalogue, acquiring_channel_type)."""


def record_order(
    request: acquiring_pb2.RecordOrderRequest,
    facts: Facts,
    serials: Serials,
    *,
    fee_at_release: bool,
    own_alone: bool = False,
) -> Plan:
    """6147, which goes out only when 6146 misses a share: one draft a share, as the request has it. ``own_alone`` is
    for a caller that may enter orders of some members alone.
    """
    query = AcquiredQuery(
        CHANNELS[request.channel],
        request.order_no,
        request.amount_fen,
        tuple(
            AcquiredShare(
                share.sub_order_no or request.order_no,
                facts.sub_account(MemberCode(share.member_id)),
                share.amount_fen,
                share.fee_fen,
                share.credit == acquiring_pb2.ORDER_CREDIT_FROZEN,
                holds_fee=fee_at_release and share.credit == acquiring_pb2.ORDER_CREDIT_FROZEN and share.fee_fen > 0,
            )
            for share in request.shares
        ),
        own_alone,
    )
    drafts = [
        Draft(
            (*_uses(request.order_no, number, share), *share.credits(share.sub_account)),
            serial=serials.own if len(query.shares) == 1 else NO_SERIAL,
            payee=MemberCode(asked.member_id),
            amount_fen=share.amount_fen,
            fee_fen=share.fee_fen,
            order_no=asked.sub_order_no,
        )
        for number, (asked, share) in enumerate(zip(request.shares, query.shares, strict=True))
    ]
    return Plan(
        kind=OperationKind.RECORD_ORDER,
        message=SupplyAcquiringOrder(
            AcquiringChannelType=query.channel, OrderNo=request.order_no, Amt=request.amount_fen
        ),
        drafts=tuple(drafts),
        query=query,
        payee=MemberCode(request.shares[0].member_id if len(request.shares) == 1 else ""),
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=sum(share.fee_fen for share in request.shares),
        with_members=tuple(share.sub_account for share in query.shares),
    )


def rebook_order(
    request: acquiring_pb2.RebookOrderRequest,
    original: str,
    channel: AcquiringChannel,
    share: AcquiredShare,
    part: Part,
    payer: Member | None,
    right: Member,
    name: str,
    serials: Serials,
) -> Plan:
    """6145: out of parking, or of the wrong member ``payer``, to the right one. Amt is the share's, fee inside."""
    net_fen = share.amount_fen - share.fee_fen
    legs = [Leg(rebooked(share.order_no), LIMITS, 1)]
    if payer is None:
        parked = parking(share.order_no)
        legs += share.full_legs(parked, parked, right.sub_account)
    elif share.holds_fee:
        held = frozen(payer.sub_account, share.order_no), frozen_fee(payer.sub_account, share.order_no)
        legs += share.full_legs(*held, right.sub_account)
    elif net_fen:
        # The fee was taken when the wrong member got the money.
        source = frozen(payer.sub_account, share.order_no) if share.is_frozen else Available(payer.sub_account)
        legs.append(Leg(source, share.pocket(right.sub_account), net_fen))
    moved_fen = net_fen if payer is not None and not share.holds_fee else share.amount_fen
    return Plan(
        kind=OperationKind.REBOOK_ORDER,
        message=RebookAcquiringOrder(
            AcquiringChannelType=channel,
            OrderNo=share.order_no,
            SubAcctNo=right.sub_account,
            TranNetMemberCode=right.member_id,
            SubAcctName=name,
            Amt=share.amount_fen,
            Remark=request.remark or share.order_no,
        ),
        drafts=(
            Draft(
                tuple(legs),
                serial=serials.own,
                payer=payer.member_id if payer else NO_MEMBER_CODE,
                payee=right.member_id,
                amount_fen=moved_fen,
                fee_fen=share.fee_fen if payer is None else 0,
            ),
        ),
        query=RebookQuery(channel, share.order_no, right.sub_account),
        payer=payer.member_id if payer else NO_MEMBER_CODE,
        payee=right.member_id,
        order_no=share.order_no,
        amount_fen=share.amount_fen,
        fee_fen=part.fee_fen,
        keep={ORIGINAL: original},
        with_members=(right.sub_account, *((payer.sub_account,) if payer else ())),
    )


def _uses(order_no: str, number: int, share: AcquiredShare) -> list[Leg]:
    """The order's number and the share's are entered once; a frozen share's number is that of a freeze, too."""
    once = {share.order_no: None, **({order_no: None} if number == 0 else {})}
    legs = [Leg(acquired(one), LIMITS, 1) for one in once]
    if share.is_frozen:
        legs.append(Leg(order(share.order_no), LIMITS, 1))
    return legs

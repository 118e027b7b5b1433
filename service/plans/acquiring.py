"""Plans for orders that the bank's acquiring products have collected: 6146 with 6147, and 6145 (quick start 2.4).

The channel owes the gross amount (in-transit of the bank day), as for a top-up. A share reaches its member less the
fee, waiting or frozen under the share's number; the fee of a frozen share stays frozen with it until the first release
or payment, or is taken at once, by setting. What the bank could not credit is parked whole, and its fee is taken when
6145 books it again. Pure: what the bank says of an order is an argument.
"""

from __future__ import annotations

from dataclasses import replace

from bankclient import AcquiringChannel, RebookAcquiringOrder, SupplyAcquiringOrder
from jzb.v1 import acquiring_pb2
from jzb.v1.names import OperationKind
from ledger import Account, Available, Draft, Kind, Leg, Member, OfDay, Part
from ledger.accounts import FEE, LIMITS, acquired, frozen, frozen_fee, order, parking, rebooked
from ledger.rules import Source
from service.plans.plan import ORIGINAL, AcquiredAsk, AcquiredShare, Facts, Plan, RebookAsk, Serials

CHANNELS: dict[acquiring_pb2.AcquiringChannel.ValueType, AcquiringChannel] = {
    acquiring_pb2.ACQUIRING_CHANNEL_CHENG_E: "01",
    acquiring_pb2.ACQUIRING_CHANNEL_QUICK: "02",
    acquiring_pb2.ACQUIRING_CHANNEL_QUICK_T0: "03",
    acquiring_pb2.ACQUIRING_CHANNEL_AGGREGATED: "04",
    acquiring_pb2.ACQUIRING_CHANNEL_CLOUD: "YST1",
}
"""AcquiringChannelType (catalogue, acquiring_channel_type)."""


def record_order(
    request: acquiring_pb2.RecordOrderRequest, facts: Facts, serials: Serials, *, fee_at_release: bool
) -> Plan:
    """6147, which goes out only when 6146 misses a share: one draft a share, as the request has it."""
    ask = AcquiredAsk(
        CHANNELS[request.channel],
        request.order_no,
        request.amount_fen,
        tuple(
            AcquiredShare(
                share.sub_order_no or request.order_no,
                facts.sub_account(share.member_id),
                share.amount_fen,
                share.fee_fen,
                share.credit == acquiring_pb2.ORDER_CREDIT_FROZEN,
                holds_fee=fee_at_release and share.credit == acquiring_pb2.ORDER_CREDIT_FROZEN and share.fee_fen > 0,
            )
            for share in request.shares
        ),
    )
    drafts = [
        Draft(
            (*_uses(request.order_no, number, share), *credits_of(share, share.sub_account)),
            serial=serials.own if len(ask.shares) == 1 else "",
            payee=asked.member_id,
            amount_fen=share.amount_fen,
            fee_fen=share.fee_fen,
            order_no=asked.sub_order_no,
        )
        for number, (asked, share) in enumerate(zip(request.shares, ask.shares, strict=True))
    ]
    return Plan(
        kind=OperationKind.RECORD_ORDER,
        message=SupplyAcquiringOrder(
            AcquiringChannelType=ask.channel, OrderNo=request.order_no, Amt=request.amount_fen
        ),
        drafts=tuple(drafts),
        ask=ask,
        payee=request.shares[0].member_id if len(request.shares) == 1 else "",
        order_no=request.order_no,
        amount_fen=request.amount_fen,
        fee_fen=sum(share.fee_fen for share in request.shares),
        with_members=tuple(share.sub_account for share in ask.shares),
    )


def booked(planned: Draft, share: AcquiredShare, sub_account: str | None, member_id: str = "") -> Draft:
    """What the bank did of a planned draft: the share went to ``sub_account``, or was parked when there is none.
    ``member_id`` is the member there, where it is not the planned one.
    """
    controls = [leg for leg in planned.legs if leg.credit == LIMITS]
    return replace(planned, legs=(*controls, *credits_of(share, sub_account)), payee=member_id or planned.payee)


def credits_of(share: AcquiredShare, sub_account: str | None) -> tuple[Leg, ...]:
    """The money of one share: out of in-transit, to a member and to fees, or parked whole."""
    owed = OfDay(Kind.IN_TRANSIT)
    if sub_account is None:
        return (Leg(owed, parking(share.order_no), share.amount_fen),)
    return _whole(share, owed, owed, sub_account)


def _whole(share: AcquiredShare, net_source: Source, fee_source: Source, sub_account: str) -> tuple[Leg, ...]:
    """The whole of a share to its member, and its fee to fees or to where it stays frozen."""
    legs = []
    if share.amount_fen > share.fee_fen:
        legs.append(Leg(net_source, _pocket(sub_account, share), share.amount_fen - share.fee_fen))
    if share.fee_fen:
        fee = frozen_fee(sub_account, share.order_no) if share.holds_fee else FEE
        legs.append(Leg(fee_source, fee, share.fee_fen))
    return tuple(legs)


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
        legs += _whole(share, parked, parked, right.sub_account)
    elif share.holds_fee:
        held = frozen(payer.sub_account, share.order_no), frozen_fee(payer.sub_account, share.order_no)
        legs += _whole(share, *held, right.sub_account)
    elif net_fen:
        # The fee was taken when the wrong member got the money.
        source = frozen(payer.sub_account, share.order_no) if share.is_frozen else Available(payer.sub_account)
        legs.append(Leg(source, _pocket(right.sub_account, share), net_fen))
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
                payer=payer.member_id if payer else "",
                payee=right.member_id,
                amount_fen=moved_fen,
                fee_fen=share.fee_fen if payer is None else 0,
            ),
        ),
        ask=RebookAsk(channel, share.order_no, right.sub_account),
        payer=payer.member_id if payer else "",
        payee=right.member_id,
        order_no=share.order_no,
        amount_fen=share.amount_fen,
        fee_fen=part.fee_fen,
        keep={ORIGINAL: original},
        with_members=(right.sub_account, *((payer.sub_account,) if payer else ())),
    )


def _pocket(sub_account: str, share: AcquiredShare) -> Account | OfDay:
    return frozen(sub_account, share.order_no) if share.is_frozen else OfDay(Kind.WAITING, sub_account)


def _uses(order_no: str, number: int, share: AcquiredShare) -> list[Leg]:
    """The order's number and the share's are entered once; a frozen share's number is that of a freeze, too."""
    once = {share.order_no: None, **({order_no: None} if number == 0 else {})}
    legs = [Leg(acquired(one), LIMITS, 1) for one in once]
    if share.is_frozen:
        legs.append(Leg(order(share.order_no), LIMITS, 1))
    return legs

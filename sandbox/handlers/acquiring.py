"""Orders of the bank's own acquiring products: collected (control), asked for (6146), fetched (6147), moved (6145).

Quick start 2.4. The product tells the bank of a paid order by its remark; the bank books each share out of in-transit:
to the sub-account that the remark names, less the fee, or whole into the parking account when there is no such member.
The control plane has an order missed, or booked elsewhere. An order number is used once; 6145 moves a share once, and
only one that is not where its remark says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from bankclient.messages import (
    AcquiringOrder,
    AcquiringOrderReply,
    Booked,
    RebookAcquiringOrder,
    SupplyAcquiringOrder,
    SupplyAcquiringOrderReply,
)
from bankclient.money import fen
from sandbox import codes
from sandbox.accounts import AccountRef
from sandbox.books import FEE, PARKING, Move, available, frozen, functional, in_transit, waiting
from sandbox.clock import day_text
from sandbox.context import Context, positive, within
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import AcquiredShare, Member, Order, order_key

FREEZES: Final = "0"
BOOKED: Final = "0"
SUPPLY: Final = SupplyAcquiringOrder.code


def collect(
    context: Context, channel: str, order_no: str, amount_fen: int, remark: str, *, missed: bool, booked_to: str
) -> list[AcquiredShare]:
    """A product has collected an order. Unless it is `missed` the bank books it at once, by its remark or, with
    `booked_to` (a sub-account, or `parking`), elsewhere. Refuses the payment when the remark is wrong."""
    wrong = context.functional_no(PARKING) if booked_to == "parking" else booked_to
    if wrong and wrong != context.functional_no(PARKING):
        context.member(wrong)
    shares = [replace(one, meant_for=wrong) for one in _read(context, channel, order_no, amount_fen, remark)]
    numbers = {one.number for one in shares}
    if len(numbers) != len(shares) or _of_order(context, order_no):
        raise Refused(codes.ORDER_REPEATED)
    if any(context.store.get(AcquiredShare, number) for number in numbers):
        raise Refused(codes.ORDER_REPEATED)
    return [_keep(context, one) if missed else _book(context, one) for one in shares]


@handles(AcquiringOrder)
def acquiring_order(context: Context, request: AcquiringOrder) -> AcquiringOrderReply:
    """6146: nothing is known of an order that was missed. After a 6145 the serial and the time are those of it."""
    share = context.store.get(AcquiredShare, request.OrderNo)
    if share is None or share.channel != request.AcquiringChannelType or not share.booked_to:
        raise Refused(codes.NO_RECORD)
    at = datetime.fromisoformat(share.booked_at)
    return AcquiringOrderReply(
        TranStatus=BOOKED,
        TranAmt=share.amount_fen,
        CommissionAmt=share.fee_fen,
        PayMode=share.pay_mode,
        TranDate=day_text(at.date()),
        TranTime=f"{at:%H%M%S}",
        OrderInSubAcctNo=share.named,
        OrderInSubAcctName=_name(context, share.named),
        OrderActInSubAcctNo=share.booked_to,
        OrderActInSubAcctName=_name(context, share.booked_to),
        FrontSeqNo=share.front_seq_no,
    )


@handles(SupplyAcquiringOrder)
def supply_acquiring_order(context: Context, request: SupplyAcquiringOrder) -> SupplyAcquiringOrderReply:
    """6147: by the number of the whole order; books every share as the notice would have done."""
    shares = [one for one in _of_order(context, request.OrderNo) if one.channel == request.AcquiringChannelType]
    if not shares:
        raise Refused(codes.NO_ORDER)
    if any(one.booked_to for one in shares):
        raise Refused(codes.ORDER_REPEATED)
    if request.Amt != sum(one.amount_fen for one in shares):
        raise Refused(codes.AMOUNT_MISMATCH, "补账金额与订单金额不符")
    done = [_book(context, one) for one in shares]
    return SupplyAcquiringOrderReply(
        FrontSeqNo=done[-1].front_seq_no, SubAcctNo=done[0].booked_to if len(done) == 1 else None, Amt=request.Amt
    )


@handles(RebookAcquiringOrder)
def rebook_acquiring_order(context: Context, request: RebookAcquiringOrder) -> Booked:
    """6145: Amt is the share's, fee inside. Of parked money the fee goes to fees now; it was taken before of money that
    was booked to another member."""
    share = context.store.get(AcquiredShare, request.OrderNo)
    if share is None or share.channel != request.AcquiringChannelType or not share.booked_to:
        raise Refused(codes.NO_ORDER)
    if share.rebooked or share.booked_to == share.named:
        raise Refused(codes.ORDER_REPEATED, "订单已正确入账")
    if request.Amt != share.amount_fen:
        raise Refused(codes.AMOUNT_MISMATCH, "调账金额与订单金额不符")
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    if request.SubAcctName != member.name:
        raise Refused(codes.ACCOUNT_NAME_DIFFERS)
    source, net = share.booked_to, share.amount_fen - share.fee_fen
    target = _pocket(context, share, member.sub_acct_no)
    if source == context.functional_no(PARKING):
        share = _post(context, share, functional(PARKING), target)
    else:
        pocket = frozen(source, share.number) if share.pay_mode == FREEZES else available(source)
        context.post(Move(pocket, target, share.amount_fen if share.holds_fee else net))
    _freeze_for(context, share, member.sub_acct_no)
    answer = context.book(
        "N",
        out_sub_acct_no=source,
        in_sub_acct_no=member.sub_acct_no,
        amount_fen=share.amount_fen,
        fee_fen=share.fee_fen if source == context.functional_no(PARKING) else 0,
        order_no=share.number,
        remark=request.Remark,
    )
    at = context.now.isoformat(timespec="seconds")
    context.store.put(
        replace(share, booked_to=member.sub_acct_no, front_seq_no=answer.FrontSeqNo, booked_at=at, rebooked=True)
    )
    return answer


def _book(context: Context, share: AcquiredShare) -> AcquiredShare:
    """Book one share as the product's notice asks for."""
    member = context.store.get(Member, share.meant_for or share.named)
    front = context.front_seq_no()
    owed = in_transit(context.today)
    if member is None or member.closed:
        sub_acct_no = context.functional_no(PARKING)
        context.post(Move(owed, functional(PARKING), share.amount_fen))
    else:
        sub_acct_no = member.sub_acct_no
        share = _post(context, share, owed, _pocket(context, share, sub_acct_no))
        _freeze_for(context, share, sub_acct_no)
    context.book(
        "4",
        serial=front,
        front_seq_no=front,
        in_sub_acct_no=sub_acct_no,
        amount_fen=share.amount_fen,
        fee_fen=share.fee_fen,
        order_no=share.number,
        remark=f"见证+收单充值,{share.number}",
    )
    at = context.now.isoformat(timespec="seconds")
    return _keep(context, replace(share, booked_to=sub_acct_no, front_seq_no=front, booked_at=at))


def take_fee(context: Context, order_no: str, fee_fen: int) -> int:
    """What a release or payment of frozen money takes of it as fee: that of the acquired order, once, where it is
    frozen with the money, and no other (notes.md 13); else the one that is asked for."""
    share = context.store.get(AcquiredShare, order_no)
    if share is None or not share.holds_fee:
        return fee_fen
    if fee_fen != share.fee_fen:
        raise Refused(codes.AMOUNT_MISMATCH, "手续费须与原收单订单一致")
    context.store.put(replace(share, holds_fee=False))
    return fee_fen


def _post(context: Context, share: AcquiredShare, source: AccountRef, target: AccountRef) -> AcquiredShare:
    """Bring a share to its member: less the fee, or whole where the fee stays frozen with it."""
    if share.pay_mode == FREEZES and share.fee_fen and context.settings.acquired_fee == "at_release":
        context.post(Move(source, target, share.amount_fen))
        return replace(share, holds_fee=True)
    context.post(Move(source, target, share.amount_fen - share.fee_fen), Move(source, functional(FEE), share.fee_fen))
    return share


def _keep(context: Context, share: AcquiredShare) -> AcquiredShare:
    context.store.put(share)
    return share


def _of_order(context: Context, order_no: str) -> list[AcquiredShare]:
    return [one for one in context.store.all(AcquiredShare) if one.order_no == order_no]


def _pocket(context: Context, share: AcquiredShare, sub_acct_no: str) -> AccountRef:
    return frozen(sub_acct_no, share.number) if share.pay_mode == FREEZES else waiting(sub_acct_no, context.today)


def _freeze_for(context: Context, share: AcquiredShare, sub_acct_no: str) -> None:
    """A frozen share takes its number as a freeze does; moved to another member, it keeps it."""
    if share.pay_mode != FREEZES:
        return
    taken = context.store.get(Order, order_key("order", share.number))
    if taken is not None and (taken.opened_by != SUPPLY or not share.booked_to):
        raise Refused(codes.ORDER_REPEATED)
    context.store.put(Order("order", share.number, SUPPLY, sub_acct_no))


def _name(context: Context, sub_acct_no: str) -> str:
    member = context.store.get(Member, sub_acct_no)
    return "" if member is None else member.name


def _read(context: Context, channel: str, order_no: str, amount_fen: int, remark: str) -> Iterator[AcquiredShare]:
    """The shares of a remark; a wrong one refuses the payment, save for its sub-accounts (quick start 2.4)."""
    try:
        (content,) = json.loads(remark)
        rows: list[Any] = content["oderlist"]
        plain = {"0": True, "1": False}[content["SFJOrdertype"]]
        if content["plantCode"] != context.settings.mrch_code or content["remarktype"] not in (
            "JHS0100000",
            "SDS0100000",
        ):
            raise ValueError("plantCode, remarktype")
        amounts = [amount_fen if plain else fen(row["subamount"]) for row in rows]
        if not rows or (plain and len(rows) > 1) or sum(amounts) != amount_fen:
            raise ValueError("amounts")
        for row, share_fen in zip(rows, amounts, strict=True):
            yield AcquiredShare(
                number=order_no if plain else row["suborderId"],
                order_no=order_no,
                channel=channel,
                named=row["SubAccNo"],
                amount_fen=positive(share_fen),
                fee_fen=within(fen(row["TranFee"]), share_fen),
                pay_mode={"0": "0", "1": "1"}[row["PayModel"]],
            )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(codes.FIELD_INVALID, f"OrderRemark ({error})") from None

"""Top-ups of several members by one payment through a channel."""

from __future__ import annotations

from jzb.v1 import core_pb2, topup_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace

CHANNEL = topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109")


def split_request(shop: Marketplace, *shares: tuple[str, int, int], remark: str = "") -> topup_pb2.SplitTopUpRequest:
    return topup_pb2.SplitTopUpRequest(
        request_id=shop.request_id(),
        order_no=shop.order_no(),
        channel=CHANNEL,
        shares=[
            topup_pb2.TopUpShare(
                member_id=member_id, amount_fen=fen, fee_fen=fee_fen, order_no=shop.order_no(), remark=remark
            )
            for member_id, fen, fee_fen in shares
        ],
    )


async def split_top_up(shop: Marketplace, **shares: tuple[int, int]) -> core_pb2.Operation:
    """The gross amount and the fee of each member."""
    request = split_request(shop, *((name, fen, fee_fen) for name, (fen, fee_fen) in shares.items()))
    operation: core_pb2.Operation = (await shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)).operation
    return operation

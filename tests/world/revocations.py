"""Top-ups taken back, whole, in parts or by share."""

from __future__ import annotations

from jzb.v1 import core_pb2, topup_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace


def revocation(
    shop: Marketplace, top_up_serial: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> topup_pb2.RevokeTopUpRequest:
    return topup_pb2.RevokeTopUpRequest(
        request_id=shop.request_id(), top_up_serial=top_up_serial, amount_fen=fen, fee_fen=fee_fen, remark=remark
    )


async def revoke(shop: Marketplace, top_up_serial: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    answer = await shop.top_ups.RevokeTopUp(revocation(shop, top_up_serial, fen, fee_fen), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


def split_revocation(
    shop: Marketplace, top_up_serial: str, **shares: tuple[int, int]
) -> topup_pb2.RevokeSplitTopUpRequest:
    return topup_pb2.RevokeSplitTopUpRequest(
        request_id=shop.request_id(),
        top_up_serial=top_up_serial,
        shares=[
            topup_pb2.RevokedShare(member_id=name, amount_fen=fen, fee_fen=fee) for name, (fen, fee) in shares.items()
        ],
    )

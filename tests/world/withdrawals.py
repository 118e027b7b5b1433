"""Withdrawals to a card, in one line each; what is not given is new or empty."""

from __future__ import annotations

from jzb.v1 import core_pb2, withdrawal_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace

CARD = "6226090000000048"
HOLDER = "张三"


def withdraw_request(
    shop: Marketplace, member_id: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> withdrawal_pb2.WithdrawRequest:
    return withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(),
        member_id=member_id,
        amount_fen=fen,
        fee_on_top_fen=fee_fen,
        card_number=CARD,
        card_holder_name=HOLDER,
        remark=remark,
    )


async def withdraw(shop: Marketplace, member_id: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    request = withdraw_request(shop, member_id, fen, fee_fen)
    operation: core_pb2.Operation = (await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)).operation
    return operation


async def withdraw_to_the_end(shop: Marketplace, member_id: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    """A withdrawal that has reached the card."""
    accepted = await withdraw(shop, member_id, fen, fee_fen)
    return await shop.until_final(accepted.operation_id)

"""Two orders of one payer in one call: shoes and hats."""

from __future__ import annotations

from jzb.v1 import batch_pb2, batch_pb2_grpc, verification_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace


def batches(shop: Marketplace) -> batch_pb2_grpc.BatchServiceAsyncStub:
    return batch_pb2_grpc.BatchServiceStub(shop.channel)


def prepay_request(
    shop: Marketplace, proof: verification_pb2.Verification | None = None, payer: str = "buyer"
) -> batch_pb2.BatchPrepayRequest:
    """Shoes for 100.00 and hats for 50.00."""
    return batch_pb2.BatchPrepayRequest(
        request_id=shop.request_id(),
        verification=proof,
        payer_member_id=payer,
        orders=[
            batch_pb2.OrderToPrepay(payee_member_id="shoes", order_no=shop.order_no(), amount_fen=100_00),
            batch_pb2.OrderToPrepay(payee_member_id="hats", order_no=shop.order_no(), amount_fen=50_00, remark="帽子"),
        ],
    )


async def prepaid(shop: Marketplace, payer: str = "buyer") -> tuple[str, str]:
    """Two prepaid orders; returns their numbers."""
    request = prepay_request(shop, payer=payer)
    await batches(shop).BatchPrepay(request, timeout=TIMEOUT_S)
    shoes, hats = (order.order_no for order in request.orders)
    return shoes, hats


def confirm_request(
    shop: Marketplace, shoes: str, hats: str, proof: verification_pb2.Verification | None = None, **fees: int
) -> batch_pb2.BatchConfirmRequest:
    """80.00 of the shoes with a fee of 8.00, and all of the hats."""
    return batch_pb2.BatchConfirmRequest(
        request_id=shop.request_id(),
        verification=proof,
        orders=[
            batch_pb2.OrderToConfirm(order_no=shoes, amount_fen=80_00, fee_fen=fees.get("fee_fen", 8_00)),
            batch_pb2.OrderToConfirm(order_no=hats, amount_fen=50_00),
        ],
    )

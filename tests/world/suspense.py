"""Transfers into the pooled account: coming in at the bank, collected, cleared to a member."""

from __future__ import annotations

from datetime import date
from typing import Any

from jzb.v1 import core_pb2, suspense_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day

PAYER = ("6200000000000000000", "虚构付款人", "虚构银行")


async def come_in(shop: Marketplace, fen: int, member_id: str = "", remark: str = "") -> str:
    """A transfer comes in at the bank, to a member or without one; returns its bank serial."""
    sub_account = (await shop.balance(member_id)).sub_account if member_id else ""
    return shop.sandbox.bank.transfer_in(sub_account, fen, PAYER, remark).front_seq_no


async def collect(
    shop: Marketplace, first: date | None = None, last: date | None = None, **more: Any
) -> suspense_pb2.CollectTransfersResponse:
    """Ask for the transfers of some days, of the bank's present day when none is given."""
    today = bank_day(shop)
    request = suspense_pb2.CollectTransfersRequest(
        first_bank_day=str(first or today), last_bank_day=str(last or first or today), **more
    )
    answer: suspense_pb2.CollectTransfersResponse = await shop.suspense.CollectTransfers(request, timeout=TIMEOUT_S)
    return answer


async def in_suspense(shop: Marketplace, *amounts_fen: int) -> list[str]:
    """Transfers without a member, collected; returns their bank serials."""
    serials = [await come_in(shop, fen) for fen in amounts_fen]
    assert (await collect(shop)).entered == len(serials)
    return serials


def clearing(
    shop: Marketplace, transfer_bank_serial: str, member_id: str, fen: int, fee_fen: int = 0, **more: Any
) -> suspense_pb2.AllocateSuspenseRequest:
    fields = {"request_id": shop.request_id(), "order_no": shop.order_no(), **more}
    return suspense_pb2.AllocateSuspenseRequest(
        transfer_bank_serial=transfer_bank_serial, member_id=member_id, amount_fen=fen, fee_fen=fee_fen, **fields
    )


async def clear(shop: Marketplace, *args: Any, **more: Any) -> core_pb2.Operation:
    answer = await shop.suspense.AllocateSuspense(clearing(shop, *args, **more), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation

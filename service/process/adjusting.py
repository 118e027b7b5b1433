"""`jzb adjust`: proposes the adjustment of a break, from the terminal. Another identity approves it (`jzb proposals`).

A client of AdjustmentService and ReconciliationService. Evidence and amount are the break's own.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import grpc

from bankclient import yuan
from jzb.v1 import adjustment_pb2, adjustment_pb2_grpc, balance_pb2, reconciliation_pb2_grpc
from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1.names import ErrorReason
from service.process.client import channel_to, details
from service.process.reconcile.tables import type_word

CALL_S: Final = 30.0

KINDS: Final[dict[str, balance_pb2.AccountKind.ValueType]] = {
    name.removeprefix("ACCOUNT_KIND_").lower().replace("_", "-"): value
    for name, value in balance_pb2.AccountKind.items()
    if value
}
"""The kinds of accounts as the command line has them. The service says which of them can be adjusted."""


def account(kind: str, member: str, order: str, bank_day: str, transfer: str) -> adjustment_pb2.AdjustedAccount:
    """The account of these names; the service says what lacks."""
    return adjustment_pb2.AdjustedAccount(
        kind=KINDS[kind], member_id=member, order_no=order, bank_day=bank_day, transfer_bank_serial=transfer
    )


async def propose(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    break_id: str,
    account: adjustment_pb2.AdjustedAccount,
    adds: bool,
    amount_fen: int,
    why: str,
) -> list[str]:
    """Propose; what to say of it: the break, and the answer. Without an amount it is all that differs. Raises gRPC's
    errors, but for the one that says that it waits for another.
    """
    request = adjustment_pb2.AdjustRequest(
        request_id=f"adjust-{uuid4()}",
        account=account,
        direction=adjustment_pb2.ADJUSTMENT_DIRECTION_ADD if adds else adjustment_pb2.ADJUSTMENT_DIRECTION_TAKE,
        amount_fen=amount_fen,
        break_id=break_id,
        note=why,
    )
    request.approval.reason = why
    async with channel_to(target, credentials) as channel:
        days = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)
        found = (await days.GetBreak(pb.GetBreakRequest(break_id=break_id), timeout=CALL_S)).current
        said = [
            f"break      {type_word(found.type)} of {found.bank_day}: {_amounts(found)}",
            f"evidence   {_evidence(found.evidence)}",
            f"difference {yuan(found.adjustable_fen)} yuan, {yuan(found.adjusted_fen)} adjusted so far",
        ]
        try:
            await adjustment_pb2_grpc.AdjustmentServiceStub(channel).Adjust(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            info, _ = details(error)
            if info.reason != ErrorReason.APPROVAL_PENDING:
                raise
            proposal_id = info.metadata["proposal_id"]
            said += [
                f"proposal   {proposal_id}: nothing is posted yet",
                f"another identity looks at it and approves it: jzb proposals approve {proposal_id} --target {target}",
            ]
    return said


def _amounts(found: pb.Break) -> str:
    bank = f"{yuan(found.bank_fen)} yuan" if found.HasField("bank_fen") else "nothing"
    books = f"{yuan(found.ledger_fen)} yuan" if found.HasField("ledger_fen") else "nothing"
    return f"the bank has {bank}, the books {books}"


def _evidence(one: adjustment_pb2.AdjustmentEvidence) -> str:
    return one.list_key or f"line {one.line} of the file with SHA-256 {one.file_sha256}"

"""An adjustment: money between one account of the books and the difference of a break. It says nothing to the bank.

The bank's books are right and these are not; what explains the difference later brings it back to zero.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from google.protobuf import json_format

from jzb.v1 import adjustment_pb2
from jzb.v1.names import OperationKind
from ledger import Account, AdjustedBreak, Leg
from ledger.accounts import difference
from ledger.day import Break
from ledger.names import NO_MEMBER_CODE, MemberCode
from service.plans.plan import Movement
from service.recorded import ORIGINAL

BREAK: Final = "break"
"""The kind of `reference` by which the adjustments of a break are found."""

ADJUSTED: Final = "adjusted"
"""In `Movement.keep`: what the request said, for whoever reads the books later."""

TOLD: Final = ("account", "direction", "amount_fen", "break_id", "evidence", "note")
"""The fields of a request that are kept, and shown with the operation."""


def adjustment(
    request: adjustment_pb2.AdjustRequest,
    account: Account,
    member_id: MemberCode = NO_MEMBER_CODE,
    adjusts: AdjustedBreak | None = None,
    bank_day: date | None = None,
) -> Movement:
    """``account`` is the one that the request names; ``member_id`` is whose money it is, if anybody's. ``adjusts`` is
    its break, where the reconciliation has found that. It is posted on ``bank_day``, which is open.
    """
    other = difference(request.break_id)
    adds = request.direction == adjustment_pb2.ADJUSTMENT_DIRECTION_ADD
    source, target = (other, account) if adds else (account, other)
    return Movement(
        kind=OperationKind.ADJUSTMENT,
        payer=NO_MEMBER_CODE if adds else member_id,
        payee=member_id if adds else NO_MEMBER_CODE,
        order_no=request.account.order_no,
        amount_fen=request.amount_fen,
        keep={
            ADJUSTED: _told(request),
            **({ORIGINAL: request.corrects_serial} if request.corrects_serial else {}),
        },
        found_by=((BREAK, request.break_id),),
        adjusts=adjusts,
        bank_day=bank_day,
    ).moving([Leg(source, target, request.amount_fen)])


def evidence_of(found: Break) -> adjustment_pb2.AdjustmentEvidence:
    """What an adjustment of a break rests on: its line in the bank's file; else the row of a list, or what the file or
    list lacks, by serial or sub-account.
    """
    if found.line is not None and found.file_sha256 is not None and not found.type.value.isdecimal():
        return adjustment_pb2.AdjustmentEvidence(file_sha256=found.file_sha256.hex(), line=found.line)
    name = found.bank_serial or found.serial or found.sub_account or found.bank_day.isoformat()
    return adjustment_pb2.AdjustmentEvidence(list_key=f"{found.type} {name}")


def _told(request: adjustment_pb2.AdjustRequest) -> dict[str, Any]:
    whole: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    return {name: whole[name] for name in TOLD}


def told(kept: dict[str, Any]) -> adjustment_pb2.Adjustment:
    """What `adjustment` has kept of its request."""
    return json_format.ParseDict(kept[ADJUSTED], adjustment_pb2.Adjustment(), ignore_unknown_fields=True)

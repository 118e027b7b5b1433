"""The mirror's values as messages of the public contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from jzb.v1 import balance_pb2, card_pb2, core_pb2, member_pb2, payment_pb2
from jzb.v1.error_reason_pb2 import ErrorReason
from jzb.v1.names import OperationKind
from ledger import Breach, Card, CardState, CheckedBy, Kind, Member, Operation, Part, PartState, State
from ledger.accounts import CONTROLS
from service.policy import namespace_of
from service.problems import FLOOR_REASONS
from service.problems import OUTCOMES as OUTCOMES
from service.recorded import (
    APPROVAL,
    CHANNEL,
    CHANNEL_SERIAL,
    MASKED_CARD,
    ORDER_DIFFERS,
    ORIGINAL,
    REMARK,
    SERVICE_FAULT,
    STILL_NEEDED,
    TAGS,
)
from service.sentence import sentence

NOT_RECORDED = UUID(int=0)
"""The id of an operation that a dry run has judged: it has no id, no state and no outcome."""

SETTLEMENTS: dict[str, payment_pb2.Settlement.ValueType] = {
    OperationKind.PAY_T1: payment_pb2.SETTLEMENT_T1,
    OperationKind.PAY_T0: payment_pb2.SETTLEMENT_T0,
}
"""By the kind that a direct payment has for it."""

GIVING_BACK = frozenset(
    {
        OperationKind.REFUND,
        OperationKind.REVOKE_TOP_UP,
        OperationKind.REVOKE_SPLIT_TOP_UP,
        OperationKind.ALLOCATE_SUSPENSE,
        OperationKind.REVERSE_SUSPENSE_ALLOCATION,
        OperationKind.REBOOK_ORDER,
        OperationKind.ADJUSTMENT,
    }
)
"""The kinds whose plan keeps the serial of what they take, give back, move, or correct."""

KINDS: dict[str, core_pb2.OperationKind.ValueType] = {
    kind: core_pb2.OperationKind.Value(f"OPERATION_KIND_{kind.name}") for kind in OperationKind
}
"""By the journal's text."""
STATES: dict[State, core_pb2.OperationState.ValueType] = {
    state: core_pb2.OperationState.Value(f"OPERATION_STATE_{state.name}") for state in State
}
STATE_OF = {value: state for state, value in STATES.items()}
PART_STATES: dict[PartState, core_pb2.PartState.ValueType] = {
    state: core_pb2.PartState.Value(f"PART_STATE_{state.name}") for state in PartState
}


ACCOUNT_KINDS: dict[Kind, balance_pb2.AccountKind.ValueType] = {
    Kind.WITHDRAWABLE: balance_pb2.ACCOUNT_KIND_WITHDRAWABLE,
    Kind.UNCLEARED: balance_pb2.ACCOUNT_KIND_UNCLEARED,
    Kind.FROZEN: balance_pb2.ACCOUNT_KIND_FROZEN,
    Kind.ESCROW: balance_pb2.ACCOUNT_KIND_ESCROW,
    Kind.FEE: balance_pb2.ACCOUNT_KIND_FEE,
    Kind.SUSPENSE: balance_pb2.ACCOUNT_KIND_SUSPENSE,
    Kind.OWN_FUNDS: balance_pb2.ACCOUNT_KIND_OWN_FUNDS,
    Kind.IN_TRANSIT: balance_pb2.ACCOUNT_KIND_IN_TRANSIT,
    Kind.WITHDRAWING: balance_pb2.ACCOUNT_KIND_WITHDRAWAL_IN_TRANSIT,
    Kind.INTEREST: balance_pb2.ACCOUNT_KIND_INTEREST,
    Kind.MARKETING: balance_pb2.ACCOUNT_KIND_MARKETING,
    Kind.PARKING: balance_pb2.ACCOUNT_KIND_ACQUIRING_PARKING,
    Kind.POOLED: balance_pb2.ACCOUNT_KIND_POOLED,
    Kind.DIFFERENCE: balance_pb2.ACCOUNT_KIND_DIFFERENCE,
    **dict.fromkeys(CONTROLS, balance_pb2.ACCOUNT_KIND_CONTROL),
}


def timestamp(at: datetime | None) -> Timestamp | None:
    """A time as protobuf has it."""
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def operation(found: Operation, parts: Sequence[Part]) -> core_pb2.Operation:
    """An operation with its parts."""
    if found.id == NOT_RECORDED:
        return core_pb2.Operation(
            kind=KINDS[found.kind],
            order_no=found.order_no,
            amount_fen=found.amount_fen,
            fee_fen=found.fee_fen,
            payer_member_id=found.payer,
            payee_member_id=found.payee,
        )
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED
    if found.breach is not None:
        reason = ErrorReason.Value(f"ERROR_REASON_{FLOOR_REASONS[Breach(**found.breach).pocket].reason}")
    elif found.state is State.REFUSED and found.reason == ORDER_DIFFERS:
        reason = ErrorReason.ERROR_REASON_ACQUIRED_ORDER_DIFFERS
    elif found.state is State.REFUSED:
        reason = ErrorReason.ERROR_REASON_BANK_REFUSED
    elif found.state is State.UNKNOWN and found.reason == SERVICE_FAULT:
        reason = ErrorReason.ERROR_REASON_SERVICE_FAULT
    elif found.state is State.UNKNOWN:
        reason = ErrorReason.ERROR_REASON_BANK_OUTCOME_UNKNOWN
    elif found.state is State.RELEASED and found.reason == STILL_NEEDED:
        reason = ErrorReason.ERROR_REASON_MEMBER_STILL_NEEDED
    elif found.state is State.RELEASED:
        reason = ErrorReason.ERROR_REASON_BANK_UNAVAILABLE
    updated = timestamp(found.updated_at)
    namespace, request_id = namespace_of(found.request_id)
    return core_pb2.Operation(
        operation_id=str(found.id),
        # What the bank did on its own has an id with a space, which no caller can give.
        request_id=request_id,
        kind=KINDS[found.kind],
        state=STATES[found.state],
        outcome=OUTCOMES[found.state],
        serial=found.serial,
        bank_serial=found.bank_serial,
        bank_day=found.bank_day.isoformat() if found.bank_day else "",
        order_no=found.order_no,
        amount_fen=found.amount_fen,
        fee_fen=found.fee_fen,
        payer_member_id=found.payer,
        payee_member_id=found.payee,
        parts=[part_message(part) for part in parts],
        reason=reason,
        bank_code=found.bank_code,
        bank_message=sendable(found.bank_message),
        message=sendable(sentence(found, parts)),
        trace_id=found.trace_id,
        create_time=timestamp(found.created_at),
        update_time=updated,
        final_time=updated if found.state.is_final else None,
        next_query_time=timestamp(found.next_query_at),
        query_attempts=found.query_attempts,
        original_serial=original(found, parts),
        namespace=namespace,
        caller=found.caller,
        person=found.person,
        settlement=SETTLEMENTS.get(found.kind, 0),
        **_kept(found),
    )


def _kept(found: Operation) -> dict[str, Any]:
    """Who approved it, where somebody had to, and what it keeps of its request: in the plan, which is sealed."""
    # A plan is read only where it is needed.
    if not any(f'"{name}"' in found.plan_text for name in (APPROVAL, TAGS, REMARK, CHANNEL, MASKED_CARD)):
        return {}
    plan = found.plan
    keep = plan.get("keep", {})
    told = {
        "remark": plan.get(REMARK, ""),
        "channel_type": int(keep.get(CHANNEL, 0)),
        "channel_transaction_no": keep.get(CHANNEL_SERIAL, ""),
        "masked_card_number": keep.get(MASKED_CARD, ""),
    }
    if tags := plan.get(TAGS):
        told["tags"] = core_pb2.Tags(reference=tags.get("reference", ""), labels=labels(tags.get("labels", {}).items()))
    if approval := plan.get(APPROVAL):
        told["proposal_id"] = approval["proposal"]
        told["approver_caller"], told["approver_person"] = approval["caller"], approval["person"]
    return told


def labels(found: Iterable[tuple[str, str]]) -> list[core_pb2.Label]:
    """Keys and values of labels as messages, in the order of their keys."""
    return [core_pb2.Label(key=key, value=value) for key, value in sorted(found)]


def sendable(text: str) -> str:
    """A text without what protobuf cannot carry (half of a UTF-16 pair), as the ledger keeps it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def original(found: Operation, parts: Sequence[Part]) -> str:
    """The serial of the earlier operation that this one refers to, or empty."""
    if found.kind == OperationKind.WITHDRAWAL_RETURN:
        # Named by the bank with the return, or in a part of its own a day later.
        return next((part.serial for part in reversed(parts) if part.serial), "")
    kept: str = found.plan.get("keep", {}).get(ORIGINAL, "") if found.kind in GIVING_BACK else ""
    return kept


def part_message(part: Part) -> core_pb2.Part:
    """One transaction of an operation."""
    return core_pb2.Part(
        number=part.part,
        serial=part.serial,
        payer_member_id=part.payer,
        payee_member_id=part.payee,
        amount_fen=part.amount_fen,
        fee_fen=part.fee_fen,
        state=PART_STATES[part.state],
        corrects=part.corrects or 0,
        order_no=part.order_no,
        bank_serial=part.bank_serial,
        bank_day=part.bank_day.isoformat() if part.bank_day else "",
    )


def member(found: Member) -> member_pb2.Member:
    """A member as the mirror has it; personal fields are not kept."""
    return member_pb2.Member(
        member_id=found.member_id,
        sub_account=found.sub_account,
        property=(
            member_pb2.MEMBER_PROPERTY_ORDINARY if found.property == "00" else member_pb2.MEMBER_PROPERTY_MERCHANT
        ),
        state=member_pb2.MEMBER_STATE_OPEN if found.is_open else member_pb2.MEMBER_STATE_CLOSED,
        open_time=timestamp(found.opened_at),
        close_time=timestamp(found.closed_at),
        same_name_member_id=found.same_name,
    )


CARD_STATES: dict[CardState, card_pb2.CardState.ValueType] = {
    CardState.CHECKING: card_pb2.CARD_STATE_CHECKING,
    CardState.BOUND: card_pb2.CARD_STATE_BOUND,
    CardState.UNBOUND: card_pb2.CARD_STATE_UNBOUND,
    CardState.FAILED: card_pb2.CARD_STATE_FAILED,
    CardState.UNSENT: card_pb2.CARD_STATE_FAILED,
}
CHECKS: dict[CheckedBy, card_pb2.CardCheck.ValueType] = {
    CheckedBy.SMS: card_pb2.CARD_CHECK_SMS,
    CheckedBy.PAY_OUT: card_pb2.CARD_CHECK_PAY_OUT,
    CheckedBy.PAY_IN: card_pb2.CARD_CHECK_PAY_IN,
    CheckedBy.BANK: card_pb2.CARD_CHECK_BANK_LIST,
}


def card(found: Card) -> card_pb2.Card:
    """A card as the mirror has it: nothing that is sealed is told."""
    return card_pb2.Card(
        card_id=str(found.card_id),
        member_id=found.member_id,
        masked_number=found.masked,
        bank_type=card_pb2.BankType.ValueType(int(found.bank_type)),
        branch_name=found.branch_name,
        cnaps_no=found.cnaps_no,
        super_bank_no=found.super_bank_no,
        state=CARD_STATES[found.state],
        check=CHECKS[found.checked_by],
        check_end_time=timestamp(found.ends_at) if found.state is CardState.CHECKING else None,
        wrong_answers=found.wrong,
        pay_in_fen=found.pay_in_fen,
        create_time=timestamp(found.created_at),
        bind_time=timestamp(found.bound_at),
        end_time=timestamp(found.ended_at),
    )

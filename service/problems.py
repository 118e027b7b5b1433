"""Every error a caller can get: a status code, a stable reason, the amounts, and what happened to the money.

A `Problem` is raised wherever the reason is known; the interceptor turns it into google.rpc.Status details once.
The one table from a broken floor to a reason is here, and so is the one place that says what happened to the money:
`Problem.outcome`. Nobody can write NO_EFFECT down; it follows from an operation on record, or from `LookedUp`, the
proof that the call's request id was looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import grpc
from pydantic import ValidationError

from bankclient import yuan
from jzb.v1 import core_pb2
from jzb.v1.names import ErrorReason, OperationKind
from ledger import (
    MONEY,
    Account,
    Breach,
    DeadlinePassed,
    Dependency,
    FloorBroken,
    Kind,
    LedgerBehind,
    LedgerBusy,
    LedgerError,
    LedgerUnavailable,
    Member,
    Need,
    Operation,
    Part,
    Proposal,
    ProposalState,
    RequestIdReused,
    State,
)
from ledger.names import MemberCode, SubAccount
from service.policy import Approved, Rights, namespace_of
from service.recorded import ORDER_DIFFERS, SEND_AGAIN, SERVICE_FAULT, STILL_NEEDED

OUTCOMES: dict[State, core_pb2.Outcome.ValueType] = {
    State.RESERVED: core_pb2.OUTCOME_UNKNOWN,
    State.RELEASED: core_pb2.OUTCOME_NO_EFFECT,
    State.UNKNOWN: core_pb2.OUTCOME_UNKNOWN,
    State.ACCEPTED: core_pb2.OUTCOME_DONE,
    State.DONE: core_pb2.OUTCOME_DONE,
    State.REFUSED: core_pb2.OUTCOME_NO_EFFECT,
}
"""What each state says about the money."""

ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS

FIRST_VIOLATIONS = 5


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Proof that the request id of a call was looked up: ``earlier`` is the operation that has it, if one has."""

    earlier: Operation | None = None
    parts: Sequence[Part] = ()


NAMES_NOTHING = LookedUp()
"""Of a call that asks for no change, and so has no request id to look up."""


@dataclass(eq=False)
class Problem(Exception):
    """One error as the caller sees it.

    ``reason`` is a name of ErrorReason without its prefix. ``amounts`` are fen. ``violations`` name request fields.
    ``taken`` is the one use of an order number that another operation has.
    ``operation`` is the one that has the call's request id, as recorded. ``in_doubt`` is for a call that may have acted
    although no operation is known.
    """

    code: grpc.StatusCode
    reason: ErrorReason
    message: str
    next_step: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    amounts: Mapping[str, int] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    operation: Operation | None = None
    parts: Sequence[Part] = ()
    retry_after_s: float | None = None
    taken: Account | None = None
    in_doubt: bool = False
    looked_up: LookedUp | None = None

    def __post_init__(self) -> None:
        ErrorReason(self.reason)

    @property
    def outcome(self) -> core_pb2.Outcome.ValueType:
        """What happened to the money; UNKNOWN as long as nobody has looked."""
        if self.operation is not None:
            return OUTCOMES[self.operation.state]
        if self.in_doubt or self.looked_up is None:
            return core_pb2.OUTCOME_UNKNOWN
        return core_pb2.OUTCOME_NO_EFFECT

    @property
    def is_decided(self) -> bool:
        """Whether its outcome stands, so that no look-up would add to it."""
        return self.operation is not None or self.looked_up is not None

    def after(self, looked_up: LookedUp | None) -> Problem:
        """The same, once the request id of its call was looked up, or could not be (None)."""
        if looked_up is None:
            return replace(
                self,
                next_step="what this request id has done before was not looked up: ask GetOperation, or send the same"
                " request again, it is acted on at most once",
            )
        if looked_up.earlier is None:
            return replace(self, looked_up=looked_up)
        if looked_up.earlier.state is State.RELEASED:
            # Sent again, the request is tried again, so what is to be done next is what this error says.
            return replace(self, looked_up=looked_up, operation=looked_up.earlier, parts=looked_up.parts)
        return replace(
            self,
            looked_up=looked_up,
            operation=looked_up.earlier,
            parts=looked_up.parts,
            next_step=f"its request id has operation {looked_up.earlier.id}, which is {looked_up.earlier.state.name}:"
            " GetOperation has it, and the same request again is answered with it",
        )

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def invalid(
    field_name: str, message: str, reason: ErrorReason = ErrorReason.REQUEST_INVALID, *, rule: str = ""
) -> Problem:
    """A field that cannot be right whatever the state of the books. REQUEST_INVALID names the rule that it breaks."""
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        f"{field_name}: {message}",
        next_step="correct the request; the request id is not used up",
        metadata={"field": field_name} | ({"rule": rule} if rule else {}),
        violations=((field_name, message),),
    )


def unsendable(wrong: ValidationError) -> Problem:
    """A text that the contract allows and the bank's wire cannot carry, such as "null" (transport.md 2.3)."""
    first = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
    field_name, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return invalid(field_name, message, rule=first["type"])


def first_violations(violations: Sequence[tuple[str, str]]) -> str:
    """The first five of what is wrong in one line; a caller reads no hundred."""
    more = f"; and {len(violations) - FIRST_VIOLATIONS} more" if len(violations) > FIRST_VIOLATIONS else ""
    return "; ".join(f"{field_name}: {text}" for field_name, text in violations[:FIRST_VIOLATIONS]) + more


def not_enabled(interface: str, message: str, setting: str, next_step: str = "") -> Problem:
    """An interface or verification mode that this platform does not have, or has not been told how to reach."""
    mended = next_step or f"have the bank open it and set {setting}"
    return precondition(
        ErrorReason.INTERFACE_NOT_ENABLED,
        message,
        f"{mended}; nothing was reserved or sent, the request id is not used up",
        interface=interface,
        setting=setting,
    )


def key_missing(message: str, interface: str = "cards") -> Problem:
    """There is no key for a personal value, or not the one that it is sealed under."""
    return not_enabled(
        interface,
        message,
        "JZB_VAULT__KEYS",
        "have the operator add the key to JZB_VAULT__KEYS (`jzb vault key` makes a first one) and restart the service",
    )


def not_found(reason: ErrorReason, what: str, value: str) -> Problem:
    """A member, order, payment or operation that this platform does not have."""
    return Problem(
        grpc.StatusCode.NOT_FOUND,
        reason,
        f"there is no {what} {value} on this platform",
        next_step=f"check the {what}; the request id is not used up",
        metadata={_FOUND_BY.get(what, what.replace(" ", "_")): value},
    )


def operation_not_found(named: str, *, is_request_id: bool) -> Problem:
    """No operation has this name yet. That says nothing about the money: the call may still be on its way."""
    return Problem(
        grpc.StatusCode.NOT_FOUND,
        ErrorReason.OPERATION_NOT_FOUND,
        f"there is no operation {named} on this platform",
        next_step="the call may still be on its way: ask again once its own deadline is over, or send the same request"
        " again, it is acted on at most once"
        if is_request_id
        else "look the operation up by the request id of its call",
        metadata={"operation": named},
    )


_FOUND_BY = {
    "member": "member_id",
    "member of the top-up": "member_id",
    "order": "order_no",
    "frozen order": "order_no",
    "payment": "payment_serial",
    "top up": "top_up_serial",
    "withdrawal": "withdrawal_serial",
    "transfer in suspense": "transfer_bank_serial",
    "allocation of suspense": "allocation_serial",
    "card": "card_id",
    "acquired order": "order_no",
    "proposal": "proposal_id",
    "item of work": "work_id",
}
"""The metadata key of what was not found."""


def precondition(reason: ErrorReason, message: str, next_step: str, **metadata: str) -> Problem:
    """The books or the rules do not allow it; nothing was sent."""
    return Problem(grpc.StatusCode.FAILED_PRECONDITION, reason, message, next_step=next_step, metadata=metadata)


def day_busy(message: str, next_step: str, **metadata: str) -> Problem:
    """Days are being loaded and matched just now."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.DAY_BUSY,
        message,
        next_step=next_step,
        metadata=metadata,
        retry_after_s=10.0,
    )


def break_closed(break_id: UUID) -> Problem:
    """Nothing is decided any more on a break."""
    return precondition(
        ErrorReason.BREAK_CLOSED,
        f"break {break_id} is closed",
        "nothing is left to decide; what still differs is found anew when the day is matched again",
        break_id=str(break_id),
    )


def difference_exceeded(
    break_id: UUID, amount_fen: int, left_fen: int, *, differs_fen: int, moved_fen: int, adjusted_fen: int
) -> Problem:
    """An adjustment that would move more for a break than differs."""
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.DIFFERENCE_EXCEEDED,
        f"break {break_id} differs by {yuan(differs_fen)}, and adjustments of it, or of an earlier version of its line,"
        f" have moved {yuan(moved_fen)} this way: {yuan(left_fen)} can still be moved for this member or account, not"
        f" {yuan(amount_fen)}",
        next_step="adjust at most what is left (amount_fen); GetBreak has what differs, ListAdjustments what was moved",
        metadata={"break_id": str(break_id), "differs_fen": str(differs_fen), "adjusted_fen": str(adjusted_fen)},
        amounts={"needed": amount_fen, "left": left_fen},
    )


@dataclass(frozen=True, slots=True)
class _FloorReason:
    reason: ErrorReason
    what: str
    next_step: str
    code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION


FLOOR_REASONS: dict[str, _FloorReason] = {
    "available": _FloorReason(
        ErrorReason.INSUFFICIENT_FUNDS,
        "available money of the payer",
        "top the payer up, or wait until what is held is released",
    ),
    "withdrawable": _FloorReason(
        ErrorReason.WITHDRAWABLE_INSUFFICIENT,
        "withdrawable money",
        "wait for the clearing of the day, which makes uncleared money withdrawable",
    ),
    "frozen": _FloorReason(
        ErrorReason.ORDER_INSUFFICIENT, "frozen money of the order", "ask GetFreeze for what is left"
    ),
    "escrow": _FloorReason(
        ErrorReason.ORDER_INSUFFICIENT, "money in escrow for the order", "ask GetOrder for what is left"
    ),
    "refundable": _FloorReason(
        ErrorReason.REFUND_EXCEEDS_PAYMENT,
        "refundable amount of the payment",
        "ask GetRefundable; pending refunds count",
    ),
    "refundable-fee": _FloorReason(
        ErrorReason.FEE_REFUND_EXCEEDS_FEE, "refundable fee of the payment", "ask GetRefundable; pending refunds count"
    ),
    "revocable": _FloorReason(
        ErrorReason.REVOCATION_EXCEEDS_TOP_UP,
        "revocable amount of the top-up, its fee apart",
        "ask GetRevocable; pending revocations count",
    ),
    "revocable-fee": _FloorReason(
        ErrorReason.FEE_REVOCATION_EXCEEDS_FEE,
        "revocable fee of the top-up",
        "ask GetRevocable; pending revocations count",
    ),
    "suspense": _FloorReason(
        ErrorReason.SUSPENSE_INSUFFICIENT,
        "money of the transfer in suspense",
        "ask ListSuspense for what is left; pending allocations count",
    ),
    "undoable": _FloorReason(
        ErrorReason.REVERSAL_EXCEEDS_ALLOCATION,
        "amount of the allocation that was not put back",
        "ask GetSuspenseAllocation; pending reversals count",
    ),
    "undoable-fee": _FloorReason(
        ErrorReason.FEE_REVERSAL_EXCEEDS_FEE,
        "fee of the allocation that was not put back",
        "ask GetSuspenseAllocation; pending reversals count",
    ),
    "own-funds": _FloorReason(
        ErrorReason.ADVANCE_INSUFFICIENT,
        "money in the refund advance account",
        "pay into the platform's own funds at the bank",
    ),
    "order": _FloorReason(
        ErrorReason.ORDER_EXISTS,
        "use of the order number",
        "choose another order number, or look at the operation that has it",
        grpc.StatusCode.ALREADY_EXISTS,
    ),
    "top-up-order": _FloorReason(
        ErrorReason.ORDER_EXISTS,
        "use of the order number",
        "choose another order number, or look at the operation that has it",
        grpc.StatusCode.ALREADY_EXISTS,
    ),
    "acquired": _FloorReason(
        ErrorReason.ACQUIRED_ORDER_RECORDED,
        "entry of the acquired order",
        "look at the operation that has it",
        ALREADY_EXISTS,
    ),
    "rebooked": _FloorReason(
        ErrorReason.ACQUIRED_ORDER_REBOOKED,
        "move of the acquired order",
        "look at the operation that has it",
        ALREADY_EXISTS,
    ),
    "standing": _FloorReason(
        ErrorReason.MEMBER_CLOSING,
        "member that is not being closed",
        "wait until the closing has ended, and look at the member",
    ),
    "allowance": _FloorReason(
        ErrorReason.ALLOWANCE_USED,
        "what the policy lets this caller, or this person, move on this bank day; what is pending counts",
        "wait for the next bank day, or have whoever keeps the policy file (JZB_POLICY) raise amount_per_day_fen",
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    "waiting": _FloorReason(
        ErrorReason.INSUFFICIENT_FUNDS,
        "uncleared money of that bank day",
        "look at the member's balance: what was cleared is withdrawable, and what is held counts as spent",
    ),
    "parking": _FloorReason(
        ErrorReason.PARKED_INSUFFICIENT, "parked money of the order", "compare with the bank by GetBankOrder"
    ),
}
"""What a caller is told when a floor holds, by the pocket of the breach."""

_NAMED_BY = {
    "frozen": "order_no",
    "escrow": "order_no",
    "order": "order_no",
    "top-up-order": "order_no",
    "acquired": "order_no",
    "rebooked": "order_no",
    "parking": "order_no",
    "waiting": "bank_day",
    "refundable": "payment_serial",
    "refundable-fee": "payment_serial",
    "revocable": "top_up_serial",
    "revocable-fee": "top_up_serial",
    "suspense": "transfer_bank_serial",
    "undoable": "allocation_serial",
    "undoable-fee": "allocation_serial",
    "allowance": "allowance",
}
"""The metadata key of what such a pocket counts by."""


ONCE = {
    "order": "is used already",
    "top-up-order": "is used already",
    "acquired": "is entered already",
    "rebooked": "was moved already",
    "standing": "is being closed, or was closed",
}
"""What has happened to an order number, or to a member, by the pocket that lets it happen once."""


def member_closed(member_id: MemberCode) -> Problem:
    """The member's sub-account is closed; nothing was sent."""
    return precondition(
        ErrorReason.MEMBER_CLOSED,
        f"member {member_id} is closed",
        "use an open member; the request id is not used up",
        member_id=member_id,
    )


_NEEDS = {
    Need.AVAILABLE: "available or held",
    Need.FROZEN: "frozen for its orders",
    Need.ESCROW: "in escrow for orders that it has prepaid",
    Need.UNDER_WAY: "in operations that are not final",
    Need.TO_COLLECT: "in escrow for orders that it is to collect",
    Need.PARKED: "parked at the bank, of orders that were acquired for it",
    Need.REFUNDABLE: "of payments that can still be refunded",
    Need.REVOCABLE: "of top-ups that can still be taken back",
    Need.UNDOABLE: "of suspense that can still be put back",
    Need.MAY_RETURN: "of withdrawals that can still come back",
    Need.CARD: "bound cards",
}
"""How a caller is told why a member is still needed."""


def member_needed(
    member_id: MemberCode, dependencies: Sequence[Dependency], operation: Operation | None = None
) -> Problem:
    """A member cannot be closed: all that still needs it, with counts, amounts and the first few. Nothing was sent."""
    money_fen = sum(one.amount_fen for one in dependencies if one.need in MONEY)
    metadata = {"member_id": member_id, "needed_by": ",".join(one.need for one in dependencies)}
    if money_fen:
        metadata["balance_fen"] = str(money_fen)
    for one in dependencies:
        metadata[f"{one.need}_count"] = str(one.count)
        metadata[f"{one.need}_fen"] = str(one.amount_fen)
        if any(one.first):
            metadata[f"{one.need}_first"] = ",".join(one.first)
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.MEMBER_NOT_EMPTY if money_fen else ErrorReason.MEMBER_STILL_NEEDED,
        f"member {member_id} is still needed: " + "; ".join(_need(one) for one in dependencies),
        next_step="end what is named first, or wait until its time is over; the request id is not used up",
        metadata=metadata,
        amounts={one.need.value: one.amount_fen for one in dependencies if one.amount_fen},
        operation=operation,
    )


def _need(one: Dependency) -> str:
    named = ", ".join(filter(None, one.first))
    more = f" and {one.count - len(one.first)} more" if one.count > len(one.first) and named else ""
    what = _NEEDS[one.need] if one.need is Need.CARD else f"{yuan(one.amount_fen)} {_NEEDS[one.need]}"
    return f"{what} ({named}{more})" if named else what


def still_needed(member_id: MemberCode, why: str, found: Sequence[Operation]) -> Problem:
    """A member, its card or its mobile cannot be changed while operations under way need it as it is."""
    first = found[:FIRST_VIOLATIONS]
    more = f" and {len(found) - len(first)} more" if len(found) > len(first) else ""
    named = ", ".join(f"{OperationKind(one.kind).name} {one.id} ({one.state.name})" for one in first)
    return precondition(
        ErrorReason.MEMBER_STILL_NEEDED,
        f"{why}: {named}{more}",
        "wait until they are final, or have them resolved; the request id is not used up",
        member_id=member_id,
        needed_by=Need.UNDER_WAY.value,
        under_way_count=str(len(found)),
        under_way_first=",".join(str(one.id) for one in first),
    )


def floor_broken(breach: Breach, operation: Operation | None, parts: Sequence[Part] = ()) -> Problem:
    """A rule about money: nothing was sent, nothing is held. ``operation`` is the refusal as recorded; without one the
    request id is not used up.
    """
    told = FLOOR_REASONS[breach.pocket]
    # A use is no money: it has no amounts.
    amounts: dict[str, int] = {}
    taken: Account | None = (
        Account(Kind(breach.pocket), SubAccount(breach.owner), breach.ref) if breach.pocket in ONCE else None
    )
    if breach.pocket == Kind.STANDING:
        message = f"the member with sub-account {breach.owner} is being closed, or was closed"
    elif breach.pocket in ONCE:
        message = f"order number {breach.ref} {ONCE[breach.pocket]}"
    else:
        message = f"{yuan(breach.needed_fen)} needed, {yuan(breach.left_fen)} left: {told.what}"
        amounts = {"needed": breach.needed_fen, "left": breach.left_fen}
    then = "the request id is not used up" if operation is None else "use a new request id"
    return Problem(
        told.code,
        told.reason,
        message,
        next_step=f"{told.next_step}; {then}",
        metadata={
            name: value
            for name, value in (("sub_account", breach.owner), (_NAMED_BY.get(breach.pocket, "ref"), breach.ref))
            if value
        },
        amounts=amounts,
        operation=operation,
        parts=parts,
        taken=taken,
    )


def of_member(problem: Problem, member_id: MemberCode) -> Problem:
    """The same error with the member's code in it."""
    return replace(
        problem,
        message=f"member {member_id} is being closed, or was closed",
        metadata={**problem.metadata, "member_id": member_id},
    )


def short_of(problem: Problem, member: Member | None) -> Problem:
    """The same error with the member whose money is not enough; None for a sub-account of nobody here."""
    if member is None:
        return problem
    return replace(
        problem,
        message=f"{problem.message} (member {member.member_id})",
        metadata={**problem.metadata, "member_id": member.member_id},
    )


def used_by(problem: Problem, user: Operation | None) -> Problem:
    """The same error with the operation that has the order number; None when it was given back in the meantime."""
    if user is None:
        return problem
    kind = OperationKind(user.kind).name
    return replace(
        problem,
        message=f"{problem.message} by {kind} {user.id}, which is {user.state.name}",
        metadata={
            **problem.metadata,
            "used_by_operation_id": str(user.id),
            "used_by_request_id": namespace_of(user.request_id)[1] or user.request_id,
            "used_by_kind": kind,
            "used_by_state": user.state.name,
        },
    )


_UNTIL_FINAL = "watch or get the operation; the bank is asked until it is final, ResolveOperation asks now"


def of_operation(operation: Operation, parts: Sequence[Part]) -> Problem | None:
    """The error that an operation's state is to its caller, the first time and every time; None when it is none."""
    known: dict[str, Any] = {"operation": operation, "parts": parts}
    metadata = {"operation_id": str(operation.id), "serial": operation.serial}
    if operation.breach is not None:
        return floor_broken(Breach(**operation.breach), operation, parts)
    if operation.state is State.REFUSED and operation.reason == ORDER_DIFFERS:
        return Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            ErrorReason.ACQUIRED_ORDER_DIFFERS,
            operation.message,
            next_step="nothing was entered; record the order as the bank has it, under a new request id",
            metadata=metadata,
            **known,
        )
    if operation.state is State.REFUSED:
        return Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            ErrorReason.BANK_REFUSED,
            f"the bank refused: {operation.bank_code} {operation.bank_message}".rstrip(),
            next_step="nothing moved and nothing is held; correct the cause and use a new request id",
            metadata={**metadata, "bank_code": operation.bank_code, "bank_message": operation.bank_message},
            **known,
        )
    if operation.state is State.RELEASED and operation.reason == STILL_NEEDED:
        return Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            ErrorReason.MEMBER_STILL_NEEDED,
            operation.message,
            next_step="nothing was sent, nothing is held; end what is named, then send the same request again",
            metadata={**metadata, "member_id": operation.payer},
            **known,
        )
    if operation.state is State.RELEASED:
        return Problem(
            grpc.StatusCode.UNAVAILABLE,
            ErrorReason.BANK_UNAVAILABLE,
            "the bank could not be reached; nothing was sent, nothing is held",
            next_step="send the same request again, with the same request id",
            metadata=metadata,
            retry_after_s=5.0,
            **known,
        )
    if operation.state is State.UNKNOWN and operation.reason == SERVICE_FAULT:
        return replace(service_fault(), next_step=_UNTIL_FINAL, metadata=metadata, **known)
    if operation.state in (State.UNKNOWN, State.RESERVED):
        return Problem(
            # Never UNAVAILABLE: that is retried by clients on their own (AIP-194).
            grpc.StatusCode.DEADLINE_EXCEEDED,
            ErrorReason.BANK_OUTCOME_UNKNOWN,
            "the bank searches its history for the payment and wants the same request again; the money stays held"
            if operation.reason == SEND_AGAIN
            else "the bank may have acted; the money stays held until the bank says",
            next_step=_UNTIL_FINAL,
            metadata={**metadata, "bank_code": operation.bank_code},
            **known,
        )
    return None


def bank_unavailable(detail: str) -> Problem:
    """A call that reserves could not be sent."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.BANK_UNAVAILABLE,
        f"the bank cannot be reached: {detail}",
        next_step="nothing was reserved or sent; send the same request again later",
        retry_after_s=5.0,
    )


def bank_silent(detail: str) -> Problem:
    """The bank has not answered what moves no money, such as a query or a request for a code, or not usably. It may
    have been sent.
    """
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.BANK_UNAVAILABLE,
        f"the bank gave no usable answer: {detail}",
        next_step="nothing was reserved; what may have been sent to the bank moves no money; send the same request"
        " again later",
        retry_after_s=5.0,
    )


def question_refused(interface: str, bank_code: str, bank_message: str) -> Problem:
    """The bank does not take a question as it is put."""
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.BANK_REFUSED,
        f"the bank refused the question: {bank_code} {bank_message}".rstrip(),
        next_step="a question moves nothing; correct the cause and ask again",
        metadata={"interface": interface, "bank_code": bank_code, "bank_message": bank_message},
    )


def overloaded(detail: str, **metadata: str) -> Problem:
    """Refused before anything was reserved, because too much is under way."""
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.OVERLOADED,
        detail,
        next_step="this call reserved and sent nothing; send the same request again later, with the same request id",
        metadata=metadata,
        retry_after_s=1.0,
    )


def interface_suspended(interface: str, retry_after_s: float) -> Problem:
    """Refused before anything was reserved, because the bank has left too many calls of the interface unanswered."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.BANK_INTERFACE_SUSPENDED,
        f"the bank did not answer the latest calls of {interface}; no more are sent until one on trial is answered",
        next_step="this call reserved and sent nothing; send the same request again later, with the same request id",
        metadata={"interface": interface},
        retry_after_s=retry_after_s,
    )


def stopping() -> Problem:
    """Refused before anything was reserved, because this process ends."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SERVICE_STOPPING,
        "this process of the service is stopping",
        next_step="this call reserved and sent nothing; send the same request again, another process takes it",
        retry_after_s=1.0,
    )


def caller_unknown(fault: str) -> Problem:
    """Nobody knows who calls, or the one it says it is has not said so rightly."""
    return Problem(
        grpc.StatusCode.UNAUTHENTICATED,
        ErrorReason.CALLER_UNKNOWN,
        f"the service does not know who calls: {fault}",
        next_step="call with a certificate of the client CA that has a name, and with a token that is valid or with"
        " none (docs/operations/security.md)",
        metadata={"fault": fault},
    )


def scope_missing(caller: str, person: str, scope: str, why: str = "") -> Problem:
    """The policy does not let this caller, or this person, call this RPC."""
    who = f"caller {caller}" + (f" for person {person}" if person else "")
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.SCOPE_MISSING,
        f"this call needs the scope {scope}, which the policy does not give to {who}" + (f": {why}" if why else ""),
        next_step="have whoever keeps the policy file (JZB_POLICY) give the scope; this call reserved and sent nothing",
        metadata={"caller": caller, "person": person, "scope": scope},
    )


def amount_not_permitted(caller: str, amount_fen: int, limit_fen: int) -> Problem:
    """One call moves more than its caller may move with one."""
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.AMOUNT_NOT_PERMITTED,
        f"caller {caller} may move {yuan(limit_fen)} with one call, not {yuan(amount_fen)}",
        next_step="send smaller amounts, or have whoever keeps the policy file (JZB_POLICY) raise amount_per_call_fen;"
        " the request id is not used up",
        metadata={"caller": caller, "limit_fen": str(limit_fen)},
        amounts={"needed": amount_fen, "left": limit_fen},
    )


def approval_required(scope: str, *, is_always: bool = False) -> Problem:
    """Two people are wanted for a call, which does not ask for the second one: by the policy, or ``is_always``."""
    return precondition(
        ErrorReason.APPROVAL_REQUIRED,
        "this call changes the books alone, and another identity must approve it, whatever the policy marks"
        if is_always
        else f"the policy wants another identity to approve this call of {scope}",
        "send the same request again with the field approval, which makes it a proposal; the request id is not used up",
        scope=scope,
    )


def of_proposal(proposal: Proposal) -> Problem:
    """What the caller of a proposed request is told, as long as there is no operation: nothing has moved."""
    named = {"proposal_id": str(proposal.proposal_id)}
    done = "nothing has moved, and this request will never run; use a new request id for a new proposal"
    match proposal.state:
        case ProposalState.REJECTED:
            why = f": {proposal.note}" if proposal.note else ""
            reason, message = ErrorReason.APPROVAL_REJECTED, f"proposal {proposal.proposal_id} was rejected{why}"
        case ProposalState.EXPIRED:
            reason, message = ErrorReason.APPROVAL_EXPIRED, f"nobody decided on proposal {proposal.proposal_id} in time"
        case ProposalState.REFUSED:
            reason = ErrorReason.APPROVED_CALL_REFUSED
            message = f"proposal {proposal.proposal_id} was approved, and refused: {proposal.refusal_message}"
            named["refusal"] = proposal.refusal
        case _:
            until = proposal.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            is_pending = proposal.state is ProposalState.PENDING
            return Problem(
                grpc.StatusCode.FAILED_PRECONDITION,
                ErrorReason.APPROVAL_PENDING,
                f"proposal {proposal.proposal_id} waits until {until} for another identity to approve it"
                if is_pending
                else f"proposal {proposal.proposal_id} is approved, and is being carried out",
                next_step="nothing has moved, and nothing will unless it is approved (ApprovalService.Approve); then"
                " the same request again is answered with the operation"
                if is_pending
                else "send the same request again: it is answered with the operation",
                metadata={**named, "state": proposal.state.name, "expire_time": until},
                looked_up=LookedUp() if is_pending else None,
                in_doubt=not is_pending,
            )
    if proposal.is_ended_by_restore:
        done = "look at the bank whether it was carried out after the copy; this request will not run from these books"
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        reason,
        message,
        next_step=done,
        metadata=named,
        looked_up=None if proposal.is_ended_by_restore else LookedUp(),
        in_doubt=proposal.is_ended_by_restore,
    )


def beside_proposal(problem: Problem, proposal: Proposal) -> Problem:
    """The same refusal of a request that is proposed: the proposal may still act."""
    return replace(
        problem,
        in_doubt=True,
        next_step=f"its request id has proposal {proposal.proposal_id}, which is {proposal.state.name} and may still"
        " act: ApprovalService has it, and the same request again tells what became of it",
    )


def proposed_otherwise(earlier: Proposal) -> Problem:
    """The same request id with other content than what is proposed: this content has done nothing."""
    request_id = namespace_of(earlier.request_id)[1]
    return Problem(
        ALREADY_EXISTS,
        ErrorReason.REQUEST_ID_REUSED,
        f"request id {request_id} was proposed before with other content",
        next_step="use a new request id for a new request",
        metadata={"request_id": request_id, "operation_id": "", "proposal_id": str(earlier.proposal_id)},
        in_doubt=earlier.state.may_run,
        looked_up=LookedUp(),
    )


def differs_from_approved(approved: Approved, payer: str, payee: str, amount_fen: int) -> Problem:
    """What was approved would now move something else, so it is not carried out."""
    return precondition(
        ErrorReason.APPROVED_CALL_REFUSED,
        f"approved was {yuan(approved.amount_fen)} from {approved.payer or 'nobody'} to {approved.payee or 'nobody'};"
        f" the request would now move {yuan(amount_fen)} from {payer or 'nobody'} to {payee or 'nobody'}",
        "propose it again as it is now, under a new request id",
        proposal_id=str(approved.proposal_id),
        refusal=ErrorReason.APPROVED_CALL_REFUSED,
    )


def proposal_decided(proposal: Proposal) -> Problem:
    """A decision comes too late."""
    by = " for ".join(filter(None, (proposal.decider_caller, proposal.decider_person)))
    return precondition(
        ErrorReason.PROPOSAL_DECIDED,
        f"proposal {proposal.proposal_id} is {proposal.state.name} already" + (f", decided by {by}" if by else ""),
        "this decision has changed nothing; GetProposal has what was decided",
        proposal_id=str(proposal.proposal_id),
        state=proposal.state.name,
    )


def proposal_changed(proposal: Proposal) -> Problem:
    """A proposal cannot be opened as what it says it is."""
    return Problem(
        grpc.StatusCode.DATA_LOSS,
        ErrorReason.PROPOSAL_CHANGED,
        f"proposal {proposal.proposal_id} is not as it was proposed: somebody else has written to the database",
        next_step="have whoever runs the service look into its log; propose it again under a new request id",
        metadata={"proposal_id": str(proposal.proposal_id)},
    )


def approver_is_proposer(proposal: Proposal, rights: Rights) -> Problem:
    """Nobody approves what he has proposed."""
    who = f"person {rights.person}" if rights.person and proposal.person else f"caller {rights.caller}"
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.APPROVER_IS_PROPOSER,
        f"proposal {proposal.proposal_id} is that of {who}, who cannot approve it",
        next_step="have another person approve it; nothing was decided",
        metadata={"proposal_id": str(proposal.proposal_id), "caller": rights.caller, "person": rights.person},
    )


def watch_too_slow(lag_max: int) -> Problem:
    """The reader of a watch is behind by more than is kept for it."""
    return Problem(
        grpc.StatusCode.ABORTED,
        ErrorReason.WATCH_TOO_SLOW,
        f"more than {lag_max} events wait to be read",
        next_step="watch again from the cursor of the last event that was handled; nothing is lost",
        metadata={"lag_max": str(lag_max)},
    )


def at_cursor(problem: Problem, cursor: str) -> Problem:
    """The same at the end of a watch, with the place from which it goes on."""
    return replace(problem, metadata={**problem.metadata, "cursor": cursor})


def deadline_passed() -> Problem:
    """The caller was gone before anything was reserved."""
    return Problem(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        ErrorReason.DEADLINE_PASSED,
        "the deadline of the call passed before it was its turn",
        next_step="this call reserved and sent nothing; send the same request again, with the same request id",
    )


def replay_too_long(limit_s: float) -> Problem:
    """A replay of the books was ended; it changed nothing."""
    return Problem(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        ErrorReason.DEADLINE_PASSED,
        f"the replay took longer than {limit_s:g} s, which is as long as it may (JZB_VERIFY_S)",
        next_step="run `jzb verify`, which has no limit, best against a standby",
    )


def deadline_too_short(remaining_s: float, required_s: float) -> Problem:
    """The caller would be gone before the bank could answer; nothing was begun."""
    remaining_ms, required_ms = f"{remaining_s * 1000:.0f}", f"{required_s * 1000:.0f}"
    return Problem(
        # As DEADLINE_PASSED: the same lack of time, seen a little earlier. Neither the books are in the way
        # (FAILED_PRECONDITION) nor the request (INVALID_ARGUMENT), and no client retries it on its own (AIP-194).
        grpc.StatusCode.DEADLINE_EXCEEDED,
        ErrorReason.DEADLINE_TOO_SHORT,
        f"{remaining_ms} ms are left of the deadline, a call that changes something needs {required_ms}",
        next_step="send the same request again with a longer deadline; the request id is not used up",
        metadata={"remaining_ms": remaining_ms, "required_ms": required_ms},
    )


def member_exists(member_id: MemberCode, sub_account: SubAccount) -> Problem:
    """Opened before, by another request id."""
    return Problem(
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.MEMBER_EXISTS,
        f"member {member_id} has sub-account {sub_account} already",
        next_step="use another member code; the request id is not used up",
        metadata={"member_id": member_id, "sub_account": sub_account},
    )


def ledger_unavailable() -> Problem:
    """PostgreSQL is away. What was under way is found again by its request id."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.LEDGER_UNAVAILABLE,
        "the ledger's database cannot be reached",
        next_step="send the same request again with the same request id: it is acted on at most once",
        retry_after_s=2.0,
        in_doubt=True,
    )


def service_fault() -> Problem:
    """An error that nobody foresaw, in the log with all it is known of. What the call has done is not known."""
    return Problem(
        # Never UNAVAILABLE, which clients retry on their own: it does not mend itself.
        grpc.StatusCode.UNKNOWN,
        ErrorReason.SERVICE_FAULT,
        "the service met an error that nobody foresaw",
        next_step="ask GetOperation, or send the same request again with the same request id: it is acted on at most"
        " once; have whoever runs the service look into its log",
        in_doubt=True,
    )


def ledger_behind() -> Problem:
    """The database has books that are older than the bank: what this call's request id has done may be missing."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.LEDGER_BEHIND,
        "the ledger's books are older than the bank",
        next_step="this call reserved and sent nothing, and what its request id did before may be missing in the"
        " books; send the same request again when they have caught up",
        retry_after_s=60.0,
        in_doubt=True,
    )


def of_ledger(error: LedgerError) -> Problem:
    """What a step is told that the ledger has not taken: nothing was reserved by it. Raises what nobody foresaw."""
    match error:
        case FloorBroken():
            return floor_broken(error.breach, error.operation)
        case RequestIdReused():
            return request_id_reused(error.operation)
        case DeadlinePassed():
            return deadline_passed()
        case LedgerBehind():
            return ledger_behind()
        case LedgerBusy():
            return overloaded(str(error))
        case LedgerUnavailable():
            return ledger_unavailable()
    raise error


def request_id_reused(operation: Operation) -> Problem:
    """The same request id with other content: this content has done nothing, the first one's operation stands."""
    return Problem(
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.REQUEST_ID_REUSED,
        f"request id {namespace_of(operation.request_id)[1]} was used before with other content",
        next_step="use a new request id for a new request",
        metadata={"request_id": namespace_of(operation.request_id)[1], "operation_id": str(operation.id)},
        looked_up=LookedUp(operation),
    )


def repeat_not_recognised(operation: Operation, why: str) -> Problem:
    """The request id has an operation, and the key is gone by which its content could be compared with this one's."""
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.INTERFACE_NOT_ENABLED,
        f"request id {namespace_of(operation.request_id)[1]} has an operation, and whether this request is a repeat of"
        f" it cannot be known: {why}",
        next_step=f"nothing was done again; GetOperation has operation {operation.id}. Have the operator add the key to"
        " JZB_VAULT__RETIRED_KEYS and restart the service, then send the same request again",
        metadata={
            "interface": "personal fields",
            "setting": "JZB_VAULT__RETIRED_KEYS",
            "operation_id": str(operation.id),
        },
        in_doubt=True,
    )

"""What the present call may name, move and see, judged in one place for every RPC.

Members are found in requests, plans and answers by the names of fields (`MEMBER_FIELD`), so that no servicer has to
remember to ask. What a caller may not see is answered as if it were not there. Amounts are judged when the plan is
known: by then an order or a payment that the request only numbers has its amount and its members.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Final, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from jzb.v1 import core_pb2, options_pb2
from jzb.v1.names import ErrorReason
from ledger import Account, Entry, FullOperation, Kind, Operation, Part, Proposal
from ledger.rules import Cap
from service import problems
from service.catalogue.interfaces import facts
from service.contract import methods
from service.plans.plan import Movement, Plan
from service.policy import Rights, Scope, namespace_of, present
from service.problems import Problem

MEMBER_FIELD: Final = re.compile(r"(.*_)?member_ids?")
"""The names of fields that hold member codes."""

M = TypeVar("M", bound=Message)
P = TypeVar("P", bound=Movement)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where a kind of message holds member codes: fields of its own, and fields with messages that hold some."""

    own: tuple[tuple[str, bool], ...]
    nested: tuple[tuple[str, bool], ...]
    is_operation: bool
    shows_operations: bool
    names_any: bool
    """Whether it can name a member or show an operation at all."""


@cache
def _shape(message: Descriptor) -> _Shape:
    own = tuple(
        (field.name, field.is_repeated)
        for field in message.fields
        if field.type == field.TYPE_STRING and MEMBER_FIELD.fullmatch(field.name)
    )
    nested = tuple(
        (field.name, field.is_repeated)
        for field in message.fields
        # No message of the contract holds itself: what does is not followed.
        if field.message_type not in (None, message) and _shape(field.message_type).names_any
    )
    is_operation = message is core_pb2.Operation.DESCRIPTOR
    below = [_shape(message.fields_by_name[name].message_type) for name, _ in nested]
    shows_operations = any(one.is_operation or one.shows_operations for one in below)
    return _Shape(own, nested, is_operation, shows_operations, bool(is_operation or own or nested))


def members_in(message: Message) -> Iterator[str]:
    """Every member code in a message, in rows and at any depth."""
    shape = _shape(message.DESCRIPTOR)
    for name, is_repeated in shape.own:
        value = getattr(message, name)
        yield from filter(None, value if is_repeated else (value,))
    for nested in _nested(message, shape):
        yield from members_in(nested)


def _nested(message: Message, shape: _Shape) -> Iterator[Message]:
    for name, is_repeated in shape.nested:
        if is_repeated:
            yield from getattr(message, name)
        elif message.HasField(name):
            yield getattr(message, name)


def require_members(rights: Rights, request: Message) -> None:
    """Judge the members that a request names. Raises `Problem`, as for members that are not there."""
    if rights.members:
        for member_id in members_in(request):
            if not rights.has_member(member_id):
                raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", member_id)


class Rpc(NamedTuple):
    """The RPC of a request, and the scope that its caller needs."""

    method: MethodDescriptor
    scope: Scope


def rpc_of(request: Message) -> Rpc:
    """Found by the request: no two RPCs have the same."""
    return _rpcs()[request.DESCRIPTOR.full_name]


@cache
def _rpcs() -> dict[str, Rpc]:
    return {method.input_type.full_name: Rpc(method, facts(method).scope) for method in methods().values()}


def needs_another(rights: Rights, plan: Movement, request: Message) -> bool:
    """Whether a second identity is wanted for this, and there is none yet: by the policy, or because no bank will ever
    look at it.
    """
    if rights.approved is not None:
        return False
    if not isinstance(plan, Plan):
        return True
    scope = rpc_of(request).scope
    return any(rule.marks(scope, plan.moved_fen) for rule in rights.approvals)


def sees_proposal(rights: Rights, proposal: Proposal) -> bool:
    """Whether a proposal is one of the caller's own, or one that it may approve or read."""
    if rights.sees_all:
        return True
    members = [member_id for member_id in (proposal.payer, proposal.payee) if member_id]
    if not _all_own(rights, members) or (rights.members and not members):
        return False
    return options_pb2.SCOPE_APPROVE in rights.scopes or namespace_of(proposal.request_id)[0] == rights.namespace


def require_own(request: Message, *member_ids: str) -> None:
    """Judge the members of what a request numbers, as soon as it is found: the next error may tell of it. Raises
    `Problem`, as if nothing had the number.
    """
    if not _all_own(present(), member_ids):
        raise hidden(request)


def required(rights: Rights, plan: P, request: Message, bank_day: date) -> P:
    """The plan, with what it moves counted where its caller has an allowance for the day.

    Judges what it is about, and how much it moves. Raises `Problem`, before anything is reserved.
    """
    if rights.members:
        for draft in (*plan.drafts, *plan.then):
            if not _all_own(rights, (draft.payer, draft.payee)):
                raise hidden(request, draft.order_no)
        if not _all_own(rights, (plan.payer, plan.payee)):
            raise hidden(request)
    if rights.per_call_fen is not None and plan.moved_fen > rights.per_call_fen:
        raise problems.amount_not_permitted(rights.caller, plan.moved_fen, rights.per_call_fen)
    approved = rights.approved
    if approved is not None and (plan.payer, plan.payee, plan.amount_fen) != (
        approved.payer,
        approved.payee,
        approved.amount_fen,
    ):
        raise problems.differs_from_approved(approved, plan.payer, plan.payee, plan.amount_fen)
    return plan.counted([one.who for one in rights.per_day], bank_day) if rights.per_day else plan


def caps(rights: Rights, plan: Movement) -> tuple[Cap, ...]:
    """How far down the allowances may go that the plan counts on, judged where all processes' payments are judged."""
    if not rights.per_day:
        return ()
    taken: Counter[Account] = Counter()
    for leg in (leg for draft in plan.drafts for leg in draft.legs):
        if isinstance(leg.debit, Account) and leg.debit.kind is Kind.ALLOWANCE:
            taken[leg.debit] += leg.amount_fen
    limits = {one.who: one.limit_fen for one in rights.per_day}
    return tuple(Cap(account, fen, limits[account.ref.partition(" ")[2]]) for account, fen in taken.items())


def _all_own(rights: Rights, member_ids: Iterable[str]) -> bool:
    return all(rights.has_member(member_id) for member_id in member_ids if member_id)


_NUMBERED_BY = {
    "payment_serial": (ErrorReason.PAYMENT_NOT_FOUND, "payment"),
    "top_up_serial": (ErrorReason.TOP_UP_NOT_FOUND, "top up"),
    "withdrawal_serial": (ErrorReason.WITHDRAWAL_NOT_FOUND, "withdrawal"),
    "allocation_serial": (ErrorReason.SUSPENSE_ALLOCATION_NOT_FOUND, "allocation of suspense"),
    "card_id": (ErrorReason.CARD_NOT_FOUND, "card"),
    "proposal_id": (ErrorReason.PROPOSAL_NOT_FOUND, "proposal"),
    "break_id": (ErrorReason.BREAK_NOT_FOUND, "break"),
}
"""By which number a request means what it is about, and how the error is called when nothing has the number."""

_MENTIONED = {("AdjustRequest", "break_id")}
"""Numbers that are no more than a reason: the request is about something else."""

_ORDERS_OF = {
    "ReleaseRequest": (ErrorReason.ORDER_NOT_FOUND, "frozen order"),
    "PayFrozenRequest": (ErrorReason.ORDER_NOT_FOUND, "frozen order"),
    "GetFreezeRequest": (ErrorReason.ORDER_NOT_FOUND, "frozen order"),
    "RebookOrderRequest": (ErrorReason.ACQUIRED_ORDER_NOT_FOUND, "acquired order"),
}


def hidden(request: Message, order_no: str = "") -> Problem:
    """The error of a request about what is not there, for one about what its caller may not see.

    ``order_no`` is that of the row, where the request has several.
    """
    fields = request.DESCRIPTOR.fields_by_name
    if "key" in fields:
        key = request.key  # type: ignore[attr-defined]  # by its descriptor
        kind = key.WhichOneof("key")
        return problems.operation_not_found(getattr(key, kind), is_request_id=kind == "request_id")
    if number := _number_of(request.DESCRIPTOR.name, fields):
        reason, what = _NUMBERED_BY[number]
        return problems.not_found(reason, what, getattr(request, number))
    if "order_no" in fields or order_no:
        reason, what = _ORDERS_OF.get(request.DESCRIPTOR.name, (ErrorReason.ORDER_NOT_FOUND, "order"))
        return problems.not_found(reason, what, order_no or request.order_no)  # type: ignore[attr-defined]
    return problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", next(members_in(request), ""))


def sees_operation(rights: Rights, operation: Operation, parts: Sequence[Part] = ()) -> bool:
    """Whether an operation is one of the caller's own, or it may read all."""
    if rights.sees_all:
        return True
    namespace, request_id = namespace_of(operation.request_id)
    named = [operation.payer, operation.payee, *(one for part in parts for one in (part.payer, part.payee))]
    return _is_own(rights, namespace, named, is_the_banks=not request_id)


def sees_entry(rights: Rights, entry: Entry) -> bool:
    """Whether a statement of the caller's may name the operation of an entry; the entry itself it always has."""
    if rights.sees_all:
        return True
    namespace, request_id = namespace_of(entry.request_id)
    return _is_own(rights, namespace, entry.members, is_the_banks=not request_id)


def filter_of(rights: Rights) -> Callable[[FullOperation], bool] | None:
    """Which operations a watch shows; None for one that shows all."""
    return None if rights.sees_all else lambda full: sees_operation(rights, full.operation, full.parts)


def if_seen(operation: Operation | None) -> Operation | None:
    """An operation that the present caller may see, or None."""
    return operation if operation is not None and sees_operation(present(), operation) else None


def _is_own(rights: Rights, namespace: str, named: Iterable[str], *, is_the_banks: bool) -> bool:
    """Of its own namespace, or entered by the service for the bank; and about no member but its own."""
    members = [member_id for member_id in named if member_id]
    if not _all_own(rights, members):
        return False
    return (bool(members) or not rights.members) if is_the_banks else namespace == rights.namespace


def _sees(rights: Rights, message: Message) -> bool:
    shape = _shape(message.DESCRIPTOR)
    if isinstance(message, core_pb2.Operation):
        if not message.operation_id:
            # A dry run of the caller's own request.
            return _all_own(rights, members_in(message))
        return _is_own(rights, message.namespace, members_in(message), is_the_banks=not message.request_id)
    if shape.shows_operations and not all(
        _sees(rights, nested) for nested in _nested(message, shape) if isinstance(nested, core_pb2.Operation)
    ):
        return False
    if not rights.members:
        return True
    # What could name a member and names none, such as the platform's own account, is nobody's but the platform's.
    names_any = False
    for member_id in members_in(message):
        if not rights.has_member(member_id):
            return False
        names_any = True
    return names_any


def is_by_number(request: Descriptor) -> bool:
    """Whether a request is about one thing, which it numbers."""
    fields = request.fields_by_name
    return (
        "key" in fields or "order_no" in fields or bool(_number_of(request.name, fields))
    ) and "page_size" not in fields


def _number_of(request: str, fields: Container[str]) -> str:
    """The field with the number of what a request is about, by its name; empty where it has none."""
    return next((name for name in _NUMBERED_BY if name in fields and (request, name) not in _MENTIONED), "")


def visible(rights: Rights, answer: M, *, is_done: bool = False, by_number: bool = False) -> M | None:
    """An answer without the rows that its caller may not see; None when what it is about is hidden from the caller.

    Of a change that ``is_done`` the answer stays, and what is hidden is left out. One ``by_number`` is about one thing:
    when it has rows and none may be seen, it is hidden.
    """
    shape = _shape(answer.DESCRIPTOR)
    if rights.sees_all or not shape.names_any or not (rights.members or shape.shows_operations):
        return answer
    shown = answer
    for name, is_repeated in shape.nested:
        if not is_repeated and (not answer.HasField(name) or _sees(rights, getattr(answer, name))):
            continue
        found = list(getattr(answer, name)) if is_repeated else [getattr(answer, name)]
        seen = [row for row in found if _sees(rights, row)]
        if len(seen) == len(found):
            continue
        if not is_done and (not is_repeated or (by_number and not seen)):
            return None
        if shown is answer:
            # An answer may be shown to several callers.
            shown = type(answer)()
            shown.CopyFrom(answer)
        shown.ClearField(name)
        if is_repeated:
            getattr(shown, name).extend(seen)
    if rights.members and not all(
        _all_own(rights, getattr(answer, name) if is_repeated else (getattr(answer, name),))
        for name, is_repeated in shape.own
    ):
        return None
    return shown


def without_others(rights: Rights, problem: Problem, request: Message | None) -> Problem:
    """An error without what its caller may not see: an operation, or a member that the request does not name."""
    others = [
        value
        for name, value in problem.metadata.items()
        if value and MEMBER_FIELD.fullmatch(name) and not rights.has_member(value)
    ]
    if others and request is not None and not set(others) <= set(members_in(request)):
        # Such as that the payee of an order is closed, when the order is not the caller's.
        problem = replace(hidden(request), looked_up=problem.looked_up, in_doubt=problem.in_doubt)
    if rights.sees_all or problem.operation is None or sees_operation(rights, problem.operation, problem.parts):
        return problem
    # What has become of the money is in the operation, and so not said.
    return replace(problem, operation=None, parts=(), in_doubt=True)

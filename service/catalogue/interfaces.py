"""Every interface of the bank as this service uses it: which RPC carries it, what it does to money, which query settles
a lost answer. All of it is read from the contract, where each RPC declares its facts (protos/jzb/v1/options.proto), and
from the messages. docs/bank.md is made of it, and tests hold it against the bank's catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor

from bankclient import REQUESTS
from jzb.v1 import error_reason_pb2, options_pb2
from service.contract import methods

MOVES_NOTHING = "none"
QUESTION = "sent again"
APPROVAL = "approval"
"""The field of a request by which it becomes a proposal."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    ``rpcs`` are Service.Method of jzb.v1; ``reach`` says how it is reached instead when no caller needs an RPC of its
    own. ``effect`` is what it moves, ``settled_by`` what answers for a lost answer.
    """

    rpcs: tuple[str, ...]
    effect: str
    settled_by: str
    reach: str = ""


WITHOUT_RPC = {
    "6092": Interface((), MOVES_NOTHING, QUESTION, reach="used by the resolver"),
    "6211": Interface(
        (),
        "real money from outside to a card or the pooled account, where it lies in suspense",
        "nothing: test environment only",
        reach="message and sandbox only; never to be sent in production",
    ),
}
"""Interfaces that no RPC declares, by code."""


SERVICES = tuple(sorted({method.containing_service.full_name for method in methods().values()}))
"""Full names of the contract's services."""


def facts(method: MethodDescriptor) -> options_pb2.RpcFacts:
    """What the contract declares of an RPC."""
    return method.GetOptions().Extensions[options_pb2.facts]


def reasons(method: MethodDescriptor) -> frozenset[str]:
    """The reasons with which a call may end: those that its RPC declares, and those of any such call."""
    scopes = {error_reason_pb2.REASON_SCOPE_ANY_CALL}
    if "request_id" in method.input_type.fields_by_name:
        scopes.add(error_reason_pb2.REASON_SCOPE_ANY_CHANGE)
    if APPROVAL in method.input_type.fields_by_name:
        scopes.add(error_reason_pb2.REASON_SCOPE_ANY_APPROVABLE)
    declared = facts(method).reasons
    return frozenset(
        value.name.removeprefix("ERROR_REASON_")
        for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values
        if value.number in declared or value.GetOptions().Extensions[error_reason_pb2.scope] in scopes
    )


def _declared() -> Iterator[tuple[str, Interface]]:
    for code, request in REQUESTS.items():
        rpcs = {name: facts(method) for name, method in methods().items() if code in facts(method).bank_interfaces}
        if rpcs:
            effects = dict.fromkeys(one.moves for one in rpcs.values() if one.moves)
            settled = dict.fromkeys(one.settled_by for one in rpcs.values() if one.settled_by)
            yield (
                code,
                Interface(
                    tuple(rpcs),
                    "; ".join(effects) or MOVES_NOTHING,
                    "; ".join(settled) if request.changes else QUESTION,
                ),
            )


INTERFACES: dict[str, Interface] = dict(_declared()) | WITHOUT_RPC
"""By interface code."""

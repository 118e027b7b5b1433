"""Every RPC says what its caller must have been given, and what changes something is given by no right to read."""

from __future__ import annotations

from jzb.v1 import options_pb2
from service.catalogue.interfaces import facts
from service.contract import methods

READING = {options_pb2.SCOPE_READ_OWN, options_pb2.SCOPE_READ_ALL}
MOVING = {
    options_pb2.SCOPE_MONEY_PAY,
    options_pb2.SCOPE_MONEY_REFUND,
    options_pb2.SCOPE_MONEY_WITHDRAW,
    options_pb2.SCOPE_MANUAL,
    options_pb2.SCOPE_ADMIN,
    # What it agrees to is what another has asked for.
    options_pb2.SCOPE_APPROVE,
}


def test_every_rpc_declares_the_scope_that_its_caller_needs() -> None:
    undeclared = [name for name, method in methods().items() if facts(method).scope == options_pb2.SCOPE_UNSPECIFIED]
    assert len(methods()) > 70
    assert not undeclared


def test_no_rpc_that_changes_something_is_given_by_a_right_to_read() -> None:
    for name, method in methods().items():
        changes = "request_id" in method.input_type.fields_by_name
        assert not (changes and facts(method).scope in READING), name
        assert not facts(method).moves or facts(method).scope in MOVING, name

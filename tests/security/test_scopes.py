"""Every RPC says what its caller must have been given, and what changes something is given by no right to read."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from jzb.v1 import options_pb2, verification_pb2, verification_pb2_grpc
from service.catalogue.interfaces import facts
from service.contract import methods
from tests.world.callers import given, locked

PAYS, WITHDRAWS, READS = "spiffe://test/pays", "spiffe://test/withdraws", "spiffe://test/reads"

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


@pytest.mark.parametrize(
    ("purpose", "owner", "scope"),
    [
        (verification_pb2.SMS_PURPOSE_PAYMENT, PAYS, "money.pay"),
        (verification_pb2.SMS_PURPOSE_WITHDRAWAL, WITHDRAWS, "money.withdraw"),
    ],
)
async def test_a_code_is_asked_for_by_whoever_may_make_the_call_that_it_is_for(
    database: str, tmp_path: Path, purpose: verification_pb2.SmsPurpose.ValueType, owner: str, scope: str
) -> None:
    callers = (given(PAYS, "money.pay"), given(WITHDRAWS, "money.withdraw"), given(READS, "read.all"))
    async with locked(database, tmp_path, *callers) as service:
        for name in (PAYS, WITHDRAWS, READS):
            shop = await service.shop(name)
            codes = verification_pb2_grpc.VerificationServiceStub(await service.channel(name))
            request = verification_pb2.RequestSmsCodeRequest(member_id="buyer", purpose=purpose, amount_fen=1_00)
            refused = await shop.refusal(codes.RequestSmsCode(request))
            if name == owner:
                # Let in, to a platform that has no codes.
                assert refused.reason == "INTERFACE_NOT_ENABLED"
                continue
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
            assert scope in refused.message or name == READS

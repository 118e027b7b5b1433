"""Money calls in their three verification modes: the same legs, another interface of the bank (quick start 2.5):
by SMS code (6082, 6085, 6101, 6120, 6135, 6166) and by payment password (6006, 6111, 6133, 6134, 6165).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from jzb.v1 import core_pb2, freeze_pb2, payment_pb2, verification_pb2, verification_pb2_grpc, withdrawal_pb2
from ledger.names import Serial
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.verifying import MODES, SERVICE_IDS, Mode, ask_code, named, type_password, verification

VERIFIED: tuple[Mode, ...] = ("sms", "password")

LOSE = "[[lose_after]]"


@asynccontextmanager
async def open_shop(database: str, **rules: Any) -> AsyncIterator[Marketplace]:
    """A marketplace with every mode, unless told otherwise."""
    async with open_marketplace(
        database,
        {"service_ids": SERVICE_IDS},
        bank={"service_ids": SERVICE_IDS},
        rules={"verification": MODES, **rules},
    ) as shop:
        yield shop


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Marketplace]:
    """An open marketplace with every verification mode, a buyer with 500.00 to withdraw and a seller."""
    async with open_shop(database) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "seller", collects=True)
        yield shop


async def settled(shop: Marketplace, call: Any, *, lost: bool) -> core_pb2.Operation:
    """The operation of a call when it is done: at once, or after its answer was lost and the bank was asked."""
    if not lost:
        operation: core_pb2.Operation = (await call).operation
        return operation
    refusal = await shop.refusal(call)
    assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    return await shop.until_final(refusal.operation.operation_id)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("mode", "service_id"), [("sms", "MemberTranVerifyTextMsgs"), ("password", "MemberTransactionsInspection")]
)
async def test_a_verified_payment_moves_the_same_money_as_an_unverified_one(
    shop: Marketplace, mode: Mode, service_id: str, lost: bool
) -> None:
    for settlement in (payment_pb2.SETTLEMENT_T1, payment_pb2.SETTLEMENT_T0):
        request = shop.pay_request("buyer", "seller", 100_00, 10_00, settlement=settlement, remark=LOSE if lost else "")
        request.verification.CopyFrom(await verification(shop, mode, "buyer", 100_00, "seller"))
        operation = await settled(shop, shop.payments.Pay(request, timeout=TIMEOUT_S), lost=lost)
        assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received(service_id) == 2
    assert shop.calls_received("MemberTransaction") == 0
    assert (await shop.balance("buyer")).available_fen == 300_00
    assert (await shop.balance("seller")).available_fen == 180_00
    assert (await shop.balance("seller")).withdrawable_fen == 90_00
    await shop.assert_agrees()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("mode", VERIFIED)
async def test_an_order_goes_through_escrow_with_a_proof_at_every_step(
    shop: Marketplace, mode: Mode, lost: bool
) -> None:
    order_no, remark = shop.order_no(), LOSE if lost else ""
    prepay = payment_pb2.PrepayOrderRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 100_00),
        payer_member_id="buyer",
        payee_member_id="seller",
        order_no=order_no,
        amount_fen=100_00,
        remark=remark,
    )
    await settled(shop, shop.payments.PrepayOrder(prepay, timeout=TIMEOUT_S), lost=lost)
    confirm = payment_pb2.ConfirmOrderRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 70_00, "seller"),
        order_no=order_no,
        amount_fen=70_00,
        fee_fen=7_00,
        remark=remark,
    )
    await settled(shop, shop.payments.ConfirmOrder(confirm, timeout=TIMEOUT_S), lost=lost)
    cancel = payment_pb2.CancelOrderRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 30_00),
        order_no=order_no,
        amount_fen=30_00,
        remark=remark,
    )
    await settled(shop, shop.payments.CancelOrder(cancel, timeout=TIMEOUT_S), lost=lost)
    assert (await shop.balance("buyer")).available_fen == 430_00
    assert (await shop.balance("seller")).available_fen == 63_00
    await shop.assert_agrees()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("mode", VERIFIED)
async def test_frozen_money_is_paid_and_released_with_a_proof_at_every_step(
    shop: Marketplace, mode: Mode, lost: bool
) -> None:
    order_no, remark = shop.order_no(), LOSE if lost else ""
    freeze = freeze_pb2.FreezeRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 100_00),
        member_id="buyer",
        amount_fen=100_00,
        order_no=order_no,
        remark=remark,
    )
    await settled(shop, shop.freezes.Freeze(freeze, timeout=TIMEOUT_S), lost=lost)
    pay = freeze_pb2.PayFrozenRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 55_00),
        order_no=order_no,
        payees=[freeze_pb2.FrozenPayee(member_id="seller", amount_fen=50_00)],
        fee_on_top_fen=5_00,
        remark=remark,
    )
    await settled(shop, shop.freezes.PayFrozen(pay, timeout=TIMEOUT_S), lost=lost)
    release = freeze_pb2.ReleaseRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 45_00),
        order_no=order_no,
        amount_fen=45_00,
        fee_fen=4_00,
        remark=remark,
    )
    await settled(shop, shop.freezes.Release(release, timeout=TIMEOUT_S), lost=lost)
    assert (await shop.balance("buyer")).available_fen == 441_00
    assert (await shop.balance("seller")).available_fen == 50_00
    await shop.assert_agrees()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("mode", "service_id"), [("sms", "MemberWithdrawCash"), ("password", "MemberWithdrawSprtFeePwdVerify")]
)
async def test_a_verified_withdrawal_takes_amount_and_fee_and_ends_by_6110(
    shop: Marketplace, mode: Mode, service_id: str, lost: bool
) -> None:
    request = withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(),
        verification=await verification(shop, mode, "buyer", 100_00, purpose=verification_pb2.SMS_PURPOSE_WITHDRAWAL),
        member_id="buyer",
        amount_fen=100_00,
        fee_on_top_fen=2_00,
        card_number="6222000000000000",
        card_holder_name="张三",
        remark=LOSE if lost else "",
    )
    call = shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)
    operation_id = (await settled(shop, call, lost=lost)).operation_id
    assert (await shop.until_final(operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received(service_id) == 1
    assert (await shop.balance("buyer")).withdrawable_fen == 398_00
    await shop.assert_agrees()


@pytest.mark.parametrize(
    ("enabled", "asked"), [(["none"], "sms"), (["none"], "password"), (["sms"], "none"), (["none", "sms"], "password")]
)
async def test_a_mode_that_is_off_is_refused_here_and_nothing_is_sent(
    database: str, enabled: list[str], asked: str
) -> None:
    proofs = {
        "none": verification_pb2.Verification(),
        "sms": verification_pb2.Verification(
            sms=verification_pb2.SmsVerification(message_order_no="S1", code="123456")
        ),
        "password": verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature="c2ln")),
    }
    async with open_shop(database, verification=enabled) as shop:
        await named(shop, "buyer", 100_00)
        await named(shop, "seller", collects=True)
        sent = len(shop.sandbox.requests)
        request = shop.pay_request("buyer", "seller", 10_00)
        if asked != "none":
            request.verification.CopyFrom(proofs[asked])
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INTERFACE_NOT_ENABLED")
        assert refusal.metadata["setting"] == "JZB_RULES__VERIFICATION"
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        assert len(shop.sandbox.requests) == sent
        assert (await shop.balance("buyer")).available_fen == 100_00


async def test_a_missing_service_id_is_said_before_anything_is_reserved(database: str) -> None:
    async with open_marketplace(database, rules={"verification": MODES}) as shop:
        await named(shop, "buyer", 100_00)
        request = freeze_pb2.FreezeRequest(
            request_id=shop.request_id(),
            verification=await type_password(shop, "buyer"),
            member_id="buyer",
            amount_fen=10_00,
            order_no=shop.order_no(),
        )
        refusal = await shop.refusal(shop.freezes.Freeze(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INTERFACE_NOT_ENABLED")
        assert refusal.metadata["interface"] == "6134"
        assert not refusal.operation.operation_id
        assert (await shop.balance("buyer")).available_fen == 100_00
        await shop.assert_agrees()


async def test_a_wrong_code_is_refused_by_the_bank_and_the_hold_is_given_back(shop: Marketplace) -> None:
    proof = await ask_code(shop, "buyer", 10_00, "seller")
    right = proof.sms.code
    proof.sms.code = "000000" if right != "000000" else "000001"
    request = shop.pay_request("buyer", "seller", 10_00)
    request.verification.CopyFrom(proof)
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR138")
    assert (await shop.balance("buyer")).available_fen == 500_00
    request.request_id = shop.request_id()
    request.verification.sms.code = right
    await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert (await shop.balance("buyer")).available_fen == 490_00
    await shop.assert_agrees()


async def test_a_code_is_good_for_one_payment_and_for_the_payee_it_named(shop: Marketplace) -> None:
    await named(shop, "other", collects=True)
    proof = await ask_code(shop, "buyer", 10_00, "seller")
    for payee, code in (("other", "ERR149"), ("seller", ""), ("seller", "ERR163")):
        request = shop.pay_request("buyer", payee, 10_00)
        request.verification.CopyFrom(proof)
        call = shop.payments.Pay(request, timeout=TIMEOUT_S)
        if code:
            assert (await shop.refusal(call)).metadata["bank_code"] == code
        else:
            await call
    assert (await shop.balance("seller")).available_fen == 10_00
    await shop.assert_agrees()


async def test_a_signature_of_another_member_pays_nothing(shop: Marketplace) -> None:
    await named(shop, "thief")
    request = shop.pay_request("buyer", "seller", 10_00)
    request.verification.CopyFrom(await type_password(shop, "thief"))
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR137")
    await shop.assert_agrees()


async def test_a_payment_by_password_wants_names_that_the_bank_knows(shop: Marketplace) -> None:
    await shop.merchant("nameless")
    request = shop.pay_request("buyer", "nameless", 10_00)
    request.verification.CopyFrom(await type_password(shop, "buyer"))
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["member_id"]) == ("MEMBER_NAME_MISSING", "nameless")
    assert not refusal.operation.operation_id


async def test_a_repeated_request_with_a_new_code_gets_the_first_answer_and_acts_once(shop: Marketplace) -> None:
    request = shop.pay_request("buyer", "seller", 10_00)
    request.verification.CopyFrom(await ask_code(shop, "buyer", 10_00, "seller"))
    first = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    request.verification.CopyFrom(await ask_code(shop, "buyer", 10_00, "seller"))
    again = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert first.operation.operation_id == again.operation.operation_id
    assert shop.calls_received("MemberTranVerifyTextMsgs") == 1
    await shop.assert_agrees()


@pytest.mark.parametrize("mode", VERIFIED)
async def test_a_verified_payment_is_held_to_the_same_floor(shop: Marketplace, mode: Mode) -> None:
    request = shop.pay_request("buyer", "seller", 500_01)
    request.verification.CopyFrom(await verification(shop, mode, "buyer", 500_01, "seller"))
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert refusal.reason == "INSUFFICIENT_FUNDS"
    assert refusal.amounts == {"needed": 500_01, "left": 500_00}


async def test_codes_and_signatures_stay_out_of_the_mirror(shop: Marketplace) -> None:
    proofs = [await ask_code(shop, "buyer", 10_00, "seller"), await type_password(shop, "buyer")]
    for proof in proofs:
        request = shop.pay_request("buyer", "seller", 10_00)
        request.verification.CopyFrom(proof)
        operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        stored = await shop.service.components.reads.operation(serial=Serial(operation.serial))
        assert proof.sms.message_order_no not in repr(stored) or not proof.sms.message_order_no
        assert proof.password.signature not in repr(stored) or not proof.password.signature
        assert "buyer名" not in repr(stored)


async def test_a_code_that_cannot_be_sent_says_that_no_money_moves(shop: Marketplace) -> None:
    stub = verification_pb2_grpc.VerificationServiceStub(shop.channel)
    request = verification_pb2.RequestSmsCodeRequest(
        purpose=verification_pb2.SMS_PURPOSE_PAYMENT, member_id="buyer", amount_fen=1_00
    )
    shop.sandbox.faults.add("refuse:ERR139", code="6082")
    refusal = await shop.refusal(stub.RequestSmsCode(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.metadata["bank_code"]) == ("BANK_REFUSED", "ERR139")
    shop.sandbox.faults.add("lose_before", code="6082")
    refusal = await shop.refusal(stub.RequestSmsCode(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.outcome) == (grpc.StatusCode.UNAVAILABLE, core_pb2.OUTCOME_NO_EFFECT)

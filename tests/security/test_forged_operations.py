"""Whoever can write to the database, as the service itself does, wants the running service to sign a payment for them.

An operation that is not final is carried on by the resolver from what the database says of it. So rows that nobody
asked for, or a plan that was exchanged, must get nothing signed and nothing booked.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from bankclient import MemberPayment, to_wire
from jzb.v1 import core_pb2
from jzb.v1.error_reason_pb2 import ErrorReason
from ledger import Finding, LedgerCorrupt, audit, connect
from tests.security.forging import PAYMENT, sub_account, thiefs_money, written
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day, open_marketplace
from tests.world.process import until
from tests.world.refunds import refund_request
from tests.world.revocations import revoke
from tests.world.withdrawals import withdraw

FORGED = "it is not as the service opened it"
OPENED_HERE = "who has the keys has opened what is not final"
OURS = "who has the keys has written the end of the chain"
SEALED = "every row is sealed"

QUICKLY = {"ask_after_s": 0.1, "send_again_interval_s": 0.1}
REFUND = "MemberTransactionRefund"

OPERATION = """
INSERT INTO operation (
  platform, id, request_id, fingerprint, kind, serial, state, payer, payee, order_no, amount_fen, fee_fen, reason,
  message, bank_code, bank_message, bank_serial, trace_id, plan, asks, not_found, created_at, updated_at
)
VALUES (
  %(platform)s, %(id)s, 'forged', '', 'REFUND', %(serial)s, 'unknown', 'buyer', 'thief', '', 50000, 0, 'send-again',
  '', '', '', '', '', %(plan)s, 0, 0, %(at)s, %(at)s
)
"""
EVENT = """
INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)
VALUES (
  %(platform)s, %(id)s, 'reserved', '', '', '', sha256(convert_to(%(serial)s || chr(10) || %(plan)s, 'UTF8')), %(at)s
)
"""
PART = """
INSERT INTO transaction (platform, operation_id, part, serial, payer, payee, amount_fen, fee_fen, reserved_at)
VALUES (%(platform)s, %(id)s, 1, %(serial)s, 'buyer', 'thief', 50000, 0, %(at)s)
"""
DUE = "INSERT INTO due (platform, operation_id, ask_at) VALUES (%(platform)s, %(id)s, now())"

BATCH = """
INSERT INTO seal (platform, batch, at, leaves, digest)
SELECT platform, batch, at, '', sha256(digest || int8send(batch) || int8send(micros) || int2send(4::int2) || name)
FROM (
  SELECT
    p.platform, p.platform::bytea AS name, p.batches + 1 AS batch, s.at + interval '1 s' AS at, s.digest,
    (extract(epoch FROM s.at + interval '1 s') * 1000000)::bigint AS micros
  FROM platform p JOIN seal s ON s.platform = p.platform AND s.batch = p.batches
) following
"""


def forged(shop: Marketplace, message: dict[str, Any], interface: str, at: str = "now", plan: str = "") -> str:
    """Enter an operation that nobody has asked for, as the service's own user; its message is to be sent again. Returns
    its id.
    """
    settings, operation_id = shop.service.components.settings, str(uuid4())
    query = {"by": "resend", "flag": "2", "interface": interface, "fields": message}
    values = {
        "platform": settings.platform,
        "id": operation_id,
        "serial": f"{settings.bank.uid}26113099{operation_id[:8].translate(str.maketrans('abcdef', '012345'))}",
        "plan": plan or json.dumps({"ask": query, "drafts": []}),
        "at": at,
    }
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        for statement in (OPERATION, EVENT, PART, DUE):
            connection.execute(statement, values)
    return operation_id


async def payment(shop: Marketplace) -> dict[str, Any]:
    """A payment of 500.00 out of the pocket of the buyer into that of the thief, as the wire has it."""
    await shop.buyer("buyer", 900_00)
    await shop.merchant("thief")
    return to_wire(
        MemberPayment(
            FunctionFlag="6",
            OutSubAcctNo=await sub_account(shop, "buyer"),
            OutMemberCode="buyer",
            InSubAcctNo=await sub_account(shop, "thief"),
            InMemberCode="thief",
            TranAmt=500_00,
            TranFee=0,
        )
    )


async def looked_at(shop: Marketplace, operation_id: str) -> core_pb2.Operation:
    """Wait until the resolver has had the operation in its hands, by itself and asked by a person."""

    async def is_shown() -> bool:
        return FORGED in (await shop.operation(operation_id)).message

    await until(is_shown, "the resolver has taken the operation", 10.0)
    return await shop.resolve(operation_id)


async def findings(shop: Marketplace) -> set[str]:
    """What `jzb verify` finds."""
    settings = shop.service.components.settings
    engine = connect(shop.dsn, 1)
    try:
        keys = settings.seal.of(settings.platform)
        return {
            found.check async for found in audit(engine, settings.platform, keys=keys) if isinstance(found, Finding)
        }
    finally:
        await engine.dispose()


@pytest.mark.parametrize("at", ["now", "2020-01-01"])
@pytest.mark.parametrize("interface", ["6034", "6164"])
async def test_a_payment_that_was_written_into_the_database_is_not_sent(database: str, interface: str, at: str) -> None:
    async with open_marketplace(database, resolver=QUICKLY) as shop:
        message = await payment(shop)
        operation_id = forged(shop, message, interface, at)
        shown = await looked_at(shop, operation_id)
        assert (shown.state, shown.reason) == (core_pb2.OPERATION_STATE_UNKNOWN, ErrorReason.ERROR_REASON_SERVICE_FAULT)
        assert shop.calls_received(PAYMENT) == shop.calls_received(REFUND) == 0
        assert await thiefs_money(shop) == 0
        assert {OPENED_HERE, SEALED} <= await findings(shop)


@pytest.mark.parametrize(
    "exchange",
    [
        "UPDATE operation SET plan = replace(plan::text, '\"5.00\"', '\"500.00\"')::json WHERE kind = 'REFUND'",
        "UPDATE operation SET serial = serial || '1' WHERE kind = 'REFUND'",
        "UPDATE operation SET amount_fen = 50000 WHERE kind = 'REFUND'",
        "UPDATE operation SET payee = 'thief' WHERE kind = 'REFUND'",
    ],
    ids=["plan", "serial", "amount", "payee"],
)
async def test_a_refund_that_waits_is_not_sent_again_as_another(database: str, exchange: str) -> None:
    async with open_marketplace(database, resolver=QUICKLY) as shop:
        await payment(shop)
        paid = await shop.pay("buyer", "thief", 100_00)
        request = refund_request(shop, paid.serial, 5_00, remark="[[history:1000]]")
        refund = (await shop.refusal(shop.refunds.Refund(request, timeout=TIMEOUT_S))).operation
        sent = shop.calls_received(REFUND)
        written(shop, exchange)
        # Its event is made to fit, as far as whoever cannot update the journal can: one more opening.
        written(
            shop,
            "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, mac, at)"
            " SELECT o.platform, o.id, s.state, '', '', '', sha256(convert_to(o.serial || chr(10) || o.plan, 'UTF8')),"
            " e.mac, now() FROM operation o, (VALUES ('released'), ('reserved')) AS s (state), event e"
            " WHERE o.kind = 'REFUND' AND e.operation_id = o.id AND e.mac <> ''",
        )
        await looked_at(shop, refund.operation_id)
        # The bank has had it at most as often as it came due before it was exchanged.
        assert {one.serial for one in shop.sandbox.requests if one.service_id == REFUND} == {refund.serial}
        assert shop.calls_received(REFUND) <= sent + 1
        assert (await shop.balance("buyer")).available_fen == 800_00


async def test_nothing_is_booked_on_top_of_a_batch_that_somebody_else_has_sealed(shop: Marketplace) -> None:
    await payment(shop)
    # The digest is right: it is no secret how it is computed. Only the keys are.
    written(shop, BATCH, "UPDATE platform SET batches = batches + 1")
    refused = await shop.refusal(shop.pay("buyer", "thief", 1_00))
    assert refused.reason == "SERVICE_FAULT"
    assert await thiefs_money(shop) == 0
    assert shop.calls_received(PAYMENT) == 0
    assert await findings(shop) == {OURS}
    with pytest.raises(LedgerCorrupt, match="no MAC under any of JZB_SEAL__KEYS"):
        await shop.service.components.reads.require_ours()


async def test_a_clearing_that_was_written_into_the_database_moves_no_money(shop: Marketplace) -> None:
    await payment(shop)
    today = bank_day(shop)
    plan = json.dumps({"ask": {"by": "sweep", "bank_day": str(today)}, "drafts": []})
    operation_id = forged(shop, {}, "6164", plan=plan)
    written(
        shop,
        f"UPDATE operation SET kind = 'CLEARING', state = 'accepted', bank_day = '{today}' WHERE id = '{operation_id}'",
        f"INSERT INTO booking SELECT platform, id, bank_day, '' FROM operation WHERE id = '{operation_id}'",
        f"UPDATE platform SET cleared_through = '{today}'",
    )
    shown = await shop.resolve(operation_id)
    assert FORGED in shown.message
    refused = await shop.refusal(withdraw(shop, "buyer", 1_00))
    assert refused.reason == "WITHDRAWABLE_INSUFFICIENT"
    assert (await shop.balance("buyer")).withdrawable_fen == 0


async def test_what_a_finished_top_up_keeps_goes_into_no_message_when_it_was_exchanged(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    topped_up = await shop.top_up("buyer", 50_00)
    await shop.clear()
    before = shop.calls_received("RevokeMemberRechargeThirdPay")
    exchange = 'UPDATE operation SET plan = replace(plan::text, \'"keep": {\', \'"keep": {"mine": "1", \')::json'
    written(shop, f"{exchange} WHERE id = '{topped_up.operation_id}'")
    refused = await shop.refusal(revoke(shop, topped_up.serial, 1_00))
    assert refused.reason == "SERVICE_FAULT"
    assert shop.calls_received("RevokeMemberRechargeThirdPay") == before
    assert (await shop.balance("buyer")).available_fen == 50_00

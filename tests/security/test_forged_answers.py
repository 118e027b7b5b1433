"""Whoever can write to the database wants a caller to be told that something was paid, or to have it pay twice.

An answer about an operation is told from its rows. So rows that nobody has sealed, and a state that is not the sealed
one, must be told as done by no call: not by the repeat of a request, by GetOperation, by lists, nor by watches.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, patch
from uuid import uuid4

import psycopg
import pytest

from bankclient.outcome import not_sent
from jzb.v1 import balance_pb2, core_pb2, operation_pb2, payment_pb2
from jzb.v1.error_reason_pb2 import ErrorReason
from ledger import SealKeys, proofs, vouching
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.path.fingerprint import Fingerprint
from service.vault import Vault, key_bytes, new_key
from tests.security.forging import PAYMENT, thiefs_money, written
from tests.world.marketplace import LENIENT, SEAL_KEY, TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import prepay_request
from tests.world.process import shop_on

UNKNOWN, DONE = core_pb2.OPERATION_STATE_UNKNOWN, core_pb2.OPERATION_STATE_DONE
NEVER = {"ask_after_s": 600.0, "orphan_after_s": 600.0}
"""The bank is not asked: what a test says of the state stays."""

OPERATION = """
INSERT INTO operation (
  platform, id, request_id, fingerprint, kind, serial, state, payer, payee, order_no, amount_fen, fee_fen, reason,
  message, bank_code, bank_message, bank_serial, bank_day, trace_id, plan, asks, not_found, caller, created_at,
  updated_at
)
SELECT
  platform, %(id)s, %(request_id)s, %(fingerprint)s, kind, %(serial)s, state, payer, payee, order_no, amount_fen,
  fee_fen, reason, message, bank_code, bank_message, bank_serial, bank_day, '', plan, asks, not_found, caller,
  created_at, updated_at
FROM operation WHERE id = %(like)s
"""
EVENTS = """
INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at, mac)
SELECT
  e.platform, %(id)s, e.state, e.reason, e.bank_code, e.bank_message,
  CASE WHEN e.mac = '' THEN e.evidence ELSE sha256(convert_to(%(serial)s || chr(10) || o.plan::text, 'UTF8')) END,
  e.at, e.mac
FROM event e JOIN operation o ON o.id = e.operation_id WHERE e.operation_id = %(like)s ORDER BY e.seq
"""
PARTS = """
INSERT INTO transaction (
  platform, operation_id, part, serial, payer, payee, amount_fen, fee_fen, corrects, order_no, reserved_at
)
SELECT platform, %(id)s, part, %(serial)s, payer, payee, amount_fen, fee_fen, corrects, order_no, reserved_at
FROM transaction WHERE operation_id = %(like)s
"""
ENDS = """
INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, at)
SELECT platform, %(id)s, part, verdict, bank_day, at FROM resolution WHERE operation_id = %(like)s
"""

SAY_DONE = (
    "UPDATE operation SET state = 'done', reason = '', message = '' WHERE id = '{0}'",
    "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
    " SELECT platform, id, 'done', '', '', '', '', now() FROM operation WHERE id = '{0}'",
    "INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, at)"
    " SELECT platform, operation_id, part, 'posted', current_date, now() FROM transaction t WHERE operation_id = '{0}'"
    " AND NOT EXISTS (SELECT FROM resolution r WHERE r.operation_id = t.operation_id AND r.part = t.part)",
    "DELETE FROM due WHERE operation_id = '{0}'",
)
SAY_RELEASED = (
    "UPDATE operation SET state = 'released', reason = '', message = '' WHERE id = '{0}'",
    "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
    " SELECT platform, id, 'released', '', '', '', '', now() FROM operation WHERE id = '{0}'",
    "INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, at)"
    " SELECT platform, operation_id, part, 'voided', current_date, now() FROM transaction t WHERE operation_id = '{0}'"
    " AND NOT EXISTS (SELECT FROM resolution r WHERE r.operation_id = t.operation_id AND r.part = t.part)",
    "DELETE FROM due WHERE operation_id = '{0}'",
)


def as_the_service(shop: Marketplace, *statements: str, values: dict[str, Any] | None = None) -> None:
    """Write as the service's own user can: it adds to the journal, and updates states."""
    dsn = shop.service.components.settings.database_url.get_secret_value()
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode(), values)


def forge_done(shop: Marketplace, paid: core_pb2.Operation, request: payment_pb2.PayRequest) -> str:
    """Enter a payment that is done under the request id of one that comes, like one that was; returns its id."""
    operation_id = str(uuid4())
    values = {
        "id": operation_id,
        "like": paid.operation_id,
        "request_id": request.request_id,
        # As releases before the vault's made it: whoever guesses the request needs no key for it.
        "fingerprint": Fingerprint(request, Vault([], "9930")).digest,
        "serial": paid.serial[:-6] + "999999",
    }
    as_the_service(shop, OPERATION, EVENTS, PARTS, ENDS, values=values)
    return operation_id


async def told(shop: Marketplace, operation_id: str) -> set[core_pb2.OperationState.ValueType]:
    """The states that an operation is told to be in, by whatever tells of it."""
    key = operation_pb2.OperationKey(operation_id=operation_id)
    got = await shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
    waited = await shop.operations.WaitOperation(operation_pb2.WaitOperationRequest(key=key), timeout=1.0)
    page = await shop.operations.ListOperations(operation_pb2.ListOperationsRequest(), timeout=TIMEOUT_S)
    (listed,) = [one for one in page.operations if one.operation_id == operation_id]
    states = {got.operation.state, waited.operation.state, listed.state}
    watch = shop.operations.WatchOperations(
        operation_pb2.WatchOperationsRequest(operation_id=operation_id, from_start=True), timeout=TIMEOUT_S
    )
    async for event in watch:
        if not event.HasField("operation"):
            break
        states |= {event.operation.state, event.state}
    watch.cancel()
    return states


async def refused_as_forged(shop: Marketplace, request: payment_pb2.PayRequest) -> None:
    """The repeat of a request is told that nobody knows, that the service is at fault, and not to pay anew."""
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.outcome) == ("SERVICE_FAULT", core_pb2.OUTCOME_UNKNOWN)
    assert refusal.operation.state == UNKNOWN


async def test_a_payment_that_was_entered_as_done_is_told_as_done_to_nobody(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        paid = await shop.pay("buyer", "thief", 5_00)
        coming = shop.pay_request("buyer", "thief", 5_00)
        sent = shop.calls_received(PAYMENT)
        forged = forge_done(shop, paid, coming)
        await refused_as_forged(shop, coming)
        dry = payment_pb2.PayRequest()
        dry.CopyFrom(coming)
        dry.validate_only = True
        assert (await shop.payments.Pay(dry, timeout=TIMEOUT_S)).operation.state == UNKNOWN
        assert await told(shop, forged) == {UNKNOWN}
        resolved = await shop.resolve(forged)
        assert (resolved.state, resolved.reason) == (UNKNOWN, ErrorReason.ERROR_REASON_SERVICE_FAULT)
        assert shop.calls_received(PAYMENT) == sent
        assert await thiefs_money(shop) == 5_00
        assert await told(shop, paid.operation_id) == {DONE}


async def test_a_payment_in_doubt_is_not_told_as_done_because_its_row_says_so(database: str) -> None:
    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        request = shop.pay_request("buyer", "thief", 5_00, remark="[[lose_before]]")
        lost = (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).operation
        as_the_service(shop, *(statement.format(lost.operation_id) for statement in SAY_DONE))
        await refused_as_forged(shop, request)
        assert DONE not in await told(shop, lost.operation_id)
        assert await thiefs_money(shop) == 0


@pytest.mark.parametrize("remark", ["", "[[lose_after]]"], ids=["done", "in doubt"])
async def test_what_is_said_to_be_released_is_not_paid_again(database: str, remark: str) -> None:
    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        request = shop.pay_request("buyer", "thief", 5_00, remark=remark)
        if remark:
            operation = (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).operation
        else:
            operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert await thiefs_money(shop) == 5_00
        as_the_service(shop, *(statement.format(operation.operation_id) for statement in SAY_RELEASED))
        await refused_as_forged(shop, request)
        assert await thiefs_money(shop) == 5_00
        assert shop.calls_received(PAYMENT) == 1


@pytest.mark.parametrize("state", ["refused", "unknown", "released", "reserved"])
async def test_what_was_paid_is_not_told_as_anything_else(database: str, state: str) -> None:
    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        request = shop.pay_request("buyer", "thief", 5_00)
        paid = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        as_the_service(shop, f"UPDATE operation SET state = '{state}' WHERE id = '{paid.operation_id}'")
        await refused_as_forged(shop, request)
        assert await told(shop, paid.operation_id) == {UNKNOWN}


@pytest.mark.parametrize(
    "exchange",
    [
        "UPDATE operation SET amount_fen = 50000 WHERE id = '{0}'",
        "UPDATE transaction SET payee = 'buyer' WHERE operation_id = '{0}'",
        "UPDATE event SET state = 'refused' WHERE operation_id = '{0}' AND state = 'done'",
        "DELETE FROM resolution WHERE operation_id = '{0}'",
        "UPDATE seal SET digest = sha256(digest), mac = sha256(mac)",
        "UPDATE seal SET mac = ''",
    ],
    ids=["amount", "payee", "event", "resolution", "digest", "mac"],
)
async def test_who_owns_the_database_cannot_change_what_is_told_either(database: str, exchange: str) -> None:
    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        paid = await shop.pay("buyer", "thief", 5_00)
        written(shop, "SET session_replication_role = replica", exchange.format(paid.operation_id))
        assert await told(shop, paid.operation_id) <= {UNKNOWN}


async def test_what_was_released_is_paid_when_its_request_comes_again(database: str) -> None:
    async with open_marketplace(database) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("thief")
        request = shop.pay_request("buyer", "thief", 5_00)
        with patch.object(shop.service.components.bank, "_call", AsyncMock(return_value=not_sent("no line", 1))):
            refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == DONE
        assert await thiefs_money(shop) == 5_00


@pytest.mark.parametrize("kept_bytes", [1 << 20, 0])
async def test_a_list_looked_at_again_reads_no_seal_again_and_still_doubts_what_is_forged(
    database: str, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    monkeypatch.setattr(proofs, "_KEPT_BYTES", kept_bytes)
    rows, asked = proofs.Proofs._rows, []

    async def counted(self: proofs.Proofs, connection: Any, query: Any, **values: Any) -> Any:
        if query is proofs.SEALS:
            asked.append(len(values["times"]))
        return await rows(self, connection, query, **values)

    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 900_00)
        await shop.merchant("seller")
        paid = [await shop.pay("buyer", "seller", 1_00) for _ in range(5)]
        everything = operation_pb2.ListOperationsRequest()
        monkeypatch.setattr(proofs.Proofs, "_rows", counted)
        first = await shop.operations.ListOperations(everything, timeout=TIMEOUT_S)
        again = await shop.operations.ListOperations(everything, timeout=TIMEOUT_S)
        assert list(first.operations) == list(again.operations)
        assert {one.state for one in again.operations} == {DONE}
        assert len(asked) == (1 if kept_bytes else 2)
        forged = forge_done(shop, paid[0], shop.pay_request("buyer", "seller", 1_00))
        states = {
            one.operation_id: one.state
            for one in (await shop.operations.ListOperations(everything, timeout=TIMEOUT_S)).operations
        }
        assert states.pop(forged) == UNKNOWN
        assert set(states.values()) == {DONE}


async def test_what_is_older_than_the_key_is_proved_by_the_chain_to_what_the_rotation_vouched_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ledger.vouching", "ledger.proofs"):
        monkeypatch.setattr(f"{module}.MILESTONE", 4)
    fresh = new_key()
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await shop.buyer("buyer", 900_00)
            await shop.merchant("seller")
            requests = [shop.pay_request("buyer", "seller", 1_00 + number) for number in range(10)]
            paid = [(await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation for request in requests]
        with vouching.connected(database) as connection:
            both = SealKeys("9930", [key_bytes(fresh), key_bytes(SEAL_KEY)])
            assert vouching.rotated(connection, both).is_whole
            assert vouching.milestones(connection, both) >= 5
        async with shop_on(database, bank, seal={"keys": [fresh]}) as shop:
            for operation, request in zip(paid, requests, strict=True):
                assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation == operation
                assert await told(shop, operation.operation_id) == {DONE}


async def test_an_order_that_was_made_to_look_prepaid_is_in_doubt_in_the_list_and_found_by_a_replay(
    database: str,
) -> None:
    async with open_marketplace(database, resolver=NEVER) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("thief")
        request = prepay_request(shop, "buyer", "thief", shop.order_no(), 50_00, remark="[[lose_before]]")
        doubtful = (await shop.refusal(shop.payments.PrepayOrder(request, timeout=TIMEOUT_S))).operation
        sub_account = (await shop.balance("buyer")).sub_account
        pocket = f"escrow:{sub_account}:{request.order_no}"
        as_the_service(
            shop,
            *(statement.format(doubtful.operation_id) for statement in SAY_DONE),
            f"INSERT INTO leg SELECT platform, operation_id, part, 0, account, '{pocket}', amount_fen FROM hold"
            f" WHERE operation_id = '{doubtful.operation_id}' AND account LIKE 'waiting%'",
            f"INSERT INTO account VALUES"
            f" ('9930', '{pocket}', 'escrow', '{sub_account}', '{request.order_no}', 0, 5000, 0)",
        )
        (order,) = (await shop.payments.ListOrders(payment_pb2.ListOrdersRequest(), timeout=TIMEOUT_S)).orders
        assert (order.operation_id, order.prepaid_fen) == (doubtful.operation_id, 50_00)
        assert order.state == core_pb2.ORDER_STATE_PENDING
        opened = payment_pb2.ListOrdersRequest(states=[core_pb2.ORDER_STATE_OPEN])
        assert not (await shop.payments.ListOrders(opened, timeout=TIMEOUT_S)).orders
        # Statements are not proved (SECURITY.md): what tells is the replay.
        replay = shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(), timeout=TIMEOUT_S)
        assert [message async for message in replay if doubtful.operation_id in message.finding.where]

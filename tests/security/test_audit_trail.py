"""Calls for few are on record before they act, with who made them; a record that is changed or taken out is found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from embedded import as_service
from jzb.v1 import balance_pb2, clearing_pb2, file_pb2, file_pb2_grpc, suspense_pb2
from ledger import AuditedCall, AuditTrail, Finding, SealKeys, audit, connect, vouching
from tests.world.callers import EVERY_SCOPE, OPERATOR, Issuer, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import until

KEPT = "the audit trail is as it was written"


async def entries(dsn: str) -> list[tuple[Any, ...]]:
    """The trail: number, caller, person, method without its package, subject, began, outcome."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute(
            "SELECT number, caller, person, split_part(method, '/', 2), subject, began, outcome"
            " FROM audit_entry ORDER BY number"
        )
        return await found.fetchall()


async def ended(dsn: str, number: int) -> None:
    """Wait until the trail has so many entries."""

    async def is_there() -> bool:
        return len(await entries(dsn)) >= number

    await until(is_there, f"the trail has {number} entries")


async def test_a_call_for_few_is_on_record_with_who_made_it_for_whom_and_how_it_ended(
    database: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path)
    async with locked(
        database, tmp_path, given("7f0c2a", *EVERY_SCOPE, table="people"), oidc=issuer.settings
    ) as service:
        shop = await service.shop(OPERATOR, issuer.token("7f0c2a"))
        await shop.buyer("buyer", 100_00)
        paid = await shop.top_up("buyer", 1_00)
        assert await entries(database) == [], "who moves money is with its operation"
        await shop.resolve(paid.operation_id)
        # How a call ended is written behind its answer.
        await ended(database, 2)
        refusal = await shop.refusal(
            shop.suspense.AllocateSuspense(
                suspense_pb2.AllocateSuspenseRequest(
                    request_id="allocate-1",
                    transfer_bank_serial="nothing",
                    member_id="buyer",
                    amount_fen=1,
                    order_no="O1",
                ),
                timeout=TIMEOUT_S,
            )
        )
        await ended(database, 4)
        who = (OPERATOR, "7f0c2a")
        assert sorted(await entries(database)) == [
            (1, *who, "ResolveOperation", paid.operation_id, 0, ""),
            (2, *who, "ResolveOperation", paid.operation_id, 1, "OK"),
            (3, *who, "AllocateSuspense", "allocate-1", 0, ""),
            (4, *who, "AllocateSuspense", "allocate-1", 3, refusal.reason),
        ]
        await shop.assert_agrees()


def audited_calls(shop: Marketplace) -> dict[str, Callable[[], Awaitable[Any]]]:
    fetch = file_pb2.FetchFileRequest(bank_day="2026-11-01", type=file_pb2.FILE_TYPE_BALANCES)
    return {
        "VerifyBooks": lambda: shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(), timeout=TIMEOUT_S).read(),
        "CompareWithBank": lambda: shop.balances.CompareWithBank(
            balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S
        ).read(),
        "FetchFile": lambda: file_pb2_grpc.FileServiceStub(shop.channel).FetchFile(fetch, timeout=TIMEOUT_S).read(),
        "ClearDay": lambda: shop.clearing.ClearDay(
            clearing_pb2.ClearDayRequest(request_id=shop.request_id(), bank_day="2026-11-01"), timeout=TIMEOUT_S
        ),
    }


async def test_the_query_of_the_documents_shows_who_did_what(shop: Marketplace, trail: str) -> None:
    document = (Path(__file__).parents[2] / "docs/operations/security.md").read_text("utf-8")
    (query,) = re.findall(r'psql "\$DATABASE_URL" -c "(SELECT .*?)"', document, re.DOTALL)
    async with await psycopg.AsyncConnection.connect(trail) as connection:
        shown = await (await connection.execute(query.encode())).fetchall()
    assert [(row[1], row[3], row[5]) for row in shown] == [
        ("local", "jzb.v1.OperationService/ResolveOperation", "OK")
    ] * 3


async def test_streams_and_calls_that_fail_are_on_record(shop: Marketplace) -> None:
    for name, call in audited_calls(shop).items():
        with suppress(grpc.aio.AioRpcError):
            await call()
        begun = [entry for entry in await entries(shop.dsn) if entry[5] == 0]
        assert begun[-1][1:4] == ("local", "", name)
    await ended(shop.dsn, 2 * len(audited_calls(shop)))


async def test_what_cannot_be_put_on_record_is_not_done(shop: Marketplace) -> None:
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as connection:
        await connection.execute(
            "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;"
            "CREATE TRIGGER is_full BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION is_full()"
        )
    for name, call in audited_calls(shop).items():
        calls = len(shop.sandbox.requests)
        refusal = await shop.refusal(call())
        assert refusal.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN), name
        assert len(shop.sandbox.requests) == calls, f"{name} has asked the bank"
    assert (await shop.balance(await shop.buyer("buyer", 1_00))).available_fen == 1_00, "money is not kept up by it"


async def test_a_call_without_the_right_leaves_no_entry(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given("spiffe://test/shop", "money.pay", "read.own")) as service:
        shop = await service.shop("spiffe://test/shop")
        for call in audited_calls(shop).values():
            assert (await shop.refusal(call())).reason == "SCOPE_MISSING"
        assert await entries(database) == []


@pytest.fixture
async def trail(shop: Marketplace) -> str:
    """The database of a shop that has some entries."""
    for number in (1, 2, 3):
        paid = await shop.top_up(await shop.buyer(f"b{number}"), 1_00)
        await shop.resolve(paid.operation_id)
    await ended(shop.dsn, 6)
    return shop.dsn


FORGERIES = {
    "somebody else did it": "UPDATE audit_entry SET caller = 'somebody' WHERE number = 3",
    "for somebody else": "UPDATE audit_entry SET person = 'somebody' WHERE number = 1",
    "later": "UPDATE audit_entry SET at = at + interval '1 s' WHERE number = 3",
    "something else": "UPDATE audit_entry SET subject = 'another' WHERE number = 3",
    "it failed": "UPDATE audit_entry SET outcome = 'BANK_REFUSED' WHERE number = 2",
    "it never was": "DELETE FROM audit_entry WHERE number IN (3, 4)",
    "nothing ever was, to begin with": "DELETE FROM audit_entry WHERE number < 3",
    "one more": "INSERT INTO audit_entry"
    " SELECT platform, 7, at, caller, person, method, subject, request, 0, '', digest"
    " FROM audit_entry WHERE number = 1",
    "in another order": "UPDATE audit_entry SET number = 9 WHERE number = 5",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_entry_is_found(shop: Marketplace, trail: str, forgery: str) -> None:
    platform = shop.service.components.settings.platform
    assert await found(trail, platform) == []
    async with await psycopg.AsyncConnection.connect(trail) as connection:
        await connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only")
        await connection.execute(forgery.encode())
        await connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_append_only")
    assert KEPT in await found(trail, platform)


async def found(dsn: str, platform: str, keys: SealKeys | None = None) -> list[str]:
    engine: AsyncEngine = connect(dsn, 1)
    try:
        return [one.check async for one in audit(engine, platform, keys=keys) if isinstance(one, Finding)]
    finally:
        await engine.dispose()


async def test_entries_of_many_at_once_follow_each_other(shop: Marketplace) -> None:
    paid = await shop.top_up(await shop.buyer("buyer"), 1_00)
    await asyncio.gather(*(shop.resolve(paid.operation_id) for _ in range(10)))
    await ended(shop.dsn, 20)
    assert await found(shop.dsn, shop.service.components.settings.platform) == []
    end = await shop.service.components.trail.last()
    assert end.number == 20


async def test_nobody_without_the_keys_writes_into_the_trail_in_anothers_name(shop: Marketplace) -> None:
    settings = shop.service.components.settings
    paid = await shop.top_up(await shop.buyer("buyer"), 1_00)
    await shop.resolve(paid.operation_id)
    await ended(shop.dsn, 2)
    # With the service's own role, and well chained.
    engine = connect(as_service(shop.dsn), 1)
    try:
        await AuditTrail(engine, settings.platform, None).add(
            AuditedCall(caller="somebody", person="", method="jzb.v1.BalanceService/VerifyBooks", subject="")
        )
    finally:
        await engine.dispose()
    assert KEPT in await found(shop.dsn, settings.platform, settings.seal.of(settings.platform))
    # It is not covered up by what the service writes behind it.
    assert (await shop.refusal(shop.resolve(paid.operation_id))).reason == "SERVICE_FAULT"
    assert len(await entries(shop.dsn)) == 3


async def test_the_end_of_the_trail_is_vouched_for_when_keys_change(shop: Marketplace) -> None:
    settings = shop.service.components.settings
    paid = await shop.top_up(await shop.buyer("buyer"), 1_00)
    await shop.resolve(paid.operation_id)
    await ended(shop.dsn, 2)
    both = SealKeys(settings.platform, (bytes(range(32)), *settings.seal.bytes))
    new = SealKeys(settings.platform, (bytes(range(32)),))
    assert KEPT in await found(shop.dsn, settings.platform, new)
    assert await found(shop.dsn, settings.platform, both) == []
    with vouching.connected(shop.dsn) as connection:
        assert vouching.rotated(connection, new).last_entry == 2, "who has not the old key cannot vouch"
        assert vouching.rotated(connection, both).last_entry is None
    assert KEPT not in await found(shop.dsn, settings.platform, new)

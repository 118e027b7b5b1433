"""The drill: the database is lost, an older copy is restored, and the books catch up with the bank that went on."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from bankclient import BANK_ZONE
from embedded import EmbeddedPostgres, Programs, let_service_in
from jzb.v1 import core_pb2, member_pb2, payment_pb2
from ledger import LedgerBehind, SerialNumbers, connect, copies, migrate
from ledger.copies import CopyFailed
from sandbox.clock import BankClock
from sandbox.records import SUCCEEDED, Trade
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.server import running
from service.vault import key_bytes
from tests.world.batches import batches, confirm_request, prepaid
from tests.world.cli import JZB, Ended, jzb
from tests.world.databases import PostgresServer
from tests.world.freezes import freeze
from tests.world.marketplace import LENIENT, QUICK, SEAL_KEY, TIMEOUT_S, VAULT_KEY, Marketplace, service_settings
from tests.world.orders import confirm, prepay
from tests.world.process import ROOT, as_environment, clean_environment, service_process, shop_on, until
from tests.world.refunds import refund
from tests.world.returns import send_back
from tests.world.revocations import revoke
from tests.world.suspense import clear as allocate_suspense
from tests.world.suspense import collect, come_in
from tests.world.withdrawals import withdraw, withdraw_to_the_end


def environment(dsn: str, bank: Sandbox) -> dict[str, str]:
    given: dict[str, Any] = {
        "bank": {**bank.client_settings, "timeout_s": 5.0},
        "resolver": {**QUICK, "ask_after_s": 0.1},
        "vault": {"keys": [VAULT_KEY]},
        "seal": {"keys": [SEAL_KEY]},
    }
    return {"DATABASE_URL": dsn, "COLUMNS": "300", **as_environment(given)}


async def market(shop: Marketplace) -> None:
    await shop.buyer("buyer", 900_00, withdrawable=True)
    await shop.buyer("payer", 500_00)
    await shop.merchant("seller", 100_00, withdrawable=True)


async def trade(shop: Marketplace) -> list[core_pb2.Operation]:
    """Some of everything that moves money."""
    payment = await shop.pay("buyer", "seller", 40_00, 4_00)
    order_no = await prepay(shop, "payer", "seller", 30_00)
    return [
        payment,
        await shop.top_up("payer", 70_00, 70),
        await confirm(shop, order_no, 30_00, 3_00),
        await refund(shop, payment.serial, 10_00, 1_00),
        await withdraw(shop, "seller", 20_00),
    ]


async def some_books(dsn: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank, shop_on(dsn, bank) as shop:
        await market(shop)


async def caught_up(dsn: str, bank: Sandbox, data: Path, *options: str) -> Ended:
    return await jzb("catch-up", "--data", str(data), *options, environment=environment(dsn, bank))


def tables(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        ((count,),) = found.fetchall()
        return int(count)


async def behind_since(dsn: str) -> datetime | None:
    engine = connect(dsn, 1)
    try:
        return await copies.behind_since(engine, "9930")
    finally:
        await engine.dispose()


async def serials(dsn: str) -> set[str]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute("SELECT serial FROM operation")
        return {row[0] for row in await found.fetchall()}


async def lost_day(shop: Marketplace, suspended: str) -> None:
    """Some of everything that the bank does by itself, or lists in its own way."""
    for operation in await trade(shop):
        await shop.until_final(operation.operation_id)
    await batches(shop).BatchConfirm(confirm_request(shop, *await prepaid(shop)), timeout=TIMEOUT_S)
    topped_up = await shop.top_up("payer", 55_00, 5_00)
    await revoke(shop, topped_up.serial, 22_00, 2_00)
    await allocate_suspense(shop, suspended, "seller", 30_00, 3_00)
    await come_in(shop, 12_34)
    await come_in(shop, 43_21, "buyer")
    send_back(shop, await withdraw_to_the_end(shop, "seller", 5_00))


def lost_at_the_bank(bank: Sandbox, kept: set[str]) -> set[str]:
    """The bank's serials of all that it booked and no operation of the books has asked for."""
    trades = [one for one in bank.bank.store.all(Trade) if one.status == SUCCEEDED]
    with_rows = {one.call_serial for one in trades if one.serial != one.call_serial}
    listed = (one for one in trades if one.serial != one.call_serial or one.serial not in with_rows)
    return {one.front_seq_no for one in listed if one.call_serial not in kept}


def printed(ended: Ended) -> set[str]:
    """The bank's serials in the table of what was lost."""
    table = ended.out.partition("accounts taken over")[0]
    return {line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│")}


async def killed_in_the_middle(dsn: str, bank: Sandbox, data: Path) -> None:
    """Kill the catch-up when it has taken something over, but not all."""
    process = await asyncio.create_subprocess_exec(
        *JZB, "catch-up", "--data", str(data), cwd=ROOT, env=clean_environment(**environment(dsn, bank)), stdout=DEVNULL
    )
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:

        async def has_begun() -> bool:
            found = await connection.execute("SELECT FROM operation WHERE kind = 'CATCH_UP'")
            return await found.fetchone() is not None

        await until(has_begun, "something is taken over", 60.0)
        process.kill()
        await process.wait()


@pytest.mark.timeout(400)
async def test_books_that_were_lost_under_load_end_equal_to_the_bank(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    # Each clearing ends a day of the bank: it is yesterday when the copy is made, and today in the end.
    clock = BankClock(lambda: datetime.now(UTC) - timedelta(days=5))
    yesterday = datetime.now(BANK_ZONE).date() - timedelta(days=1)
    async with Sandbox(SandboxSettings(**LENIENT), clock) as bank:
        async with shop_on(database, bank) as shop:
            await market(shop)
            await shop.merchant("shoes")
            await shop.merchant("hats")
            await trade(shop)
            suspended, day = await come_in(shop, 80_00), bank.clock.today()
            await shop.clear()
            assert (await collect(shop, day)).entered == 1
            # Just before the copy, so that the bank's list of what is new has its rows.
            await batches(shop).BatchConfirm(confirm_request(shop, *await prepaid(shop)), timeout=TIMEOUT_S)
        # Whoever asks this bank for a day's clearing ends the day: the reconciliation would end one more.
        async with service_process(database, bank, reconciliation={"poll_s": None}) as service:
            await until(lambda: bank.clock.today() == yesterday, "the service has cleared the day before")

            async def pay(number: int) -> None:
                request = payment_pb2.PayRequest(
                    request_id=f"load-{number}",
                    payer_member_id="payer",
                    payee_member_id="seller",
                    amount_fen=100 + number,
                    fee_fen=number % 3,
                    settlement=payment_pb2.SETTLEMENT_T1,
                )
                await service.payments.Pay(request, timeout=TIMEOUT_S)

            under_way = [asyncio.create_task(pay(number)) for number in range(40)]
            await asyncio.sleep(0.05)
            # The copy is of one moment in the midst of them.
            backed_up = await jzb("backup", str(copy), environment=environment(database, bank))
            assert backed_up.status == 0, backed_up.error
            await asyncio.gather(*under_way)
            under_way = [asyncio.create_task(pay(number)) for number in range(40, 80)]
            await asyncio.sleep(0.1)
            await service.kill()
            await asyncio.gather(*under_way, return_exceptions=True)
        async with shop_on(database, bank) as shop:
            await lost_day(shop, suspended)
            await shop.clear()
            await lost_day(shop, suspended)
        used = await serials(database)

        restored = await jzb("restore", str(copy), environment=environment(empty_database, bank))
        assert restored.status == 0, restored.error
        (heads,) = set(re.findall(r"(\d+ batches, .*)", backed_up.out))
        assert heads in restored.out
        refused = await jzb("serve", environment=environment(empty_database, bank))
        assert (refused.status, "jzb catch-up" in refused.error) == (1, True)

        with psycopg.connect(empty_database) as connection:
            connection.execute("UPDATE platform SET behind_since = behind_since - interval '1 day'")
        of_the_copy = await serials(empty_database)
        await killed_in_the_middle(empty_database, bank, tmp_path)
        closed = await caught_up(empty_database, bank, tmp_path)
        assert closed.status == 1, closed.out + closed.error
        assert printed(closed) == lost_at_the_bank(bank, of_the_copy)
        guesses = re.findall(r"^  (.*)$", closed.out, re.MULTILINE)
        assert [line for line in guesses if "the bank does not say of which" not in line] == []
        assert any(line.startswith("suspense: suspense money changed by -") for line in guesses)
        ended = await caught_up(empty_database, bank, tmp_path, "--even-so")
        assert ended.status == 0, ended.out + ended.error
        assert printed(ended) == printed(closed)
        async with shop_on(empty_database, bank) as shop:
            await shop.assert_agrees()
            # It goes on, with serials that nobody has had.
            for operation in await trade(shop):
                await shop.until_final(operation.operation_id)
            await shop.clear()
            await shop.assert_agrees()
        kept = await serials(empty_database)
        fresh = {serial for serial in kept - used if int(serial[12:]) >= 100_000_000}
        assert kept - used == fresh


async def test_what_no_transaction_explains_is_taken_over_and_listed_and_the_books_stay_closed(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await market(shop)
            copies.back_up(database, tmp_path / "copy")
            # The bank lists a freeze, but neither its order nor that of escrow.
            await freeze(shop, "buyer", 7_00)
            await prepay(shop, "payer", "seller", 9_00)
        copies.restore(empty_database, tmp_path / "copy")
        closed = await caught_up(empty_database, bank, tmp_path)
        assert closed.status == 1
        assert "not explained: 2" in closed.out
        assert "member buyer: frozen money changed by 7.00" in closed.out
        assert "member payer: escrow money changed by 9.00" in closed.out
        with pytest.raises(LedgerBehind):
            async with running(service_settings(empty_database, bank)):
                raise AssertionError("it started")

        # All of it was taken over by then: nothing twice, and nothing of it is forgotten.
        again = await caught_up(empty_database, bank, tmp_path)
        assert (again.status, again.out) == (1, closed.out)
        opened = await caught_up(empty_database, bank, tmp_path, "--even-so")
        assert opened.status == 0, opened.out + opened.error
        assert re.findall(r"^not explained: \d+|.* taken over .*", opened.out, re.MULTILINE) == [
            "4 accounts taken over from the bank, in yuan",
            "not explained: 2",
        ]
        async with shop_on(empty_database, bank) as shop:
            await shop.assert_agrees()
        again = await caught_up(empty_database, bank, tmp_path)
        assert (again.status, "caught up already" in again.out) == (0, True)


async def test_a_member_that_was_opened_since_is_asked_for_and_taken_over_when_it_is_named(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await market(shop)
            copies.back_up(database, tmp_path / "copy")
            await shop.merchant("newcomer")
            await shop.pay("buyer", "newcomer", 12_00, 2_00)
        copies.restore(empty_database, tmp_path / "copy")
        closed = await caught_up(empty_database, bank, tmp_path)
        assert closed.status == 1
        (stranger,) = re.findall(r"sub-account (\d+) is of no member here", closed.out)
        opened = await caught_up(empty_database, bank, tmp_path, "--member", "newcomer=SH", "--even-so")
        assert opened.status == 0, opened.out + opened.error
        assert f"waiting:{stranger}:" in opened.out
        async with shop_on(empty_database, bank) as shop:
            await shop.assert_agrees()
            assert (await shop.balance("newcomer")).available_fen == 10_00


async def test_an_operation_of_the_copy_whose_answer_was_lost_is_ended_by_the_banks_word(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await market(shop)
            request = shop.pay_request("buyer", "seller", 11_00, 1_00, remark="[[lose_after]]")
            with pytest.raises(grpc.aio.AioRpcError):
                await shop.payments.Pay(request, timeout=TIMEOUT_S)
            copies.back_up(database, tmp_path / "copy")
        copies.restore(empty_database, tmp_path / "copy")
        ended = await caught_up(empty_database, bank, tmp_path)
        assert ended.status == 0, ended.out + ended.error
        assert "\n0 transactions of the bank are lost here" in ended.out
        async with shop_on(empty_database, bank) as shop:
            await shop.assert_agrees()
            # The same request again is the same operation.
            answer = await shop.payments.Pay(request, timeout=TIMEOUT_S)
            assert answer.operation.state == core_pb2.OPERATION_STATE_DONE


async def test_a_copy_is_restored_into_an_empty_database_only_and_replaces_no_other(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    with pytest.raises(CopyFailed, match="there are no books yet"):
        copies.back_up(database, copy)
    await some_books(database)
    copies.back_up(database, copy)
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    with pytest.raises(CopyFailed, match="is there already"):
        copies.back_up(database, copy)
    with pytest.raises(CopyFailed, match=r"there is no folder .*/none to put the copy into"):
        copies.back_up(database, tmp_path / "none" / "copy")
    with pytest.raises(CopyFailed, match="not empty, it holds"):
        copies.restore(database, copy)
    with pytest.raises(CopyFailed, match="there is no"):
        copies.restore(empty_database, tmp_path / "none")
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size * 8 // 10])
    with pytest.raises(CopyFailed, match=r"cut off; the database is left empty"):
        copies.restore(empty_database, copy)
    # All or nothing: it is empty as before.
    assert tables(empty_database) == 0
    assert os.listdir(tmp_path) == ["copy"]


async def test_books_are_marked_from_the_moment_that_they_are_there(
    database: str, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_books(database)
    copies.back_up(database, tmp_path / "copy")

    def crash(_: str, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "migrate", crash)
    with pytest.raises(KeyboardInterrupt):
        copies.restore(empty_database, tmp_path / "copy")
    assert await behind_since(empty_database) is not None


async def test_books_that_were_wrong_when_they_were_copied_are_said_to_be(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    await some_books(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE account SET balance_fen = balance_fen + 1 WHERE kind = 'fee'")
        connection.execute("UPDATE account SET balance_fen = balance_fen - 1 WHERE kind = 'pooled'")
    copies.back_up(database, tmp_path / "copy", [key_bytes(SEAL_KEY)])
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        restored = await jzb("restore", str(tmp_path / "copy"), environment=environment(empty_database, bank))
    assert (restored.status, "the books stay closed" in restored.out) == (1, True)
    assert "balance equals the sum of legs" in " ".join(restored.out.split())
    assert await behind_since(empty_database) is not None


async def test_a_service_that_runs_stops_serving_when_its_books_are_replaced_by_restored_ones(database: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank, shop_on(database, bank) as shop:
        await market(shop)
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE platform SET behind_since = now()")
        refused = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
        # What this request id has done may be among what is lost.
        assert (refused.reason, refused.outcome) == ("LEDGER_BEHIND", core_pb2.OUTCOME_UNKNOWN)


async def test_two_runs_of_the_catch_up_exclude_one_another(database: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await market(shop)
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE platform SET behind_since = now()")
        with copies.catching_up(database, "9930"):
            second = await jzb("catch-up", environment=environment(database, bank))
            assert (second.status, "another catch-up of platform 9930" in second.error) == (1, True)


async def test_a_platform_that_is_not_in_the_database_cannot_catch_up(database: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        ended = await jzb("catch-up", environment=environment(database, bank))
    assert (ended.status, ended.error) == (1, "jzb: the database has no books of platform 9930\n")


async def test_a_database_without_tables_is_a_line_and_no_traceback(empty_database: str, tmp_path: Path) -> None:
    ended = await jzb("backup", str(tmp_path / "copy"), environment={"DATABASE_URL": empty_database})
    assert ended.status == 1
    assert ended.error == "jzb: the database is not up to date: jzb migrate brings it there\n"
    assert os.listdir(tmp_path) == []


async def test_the_same_copy_restored_twice_hands_out_no_serial_twice(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    await some_books(database)
    copies.back_up(database, tmp_path / "copy")
    first: list[int] = []
    for _ in range(2):
        name = f"{database.rsplit('/', 1)[1]}_restored"
        dsn = postgres.create(name)
        copies.restore(dsn, tmp_path / "copy")
        engine = connect(dsn, 1)
        try:
            first.append(await SerialNumbers(engine).next() % 10**10)
        finally:
            await engine.dispose()
            postgres.drop(name)
    # Some hundred serials a second would have been used of the first by then.
    assert first[1] - first[0] >= 1000


async def test_a_database_with_more_than_the_books_is_not_copied(database: str, tmp_path: Path) -> None:
    await some_books(database)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA platform_9931 CREATE TABLE platform (platform text)")
    with pytest.raises(CopyFailed, match=r"holds platform_9931\.platform beside the books in public"):
        copies.back_up(database, tmp_path / "copy")


async def test_a_member_that_was_closed_since_is_closed_here_and_named(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank, rules={"close_while_refundable": True}) as shop:
            await market(shop)
            await shop.buyer("leaver", 6_00)
            copies.back_up(database, tmp_path / "copy")
            await shop.pay("leaver", "seller", 6_00)
            request = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id="leaver")
            await shop.members.CloseMember(request, timeout=TIMEOUT_S)
        copies.restore(empty_database, tmp_path / "copy")
        closed = await caught_up(empty_database, bank, tmp_path)
        assert (closed.status, "member leaver: its sub-account" in closed.out) == (1, True), closed.out + closed.error
        opened = await caught_up(empty_database, bank, tmp_path, "--even-so")
        assert opened.status == 0, opened.out + opened.error
        async with shop_on(empty_database, bank) as shop:
            await shop.assert_agrees()


@asynccontextmanager
async def older_server(folder: Path) -> AsyncIterator[str]:
    """A PostgreSQL 15."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not (programs / "initdb").exists():
        pytest.skip(f"PostgreSQL 15 is not here: {programs} has no initdb")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("embedded.server.find_programs", lambda: Programs(programs, 15))
        async with EmbeddedPostgres(folder) as server:
            yield server.dsn


async def test_books_on_an_older_server_are_copied_and_restored(tmp_path: Path) -> None:
    async with older_server(tmp_path / "postgres") as dsn:
        migrate(dsn)
        let_service_in(dsn)
        await some_books(dsn)
        heads = copies.back_up(dsn, tmp_path / "copy")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE restored")
        restored = dsn.rsplit("/", 1)[0] + "/restored"
        assert copies.restore(restored, tmp_path / "copy") == heads
        assert await behind_since(restored) is not None

"""Numbers for whoever runs the platform: real scrapes of a real service, each number brought about and then read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from jzb.v1 import core_pb2, operation_pb2, payment_pb2
from ledger import newest_revision
from sandbox.clock import BankClock
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.telemetry import catalogue
from service.telemetry.export import series_name
from service.telemetry.metrics import OTHER, Scope
from tests.sandbox.choices import BankChoices
from tests.world import suspense, withdrawals
from tests.world.cli import jzb
from tests.world.collector import SAMPLED, TRACE_ID, collecting
from tests.world.marketplace import LENIENT, SETTLED, TIMEOUT_S
from tests.world.process import ServiceProcess, service_process, shop_on
from tests.world.scraping import LISTEN, require_bounded, scrape, scraped, until_scraped

PAY = {"rpc_method": "jzb.v1.PaymentService/Pay"}


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


def scrapable(database: str, sandbox: Sandbox, **settings: Any) -> AbstractAsyncContextManager[ServiceProcess]:
    telemetry = {**LISTEN, **settings.pop("telemetry", {})}
    return service_process(database, sandbox, telemetry=telemetry, **settings)


async def prepared(database: str, bank: Sandbox, remark: str = "") -> payment_pb2.PayRequest:
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        return shop.pay_request("buyer", "seller", 30_00, remark=remark)


async def test_a_scrape_shows_a_payment_its_steps_and_the_bank(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank)
    async with scrapable(database, bank) as service:
        await service.payments.Pay(request, timeout=TIMEOUT_S)
        found = await scrape(service)
        assert found.values("rpc_server_call_duration_seconds_count", **PAY, rpc_response_status_code="OK") == [1]
        for step in ("admission", "reserve", "bank", "settle"):
            assert found.values("jzb_step_duration_seconds_count", step=step) == [1], step
        assert found.values("jzb_bank_call_duration_seconds_count", interface="6034", outcome="DONE") == [1]
        assert found.values("jzb_bank_answers_total", interface="6034", code="000000") == [1]
        assert found.values("jzb_outcomes_total", kind="PAY_T1", state="done") == [1]
        tries = found.values("http_client_request_duration_seconds_count", http_response_status_code="200")
        assert tries[0] >= 2, "the payment and the access token"
        assert found.values("jzb_calls_under_way") == [0]
        assert found.values("jzb_calls_limit") == [10_000]
        assert found.values("jzb_ledger_batch_size_count")[0] >= 2
        (whose,) = found.of("target_info")
        assert whose.labels["service_name"] == "jzb-ledger"
        platform = whose.labels["jzb_platform"]
        assert {one.labels["platform"] for one in found.samples if one.name != "target_info"} == {platform}


async def test_the_format_is_what_the_scraper_accepts(database: str, bank: Sandbox) -> None:
    async with scrapable(database, bank) as service:
        plain = await scraped(service, "text/plain")
        assert plain.headers["Content-Type"].startswith("text/plain")
        assert "# EOF" not in plain.text
        assert "jzb_build{" in plain.text
        opened = await scraped(service)
        assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
        assert opened.text.endswith("# EOF\n")


async def test_the_service_does_not_start_where_the_address_of_its_metrics_is_taken(
    database: str, bank: Sandbox
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AssertionError, match=rf"cannot listen on {listen} \(JZB_TELEMETRY__METRICS_LISTEN\)"):
            async with scrapable(database, bank, telemetry={"metrics_listen": listen}):
                pass


async def test_money_in_doubt_is_shown_by_kind_until_it_is_settled(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[lose_after]]")
    async with scrapable(database, bank) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.payments.Pay(request, timeout=TIMEOUT_S)
        found = await until_scraped(
            service, lambda one: one.values("jzb_doubt_amount_fen", kind="PAY_T1") == [30_00], "the money in doubt"
        )
        assert found.values("jzb_doubt_operations", kind="PAY_T1") == [1]
        await until_scraped(service, lambda one: one.values("jzb_doubt_age_seconds")[0] > 0, "since when")


async def test_a_transfer_in_suspense_and_a_withdrawal_that_the_bank_has_not_ended_are_shown_with_their_age(
    database: str, bank: Sandbox
) -> None:
    async with shop_on(database, bank) as shop:
        await suspense.in_suspense(shop, 70_00, 5_00)
        await shop.merchant("seller", 100_00, withdrawable=True)
        accepted = await withdrawals.withdraw(shop, "seller", 10_00)
    assert accepted.state == core_pb2.OPERATION_STATE_ACCEPTED
    async with scrapable(database, bank) as service:
        found = await until_scraped(
            service, lambda one: one.values("jzb_suspense_amount_fen"), "the platform's numbers"
        )
        assert found.values("jzb_suspense_amount_fen") == [75_00]
        assert found.values("jzb_suspense_age_seconds")[0] > 0
        assert found.values("jzb_accepted_age_seconds")[0] > 0
        assert found.values("jzb_doubt_age_seconds") == [0], "it was accepted a moment ago"
        assert found.values("jzb_doubt_amount_fen") == []
        assert found.values("jzb_orphans") == [0]
        assert found.values("jzb_resolver_lag_seconds") == [0]
        assert found.values("jzb_seal_age_seconds")[0] >= 0
        assert found.values("jzb_replication_lag_seconds") == [], "there is no standby"


async def test_days_that_the_bank_does_not_clear_are_shown_with_what_they_lack_until_it_does(database: str) -> None:
    clock = BankClock(lambda: datetime.now(UTC) - timedelta(days=3))
    choices: BankChoices = {**LENIENT, "clear_same_day": False}
    async with Sandbox(SandboxSettings(**choices), clock) as late:
        late.bank.hold_clearing(True)
        async with shop_on(database, late) as shop:
            await shop.top_up(await shop.merchant("seller"), 100_00)
            late.bank.move_clock(1)
            await shop.top_up("seller", 20_00)
            late.bank.move_clock(2)
        async with scrapable(database, late, clearing={"poll_s": 0.2}) as service:
            found = await until_scraped(
                service, lambda one: one.values("jzb_clearing_blocked_days") == [2], "two days are blocked"
            )
            assert found.values("jzb_clearing_shortfall_fen") == [100_00], "the bank is asked about the first alone"
            late.bank.hold_clearing(False)
            found = await until_scraped(
                service, lambda one: one.values("jzb_clearing_blocked_days") == [0], "no day is blocked"
            )
            assert found.values("jzb_clearing_shortfall_fen") == [0]


async def test_the_process_shows_what_it_holds_and_for_how_long_its_certificates_last(
    database: str, bank: Sandbox, tmp_path: Path
) -> None:
    key, certificate = self_signed(tmp_path, days=20)
    tls = {"tls_certificate": str(certificate), "tls_key": str(key)}
    async with scrapable(database, bank, **tls) as service:
        found = await until_scraped(
            service, lambda one: one.values("jzb_loop_lag_seconds_count"), "the loop is measured"
        )
        for name in ("client", "bank"):
            assert found.values("jzb_certificate_remaining_seconds", certificate=name)[0] > 86_400, name
        (remaining_s,) = found.values("jzb_certificate_remaining_seconds", certificate="server")
        assert 19 * 86_400 < remaining_s < 20 * 86_400
        (build,) = found.of("jzb_build")
        assert (build.labels["version"], build.labels["schema_revision"]) == (version("jzb-ledger"), newest_revision())
        assert 10 * 2**20 < found.values("process_memory_usage_bytes")[0] < 10 * 2**30
        assert found.values("process_cpu_time_seconds_total")[0] > 0
        assert found.values("process_open_file_descriptor_count")[0] > 3
        for pool in catalogue.POOLS:
            label = {"db_client_connection_pool_name": pool}
            assert len(found.values("db_client_connection_count", **label)) == 2, pool
        assert found.values("jzb_bank_connections_waiting") == [0]
        assert found.values("jzb_watches_open") == [0]
        await until_scraped(
            service,
            lambda one: one.values("db_client_connection_pending_requests") == [0] * len(catalogue.POOLS),
            "nobody waits for a connection once all are open",
        )


async def test_a_noted_digest_and_an_open_watch_are_shown(database: str, bank: Sandbox) -> None:
    await prepared(database, bank)
    async with scrapable(database, bank) as service:
        watch = service.operations.WatchOperations(operation_pb2.WatchOperationsRequest(), timeout=TIMEOUT_S)
        found = await until_scraped(service, lambda one: one.values("jzb_watches_open") == [1], "the watch is open")
        assert 0 <= found.values("jzb_digest_noted_age_seconds")[0] < 60
        watch.cancel()
        await until_scraped(service, lambda one: one.values("jzb_watches_open") == [0], "the watch has ended")


async def test_calls_that_wait_for_a_connection_to_the_bank_are_shown(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[delay:2.0]]")
    async with scrapable(database, bank, bank={"max_connections": 1}) as service:
        calls = []
        for number in range(3):
            one = payment_pb2.PayRequest()
            one.CopyFrom(request)
            one.request_id, one.amount_fen = f"waits-{number}", 1
            calls.append(asyncio.ensure_future(service.payments.Pay(one, timeout=TIMEOUT_S)))
        await until_scraped(service, lambda one: one.values("jzb_bank_connections_waiting") == [2], "two wait")
        await asyncio.gather(*calls)
        await until_scraped(service, lambda one: one.values("jzb_bank_connections_waiting") == [0], "none waits")


async def test_a_platform_whose_database_is_away_has_no_numbers_instead_of_old_ones(
    database: str, bank: Sandbox
) -> None:
    async with scrapable(database, bank) as service:
        await until_scraped(service, lambda one: one.values("jzb_orphans") == [0], "the platform's numbers")
        with closed_to_all(database):
            shown = {
                series_name(metric)
                for metric in catalogue.METRICS
                if metric.scope is Scope.PLATFORM and not metric.name.startswith("jzb.clearing")
            }
            # Two readers of numbers find it out, one after the other.
            found = await until_scraped(service, lambda one: not any(map(one.values, shown)), "no number is shown")
            assert found.values("jzb_calls_under_way") == [0], "the process still shows its own"
        await until_scraped(service, lambda one: one.values("jzb_orphans") == [0], "the numbers are back")


async def test_a_slow_payment_shows_its_trace_as_an_exemplar(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank)
    async with (
        collecting() as collector,
        scrapable(database, bank, telemetry={"otlp_endpoint": collector.url}) as service,
    ):
        await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
        found = await scrape(service)
        for name, labels in (
            ("rpc_server_call_duration_seconds_bucket", PAY),
            ("jzb_bank_call_duration_seconds_bucket", {"interface": "6034"}),
        ):
            (shown,) = (one.exemplar for one in found.of(name, **labels) if one.exemplar)
            assert shown.labels["trace_id"] == TRACE_ID
            assert int(shown.labels["span_id"], 16)


async def test_a_day_of_a_marketplace_makes_no_series_but_those_declared(database: str) -> None:
    choices: BankChoices = {"clear_same_day": True, "any_code": True}
    async with Sandbox(SandboxSettings(**choices)) as sandbox, scrapable(database, sandbox, rules=SETTLED) as service:
        ended = await jzb("demo", "--target", service.target, "--sandbox", sandbox.url)
        assert ended.status == 0, ended.out + ended.error
        found = await scrape(service)
        assert 1_000 < require_bounded(found) < 8_000
        assert not [one for one in found.samples if OTHER in one.labels.values()], (
            "the tables have all that a day needs"
        )


@contextmanager
def closed_to_all(dsn: str) -> Iterator[None]:
    """Nobody is connected to the database, and nobody can connect."""
    base, _, name = dsn.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


def self_signed(folder: Path, days: int) -> tuple[Path, Path]:
    """A key and a certificate for it that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return folder / "key.pem", folder / "certificate.pem"

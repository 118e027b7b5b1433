"""Numbers for whoever runs the platform: real scrapes of a real service, each number brought about and then read."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest

from jzb.v1 import payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.telemetry import catalogue
from service.telemetry.export import SUFFIXES, prometheus_name, series_name
from service.telemetry.metrics import OTHER, Counter, Histogram
from tests.world.marketplace import LENIENT, TIMEOUT_S
from tests.world.process import ServiceProcess, service_process, shop_on
from tests.world.scraping import LISTEN, scrape, scraped, until_scraped

PAY = {"rpc_method": "jzb.v1.PaymentService/Pay"}


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


def scrapable(database: str, bank: Sandbox, **settings: Any) -> AbstractAsyncContextManager[ServiceProcess]:
    telemetry = {**LISTEN, **settings.pop("telemetry", {})}
    return service_process(database, bank, telemetry=telemetry, **settings)


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


def test_every_name_is_what_prometheus_makes_of_it() -> None:
    names = [prometheus_name(metric) for metric in catalogue.METRICS]
    assert len(set(names)) == len(names)
    assert series_name(catalogue.RPC_CALL_DURATION) == "rpc_server_call_duration_seconds_bucket"
    assert series_name(catalogue.DOUBT_AMOUNT) == "jzb_doubt_amount_fen"
    assert series_name(catalogue.REFUSALS) == "jzb_refusals_total"
    assert series_name(catalogue.CPU_TIME) == "process_cpu_time_seconds_total"
    assert series_name(catalogue.MEMORY) == "process_memory_usage_bytes"
    assert {metric.unit for metric in catalogue.METRICS} <= SUFFIXES.keys()


def test_every_metric_has_a_bound_that_one_process_can_keep() -> None:
    for metric in catalogue.METRICS:
        assert math.isfinite(metric.bound)
        assert all(attribute.values or attribute.at_most for attribute in metric.attributes), metric.name


def test_a_value_that_is_in_no_table_is_recorded_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.telemetry.metrics._is_recording", True)
    answers = Counter("test.answers", "", catalogue.INTERFACE, catalogue.OUTCOME, catalogue.CODE)
    for number in range(1_000):
        answers.add("6034", "REFUSED", f"X{number:05}")
    answers.add("6034", "REFUSED", "ERR044")
    assert answers.points() == {("6034", "REFUSED", OTHER): 1_000, ("6034", "REFUSED", "ERR044"): 1}
    replicas = Histogram("test.replicas", "", catalogue.REPLICA, bounds=(1.0,))
    for number in range(100):
        replicas.record(0.5, f"standby{number}")
    assert len(replicas.points()) == catalogue.REPLICAS_MAX + 1 == replicas.bound


def test_nothing_is_kept_while_nothing_is_exported() -> None:
    silent = Counter("test.silent", "", catalogue.KIND)
    silent.add("PAY_T1")
    assert silent.points() == {}

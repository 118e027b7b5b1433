"""A real Prometheus looks at two service processes: every panel has data, alerts fire and clear, quantiles are what
callers measured, exemplars lead to spans, and nothing personal is anywhere.

One world for all tests (`play.world`), which takes two minutes; so this folder has a target of its own,
`make test-observability`, and runs in one process.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from scripts.dashboards import Query, dashboards
from tests.observability.play import World, filled, world
from tests.world.personal import shown
from tests.world.process import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

QUERIES = [
    pytest.param(panel.kind, query, id=f"{one.uid}: {panel.title['en']}{f' ({number})' if number else ''}")
    for one in dashboards()
    for panel in one.panels
    for number, query in enumerate(panel.queries)
]

ALERTS = (
    *("MoneyInDoubtLarge", "RefusalsUnusual", "BreakerOpen", "BankOutcomesUnknown"),
    *("LedgerQueueStanding", "ReplicaMissing", "ServiceSilent"),
)

WITH_EXEMPLARS = (
    "rpc_server_call_duration_seconds_bucket",
    "jzb_bank_call_duration_seconds_bucket",
    "jzb_ledger_batch_duration_seconds_bucket",
)

FACTOR = 1.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(needs_prometheus: None) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="jzb-observed-") as folder:
        async with world(Path(folder)) as found:
            yield found


@pytest.mark.parametrize(("kind", "query"), QUERIES)
async def test_every_query_of_every_panel_has_data(seen: World, kind: str, query: Query) -> None:
    expression = filled(query.expression)
    if kind == "table":
        values = [float(series["value"][1]) for series in await seen.prometheus.at(expression)]
        # What has happened once is not counted as 0.
        assert all(value >= 1 for value in values), expression
    else:
        values = [float(value) for series in await seen.prometheus.over(expression) for _, value in series["values"]]
    assert any(math.isfinite(value) for value in values), f"no data: {expression}"


@pytest.mark.parametrize("alert", ALERTS)
async def test_an_alert_fires_under_its_fault_and_clears_after_it(seen: World, alert: str) -> None:
    await seen.stories[alert]


@pytest.mark.parametrize("quantile", [0.5, 0.9])
async def test_a_quantile_of_the_histograms_is_what_the_client_measured(seen: World, quantile: float) -> None:
    measured_s = statistics.quantiles(seen.took_s, n=10, method="inclusive")[round(quantile * 10) - 1]
    found_s = await seen.prometheus.number(
        f"histogram_quantile({quantile}, sum by (le) (rpc_server_call_duration_seconds_bucket"
        '{rpc_method="jzb.v1.PaymentService/PrepayOrder", rpc_response_status_code="OK"}))',
        seen.timed_at_s,
    )
    assert measured_s / FACTOR <= found_s <= measured_s * FACTOR


@pytest.mark.parametrize("metric", WITH_EXEMPLARS)
async def test_an_exemplar_leads_to_a_span_that_is_there(seen: World, metric: str) -> None:
    exemplars = await seen.prometheus.exemplars(metric)
    assert exemplars

    def are_there() -> bool:
        spans = {(span.trace_id.hex(), span.span_id.hex()) for span in seen.collector.spans}
        return all((one["labels"]["trace_id"], one["labels"]["span_id"]) in spans for one in exemplars)

    await until(are_there, "the spans of all exemplars are at the collector")


async def test_both_processes_say_the_same_of_the_platform(seen: World) -> None:
    for metric in ("jzb_suspense_amount_fen", "jzb_orphans", "jzb_clearing_blocked_days"):
        found = await seen.prometheus.at(metric)
        assert {series["metric"]["instance"] for series in found} == {one.metrics for one in seen.processes}
        assert len({series["value"][1] for series in found}) == 1, metric


async def test_nothing_personal_is_in_a_metric_a_span_or_a_log_line(seen: World) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        pages = [(await client.get(f"http://{one.metrics}/metrics")).text for one in seen.processes]
    received = " ".join(seen.collector.received)
    assert "jzb_refusals_total" in " ".join(pages)
    assert len(seen.with_personal_data) == 4
    assert all(request_id in received for request_id in seen.with_personal_data)
    for text in (*pages, received, seen.logs):
        assert not shown(text)

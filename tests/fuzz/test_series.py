"""Whatever callers send, the metrics get no series but those declared."""

from __future__ import annotations

import httpx
import pytest
from opentelemetry.sdk.resources import Resource

from service.telemetry.export import serve_metrics
from tests.fuzz.driving import fuzz, market
from tests.world.scraping import OPEN_METRICS, Scrape, require_bounded


async def test_bad_requests_make_no_series_but_those_declared(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.telemetry.metrics._is_recording", True)
    url, end = serve_metrics("127.0.0.1:0", Resource.create({"jzb.platform": "9930"}))
    try:
        async with market(database) as shop, httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
            report = await fuzz(shop, 13, 500)
            answer = await client.get(url, headers={"Accept": OPEN_METRICS})
    finally:
        end()
    found = Scrape(answer.text)
    require_bounded(found)
    counted = sum(found.values("rpc_server_call_duration_seconds_count"))
    assert counted >= report.requests, "each was counted, under a name of the contract"

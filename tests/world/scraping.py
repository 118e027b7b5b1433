"""As much of Prometheus as a test needs: scrapes `/metrics` of a service and parses the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.telemetry.catalogue import METRICS
from service.telemetry.export import label_name, prometheus_name
from service.telemetry.metrics import OTHER
from tests.world.process import ServiceProcess, until

LISTEN = {"metrics_listen": "127.0.0.1:0", "metrics_interval_s": 0.2}
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, content: str) -> None:
        self.families = list(text_string_to_metric_families(content))  # type: ignore[no-untyped-call]
        self.samples: list[Sample] = [sample for family in self.families for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of all series of a name that have these labels."""
        return [one.value for one in self.of(name, **labels)]

    def of(self, name: str, **labels: str) -> list[Sample]:
        """All series of a name that have these labels."""
        return [one for one in self.samples if one.name == name and labels.items() <= one.labels.items()]


async def scraped(service: ServiceProcess, accept: str = OPEN_METRICS) -> httpx.Response:
    """What `/metrics` answers now."""
    await until(lambda: address(service), "the address of /metrics is in the log")
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        return await client.get(address(service), headers={"Accept": accept})


async def scrape(service: ServiceProcess) -> Scrape:
    """A scrape as Prometheus makes it."""
    answer = await scraped(service)
    assert answer.status_code == 200
    return Scrape(answer.text)


async def until_scraped(service: ServiceProcess, condition: Callable[[Scrape], Any], what: str) -> Scrape:
    """Scrape until a condition holds; returns that scrape."""
    found: list[Scrape] = []

    async def holds() -> bool:
        found.append(await scrape(service))
        return bool(condition(found[-1]))

    await until(holds, what)
    return found[-1]


def address(service: ServiceProcess) -> str:
    """Where a service says that it serves metrics; empty while it has not."""
    matches = (re.search(r"http://\S+/metrics", line) for line in service.said)
    return next((match.group() for match in matches if match), "")


def require_bounded(found: Scrape) -> int:
    """Require of every series that its declaration allows it; returns how many lines there are."""
    metrics = {prometheus_name(metric): metric for metric in METRICS}
    for family in found.families:
        if family.name == "target":
            continue
        metric = metrics[family.name]
        names = [label_name(attribute.name) for attribute in metric.attributes]
        series: set[tuple[str, ...]] = set()
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == {"platform", *names}, sample
            series.add(tuple(sample.labels[name] for name in names))
        assert len(series) <= metric.bound, metric.name
        for number, attribute in enumerate(metric.attributes):
            values = {labels[number] for labels in series}
            if attribute.at_most:
                assert len(values) <= attribute.bound, (metric.name, values)
            else:
                assert values <= attribute.values | {OTHER}, (metric.name, values - attribute.values)
    return len(found.samples)

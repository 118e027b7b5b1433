"""What a query for Prometheus names: the series it reads, and the labels it filters and groups by. No parser: it reads
what is in our dashboards and rules, and the tests of those run every query against the real Prometheus besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from service.telemetry.catalogue import METRICS
from service.telemetry.export import label_name, prometheus_name
from service.telemetry.metrics import Metric
from tests.world.process import ROOT

PROMETHEUS = ROOT / "deploy" / "observability" / "prometheus"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SERIES = re.compile(r"\b((?:jzb|rpc|http|db|process|up)(?:[_:][a-z0-9_:]+)?)\b(?:\{([^}]*)\})?")
_GROUPS = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")


@dataclass(frozen=True, slots=True)
class Named:
    """A query's series, each with the labels in its braces, and the labels that the query groups by."""

    series: dict[str, set[str]]
    grouped_by: set[str]


def named(expression: str) -> Named:
    """What the query names."""
    plain = _STRING.sub('""', expression)
    groups = {label.strip() for found in _GROUPS.findall(plain) for label in found.split(",")}
    series: dict[str, set[str]] = {}
    for name, braces in _SERIES.findall(_GROUPS.sub("", plain)):
        series.setdefault(name, set()).update(_LABEL.findall(braces))
    return Named(series, groups)


def rules(file: str) -> Iterator[dict[str, Any]]:
    """The rules of one of our files, recording rules and alerts alike."""
    for group in yaml.safe_load((PROMETHEUS / file).read_text("utf-8"))["groups"]:
        yield from group["rules"]


def _series_of(metric: Metric) -> list[str]:
    name = prometheus_name(metric)
    if metric.instrument == "histogram":
        return [f"{name}_bucket", f"{name}_sum", f"{name}_count"]
    return [f"{name}_total" if metric.instrument == "counter" else name]


CATALOGUE: dict[str, Metric] = {series: metric for metric in METRICS for series in _series_of(metric)}
"""Every series that the code exports, and the metric that it is of."""

RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in rules("rules.yml")}
"""The series that our recording rules make, and from what."""

OF_PROMETHEUS = {"up"}
"""What Prometheus itself says of a target."""

_EVERYWHERE = {"platform", "instance", "job", "le"}


def unknown_in(expression: str) -> set[str]:
    """What a query names and the code does not have: a series, or a label that none of its series has."""
    found = named(expression)
    strange = found.series.keys() - CATALOGUE.keys() - RECORDED.keys() - OF_PROMETHEUS
    labels: set[str] = set(_EVERYWHERE)
    for series, filtered in found.series.items():
        mine = _labels_of(series)
        strange |= filtered - mine
        labels |= mine
    return strange | (found.grouped_by - labels)


def _labels_of(series: str) -> set[str]:
    if series in RECORDED:
        inner = named(RECORDED[series])
        return _EVERYWHERE | inner.grouped_by
    metric = CATALOGUE.get(series)
    return _EVERYWHERE | {label_name(one.name) for one in (metric.attributes if metric else ())}

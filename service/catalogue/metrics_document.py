"""docs/operations/metrics.md, made from the metrics' catalogue and from the dashboards and alerts that use them.

`jzb docs metrics` writes it; a test fails while the file differs from what is made here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.telemetry.catalogue import METRICS
from service.telemetry.export import label_name, prometheus_name, series_name
from service.telemetry.metrics import Attribute, Metric, Scope

PATH = Path("docs/operations/metrics.md")
OBSERVABILITY = Path("deploy/observability")

HEAD = """\
# Metrics

Made by `jzb docs metrics` from `service/telemetry/catalogue.py` and `deploy/observability/`. Do not edit it by hand.

`JZB_TELEMETRY__METRICS_LISTEN=127.0.0.1:9464` serves all of them as `GET /metrics`; `JZB_TELEMETRY__OTLP_ENDPOINT`
sends them to a collector. In Prometheus every series has the label `platform` besides those below, and `target_info`
names the release. The series of a histogram end in `_bucket`, `_count` and `_sum`. A scraper that accepts OpenMetrics
gets exemplars: the traces of some of the measurements.

The column *whose* says how to put several processes together. Counts and durations of a *process* are summed; ages,
certificates and breakers of a *process* are looked at one by one. A number of the *platform* comes from the database
and is the same in every process: take the `max`, never the sum. It is read every `JZB_TELEMETRY__METRICS_INTERVAL_S`;
while PostgreSQL does not answer, there is no such series. Blocked days are what each process last heard from the bank:
`max` is right for them, too.

An attribute's values come from a table, and any other value is recorded as `other`. So a process can have a certain
number of series of a metric and no more, whatever callers and the bank send.

## What there is

"""

ATTRIBUTES_HEAD = """
## Attributes

"""

_METRIC_HEAD = ("metric", "in Prometheus", "unit", "attributes", "whose", "meaning", "panels and alerts")
_ATTRIBUTE_HEAD = ("attribute", "in Prometheus", "where its values come from", "how many")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SERIES = re.compile(r"_(bucket|count|sum|total)$")


def render(observability: Path = OBSERVABILITY) -> str:
    """The whole document."""
    used = used_by(observability)
    metrics = [
        (
            f"`{metric.name}`",
            f"`{series_name(metric)}`",
            f"{metric.instrument}, {metric.unit or 'number'}",
            ", ".join(f"`{attribute.name}`" for attribute in metric.attributes) or "none",
            "process" if metric.scope is Scope.PROCESS else "platform (max)",
            metric.meaning,
            "; ".join(used.get(prometheus_name(metric), ())) or "none",
        )
        for metric in METRICS
    ]
    attributes = [
        (f"`{one.name}`", f"`{label_name(one.name)}`", one.source, _count(one)) for one in _attributes(METRICS)
    ]
    return f"{HEAD}{_table(_METRIC_HEAD, metrics)}{ATTRIBUTES_HEAD}{_table(_ATTRIBUTE_HEAD, attributes)}"


def used_by(observability: Path = OBSERVABILITY) -> dict[str, list[str]]:
    """The panels and alerts that use a metric, by its name in Prometheus; empty where there is no such folder."""
    recorded = dict(_recorded(observability))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for user, expression in _expressions(observability):
        for name in metrics_in(expression, recorded):
            if user not in found[name]:
                found[name].append(user)
    return dict(found)


def metrics_in(expression: str, recorded: dict[str, str]) -> set[str]:
    """The names of the metrics in an expression of Prometheus, those behind recording rules among them."""
    known = {prometheus_name(metric) for metric in METRICS}
    found: set[str] = set()
    for name in _NAME.findall(expression):
        if name in recorded:
            found |= metrics_in(recorded[name], recorded)
        else:
            found |= {name, _SERIES.sub("", name)} & known
    return found


def _expressions(observability: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((observability / "source").glob("*.yaml")):
        dashboard = _read(path)
        for panel in dashboard.get("panels", ()):
            for query in panel.get("queries", ()):
                yield f"{dashboard['title']['en']}: {panel['title']['en']}", query["expr"]
    for rule in _rules(observability / "prometheus" / "alerts.yml"):
        yield f"alert {rule['alert']}", rule["expr"]


def _recorded(observability: Path) -> Iterator[tuple[str, str]]:
    for rule in _rules(observability / "prometheus" / "rules.yml"):
        yield rule["record"], rule["expr"]


def _rules(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for group in _read(path)["groups"]:
            yield from group["rules"]


def _read(path: Path) -> Any:
    # Of the developers' packages: an installed release makes no documents.
    import yaml

    return yaml.safe_load(path.read_text("utf-8"))


def _attributes(metrics: tuple[Metric, ...]) -> list[Attribute]:
    return list(dict.fromkeys(attribute for metric in metrics for attribute in metric.attributes))


def _count(attribute: Attribute) -> str:
    return f"{attribute.bound - 1} and `other`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)

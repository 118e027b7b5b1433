"""docs/operations/metrics.md is what the code makes."""

from __future__ import annotations

import re
from pathlib import Path

from service.catalogue.metrics_document import OBSERVABILITY, PATH, metrics_in, render, used_by
from service.telemetry.catalogue import METRICS
from service.telemetry.export import prometheus_name

ROOT = Path(__file__).parents[2]


def test_the_document_is_what_the_code_makes() -> None:
    assert (ROOT / PATH).read_text("utf-8") == render(ROOT / OBSERVABILITY), f"{PATH} is stale: run `make docs`"


def test_every_metric_has_a_row_with_a_meaning() -> None:
    rows = [line.split(" | ") for line in render().splitlines() if line.startswith("| `")]
    for metric in METRICS:
        (row,) = (row for row in rows if row[0] == f"| `{metric.name}`")
        assert len(row[5]) > 10
        assert row[5].endswith("."), metric.name
        assert ("platform (max)" in row[4]) == (metric.scope.value == "platform")


def test_a_recording_rule_counts_as_a_use_of_what_it_is_made_of() -> None:
    recorded = {"jzb:doubt": "sum(max by (kind) (jzb_doubt_amount_fen)) / 100", "jzb:old": "jzb:doubt > 1"}
    assert metrics_in("jzb:old and rate(jzb_refusals_total[5m])", recorded) == {
        "jzb_doubt_amount_fen",
        "jzb_refusals",
    }
    assert metrics_in("histogram_quantile(0.9, rate(jzb_loop_lag_seconds_bucket[5m]))", {}) == {"jzb_loop_lag_seconds"}
    assert metrics_in("no_such_metric_total", {}) == set()


def test_panels_and_alerts_are_found_where_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "bank.yaml").write_text(
        "title: {en: The bank}\npanels: [{title: {en: Rate}, queries: [{expr: 'rate(jzb_bank_answers_total[1m])'}]}]\n"
    )
    (tmp_path / "prometheus").mkdir()
    (tmp_path / "prometheus" / "alerts.yml").write_text(
        "groups: [{rules: [{alert: Silent, expr: 'rate(jzb_bank_answers_total[5m]) == 0'}]}]\n"
    )
    assert used_by(tmp_path) == {"jzb_bank_answers": ["The bank: Rate", "alert Silent"]}
    assert used_by(tmp_path / "nowhere") == {}


def test_the_names_are_prometheus_names() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", prometheus_name(metric)) for metric in METRICS)

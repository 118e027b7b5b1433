"""Dashboards: made from their sources, in plain words of both languages, and of metrics that the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboards import FOLDER, LANGUAGES, Panel, Query, dashboards, rendered
from service.telemetry.catalogue import METRICS
from service.telemetry.metrics import Scope
from tests.world.promql import CATALOGUE, named, unknown_in

PANELS = [(f"{one.uid} {panel.title['en']}", panel) for one in dashboards() for panel in one.panels]
FILES = rendered()
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def read(path: Path) -> Any:
    return yaml.safe_load((FOLDER / path).read_text("utf-8"))


def test_the_dashboards_are_made_from_their_sources() -> None:
    assert {path.stem for path in FILES} == {"payments", "bank", "doubt", "ledger", "day", "process"}
    there = {path: path.read_text("utf-8") for path in (FOLDER / "grafana").rglob("*.json")}
    assert there == FILES, "run `make docs`"


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])
def test_a_panel_has_a_title_and_a_line_of_help_in_both_languages(panel: Panel) -> None:
    for words in (panel.title, panel.help):
        assert words.keys() == set(LANGUAGES)
        assert not CHINESE.search(words["en"])
    assert CHINESE.search(panel.help["zh"])
    assert len(panel.help["en"]) > len(panel.title["en"])


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])
def test_amounts_are_shown_in_yuan(panel: Panel) -> None:
    for query in panel.queries:
        assert ("_fen" in query.expression) == ("/ 100" in query.expression)
        if "_fen" in query.expression:
            assert panel.unit == "yuan"


def test_exemplars_are_on_where_durations_have_them() -> None:
    def measured(query: Query) -> set[str]:
        return set(re.findall(r"(\w+)_bucket", query.expression)) if query.has_exemplars else set()

    assert {name for _, panel in PANELS for query in panel.queries for name in measured(query)} == {
        "rpc_server_call_duration_seconds",
        "jzb_bank_call_duration_seconds",
        "jzb_ledger_batch_duration_seconds",
    }


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_dashboard_fits_grafanas_model(file: Path) -> None:
    board = json.loads(FILES[file])
    assert {one["name"] for one in board["templating"]["list"]} == {"datasource", "platform", "instance"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "stat", "table", "state-timeline")
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, "two panels overlap"
        taken |= cells
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
        used = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert used <= {"platform", "instance", "__rate_interval", "__range"}


def test_both_languages_ask_the_same() -> None:
    for path in (FOLDER / "grafana" / "en").glob("*.json"):
        both = [json.loads((FOLDER / "grafana" / language / path.name).read_text("utf-8")) for language in LANGUAGES]
        english, chinese = (
            [[target["expr"] for target in panel["targets"]] for panel in board["panels"]] for board in both
        )
        assert english == chinese
        assert both[0]["uid"] != both[1]["uid"]


@pytest.mark.parametrize("file", ["collector.yaml", "jaeger.yaml"])
def test_a_pipeline_uses_what_is_configured_and_all_of_it(file: str) -> None:
    found = read(Path(file))
    used = {kind: set[str]() for kind in ("receivers", "processors", "exporters")}
    for pipeline in found["service"]["pipelines"].values():
        for kind, names in used.items():
            names |= set(pipeline.get(kind, ()))
    assert used == {kind: set(found[kind]) for kind in used}
    assert set(found["service"]["extensions"]) == set(found["extensions"])


def test_the_collector_keeps_doubts_refusals_failures_and_slow_traces() -> None:
    policies = {one["name"]: one for one in read(Path("collector.yaml"))["processors"]["tail_sampling"]["policies"]}
    assert policies.keys() >= {"in-doubt", "resolved-later", "refused-by-the-bank", "failed", "slow"}
    for one in policies.values():
        # Each policy has its settings under the name of its type.
        assert set(one) == {"name", "type", one["type"]}


def test_compose_mounts_what_is_there_and_listens_on_loopback() -> None:
    found = read(Path("compose.yaml"))
    assert found["services"].keys() == {"prometheus", "grafana", "collector", "jaeger"}
    for service in found["services"].values():
        assert re.fullmatch(r"[a-z-]+/[a-z-]+:v?\d+\.\d+\.\d+", service["image"]), "an image without its version"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in found["volumes"] or (FOLDER / source).exists(), source


def test_what_hands_traces_on_meets_what_takes_them() -> None:
    collector, jaeger = (FOLDER / name for name in ("collector.yaml", "jaeger.yaml"))
    assert ":14317" in collector.read_text("utf-8")
    assert ":14317" in jaeger.read_text("utf-8")
    sources = read(Path("grafana/provisioning/datasources/jzb.yaml"))["datasources"]
    by_uid = {one["uid"]: one for one in sources}
    (destination,) = by_uid["jzb-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert by_uid[destination["datasourceUid"]]["url"].endswith(":16686")


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])
def test_a_panel_asks_for_metrics_and_labels_that_the_code_has(panel: Panel) -> None:
    for query in panel.queries:
        assert not unknown_in(query.expression), query.expression


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])
def test_what_every_process_says_of_the_platform_is_not_added_up(panel: Panel) -> None:
    for query in panel.queries:
        for series in named(query.expression).series:
            if series in CATALOGUE and CATALOGUE[series].scope is Scope.PLATFORM:
                assert re.search(rf"max(?: by \([^)]*\) )?\({series}", query.expression), query.expression


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {series for _, panel in PANELS for query in panel.queries for series in named(query.expression).series}
    assert {metric.name for metric in METRICS} == {CATALOGUE[one].name for one in shown if one in CATALOGUE}


def test_a_query_of_something_the_code_does_not_have_is_found() -> None:
    assert unknown_in("sum by (rpc_method) (rate(jzb_refusals_total[5m]))") == set()
    assert unknown_in("sum by (colour) (rate(jzb_refusals_total[5m]))") == {"colour"}
    assert unknown_in('rate(jzb_refusals_total{kind="PAY_T1"}[5m])') == {"kind"}
    assert unknown_in("rate(jzb_refused_total[5m])") == {"jzb_refused_total"}

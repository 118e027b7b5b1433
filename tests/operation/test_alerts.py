"""Alerts: each fires under its fault and clears after it, by promtool; each says what to do, and its runbook names only
what is there: RPCs, settings, commands, dashboards, other pages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from typer.main import get_command

from jzb.v1 import (
    adjustment_pb2,
    approval_pb2,
    balance_pb2,
    clearing_pb2,
    operation_pb2,
    reconciliation_pb2,
    suspense_pb2,
    withdrawal_pb2,
    work_pb2,
)
from scripts.dashboards import dashboards
from service.contract import methods, path_of
from service.process.cli import app
from service.settings import Settings
from service.telemetry import events
from tests.world.process import ROOT
from tests.world.promql import PROMETHEUS, RUNBOOKS, rules, unknown_in

ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
TESTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
RUNBOOK_TEXTS = {path.stem: path.read_text("utf-8") for path in RUNBOOKS.glob("*.md")}
MODULES = (
    *(adjustment_pb2, approval_pb2, balance_pb2, clearing_pb2, operation_pb2, suspense_pb2),
    *(withdrawal_pb2, work_pb2),
)
SERVICES = {
    service.name: service
    for module in (
        adjustment_pb2,
        approval_pb2,
        balance_pb2,
        clearing_pb2,
        operation_pb2,
        reconciliation_pb2,
        suspense_pb2,
        withdrawal_pb2,
        work_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}
"""The services of the contract whose RPCs a runbook may name."""
PAGES = {name: text for name, text in RUNBOOK_TEXTS.items() if name != "README"}

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    promtool is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


@needs_promtool
@pytest.mark.soak
def test_every_alert_fires_under_its_fault_and_clears_after_it() -> None:
    found = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=PROMETHEUS, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


@needs_promtool
def test_prometheus_takes_the_configuration() -> None:
    found = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=PROMETHEUS, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_test_in_which_it_is_silent_then_fires_then_is_silent(alert: str) -> None:
    mine = [
        [bool(one["exp_alerts"]) for one in test["alert_rule_test"]]
        for test in TESTS
        if {one["alertname"] for one in test["alert_rule_test"]} == {alert}
    ]
    assert mine
    assert all(fires == [False, True, False] for fires in mine)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_grave_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks/{alert}.md"
    assert "fen" not in re.sub(r"query \(printf[^)]*\)", "", rule["annotations"]["description"])


def test_rules_and_alerts_ask_for_metrics_and_labels_that_the_code_has() -> None:
    for rule in (*rules("rules.yml"), *rules("alerts.yml")):
        assert not unknown_in(rule["expr"]), rule


def test_a_call_that_changes_something_is_one_with_a_request_id() -> None:
    (rule,) = (rule for rule in rules("rules.yml") if rule.get("record") == "jzb:changes:rate5m")
    (is_change,) = re.findall(r'rpc_method=~"([^"]+)"', rule["expr"])
    (is_none,) = re.findall(r'rpc_method!~"([^"]+)"', rule["expr"])
    rpcs = {path_of(method): method for method in methods().values()}
    counted = {rpc for rpc in rpcs if re.fullmatch(is_change, rpc) and not re.fullmatch(is_none, rpc)}
    assert counted == {rpc for rpc, method in rpcs.items() if "request_id" in method.input_type.fields_by_name}


def test_there_is_a_runbook_for_each_alert_and_none_besides() -> None:
    assert PAGES.keys() == ALERTS.keys()
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", RUNBOOK_TEXTS["README"], re.MULTILINE))
    assert listed == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


@pytest.mark.parametrize("alert", PAGES)
def test_a_runbook_says_what_it_means_what_to_look_at_what_to_do_and_what_never(alert: str) -> None:
    headings = re.findall(r"^## (.*)$", PAGES[alert], re.MULTILINE)
    assert headings == ["What it means for the money", "What to look at", "What to do", "What never to do"]
    assert PAGES[alert].startswith(f"# {alert}: ")


def test_runbooks_name_rpcs_that_there_are() -> None:
    rpcs = {f"{service.name}/{method.name}" for service in SERVICES.values() for method in service.methods}
    used = {rpc for text in RUNBOOK_TEXTS.values() for rpc in re.findall(r"(?:jzb\.v1\.|`)(\w+Service/\w+)", text)}
    assert len(used) > 8
    assert used <= rpcs


def test_runbooks_send_requests_that_the_contract_takes() -> None:
    sent = [
        (body, service, method)
        for text in PAGES.values()
        for body, service, method in re.findall(r"-d '(\{[^']*\})'[\s\\]*127\.0\.0\.1:50051 jzb\.v1\.(\w+)/(\w+)", text)
    ]
    assert len(sent) > 8
    for body, service, method in sent:
        request = SERVICES[service].methods_by_name[method].input_type
        json_format.Parse(body, GetMessageClass(request)())


def test_runbooks_name_settings_that_there_are() -> None:
    def names(model: Any, prefix: str) -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            key = f"{prefix}{name.upper()}"
            inner = field.annotation
            found |= names(inner, f"{key}__") if hasattr(inner, "model_fields") else {key}
        return found

    used = {name for text in RUNBOOK_TEXTS.values() for name in re.findall(r"JZB_[A-Z_]+[A-Z]", text)}
    assert len(used) > 8
    assert used <= names(Settings, "JZB_")


def test_runbooks_name_commands_that_there_are() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    used = {name for text in RUNBOOK_TEXTS.values() for name in re.findall(r"(?:`| {7})jzb ([a-z-]+)", text)}
    assert {"verify", "serve"} <= used <= commands


def test_runbooks_quote_log_lines_that_there_are() -> None:
    names = {event.name for _, event in events.catalogue()}
    quoted = {line for text in RUNBOOK_TEXTS.values() for line in re.findall(r"log line\s+`([^`]+)`", text)}
    assert "sealed" in quoted
    assert quoted <= names


def test_runbooks_name_dashboards_panels_and_pages_that_there_are() -> None:
    titles = {one.title["en"] for one in dashboards()}
    panels = {panel.title["en"] for one in dashboards() for panel in one.panels}
    quoted = {
        quote.strip(" .,;:")
        for text in PAGES.values()
        for quote in re.findall(r"(?:[Dd]ashboard|panel|Watch|See|,|^\d\.) \"([A-Z][^\"]+)\"", text, re.MULTILINE)
    }
    assert quoted
    of_pages = {"One machine first", "Standby"}
    assert quoted <= titles | panels | of_pages
    for text in RUNBOOK_TEXTS.values():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("https://") or (RUNBOOKS / link).exists(), link
    assert all(f"## {name}" in (ROOT / "docs" / "scaling.md").read_text("utf-8") for name in of_pages)

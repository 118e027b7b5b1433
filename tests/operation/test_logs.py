"""The log that somebody on call can trust: one catalogue of events, and an error is something to do."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bankclient import BankUnavailable
from jzb.v1 import operation_pb2
from ledger import LedgerBehind, LedgerCorrupt, LedgerUnavailable
from service import problems
from service.catalogue.log_document import PATH, render
from service.inflows.collector import collecting
from service.telemetry import events
from service.telemetry.events import Event, catalogue
from tests.world.collector import SAMPLED, TRACE_ID
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import ROOT, clean_environment, until

EVENTS = dict(catalogue())
ALWAYS = {"operation_id", "serial"}
"""Fields that a line may have without saying so: of the operation that it is about."""

OF_THE_LOG = ("events.py", "logs.py")
SOURCES = [path for path in sorted((ROOT / "service").rglob("*.py")) if path.name not in OF_THE_LOG]


def logged(path: Path) -> Iterator[tuple[str, set[str]]]:
    """The events that a module logs, each with its fields."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Attribute(value=ast.Name(id="events"), attr=name), attr="log" | "log_failure"
                ),
                keywords=keywords,
            ):
                yield name, {keyword.arg or "**" for keyword in keywords}


def test_the_document_is_what_the_catalogue_makes() -> None:
    assert (ROOT / PATH).read_text() == render(), "run `make docs`"


def test_whatever_the_service_logs_is_in_the_catalogue_with_its_fields() -> None:
    seen: set[str] = set()
    for path in SOURCES:
        for name, fields in logged(path):
            assert name in EVENTS, f"{path} logs {name}"
            assert fields - ALWAYS <= set(EVENTS[name].fields), f"{path} logs {name} with other fields"
            seen.add(name)
    # Logged by the bank client, which knows no catalogue.
    assert seen | {"TOKEN_NOT_RENEWED"} == set(EVENTS), "an event that nobody logs"


def test_nothing_is_logged_past_the_catalogue() -> None:
    for path in SOURCES:
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in (*node.names, ast.alias(getattr(node, "module", None) or ""))
        }
        assert not imported & {"structlog", "logging"}, path
    for path in sorted((ROOT / "bankclient").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=level), args=[message, *more]):
                    assert isinstance(message, ast.Constant), path
                    (event,) = (one for one in EVENTS.values() if one.name == message.value)
                    assert (level, more) == (event.level, []), path


def test_every_event_has_its_own_words_a_meaning_and_what_to_do() -> None:
    assert len({event.name for event in EVENTS.values()}) == len(EVENTS)
    for event in EVENTS.values():
        assert event.meaning.endswith("."), event.name
        assert event.action.endswith("."), event.name
        # An error asks for something.
        assert event.level != "error" or not event.action.startswith("Nothing"), event.name


async def test_work_in_the_background_makes_an_error_of_a_fault_and_a_warning_of_a_bank_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No other test has written what is written once a minute.
    monkeypatch.setattr(events, "_last_s", {})
    failures: list[Exception] = [
        problems.bank_unavailable("no answer"),
        LedgerUnavailable("the server is away"),
        BankUnavailable("no token"),
        TimeoutError(),
        LedgerBehind("a copy of yesterday"),
        LedgerCorrupt("a plan is not the one that was sealed"),
        ZeroDivisionError("of ours"),
    ]
    left = list(failures)

    async def work() -> bool:
        if left:
            raise left.pop(0)
        return True

    with capture_logs() as lines:
        async with collecting("returns", work, 0.001):
            await until(lambda: not left, "all have failed")
            await until(lambda: len(lines) == len(failures), "all are logged")
    assert [line["log_level"] for line in lines] == ["warning"] * 4 + ["error"] * 3
    assert {line["event"] for line in lines[:4]} == {events.NOT_COLLECTED.name}
    assert [line["why"] for line in lines[:4]] == [
        "BANK_UNAVAILABLE",
        "LedgerUnavailable: the server is away",
        "BankUnavailable: no token",
        "TimeoutError",
    ]
    assert not any("exc_info" in line for line in lines[:4])
    assert (lines[4]["event"], lines[4]["why"]) == (events.BOOKS_BEHIND.name, "a copy of yesterday")
    assert [(line["event"], line["exc_info"]) for line in lines[5:]] == [
        ("unforeseen", failure) for failure in failures[5:]
    ]


def test_an_event_that_would_flood_is_written_once_in_its_time() -> None:
    seldom = Event("seldom, for a test", "warning", "It happens often.", "Nothing.", ("why",), every_s=3600.0)
    with capture_logs() as lines:
        for number in range(100):
            seldom.log(why=str(number))
    assert [line["why"] for line in lines] == ["0"]


async def test_each_line_about_a_payment_names_the_operation_its_serial_and_its_trace(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, remark="[[lose_after]]")
    operation = (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED))).operation
    key = operation_pb2.OperationKey(operation_id=operation.operation_id)
    with capture_logs() as lines:
        # By a call that has a trace of its own.
        await shop.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S)
    (line,) = (line for line in lines if line["event"] == "resolved")
    assert (line["operation_id"], line["serial"], line["trace_id"]) == (
        operation.operation_id,
        operation.serial,
        operation.trace_id,
    )
    assert operation.trace_id == TRACE_ID


async def test_what_a_library_calls_an_error_and_nobody_can_mend_is_a_warning() -> None:
    said = """
import logging
from service import telemetry
from service.settings import TelemetrySettings
telemetry.set_up(TelemetrySettings(log_json=True), "9930")
logging.getLogger("opentelemetry.exporter.otlp").error("Failed to export span batch code: 503")
logging.getLogger("grpc._cython.cygrpc").error("a caller left")
logging.getLogger("asyncio").error("Task exception was never retrieved")
logging.getLogger("bankclient.access_token").warning(
    "the access token could not be renewed", extra={"why": "no answer", "token": "secret"}
)
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", said), env=clean_environment(), cwd=ROOT, stderr=PIPE
    )
    _, error = await process.communicate()
    exported, left, task, token = (json.loads(line) for line in error.decode().splitlines())
    assert [line["level"] for line in (exported, left, task)] == ["warning", "warning", "error"]
    assert (token["event"], token["why"]) == (events.TOKEN_NOT_RENEWED.name, "no answer")
    assert "secret" not in error.decode()

"""Metrics are bounded by their declaration, and cost nothing while nobody reads them."""

from __future__ import annotations

import math

import pytest

from service.telemetry import catalogue
from service.telemetry.export import SUFFIXES, prometheus_name, series_name
from service.telemetry.metrics import OTHER, Counter, Histogram


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

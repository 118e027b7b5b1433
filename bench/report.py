"""What a run has seen: a table for the terminal, JSON, and plots (SVG)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pygal
from pygal.style import CleanStyle
from rich.console import Console
from rich.table import Table

from bench.rows import Measured, Row

UNITS = {"x": "", "MiB": " MiB", "s": " s", "ms": " ms", "": ""}


def machine(dsn: str) -> dict[str, str]:
    """On what it was measured."""
    with psycopg.connect(dsn) as connection:
        settings = {
            name: value
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size")
            for (value,) in connection.execute("SELECT current_setting(%s)", [name])
        }
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory_kib = int(next(line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": f"{cpu}, {len(os.sched_getaffinity(0))} cores, shared by client, service, PostgreSQL and bank",
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "postgresql": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def show(console: Console, where: Mapping[str, str], measured: Measured, took_s: float) -> None:
    """Print everything that a reader of the terminal wants."""
    table = Table(title="make bench", title_justify="left", show_edge=False)
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column()
    for row in measured.rows:
        table.add_row(row.what, _told(row, row.value), f"{row.sign} {_told(row, row.limit)}", verdict(row))
    console.print(table)
    if measured.profile:
        profile = Table(title="Where the CPU time of one payment goes", title_justify="left", show_edge=False)
        profile.add_column("part")
        profile.add_column("percent", justify="right")
        for part, percent in measured.profile.items():
            profile.add_row(part, f"{percent:.0f}")
        console.print(profile)
    for name, value in where.items():
        console.print(f"{name}: {value}", highlight=False)
    console.print(f"took {took_s:.0f} s", highlight=False)
    for row in measured.rows:
        if not row.holds:
            console.print(
                f"falls short: {row.name}: {_told(row, row.value)}, {row.sign} {_told(row, row.limit)} wanted"
            )


def verdict(row: Row) -> str:
    """In one word."""
    return "holds" if row.holds else "FALLS SHORT"


def write(folder: Path, where: Mapping[str, str], measured: Measured) -> None:
    """Keep it: ``bench.json``, the table for a document, and a plot of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(row), "holds": row.holds} for row in measured.rows]
    kept = {"machine": dict(where), **asdict(measured), "rows": rows}
    (folder / "bench.json").write_text(json.dumps(_rounded(kept), indent=1) + "\n")
    (folder / "table.md").write_text(_markdown(where, measured))
    _plot(folder / "throughput.svg", "Two-phase transfers a second", "callers waiting", measured.throughput)
    _plot(folder / "latency.svg", "Milliseconds for both steps of a transfer", "callers waiting", measured.latency)
    _plot(folder / "growth.svg", "Two-phase transfers a second", "million journal legs stored", measured.growth)


def _markdown(where: Mapping[str, str], measured: Measured) -> str:
    lines = ["| what | measured | wanted | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {row.what} | {_told(row, row.value)} | {'≥' if row.sign == '>=' else '≤'} {_told(row, row.limit)} |"
        f" {verdict(row)} |"
        for row in measured.rows
    ]
    if measured.profile:
        lines += ["", "| CPU time of one payment | percent |", "| --- | ---: |"]
        lines += [f"| {part} | {percent:.0f} |" for part, percent in measured.profile.items()]
    lines += ["", *(f"- {name}: {value}" for name, value in where.items()), ""]
    return "\n".join(lines)


def _plot(path: Path, title: str, axis: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    if not curves:
        return
    points = sorted({x for curve in curves.values() for x, _ in curve})
    logarithmic = max(y for curve in curves.values() for _, y in curve) > 50 * min(
        y for curve in curves.values() for _, y in curve
    )
    # No script, no font and no style sheet from elsewhere: the file is shown as it is.
    chart = pygal.Line(
        title=title,
        x_title=axis,
        js=[],
        style=CleanStyle(font_family="sans-serif"),
        logarithmic=logarithmic,
        include_x_axis=not logarithmic,
        width=900,
        height=480,
    )
    chart.x_labels = [f"{point:g}" for point in points]
    for name, curve in curves.items():
        values = dict(curve)
        chart.add(name, [round(values[point], 1) if point in values else None for point in points])
    path.write_bytes(chart.render())


def _told(row: Row, value: float) -> str:
    return f"{value:.0f}{UNITS[row.unit]}" if row.unit in ("MiB", "") else f"{value:.2f}{UNITS[row.unit]}"


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case dict():
            return {name: _rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
    return value


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()

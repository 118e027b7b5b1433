"""Draws dashboards from what a real Prometheus answers, for docs/operations/pictures/:

    .venv/bin/python -m tests.observability.pictures payments doubt

It plays what the tests of this folder play (two minutes), sends each panel's queries, and has a headless Chromium make
a picture of the page. Titles, lines of help, places and numbers are those of the dashboard; the drawing is ours, not
Grafana's.
"""

from __future__ import annotations

import asyncio
import html
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pygal
import uvloop
from pygal.style import Style

from scripts.dashboards import Dashboard, Panel, Query, dashboards
from tests.observability.play import World, filled, world
from tests.world.process import ROOT

FOLDER = ROOT / "docs" / "operations" / "pictures"
WIDTH = 1200
ROWS_MAX = 8
LINES_MAX = 6
GAP_S = 2.0
"""Points further apart than this are not joined: there was no such series in between."""

DRAWN = Style(
    background="white",
    plot_background="white",
    label_font_size=11,
    major_label_font_size=11,
    legend_font_size=11,
    guide_stroke_color="#ddd",
    major_guide_stroke_color="#ddd",
    colors=("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"),
)

STYLE = """
body { font: 13px sans-serif; margin: 12px; color: #222; background: #fff; }
h1 { font-size: 20px; margin: 0; } h1 small { font-weight: normal; font-size: 13px; color: #666; margin-left: 8px; }
main { display: grid; grid-template-columns: repeat(24, 1fr); gap: 8px; margin-top: 10px; }
section { border: 1px solid #ddd; border-radius: 4px; padding: 6px 8px; overflow: hidden; }
h2 { font-size: 13px; margin: 0; } p { font-size: 11px; color: #666; margin: 2px 0 4px; }
b { display: block; font-size: 26px; font-weight: normal; text-align: center; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-size: 11px; }
td { border-top: 1px solid #eee; padding: 2px 4px; } td:last-child { text-align: right; }
svg { width: 100%; height: auto; }
"""


async def page(world: World, dashboard: Dashboard) -> str:
    """A dashboard as HTML."""
    panels = "".join([await _panel(world, panel) for panel in dashboard.panels])
    title, help_ = html.escape(dashboard.title["en"]), html.escape(dashboard.help["en"])
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f"<h1>{title}<small>{help_}</small></h1><main>{panels}</main>"
    )


async def _panel(world: World, panel: Panel) -> str:
    drawn = {"graph": _graph, "number": _number, "table": _table, "states": _graph}[panel.kind]
    title, help_ = html.escape(panel.title["en"]), html.escape(panel.help["en"])
    body = await drawn(world, panel)
    return f'<section style="grid-column: span {panel.width}"><h2>{title}</h2><p>{help_}</p>{body}</section>'


async def _graph(world: World, panel: Panel) -> str:
    lines = [
        (_named(query, series["metric"]), [(float(at), float(value)) for at, value in series["values"]])
        for query in panel.queries
        for series in await world.prometheus.over(filled(query.expression))
    ]
    lines.sort(key=lambda line: -max(value for _, value in line[1]))
    began_s = world.prometheus.began_s
    chart = pygal.XY(
        style=DRAWN,
        stroke_style={"width": 2},
        show_dots=False,
        js=[],
        width=560,
        height=230,
        legend_at_bottom=True,
        legend_at_bottom_columns=next(columns for columns in (2, 3, 1) if min(len(lines), LINES_MAX) % columns == 0),
        legend_box_size=8,
        truncate_legend=40,
        margin=4,
        range=(0, max((value for _, points in lines for _, value in points if value == value), default=1) or 1),
        value_formatter=lambda value: f"{_short(value)} {_unit(panel)}".strip(),
        x_value_formatter=lambda at: f"{at:.0f} s",
    )
    for name, points in lines[:LINES_MAX]:
        chart.add(name, _with_gaps([(at - began_s, value) for at, value in points if value == value]))
    drawn: str = chart.render(is_unicode=True, disable_xml_declaration=True)
    return drawn


async def _number(world: World, panel: Panel) -> str:
    """The highest of its time: at the end of a play that went well nothing is in doubt."""
    lines = [
        (_named(query, series["metric"]), max(float(value) for _, value in series["values"]))
        for query in panel.queries
        for series in await world.prometheus.over(filled(query.expression))
    ]
    shown = (f"{name} " if len(lines) > 1 else "" for name, _ in lines)
    return (
        "".join(
            f"<b>{html.escape(name)}{_short(value)} {_unit(panel)}</b>"
            for name, (_, value) in zip(shown, lines, strict=True)
        )
        + "<p>highest in the time shown</p>"
    )


async def _table(world: World, panel: Panel) -> str:
    found = [
        (list(series["metric"].values()), float(series["value"][1]))
        for query in panel.queries
        for series in await world.prometheus.at(filled(query.expression))
    ]
    found.sort(key=lambda row: -row[1])
    rows = (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (*cells, f"{value:,.0f}")) + "</tr>"
        for cells, value in found[:ROWS_MAX]
    )
    return f"<table>{''.join(rows)}</table>"


def _with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float] | None]:
    found: list[tuple[float, float] | None] = []
    for number, point in enumerate(points):
        if number and point[0] - points[number - 1][0] > GAP_S:
            found.append(None)
        found.append(point)
    return found


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _height(dashboard: Dashboard) -> int:
    rows, width, kinds = 60, 0, set[str]()
    for panel in (*dashboard.panels, None):
        if panel is None or width + panel.width > 24:
            rows += 165 if kinds == {"number"} else 306
            width, kinds = 0, set()
        if panel is not None:
            width += panel.width
            kinds.add(panel.kind)
    return rows


def _named(query: Query, labels: dict[str, Any]) -> str:
    legend = query.legend if isinstance(query.legend, str) else query.legend["en"]
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return legend or "value"


def _unit(panel: Panel) -> str:
    return {"seconds": "s", "per second": "/s", "yuan": "yuan", "days": "days"}.get(panel.unit, "")


async def draw(names: list[str]) -> None:
    """Write a picture for each dashboard named."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [one for one in dashboards() if one.uid.removeprefix("jzb-") in names]
    with tempfile.TemporaryDirectory(prefix="jzb-pictures-") as folder:
        async with world(Path(folder)) as found:
            for one in wanted:
                file = Path(folder) / f"{one.uid}.html"
                file.write_text(await page(found, one), "utf-8")
                await asyncio.to_thread(photograph, file, FOLDER / f"{one.uid.removeprefix('jzb-')}.png", _height(one))


def photograph(file: Path, picture: Path, height: int) -> None:
    """A picture of a page, by headless Chromium."""
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--screenshot={picture}", f"--window-size={WIDTH},{height}", file.as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    uvloop.run(draw(sys.argv[1:] or ["payments", "doubt"]))

"""The dashboards for Grafana, made from deploy/observability/source/: `python -m scripts.dashboards`, in `make docs`.

A source file has one dashboard, with its English and Chinese words beside each other. Of each the same panels are made
in grafana/en and grafana/zh. The tests read the sources by `dashboards`, and fail while a made file differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "observability"
SOURCES: Final = FOLDER / "source"
LANGUAGES: Final = ("en", "zh")

Words = Mapping[str, str]

SCHEMA_VERSION: Final = 41
"""Grafana's classic model as of 12.0; later releases take it and bring it up to date when they load it."""

PROCESS: Final = 'platform=~"$platform", instance=~"$instance"'
"""Stands for `<process>` in a query: the series of the chosen processes."""
PLATFORM: Final = 'platform=~"$platform"'
"""Stands for `<platform>`: what every process says of its platform, whichever process is chosen."""

UNITS: Final[Mapping[str, Words]] = {
    "bytes": {"en": "bytes", "zh": "bytes"},
    "cores": {"en": "suffix: cores", "zh": "suffix: 核"},
    "count": {"en": "short", "zh": "short"},
    "days": {"en": "suffix: days", "zh": "suffix: 天"},
    "per second": {"en": "suffix:/s", "zh": "suffix:/秒"},
    "seconds": {"en": "s", "zh": "s"},
    "share": {"en": "percentunit", "zh": "percentunit"},
    "yuan": {"en": "suffix: yuan", "zh": "suffix: 元"},
}
"""Grafana's name of each unit that the sources use."""

KINDS: Final = {"graph": "timeseries", "number": "stat", "table": "table", "states": "state-timeline"}

GRID: Final = 24
SIZES: Final = {"graph": (12, 8), "number": (6, 5), "table": (12, 8), "states": (12, 8)}

SOURCE_OF_DATA: Final = {"type": "prometheus", "uid": "${datasource}"}

PLATFORM_LABEL: Final = {"en": "Platform", "zh": "平台"}
PROCESS_LABEL: Final = {"en": "Process", "zh": "进程"}
DATA_LABEL: Final = {"en": "Prometheus", "zh": "Prometheus"}
OTHERS: Final = {"en": "jzb-ledger dashboards", "zh": "jzb-ledger 看板"}
UID: Final = {"en": "", "zh": "-zh"}
TAG: Final = {"en": "jzb", "zh": "jzb-zh"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, as Grafana sends it but for its variables."""

    expression: str
    legend: str | Words
    has_exemplars: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, in both languages."""

    title: Words
    help: Words
    kind: str
    unit: str
    width: int
    height: int
    is_stacked: bool
    mappings: Mapping[int, Words]
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One source file."""

    uid: str
    title: Words
    help: Words
    panels: tuple[Panel, ...]


def dashboards() -> list[Dashboard]:
    """All dashboards, by the names of their files."""
    return [_dashboard(yaml.safe_load(path.read_text("utf-8"))) for path in sorted(SOURCES.glob("*.yaml"))]


def rendered() -> dict[Path, str]:
    """Every made file with its content."""
    return {
        FOLDER / "grafana" / language / f"{one.uid.removeprefix('jzb-')}.json": _text(_grafana(one, language))
        for one in dashboards()
        for language in LANGUAGES
    }


def _dashboard(source: Mapping[str, Any]) -> Dashboard:
    return Dashboard(
        uid=source["uid"],
        title=source["title"],
        help=source["help"],
        panels=tuple(_panel(one) for one in source["panels"]),
    )


def _panel(source: Mapping[str, Any]) -> Panel:
    kind = source.get("kind", "graph")
    width, height = SIZES[kind]
    return Panel(
        title=source["title"],
        help=source["help"],
        kind=kind,
        unit=source.get("unit", "count"),
        width=source.get("width", width),
        height=source.get("height", height),
        is_stacked=source.get("stacked", False),
        mappings=source.get("mappings", {}),
        queries=tuple(_query(one) for one in source["queries"]),
    )


def _query(source: Mapping[str, Any]) -> Query:
    expression = source["expr"].replace("<process>", PROCESS).replace("<platform>", PLATFORM)
    return Query(expression, source.get("legend", ""), source.get("exemplars", False))


def _grafana(dashboard: Dashboard, language: str) -> dict[str, Any]:
    return {
        "uid": dashboard.uid + UID[language],
        "title": dashboard.title[language],
        "description": dashboard.help[language],
        "tags": [TAG[language]],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": OTHERS[language],
                "tags": [TAG[language]],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": _variables(language)},
        "panels": list(_placed(dashboard.panels, language)),
    }


def _variables(language: str) -> list[dict[str, Any]]:
    every = {"selected": True, "text": "All", "value": "$__all"}

    def labels(name: str, label: Words, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": label[language],
            "type": "query",
            "datasource": SOURCE_OF_DATA,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": every,
        }

    return [
        {
            "name": "datasource",
            "label": DATA_LABEL[language],
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        },
        labels("platform", PLATFORM_LABEL, "label_values(jzb_build, platform)"),
        labels("instance", PROCESS_LABEL, 'label_values(jzb_build{platform=~"$platform"}, instance)'),
    ]


def _placed(panels: tuple[Panel, ...], language: str) -> Iterator[dict[str, Any]]:
    """Each panel at its place: from the left, in rows that are as high as their highest panel."""
    x = y = row_height = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > GRID:
            x, y, row_height = 0, y + row_height, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        x, row_height = x + panel.width, max(row_height, panel.height)
        yield {
            "id": number,
            "type": KINDS[panel.kind],
            "title": panel.title[language],
            "description": panel.help[language],
            "datasource": SOURCE_OF_DATA,
            "gridPos": place,
            "fieldConfig": {"defaults": _field(panel, language), "overrides": []},
            "options": _options(panel),
            "targets": [_target(panel, query, index, language) for index, query in enumerate(panel.queries)],
            **({"transformations": _columns()} if panel.kind == "table" else {}),
        }


def _field(panel: Panel, language: str) -> dict[str, Any]:
    field: dict[str, Any] = {"unit": UNITS[panel.unit][language]}
    if panel.kind == "graph":
        field["min"] = 0
        field["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.is_stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        }
    if panel.mappings:
        options = {
            str(value): {"text": words[language], "color": words["color"], "index": value}
            for value, words in panel.mappings.items()
        }
        field["mappings"] = [{"type": "value", "options": options}]
    return field


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "graph":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "number":
        # Of a table that is asked for at once, or of the newest point of a line.
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"}
    if panel.kind == "states":
        return {"showValue": "auto", "mergeValues": True, "legend": {"showLegend": False}}
    return {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}


def _target(panel: Panel, query: Query, index: int, language: str) -> dict[str, Any]:
    legend = query.legend if isinstance(query.legend, str) else query.legend[language]
    is_table = panel.kind == "table"
    return {
        "refId": chr(ord("A") + index),
        "datasource": SOURCE_OF_DATA,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": legend or "__auto",
        "range": not is_table,
        "instant": is_table,
        "format": "table" if is_table else "time_series",
        "exemplar": query.has_exemplars,
    }


def _columns() -> list[dict[str, Any]]:
    return [{"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}}]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def main() -> None:
    """Write the files, and remove those without a source."""
    files = rendered()
    for language in LANGUAGES:
        for path in (FOLDER / "grafana" / language).glob("*.json"):
            if path not in files:
                path.unlink()
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    sys.stdout.write(f"wrote {len(files)} dashboards in {(FOLDER / 'grafana').relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()

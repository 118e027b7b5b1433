"""docs/glossary.md: each term stands once, has its meaning, and points to files that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"


def _rows() -> list[tuple[str, str, str, str]]:
    """Term, Chinese term, meaning and place of every row."""
    lines = (line for line in GLOSSARY.read_text("utf-8").splitlines() if line.startswith("| "))
    cells = (tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines)
    return [(term, chinese, meaning, place) for term, chinese, meaning, place in cells if term not in ("term", "---")]


def test_every_term_of_the_glossary_stands_once_and_has_a_meaning() -> None:
    rows = _rows()
    assert rows
    assert [term for term, count in Counter(row[0] for row in rows).items() if count > 1] == []
    assert [row for row in rows if not all(row) or not row[2].endswith(".")] == []


def test_every_file_of_the_glossary_exists() -> None:
    places = [place for row in _rows() for place in re.findall(r"`([^`]+/[^`]*)`", row[3])]
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []

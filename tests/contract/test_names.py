"""Kinds of operations and reasons of errors are named by their enum, so that a misspelt one is a type error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from jzb.v1.names import ErrorReason, OperationKind

ROOT = Path(__file__).parents[2]
NAMES = {name for one in (*OperationKind, *ErrorReason) for name in (one.name, one.value)}


def literals(text: str) -> Iterator[tuple[int, str]]:
    """The lines on which a program has the name of a kind or reason as a text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
            yield node.lineno, node.value


def test_a_text_is_found_and_the_enum_is_none() -> None:
    assert list(literals('kind = OperationKind.REFUND\nif kind == "REFUND":\n    pass')) == [(2, "REFUND")]


def test_no_kind_or_reason_is_written_as_a_text() -> None:
    files = [path for room in ("service", "simulate", "bench") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 80
    found = {str(path.relative_to(ROOT)): list(literals(path.read_text("utf-8"))) for path in files}
    assert {path: places for path, places in found.items() if places} == {}

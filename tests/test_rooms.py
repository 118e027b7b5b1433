"""Code that tests share is in modules without tests: no module imports a test module, no folder another folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SERVICE = ("contract", "faults", "flows", "observability", "operation", "plans", "security")
"""The folders of the service's tests. The code that they share is in `world`."""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the full name of each import from the tests."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names if one.name.startswith("tests."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if (node.module or "").partition(".")[0] == "tests":
                yield from ((node.lineno, f"{node.module}.{one.name}") for one in node.names)


IMPORTS = [
    (f"{path.relative_to(TESTS.parent)}:{line}", path.relative_to(TESTS).parts, name.split(".")[1:])
    for path in sorted(TESTS.rglob("*.py"))
    for line, name in imports(path)
]


def test_no_module_imports_a_test_module() -> None:
    assert len(IMPORTS) > 100
    assert not [place for place, _, name in IMPORTS if any(part.startswith("test_") for part in name)]


@pytest.mark.parametrize("room", SERVICE)
def test_a_room_of_the_services_tests_imports_no_other(room: str) -> None:
    others = {*SERVICE, "fuzz", "simulate"} - {room}
    assert not [place for place, (at, *_), name in IMPORTS if at == room and name[0] in others]


def test_the_world_imports_nothing_that_is_built_of_it() -> None:
    above = {*SERVICE, "fuzz", "simulate"}
    assert not [place for place, (at, *_), name in IMPORTS if at == "world" and name[0] in above]


def test_the_world_has_no_test() -> None:
    assert not list((TESTS / "world").rglob("test_*.py"))

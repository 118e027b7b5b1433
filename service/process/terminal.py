"""How the commands print: lines as they are, and tables that a narrow terminal folds."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Column, Table

TREE_WIDTH: Final = 200

console: Final = Console(highlight=False, soft_wrap=True)


def wide() -> Console:
    """A narrow terminal folds a line that rich would cut."""
    return Console(highlight=False, width=max(console.width, TREE_WIDTH))


def table(*names: str) -> Table:
    """A table that folds what is too long for the terminal, and cuts nothing off."""
    return Table(*(Column(name, overflow="fold") for name in names))

"""A group of commands that loads a command when it is called, and not before.

Click's own way (Complex Applications, Lazily Loading Subcommands): a group that overrides how it finds a command. The
list of commands needs a name and a line of each, and gets them without a module.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


class Commands(TyperGroup):
    """The commands of a table: the module of each, which has it in its ``app``, and its line in the list."""

    package: ClassVar[str]
    table: ClassVar[Mapping[str, tuple[str, str]]]

    @classmethod
    def of(cls, package: str, table: Mapping[str, tuple[str, str]]) -> type[Commands]:
        """The group of a table, with its modules in ``package``; typer makes the group itself."""
        return type("Commands", (cls,), {"package": package, "table": table})

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in self.table.items()}

    def load(self, name: str) -> Any:
        """The command itself."""
        # What is loaded stays: to look through it for garbage again and again is a tenth of the time it takes.
        gc.disable()
        try:
            module = import_module(f"{self.package}.{self.table[name][0]}")
        finally:
            gc.enable()
        return typer.main.get_group(module.app).commands[name]

    # Any: typer keeps the types of commands and contexts to itself.
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that is called, and load it."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else self.load(name), rest

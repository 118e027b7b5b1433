"""The option of the commands that write tables into files."""

from __future__ import annotations

import typer

from service.process.output import FORMATS, Format


def format_of(wanted: str) -> Format:
    """The format that --format names."""
    if wanted not in FORMATS:
        raise typer.BadParameter(f"{wanted} is none of {', '.join(FORMATS)}", param_hint="--format")
    return wanted

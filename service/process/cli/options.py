"""The options that several commands have, and what is made of what they are given."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(help="Where PostgreSQL and the sandbox keep their data.")]
Unsealed = Annotated[int, typer.Option(min=0, help="How many batches are from before there were seals.")]

NUMBER = "[!-~]{1,64}"


def require_number(text: str) -> None:
    """Refuse what no number can be."""
    if not re.fullmatch(NUMBER, text):
        raise typer.BadParameter("a number has up to 64 letters, digits and signs", param_hint="NUMBER")


def calendar_day(option: str, text: str) -> date:
    """The day that an option names."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is no day of the calendar", param_hint=option) from None


def day_or_none(option: str, text: str) -> date | None:
    """The same of an option that may be left out."""
    return calendar_day(option, text) if text else None

"""What a program that this one starts is told of the environment: names that are allowed, and nothing else.

The environment of a service holds the key of the vault and the password of the platform's certificate. A child has no
use for them, and whoever breaks into one, or reads its /proc entry, must not find them.
"""

from __future__ import annotations

import os
from typing import Final

ALLOWED: Final = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
)
"""Where programs, libraries and files are, whose they are, and how text and times are written."""

ALLOWED_PREFIXES: Final = ("LC_",)


def child_environment(*prefixes: str) -> dict[str, str]:
    """The part of our environment that a child gets; ``prefixes`` name further variables, for this child alone."""
    starts = (*ALLOWED_PREFIXES, *prefixes)
    return {name: value for name, value in os.environ.items() if name in ALLOWED or name.startswith(starts)}

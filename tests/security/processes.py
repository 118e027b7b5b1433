"""What /proc shows of a process to its own user, and to root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def told_to(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def command_line(pid: int) -> bytes:
    """What a process was started as, or calls itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children(pid: int) -> Iterator[int]:
    """Every process below another one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from children(child)

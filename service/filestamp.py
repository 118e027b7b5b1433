"""What tells that a file was changed or replaced, for files that are read again while the service runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """Times are in ns since 1970, of the file system's clock."""

    changed_ns: int
    size: int
    inode: int


def stamp(path: Path | None) -> Stamp | None:
    """The stamp of a file; None when there is none, or no path."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

"""The files that 6103 has published, by path, until the process ends.

A file is made anew, with a new key and draw code, each time it is asked for; the oldest go first when
the store is full. What goes wrong with a file on the way is decided when it is published.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

FILES_KEPT: Final = 200


@dataclass(frozen=True)
class Published:
    """One encrypted file and who may fetch it. `size` and `md5` are what the server says of it."""

    path: str
    draw_code: str
    content: bytes
    size: int
    md5: str
    refusal: str = ""
    """An EFS code with which the server answers instead."""
    session_ends_at: int = 0
    """The piece at which the session is lost, once; 0 for none."""


class FileStore:
    """Published files."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, Published] = OrderedDict()

    def put(self, file: Published) -> None:
        """Publish a file in place of an earlier one of that path."""
        self._files.pop(file.path, None)
        self._files[file.path] = file
        while len(self._files) > FILES_KEPT:
            self._files.popitem(last=False)

    def get(self, path: str) -> Published | None:
        """The file of that path."""
        return self._files.get(path)

"""Everything a newcomer needs in one command: an embedded PostgreSQL, the sandbox bank, and the service.

What the environment gives is used instead: ``DATABASE_URL`` for the database, ``JZB_BANK__…`` for the bank.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger import migrate
from ledger.embedded import EmbeddedPostgres
from service.settings import Settings, from_environment

SANDBOX_START_S = 30.0


class StackNotStarted(Exception):
    """A part of the stack ended before it was ready; the message says which."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What was started, and the settings of a service that uses it. The URLs are None for what the environment gave."""

    settings: Settings
    postgres_port: int | None
    sandbox_url: str | None


@contextmanager
def started(data: Path, *, settings: Mapping[str, Any] | None = None) -> Iterator[Stack]:
    """Start what is missing, with its data under ``data``; everything is stopped at the end, the service first.

    ``settings`` override the service's own. Call it from the main thread: the database dies with it.
    """
    given: dict[str, Any] = dict(settings or {})
    postgres_port = sandbox_url = None
    with ExitStack() as stack:
        if "DATABASE_URL" in os.environ or "JZB_DATABASE_URL" in os.environ:
            dsn = os.environ.get("DATABASE_URL") or os.environ["JZB_DATABASE_URL"]
        else:
            postgres = stack.enter_context(EmbeddedPostgres(data / "postgres"))
            postgres_port, dsn = postgres.port, postgres.dsn
        migrate(dsn)
        given["database_url"] = dsn
        if "JZB_BANK__BASE_URL" not in os.environ:
            sandbox_url, bank = stack.enter_context(_sandbox(data / "sandbox"))
            given["bank"] = bank
        yield Stack(from_environment(**given), postgres_port, sandbox_url)


@contextmanager
def _sandbox(data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--data-dir", str(data), "--clear-same-day"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        # Ctrl-C reaches the whole terminal group; the bank must outlive the service's last calls.
        start_new_session=True,
    )
    try:
        yield _announced(process), json.loads((data / "client.json").read_text())
    finally:
        process.terminate()
        process.wait(timeout=SANDBOX_START_S)


def _announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listening on (http://\S+)", line):
            return found.group(1)
    raise StackNotStarted(
        f"the sandbox bank ended with status {process.wait()} before it listened; see its message above"
    )

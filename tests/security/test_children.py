"""A process that the service starts knows none of its secrets: whoever breaks into PostgreSQL or pg_dump has no key."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bankclient import SealedFile, opened
from bankclient.files import reading
from service.vault import new_key
from tests.bankclient.files import CZ, PASSWORD, sealed, zipped
from tests.security.processes import children, command_line, told_to
from tests.world.cli import jzb_run

LEAK = "hush-hush"
SECRETS = {
    "JZB_BANK__PFX_PASSWORD": LEAK,
    "JZB_BANK__FILE_PASSWORD": LEAK,
    "JZB_VAULT__KEYS": f'["{new_key()}"]',
    "JZB_SEAL__KEYS": f'["{new_key()}"]',
    "JZB_DATABASE_URL": "",
    "SOME_TOKEN": LEAK,
}


def leaked(environment: dict[str, str]) -> list[str]:
    """The names of secrets in an environment."""
    return [name for name, value in environment.items() if name in SECRETS or LEAK in value]


async def test_postgresql_and_the_sandbox_are_started_without_the_secrets_of_jzb_run(tmp_path: Path) -> None:
    async with jzb_run(tmp_path / "var", SECRETS) as started:
        assert leaked(told_to(started.process.pid)), "the attack would see nothing"
        below = {pid: command_line(pid) for pid in children(started.process.pid)}
        assert any(b"postgres" in line for line in below.values())
        assert any(b"sandbox" in line for line in below.values())
        assert {pid: found for pid in below if (found := leaked(told_to(pid)))} == {}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the environment of this process."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("secrets")
async def test_the_process_that_reads_a_large_file_of_the_bank_is_started_without_them() -> None:
    told: list[dict[str, str]] = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **more: Any) -> Any:
        process = await start(*arguments, **more)
        told.append(told_to(process.pid))
        return process

    with patch.object(reading, "SMALL_BYTES", 0), patch.object(asyncio, "create_subprocess_exec", noted):
        content = sealed(zipped(f"{CZ}\n".encode("gb18030")))
        file = SealedFile("CZ", date(2026, 11, 29), "CZ", content, PASSWORD, 2**20, stated_rows=None)
        async with opened(file) as found:
            assert found.examined.good_rows == 1
    (environment,) = told
    assert leaked(environment) == []

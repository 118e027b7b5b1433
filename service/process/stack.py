"""Everything a newcomer needs in one command: an embedded PostgreSQL, the sandbox bank, and the service.

What the environment gives is used instead: ``DATABASE_URL`` for the database, ``JZB_BANK__…`` for the bank.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from embedded import EmbeddedPostgres, let_service_in
from ledger import child_environment, migrate, sessions_beside
from service.settings import (
    SealSettings,
    Settings,
    VaultSettings,
    database_from_environment,
    from_environment,
    is_given,
    seal_from_environment,
    vault_from_environment,
)
from service.vault import KeyFile

SANDBOX_STOP_S = 30.0
SESSIONS_END_S = 2.0
"""How long sessions that were closed just now are waited for: PostgreSQL lists them a moment longer."""

BANK_ADDRESS = "JZB_BANK__BASE_URL"
PLATFORM = "JZB_BANK__MRCH_CODE"
VAULT_KEYS = "JZB_VAULT__KEYS"
SEAL_KEYS = "JZB_SEAL__KEYS"
CLIENT_SETTINGS = "client.json"


class StackNotStarted(Exception):
    """A part of the stack ended before it was ready; the message says which."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What was started, and the settings of a service that uses it. ``dsn`` is that of the books' owner. The URLs are
    None for what the environment gave.
    """

    settings: Settings
    dsn: str
    postgres_port: int | None
    sandbox_url: str | None


SANDBOX_CONFIRMS = ("order_in_parts", "top_up_amount_confirmed")
"""Rules that a platform has to have confirmed by its bank; the sandbox behaves so (docs/bank.md)."""


@contextmanager
def started(data: Path, *, settings: Mapping[str, Any] | None = None) -> Iterator[Stack]:
    """Start what is missing, with its data under ``data``; everything is stopped at the end, the service first.

    ``settings`` override the service's own. Call it from the main thread: the database dies with it.
    """
    given: dict[str, Any] = dict(settings or {})
    sandbox_url = None
    with ExitStack() as stack:
        # The bank starts while the database does.
        sandbox = stack.enter_context(_sandbox(data / "sandbox")) if BANK_ADDRESS not in os.environ else None
        dsn, postgres_port = stack.enter_context(database(data))
        seal = seal_keys(data, is_embedded=postgres_port is not None or sandbox is not None)
        migrate(dsn, keys=seal.bytes)
        # The embedded server has the split of rights that a production has.
        given["database_url"] = dsn if postgres_port is None else let_service_in(dsn)
        given["seal"] = seal
        if not is_given(VAULT_KEYS) and (postgres_port is not None or sandbox is not None):
            given["vault"] = {"keys": key_file(data).keys()}
        if sandbox is not None:
            sandbox_url, given["bank"] = sandbox()
            confirmed = {name: True for name in SANDBOX_CONFIRMS if f"JZB_RULES__{name.upper()}" not in os.environ}
            given["rules"] = {**confirmed, **given.get("rules", {})}
        yield Stack(from_environment(**given), dsn, postgres_port, sandbox_url)


@contextmanager
def database(data: Path) -> Iterator[tuple[str, int | None]]:
    """The database of the environment, or the embedded one under ``data``: its DSN, and its port if it is embedded."""
    if given := _database_url():
        yield given, None
        return
    with EmbeddedPostgres(data / "postgres") as postgres:
        yield postgres.dsn, postgres.port


@contextmanager
def kept(data: Path) -> Iterator[str]:
    """As `database`, for a command that works with books that are there: it makes no cluster where none is."""
    require_kept(data)
    with database(data) as (dsn, _):
        yield dsn


def require_kept(data: Path, *, bank_too: bool = False) -> None:
    """Raise `StackNotStarted` where nothing was ever started, and the environment names none.

    With ``bank_too`` a sandbox bank must be there, too: against a new one, all books are wrong.
    """
    if not (_database_url() or EmbeddedPostgres(data / "postgres").exists):
        raise StackNotStarted(f"{data} holds no books yet: start `jzb run` first, or set DATABASE_URL")
    if bank_too and BANK_ADDRESS not in os.environ and not (data / "sandbox" / CLIENT_SETTINGS).exists():
        raise StackNotStarted(f"{data} holds no sandbox bank yet: start `jzb run` first, or set {BANK_ADDRESS}")


def _database_url() -> str | None:
    given = os.environ.get("DATABASE_URL") or os.environ.get("JZB_DATABASE_URL")
    return given or (database_from_environment() if is_given("DATABASE_URL", "JZB_DATABASE_URL") else None)


@contextmanager
def bank(data: Path) -> Iterator[dict[str, Any]]:
    """Settings of a client of the sandbox bank whose books are in ``data``: of one that runs, or that is started here.

    Empty when the environment names a bank. Raises `StackNotStarted` where there is no such bank.
    """
    require_kept(data, bank_too=True)
    if BANK_ADDRESS in os.environ:
        yield {}
        return
    folder = data / "sandbox"
    known = json.loads((folder / CLIENT_SETTINGS).read_text()) if (folder / CLIENT_SETTINGS).exists() else None
    if known is not None and _listens(known["base_url"]):
        yield {"bank": known}
        return
    with _sandbox(folder) as sandbox:
        yield {"bank": sandbox()[1]}


def _listens(url: str) -> bool:
    try:
        return httpx.get(f"{url}/control/requests", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def require_alone(dsn: str) -> None:
    """Raise `StackNotStarted` while something else uses the books, such as a service that reads no key file anew."""
    deadline_s = time.monotonic() + SESSIONS_END_S
    while beside := sessions_beside(dsn):
        if time.monotonic() > deadline_s:
            raise StackNotStarted(
                f"{beside} sessions use these books: stop `jzb run` first. It would not know the new key until it is"
                " started again"
            )
        time.sleep(0.1)


def seal_keys(data: Path, *, is_embedded: bool = False) -> SealSettings:
    """The keys of the seals: those of the environment, else those that a stack with books of its own keeps beside them.
    Such a stack makes the first one.
    """
    file = seal_file(data)
    if is_given(SEAL_KEYS) or not (is_embedded or file.exists):
        return seal_from_environment()
    return SealSettings(keys=tuple(map(SecretStr, file.keys())))


def seal_file(data: Path) -> KeyFile:
    """The keys of the seals of an embedded stack."""
    return KeyFile(data / "seal.keys")


def vault_settings(data: Path) -> VaultSettings:
    """The keys of the vault: those of the environment, else those that a stack with books of its own keeps."""
    if is_given(VAULT_KEYS) or not key_file(data).exists:
        return vault_from_environment()
    return VaultSettings(keys=tuple(map(SecretStr, key_file(data).keys())))


def bank_certificate(data: Path) -> Path:
    """Where the bank's certificate is: of the bank in the environment, else of the sandbox under ``data``.

    Raises `StackNotStarted` where there is neither.
    """
    if given := os.environ.get("JZB_BANK__BANK_CERTIFICATE_PATH"):
        return Path(given)
    settings = data / "sandbox" / CLIENT_SETTINGS
    if not settings.exists():
        raise StackNotStarted("set JZB_BANK__BANK_CERTIFICATE_PATH, or name the bank's certificate by --certificate")
    return Path(json.loads(settings.read_text())["bank_certificate_path"])


def key_file(data: Path) -> KeyFile:
    """The keys for personal values that are used when the environment names none; made at the first start."""
    return KeyFile(data / "vault.keys")


def platform_of(data: Path) -> str:
    """Whose books ``data`` holds: the platform that the environment names, or that of the sandbox bank."""
    given = os.environ.get(PLATFORM)
    if given:
        return given
    try:
        return str(json.loads((data / "sandbox" / CLIENT_SETTINGS).read_text())["mrch_code"])
    except FileNotFoundError:
        raise StackNotStarted(f"{data} holds no books yet: start `jzb run` first, or set {PLATFORM}") from None


@contextmanager
def _sandbox(data: Path) -> Iterator[Callable[[], tuple[str, dict[str, Any]]]]:
    """Start the sandbox bank; what is given waits until it listens, and tells its address and its client's settings."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sandbox", "--data-dir", str(data.resolve())),
            *("--clear-same-day", "--any-code", "--until-stdin-ends"),
        ],
        env=child_environment("PYTHON", "SANDBOX_"),
        # Never written to: it ends with this process, however that ends.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # Ctrl-C reaches the whole terminal group; the bank must outlive the service's last calls.
        start_new_session=True,
    )
    try:
        yield lambda: (_announced(process), json.loads((data / CLIENT_SETTINGS).read_text()))
    finally:
        process.terminate()
        try:
            process.wait(timeout=SANDBOX_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listening on (http://\S+)", line):
            return found.group(1)
    raise StackNotStarted(
        f"the sandbox bank ended with status {process.wait()} before it listened; see its message above"
    )

"""What each command of `jzb` loads. A command is loaded when it is called, with what it uses and nothing else: who asks
a running service for orders waits for no server and no database to be loaded.
"""

from __future__ import annotations

import inspect
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_command, get_group

from ledger import WorkKind
from service.process import cli, queue
from service.process.cli.complaints import MENDED
from service.process.cli.loading import Commands
from tests.world.process import ROOT, clean_environment

RUN = """
import sys
from service.process.cli import app
try:
    app(sys.argv[1:])
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""

BOOKS = {"ledger", "psycopg", "sqlalchemy"}
"""What only those load who open the database."""

MIGRATING = {"alembic", "mako"}
"""What only those load who change its tables."""

SERVER = {"service.path.runner", "service.process.server", "service.rpc.errors"}
"""What only those load who start a service."""

WIRE = {"aiohttp", "bankclient.interface", "cryptography", "httpx"}
"""What only those load who speak to the bank, or read its keys."""

STACK = {"embedded", "sandbox", "service.process.stack"}
SETTINGS = {"opentelemetry", "pydantic_settings", "service.settings", "service.telemetry"}
FILES = {"xlsxwriter"}
CALLS = {"google.protobuf", "grpc", "jzb"}
"""What only those load who call a running service, or are one."""

BREAK_ID = "00000000-0000-0000-0000-000000000000"
ASK_A_SERVICE = (
    "balance buyer",
    "trial-balance",
    "statement buyer",
    "statement buyer --format csv",
    "orders",
    "freezes",
    "withdrawals",
    "reconcile --no-run",
    f"adjust {BREAK_ID} --why typo --add withdrawable --member buyer --yuan 0.01",
    "proposals list",
    f"proposals approve {BREAK_ID}",
)
READ_THE_BOOKS = (
    *("migrate", "verify", "backup copy", "restore copy", "find 1", "timeline 1", "trace 1", "evidence 1"),
    *("seal rotate", "seal vouch", "vault rotate"),
)


def loaded(folder: Path, *arguments: str) -> set[str]:
    """The modules of a process that has run a command, whichever way it ended."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env=clean_environment(PYTHONPATH=f"{ROOT}:{ROOT / 'stubs'}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    modules = set(ended.stderr.splitlines())
    assert "service.process.cli" in modules, ended.stderr
    return modules


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{kept.getsockname()[1]}"


@pytest.mark.parametrize("arguments", ["--help", "", "oders", "seel key"])
def test_the_list_of_commands_loads_none_of_them(tmp_path: Path, arguments: str) -> None:
    modules = loaded(tmp_path, *arguments.split())
    assert not modules & (BOOKS | SERVER | WIRE | STACK | SETTINGS | FILES | CALLS)
    assert not [name for name in modules if name.startswith("service.process.cli.") and "loading" not in name]


@pytest.mark.parametrize("command", ASK_A_SERVICE)
def test_who_asks_a_running_service_loads_neither_a_server_nor_a_database(
    tmp_path: Path, nobody: str, command: str
) -> None:
    modules = loaded(tmp_path, *command.split(), "--target", nobody)
    assert {"grpc.aio", "service.process.client"} <= modules
    assert not modules & (BOOKS | SERVER | WIRE | STACK | SETTINGS | FILES)


def test_the_demo_at_a_running_service_starts_none(tmp_path: Path, nobody: str) -> None:
    modules = loaded(tmp_path, "demo", "--target", nobody)
    # It asks the sandbox bank by HTTP.
    assert not modules & (BOOKS | SERVER | STACK | SETTINGS | FILES | WIRE - {"httpx"})


def test_the_queue_is_asked_of_a_service_first_and_the_books_are_loaded_where_none_answers(
    tmp_path: Path, nobody: str
) -> None:
    assert not loaded(tmp_path, "work", "--help") & (BOOKS | SERVER | WIRE | STACK | SETTINGS)
    modules = loaded(tmp_path, "work", "--target", nobody)
    assert modules >= BOOKS
    assert not modules & SERVER


@pytest.mark.soak
@pytest.mark.parametrize("command", READ_THE_BOOKS)
def test_who_reads_the_books_loads_no_server(tmp_path: Path, command: str) -> None:
    assert not loaded(tmp_path, *command.split()) & (FILES | SERVER | MIGRATING)


def test_a_service_alone_loads_nothing_of_the_stack_for_trials(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "serve")
    assert modules >= SERVER
    assert not modules & (STACK | FILES | MIGRATING | {"service.process.four_eyes", "service.process.inquiries"})


def test_certificates_are_made_without_a_service(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "certificates", "ca")
    assert (tmp_path / "var/certificates/ca.pem").exists()
    assert not modules & (BOOKS | SERVER | STACK | SETTINGS | FILES | {"grpc", "jzb", "bankclient.interface"})


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    group = get_command(cli.app)
    assert isinstance(group, Commands)
    command = group.load(name)
    assert command.name == name
    assert not command.hidden
    assert cli.COMMANDS[name][1] == " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split("\n"))


def test_every_command_of_a_module_is_in_the_list() -> None:
    modules = {module for module, _ in cli.COMMANDS.values()}
    has = {name: module for module in modules for name in get_group(_app(module)).commands}
    assert has == {name: module for name, (module, _) in cli.COMMANDS.items()}


def _app(module: str) -> typer.Typer:
    app = import_module(f"service.process.cli.{module}").app
    assert isinstance(app, typer.Typer)
    return app


@pytest.mark.parametrize(("module", "name"), MENDED)
def test_what_a_user_can_mend_is_an_error_that_there_is(module: str, name: str) -> None:
    assert issubclass(getattr(import_module(module), name), Exception)


def test_the_kinds_of_work_are_those_of_the_ledger_and_in_its_order() -> None:
    assert list(queue.KINDS) == [kind.value for kind in WorkKind]

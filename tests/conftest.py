"""What all tests share: one PostgreSQL for the whole run, and a fresh database for each test.

The server is started by the process that lives longest: pytest itself, or with xdist the one that
hands out the tests, which tells its workers where it is. It dies with that process. The template is
migrated once, by whichever worker needs it first; the tests' databases are copies of it (tests/world/databases.py).
"""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from psycopg import sql

from tests.world.databases import Databases, PostgresServer, new_name

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from embedded import EmbeddedPostgres

SOAK = (
    "embedded/test_embedded.py",
    "faults/test_clocks.py",
    "faults/test_crash.py",
    "faults/test_failover.py",
    "faults/test_late_clearing.py",
    "faults/test_repeats.py",
    "faults/test_resolver.py",
    "faults/test_stopping.py",
    "faults/test_unproven_refusals.py",
    "flows/test_acquiring.py",
    "flows/test_adjusted_breaks.py",
    "flows/test_bound_cards.py",
    "flows/test_card_transfers.py",
    "flows/test_cards.py",
    "flows/test_closing_the_day.py",
    "flows/test_mobiles.py",
    "flows/test_order_numbers.py",
    "flows/test_refund_history.py",
    "flows/test_refund_sources.py",
    "flows/test_returns.py",
    "flows/test_revocations.py",
    "flows/test_same_name.py",
    "flows/test_settle_order.py",
    "flows/test_statements.py",
    "flows/test_suspense.py",
    "flows/test_verification.py",
    "fuzz",
    "ledger/test_scaling.py",
    "ledger/test_writer.py",
    "operation/test_card_secrecy.py",
    "operation/test_cli.py",
    "operation/test_files.py",
    "operation/test_restore.py",
    "operation/test_scrapes.py",
    "operation/test_seal_keys.py",
    "operation/test_spans.py",
    "operation/test_telemetry.py",
    "operation/test_vault.py",
    "operation/test_wheel.py",
    "sandbox/test_process.py",
    "security/test_anchors.py",
    "security/test_children.py",
    "security/test_closed_doors.py",
    "security/test_forged_answers.py",
    "security/test_forged_copies.py",
    "security/test_kept_answers.py",
    "security/test_long_requests.py",
    "simulate/test_seeds.py",
)
"""What is run by `make soak`, beside single tests that are marked so: files and folders whose tests kill processes,
wait for them, or play a marketplace for what only some platforms use. `make test` is to stay under five minutes on
two cores."""

OBSERVABILITY = "observability"
"""The folder that `make test-observability` runs: it needs Prometheus, and minutes."""

TEMPLATE = "jzb_template"
SERVER: pytest.StashKey[EmbeddedPostgres] = pytest.StashKey()
FAILURE = pytest.StashKey[Exception]()

# Only speed is bought here: what a test kills is a server process, never the machine.
QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "1h",
    # Whoever makes or drops a database waits for each connection that has begun and does not go on.
    "authentication_timeout": "5s",
    # A password is of 256 bits of chance here, and each test opens a dozen connections.
    "scram_iterations": "1",
}

# S108 is about names that others can guess; what is made in it has a name of chance, and is ours alone.
IN_MEMORY = Path("/dev/shm")  # noqa: S108
ROOM_BYTES = 4 << 30
"""Files are kept in memory where there is so much room. The tests make and drop thousands of databases, each of
hundreds of files; ext4 looks long for a place where none was deleted just now: a sixth of the run's time.
"""

SHOWN_AT_ONCE = 30
"""So many last lines of a failure's text."""


def _start(config: pytest.Config) -> None:
    """Start the run's server once. A failure is kept for the tests that need a database."""
    if SERVER in config.stash or FAILURE in config.stash:
        return
    folder = Path(tempfile.mkdtemp(prefix="jzb-test-"))
    try:
        # Not at the top: tests that need no database run even where the ledger is broken.
        from embedded import EmbeddedPostgres

        server = EmbeddedPostgres(folder, settings=QUICK)
        server.start()
        _make_logins_quick(server.dsn)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        config.stash[FAILURE] = error
    else:
        config.stash[SERVER] = server


def _make_logins_quick(dsn: str) -> None:
    """Have the owner's password, which initdb has hashed thousands of times, hashed as the settings say."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        password = urlsplit(dsn).password
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))


class _FailuresAtOnce:
    """Shows a failure when it happens: a run that is stopped has no summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when}, {report.duration:.1f} s)", red=True)
            for line in report.longreprtext.splitlines()[-SHOWN_AT_ONCE:]:
                self._terminal.write_line(line)


def _has_room(folder: Path) -> bool:
    """Whether all that tests write fits into a folder, and what they make there can be run."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


# Last: the terminal is there then.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if "TMPDIR" not in os.environ and _has_room(IN_MEMORY):
        # For processes that tests start, too.
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    # What a worker has found is reported by the process that hands out the tests.
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailuresAtOnce(terminal))
    # Opening a key checks the whole of it, which takes longer than all else at the start of a service.
    pkcs12.load_pkcs12 = lru_cache(maxsize=64)(pkcs12.load_pkcs12)


@pytest.hookimpl(optionalhook=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(here).as_posix()
        if any(path == one or path.startswith(f"{one}/") for one in SOAK):
            item.add_marker(pytest.mark.soak)
        if path.startswith(f"{OBSERVABILITY}/"):
            item.add_marker(pytest.mark.observability)
    # The longest first: else one process plays seeds at the end while the others have nothing left.
    items.sort(key=lambda item: "simulate" not in item.path.relative_to(here).parts)


def pytest_collection_finish() -> None:
    """Tell the garbage collector that what is loaded stays, and to look less often: thousands of tests and all modules
    are a twentieth of the run's time, and no garbage. A service does the same (`tune_garbage_collector`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker of xdist where the server is, or why there is none."""
    _start(node.config)
    if SERVER in node.config.stash:
        server = node.config.stash[SERVER]
        node.workerinput["postgres"] = (server.dsn, str(server.data_dir))
    else:
        node.workerinput["postgres"] = repr(node.config.stash[FAILURE])


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        server = config.stash[SERVER]
        server.stop()
        shutil.rmtree(server.data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresServer:
    """The run's PostgreSQL server."""
    if hasattr(pytestconfig, "workerinput"):
        place = pytestconfig.workerinput["postgres"]
        if isinstance(place, str):
            pytest.fail(f"no PostgreSQL for the tests: {place}")
        return PostgresServer(place[0], Path(place[1]))
    _start(pytestconfig)
    if FAILURE in pytestconfig.stash:
        raise pytestconfig.stash[FAILURE]
    server = pytestconfig.stash[SERVER]
    return PostgresServer(server.dsn, server.data_dir)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of a database with the current schema and nothing in it. Connect to copies only."""
    from embedded import let_service_in
    from ledger import migrate

    done = postgres.folder / "template.done"
    with (postgres.folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            postgres.drop(TEMPLATE)
            dsn = postgres.create(TEMPLATE)
            migrate(dsn)
            let_service_in(dsn)
            done.touch()
    return TEMPLATE


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer, migrated_template: str) -> Databases:
    """The databases of this worker's tests."""
    return Databases(postgres, migrated_template)


@pytest.fixture
def database(postgres: PostgresServer, databases: Databases) -> Iterator[str]:
    """The DSN of a database with the current schema and nothing in it, for this test alone."""
    name = databases.take()
    yield postgres.dsn_of(name)
    databases.give_back(name)


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The DSN of a fresh database with nothing in it, for tests of the migrations themselves."""
    name = new_name()
    yield postgres.create(name)
    postgres.drop(name)

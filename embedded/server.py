"""The life of the embedded server: made, started, shared, stopped.

What it promises:

- The folder is enough: data, password (0600), log and lock are in it, and it can be moved while
  nothing runs. A folder of mode 0700 above it is no hindrance.
- One process owns the server: the one that holds the lock on ``owner.lock``, which the kernel
  takes back when that process dies. Whoever else starts it attaches to the running server, and
  `EmbeddedPostgres.attached` says so; the server still ends with its owner.
- The server does not outlive its owner, even one killed with -9: on Linux the kernel then asks it
  for a fast shutdown. Elsewhere the next start finds the orphan and shuts it down first.
- Every wait is bounded, and an error says what to do.

What it must never do: put the password into a log, an error or a command line; delete a cluster
that was ever ready.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from embedded.errors import PostgresNotStarted
from embedded.programs import (
    Credentials,
    Programs,
    check_reach,
    command,
    environment,
    find_credentials,
    find_programs,
    postmaster_lines,
    postmaster_of,
)
from ledger import roles, session

HOST = "127.0.0.1"
ROLE = "jzb"

# Written anew at each start and included by the cluster's postgresql.conf; what a person writes
# there below the include wins.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    # No socket: its path may be 107 bytes long at most, and ours may be longer.
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Base backups and a standby stay possible.
    "wal_level": "replica",
    "max_wal_senders": "10",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %d ",
    # A failed statement, and the DETAIL of its error, may carry what a caller sent.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}

_ADDRESS_TAKEN = re.compile(r"Address already in use|could not create any TCP/IP sockets")
_OLD_BACKENDS_ALIVE = re.compile(r"pre-existing shared memory block")


class EmbeddedPostgres:
    """A PostgreSQL server whose whole state is in ``data_dir``.

    Use it as a context manager (``with`` or ``async with``), or call `start` and `stop`.
    ``database`` is made at the first start and is the one that `dsn` names. ``settings`` are
    added to `SETTINGS` and win over them.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        database: str = "jzb",
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.database = database
        self.attached = False
        """Another process owns the server: it ends with that one, and `stop` leaves it alone."""
        self.owner_pid: int | None = None
        """The process that owns the server, once started."""
        self._settings = {**SETTINGS, **(settings or {})}
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._cluster = self.data_dir / "cluster"
        self._password_file = self.data_dir / "password"
        self._log = self.data_dir / "postgres.log"
        self._programs: Programs | None = None
        self._credentials = Credentials()
        self._lock_fd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._port_before: int | None = None
        self._log_start = 0
        self._deadline = 0.0
        self._given_up = threading.Event()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.data_dir)!r})"

    # -- start and stop

    def start(self) -> None:
        """Return when the server answers: started here, or owned by another process (`attached`).

        Call it from the main thread, because the server dies with the *thread* that started it.
        Raises `PostgresNotStarted`.
        """
        try:
            for step in self._starting():
                step()
        except BaseException:
            self.stop()
            raise

    async def start_async(self) -> None:
        """As `start`, without blocking the loop. Cancelled, it leaves no server and no lock."""
        try:
            for step in self._starting():
                running = asyncio.ensure_future(asyncio.to_thread(step))
                try:
                    await asyncio.shield(running)
                except asyncio.CancelledError:
                    self._given_up.set()
                    await asyncio.wait([running])
                    raise
        except BaseException:
            await asyncio.shield(self.stop_async())
            raise

    def stop(self) -> None:
        """Shut down, first fast, then harder, a server owned here. Harmless when there is none."""
        process, self._process = self._process, None
        if process is not None:
            for request, patience_s in (
                (signal.SIGINT, self._stop_timeout_s),
                (signal.SIGQUIT, 10.0),
                (signal.SIGKILL, 10.0),
            ):
                process.send_signal(request)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patience_s)
                    break
        self._port = self.owner_pid = None
        self.attached = False
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def stop_async(self) -> None:
        """As `stop`, without blocking the loop."""
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop_async()

    @property
    def exists(self) -> bool:
        """Whether a cluster was ever made in the folder; asking makes none."""
        return (self._cluster / "PG_VERSION").exists()

    # -- a started server

    @property
    def running(self) -> bool:
        """Whether a server owned here is still alive; True for one attached to."""
        return self.attached or (self._process is not None and self._process.poll() is None)

    @property
    def port(self) -> int:
        """The TCP port on loopback. The next start takes the same one if it is still free."""
        if self._port is None:
            raise PostgresNotStarted(f"{self!r} is not started: call start() first")
        return self._port

    @property
    def dsn(self) -> str:
        """Where `database` is, for libpq and psycopg, with the password in it: never log it."""
        return self.dsn_of(self.database)

    def dsn_of(self, database: str) -> str:
        """As `dsn`, for another database of the same server."""
        return f"postgresql://{ROLE}:{self._password()}@{HOST}:{self.port}/{quote(database)}"

    def sqlalchemy_dsn(self, database: str | None = None) -> str:
        """As `dsn_of`, in the form that makes SQLAlchemy use psycopg 3."""
        return self.dsn_of(database or self.database).replace("://", "+psycopg://", 1)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database and return its DSN.

        With ``template`` it is a copy of that one, to which nobody may be connected.
        """
        source = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with self._administration() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), source))
        return self.dsn_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if there is one, and end the connections to it."""
        with self._administration() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administration(self) -> psycopg.Connection[tuple[object, ...]]:
        return session.opened_blocking(self.dsn_of("postgres"), {"statement_timeout": "60s"})

    def _password(self) -> str:
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError:
            raise PostgresNotStarted(f"{self._password_file} is gone: restore it from a backup of its folder") from None
        except OSError as error:
            raise PostgresNotStarted(
                f"{self._password_file} cannot be read ({error.strerror}): run as its owner"
            ) from error

    # -- the steps of a start

    def _starting(self) -> Iterator[Callable[[], None]]:
        """The steps: each may block and may run in any thread; what is between them may not."""
        if threading.current_thread() is not threading.main_thread():
            raise PostgresNotStarted("start the embedded PostgreSQL from the main thread: it dies with its thread")
        if self._port is not None:
            raise PostgresNotStarted(f"{self!r} is started already")
        self._given_up.clear()
        self._deadline = time.monotonic() + self._start_timeout_s
        yield self._claim
        if self.attached:
            return
        yield self._prepare
        while self._port is None:
            self._spawn()
            yield self._await_ready
        yield self._announce

    def _claim(self) -> None:
        """Become the owner, or attach to the server of the process that is."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = os.open(self.data_dir / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PostgresNotStarted(
                f"{self.data_dir} cannot be used ({error.strerror}): run as its owner, or choose another folder"
            ) from error
        try:
            while True:
                owner = _read_owner(lock_fd)
                try:
                    fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self._attach(owner):
                        return
                else:
                    self._port_before = owner.get("port")
                    self.owner_pid = os.getpid()
                    _write_owner(lock_fd, {"pid": os.getpid()})
                    self._lock_fd, lock_fd = lock_fd, -1
                    return
                self._pause(
                    f"process {owner.get('pid')} owns {self.data_dir}, but its server does not "
                    "answer: stop that process, then try again"
                )
        finally:
            if lock_fd >= 0:
                os.close(lock_fd)

    def _attach(self, owner: Mapping[str, int]) -> bool:
        if "port" not in owner:
            return False
        self._port = owner["port"]
        try:
            self._administration().close()
        except psycopg.Error:
            self._port = None
            return False
        self.attached, self.owner_pid = True, owner["pid"]
        return True

    def _prepare(self) -> None:
        """Everything up to the server: programs, password, cluster, and no other server on it."""
        self._programs = find_programs()
        self._credentials = find_credentials(self._programs)
        check_reach(self._programs, self._credentials, self.data_dir)
        if not self.exists:
            self._make_cluster(self._programs)
        made_by = (self._cluster / "PG_VERSION").read_text().strip()
        if made_by != str(self._programs.major):
            raise PostgresNotStarted(
                f"{self._cluster} was made by PostgreSQL {made_by}, the programs here are "
                f"{self._programs.major}: carry it over with pg_upgrade, or move the folder away "
                "to start with an empty one"
            )
        self._password()
        # Its files come and go while a server runs, also one that shuts down.
        self._end_orphan()
        self._hand_over()
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))

    def _make_cluster(self, programs: Programs) -> None:
        """Beside its place, renamed when whole: an initdb cut short leaves nothing in use."""
        unfinished = self.data_dir / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        if not self._password_file.exists():
            fd = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(fd, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._hand_over()
        # The same order of text on every machine, whatever locales it has.
        builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        arguments = (
            f"--pgdata={unfinished}",
            f"--username={ROLE}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            *(builtin if programs.major >= 17 else ()),
        )
        try:
            subprocess.run(
                command(programs, self._credentials, "initdb", *arguments),
                env=environment(),
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._start_timeout_s,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise PostgresNotStarted(f"initdb failed in {self.data_dir}: {error.stderr.strip()[-1000:]}") from None
        except subprocess.TimeoutExpired:
            raise PostgresNotStarted(
                f"initdb took over {self._start_timeout_s:.0f} s in {self.data_dir}: is the disk full or stuck?"
            ) from None
        with (unfinished / "postgresql.conf").open("a") as file:
            file.write("\ninclude 'embedded.conf'  # written anew at each start; add yours below\n")
        unfinished.rename(self._cluster)
        folder_fd = os.open(self.data_dir, os.O_RDONLY)
        os.fsync(folder_fd)
        os.close(folder_fd)

    def _hand_over(self) -> None:
        """When root starts the server as another user than last time, the files follow."""
        if os.geteuid() != 0:
            return
        uid, gid = self._credentials.uid, self._credentials.gid
        for folder, _, names in os.walk(self.data_dir):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                if os.lstat(path).st_uid != uid:
                    os.chown(path, uid, gid, follow_symlinks=False)

    def _end_orphan(self) -> None:
        """Whatever serves this cluster has no owner left. It may be shutting down already."""
        asked: signal.Signals | None = None
        while (pid := postmaster_of(self._cluster)) is not None:
            hurry = time.monotonic() > self._deadline - self._start_timeout_s / 2
            request = signal.SIGQUIT if hurry else signal.SIGINT
            if asked is not request:
                asked = request
                with suppress(ProcessLookupError):
                    os.kill(pid, request)
            self._pause(f"an older server (pid {pid}) does not leave {self._cluster}: kill it, then try again")
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _spawn(self) -> None:
        assert self._programs is not None
        port = _free_port(self._port_before)
        self._port_before = None
        settings = "".join(f"{name} = '{value}'\n" for name, value in self._settings.items())
        (self._cluster / "embedded.conf").write_text(f"port = {port}\n{settings}")
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command(self._programs, self._credentials, "postgres", "-D", str(self._cluster)),
                env=environment(),
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C on the terminal is for the owner, who stops the server as its last act.
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        """Set the port when the server is ready; leave it unset when another try may help."""
        assert self._process is not None
        while self._process.poll() is None:
            lines = postmaster_lines(self._cluster)
            mine = len(lines) >= 8 and lines[0] == str(self._process.pid)
            if mine and lines[7].strip() == "ready":
                self._port = int(lines[3])
                return
            self._pause(f"PostgreSQL is not ready after {self._start_timeout_s:.0f} s: see {self._log}")
        self._process = None
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            said = log.read(20_000).decode(errors="replace").strip()
        complaint = f"PostgreSQL ended at once, see {self._log}: {said[-1000:]}"
        if not _ADDRESS_TAKEN.search(said) and not _OLD_BACKENDS_ALIVE.search(said):
            raise PostgresNotStarted(complaint)
        self._pause(complaint, pause_s=0.2)

    def _announce(self) -> None:
        """Make the database if it is new, then tell others on this folder where the server is."""
        assert self._lock_fd is not None
        with self._administration() as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [self.database]).fetchone()
        if known is None:
            self.create_database(self.database)
        _write_owner(self._lock_fd, {"pid": os.getpid(), "port": self.port})

    def _pause(self, complaint: str, pause_s: float = 0.02) -> None:
        """Wait a little; raise when the time is up or the starter has given up."""
        if self._given_up.wait(pause_s) or time.monotonic() > self._deadline:
            raise PostgresNotStarted(complaint)


def as_service(dsn: str) -> str:
    """A database of the embedded server, as the user with a service's rights alone (`ledger.roles`).

    Its password is made of the superuser's, and says nothing of that one. `let_service_in` comes first, once a server.
    """
    parts = urlsplit(dsn)
    password = hashlib.sha256(f"{roles.SERVICE} {parts.password}".encode()).hexdigest()
    hosts = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{roles.SERVICE}:{password}@{hosts}").geturl()


def let_service_in(dsn: str) -> str:
    """Let the role that the migrations have made log in; returns how it reaches the database of ``dsn``."""
    service = as_service(dsn)
    with session.opened_blocking(dsn) as connection:
        alter = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(alter.format(sql.Identifier(roles.SERVICE), urlsplit(service).password))
    return service


def _free_port(preferred: int | None) -> int:
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise PostgresNotStarted(f"no TCP port is free on {HOST}")


def _read_owner(lock_fd: int) -> dict[str, int]:
    """What the owner wrote; empty while it is writing."""
    try:
        owner = json.loads(os.pread(lock_fd, 1000, 0))
    except ValueError:
        return {}
    return {str(name): int(value) for name, value in owner.items()}


def _write_owner(lock_fd: int, owner: Mapping[str, int]) -> None:
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, json.dumps(owner).encode(), 0)

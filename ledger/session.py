"""The session with PostgreSQL: every connection is opened here, and leaves here with the same settings.

DATABASE_URL says where the server is, who we are, and in which schema the books are (search_path in its options). What
else libpq's environment, ALTER ROLE, ALTER DATABASE or postgresql.conf may say about a session is not taken as found:

- a setting that changes what our statements mean, or ends a session that holds a lock, is pinned on every connection;
- what a session cannot change (the encoding, the version) is refused on every connection, by its name;
- what only a writer needs is refused by `require_writable`: a server that takes writes, a session of its own.

Left to whoever runs the server: default_transaction_read_only and recovery, by which a server is fenced off (we refuse,
or wait, and never write past it), synchronous_standby_names, memory, planner and logging, where tables are stored.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from ledger.errors import LedgerUnavailable, LedgerUnfit

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]

ALIVE: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A network or a server that swallows everything is noticed within seconds, not hours."""

OWN: Final[Mapping[str, str]] = {
    "client_encoding": "UTF8",
    # Empty where the URL says nothing, so that PGOPTIONS, PGTARGETSESSIONATTRS and the like of the host do not count.
    "options": "",
    "hostaddr": "",
    "target_session_attrs": "any",
    "sslrootcert": "",
    "sslcrl": "",
    "gssencmode": "disable",
}
"""What a connection asks for in its first message, unless DATABASE_URL names it; the encoding even so."""

PINNED: Final[Mapping[str, str]] = {
    # A value means what was written, in both directions.
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # The triggers that keep the journal append-only fire, and rows that a policy hides are an error, not a smaller sum.
    "session_replication_role": "origin",
    "row_security": "off",
    # A session that holds a lock or a snapshot is not ended behind our back, nor a wait for the platform's turn.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""What every session has, whatever it was given."""

VERIFIED: Final = "verify-full"
"""How a server on another machine is reached, unless DATABASE_URL says otherwise: by TLS, with a certificate for its
name that an authority of ours has signed (sslrootcert in the URL, or ~/.postgresql/root.crt). PGSSLMODE does not count.
"""

MAJOR_MIN: Final = 15
PROBE_S: Final = 3.0
"""For how long a notification of our own is waited for; it takes a millisecond."""

_REMEDY: Final = {
    "server_encoding": "make the database with ENCODING 'UTF8' TEMPLATE template0",
    "server_version": f"PostgreSQL {MAJOR_MIN} or later is needed",
    "search_path": "name the schema of the books in the options of DATABASE_URL, and make it first",
}


_PIN: Final = sql.SQL("""
SELECT
  current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), current_schema(),
  (
    SELECT count(set_config(name, value, false))
    FROM (
      VALUES
        {},
        ('synchronous_commit',
          CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END),
        ('search_path', quote_ident(current_schema()))
    ) AS pinned (name, value)
    WHERE current_setting(name, true) <> value
  )
""")
"""Only what differs is set, since session_replication_role is a superuser's to set, and nothing that an older server
does not know. A commit waits for the disk, or for more if the operator wants more. The schema is the first of the
search path that exists, and no other: tables of two schemas are never mixed.
"""


def pinning(more: Mapping[str, str] | None = None) -> bytes:
    """The statement that pins a session, with ``more`` settings that win over `PINNED`; it returns what it found."""
    settings = {**PINNED, **(more or {})}
    pairs = [sql.SQL("({}, {})").format(name, value) for name, value in settings.items()]
    return _PIN.format(sql.SQL(", ").join(pairs)).as_bytes(None)


def conninfo(dsn: str) -> str:
    """How to reach the server of ``dsn``. Raises `LedgerUnavailable` for one that cannot be read.

    By libpq's own rules, which know several hosts: the service goes on with the one that takes writes.
    """
    given = _given(dsn)
    sslmode = "prefer" if is_local(dsn) else VERIFIED
    own = {**ALIVE, **OWN, "sslmode": sslmode}
    return make_conninfo("", **{**own, **given, "client_encoding": OWN["client_encoding"]})


async def opened(
    dsn: str, settings: Mapping[str, str] | None = None, *, prepare_threshold: int | None = 5
) -> psycopg.AsyncConnection[Any]:
    """A pinned connection that commits by itself, with ``settings`` of its own.

    Raises psycopg's errors, and `LedgerUnfit` for a session that cannot be used.
    """
    connection = await psycopg.AsyncConnection.connect(
        conninfo(dsn), autocommit=True, prepare_threshold=prepare_threshold
    )
    await pin(connection, settings)
    return connection


async def pin(connection: psycopg.AsyncConnection[Any], settings: Mapping[str, str] | None = None) -> None:
    """Pin a connection that commits by itself, or close it. Raises psycopg's errors, `LedgerUnfit`."""
    try:
        cursor = await connection.execute(pinning(settings), prepare=False)
        _require_usable(await cursor.fetchone())
    except psycopg.errors.InsufficientPrivilege as denied:
        await connection.close()
        raise _not_to_be_pinned(denied) from None
    except BaseException:
        await connection.close()
        raise


def opened_blocking(
    dsn: str, settings: Mapping[str, str] | None = None, *, autocommit: bool = True
) -> psycopg.Connection[Any]:
    """As `opened`, for a caller without an event loop."""
    connection = psycopg.connect(conninfo(dsn), autocommit=True)
    try:
        _require_usable(connection.execute(pinning(settings), prepare=False).fetchone())
    except psycopg.errors.InsufficientPrivilege as denied:
        connection.close()
        raise _not_to_be_pinned(denied) from None
    except BaseException:
        connection.close()
        raise
    connection.autocommit = autocommit
    return connection


def _not_to_be_pinned(denied: psycopg.Error) -> LedgerUnfit:
    return LedgerUnfit(f"{denied.diag.message_primary}: have whoever set it for this role or database reset it")


def _require_usable(found: tuple[Any, ...] | None) -> None:
    assert found is not None
    major, encoding, schema, _ = found
    for name, value, is_good, needed in (
        ("server_version", major, major >= MAJOR_MIN, f"{MAJOR_MIN} or later"),
        ("server_encoding", encoding, encoding == "UTF8", "UTF8"),
        ("search_path", "of no schema that exists", schema is not None, "that of the books"),
    ):
        if not is_good:
            raise LedgerUnfit(f"{name} is {value} and must be {needed}: {_REMEDY[name]}")


def require_writable(dsn: str) -> list[str]:
    """Refuse a server on which nothing can be booked safely; returns what weakens its promises, a sentence each.

    Raises `LedgerUnfit` naming the setting, `LedgerUnavailable`.
    """
    try:
        with opened_blocking(dsn) as connection:
            return _require_writable(dsn, connection)
    except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
        raise LedgerUnavailable(f"the ledger's database cannot be reached: {failure}") from None


def _require_writable(dsn: str, connection: psycopg.Connection[Any]) -> list[str]:
    ((is_standby, read_only, pid, fsync, full_page_writes),) = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only'), pg_backend_pid(),"
        " current_setting('fsync'), current_setting('full_page_writes')"
    ).fetchall()
    if is_standby:
        raise LedgerUnfit(
            "transaction_read_only is on and must be off: the server is a standby. Name the primary in DATABASE_URL,"
            " or both with target_session_attrs=read-write"
        )
    if read_only == "on":
        raise LedgerUnfit(
            "default_transaction_read_only is on and must be off: whoever set it for the server, the database or the"
            " role wants nothing written there"
        )
    # A server tells the number of its process when a session begins; a pooler makes one up, in any mode.
    if pid != connection.info.backend_pid and not _is_own_session(dsn, connection):
        raise LedgerUnfit(
            "pool_mode is transaction and must be session: a pooler between here and PostgreSQL gives each transaction"
            " another session. Connect directly, or through a pool in session mode"
        )
    sslmode = conninfo_to_dict(conninfo(dsn))["sslmode"]
    return [
        f"{name} is off: when the server's machine crashes, what callers were told may be lost"
        for name, value in (("fsync", fsync), ("full_page_writes", full_page_writes))
        if value == "off"
    ] + [
        f"sslmode is {sslmode} in DATABASE_URL: whoever is between here and PostgreSQL can read and change everything"
    ] * (sslmode != VERIFIED and not is_local(dsn))


def _is_own_session(dsn: str, connection: psycopg.Connection[Any]) -> bool:
    """Whether what happens to the server's session reaches this connection while it is idle.

    A notification does, at once, if and only if the session is ours also between transactions. Comparing process
    numbers is no proof: a pooler with nothing else to do gives the same one again and again.
    """
    channel = f"jzb_{secrets.token_hex(8)}"
    connection.execute(f"LISTEN {channel}".encode())
    with opened_blocking(dsn) as other:
        other.execute(f"NOTIFY {channel}".encode())
    return any(True for _ in connection.notifies(timeout=PROBE_S, stop_after=1))


def is_local(dsn: str) -> bool:
    """Whether every server of ``dsn`` is on this machine: nobody is between it and us. Raises `LedgerUnavailable`."""
    given = _given(dsn)
    # PGHOST counts where the URL names no server, PGHOSTADDR never does (`OWN`).
    found = given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST", "")
    return all(_is_local(host) for host in str(found).split(","))


def _given(dsn: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        raise LedgerUnavailable(
            "DATABASE_URL is no address of a PostgreSQL: postgresql://user:password@host/database"
        ) from None


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

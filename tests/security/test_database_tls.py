"""Whoever is between the service and PostgreSQL wants the password, and the books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from embedded import EmbeddedPostgres, Programs
from ledger import session
from service.process.certificates import issue, make_ca

REMOTE = "postgresql://ledger:hush@db.example.org/jzb"


def sslmode(dsn: str) -> Any:
    return conninfo_to_dict(session.conninfo(dsn))["sslmode"]


def test_a_server_on_another_machine_is_reached_by_tls_that_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("PGSSLROOTCERT", "theirs.crt")
    assert sslmode(REMOTE) == "verify-full"
    assert not conninfo_to_dict(session.conninfo(REMOTE))["sslrootcert"]
    assert sslmode("postgresql://ledger@127.0.0.1,10.0.0.2/jzb") == "verify-full"
    assert sslmode("host=db.example.org dbname=jzb") == "verify-full"
    assert sslmode("postgresql://ledger@127.0.0.1/jzb") == "prefer"


@pytest.mark.parametrize("said", ["disable", "require", "verify-ca"])
def test_what_the_url_says_counts(said: str) -> None:
    assert sslmode(f"{REMOTE}?sslmode={said}") == said


class MiddleMan:
    """Stands where PostgreSQL is thought to be, offers no TLS, and asks for the password."""

    def __init__(self) -> None:
        self.received = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received += await reader.read(8)
        writer.write(b"N")
        if startup := await reader.read(1024):
            # AuthenticationCleartextPassword
            writer.write(b"R" + (8).to_bytes(4) + (3).to_bytes(4))
            self.received += startup + await reader.read(1024)
        writer.close()


@pytest.fixture
async def middle_man() -> AsyncIterator[MiddleMan]:
    found = MiddleMan()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


@pytest.mark.parametrize("is_local", [True, False])
async def test_no_password_is_told_to_who_has_no_certificate(
    middle_man: MiddleMan, monkeypatch: pytest.MonkeyPatch, *, is_local: bool
) -> None:
    monkeypatch.setattr(session, "is_local", lambda _: is_local)
    with pytest.raises(psycopg.OperationalError):
        async with asyncio.timeout(20.0):
            await session.opened(f"postgresql://ledger:hush@127.0.0.1:{middle_man.port}/jzb")
    # On this machine nobody is in the middle.
    assert (b"hush" in middle_man.received) is is_local


def test_a_weaker_way_is_said_at_every_start(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [line for line in session.require_writable(database) if "sslmode" in line]
    monkeypatch.setattr(session, "is_local", lambda _: False)
    (weakness,) = [
        line for line in session.require_writable(make_conninfo(database, sslmode="disable")) if "sslmode" in line
    ]
    assert weakness.startswith("sslmode is disable in DATABASE_URL")


@pytest.fixture
def server_with_tls(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A PostgreSQL with a certificate for localhost, and the certificate of its authority."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not (programs / "initdb").exists():
        pytest.skip(f"the embedded PostgreSQL has no TLS, and {programs} has no initdb")
    folder = tmp_path / "postgres" / "tls"
    folder.mkdir(parents=True)
    ca, own = make_ca(folder), issue(folder, "localhost", 1)
    settings = {"ssl": "on", "ssl_cert_file": str(own.certificate), "ssl_key_file": str(own.key)}
    with (
        patch("embedded.server.find_programs", lambda: Programs(programs, 15)),
        EmbeddedPostgres(tmp_path / "postgres", settings=settings) as server,
    ):
        yield server, ca.certificate


async def test_a_server_proves_its_name_before_anything_is_said(
    server_with_tls: tuple[EmbeddedPostgres, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ca = server_with_tls
    other = make_ca(tmp_path / "other").certificate
    monkeypatch.setattr(session, "is_local", lambda _: False)
    where = make_conninfo(server.dsn, host="localhost", sslrootcert=str(ca))
    async with await session.opened(where) as connection:
        found = await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await found.fetchone() == (True,)
    for wrong, says in (
        (make_conninfo(where, sslrootcert=str(other)), "SSL error"),
        (make_conninfo(where, host="db.example.org", hostaddr="127.0.0.1"), "does not match host name"),
        (make_conninfo(server.dsn, host="localhost"), "root certificate file"),
    ):
        with pytest.raises(psycopg.OperationalError, match=says):
            await session.opened(wrong)

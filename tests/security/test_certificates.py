"""Certificates that end, that change, and that the environment of the process would like to have believed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bankclient import BankCertificate, BankSettings, canonical_string, sign
from bankclient.connection import Connection, NeverConnected, open_transport, trusted_authorities
from bankclient.errors import CertificateExpired
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.expiry import warn, watched
from service.process.server import running
from tests.bankclient.keys import SUBJECT, certificate, rsa_key
from tests.world.marketplace import LENIENT, Marketplace, service_settings
from tests.world.process import until

DAY = timedelta(days=1)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def test_while_the_bank_changes_its_certificate_both_are_believed_and_nobody_elses() -> None:
    old, new, stranger = rsa_key(), rsa_key(), rsa_key()
    for order in ((old, new), (new, old)):
        bank = BankCertificate.from_bytes(pem(*map(certificate, order)))
        text = canonical_string({"TxnReturnCode": "000000"})
        assert bank.verify(text, sign(old, text))
        assert bank.verify(text, sign(new, text))
        assert not bank.verify(text, sign(stranger, text))


def test_of_several_certificates_one_that_has_ended_proves_nothing_and_stops_nothing() -> None:
    ended, present, coming = rsa_key(), rsa_key(), rsa_key()
    bank = BankCertificate.from_bytes(
        pem(certificate(ended, -30, -1), certificate(present, -30, 5), certificate(coming, 2, 400))
    )
    text = b"A=1&"
    assert [bank.verify(text, sign(key, text)) for key in (ended, present, coming)] == [False, True, False]
    with pytest.raises(CertificateExpired):
        BankCertificate.from_bytes(pem(certificate(ended, -30, -1), certificate(ended, -60, -20)))
    # In a dispute the certificate of that time counts.
    assert BankCertificate.from_bytes(pem(certificate(ended, -30, -1)), any_date=True).verify(text, sign(ended, text))


async def test_payments_go_on_while_the_file_has_the_certificate_of_now_and_the_next_one(
    database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        both = tmp_path / "both.pem"
        present = sandbox.keyring.bank_certificate_path.read_bytes()
        both.write_bytes(pem(certificate(rsa_key(), ends_in_days=4000)) + present)
        given = service_settings(database, sandbox, bank={"bank_certificate_path": str(both)})
        async with (
            running(given) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            shop = Marketplace(database, sandbox, service, channel)
            await shop.buyer("buyer", 1_00)
            assert (await shop.balance("buyer")).available_fen == 1_00
            ends = service.components.bank.certificates_end["bank"]
            assert ends > datetime.now(UTC) + 3999 * DAY


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (31 * DAY, ""),
        (30 * DAY, "a certificate ends within a month"),
        (8 * DAY, "a certificate ends within a month"),
        (7 * DAY, "a certificate ends within a week"),
        (-DAY, "a certificate ends within a week"),
    ],
)
def test_a_certificate_that_ends_is_in_the_log_a_month_and_a_week_before(
    left: timedelta, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    warn({"bank": now + left, "client": now + 400 * DAY}, now)
    logged = capsys.readouterr().out
    assert (said in logged) if said else not logged
    if said:
        assert "certificate=bank" in logged
        assert "client" not in logged


async def test_a_service_says_it_when_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    async with watched(lambda: {"client": datetime.now(UTC) + 3 * DAY}):
        await until(lambda: "within a week" in capsys.readouterr().out, "the log has it")


@asynccontextmanager
async def forged_bank(folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """A server of another's, under a certificate of its own; its port, and that certificate."""
    key, now = rsa_key(), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(SUBJECT)
        .issuer_name(SUBJECT)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "forged.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem(made))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], path


def settings_of(sandbox: Sandbox, **more: Any) -> BankSettings:
    return BankSettings(**{**sandbox.client_settings, **more})


async def post(settings: BankSettings) -> bytes:
    connection = Connection(settings, open_transport(settings, trusted_authorities(settings)))
    try:
        return (await connection.post("/x", b"body")).content
    finally:
        await connection.aclose()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_the_environment_vouches_for_no_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with Sandbox() as sandbox, forged_bank(tmp_path) as (port, path):
        settings = settings_of(sandbox, base_url=f"https://127.0.0.1:{port}", connect_tries=1)
        monkeypatch.setenv(variable, str(path.parent if variable.endswith("DIR") else path))
        with pytest.raises(NeverConnected):
            await post(settings)
        # Whoever is named in the settings may.
        assert await post(settings.model_copy(update={"ca_bundle": path})) == b"{}"


async def test_the_environment_gets_no_keys_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with Sandbox() as sandbox, forged_bank(tmp_path) as (port, path):
        monkeypatch.setenv("SSLKEYLOGFILE", str(log))
        log.unlink(missing_ok=True)
        settings = settings_of(sandbox, base_url=f"https://127.0.0.1:{port}")
        assert await post(settings.model_copy(update={"ca_bundle": path})) == b"{}"
    assert not log.exists()


async def test_no_proxy_of_the_environment_sees_a_payment_and_that_of_the_settings_does(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with listening:
        address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with Sandbox() as sandbox:
            settings = settings_of(sandbox)
            await post(settings)
            assert not seen
            through = settings.model_copy(update={"proxy": address, "base_url": "https://bank.invalid"})
            with pytest.raises(NeverConnected):
                await post(through)
            assert {line.split()[0] for line in seen} == {b"CONNECT"}

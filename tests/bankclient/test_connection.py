"""Did the request leave? The question on which NOT_SENT rests, asked of real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from bankclient import BankConfigError, BankSettings
from bankclient.connection import (
    AnswerLost,
    Connection,
    NeverConnected,
    open_transport,
    trusted_authorities,
)
from bankclient.outcome import ANSWER_BYTES_MAX
from tests.bankclient.keys import SUBJECT, rsa_key

Make = Callable[..., BankSettings]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@asynccontextmanager
async def connect(settings: BankSettings, default_transport: bool = False) -> AsyncIterator[Connection]:
    authorities = trusted_authorities(settings)
    transport = (
        httpx.AsyncHTTPTransport(verify=authorities) if default_transport else open_transport(settings, authorities)
    )
    connection = Connection(settings, transport)
    try:
        yield connection
    finally:
        await connection.aclose()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(4)


def answer(content: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(content), content)


@pytest.fixture(params=["aiohttp", "httpcore"])
def default_transport(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "httpcore")


async def failure(settings: BankSettings, default_transport: bool) -> NeverConnected | AnswerLost:
    async with connect(settings, default_transport) as bank:
        with pytest.raises((NeverConnected, AnswerLost)) as raised:
            await bank.post("/x", b"body")
    assert isinstance(raised.value, NeverConnected | AnswerLost)
    return raised.value


async def test_a_refused_connection_is_tried_again_and_was_never_connected(
    make_settings: Make, default_transport: bool
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = await failure(make_settings(base_url=url), default_transport)
    assert isinstance(error, NeverConnected)
    assert error.tries == 3


async def test_an_unknown_host_was_never_connected(make_settings: Make) -> None:
    settings = make_settings(base_url="https://nowhere.invalid", connect_tries=1)
    assert isinstance(await failure(settings, False), NeverConnected)


@pytest.mark.parametrize("reads", [True, False])
async def test_a_server_that_hangs_up_may_have_the_request(
    make_settings: Make, default_transport: bool, reads: bool
) -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if reads:
            await request_of(reader)
        writer.transport.abort()

    async with server(hang_up) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}")
        error = await failure(settings, default_transport)
    assert isinstance(error, AnswerLost)
    assert connections == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
async def test_a_broken_answer_is_a_lost_one(make_settings: Make, default_transport: bool, sent: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(sent)
        await writer.drain()

    async with server(break_off) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}")
        assert isinstance(await failure(settings, default_transport), AnswerLost)


async def test_a_silent_server_is_a_lost_answer_and_is_not_asked_twice(
    make_settings: Make, default_transport: bool
) -> None:
    requests = 0

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await request_of(reader)
        requests += 1
        await reader.read()

    async with server(stay_silent) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}", timeout_s=0.1)
        error = await failure(settings, default_transport)
    assert isinstance(error, AnswerLost)
    assert requests == 1


async def test_a_dripping_server_ends_at_the_deadline_of_the_whole_answer(
    make_settings: Make,
) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async with server(drip) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}", timeout_s=0.2, connect_timeout_s=0.1)
        assert isinstance(await failure(settings, False), AnswerLost)


async def test_a_server_that_never_accepts_was_never_connected(make_settings: Make) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        # The backlog is filled, so that the next handshake is left without an answer.
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            settings = make_settings(base_url=f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.1, connect_tries=1)
            assert isinstance(await failure(settings, False), NeverConnected)
        finally:
            for filler in fillers:
                filler.close()


async def test_connections_are_kept_and_cookies_are_not(make_settings: Make) -> None:
    connections, cookies = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, cookies
        connections += 1
        try:
            while True:
                cookies += b"cookie" in (await request_of(reader)).lower()
                writer.write(answer(b"{}", b"Set-Cookie: a=b\r\n"))
        except asyncio.IncompleteReadError:
            return

    async with server(serve) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}")
        async with connect(settings) as bank:
            for _ in range(5):
                received = await bank.post("/x", b"body")
                assert (received.status, received.content, received.tries) == (200, b"{}", 1)
    assert (connections, cookies) == (1, 0)


async def test_a_redirect_is_an_answer_and_is_not_followed(make_settings: Make) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 307 Go\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with server(redirect) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}")
        async with connect(settings) as bank:
            assert (await bank.post("/x", b"body")).status == 307


async def test_an_endless_answer_is_cut(make_settings: Make) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b" " * 65536)
                await writer.drain()

    async with server(flood) as port:
        settings = make_settings(base_url=f"http://127.0.0.1:{port}")
        async with connect(settings) as bank:
            received = await bank.post("/x", b"body")
    assert len(received.content) == ANSWER_BYTES_MAX + 1


@pytest.fixture(scope="session")
def server_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = rsa_key()
    now = datetime.now(UTC)
    held = (
        x509.CertificateBuilder()
        .subject_name(SUBJECT)
        .issuer_name(SUBJECT)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + held.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture
async def tls_port(server_certificate: Path) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(b"{}"))
        await writer.drain()

    async with server(serve, context) as port:
        yield port


async def test_a_server_nobody_vouches_for_gets_nothing(make_settings: Make, tls_port: int) -> None:
    settings = make_settings(base_url=f"https://127.0.0.1:{tls_port}", connect_tries=1)
    error = await failure(settings, False)
    assert isinstance(error, NeverConnected)
    assert "Certificate" in str(error)


async def test_a_server_of_another_name_gets_nothing(
    make_settings: Make, tls_port: int, server_certificate: Path
) -> None:
    settings = make_settings(base_url=f"https://localhost:{tls_port}", connect_tries=1, ca_bundle=server_certificate)
    assert isinstance(await failure(settings, False), NeverConnected)


async def test_a_server_of_the_configured_authority_is_trusted(
    make_settings: Make, tls_port: int, server_certificate: Path
) -> None:
    settings = make_settings(base_url=f"https://127.0.0.1:{tls_port}", ca_bundle=server_certificate)
    async with connect(settings) as bank:
        assert (await bank.post("/x", b"body")).content == b"{}"


def test_a_missing_or_empty_ca_bundle_is_named(make_settings: Make, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pem", tmp_path / "empty.pem"):
        if path.name == "empty.pem":
            path.write_bytes(b"")
        with pytest.raises(BankConfigError, match=path.name):
            trusted_authorities(make_settings(ca_bundle=path))

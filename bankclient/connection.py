"""HTTP to the bank: connections kept alive, TLS verified, and one question answered exactly.

Did the request leave? `NeverConnected` promises that no connection stood and not one byte went out;
every other failure is `AnswerLost`. Only the first may be tried again, as the bank cannot have seen
it. A POST must never be repeated behind the caller's back, and no cookie or redirect is
used. What the environment says of proxies, authorities (SSL_CERT_FILE and its like) and keys to be
logged (SSLKEYLOGFILE) does not count: the settings do.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import aiohttp
import certifi
import httpx
import tenacity
from httpx_aiohttp import AiohttpTransport

from bankclient.errors import CertificateMissing, CertificateUnreadable
from bankclient.outcome import ANSWER_BYTES_MAX, Received
from bankclient.settings import BACKOFF_MAX_S, BankSettings

_BACKOFF_FIRST_S: Final = 0.05


Measured: TypeAlias = Callable[[int | None, float], None]
"""Gets the status code of each HTTP request, None where no whole answer came, and how many seconds it took."""


def unmeasured(_: int | None, __: float) -> None:
    """Where nobody measures."""


class NeverConnected(Exception):
    """No connection stood in any try: nothing was sent."""

    def __init__(self, why: str, tries: int) -> None:
        super().__init__(why)
        self.tries = tries


class AnswerLost(Exception):
    """The request left, or may have left, and no whole answer came back."""

    def __init__(self, why: str, tries: int) -> None:
        super().__init__(why)
        self.tries = tries


def trusted_authorities(settings: BankSettings) -> ssl.SSLContext:
    """The authorities that may vouch for the bank's server: nobody where nothing is reached by TLS. Raises
    BankConfigError.
    """
    # Verifies certificates and names. Python's default context would also log keys to SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_bundle is None and not any(
        (url or "").startswith("https:") for url in (settings.base_url, settings.file_url)
    ):
        return context
    try:
        context.load_verify_locations(settings.ca_bundle or certifi.where())
    except ssl.SSLError:
        raise CertificateUnreadable(f"ca_bundle {settings.ca_bundle} is not PEM") from None
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise CertificateMissing(f"cannot open ca_bundle {settings.ca_bundle}: {reason}") from None
    return context


def open_transport(settings: BankSettings, authorities: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """A transport with its own pool; httpx's default costs far more CPU under concurrency."""

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # One more than the calls may use, for the token.
                limit=settings.max_connections + 1,
                keepalive_timeout=settings.keepalive_s,
                ssl=authorities,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    proxy = httpx.Proxy(settings.proxy) if settings.proxy else None
    return AiohttpTransport(verify=authorities, trust_env=False, proxy=proxy, client=session)


class Connection:
    """POSTs to one address over an httpx transport.

    The transport is used without httpx.AsyncClient: its redirects, cookies and proxies are unwanted
    here, and the merging of addresses alone costs a quarter of a call's CPU.
    """

    def __init__(
        self, settings: BankSettings, transport: httpx.AsyncBaseTransport, measured: Measured = unmeasured
    ) -> None:
        self._settings = settings
        self._measured = measured
        self._transport = transport
        self._urls: dict[str, httpx.URL] = {}
        self._headers = httpx.Headers(
            {
                "ApplicationID": settings.app_id,
                "Content-Type": "application/json; charset=UTF-8",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            }
        )
        self._frame_headers = httpx.Headers(
            {"Content-Type": "application/xml;charset=UTF-8", "Accept-Encoding": "identity"}
        )
        limits = httpx.Timeout(
            settings.timeout_s,
            connect=settings.connect_timeout_s,
            pool=settings.connect_timeout_s,
        )
        self._extensions = {"timeout": limits.as_dict()}

    async def post(self, path: str, content: bytes) -> Received:
        """Send one POST to the gateway. Raises NeverConnected after `connect_tries`, or AnswerLost at once."""
        return await self._post(self._url(path), content, self._headers, ANSWER_BYTES_MAX)

    async def post_frame(self, url: str, content: bytes, bytes_max: int) -> Received:
        """Send one POST to the file server, and read no more than just behind `bytes_max`. Raises like `post`."""
        return await self._post(httpx.URL(url), content, self._frame_headers, bytes_max)

    async def _post(self, url: httpx.URL, content: bytes, headers: httpx.Headers, bytes_max: int) -> Received:
        settings = self._settings
        tries = 0
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NeverConnected),
            stop=tenacity.stop_after_attempt(settings.connect_tries),
            wait=tenacity.wait_random_exponential(multiplier=_BACKOFF_FIRST_S, max=BACKOFF_MAX_S),
            reraise=True,
        ):
            with attempt:
                tries += 1
                try:
                    async with asyncio.timeout(settings.connect_timeout_s + settings.timeout_s):
                        status, answer = await self._post_once(url, content, headers, bytes_max)
                except Exception as error:
                    # Any kind: what is not known to come before a connection may come after one.
                    if _before_connection(error):
                        raise NeverConnected(_kind(error), tries) from None
                    raise AnswerLost(_kind(error), tries) from None
                return Received(status, answer, tries)
        raise AssertionError("tenacity ends in a result or an error")

    async def aclose(self) -> None:
        """Close every connection; a request under way ends as AnswerLost."""
        await self._transport.aclose()

    async def _post_once(
        self, url: httpx.URL, content: bytes, headers: httpx.Headers, bytes_max: int
    ) -> tuple[int, bytes]:
        began_s, status = time.perf_counter(), None
        try:
            status, answer = await self._exchanged(url, content, headers, bytes_max)
        finally:
            self._measured(status, time.perf_counter() - began_s)
        return status, answer

    async def _exchanged(
        self, url: httpx.URL, content: bytes, headers: httpx.Headers, bytes_max: int
    ) -> tuple[int, bytes]:
        response = await self._transport.handle_async_request(
            httpx.Request(
                "POST",
                url,
                headers=headers,
                content=content,
                extensions=self._extensions,
            )
        )
        answer = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > bytes_max:
                    break
        finally:
            await response.aclose()
        return response.status_code, bytes(answer[: bytes_max + 1])

    def _url(self, path: str) -> httpx.URL:
        # At most one path an interface, so the table stays small.
        if path not in self._urls:
            self._urls[path] = httpx.URL(self._settings.base_url + path)
        return self._urls[path]


def _before_connection(error: Exception) -> bool:
    # httpx-aiohttp reports a server that hangs up after the request as httpx.ConnectTimeout, so
    # aiohttp's own error below it decides.
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(
            cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
        )
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def _kind(error: Exception) -> str:
    """The kind of an error without its text, which may quote what was sent."""
    cause = error.__cause__
    return type(cause if isinstance(cause, aiohttp.ClientError) else error).__name__

"""One call of the bank, from a typed message to a classified answer (transport.md 2 and 3).

Promises that a `call` returns an `Answer` for whatever the bank or the network does: NOT_SENT only
when no connection ever stood, DONE and REFUSED only on a signed answer, UNKNOWN otherwise. A serial
never changes on the way: tries to connect and the one repetition after a refused token carry the
same CnsmrSeqNo, on which the bank acts once. The client keeps nothing on disk; it must never invent
a serial, and never repeat a request whose outcome is unknown.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx
from opentelemetry import trace

from bankclient.access_token import TokenKeeper
from bankclient.canonical import canonical_string
from bankclient.connection import (
    AnswerLost,
    Connection,
    Measured,
    NeverConnected,
    open_transport,
    trusted_authorities,
    unmeasured,
)
from bankclient.errors import BankError, BankUnavailable, MessageInvalid, ServiceIdMissing
from bankclient.files.download import Download
from bankclient.messages.wire import R_co, Request, to_wire
from bankclient.outcome import CLEAN_REFUSALS, Answer, AnswerOutcome, JudgedAnswer, judge, not_sent, read_token, unknown
from bankclient.serials import is_consumer_serial
from bankclient.settings import BankSettings
from bankclient.signing import BankCertificate, Identity, escape_for_approve
from bankclient.wallclock import BANK_ZONE, wall_clock

REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024

_SDK_TYPE: Final = "api"

_tracer = trace.get_tracer("jzb.bankclient")

Around: TypeAlias = Callable[[str, str | None], AbstractContextManager[Callable[[Answer[Any]], None]]]
"""What is entered around every call, with its interface, or `FILE`, and the serial it was given; what it yields gets
the answer."""

FILE: Final = "file"
"""The download of a file, which has no interface code."""


@contextmanager
def _unobserved(_: str, __: str | None) -> Iterator[Callable[[Answer[Any]], None]]:
    yield lambda _: None


@dataclass(frozen=True)
class _Open:
    """What exists between `start` and `aclose`."""

    identity: Identity
    bank: BankCertificate
    connection: Connection
    signers: ThreadPoolExecutor
    free: asyncio.Semaphore
    free_for_queries: asyncio.Semaphore
    tokens: TokenKeeper
    clean_refusals: frozenset[str]


class _NoneFree(Exception):
    """No connection became free in time."""


class _Closing(Exception):
    """The client was closed while a call prepared its request."""


class BankClient:
    """Speaks with the bank for one platform; one instance a process, shared by all its tasks."""

    def __init__(
        self,
        settings: BankSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        query_serial: Callable[[], Awaitable[str]] | None = None,
        around: Around = _unobserved,
        measured: Measured = unmeasured,
    ) -> None:
        """Take settings; `query_serial` gives a new CnsmrSeqNo to a query called without one.

        ``around`` sees every call: there is no way past it. ``measured`` sees every HTTP request, each try by itself.
        """
        self._around = around
        self._measured = measured
        self._waiting = 0
        self._settings = settings
        self._transport = transport
        self._query_serial = query_serial
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Load and check keys and certificates. Touches no network; raises BankConfigError."""
        settings = self._settings
        identity = Identity.load(settings.pfx_path, settings.pfx_password.get_secret_value())
        bank = BankCertificate.load(settings.bank_certificate_path)
        transport = self._transport or open_transport(settings, trusted_authorities(settings))
        tokens = TokenKeeper(self._approve, settings.token_renew_s, settings.token_retry_s)
        self._open = _Open(
            identity=identity,
            bank=bank,
            connection=Connection(settings, transport, self._measured),
            signers=ThreadPoolExecutor(settings.signing_threads, thread_name_prefix="bank-signer"),
            free=asyncio.Semaphore(settings.max_connections),
            free_for_queries=asyncio.Semaphore(settings.queries_max),
            tokens=tokens,
            clean_refusals=frozenset({*CLEAN_REFUSALS, *settings.clean_refusals}),
        )
        tokens.start()

    @property
    def waiting(self) -> int:
        """How many calls wait for a connection."""
        return self._waiting

    @property
    def certificates_end(self) -> dict[str, datetime]:
        """When the certificates in use expire: `client`, that of the merchant's key, and `bank`."""
        opened = self._opened()
        ours, theirs = opened.identity.certificate, opened.bank.certificate
        return {"client": ours.not_valid_after_utc, "bank": theirs.not_valid_after_utc}

    async def ready(self) -> None:
        """Make sure that an access token is held, so that a call can be sent.

        Raises BankUnavailable when none can be had: then nothing was sent.
        """
        await self._opened().tokens.current()

    async def aclose(self) -> None:
        """Stop renewing the token and close every connection; a call under way ends UNKNOWN."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.tokens.aclose()
            await opened.connection.aclose()
            opened.signers.shutdown(wait=False)

    def service_id(self, request: type[Request[Any]]) -> str:
        """The last part of an interface's address. Raises ServiceIdMissing."""
        service_id = self._settings.service_ids.get(request.code, request.service_id)
        if service_id is None:
            raise ServiceIdMissing(request.code)
        return service_id

    async def call(self, request: Request[R_co], serial: str | None = None) -> Answer[R_co]:
        """Send a request and say what became of it.

        The serial must be stored before, and the same one given to every repetition; only a query
        may go without. Raises MessageInvalid or ServiceIdMissing for what can never be sent; bank
        and network trouble is an outcome. When the task is cancelled, the outcome is unknown.
        """
        with self._around(request.code, serial) as answered:
            answer = await self._call(request, serial)
            answered(answer)
        return answer

    async def _call(self, request: Request[R_co], serial: str | None) -> Answer[R_co]:
        opened = self._opened()
        path = f"/api/group/{self.service_id(type(request))}"
        serial = await self._checked_serial(request, serial)
        # A query waits among queries, and only then among all.
        places = (opened.free,) if request.changes else (opened.free_for_queries, opened.free)
        taken: list[asyncio.Semaphore] = []
        try:
            await self._take(places, taken)
            # Made no earlier: thousands may wait for a connection.
            return await self._exchange(opened, request, path, self._fields(request, serial))
        except _NoneFree:
            return not_sent("no connection became free in time", 0)
        finally:
            for place in taken:
                place.release()

    async def _take(self, places: Sequence[asyncio.Semaphore], taken: list[asyncio.Semaphore]) -> None:
        """Raises `_NoneFree`; what was taken until then is in the list."""
        if not any(place.locked() for place in places):
            # A timer is made only for who has to wait.
            for place in places:
                await place.acquire()
                taken.append(place)
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.pool_timeout_s):
                for place in places:
                    await place.acquire()
                    taken.append(place)
        except TimeoutError:
            raise _NoneFree from None
        finally:
            self._waiting -= 1

    async def _exchange(
        self, opened: _Open, request: Request[R_co], path: str, fields: dict[str, object]
    ) -> Answer[R_co]:
        """Send a request, and once more if the bank refuses the access token."""
        try:
            token = await opened.tokens.current()
        except BankUnavailable as error:
            return not_sent(f"no access token could be had: {error}", 0)
        verdict = await self._send(opened, request, path, fields | {"AppAccessToken": token})
        answer = verdict.answer
        if not verdict.token_refused:
            return answer
        try:
            token = await opened.tokens.after_refusal_of(token)
        except BankUnavailable as error:
            return replace(answer, detail=f"{answer.detail}; no other could be had: {error}")
        again = (await self._send(opened, request, path, fields | {"AppAccessToken": token})).answer
        tries = answer.attempts + again.attempts
        if again.outcome is AnswerOutcome.NOT_SENT:
            # The first answer was not signed, so it does not prove that the bank did nothing.
            return unknown(f"{answer.detail}; then {again.detail}", tries, answer.code)
        return replace(again, attempts=tries)

    @property
    def file_text_bytes_max(self) -> int:
        """The largest text that is unpacked out of a reconciliation file."""
        return self._settings.file_text_bytes_max

    async def download(self, path: str, draw_code: str) -> bytes:
        """Fetch one encrypted file from the file server. Raises FileError's family or BankUnavailable."""
        opened = self._opened()
        with self._around(FILE, None) as answered:
            try:
                content = await Download(
                    self._settings, opened.tokens, opened.connection.post_frame, path, draw_code
                ).run()
            except BankError as error:
                answered(unknown(f"the file did not come: {type(error).__name__}", 1))
                raise
            answered(Answer(AnswerOutcome.DONE, "", "", f"a file of {len(content)} bytes", 1))
        return content

    async def _send(
        self, opened: _Open, request: Request[R_co], path: str, fields: dict[str, object]
    ) -> JudgedAnswer[R_co]:
        try:
            content = await _signed(opened, fields)
            received = await opened.connection.post(path, content)
        except _Closing:
            return JudgedAnswer(not_sent("the client is closing", 0))
        except NeverConnected as error:
            return JudgedAnswer(not_sent(f"no connection: {error}", error.tries))
        except AnswerLost as error:
            return JudgedAnswer(unknown(f"no answer: {error}", error.tries))
        verdict = judge(request, str(fields["CnsmrSeqNo"]), received, opened.bank, opened.clean_refusals)
        if verdict.token_ageing:
            opened.tokens.renew_soon()
        return verdict

    async def _approve(self) -> str:
        """Ask for an access token (approveDev). Raises BankUnavailable."""
        opened = self._opened()
        signed = {
            "ApplicationID": self._settings.app_id,
            "RandomNumber": f"{secrets.randbelow(10**6):06d}",
            "SDKType": _SDK_TYPE,
        }
        signature = opened.identity.sign(canonical_string(signed))
        content = json.dumps(
            signed
            | {
                "RsaSign": escape_for_approve(signature),
                "DN": opened.identity.distinguished_name(self._settings.dn_style).replace("=", "%3D"),
                "PK": escape_for_approve(opened.identity.public_key_text),
            },
            ensure_ascii=False,
        ).encode("utf-8")
        try:
            received = await opened.connection.post("/api/approveDev", content)
        except (NeverConnected, AnswerLost) as error:
            raise BankUnavailable(f"the bank does not answer: {error}") from None
        return read_token(received, opened.bank)

    def _fields(self, request: Request[R_co], serial: str) -> dict[str, object]:
        settings = self._settings
        now = wall_clock().astimezone(BANK_ZONE)
        return {
            **settings.extra_public_fields,
            "ApplicationID": settings.app_id,
            "CnsmrSeqNo": serial,
            "FundSummaryAcctNo": settings.fund_summary_acct_no,
            "MrchCode": settings.mrch_code,
            "SDKType": _SDK_TYPE,
            "TxnCode": f"{settings.txn_code_prefix}{request.code}",
            "TxnTime": f"{now:%Y%m%d%H%M%S}000",
            **to_wire(request),
        }

    async def _checked_serial(self, request: Request[R_co], serial: str | None) -> str:
        if serial is None:
            if request.changes:
                raise MessageInvalid(f"interface {request.code} needs a stored serial")
            if self._query_serial is None:
                raise MessageInvalid("a query without a serial needs the client's query_serial")
            serial = await self._query_serial()
        if not is_consumer_serial(serial, self._settings.uid):
            raise MessageInvalid("a serial is 22 letters and digits and begins with the uid")
        return serial

    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the bank client is not started")
        return self._open


async def _signed(opened: _Open, fields: dict[str, object]) -> bytes:
    span = _tracer.start_span("sign") if trace.get_current_span().is_recording() else trace.INVALID_SPAN
    try:
        # RSA takes a third of a millisecond, which the event loop must not lose.
        signing = asyncio.get_running_loop().run_in_executor(opened.signers, _sign, opened.identity, fields)
    except RuntimeError:
        raise _Closing from None
    try:
        return await signing
    finally:
        span.end()


def _sign(identity: Identity, fields: dict[str, object]) -> bytes:
    signed = fields | {"RsaSign": identity.sign(canonical_string(fields))}
    content = json.dumps(signed, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    if len(content) > REQUEST_BYTES_MAX:
        raise MessageInvalid("the request is longer than 2 MiB")
    return content

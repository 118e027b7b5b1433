"""Who calls: the name in the certificate of a connection, and the person whom a token names.

A service is known by the SPIFFE URI of its certificate, else by its first DNS name; gRPC has checked the certificate
against the client CA when the connection began, and here its end and its revocation are looked at with each call. A
person is known by the subject of an OIDC token, which is checked whole or refused: a call with a wrong token is never
taken for one without.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bankclient import wall_clock
from service import problems
from service.policy import LOCAL
from service.rpc.context import Context
from service.settings import OidcSettings
from service.telemetry import events

LEEWAY_S = 30.0
"""By how much the clock of the token's issuer may differ."""

KEYS_LIFE_S = 600.0
"""After so long the issuer's keys are read again."""

KEYS_OLD_S = 3600.0
"""Keys that could not be read again for so long are not used any more."""

KEYS_AGAIN_S = 10.0
"""Between two readings at least, however many tokens name a key that is not known."""

KEYS_TIMEOUT_S = 5.0
KEYS_BYTES_MAX = 256 * 1024
TOKEN_BYTES_MAX = 8 * 1024
HOST = re.compile(r"[A-Za-z0-9_*.-]{1,253}")
"""What a DNS name of a certificate has to look like."""

KEPT_MAX = 10_000
"""Certificates, and tokens, that are remembered; beyond this it starts afresh."""


class Caller(NamedTuple):
    """``name`` is the service that calls; ``person`` the one it acts for, or empty."""

    name: str
    person: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a call needs of a client's certificate: times are seconds since 1970, ``digest`` is its SHA-256."""

    name: str
    begins_s: float
    ends_s: float
    digest: str

    @classmethod
    @lru_cache(maxsize=KEPT_MAX)
    def of(cls, pem: bytes) -> Certificate:
        """Reads a certificate in PEM. Its name is empty when it has none that counts."""
        found = x509.load_pem_x509_certificate(pem)
        return cls(
            _name_of(found),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
            found.fingerprint(hashes.SHA256()).hex(),
        )


def _name_of(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    spiffe = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith("spiffe://")]
    if len(spiffe) > 1:
        # SPIFFE allows one; which of several is meant nobody can say.
        return ""
    found = [*spiffe, *names.get_values_for_type(x509.DNSName)]
    if not spiffe and found and not (HOST.fullmatch(found[0]) and found[0] != LOCAL):
        # Whoever may have a certificate for a host is not to be taken for what only looks like one.
        return ""
    return found[0] if found and found[0].isascii() and found[0].isprintable() and " " not in found[0] else ""


class Identities:
    """One process's. Without ``asks_certificates`` every connection is the local caller's."""

    def __init__(self, *, asks_certificates: bool, oidc: OidcSettings | None) -> None:
        self._asks = asks_certificates
        self._tokens = None if oidc is None else Tokens(oidc)

    def certificate(self, context: Context) -> Certificate | None:
        """The certificate of the call's connection, None where none is asked for. Raises `Problem`."""
        if not self._asks:
            return None
        presented: Iterable[bytes] = context.auth_context().get("x509_pem_cert", ())
        for pem in presented:
            known = Certificate.of(pem)
            if not known.name:
                raise problems.caller_unknown("its certificate has no SPIFFE URI and no DNS name, or several URIs")
            if not known.begins_s <= wall_clock().timestamp() <= known.ends_s:
                raise problems.caller_unknown(f"the certificate of {known.name} has ended since it connected")
            return known
        raise problems.caller_unknown("its connection has no certificate")

    async def person(self, context: Context) -> str:
        """Whom the call's token names; empty without a token. Raises `Problem` for one that is not right."""
        values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if not values:
            return ""
        if len(values) > 1 or not isinstance(values[0], str):
            raise problems.caller_unknown("it has more than one authorization")
        kind, _, token = values[0].partition(" ")
        if kind.lower() != "bearer" or not token:
            raise problems.caller_unknown("its authorization is no bearer token")
        if self._tokens is None:
            raise problems.caller_unknown("it has a token, and this service takes none (JZB_OIDC__ISSUER)")
        return await self._tokens.subject(token)


class Tokens:
    """Checks tokens of one issuer, for one audience, by its keys (JWKS)."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at_s = self._tried_at_s = float("-inf")
        self._reading = asyncio.Lock()
        self._known: dict[str, tuple[str, float, float]] = {}

    async def subject(self, token: str) -> str:
        """Whom a token names. Raises `Problem`."""
        known = self._known.get(token)
        if known is not None and wall_clock().timestamp() < known[1] and time.monotonic() < known[2]:
            return known[0]
        if len(token) > TOKEN_BYTES_MAX:
            raise problems.caller_unknown("its token is too long")
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            key = await self._key(key_id if isinstance(key_id, str) else "")
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self._settings.algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as wrong:
            # What it says quotes nothing of the token but the name of an algorithm or of a claim.
            raise problems.caller_unknown(f"its token is not right: {type(wrong).__name__}") from None
        subject = claims["sub"]
        if not (1 <= len(subject) <= 200 and subject.isascii() and subject.isprintable() and " " not in subject):
            raise problems.caller_unknown("the subject of its token is longer than 200 characters or not plain")
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[token] = (subject, float(claims["exp"]) + LEEWAY_S, self._read_at_s + KEYS_LIFE_S)
        return str(subject)

    async def _key(self, key_id: str) -> jwt.PyJWK:
        now_s = time.monotonic()
        if now_s - self._read_at_s > KEYS_LIFE_S or key_id not in self._keys:
            async with self._reading:
                if time.monotonic() - self._tried_at_s > KEYS_AGAIN_S:
                    await self._read()
        if time.monotonic() - self._read_at_s > KEYS_OLD_S:
            raise problems.caller_unknown("the keys of the token's issuer cannot be read (JZB_OIDC__JWKS)")
        if key_id not in self._keys:
            raise problems.caller_unknown("its token is signed by no key of the issuer (JZB_OIDC__JWKS)")
        return self._keys[key_id]

    async def _read(self) -> None:
        self._tried_at_s = time.monotonic()
        try:
            keys = jwt.PyJWKSet.from_json(await _fetched(self._settings.jwks)).keys
        except (jwt.PyJWTError, OSError, ValueError, RecursionError, httpx.HTTPError) as failure:
            events.TOKEN_KEYS_NOT_READ.log(why=type(failure).__name__)
            return
        # A shared secret among them would let whoever can check tokens make them.
        self._keys = {key.key_id or "": key for key in keys if key.key_type != "oct"}
        self._read_at_s = time.monotonic()


async def _fetched(place: str) -> str:
    if not place.startswith(("http://", "https://")):
        return await asyncio.to_thread(Path(place).read_text, "utf-8")
    async with (
        httpx.AsyncClient(timeout=KEYS_TIMEOUT_S, trust_env=False, follow_redirects=False) as client,
        client.stream("GET", place) as answer,
    ):
        answer.raise_for_status()
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > KEYS_BYTES_MAX:
                raise ValueError("too long")
        return body.decode("utf-8")

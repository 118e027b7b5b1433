"""A service whose port is locked, callers with certificates of their own, and an issuer of tokens.

The certificates are those that `jzb certificates` makes; the issuer signs as any OpenID Connect provider does.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from sandbox.clock import BankClock
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process import certificates
from service.process.certificates import Files, files_of, issue, make_ca
from service.process.server import Service, running
from tests.world.marketplace import LENIENT, Marketplace, service_settings

OPERATOR = "spiffe://test/operator"
"""A caller that may do everything, and prepares what a test needs."""

EVERY_SCOPE = (
    "money.pay",
    "money.refund",
    "money.withdraw",
    "member.write",
    "card.write",
    "manual",
    "approve",
    "read.all",
    "audit",
    "files",
    "admin",
)


def given(name: str, *scopes: str, table: str = "callers", **more: Any) -> str:
    """A table of a policy file; a caller has all members and the default namespace unless it is said otherwise."""
    values: dict[str, Any] = {"scopes": list(scopes), "members": ["*"], **more}
    if table == "callers":
        values.setdefault("namespace", "")
    return f'[{table}."{name}"]\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()) + "\n"


EVERYTHING = given(OPERATOR, *EVERY_SCOPE)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = make_ca(folder)

    def issue(self, name: str, days: int = 30) -> Files:
        """A certificate, new or renewed. With days below 0 one that has ended."""
        with patch.object(certificates, "BEFORE", timedelta(days=400) if days < 0 else certificates.BEFORE):
            return issue(self.folder, name, days)

    def settings(self) -> dict[str, Any]:
        """A service's settings: mutual TLS with a certificate for localhost."""
        server = self.issue("localhost")
        return {
            "tls_certificate": server.certificate,
            "tls_key": server.key,
            "tls_client_ca": self.ca.certificate,
        }

    def credentials(self, name: str = "") -> grpc.ChannelCredentials:
        """Of a client that trusts this authority, with the certificate of this name or without any."""
        trusted = self.ca.certificate.read_bytes()
        if not name:
            return grpc.ssl_channel_credentials(trusted)
        files = files_of(self.folder, name)
        if not files.key.exists():
            self.issue(name)
        return grpc.ssl_channel_credentials(trusted, files.key.read_bytes(), files.certificate.read_bytes())


class Locked:
    """A running service with mutual TLS and a policy."""

    def __init__(
        self, dsn: str, sandbox: Sandbox, service: Service, authority: Authority, policy: Path, stack: AsyncExitStack
    ) -> None:
        self.dsn = dsn
        self.sandbox = sandbox
        self.service = service
        self.authority = authority
        self.policy = policy
        self._stack = stack
        self._shops = itertools.count(1)

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"localhost:{self.service.port}"

    async def channel(self, name: str, token: str = "") -> grpc.aio.Channel:
        """A connection of this caller, which brings the token with each call if there is one."""
        credentials = self.authority.credentials(name)
        if token:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
        channel = grpc.aio.secure_channel(self.target, credentials)
        return await self._stack.enter_async_context(channel)

    async def shop(self, name: str, token: str = "") -> Marketplace:
        """The marketplace as this caller reaches it. Its request ids are those of no other shop."""
        shop = Marketplace(self.dsn, self.sandbox, self.service, await self.channel(name, token))
        shop._numbers = itertools.count(next(self._shops) * 1_000_000)
        return shop

    def rewrite(self, *tables: str) -> None:
        """Put another policy in place of the one there is."""
        draft = self.policy.with_suffix(".new")
        draft.write_text("\n".join(tables), "utf-8")
        draft.replace(self.policy)


@asynccontextmanager
async def locked(
    dsn: str, folder: Path, *tables: str, clock: BankClock | None = None, **settings: Any
) -> AsyncIterator[Locked]:
    """A service with mutual TLS and this policy; the operator may do everything. ``clock`` is the bank's."""
    authority = Authority(folder / "certificates")
    policy = folder / "policy.toml"
    policy.write_text(EVERYTHING + "\n".join(tables), "utf-8")
    async with (
        Sandbox(SandboxSettings(**LENIENT), clock) as sandbox,
        running(service_settings(dsn, sandbox, **{**authority.settings(), "policy": policy, **settings})) as service,
        AsyncExitStack() as stack,
    ):
        assert await service.components.clearing.enter_opening_balance()
        yield Locked(dsn, sandbox, service, authority, policy, stack)


ISSUER = "https://login.test.example"
AUDIENCE = "jzb-ledger"


class Issuer:
    """Signs tokens, and publishes its keys in a file."""

    def __init__(self, folder: Path) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.curve = ec.generate_private_key(ec.SECP256R1())
        self.jwks = folder / "jwks.json"
        self.publish(one=RSAAlgorithm.to_jwk(self.key.public_key()), two=ECAlgorithm.to_jwk(self.curve.public_key()))

    def publish(self, **keys: str) -> None:
        """Say which keys are its own."""
        self.jwks.write_text(json.dumps({"keys": [{**json.loads(key), "kid": name} for name, key in keys.items()]}))

    @property
    def settings(self) -> dict[str, Any]:
        """A service's settings."""
        return {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(self.jwks)}

    def claims(self, subject: str, **more: Any) -> dict[str, Any]:
        """What a right token says; None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str, **more: Any) -> str:
        """A token signed with its key."""
        return jwt.encode(self.claims(subject, **more), self.key, "RS256", {"kid": "one"})

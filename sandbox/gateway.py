"""The gateway in front of the bank: who may enter, and whose signature stands under what.

Verifies approveDev and every request by the merchant's registered key (transport.md 1.3, 2.3, 2.4),
and gives out access tokens. They live in memory: after a restart a client is told OPEN-E-100073 and
gets a new one. Gateway errors go out unsigned (3.2). It must never look into the business of a
request.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bankclient.canonical import canonical_string
from bankclient.errors import MessageInvalid
from bankclient.signing import unescape_from_approve
from sandbox import codes
from sandbox.errors import GatewayRefusal
from sandbox.keys import Keyring
from sandbox.settings import SandboxSettings

APPROVE_SIGNED: Final = ("ApplicationID", "RandomNumber", "SDKType")
TOKENS_KEPT: Final = 10_000

_RANDOM: Final = re.compile(r"[0-9]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived, acted on or not. `at` is the bank's local time, ISO 8601."""

    service_id: str
    serial: str
    at: str


class Gateway:
    """Tokens and signatures of one platform."""

    def __init__(
        self,
        settings: SandboxSettings,
        keyring: Keyring,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._monotonic = monotonic
        self._tokens: dict[str, float] = {}

    def approve(self, body: Mapping[str, Any]) -> dict[str, object]:
        """approveDev: a token for the holder of the registered key; the answer, not yet signed."""
        signed = {name: body.get(name) for name in APPROVE_SIGNED}
        if signed["ApplicationID"] != self._settings.application_id:
            raise GatewayRefusal(codes.APPLICATION_UNKNOWN)
        key = "".join(unescape_from_approve(str(body.get("PK", ""))).split())
        signature = unescape_from_approve(str(body.get("RsaSign", "")))
        random = signed["RandomNumber"]
        if (
            key != self._keyring.merchant_public_key_text
            or not isinstance(random, str)
            or not _RANDOM.fullmatch(random)
            or not self._is_signed(signed, signature)
        ):
            raise GatewayRefusal(codes.SIGNATURE_REJECTED)
        return {
            "errorCode": codes.GATEWAY_OK,
            "errorMsg": codes.GATEWAY_MESSAGES[codes.GATEWAY_OK],
            "appAccessToken": self._new_token(),
        }

    def admit(self, body: Mapping[str, Any]) -> None:
        """Let a business request pass, or raise `GatewayRefusal`."""
        if body.get("ApplicationID") != self._settings.application_id:
            raise GatewayRefusal(codes.APPLICATION_UNKNOWN)
        token = body.get("AppAccessToken")
        if not token:
            raise GatewayRefusal(codes.TOKEN_MISSING)
        if not self.is_token(str(token)):
            raise GatewayRefusal(codes.TOKEN_WRONG)
        if not self._is_signed(body, str(body.get("RsaSign", ""))):
            raise GatewayRefusal(codes.SIGNATURE_REJECTED)

    def is_token(self, token: str) -> bool:
        """Whether a token was given out and is still good."""
        return self._tokens.get(token, 0.0) > self._monotonic()

    def expire_tokens(self) -> None:
        """Forget every token."""
        self._tokens.clear()

    def _is_signed(self, body: Mapping[str, Any], signature: str) -> bool:
        try:
            content = canonical_string(body)
        except MessageInvalid:
            return False
        return self._keyring.merchant.verify(content, signature)

    def _new_token(self) -> str:
        token = secrets.token_hex(16).upper()
        now = self._monotonic()
        if len(self._tokens) >= TOKENS_KEPT:
            self._tokens = {one: end for one, end in self._tokens.items() if end > now}
        self._tokens[token] = now + self._settings.token_life_s
        return token

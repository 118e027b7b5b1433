"""The vault: personal values sealed with AES-256-GCM under keys from the settings, and digests to recognise them by.

What is sealed is bound to the row it is for, so that a sealed value copied elsewhere does not open. Of the keys the
first seals; the others open what was sealed before, until `rotate` has put everything under the first. Digests are
HMAC-SHA256 under a key of their own: who has the database alone can neither open a value nor try numbers against it.
Digests of requests (`service.path.fingerprint`) are in the sealed journal, which `rotate` cannot write to: a key under
which any was made is retired and not thrown away. A retired key recognises them, and opens no personal value.
Signed answers of the bank (`ledger.answers`) are kept for ever as well, and open under a retired key too.
No value, and no key, is ever part of an error, a log line or a span.

    VaultError
    ├── VaultKeyWrong      a key in the settings is not 32 bytes in Base64
    ├── VaultClosed        there is no key in the settings
    ├── VaultKeyMissing    a value was sealed with a key that the settings do not have
    └── SealBroken         a sealed value was changed, or belongs to another row
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger import Card, Cards
from ledger.names import MemberCode

KEY_BYTES = 32
KEY_ID_BYTES = 6
NONCE_BYTES = 12
ROTATE_BATCH = 200


class VaultError(Exception):
    """Anything the vault cannot do."""


class VaultKeyWrong(VaultError):
    """A key that is none."""


class VaultClosed(VaultError):
    """Nothing can be sealed or opened."""


class VaultKeyMissing(VaultError):
    """The key of an older value is gone from the settings."""


class SealBroken(VaultError):
    """The value is not what was sealed for this place."""


@dataclass(frozen=True, slots=True)
class Personal:
    """What the bank was told of a card and its holder when it was bound."""

    number: str
    holder: str
    identity_type: str
    identity_number: str
    mobile: str

    def __repr__(self) -> str:
        return "Personal(***)"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value, the key it is under, and the digest of the card's number under that key."""

    key_id: str
    digest: bytes
    content: bytes


class _Key:
    def __init__(self, secret: bytes) -> None:
        def derived(purpose: bytes, length: int) -> bytes:
            return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"jzb vault " + purpose).derive(secret)

        self.key_id = derived(b"name", KEY_ID_BYTES).hex()
        self.cipher = AESGCM(derived(b"seal", KEY_BYTES))
        self._digest_key = derived(b"digest", KEY_BYTES)
        self.answer_cipher = AESGCM(derived(b"answer", KEY_BYTES))
        # Every payment has one: a copy of what the key has made is the quicker way.
        self._fingerprint = hmac.new(derived(b"fingerprint", KEY_BYTES), digestmod="sha256")
        self._decision_key = derived(b"decision", KEY_BYTES)

    def digest(self, value: str) -> bytes:
        return hmac.digest(self._digest_key, value.encode(), "sha256")

    def fingerprint(self, content: bytes) -> bytes:
        digest = self._fingerprint.copy()
        digest.update(content)
        return digest.digest()

    def decision(self, content: bytes) -> bytes:
        return hmac.digest(self._decision_key, content, "sha256")


class Vault:
    """Seals and opens for one platform. Raises `VaultKeyWrong` for a key that is none."""

    def __init__(self, keys: Sequence[str], platform: str, retired: Sequence[str] = ()) -> None:
        self._keys = [_Key(key_bytes(text)) for text in keys]
        self._recognising = {key.key_id: key for key in (*self._keys, *(_Key(key_bytes(text)) for text in retired))}
        self.platform = platform

    @property
    def is_open(self) -> bool:
        """Whether there is a key at all."""
        return bool(self._keys)

    @property
    def key_id(self) -> str:
        """The name of the key that seals. Raises `VaultClosed`."""
        return self._current.key_id

    @property
    def key_ids(self) -> frozenset[str]:
        """The names of the keys that open personal values."""
        return frozenset(key.key_id for key in self._keys)

    def knows(self, key_id: str) -> bool:
        """Whether what is under that key can be opened, and recognised by its digest."""
        return any(key.key_id == key_id for key in self._keys)

    def seal(self, value: Personal, binding: str) -> Sealed:
        """Seal a value for one place (the id of its row). Raises `VaultClosed`."""
        content = self.enclose(json.dumps(asdict(value), ensure_ascii=False).encode(), binding)
        return Sealed(self.key_id, self.digest(value.number), content)

    def open(self, key_id: str, content: bytes, binding: str) -> Personal:
        """The value that was sealed for this place. Raises `VaultKeyMissing`, `SealBroken`."""
        return Personal(**json.loads(self.disclose(key_id, content, binding)))

    def enclose(self, plain: bytes, binding: str) -> bytes:
        """Seal any bytes for one place, under the key that seals. Raises `VaultClosed`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._current.cipher.encrypt(nonce, plain, self._context(binding))

    def disclose(self, key_id: str, content: bytes, binding: str) -> bytes:
        """The bytes that were sealed for this place. Raises `VaultKeyMissing`, `SealBroken`."""
        key = self._named(key_id)
        try:
            return key.cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], self._context(binding))
        except InvalidTag:
            raise SealBroken(f"what is sealed for {binding} was changed, or sealed for another place") from None

    def sign_decision(self, content: str) -> bytes:
        """A MAC over what somebody has decided, with the key's name before it. Raises `VaultClosed`."""
        return bytes.fromhex(self.key_id) + self._current.decision(self._context(content))

    def knows_decision(self, content: str, mac: bytes) -> bool:
        """Whether `sign_decision` has made this MAC, under any key of the settings."""
        key_id, digest = mac[:KEY_ID_BYTES].hex(), mac[KEY_ID_BYTES:]
        keys = [key for key in self._keys if key.key_id == key_id]
        return any(hmac.compare_digest(key.decision(self._context(content)), digest) for key in keys)

    def digest(self, value: str) -> bytes:
        """The digest of a number under the key that seals. Raises `VaultClosed`."""
        return self._current.digest(value)

    def digests(self, value: str) -> list[bytes]:
        """The digests of a number under every key: under one of them an older row may be found."""
        return [key.digest(value) for key in self._keys]

    def fingerprint(self, key_id: str, content: bytes) -> bytes:
        """The digest of a request's content under that key, be it a retired one. Raises `VaultKeyMissing`."""
        return self._recognised(key_id).fingerprint(content)

    def seal_answer(self, digest: bytes, signed: bytes) -> tuple[str, bytes]:
        """Seal what the bank has signed, bound to its digest; returns the key's name as well. Raises `VaultClosed`."""
        nonce = os.urandom(NONCE_BYTES)
        key = self._current
        return key.key_id, nonce + key.answer_cipher.encrypt(nonce, signed, self._context(f"answer {digest.hex()}"))

    def open_answer(self, key_id: str, digest: bytes, content: bytes) -> bytes:
        """What the bank has signed, under a retired key too. Raises `VaultKeyMissing`, `SealBroken`."""
        context = self._context(f"answer {digest.hex()}")
        try:
            return self._recognised(key_id).answer_cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], context)
        except InvalidTag:
            raise SealBroken(f"the answer {digest.hex()} was changed, or is another one") from None

    def _recognised(self, key_id: str) -> _Key:
        if key_id not in self._recognising:
            raise VaultKeyMissing(f"the key {key_id} is in neither JZB_VAULT__KEYS nor JZB_VAULT__RETIRED_KEYS")
        return self._recognising[key_id]

    def _named(self, key_id: str) -> _Key:
        key = next((one for one in self._keys if one.key_id == key_id), None)
        if key is None:
            raise VaultKeyMissing(f"the key {key_id} is not among JZB_VAULT__KEYS")
        return key

    @property
    def _current(self) -> _Key:
        if not self._keys:
            raise VaultClosed("there is no key for personal values: set JZB_VAULT__KEYS")
        return self._keys[0]

    def _context(self, binding: str) -> bytes:
        return f"{self.platform}:{binding}".encode()


def binding_of(card_id: UUID, member_id: MemberCode) -> str:
    """What the sealed values of a card are bound to, beside the platform."""
    return f"{card_id} {member_id}"


def card_of(vault: Vault, card: Card) -> Personal:
    """What is sealed of a card. Raises `VaultKeyMissing`, `SealBroken`."""
    try:
        return vault.open(card.key_id, card.sealed, binding_of(card.card_id, card.member_id))
    except SealBroken:
        # Sealed before the member was a part of the place.
        return vault.open(card.key_id, card.sealed, str(card.card_id))


async def rotate(vault: Vault, cards: Cards) -> int:
    """Put every card under the first key; returns how many were not. May run beside services that know both keys."""
    moved = 0
    while batch := await cards.sealed_otherwise(vault.key_id, ROTATE_BATCH):
        for card in batch:
            sealed = vault.seal(card_of(vault, card), binding_of(card.card_id, card.member_id))
            moved += await cards.reseal(card, sealed.key_id, sealed.digest, sealed.content)
    return moved


def masked(number: str) -> str:
    """A number of which only the last four characters are told."""
    return f"****{number[-4:]}"


def new_key() -> str:
    """A random key as the settings take it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_bytes(text: str) -> bytes:
    """A key from its text. Raises `VaultKeyWrong`."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultKeyWrong(f"a key is {KEY_BYTES} random bytes in Base64; `jzb vault key` makes one")
    return key


class KeyFile:
    """The keys of an embedded stack, newest first, one a line, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def exists(self) -> bool:
        """Whether there is any key yet."""
        return self._path.exists()

    def keys(self) -> list[str]:
        """The keys; the first one is made when there is none yet."""
        if not self.exists:
            self.add()
        return self._path.read_text("ascii").split()

    def add(self) -> None:
        """Make a new key and put it first."""
        known = self._path.read_text("ascii").split() if self.exists else []
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write("".join(f"{key}\n" for key in [new_key(), *known]))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

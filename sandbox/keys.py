"""Keys of both sides of the sandbox's wire, and the settings a client needs to use them.

Made at the first start under the data folder, readable by the owner alone, and kept: a restarted
sandbox has the same keys. They are worth nothing outside it and must never be shipped.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from bankclient.errors import BankConfigError
from bankclient.signing import BankCertificate, Identity
from sandbox.errors import KeysUnusable
from sandbox.settings import SandboxSettings

KEY_BITS: Final = 2048
YEARS_VALID: Final = 10
KDF_ROUNDS: Final = 1000

MERCHANT_PFX: Final = "merchant.pfx"
MERCHANT_PASSWORD: Final = "merchant.password"  # noqa: S105 - a file's name
MERCHANT_CERTIFICATE: Final = "merchant.cer"
BANK_PFX: Final = "bank.pfx"
BANK_PASSWORD: Final = "bank.password"  # noqa: S105
BANK_CERTIFICATE: Final = "bank.cer"


@dataclass(frozen=True)
class Keyring:
    """What the bank holds (its own identity, the merchant's certificate) and where the client's
    files are. `merchant_public_key_text` is the key the bank registered for the application."""

    bank: Identity
    merchant: BankCertificate
    merchant_public_key_text: str
    pfx_path: Path
    pfx_password: str
    bank_certificate_path: Path


def open_keyring(folder: Path, *, throwaway: bool = False) -> Keyring:
    """Read the keys in `folder`, making those that are not there.

    `throwaway` keys are made once a process and put into every such folder: for sandboxes that
    leave nothing behind, and come by the dozen in tests.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / BANK_CERTIFICATE).exists():
        for name, content in (_throwaway_files() if throwaway else _new_files()).items():
            _write_private(folder / name, content)
    try:
        merchant = BankCertificate.from_bytes((folder / MERCHANT_CERTIFICATE).read_bytes())
        bank = _identity((folder / BANK_PFX).read_bytes(), (folder / BANK_PASSWORD).read_text())
        password = (folder / MERCHANT_PASSWORD).read_text()
    except (OSError, BankConfigError) as error:
        raise KeysUnusable(folder, str(error)) from error
    return Keyring(
        bank=bank,
        merchant=merchant,
        merchant_public_key_text=_public_key_text(merchant),
        pfx_path=folder / MERCHANT_PFX,
        pfx_password=password,
        bank_certificate_path=folder / BANK_CERTIFICATE,
    )


def client_settings(settings: SandboxSettings, keyring: Keyring, url: str) -> dict[str, object]:
    """The fields of `bankclient.BankSettings` for a client of this sandbox."""
    return {
        "base_url": url,
        "file_url": f"{url}/file/",
        "app_id": settings.application_id,
        "mrch_code": settings.mrch_code,
        "fund_summary_acct_no": settings.fund_summary_acct_no,
        "uid": settings.uid,
        "pfx_path": str(keyring.pfx_path.resolve()),
        "pfx_password": keyring.pfx_password,
        "bank_certificate_path": str(keyring.bank_certificate_path.resolve()),
        "service_ids": dict(settings.service_ids),
    }


def write_client_settings(folder: Path, fields: dict[str, object]) -> tuple[Path, Path]:
    """Write them as `client.json` and `client.env` (`BANK_…` names, JSON for what is no text)."""
    json_path, env_path = folder / "client.json", folder / "client.env"
    _write_private(json_path, json.dumps(fields, indent=2).encode() + b"\n")
    lines = [
        f"BANK_{name.upper()}={value if isinstance(value, str) else json.dumps(value)}\n"
        for name, value in fields.items()
    ]
    _write_private(env_path, "".join(lines).encode())
    return json_path, env_path


@cache
def _throwaway_files() -> dict[str, bytes]:
    return _new_files()


def _new_files() -> dict[str, bytes]:
    """File contents by name. The certificate comes last: where it is, the others are."""
    merchant, merchant_password = _new_identity("sandbox merchant"), secrets.token_hex(12)
    bank, bank_password = _new_identity("sandbox bank"), secrets.token_hex(12)
    return {
        MERCHANT_PFX: _pkcs12(merchant, merchant_password),
        MERCHANT_PASSWORD: merchant_password.encode(),
        MERCHANT_CERTIFICATE: _pem(merchant),
        BANK_PFX: _pkcs12(bank, bank_password),
        BANK_PASSWORD: bank_password.encode(),
        BANK_CERTIFICATE: _pem(bank),
    }


def _new_identity(name: str) -> Identity:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "jzb sandbox"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS_VALID))
        .sign(key, hashes.SHA256())
    )
    return Identity(key, certificate)


def _pkcs12(identity: Identity, password: str) -> bytes:
    # Few rounds: the password lies beside the file, so a slow derivation would guard nothing.
    encryption = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(KDF_ROUNDS).build(password.encode())
    return pkcs12.serialize_key_and_certificates(b"sandbox", identity.key, identity.certificate, None, encryption)


def _pem(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(serialization.Encoding.PEM)


@lru_cache(maxsize=4)
def _identity(content: bytes, password: str) -> Identity:
    # Opening checks the whole key, which takes longer than all else at the start of a sandbox.
    return Identity.from_pkcs12(content, password)


def _public_key_text(certificate: BankCertificate) -> str:
    der = certificate.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode("ascii")


def _write_private(path: Path, content: bytes) -> None:
    # Written beside and renamed, so that a crash leaves the old file or the new one.
    draft = path.with_suffix(path.suffix + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

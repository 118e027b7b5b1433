"""A certificate authority for a trial, and certificates of it: for the service, and for those who call it.

For production use the platform's own authority; what the service wants of certificates is in
docs/operations/security.md. Keys are files that only their owner reads, and are written before the certificates that
belong to them, each whole or not at all.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bankclient import wall_clock

CA = "ca"
CA_DAYS = 3650
BEFORE = timedelta(minutes=5)
"""Certificates are valid from a little earlier: clocks differ."""

NAME = re.compile(r"spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+|[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class CertificateNotMade(Exception):
    """A certificate that cannot be made; the message says why and what to do."""


class Files(NamedTuple):
    """Where a certificate and its key were written."""

    certificate: Path
    key: Path


def files_of(folder: Path, name: str) -> Files:
    """Where the certificate of this name is kept: by the last part of a SPIFFE id, else by the whole name."""
    short = name.rpartition("/")[2].replace("*", "any")
    return Files(folder / f"{short}.pem", folder / f"{short}.key")


def make_ca(folder: Path, days: int = CA_DAYS) -> Files:
    """A new authority. Raises `CertificateNotMade` where there is one: what it has issued would be worth nothing."""
    files = files_of(folder, CA)
    if files.key.exists() or files.certificate.exists():
        raise CertificateNotMade(f"{folder} has an authority already: use it, or name another folder by --folder")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jzb-ledger trial CA")])
    usage = x509.KeyUsage(
        **dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        ),
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _written(files, key, certificate)


def issue(folder: Path, name: str, days: int) -> Files:
    """A certificate of the authority in ``folder``, new or in place of the one before, with a new key.

    ``name`` is a SPIFFE id or a host; localhost has its addresses, too. Raises `CertificateNotMade`.
    """
    if not _is_address(name) and not NAME.fullmatch(name):
        raise CertificateNotMade(f"{name} is neither a SPIFFE id (spiffe://shop.example/orders) nor the name of a host")
    if (files := files_of(folder, name)) == files_of(folder, CA):
        raise CertificateNotMade(f"{name} would be written over the authority's own files: choose another name")
    authority = files_of(folder, CA)
    try:
        ca = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    except FileNotFoundError:
        raise CertificateNotMade(f"{folder} has no authority yet: run `jzb certificates ca` first") from None
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[-64:])])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, ca.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _written(files, key, certificate)


def _names(name: str) -> list[x509.GeneralName]:
    if name.startswith("spiffe://"):
        return [x509.UniformResourceIdentifier(name)]
    if _is_address(name):
        return [x509.IPAddress(ipaddress.ip_address(name))]
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    return names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = wall_clock()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + timedelta(days=days))
    )


def _written(files: Files, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Files:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(files.key, private, 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return files


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

"""Keys and signatures: MD5withRSA, PKCS#1 v1.5, Base64 (transport.md 1.3 and 2.4).

Promises that a key that cannot work is refused when it is loaded, with an error that says which
file and why, and that a signature that is not exactly right is False, never an exception. The
private key stays inside `Identity`: it must never be printed, logged or copied out.
"""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs12

from bankclient.errors import (
    CertificateExpired,
    CertificateMismatch,
    CertificateMissing,
    CertificateNotYetValid,
    CertificateUnreadable,
    DigestRefused,
    KeyFileMissing,
    KeyNotRsa,
    KeyPasswordWrong,
    KeyUnreadable,
)
from bankclient.wallclock import wall_clock

DnStyle = Literal["compact", "java"]

# The bank knows no other digest in this generation of its wire (transport.md 2.4).
_DIGEST: Final = hashes.MD5()  # noqa: S303


def sign(key: RSAPrivateKey, content: bytes) -> str:
    """Sign the canonical string; the Base64 text is one line without escapes."""
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), _DIGEST)).decode("ascii")


def verify(key: RSAPublicKey, content: bytes, signature: str) -> bool:
    """Tell whether a Base64 signature is that of the content; white space in it is ignored."""
    try:
        raw = base64.b64decode("".join(signature.split()), validate=True)
        key.verify(raw, content, padding.PKCS1v15(), _DIGEST)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def escape_for_approve(text: str) -> str:
    """Escape a field of approveDev the way the bank's SDK does; no other call uses it."""
    return "".join(text.split()).replace("+", "%2B").replace("=", "%3D")


def unescape_from_approve(text: str) -> str:
    """Undo `escape_for_approve`, in either letter case."""
    for escape, plain in (("%2B", "+"), ("%2b", "+"), ("%3D", "="), ("%3d", "=")):
        text = text.replace(escape, plain)
    return text


@dataclass(frozen=True)
class Identity:
    """The merchant: a private RSA key with its certificate, out of the bank's PKCS#12 file."""

    key: RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @classmethod
    def load(cls, path: Path, password: str, now: datetime | None = None) -> "Identity":
        """Read the file that the setting `pfx_path` names, and check it against the clock."""
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or "unreadable"
            raise KeyFileMissing(f"cannot open the merchant key {path}: {reason}") from None
        return cls.from_pkcs12(content, password, now)

    @classmethod
    def from_pkcs12(cls, content: bytes, password: str, now: datetime | None = None) -> "Identity":
        """Open PKCS#12 bytes; refuses what could not sign a request today."""
        try:
            pfx = pkcs12.load_pkcs12(content, password.encode("utf-8"))
        except UnsupportedAlgorithm:
            raise KeyUnreadable(
                "this OpenSSL cannot decrypt the merchant key file: rewrite it with `openssl pkcs12 -legacy`"
            ) from None
        except ValueError as error:
            if "password" in str(error).lower():
                raise KeyPasswordWrong("the password does not open the merchant key file") from None
            raise KeyUnreadable("the merchant key file is not PKCS#12") from None
        if pfx.key is None or pfx.cert is None:
            missing = "private key" if pfx.key is None else "certificate"
            raise KeyUnreadable(f"the merchant key file holds no {missing}")
        if not isinstance(pfx.key, RSAPrivateKey):
            raise KeyNotRsa("the merchant key is not RSA")
        certificate = pfx.cert.certificate
        if certificate.public_key() != pfx.key.public_key():
            raise CertificateMismatch("the merchant certificate belongs to another key")
        _check_dates(certificate, "merchant", now)
        try:
            sign(pfx.key, b"")
        except UnsupportedAlgorithm:
            raise DigestRefused("OpenSSL refuses MD5, which the bank requires: leave its FIPS mode") from None
        return cls(pfx.key, certificate)

    def sign(self, content: bytes) -> str:
        """Sign the canonical string as this merchant."""
        return sign(self.key, content)

    @property
    def public_key_text(self) -> str:
        """The public key as the bank registers it: Base64 of SubjectPublicKeyInfo, one line."""
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode("ascii")

    def distinguished_name(self, style: DnStyle = "compact") -> str:
        """The certificate's subject, most specific part first; `java` puts a blank after commas."""
        parts = [rdn.rfc4514_string() for rdn in reversed(self.certificate.subject.rdns)]
        return (", " if style == "java" else ",").join(parts)


@dataclass(frozen=True)
class BankCertificate:
    """The bank: the certificate against which every answer is verified; while the bank changes it, the new one too."""

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    """At least one; the one that ends last comes first."""

    @classmethod
    def load(cls, path: Path, now: datetime | None = None, *, any_date: bool = False) -> "BankCertificate":
        """Read the file that the setting `bank_certificate_path` names."""
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or "unreadable"
            raise CertificateMissing(f"cannot open the bank certificate {path}: {reason}") from None
        return cls.from_bytes(content, now, any_date=any_date)

    @classmethod
    def from_bytes(cls, content: bytes, now: datetime | None = None, *, any_date: bool = False) -> "BankCertificate":
        """Read one certificate as DER, or one or several as PEM.

        Of several those that are out of date do not count. Refuses a file of which none is in date, unless `any_date`
        asks for all of them: what the bank signed stays signed.
        """
        try:
            if b"-----BEGIN" in content:
                found = x509.load_pem_x509_certificates(content)
            else:
                found = [x509.load_der_x509_certificate(content)]
            keys = [certificate.public_key() for certificate in found]
        except (ValueError, UnsupportedAlgorithm):
            raise CertificateUnreadable("the bank certificate is neither PEM nor DER") from None
        if not all(isinstance(key, RSAPublicKey) for key in keys):
            raise KeyNotRsa("the key in the bank certificate is not RSA")
        found.sort(key=lambda certificate: certificate.not_valid_after_utc, reverse=True)
        in_date = found if any_date else [certificate for certificate in found if _is_in_date(certificate, now)]
        if not in_date:
            _check_dates(found[0], "bank", now)
        return cls(tuple(in_date))

    @property
    def certificate(self) -> x509.Certificate:
        """The one that ends last."""
        return self.certificates[0]

    @property
    def key(self) -> RSAPublicKey:
        """The key of the one that ends last."""
        return _rsa(self.certificate)

    def verify(self, content: bytes, signature: str) -> bool:
        """Tell whether the bank signed this canonical string."""
        return self.signer(content, signature) is not None

    def signer(self, content: bytes, signature: str) -> x509.Certificate | None:
        """The certificate under which the bank signed this canonical string; None under none."""
        return next((one for one in self.certificates if verify(_rsa(one), content, signature)), None)


def _rsa(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def _is_in_date(certificate: x509.Certificate, now: datetime | None) -> bool:
    return certificate.not_valid_before_utc <= (now or wall_clock()) <= certificate.not_valid_after_utc


def _check_dates(certificate: x509.Certificate, whose: str, now: datetime | None) -> None:
    moment = now or wall_clock()
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment < first:
        raise CertificateNotYetValid(f"the {whose} certificate is valid from {first:%Y-%m-%d}")
    if moment > last:
        raise CertificateExpired(f"the {whose} certificate expired on {last:%Y-%m-%d}")

"""Keys made for a test: a certificate of any kind and age, and the PKCS#12 file around it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import NameOID

PASSWORD = "correct horse"

SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test CA"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PAB"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Enterprises"),
        x509.NameAttribute(NameOID.COMMON_NAME, "merchant@78"),
    ]
)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    begins_in_days: float = -1,
    ends_in_days: float = 30,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(SUBJECT)
        .issuer_name(SUBJECT)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins_in_days))
        .not_valid_after(now + timedelta(days=ends_in_days))
        .sign(key, hashes.SHA256())
    )


def pfx(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None,
    holder: x509.Certificate | None,
    password: str = PASSWORD,
) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"merchant", key, holder, None, BestAvailableEncryption(password.encode())
    )


@dataclass(frozen=True)
class Keys:
    merchant: rsa.RSAPrivateKey
    merchant_pfx: bytes
    bank: rsa.RSAPrivateKey
    bank_pem: bytes


def make_keys() -> Keys:
    merchant, bank = rsa_key(), rsa_key()
    return Keys(
        merchant=merchant,
        merchant_pfx=pfx(merchant, certificate(merchant)),
        bank=bank,
        bank_pem=certificate(bank).public_bytes(Encoding.PEM),
    )

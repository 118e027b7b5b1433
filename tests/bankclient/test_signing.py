"""Keys that work, and the reason given for each that cannot."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from bankclient import (
    BankCertificate,
    CertificateExpired,
    CertificateMismatch,
    CertificateMissing,
    CertificateNotYetValid,
    CertificateUnreadable,
    DigestRefused,
    Identity,
    KeyFileMissing,
    KeyNotRsa,
    KeyPasswordWrong,
    KeyUnreadable,
    escape_for_approve,
    unescape_from_approve,
)
from tests.bankclient.keys import PASSWORD, Keys, certificate, ec_key, pfx, rsa_key

MD5 = hashes.MD5()  # noqa: S303 - the bank's digest


def test_a_signature_is_md5_with_rsa_in_one_line_of_base64(keys: Keys) -> None:
    signature = Identity.from_pkcs12(keys.merchant_pfx, PASSWORD).sign(b"a=1&")
    assert "\n" not in signature
    keys.merchant.public_key().verify(base64.b64decode(signature), b"a=1&", padding.PKCS1v15(), MD5)


def test_the_bank_certificate_verifies_what_the_bank_signed_and_nothing_else(keys: Keys) -> None:
    bank = BankCertificate.from_bytes(keys.bank_pem)
    raw = keys.bank.sign(b"a=1&", padding.PKCS1v15(), MD5)
    signature = base64.b64encode(raw).decode()
    assert bank.verify(b"a=1&", signature)
    assert bank.verify(b"a=1&", "\r\n".join((signature[:76], signature[76:], "")))
    assert not bank.verify(b"a=2&", signature)
    for damaged in ("", "%", signature[:-8], signature + "AAAA", "é", signature[::-1]):
        assert not bank.verify(b"a=1&", damaged)


def test_a_der_certificate_is_read_too(keys: Keys) -> None:
    der = x509.load_pem_x509_certificate(keys.bank_pem).public_bytes(Encoding.DER)
    assert BankCertificate.from_bytes(der).key == keys.bank.public_key()


def test_the_public_key_is_the_registered_form(keys: Keys) -> None:
    text = Identity.from_pkcs12(keys.merchant_pfx, PASSWORD).public_key_text
    assert load_der_public_key(base64.b64decode(text)) == keys.merchant.public_key()


def test_the_subject_is_written_most_specific_first_in_both_styles(keys: Keys) -> None:
    identity = Identity.from_pkcs12(keys.merchant_pfx, PASSWORD)
    compact = "CN=merchant@78,OU=Enterprises,OU=PAB,O=Test CA,C=CN"
    assert identity.distinguished_name() == compact
    assert identity.distinguished_name("java") == compact.replace(",", ", ")


def test_the_escapes_of_the_approve_call_undo_each_other() -> None:
    assert escape_for_approve("a+b/c=\r\n=") == "a%2Bb/c%3D%3D"
    assert unescape_from_approve("a%2bb/c%3D%3d") == "a+b/c=="


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileMissing, match=r"nowhere\.pfx"):
        Identity.load(tmp_path / "nowhere.pfx", PASSWORD)


def test_a_wrong_password_is_told_apart_and_not_repeated(keys: Keys) -> None:
    with pytest.raises(KeyPasswordWrong) as raised:
        Identity.from_pkcs12(keys.merchant_pfx, "battery staple")
    assert "staple" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----"])
def test_a_file_of_another_kind_is_not_blamed_on_the_password(content: bytes) -> None:
    with pytest.raises(KeyUnreadable):
        Identity.from_pkcs12(content, PASSWORD)


def test_a_key_file_without_a_certificate_says_so() -> None:
    with pytest.raises(KeyUnreadable, match="certificate"):
        Identity.from_pkcs12(pfx(rsa_key(), None), PASSWORD)


def test_an_expired_merchant_certificate_says_which_day() -> None:
    key = rsa_key()
    old = certificate(key, begins_in_days=-30, ends_in_days=-2)
    with pytest.raises(CertificateExpired, match=f"merchant.*{old.not_valid_after_utc:%Y-%m-%d}"):
        Identity.from_pkcs12(pfx(key, old), PASSWORD)


def test_a_certificate_that_expires_later_is_refused_by_a_later_clock(keys: Keys) -> None:
    later = datetime.now(UTC) + timedelta(days=31)
    with pytest.raises(CertificateExpired):
        Identity.from_pkcs12(keys.merchant_pfx, PASSWORD, later)


def test_a_certificate_from_the_future_is_refused() -> None:
    key = rsa_key()
    with pytest.raises(CertificateNotYetValid):
        Identity.from_pkcs12(pfx(key, certificate(key, begins_in_days=1)), PASSWORD)


def test_a_key_of_another_kind_is_refused() -> None:
    key = ec_key()
    with pytest.raises(KeyNotRsa):
        Identity.from_pkcs12(pfx(key, certificate(key)), PASSWORD)


def test_a_certificate_of_another_key_is_refused(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    # cryptography itself will not write such a file, so the loaded parts are exchanged.
    from cryptography.hazmat.primitives.serialization import pkcs12

    loaded = pkcs12.load_pkcs12(keys.merchant_pfx, PASSWORD.encode())
    stranger = pkcs12.PKCS12Certificate(certificate(keys.bank), None)
    mixed = pkcs12.PKCS12KeyAndCertificates(loaded.key, stranger, [])
    monkeypatch.setattr(pkcs12, "load_pkcs12", lambda *_: mixed)
    with pytest.raises(CertificateMismatch):
        Identity.from_pkcs12(keys.merchant_pfx, PASSWORD)


def test_an_openssl_without_md5_is_named_at_start(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise UnsupportedAlgorithm("md5 is not supported")

    monkeypatch.setattr("bankclient.signing.sign", refuse)
    with pytest.raises(DigestRefused, match="FIPS"):
        Identity.from_pkcs12(keys.merchant_pfx, PASSWORD)


def test_a_missing_bank_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateMissing, match=r"nowhere\.cer"):
        BankCertificate.load(tmp_path / "nowhere.cer")


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nx"])
def test_a_bank_certificate_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(CertificateUnreadable):
        BankCertificate.from_bytes(content)


def test_an_expired_bank_certificate_is_refused() -> None:
    old = certificate(rsa_key(), begins_in_days=-30, ends_in_days=-2)
    with pytest.raises(CertificateExpired, match="bank"):
        BankCertificate.from_bytes(old.public_bytes(Encoding.PEM))


def test_a_bank_certificate_of_another_kind_of_key_is_refused() -> None:
    with pytest.raises(KeyNotRsa):
        BankCertificate.from_bytes(certificate(ec_key()).public_bytes(Encoding.PEM))


def test_keys_are_not_printed(keys: Keys) -> None:
    assert repr(Identity.from_pkcs12(keys.merchant_pfx, PASSWORD)) == "Identity()"

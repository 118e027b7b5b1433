"""The service does not listen where strangers reach it unless somebody has said so, nor with a wrong certificate."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process import certificates
from service.process.certificates import CertificateNotMade, issue, make_ca
from service.process.listening import Certificate, ListenRefused, require_closed
from service.settings import Settings, from_environment, is_loopback
from tests.world.callers import Authority
from tests.world.cli import jzb

PUBLIC = "0.0.0.0:50051"


def settings(bank: dict[str, Any], **given: Any) -> Settings:
    return from_environment(database_url="postgresql://nowhere", bank=bank, **given)


@pytest.fixture
async def bank() -> AsyncIterator[dict[str, Any]]:
    async with Sandbox(SandboxSettings()) as sandbox:
        yield sandbox.client_settings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_public_address_without_tls_is_refused_with_the_settings_that_close_it(bank: dict[str, Any]) -> None:
    with pytest.raises(ListenRefused, match=r"JZB_LISTEN=0\.0\.0\.0:50051 .* JZB_TLS_CERTIFICATE, JZB_TLS_KEY"):
        require_closed(settings(bank, listen=PUBLIC))


def test_a_public_address_with_a_certificate_and_strangers_is_refused(bank: dict[str, Any], tmp_path: Path) -> None:
    own = {"tls_certificate": tmp_path / "a", "tls_key": tmp_path / "b"}
    with pytest.raises(ListenRefused, match="JZB_TLS_CLIENT_CA"):
        require_closed(settings(bank, listen=PUBLIC, **own))


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/jzb.sock"])
def test_on_loopback_plaintext_is_what_a_trial_gets(bank: dict[str, Any], listen: str) -> None:
    require_closed(settings(bank, listen=listen))


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:1", "[::]:1", ":1", "192.0.2.1:1", "jzb.example:1", "127.0.0.1.example:1", "[::ffff:192.0.2.1]:1"],
)
def test_what_other_machines_reach_is_no_loopback(listen: str) -> None:
    assert not is_loopback(listen)


def test_who_says_insecure_is_believed(bank: dict[str, Any]) -> None:
    require_closed(settings(bank, listen=PUBLIC, insecure=True))


@pytest.mark.parametrize(
    ("setting", "missing"), [("tls_certificate", "JZB_TLS_KEY is not"), ("tls_key", "JZB_TLS_CERTIFICATE is not")]
)
@pytest.mark.parametrize("insecure", [False, True])
def test_a_certificate_without_its_key_never_means_plaintext(
    bank: dict[str, Any], setting: str, missing: str, insecure: bool
) -> None:
    with pytest.raises(ListenRefused, match=missing):
        require_closed(settings(bank, insecure=insecure, **{setting: Path("one.pem")}))


def test_a_client_ca_without_a_certificate_never_means_plaintext(bank: dict[str, Any]) -> None:
    with pytest.raises(ListenRefused, match="JZB_TLS_CLIENT_CA is set without"):
        require_closed(settings(bank, tls_client_ca=Path("ca.pem")))


def test_a_certificate_that_has_ended_is_refused(authority: Authority) -> None:
    ended = authority.issue("localhost", days=-1)
    with pytest.raises(ListenRefused, match=r"JZB_TLS_CERTIFICATE: .* renew it"):
        Certificate(*ended, None)


def test_a_certificate_that_is_not_valid_yet_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "BEFORE", timedelta(days=-2))
    with pytest.raises(ListenRefused, match="renew it"):
        Certificate(*authority.issue("localhost"), None)


def test_an_authority_that_has_ended_is_refused(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = authority.issue("localhost")
    monkeypatch.setattr(certificates, "BEFORE", timedelta(days=2))
    ended = make_ca(tmp_path / "old", days=-1)
    with pytest.raises(ListenRefused, match="JZB_TLS_CLIENT_CA"):
        Certificate(*files, ended.certificate)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    one, other = authority.issue("localhost"), authority.issue("other.example")
    with pytest.raises(ListenRefused, match=r"JZB_TLS_KEY: .* is not the key of"):
        Certificate(one.certificate, other.key, None)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nnone\n"])
def test_files_that_are_not_there_or_hold_nothing_are_refused(authority: Authority, content: bytes | None) -> None:
    files = authority.issue("localhost")
    for path, setting in ((files.certificate, "JZB_TLS_CERTIFICATE"), (files.key, "JZB_TLS_KEY")):
        kept = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ListenRefused, match=setting):
            Certificate(*files, None)
        path.write_bytes(kept)


def with_unknown_key(pem: bytes) -> bytes:
    """The same certificate or key, but of an algorithm that nobody knows: its object identifier is exchanged."""
    return re.sub(
        b"(-----BEGIN [A-Z ]+-----\n)(.*?)(-----END)",
        lambda found: found[1] + base64.encodebytes(base64.b64decode(found[2]).replace(EC_KEY, UNKNOWN)) + found[3],
        pem,
        flags=re.DOTALL,
    )


EC_KEY, UNKNOWN = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")
"""The object identifier of an EC key, and one beside it that is none."""


def test_a_key_of_a_kind_that_is_not_known_is_refused_with_its_file_and_what_to_do(authority: Authority) -> None:
    files, ca = authority.issue("localhost"), authority.ca.certificate
    named = (
        (files.certificate, "JZB_TLS_CERTIFICATE"),
        (files.key, "JZB_TLS_KEY"),
        (ca, "JZB_TLS_CLIENT_CA"),
    )
    for path, setting in named:
        kept = path.read_bytes()
        path.write_bytes(with_unknown_key(kept))
        assert path.read_bytes() != kept
        with pytest.raises(ListenRefused, match=f"{setting}: {re.escape(str(path))} .* issue it with"):
            Certificate(*files, ca)
        path.write_bytes(kept)


def test_a_renewal_of_a_kind_that_is_not_known_leaves_the_one_in_use(authority: Authority) -> None:
    files = authority.issue("localhost")
    certificate = Certificate(*files, authority.ca.certificate)
    files.certificate.write_bytes(with_unknown_key(files.certificate.read_bytes()))
    assert certificate.renewed() is None


def test_a_renewed_certificate_is_taken_and_half_of_one_is_not(authority: Authority) -> None:
    files = authority.issue("localhost", days=1)
    certificate = Certificate(*files, authority.ca.certificate)
    assert certificate.renewed() is None
    ends = certificate.ends
    kept = files.key.read_bytes()
    authority.issue("localhost", days=30)
    new_key = files.key.read_bytes()
    files.key.write_bytes(kept)
    assert certificate.renewed() is None
    assert certificate.ends == ends, "the old one still serves"
    files.key.write_bytes(new_key)
    assert certificate.renewed() is not None
    assert certificate.ends > datetime.now(UTC) + timedelta(days=29)


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"jwks": "http://login.example/keys"},
        {"audience": ""},
        {"issuer": ""},
    ],
)
def test_tokens_are_checked_with_what_proves_something_or_not_at_all(
    bank: dict[str, Any], wrong: dict[str, Any]
) -> None:
    right = {"issuer": "https://login.example", "audience": "jzb", "jwks": "https://login.example/keys"}
    settings(bank, oidc=right)
    with pytest.raises(ValidationError):
        settings(bank, oidc={**right, **wrong})


async def test_jzb_serve_says_what_is_open_and_does_not_start(bank: dict[str, Any]) -> None:
    environment = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
        "JZB_LISTEN": PUBLIC,
        **{f"JZB_BANK__{name.upper()}": str(value) for name, value in bank.items() if isinstance(value, str)},
    }
    ended = await jzb("serve", environment=environment)
    assert ended.status == 1
    assert "is reached by other machines" in ended.error
    assert "Traceback" not in ended.error


async def test_two_commands_make_the_certificates_of_a_trial_and_only_their_owner_reads_keys(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    first = await jzb("certificates", "ca", "--folder", str(folder))
    second = await jzb("certificates", "issue", "localhost", "spiffe://trial/shop", "--folder", str(folder))
    assert (first.status, second.status) == (0, 0), (first.error, second.error)
    keys = sorted(path.name for path in folder.glob("*.key"))
    assert keys == ["ca.key", "localhost.key", "shop.key"]
    assert {oct(os.stat(folder / name).st_mode & 0o777) for name in keys} == {"0o600"}
    Certificate(folder / "localhost.pem", folder / "localhost.key", folder / "ca.pem")
    again = await jzb("certificates", "ca", "--folder", str(folder))
    assert again.status == 1
    assert "has an authority already" in again.error


@pytest.mark.parametrize("name", ["", "spiffe://", "a b", "../ca", "ca", "spiffe://trial/../x/ca"])
def test_no_certificate_has_a_name_that_leads_elsewhere(authority: Authority, name: str) -> None:
    before = {path.name: path.read_bytes() for path in authority.folder.iterdir()}
    with pytest.raises(CertificateNotMade):
        issue(authority.folder, name, 1)
    assert {path.name: path.read_bytes() for path in authority.folder.iterdir()} == before

"""On what the service listens, and with which certificate: closed unless it is opened on purpose.

Certificate and key come both or not at all. An address that other machines reach needs them and a client CA, or
JZB_INSECURE=true. The files are read again when they change, for each new connection; files that do not belong
together, or have ended, leave the ones before in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from bankclient import wall_clock
from service.filestamp import Stamp, stamp
from service.settings import Settings, is_loopback
from service.telemetry import events


class ListenRefused(Exception):
    """The service will not listen so; the message names the setting and what to do."""


def require_closed(settings: Settings) -> None:
    """Raises `ListenRefused` for a port that would be open to strangers without anybody having said so."""
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if (certificate is None) != (key is None):
        given, missing = ("JZB_TLS_CERTIFICATE", "JZB_TLS_KEY")[:: 1 if key is None else -1]
        raise ListenRefused(f"{given} is set and {missing} is not: set both, or neither to serve in plaintext")
    if client_ca is not None and certificate is None:
        raise ListenRefused("JZB_TLS_CLIENT_CA is set without JZB_TLS_CERTIFICATE and JZB_TLS_KEY: set them, too")
    if is_loopback(settings.listen) or settings.insecure:
        return
    if certificate is None:
        raise ListenRefused(
            f"JZB_LISTEN={settings.listen} is reached by other machines: set JZB_TLS_CERTIFICATE, JZB_TLS_KEY and"
            " JZB_TLS_CLIENT_CA (`jzb certificates` makes some for a trial), or JZB_INSECURE=true to serve in plaintext"
        )
    if client_ca is None:
        raise ListenRefused(
            f"JZB_LISTEN={settings.listen} is reached by other machines and its callers need no certificate: set"
            " JZB_TLS_CLIENT_CA, or JZB_INSECURE=true to take all callers for one"
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """The files of one moment, checked."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    ends: datetime


class Certificate:
    """The server's certificate, as its files have it. Raises `ListenRefused` when they cannot be used at the start."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._paths = (certificate, key, client_ca)
        self._lock = Lock()
        self._stamps = self._stamped()
        self._read = self._reading()

    @property
    def ends(self) -> datetime:
        """When the certificate in use ends."""
        return self._read.ends

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with; client certificates are required where there is a client CA."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(self._read),
            self.renewed,  # type: ignore[arg-type]  # grpc-stubs has forgotten that it may return None
            require_client_authentication=self._read.client_ca is not None,
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The files if they have changed, else None. Called by gRPC before each handshake, in threads of its own."""
        with self._lock:
            stamps = self._stamped()
            if stamps == self._stamps:
                return None
            try:
                read = self._reading()
            except ListenRefused as refused:
                # It may be half written: looked at again with the next connection.
                events.CERTIFICATE_REFUSED.log(why=str(refused))
                return None
            self._stamps, self._read = stamps, read
        events.CERTIFICATE_RENEWED.log(ends=read.ends.isoformat())
        return self._configuration(read)

    @staticmethod
    def _configuration(read: _Read) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(read.key, read.chain)], root_certificates=read.client_ca)

    def _stamped(self) -> list[Stamp | None]:
        return [stamp(path) for path in self._paths]

    def _reading(self) -> _Read:
        certificate, key, client_ca = self._paths
        chain = _content(certificate, "JZB_TLS_CERTIFICATE")
        private = _content(key, "JZB_TLS_KEY")
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
            public = leaf.public_key()
        except ValueError as wrong:
            raise ListenRefused(f"JZB_TLS_CERTIFICATE: {certificate} holds no certificate in PEM: {wrong}") from None
        except UnsupportedAlgorithm as unknown:
            raise ListenRefused(_of_unknown_kind("JZB_TLS_CERTIFICATE", certificate, unknown)) from None
        try:
            own = serialization.load_pem_private_key(private, None).public_key()
        except (ValueError, TypeError):
            raise ListenRefused(f"JZB_TLS_KEY: {key} holds no private key in PEM without a password") from None
        except UnsupportedAlgorithm as unknown:
            raise ListenRefused(_of_unknown_kind("JZB_TLS_KEY", key, unknown)) from None
        if own != public:
            raise ListenRefused(f"JZB_TLS_KEY: {key} is not the key of the certificate in {certificate}")
        now = wall_clock()
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise ListenRefused(
                f"JZB_TLS_CERTIFICATE: {certificate} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC to"
                f" {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC, and it is {now:%Y-%m-%d %H:%M:%S} UTC: renew it"
            )
        return _Read(chain, private, _authority(client_ca, now), leaf.not_valid_after_utc)


def _of_unknown_kind(setting: str, path: Path, unknown: UnsupportedAlgorithm) -> str:
    return f"{setting}: {path} has a key of a kind that is not known here ({unknown}): issue it with an RSA or EC key"


def _authority(path: Path | None, now: datetime) -> bytes | None:
    if path is None:
        return None
    content = _content(path, "JZB_TLS_CLIENT_CA")
    try:
        found = x509.load_pem_x509_certificates(content)
        for one in found:
            one.public_key()
    except ValueError as wrong:
        raise ListenRefused(f"JZB_TLS_CLIENT_CA: {path} holds no certificate in PEM: {wrong}") from None
    except UnsupportedAlgorithm as unknown:
        raise ListenRefused(_of_unknown_kind("JZB_TLS_CLIENT_CA", path, unknown)) from None
    if not any(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in found):
        raise ListenRefused(f"JZB_TLS_CLIENT_CA: no certificate in {path} is valid now: renew it")
    return content


def _content(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as unreadable:
        raise ListenRefused(f"{setting}: {path} cannot be read: {unreadable.strerror}") from None

"""The options of the commands that are clients of a running service: where it is, and who calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import grpc
import typer

Target = Annotated[str, typer.Option(help="A running service, host:port.")]
Authority = Annotated[Path | None, typer.Option(help="Whose certificate the service must have (PEM): TLS.")]
CallerCertificate = Annotated[
    Path | None,
    typer.Option(help="The certificate of the caller; without --ca and --key, with its key and ca.pem beside it."),
]
CallerKey = Annotated[Path | None, typer.Option(help="With --certificate, its key.")]
LOCAL = "127.0.0.1:50051"


def credentials_of(ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    """Those of a client; None for plaintext."""
    if certificate is not None and ca is None and key is None:
        # As `jzb certificates` leaves them.
        beside = certificate.with_suffix(".key"), certificate.with_name("ca.pem")
        if all(path.exists() for path in beside):
            key, ca = beside
    if ca is None:
        if certificate is not None or key is not None:
            wanted = "a certificate is shown over TLS alone, and its key and ca.pem are not beside it"
            raise typer.BadParameter(wanted, param_hint="--ca")
        return None
    if (certificate is None) != (key is None):
        raise typer.BadParameter("a certificate and its key come together", param_hint="--key")
    own = (None, None) if certificate is None or key is None else (key.read_bytes(), certificate.read_bytes())
    return grpc.ssl_channel_credentials(ca.read_bytes(), *own)

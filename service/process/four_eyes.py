"""A trial in which two people are needed: a shop, a finance person who proposes and a head who approves.

`jzb run --four-eyes` makes an authority with a certificate for each, and a policy that gives each its part and nobody
both. What production has instead is in docs/operations/security.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from service.process.certificates import CA, files_of, issue, make_ca

SHOP, FINANCE, HEAD = "spiffe://trial/shop", "spiffe://trial/finance", "spiffe://trial/head"
DAYS: Final = 90
"""How long the certificates are valid; each start renews them."""

POLICY: Final = f"""\
# Made by `jzb run --four-eyes`. Change it as you like: it is read again, and not written again.

[callers."{SHOP}"]
scopes = [
    "member.write", "card.write", "money.pay", "money.refund", "money.withdraw", "manual", "admin", "audit", "read.all",
]
namespace = "shop"
members = ["*"]

# Runs days, proposes adjustments, signs first.
[callers."{FINANCE}"]
scopes = ["manual", "files", "admin", "read.all"]
namespace = "finance"
members = ["*"]

# Approves, signs second, and can do nothing alone.
[callers."{HEAD}"]
scopes = ["approve", "read.all"]
namespace = "head"
members = ["*"]
"""


def settings(data: Path) -> dict[str, Any]:
    """The settings of a service for it, with certificates and the policy under ``data``. Raises OSError."""
    folder, policy = data / "certificates", data / "policy.toml"
    if not files_of(folder, CA).key.exists():
        make_ca(folder)
    for name in (SHOP, FINANCE, HEAD):
        issue(folder, name, DAYS)
    if not policy.exists():
        policy.write_text(POLICY, "utf-8")
    own = issue(folder, "localhost", DAYS)
    ca = files_of(folder, CA).certificate
    return {"tls_certificate": own.certificate, "tls_key": own.key, "tls_client_ca": ca, "policy": policy}


def certificate_of(data: Path, name: str) -> Path:
    """Where a caller's certificate is; its key and the authority's certificate are beside it."""
    return files_of(data / "certificates", name).certificate


def lines(data: Path) -> list[str]:
    """Who may do what, for whoever reads the terminal."""
    parts = {SHOP: "moves money", FINANCE: "runs days, proposes, signs first", HEAD: "approves, signs second"}
    return [f"{certificate_of(data, name)} {part}" for name, part in parts.items()]

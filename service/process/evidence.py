"""What the bank has signed about an operation, for a dispute: found by the operation, opened, and checked.

An answer is proved by three things: the digest in the journal, which the seals cover; the text behind it, which the
vault opens; and the bank's signature over that text, which anybody can check who has the bank's certificate.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bankclient import BankCertificate, signed_parts
from ledger import Decision, KeptAnswer, Lookups, Operation, Reads, connect, open_pool, require_current
from service.vault import Vault, VaultError

NAME_DIGITS = 16
"""So many digits of a digest name a file."""


@dataclass(frozen=True, slots=True)
class Proved:
    """One signed answer. ``signer`` is the subject of the bank's certificate; ``fault`` says what does not hold."""

    digest: bytes
    canonical: bytes = b""
    signature: str = ""
    signer: str = ""
    fault: str = ""


async def decisions_of(dsn: str, platform: str, operations: Sequence[Operation]) -> list[list[Decision]]:
    """What was recorded of each operation by the bank's word. Raises `LedgerError`."""
    engine = connect(dsn, 1)
    try:
        await require_current(engine)
        async with open_pool(dsn, 1) as pool:
            reads = Reads(engine, Lookups(pool, platform))
            return [await reads.decisions(operation.id) for operation in operations]
    finally:
        await engine.dispose()


def certificates(paths: Sequence[Path]) -> BankCertificate:
    """The bank's certificates of these files, in date or not. Raises BankConfigError."""
    return BankCertificate(
        tuple(one for path in paths for one in BankCertificate.load(path, any_date=True).certificates)
    )


def proved(decision: Decision, vault: Vault, bank: BankCertificate) -> list[Proved]:
    """Each answer behind a decision, in order, with what is wrong of it; those that are not kept as well."""
    found = [_opened(answer, vault, bank) for answer in decision.answers]
    return found + [
        Proved(digest, fault="is not kept: the journal has its digest alone") for digest in decision.missing
    ]


def _opened(answer: KeptAnswer, vault: Vault, bank: BankCertificate) -> Proved:
    try:
        signed = vault.open_answer(answer.key_id, answer.digest, answer.content)
    except VaultError as error:
        return Proved(answer.digest, fault=str(error))
    canonical, signature = signed_parts(signed)
    certificate = bank.signer(canonical, signature)
    one = Proved(answer.digest, canonical, signature, certificate.subject.rfc4514_string() if certificate else "")
    if sha256(signed).digest() != answer.digest:
        return Proved(answer.digest, canonical, signature, one.signer, "is not what the journal has the digest of")
    if certificate is None:
        return Proved(answer.digest, canonical, signature, "", "is signed under none of the certificates")
    return one


def write(one: Proved, folder: Path) -> Path:
    """Write the signed text, and the signature as `openssl dgst` takes it, for the owner of the folder alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = folder / f"{one.digest.hex()[:NAME_DIGITS]}.txt"
    for path, content in ((text, one.canonical), (text.with_suffix(".sig"), base64.b64decode(one.signature))):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    return text

"""A dispute with the bank: what it signed is kept, is not read without the key, and is not changed or replaced."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bankclient import BankCertificate, canonical_string, sign, signed_parts
from ledger import Decision, Operation
from ledger.names import Serial
from service.process import evidence
from service.vault import SealBroken, Vault, VaultKeyMissing, new_key
from tests.ledger.bookkeeping import ask
from tests.world.cli import jzb
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace, bank_says, open_marketplace
from tests.world.suspense import collect, come_in

PAYMENT = "MemberTransaction"


async def decided(shop: Marketplace, serial: str) -> tuple[Operation, list[Decision]]:
    reads = shop.service.components.reads
    operation = await reads.operation(serial=Serial(serial))
    assert operation is not None
    return operation, await reads.decisions(operation.id)


def bank_of(shop: Marketplace) -> BankCertificate:
    return BankCertificate.load(shop.sandbox.keyring.bank_certificate_path)


def vault_of(shop: Marketplace) -> Vault:
    return shop.service.components.vault


async def paid(shop: Marketplace) -> str:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return (await shop.pay("buyer", "seller", 30_00)).serial


async def test_the_answer_that_made_a_payment_done_is_kept_word_for_word_under_the_banks_signature(
    shop: Marketplace,
) -> None:
    serial = await paid(shop)
    _, (decision,) = await decided(shop, serial)
    (one,) = evidence.proved(decision, vault_of(shop), bank_of(shop))
    assert (decision.state, one.fault) == ("done", "")
    assert f"CnsmrSeqNo={serial}&".encode() in one.canonical
    assert b"TxnReturnCode=000000&" in one.canonical
    assert bank_of(shop).verify(one.canonical, one.signature)
    # The journal has this digest, and the seals cover the journal.
    (recorded,) = ask(
        shop.dsn,
        "SELECT evidence FROM event e JOIN operation o ON o.id = e.operation_id"
        " WHERE o.serial = %s AND e.state = 'done'",
        serial,
    )
    assert bytes(recorded[0]) == sha256(one.canonical + one.signature.encode()).digest()


async def test_the_answer_that_gave_a_hold_back_is_kept(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    shop.sandbox.faults.add("refuse:ERR044", service_id=PAYMENT)
    refusal = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
    _, (decision,) = await decided(shop, refusal.operation.serial)
    (one,) = evidence.proved(decision, vault_of(shop), bank_of(shop))
    assert (decision.state, decision.bank_code, one.fault) == ("refused", "ERR044", "")


async def test_a_page_of_a_list_is_kept_once_however_much_it_decided(shop: Marketplace) -> None:
    await shop.merchant("seller")
    for fen in (5_00, 6_00, 7_00):
        await come_in(shop, fen)
    count = "SELECT count(*) FROM bank_answer"
    before = ask(shop.dsn, count)[0][0]
    await collect(shop)
    transfers = ask(shop.dsn, "SELECT serial FROM operation WHERE kind = 'TRANSFER_IN'")
    decisions = [(await decided(shop, serial))[1][0] for (serial,) in transfers]
    assert len(decisions) == 3
    answers = [answer.digest for decision in decisions for answer in decision.answers]
    assert len(set(answers)) < len(answers)
    for decision in decisions:
        assert not [one for one in evidence.proved(decision, vault_of(shop), bank_of(shop)) if one.fault]
    assert ask(shop.dsn, count)[0][0] - before == len({*answers, *(decision.digest for decision in decisions)})


async def test_who_reads_the_database_reads_nothing_of_an_answer(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    name = "张三丰 6222021001112223334"
    with bank_says(shop.sandbox, PAYMENT, lambda answer: answer.update(ReservedMsg=name)):
        payment = await shop.pay("buyer", "seller", 30_00)
    _, (decision,) = await decided(shop, payment.serial)
    (one,) = evidence.proved(decision, vault_of(shop), bank_of(shop))
    assert name.encode() in one.canonical
    for table in ("bank_answer", "event", "operation"):
        for row in ask(shop.dsn, f"SELECT {table}::text FROM {table}"):
            text = row[0].replace("\\\\x", "")
            assert name not in text
            assert name.encode().hex() not in text
    with pytest.raises(VaultKeyMissing):
        Vault([new_key()], shop.service.components.settings.platform).open_answer(
            decision.answers[0].key_id, decision.digest, decision.answers[0].content
        )


async def test_an_answer_put_in_the_place_of_another_does_not_open(shop: Marketplace) -> None:
    _, (first,) = await decided(shop, await paid(shop))
    _, (second,) = await decided(shop, (await shop.pay("buyer", "seller", 20_00)).serial)
    vault = vault_of(shop)
    with pytest.raises(SealBroken):
        vault.open_answer(first.answers[0].key_id, second.digest, first.answers[0].content)
    (one,) = evidence.proved(
        second._replace(answers=(second.answers[0]._replace(content=first.answers[0].content),)), vault, bank_of(shop)
    )
    assert "was changed" in one.fault


async def test_an_answer_that_somebody_with_the_vaults_key_made_up_is_not_the_banks(shop: Marketplace) -> None:
    _, (decision,) = await decided(shop, await paid(shop))
    vault, merchant = vault_of(shop), shop.service.components.bank._opened().identity
    canonical = canonical_string({"TxnReturnCode": "000000", "CnsmrSeqNo": "made up"})
    signed = canonical + sign(merchant.key, canonical).encode()
    digest = sha256(signed).digest()
    key_id, content = vault.seal_answer(digest, signed)
    forged = decision.answers[0]._replace(digest=digest, key_id=key_id, content=content)
    (one,) = evidence.proved(decision._replace(answers=(forged,)), vault, bank_of(shop))
    assert one.fault == "is signed under none of the certificates"


async def test_nobody_changes_or_removes_what_is_kept(shop: Marketplace) -> None:
    await paid(shop)
    for statement in ("UPDATE bank_answer SET content = ''", "DELETE FROM bank_answer", "TRUNCATE bank_answer"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            ask(shop.dsn, statement)


async def test_an_answer_is_opened_by_a_retired_key_and_by_none_other(shop: Marketplace) -> None:
    _, (decision,) = await decided(shop, await paid(shop))
    platform = shop.service.components.settings.platform
    (one,) = evidence.proved(decision, Vault([new_key()], platform, [VAULT_KEY]), bank_of(shop))
    assert one.fault == ""


async def test_without_a_key_nothing_is_kept_and_the_command_says_so(database: str) -> None:
    async with open_marketplace(database, vault={"keys": []}) as shop:
        _, (decision,) = await decided(shop, await paid(shop))
        assert not ask(shop.dsn, "SELECT 1 FROM bank_answer")
        (one,) = evidence.proved(decision, vault_of(shop), bank_of(shop))
        assert one.fault == "is not kept: the journal has its digest alone"


async def test_the_command_proves_a_payment_and_writes_what_openssl_checks(shop: Marketplace, tmp_path: Path) -> None:
    serial = await paid(shop)
    certificate = shop.sandbox.keyring.bank_certificate_path
    environment = {
        "DATABASE_URL": shop.dsn,
        "JZB_BANK__MRCH_CODE": shop.service.components.settings.platform,
        "JZB_VAULT__KEYS": f'["{VAULT_KEY}"]',
        "JZB_BANK__BANK_CERTIFICATE_PATH": str(certificate),
    }
    ended = await jzb("evidence", serial, "--to", str(tmp_path / "proof"), environment=environment)
    assert ended.status == 0, ended
    assert "signed by" in ended.out
    assert "TxnReturnCode" not in ended.out
    (text,) = (tmp_path / "proof").glob("*.txt")
    assert text.stat().st_mode & 0o077 == 0
    public = tmp_path / "bank.pub"
    public.write_bytes(bank_of(shop).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    openssl = await asyncio.create_subprocess_exec(
        *("openssl", "dgst", "-md5", "-verify", str(public), "-signature", str(text.with_suffix(".sig")), str(text)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await openssl.communicate()
    assert out == b"Verified OK\n"
    other = {**environment, "JZB_VAULT__KEYS": f'["{new_key()}"]'}
    unproved = await jzb("evidence", serial, environment=other)
    assert unproved.status == 1
    assert "is in neither JZB_VAULT__KEYS" in unproved.out


def test_the_signature_is_told_from_the_text() -> None:
    assert signed_parts(b"A=1&B=2&c2ln") == (b"A=1&B=2&", "c2ln")
    assert signed_parts(b"") == (b"", "")

"""Who has the journal, or a request id that is not his, tries what a request may have said: no digest confirms it.

A mobile's last four digits are ten thousand tries, which take SHA-256 a fiftieth of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import psycopg
import pytest
from google.protobuf.message import Message

from jzb.v1 import payment_pb2, withdrawal_pb2
from service.path.fingerprint import Fingerprint
from service.vault import Vault
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace
from tests.world.requests import altered

NOTE = "call 138****{:04}"
DIGITS = 10_000


def content_digests(request: Message) -> Iterator[bytes]:
    """What anybody can compute of a request: the whole, and each personal value cut to its last four characters."""
    name = request.DESCRIPTOR.full_name.encode()
    yield hashlib.sha256(name + request.SerializeToString(deterministic=True)).digest()


def tried(request: payment_pb2.PayRequest, digest: bytes) -> list[int]:
    """The digits with which the request has that digest, or a part of it."""
    guesses = ((n, altered(request, request_id="", remark=NOTE.format(n))) for n in range(DIGITS))
    return [n for n, guess in guesses for found in content_digests(guess) if found in digest]


def pay_request() -> payment_pb2.PayRequest:
    return payment_pb2.PayRequest(
        request_id="r",
        payer_member_id="buyer",
        payee_member_id="seller",
        amount_fen=10_00,
        settlement=payment_pb2.SETTLEMENT_T1,
        order_no="O-1",
        remark=NOTE.format(8128),
    )


def test_the_attack_finds_the_digits_behind_a_plain_digest() -> None:
    plain = Fingerprint(pay_request(), Vault([], "9930")).digest
    assert tried(pay_request(), plain) == [8128]


def test_a_remark_is_not_found_by_trying_against_what_is_recorded() -> None:
    recorded = Fingerprint(pay_request(), Vault([VAULT_KEY], "9930")).digest
    assert tried(pay_request(), recorded) == []


@pytest.mark.parametrize("card_number", ["6226090000000048", "", "6226091111110001"])
def test_no_part_of_what_is_recorded_is_a_digest_without_a_key(card_number: str) -> None:
    request = withdrawal_pb2.WithdrawRequest(member_id="m", amount_fen=1, card_number=card_number)
    recorded = Fingerprint(request, Vault([VAULT_KEY], "9930")).digest
    without = altered(request, card_number="")
    last_four = altered(request, card_number=card_number[-4:])
    for guess in (request, without, last_four):
        assert not any(found in recorded for found in content_digests(guess))


async def test_the_journal_holds_no_digest_that_a_guess_could_be_compared_with(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = altered(shop.pay_request("buyer", "seller", 10_00), remark=NOTE.format(8128))
    await shop.payments.Pay(request, timeout=TIMEOUT_S)
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        rows = await connection.execute("SELECT fingerprint FROM operation WHERE request_id = %s", [request.request_id])
        ((recorded,),) = await rows.fetchall()
    assert tried(request, bytes(recorded)) == []


async def test_whoever_uses_the_request_id_of_another_learns_no_digest_of_its_content(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    first = altered(shop.pay_request("buyer", "seller", 10_00), remark=NOTE.format(8128))
    await shop.payments.Pay(first, timeout=TIMEOUT_S)
    other = altered(first, amount_fen=1)
    refusal = await shop.refusal(shop.payments.Pay(other, timeout=TIMEOUT_S))
    assert refusal.reason == "REQUEST_ID_REUSED"
    shown = [value for value in refusal.metadata.values() if len(value) >= 64]
    assert not [found for value in shown for found in tried(first, bytes.fromhex(value))]
    assert not [name for name in refusal.metadata if "fingerprint" in name]
    assert Fingerprint(first, Vault([VAULT_KEY], "9930")).digest.hex() not in str(refusal)

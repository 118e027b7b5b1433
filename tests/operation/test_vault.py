"""The vault: cards stay sealed under the keys of the settings, which are changed between two services (`jzb vault`)."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from jzb.v1 import card_pb2, core_pb2, withdrawal_pb2
from ledger import Card, Cards, CheckedBy, connect
from ledger.names import MemberCode
from sandbox.records import BoundCard
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.vault import (
    KeyFile,
    Personal,
    SealBroken,
    Sealed,
    Vault,
    VaultClosed,
    VaultKeyMissing,
    VaultKeyWrong,
    binding_of,
    card_of,
    new_key,
)
from tests.world.binding import (
    BOUND,
    OTHER_CARD,
    bound,
    check,
    get,
    last_code,
    listed,
    refresh,
    sms_request,
    unbind,
    with_code,
)
from tests.world.cli import jzb
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace
from tests.world.personal import CARD, HOLDER, IDENTITY, MOBILE, shown
from tests.world.process import shop_on

VALUE = Personal(CARD, HOLDER, "1", IDENTITY, MOBILE)
PLACE = "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11"


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(clear_same_day=True, withdrawal_delay_s=0.0)) as sandbox:
        yield sandbox


def test_a_sealed_value_opens_in_its_own_place_alone() -> None:
    vault = Vault([VAULT_KEY], "9930")
    sealed = vault.seal(VALUE, PLACE)
    assert vault.open(sealed.key_id, sealed.content, PLACE) == VALUE
    assert not shown(repr(VALUE) + repr(sealed) + sealed.content.hex())
    assert vault.seal(VALUE, PLACE).content != sealed.content
    changed = sealed.content[:-1] + bytes([sealed.content[-1] ^ 1])
    elsewhere = ((vault, sealed.content, str(uuid4())), (vault, changed, PLACE), (vault, sealed.content[:20], PLACE))
    for other, content, binding in (*elsewhere, (Vault([VAULT_KEY], "9931"), sealed.content, PLACE)):
        with pytest.raises(SealBroken) as broken:
            other.open(sealed.key_id, content, binding)
        assert not shown(str(broken.value))


@pytest.mark.parametrize(
    "binding", [binding_of(UUID(PLACE), MemberCode("ann")), PLACE], ids=["now", "before the member was in it"]
)
def test_a_card_opens_for_its_own_member(binding: str) -> None:
    vault = Vault([VAULT_KEY], "9930")
    assert card_of(vault, _card(vault.seal(VALUE, binding), "ann")) == VALUE


def test_a_card_that_was_given_to_another_member_in_the_database_does_not_open() -> None:
    vault = Vault([VAULT_KEY], "9930")
    with pytest.raises(SealBroken):
        card_of(vault, _card(vault.seal(VALUE, binding_of(UUID(PLACE), MemberCode("ann"))), "eve"))


def _card(sealed: Sealed, member_id: str) -> Card:
    return Card(
        card_id=UUID(PLACE),
        member_id=MemberCode(member_id),
        key_id=sealed.key_id,
        digest=sealed.digest,
        sealed=sealed.content,
        masked=CARD[-4:],
        bank_type="1",
        branch_name="",
        cnaps_no="",
        super_bank_no="",
        checked_by=CheckedBy.SMS,
    )


def test_a_number_is_recognised_under_every_key_and_by_nobody_without_one() -> None:
    old, new = new_key(), new_key()
    digest = Vault([old], "9930").digest(CARD)
    assert digest in Vault([new, old], "9930").digests(CARD)
    assert digest not in Vault([new], "9930").digests(CARD)
    assert Vault([], "9930").digests(CARD) == []


def test_without_a_key_nothing_is_sealed_and_with_another_nothing_opens() -> None:
    sealed = Vault([VAULT_KEY], "9930").seal(VALUE, PLACE)
    with pytest.raises(VaultKeyMissing, match=sealed.key_id):
        Vault([new_key()], "9930").open(sealed.key_id, sealed.content, PLACE)
    with pytest.raises(VaultClosed, match="JZB_VAULT__KEYS"):
        Vault([], "9930").seal(VALUE, PLACE)


@pytest.mark.parametrize("wrong", ["", "not Base64!", base64.b64encode(b"x" * 31).decode(), "é" * 44])
def test_what_is_no_key_is_refused_without_being_told(wrong: str) -> None:
    with pytest.raises(VaultKeyWrong, match="32 random bytes") as refused:
        Vault([VAULT_KEY, wrong], "9930")
    assert not wrong or wrong not in str(refused.value)


def test_a_key_file_is_its_owners_and_forgets_no_key(tmp_path: Path) -> None:
    path = tmp_path / "data" / "vault.keys"
    keys = KeyFile(path)
    (first,) = keys.keys()
    assert keys.keys() == [first]
    keys.add()
    second, still = keys.keys()
    assert still == first
    assert second != first
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["vault.keys"]


async def sealed_under(database: str) -> set[str]:
    """The names of the keys that some card is sealed with."""
    engine = connect(database, 1)
    try:
        return {card.key_id for card in await Cards(engine, "9930").sealed_otherwise("", 1000)}
    finally:
        await engine.dispose()


def keyed(*keys: str) -> dict[str, Any]:
    """Settings of a service with these keys."""
    return {"vault": {"keys": list(keys)}}


async def rotated(database: str, data: Path, *keys: str) -> tuple[int, str]:
    """Exit status of `jzb vault rotate`, and what it said. Without keys it uses the key file under ``data``."""
    environment = {"DATABASE_URL": database, "JZB_BANK__MRCH_CODE": "9930"}
    if keys:
        environment["JZB_VAULT__KEYS"] = json.dumps(keys)
    ended = await jzb("vault", "rotate", "--data", str(data), environment=environment)
    said = ended.out + ended.error
    assert not any(key in said for key in keys)
    return ended.status, said


async def test_vault_key_prints_a_new_key_each_time() -> None:
    keys = {(await jzb("vault", "key")).out.strip() for _ in range(2)}
    assert len(keys) == 2
    assert all(len(base64.b64decode(key, validate=True)) == 32 for key in keys)


async def test_a_rotated_key_can_be_thrown_away_and_every_card_still_serves(
    database: str, bank: Sandbox, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    async with shop_on(database, bank, **keyed(old)) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
        gone = await bound(shop, "seller", OTHER_CARD)
        await unbind(shop, gone)
        checking = await check(shop, sms_request(shop, "seller", OTHER_CARD))
        code = await last_code(shop)
    assert len(await sealed_under(database)) == 1
    status, said = await rotated(database, tmp_path, new, old)
    assert (status, "3 cards" in said) == (0, True), said
    assert await sealed_under(database) == {Vault([new], "9930").key_id}
    assert "0 cards" in (await rotated(database, tmp_path, new, old))[1]
    async with shop_on(database, bank, **keyed(new)) as shop:
        assert (await with_code(shop, checking, code)).card.state == BOUND
        refusal = await shop.refusal(shop.cards.CheckCardBySms(sms_request(shop, "seller"), timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.metadata["card_id"]) == ("CARD_ALREADY_BOUND", card.card_id)
        assert [one.card_id for one in await refresh(shop, "seller")] == [card.card_id, checking.card_id]
        await paid_out(shop, card.card_id, 60_00)
        await shop.assert_agrees()


async def test_before_the_rotation_a_service_with_both_keys_works_with_old_cards_and_seals_under_the_new_key(
    database: str, bank: Sandbox
) -> None:
    old, new = new_key(), new_key()
    async with shop_on(database, bank, **keyed(old)) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
    async with shop_on(database, bank, **keyed(new, old)) as shop:
        refusal = await shop.refusal(shop.cards.CheckCardBySms(sms_request(shop, "seller"), timeout=TIMEOUT_S))
        assert refusal.reason == "CARD_ALREADY_BOUND"
        await paid_out(shop, card.card_id, 60_00)
        await bound(shop, "seller", OTHER_CARD)
        assert await sealed_under(database) == {Vault([key], "9930").key_id for key in (new, old)}
        await shop.assert_agrees()


async def test_without_keys_in_the_environment_a_rotation_makes_one_and_puts_it_first_in_the_key_file(
    database: str, bank: Sandbox, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "vault.keys")
    (old,) = keys.keys()
    async with shop_on(database, bank, **keyed(old)) as shop:
        await shop.merchant("seller")
        card = await bound(shop, "seller")
    status, said = await rotated(database, tmp_path)
    assert (status, "1 cards" in said) == (0, True), said
    new, still = keys.keys()
    assert still == old
    assert new not in said
    assert await sealed_under(database) == {Vault([new], "9930").key_id}
    async with shop_on(database, bank, **keyed(new)) as shop:
        assert (await unbind(shop, card)).card.card_id == card.card_id


async def test_the_key_file_gets_no_new_key_beside_a_service_which_would_not_know_it(
    database: str, bank: Sandbox, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "vault.keys")
    (old,) = keys.keys()
    async with shop_on(database, bank, **keyed(old)) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
        status, said = await rotated(database, tmp_path)
        assert (status, "stop `jzb run` first" in said) == (1, True), said
        assert keys.keys() == [old]
        await paid_out(shop, card.card_id, 60_00)


async def test_a_rotation_without_the_old_key_moves_nothing_and_names_the_key_it_lacks(
    database: str, bank: Sandbox, tmp_path: Path
) -> None:
    old = new_key()
    async with shop_on(database, bank, **keyed(old)) as shop:
        await shop.merchant("seller")
        await bound(shop, "seller")
    status, said = await rotated(database, tmp_path, new_key())
    assert status == 1
    assert f"the key {Vault([old], '9930').key_id} is not among JZB_VAULT__KEYS" in said
    assert await sealed_under(database) == {Vault([old], "9930").key_id}


async def test_a_rotation_with_what_is_no_key_says_so_without_telling_it(database: str, tmp_path: Path) -> None:
    status, said = await rotated(database, tmp_path, "no-key-at-all")
    assert status == 1
    assert "JZB_VAULT__KEYS" in said
    assert "32 random bytes" in said


async def test_with_a_wrong_key_no_card_is_used_and_none_is_forgotten(database: str, bank: Sandbox) -> None:
    async with shop_on(database, bank) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        card = await bound(shop, "seller")
    async with shop_on(database, bank, **keyed(new_key())) as shop:
        request = card_pb2.RefreshCardsRequest(request_id=shop.request_id(), member_id="seller")
        for call in (
            withdraw(shop, card.card_id, 60_00),
            unbind(shop, card),
            shop.cards.RefreshCards(request, timeout=TIMEOUT_S),
        ):
            refusal = await shop.refusal(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INTERFACE_NOT_ENABLED")
            assert refusal.metadata["setting"] == "JZB_VAULT__KEYS"
            assert refusal.next_step.startswith("have the operator add the key to JZB_VAULT__KEYS")
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        assert await listed(shop, "seller") == [card]
        assert (await shop.balance("seller")).withdrawable_fen == 100_00
    async with shop_on(database, bank) as shop:
        await paid_out(shop, card.card_id, 60_00)
        await shop.assert_agrees()


async def test_a_lost_unbinding_is_not_settled_by_who_cannot_recognise_the_card(database: str, bank: Sandbox) -> None:
    async with shop_on(database, bank) as shop:
        await shop.merchant("seller")
        card = await bound(shop, "seller")
        bank.faults.add("lose_before", code="6065")
        lost = (await shop.refusal(unbind(shop, card))).operation
        assert lost.state == core_pb2.OPERATION_STATE_UNKNOWN
    async with shop_on(database, bank, **keyed(new_key())) as shop:
        for _ in range(5):
            assert (await shop.resolve(lost.operation_id)).state == core_pb2.OPERATION_STATE_UNKNOWN
        assert (await get(shop, card.card_id)).state == BOUND
    async with shop_on(database, bank) as shop:
        ended = await shop.until_final(lost.operation_id)
        assert ended.state == core_pb2.OPERATION_STATE_REFUSED
        assert [one.card_id for one in await listed(shop, "seller")] == [card.card_id]
        assert [one.unbound for one in bank.bank.store.all(BoundCard)] == [False]


def withdraw(shop: Marketplace, card_id: str, fen: int) -> Any:
    request = withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(), member_id="seller", card_id=card_id, amount_fen=fen
    )
    return shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)


async def paid_out(shop: Marketplace, card_id: str, fen: int) -> None:
    """Withdraw to a card, to the end."""
    accepted = (await withdraw(shop, card_id, fen)).operation
    assert (await shop.until_final(accepted.operation_id)).state == core_pb2.OPERATION_STATE_DONE

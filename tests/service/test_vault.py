"""What is personal in a card is sealed, and told by nothing: not by a row, a log line, a span or an answer.

The service whose log and spans are searched runs as a process of its own; keys are changed between two services.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from jzb.v1 import card_pb2, card_pb2_grpc, core_pb2, member_pb2, member_pb2_grpc, withdrawal_pb2, withdrawal_pb2_grpc
from ledger import Cards, connect
from sandbox.records import BoundCard, CardCheck, SmsCode
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.vault import KeyFile, Personal, SealBroken, Vault, VaultClosed, VaultKeyMissing, VaultKeyWrong, new_key
from tests.service.binding import (
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
from tests.service.collector import Collector, collecting
from tests.service.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace
from tests.service.process import service_process, shop_on, until
from tests.service.test_cli import jzb
from tests.service.test_telemetry import QUICK_EXPORT, SAMPLED, everything_in

CARD = "6222031415926535897"
HOLDER = "纳兰性德"
IDENTITY = "TEST19550119271"
MOBILE = "13924681357"
NEW_MOBILE = "13927182818"
PERSONAL = (CARD, HOLDER, IDENTITY, MOBILE, NEW_MOBILE)

VALUE = Personal(CARD, HOLDER, "1", IDENTITY, MOBILE)
PLACE = "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11"


def shown(text: str) -> list[str]:
    """Which personal values a text shows: as they are, escaped, encoded, or by a digest that has no key."""
    found = []
    for value in PERSONAL:
        plain = value.encode()
        forms = (
            value,
            value.encode("unicode_escape").decode(),
            str(plain)[2:-1],
            "".join(f"\\{byte:03o}" for byte in plain),
            binascii.hexlify(plain).decode(),
            base64.b64encode(plain).decode().rstrip("=")[:-1],
            hashlib.sha256(plain).hexdigest(),
        )
        if any(form in text for form in forms):
            found.append(value)
    return found


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(clear_same_day=True, withdrawal_delay_s=0.0)) as sandbox:
        yield sandbox


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


@pytest.mark.parametrize("value", PERSONAL)
def test_the_search_for_personal_values_finds_every_way_to_write_them(value: str) -> None:
    plain = value.encode()
    written = (f"a {value} b", str(plain), f"\\x00{plain.hex()}ff", base64.b64encode(plain).decode(), ascii(value))
    assert all(shown(text) == [value] for text in (*written, hashlib.sha256(plain).hexdigest()))


async def test_nothing_personal_of_cards_is_in_any_row_log_line_span_or_answer(
    database: str, bank: Sandbox, collector: Collector
) -> None:
    async with shop_on(database, bank) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        await shop.merchant("other")
    telemetry = {"otlp_endpoint": collector.url, "metrics_interval_s": 0.2, "log_level": "debug", "log_json": True}
    keys = {"keys": [VAULT_KEY]}
    answers: list[str] = []
    async with service_process(
        database, bank, environment=QUICK_EXPORT, telemetry=telemetry, vault=keys, cards={"pay_out_interval_s": 0.0}
    ) as service:
        cards = card_pb2_grpc.CardServiceStub(service.channel)
        members = member_pb2_grpc.MemberServiceStub(service.channel)
        withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(service.channel)

        async def told(call: Any, request: Any) -> Any:
            """The answer, or nothing for an error; either is kept."""
            try:
                answer = await call(request, timeout=TIMEOUT_S, metadata=SAMPLED)
            except grpc.aio.AioRpcError as error:
                trailers: Any = error.trailing_metadata() or ()
                answers.append(f"{error.details()} {list(trailers)}")
                return None
            answers.append(str(answer))
            return answer

        def asked(**more: Any) -> dict[str, Any]:
            return {
                "request_id": str(uuid4()),
                "member_id": "seller",
                "card_number": CARD,
                "card_holder_name": HOLDER,
                "identity_type": card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
                "identity_number": IDENTITY,
                "bank_type": card_pb2.BANK_TYPE_PING_AN,
                "branch_name": "平安银行",
                "mobile": MOBILE,
                **more,
            }

        async def by_sms(**more: Any) -> Any:
            return await told(cards.CheckCardBySms, card_pb2.CheckCardBySmsRequest(**asked(**more)))

        async def by_transfer(**more: Any) -> Any:
            return await told(cards.CheckCardByTransfer, card_pb2.CheckCardByTransferRequest(**asked(**more)))

        faults = ("refuse:ERR134", "lose_before", "bad_signature", "malformed", "http500", "lose_after")
        for fault in faults:
            for interface, call in (("6055", by_transfer), ("6066", by_sms)):
                bank.faults.add(fault, code=interface)
                assert await call(**({"direction": 2} if interface == "6055" else {})) is None
        for wrong in (
            {"card_number": CARD + "x" * 30},
            {"card_holder_name": HOLDER + "\x07"},
            {"identity_number": IDENTITY + " " * 9},
            {"mobile": MOBILE + "0"},
            {"member_id": "nobody"},
        ):
            assert await by_sms(**wrong) is None
        again = asked(direction=1)
        checking = (await told(cards.CheckCardByTransfer, card_pb2.CheckCardByTransferRequest(**again))).card
        # The same request id with other personal data.
        assert await by_transfer(**{**again, "mobile": NEW_MOBILE}) is None
        received_fen = [check for check in bank.bank.store.all(CardCheck) if check.kind == "out"][-1].amount_fen
        confirmed = await told(
            cards.ConfirmCardByTransfer,
            card_pb2.ConfirmCardByTransferRequest(
                request_id="amount", card_id=checking.card_id, received_fen=received_fen
            ),
        )
        card_id = confirmed.card.card_id
        assert confirmed.card.state == BOUND
        for member_id in ("seller", "other"):
            assert await by_sms(member_id=member_id) is None

        change: dict[str, Any] = {"member_id": "seller", "proof": 2, "mobile": NEW_MOBILE}
        text = await told(members.RequestMobileChange, member_pb2.RequestMobileChangeRequest(**change, card_id=card_id))
        code = next(one.code for one in bank.bank.store.all(SmsCode) if one.order_no == text.message_order_no)
        bank.faults.add("lose_after", code="6084")
        confirm = {**change, "message_order_no": text.message_order_no, "code": code, "request_id": "mobile"}
        assert await told(members.ConfirmMobileChange, member_pb2.ConfirmMobileChangeRequest(**confirm)) is None
        for name, fault in (("out-1", ""), ("out-2", "lose_after"), ("out-3", "malformed")):
            if fault:
                bank.faults.add(fault, code="6033")
            request = withdrawal_pb2.WithdrawRequest(
                request_id=name, member_id="seller", card_id=card_id, amount_fen=1_00
            )
            await told(withdrawals.Withdraw, request)
        await told(cards.RefreshCards, card_pb2.RefreshCardsRequest(request_id="refresh", member_id="seller"))
        await told(cards.ListCards, card_pb2.ListCardsRequest(member_id="seller"))
        await told(cards.UnbindCard, card_pb2.UnbindCardRequest(request_id="unbind", card_id=card_id))

        await until(lambda: collector.named("jzb.v1.CardService/UnbindCard"), "the spans arrive")
        service.signal(15)
        assert await service.ended() == 0
        log = "".join(service.said)

    rows = await everything_in(database)
    assert card_id in rows
    assert "****5897" in rows
    assert "****5897" in " ".join(answers)
    assert not shown(rows), "in the database"
    assert not shown(log), "in the log"
    assert not shown(" ".join(collector.received)), "in the telemetry"
    assert not shown(" ".join(answers)), "in an answer"


def test_a_sealed_value_opens_in_its_own_place_alone() -> None:
    vault = Vault([VAULT_KEY], "9930")
    sealed = vault.seal(VALUE, PLACE)
    assert vault.open(sealed.key_id, sealed.content, PLACE) == VALUE
    assert not shown(repr(VALUE) + repr(sealed) + sealed.content.hex())
    assert vault.seal(VALUE, PLACE).content != sealed.content
    changed = sealed.content[:-1] + bytes([sealed.content[-1] ^ 1])
    elsewhere = ((vault, sealed.content, str(uuid4())), (vault, changed, PLACE), (vault, sealed.content[:20], PLACE))
    for other, content, place in (*elsewhere, (Vault([VAULT_KEY], "9931"), sealed.content, PLACE)):
        with pytest.raises(SealBroken) as broken:
            other.open(sealed.key_id, content, place)
        assert not shown(str(broken.value))


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
    """Exit status of `jzb vault rotate`, and what it said."""
    named = "[" + ",".join(f'"{key}"' for key in keys) + "]"
    environment = {"DATABASE_URL": database, "JZB_BANK__MRCH_CODE": "9930", "JZB_VAULT__KEYS": named}
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

"""Nothing personal in a card is told: not by a row, a log line, a span or an answer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import pytest

from jzb.v1 import card_pb2, card_pb2_grpc, member_pb2, member_pb2_grpc, withdrawal_pb2, withdrawal_pb2_grpc
from sandbox.records import CardCheck, SmsCode
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.binding import BOUND
from tests.world.collector import QUICK_EXPORT, SAMPLED, Collector, collecting
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY
from tests.world.personal import CARD, HOLDER, IDENTITY, MOBILE, NEW_MOBILE, PERSONAL, everything_in, shown
from tests.world.process import service_process, shop_on, until


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

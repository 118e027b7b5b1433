"""A caller puts a card, a mobile or an identity number where a name of its own belongs: no span and no log shows it."""

from __future__ import annotations

from typing import Any

import grpc
import psycopg
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from jzb.v1 import payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.personal import looks_personal, masked
from service.settings import TelemetrySettings
from service.telemetry import events, logs
from tests.world.collector import QUICK_EXPORT, SAMPLED, collecting
from tests.world.marketplace import LENIENT, TIMEOUT_S
from tests.world.process import service_process, shop_on, until

CARD, MOBILE, IDENTITY = "6226090000000048", "13800001234", "11010519491231002X"
PERSONAL = [
    *(CARD, MOBILE, IDENTITY, IDENTITY.lower(), "110105194912310046"),
    *("378282246310005", "6222021234567890128", "6226-0900-0000-0048", "6226 0900 0000 0048"),
    f"01a22efe-{CARD[:4]}-{CARD[4:8]}-{CARD[8:12]}-{CARD[12:]}",
    *(f"m{MOBILE}", f"pay:{MOBILE}:1", f"86{MOBILE}", f"+86{MOBILE}", "138-0000-1234"),
]
NUMBERS = [
    *("order-17-pay", "A121200a", "20261130123456", "6226090000000049", "12800001234", "138000012345"),
    # Two of our ids: one has the digits of a card, one those of a mobile.
    *("01a22efe-1981-7258-9585-859be898d607", "01a22efe-19f1-7258-9585-a13800001234"),
    *("110105194912310021", "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11", "172.16.0.5:5432", "2026-11-30 15:25:21.477089"),
]


@pytest.mark.parametrize("text", PERSONAL)
def test_what_looks_like_a_card_a_mobile_or_an_identity_number_is_hidden(text: str) -> None:
    assert looks_personal(text)
    hidden = masked(f"order {text} is taken")
    assert hidden.startswith("order ")
    assert hidden.endswith(" is taken")
    assert not any(run in hidden for run in (CARD, MOBILE, IDENTITY[:17], text[-4:]))


@pytest.mark.parametrize("text", NUMBERS)
def test_other_numbers_are_shown(text: str) -> None:
    assert not looks_personal(text)
    assert masked(text) == text


@given(st.text(alphabet="0123456789-xX 张a", max_size=60))
def test_a_text_is_masked_once_for_all_and_only_where_it_looks_personal(text: str) -> None:
    assert looks_personal(text) == (masked(text) != text)


async def test_no_span_and_no_log_line_of_a_call_shows_such_a_number(database: str) -> None:
    async with Sandbox(SandboxSettings(**LENIENT)) as bank, collecting() as collector:
        async with shop_on(database, bank) as shop:
            await shop.buyer(MOBILE, 100_00)
            await shop.merchant(f"m{MOBILE}")
            request = shop.pay_request(MOBILE, f"m{MOBILE}", 1_00)
        request.request_id, request.order_no = IDENTITY, CARD
        telemetry = {"otlp_endpoint": collector.url, "metrics_interval_s": 0.2}
        async with service_process(database, bank, environment=QUICK_EXPORT, telemetry=telemetry) as service:
            await service.payments.Pay(request, timeout=TIMEOUT_S, metadata=SAMPLED)
            await fault(database, service.payments, request)
            await until(lambda: len(collector.named("jzb.v1.PaymentService/Pay")) == 2, "the spans arrive")
        said = "".join(service.said)
        assert "unforeseen" in said
        for shown in (" ".join(collector.received), said):
            assert not [number for number in (CARD, MOBILE, IDENTITY) if number in shown]


async def fault(dsn: str, payments: Any, request: payment_pb2.PayRequest) -> None:
    """Have the service meet an error that nobody foresaw, whose text has the request's numbers."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no place for % of %', NEW.order_no, NEW.payer; END$$"
        )
        await connection.execute(
            "CREATE TRIGGER quoting BEFORE INSERT ON operation FOR EACH ROW EXECUTE FUNCTION quote()"
        )
    another = payment_pb2.PayRequest()
    another.CopyFrom(request)
    another.request_id = f"{IDENTITY[:-1]}x"
    with pytest.raises(grpc.aio.AioRpcError):
        await payments.Pay(another, timeout=TIMEOUT_S, metadata=SAMPLED)


def test_a_field_of_a_log_line_and_its_traceback_hide_such_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        logs.set_up(TelemetrySettings(log_json=True))
        try:
            raise ValueError(f"the order {CARD} of {MOBILE}")
        except ValueError as error:
            events.UNFORESEEN.log(error, request_id=IDENTITY, what="2611300000000006")
        events.CONTRADICTION.log(mismatch=f"member {MOBILE}", member_id=MOBILE, sub_account=CARD)
    finally:
        structlog.reset_defaults()
    first, second = capsys.readouterr().out.splitlines()
    assert not [number for number in (CARD, MOBILE, IDENTITY) if number in first]
    assert MOBILE not in second
    # A number of the bank's own is shown whatever it looks like: without it nobody finds the sub-account.
    assert f'"sub_account": "{CARD}"' in second

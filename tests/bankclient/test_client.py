"""Calls through a real socket to a bank that misbehaves on request."""

import asyncio
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from bankclient import (
    BANK_ZONE,
    AnswerOutcome,
    BankClient,
    BankConfigError,
    BankSettings,
    BankUnavailable,
    Booked,
    CertificateExpired,
    KeyFileMissing,
    KeyPasswordWrong,
    LinkSameName,
    MemberBalances,
    MemberPayment,
    MessageInvalid,
    ServiceIdMissing,
    wallclock,
)
from tests.bankclient.bank import (
    Reaction,
    TestBank,
    answers,
    answers_bytes,
    hangs_up,
    refuses,
    sleeps,
    stops_halfway,
    succeeds,
)
from tests.bankclient.keys import PASSWORD, certificate, pfx, rsa_key
from tests.bankclient.waiting import until

Make = Callable[..., BankSettings]

SERIAL = "X285502411050123456789"

PAYMENT = MemberPayment(
    FunctionFlag="6",
    OutSubAcctNo="9930000000001000",
    OutMemberCode="buyer",
    InSubAcctNo="9930000000001001",
    InMemberCode="seller",
    TranAmt=10_000,
    TranFee=0,
    Remark="测试 😀",
)

TOKEN_EXPIRED = answers(lambda bank, body: {"errorCode": "OPEN-E-100073", "errorMsg": "过期"})


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2026-12-31T15:59:59+00:00", "20261231235959000"),
        ("2026-12-31T16:00:00+00:00", "20270101000000000"),
        ("2028-02-28T23:59:59+00:00", "20280229075959000"),
    ],
)
async def test_a_request_tells_when_it_was_made_by_the_time_in_shanghai(
    bank: TestBank, client: BankClient, moment: str, told: str
) -> None:
    await client.ready()
    with patch.object(wallclock, "datetime") as clock:
        clock.now.side_effect = datetime.fromisoformat(moment).astimezone
        await client.call(PAYMENT, SERIAL)
    [body] = bank.received
    assert body["TxnTime"] == told


async def test_a_payment_goes_out_whole_and_comes_back_done(bank: TestBank, client: BankClient) -> None:
    bank.reactions = [succeeds()]
    await client.ready()
    answer = await client.call(PAYMENT, SERIAL)
    assert answer.outcome is AnswerOutcome.DONE
    assert isinstance(answer.reply, Booked)
    assert answer.attempts == 1
    assert len(answer.evidence) == 32
    [body] = bank.received
    now = datetime.now(BANK_ZONE)
    assert body.pop("TxnTime")[:8] == f"{now:%Y%m%d}"
    assert body.pop("RsaSign")
    assert body == {
        "ApiVersionNo": "1.0.7",
        "AppAccessToken": bank.tokens[0],
        "ApplicationID": "e1d0cb0b-0000-0000-0000-000000000001",
        "Ccy": "RMB",
        "CnsmrSeqNo": SERIAL,
        "FunctionFlag": "6",
        "FundSummaryAcctNo": "15000000000001",
        "InMemberCode": "seller",
        "InSubAcctNo": "9930000000001001",
        "MrchCode": "9930",
        "OutMemberCode": "buyer",
        "OutSubAcctNo": "9930000000001000",
        "Remark": "测试 😀",
        "RequestMode": "json",
        "SDKType": "api",
        "TranAmt": "100.00",
        "TranFee": "0.00",
        "TranType": "01",
        "TxnCode": "KFEJZB6034",
        "ValidTerm": "20170801",
    }
    assert bank.paths == ["/api/group/MemberTransaction"]
    headers = bank.headers[-1]
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
    assert headers["ApplicationID"] == "e1d0cb0b-0000-0000-0000-000000000001"
    assert "Content-Encoding" not in headers


async def test_a_refusal_comes_back_with_its_code(bank: TestBank, client: BankClient) -> None:
    bank.reactions = [refuses("ERR044", "余额不足")]
    answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.code) == (AnswerOutcome.REFUSED, "ERR044")


@pytest.mark.parametrize(
    "reaction",
    [
        pytest.param(hangs_up, id="hangs up"),
        pytest.param(stops_halfway, id="stops halfway"),
        pytest.param(answers(lambda bank, body: bank.success(body), status=500), id="status 500"),
        pytest.param(
            answers(lambda bank, body: bank.success(body) | {"RsaSign": "AAAA"}),
            id="bad signature",
        ),
        pytest.param(
            answers(lambda bank, body: {"TxnReturnCode": "000000", "FrontSeqNo": "1"}),
            id="unsigned success",
        ),
        pytest.param(answers(lambda bank, body: {"errorCode": "OPEN-E-100074"}), id="gateway"),
        pytest.param(refuses("ERR957"), id="ERR957"),
        pytest.param(refuses("ERR160"), id="serial repeated"),
        pytest.param(succeeds(CnsmrSeqNo="X285502411050000000000"), id="other serial"),
        pytest.param(answers_bytes(lambda bank, body: b"<html>"), id="not JSON"),
        pytest.param(answers_bytes(lambda bank, body: b'{"a":"1","a":"1"}'), id="field named twice"),
        pytest.param(answers_bytes(lambda bank, body: b" " * (2 * 1024 * 1024 + 1)), id="too long"),
        pytest.param(succeeds(FrontSeqNo=None), id="incomplete"),
    ],
)
async def test_whatever_proves_nothing_is_unknown_and_is_sent_once(
    bank: TestBank, client: BankClient, reaction: Reaction
) -> None:
    bank.reactions = [reaction]
    answer = await client.call(PAYMENT, SERIAL)
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert answer.reply is None
    assert answer.detail
    assert len(bank.received) == 1


async def test_an_answer_that_takes_too_long_is_unknown(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [sleeps(2)]
    async with BankClient(make_settings(base_url=bank.url, timeout_s=0.1)) as client:
        answer = await client.call(PAYMENT, SERIAL)
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert len(bank.received) == 1


async def test_a_call_after_the_bank_went_down_was_not_sent(bank: TestBank, client: BankClient) -> None:
    await client.ready()
    await bank.__aexit__()
    answer = await client.call(PAYMENT, SERIAL)
    assert answer.outcome is AnswerOutcome.NOT_SENT
    assert answer.attempts == 3
    assert bank.received == []
    await bank.__aenter__()


class Unreachable(httpx.AsyncBaseTransport):
    """Passes everything on but the business calls of these numbers, which find no connection."""

    def __init__(self, *calls: int) -> None:
        self.inner, self.unreachable, self.calls = httpx.AsyncHTTPTransport(), calls, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += "/group/" in str(request.url)
        if "/group/" in str(request.url) and self.calls in self.unreachable:
            raise httpx.ConnectError("refused")
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_tries_to_connect_end_in_one_request(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [succeeds()]
    async with BankClient(make_settings(base_url=bank.url), Unreachable(1, 2)) as client:
        answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.attempts) == (AnswerOutcome.DONE, 3)
    assert len(bank.received) == 1


async def test_a_bank_that_is_down_gives_no_token_and_nothing_is_sent(make_settings: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with BankClient(make_settings(base_url=url)) as client:
            with pytest.raises(BankUnavailable):
                await client.ready()
            answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.attempts) == (AnswerOutcome.NOT_SENT, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"errorCode": "OPEN-E-000000", "appAccessToken": "t"}, 200),
        ({"errorCode": "OPEN-E-000020"}, 200),
        ({}, 503),
    ],
)
async def test_a_token_that_is_not_signed_is_not_taken(
    bank: TestBank, client: BankClient, body: dict[str, Any], status: int
) -> None:
    bank.approve_body, bank.approve_status = body, status
    with pytest.raises(BankUnavailable):
        await client.ready()


async def test_calls_at_once_share_one_request_for_a_token(bank: TestBank, client: BankClient) -> None:
    bank.reactions, bank.approve_delay_s = [succeeds()], 0.05
    answers_ = await asyncio.gather(*(client.call(PAYMENT, SERIAL) for _ in range(20)))
    assert {answer.outcome for answer in answers_} == {AnswerOutcome.DONE}
    assert len(bank.tokens) == 1


async def test_a_token_refused_in_mid_flight_is_renewed_and_the_same_serial_sent_once_more(
    bank: TestBank, client: BankClient
) -> None:
    bank.reactions = [TOKEN_EXPIRED, succeeds()]
    answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.attempts) == (AnswerOutcome.DONE, 2)
    assert [body["CnsmrSeqNo"] for body in bank.received] == [SERIAL, SERIAL]
    assert [body["AppAccessToken"] for body in bank.received] == bank.tokens
    assert len(set(bank.tokens)) == 2


async def test_an_expiry_flag_without_a_code_has_the_same_serial_sent_again_with_a_new_token(
    bank: TestBank, client: BankClient
) -> None:
    flag_alone = answers(lambda bank, body: bank.signed({"CnsmrSeqNo": body["CnsmrSeqNo"], "tokenExpiryFlag": "true"}))
    bank.reactions = [flag_alone, succeeds()]
    answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.attempts) == (AnswerOutcome.DONE, 2)
    assert [body["CnsmrSeqNo"] for body in bank.received] == [SERIAL, SERIAL]
    assert [body["AppAccessToken"] for body in bank.received] == bank.tokens
    assert len(set(bank.tokens)) == 2


async def test_a_token_refused_twice_is_unknown_and_not_sent_a_third_time(bank: TestBank, client: BankClient) -> None:
    bank.reactions = [TOKEN_EXPIRED]
    answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.code) == (AnswerOutcome.UNKNOWN, "OPEN-E-100073")
    assert len(bank.received) == 2


async def test_a_refused_token_that_cannot_be_renewed_is_unknown(bank: TestBank, client: BankClient) -> None:
    await client.ready()
    bank.reactions = [TOKEN_EXPIRED]
    bank.approve_body = {"errorCode": "OPEN-E-000020"}
    answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, len(bank.received)) == (AnswerOutcome.UNKNOWN, 1)


async def test_a_repetition_that_cannot_be_sent_leaves_the_outcome_unknown(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [TOKEN_EXPIRED]
    settings = make_settings(base_url=bank.url, connect_tries=1)
    async with BankClient(settings, Unreachable(2)) as client:
        answer = await client.call(PAYMENT, SERIAL)
    assert (answer.outcome, answer.attempts) == (AnswerOutcome.UNKNOWN, 2)


async def test_an_ageing_token_is_renewed_behind_the_answer(bank: TestBank, client: BankClient) -> None:
    bank.reactions = [succeeds(tokenExpiryFlag="true"), succeeds()]
    answer = await client.call(PAYMENT, SERIAL)
    assert answer.outcome is AnswerOutcome.DONE
    await until(lambda: len(bank.tokens) == 2)
    assert len(bank.received) == 1


async def test_the_connection_is_kept_from_call_to_call(bank: TestBank, client: BankClient) -> None:
    bank.reactions = [succeeds()]
    for _ in range(5):
        await client.call(PAYMENT, SERIAL)
    assert len(bank.peers) == 1


async def test_a_call_that_finds_no_free_connection_was_not_sent(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [sleeps(0.5)]
    settings = make_settings(base_url=bank.url, max_connections=1, pool_timeout_s=0.05)
    async with BankClient(settings) as client:
        await client.ready()
        first = asyncio.create_task(client.call(PAYMENT, SERIAL))
        await asyncio.sleep(0.02)
        second = await client.call(PAYMENT, SERIAL[:-1] + "0")
        assert second.outcome is AnswerOutcome.NOT_SENT
        assert (await first).outcome is AnswerOutcome.DONE
    assert len(bank.received) == 1


async def test_queries_leave_connections_to_calls_that_move_money(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [sleeps(0.5), sleeps(0.5), succeeds()]
    balances = MemberBalances(TranNetMemberCode="buyer")
    settings = make_settings(base_url=bank.url, max_connections=4, pool_timeout_s=0.1)
    async with BankClient(settings) as client:
        await client.ready()
        serials = [f"{SERIAL[:12]}{number:010}" for number in range(20)]
        queries = [
            asyncio.create_task(client.call(MemberBalances(TranNetMemberCode="buyer"), serial)) for serial in serials
        ]
        await until(lambda: len(bank.received) == 2)
        assert (await client.call(PAYMENT, SERIAL)).outcome is AnswerOutcome.DONE
        answers = await asyncio.gather(*queries)
        assert [answer.outcome for answer in answers].count(AnswerOutcome.NOT_SENT) == 18
        # The places of those that gave up are free again.
        assert client.waiting == 0
        assert (await client.call(balances, SERIAL)).outcome is not AnswerOutcome.NOT_SENT


async def test_ten_thousand_calls_wait_for_a_connection_in_order_and_those_that_leave_cost_none(
    bank: TestBank, make_settings: Make
) -> None:
    bank.reactions = [sleeps(0.5), succeeds()]
    settings = make_settings(base_url=bank.url, max_connections=1, pool_timeout_s=60.0)
    serials = [f"{SERIAL[:12]}{number:010}" for number in range(10_000)]
    async with BankClient(settings) as client:
        await client.ready()
        calls = [asyncio.create_task(client.call(PAYMENT, serial)) for serial in serials]
        await until(lambda: bool(bank.received))
        for number, call in enumerate(calls):
            if number % 100:
                call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        staying = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert [answer.outcome for answer in staying] == [AnswerOutcome.DONE] * 100
        assert [body["CnsmrSeqNo"] for body in bank.received] == serials[::100]
        assert (await client.call(PAYMENT, SERIAL)).outcome is AnswerOutcome.DONE


async def test_closing_breaks_a_call_under_way_as_unknown(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [sleeps(1)]
    client = BankClient(make_settings(base_url=bank.url))
    await client.start()
    call = asyncio.create_task(client.call(PAYMENT, SERIAL))
    await until(lambda: bool(bank.received))
    await client.aclose()
    assert (await call).outcome is AnswerOutcome.UNKNOWN


async def test_closing_while_a_call_waits_for_its_token_leaves_it_unsent(bank: TestBank, make_settings: Make) -> None:
    bank.approve_delay_s = 1.0
    client = BankClient(make_settings(base_url=bank.url))
    await client.start()
    call = asyncio.create_task(client.call(PAYMENT, SERIAL))
    await until(lambda: bool(bank.tokens))
    await client.aclose()
    assert (await call).outcome is AnswerOutcome.NOT_SENT
    assert bank.received == []


async def test_a_query_takes_its_serial_from_the_callable(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [succeeds(SubAcctNo="1", SubAcctCashBal="1", SubAcctAvailBal="2", SubAcctFreezeAmt="3.5")]
    settings = make_settings(base_url=bank.url)

    async def next_serial() -> str:
        return SERIAL

    async with BankClient(settings, query_serial=next_serial) as client:
        answer = await client.call(MemberBalances(TranNetMemberCode="buyer"))
    assert answer.reply is not None
    assert answer.reply.SubAcctFreezeAmt == 350
    assert bank.received[0]["CnsmrSeqNo"] == SERIAL


@pytest.mark.parametrize("serial", [None, "", SERIAL[:-1], "Y" + SERIAL[1:]])
async def test_a_payment_without_a_proper_serial_is_refused_before_anything(
    bank: TestBank, client: BankClient, serial: str | None
) -> None:
    with pytest.raises(MessageInvalid):
        await client.call(PAYMENT, serial)
    assert bank.tokens == []


async def test_a_query_without_any_serial_is_refused(client: BankClient) -> None:
    with pytest.raises(MessageInvalid):
        await client.call(MemberBalances(TranNetMemberCode="buyer"))


LINK = LinkSameName(FunctionFlag="1", MerSubAcctMemberCode="m", CommonSubAcctMemberCode="c")


async def test_an_interface_without_a_service_id_says_which_setting_to_set(
    client: BankClient,
) -> None:
    with pytest.raises(ServiceIdMissing, match=r'service_ids\["6167"\]'):
        await client.call(LINK, SERIAL)


async def test_a_configured_service_id_is_used(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [refuses("ERR130")]
    settings = make_settings(base_url=bank.url, service_ids={"6167": "LinkThem"})
    async with BankClient(settings) as client:
        await client.call(LINK, SERIAL)
    assert bank.paths == ["/api/group/LinkThem"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"pfx_path": Path("nowhere.pfx")}, KeyFileMissing),
        ({"pfx_password": "wrong"}, KeyPasswordWrong),
        ({"bank_certificate_path": Path("nowhere.cer")}, BankConfigError),
        ({"ca_bundle": Path("nowhere.pem")}, BankConfigError),
    ],
)
async def test_a_wrong_configuration_stops_the_start(
    make_settings: Make, change: dict[str, Any], error: type[BankConfigError]
) -> None:
    with pytest.raises(error):
        await BankClient(make_settings(**change)).start()


async def test_an_expired_key_stops_the_start(make_settings: Make, tmp_path: Path) -> None:
    key = rsa_key()
    path = tmp_path / "old.pfx"
    path.write_bytes(pfx(key, certificate(key, -9, -2), PASSWORD))
    with pytest.raises(CertificateExpired):
        await BankClient(make_settings(pfx_path=path)).start()


async def test_a_cancelled_call_frees_its_connection(bank: TestBank, make_settings: Make) -> None:
    bank.reactions = [sleeps(1), succeeds()]
    settings = make_settings(base_url=bank.url, max_connections=1)
    async with BankClient(settings) as client:
        call = asyncio.create_task(client.call(PAYMENT, SERIAL))
        await until(lambda: bool(bank.received))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.call(PAYMENT, SERIAL)).outcome is AnswerOutcome.DONE

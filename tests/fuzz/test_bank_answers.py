"""Whatever the bank answers: no exception, no outcome that its signed words do not prove, never another amount."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any, get_args
from unittest.mock import patch

import grpc
import psycopg
import pytest
from pydantic import BaseModel

from bankclient import REQUESTS, Answer, Outcome, Reply, canonical_string, sign
from bankclient.canonical import MessageInvalid
from bankclient.outcome import Received, judge
from bankclient.signing import BankCertificate
from sandbox.faults import Told
from tests.bankclient.keys import Keys, make_keys
from tests.fuzz.driving import rested
from tests.fuzz.spoiling import as_json, broken, spoiled
from tests.service.marketplace import TIMEOUT_S, Marketplace, open_marketplace, refusal_of

SERIAL = "X285502411050123456789"


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@pytest.fixture(scope="session")
def certificate(keys: Keys) -> BankCertificate:
    return BankCertificate.from_bytes(keys.bank_pem)


def whole(reply: type[BaseModel], dice: Random, rows_max: int = 3) -> dict[str, Any]:
    """A body with every field of a reply, its amounts as the bank writes them."""
    body: dict[str, Any] = {}
    for name, field in reply.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        kinds += [inner for kind in kinds for inner in get_args(kind)]
        rows = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if rows:
            body[name] = [whole(rows[0], dice) for _ in range(dice.randint(0, rows_max))]
        elif int in kinds:
            body[name] = dice.choice((f"{dice.randint(0, 10**9)}.{dice.randint(0, 99):02d}", "33.0", "7200", "-5.00"))
        else:
            body[name] = str(dice.randint(0, 10**6))
    return body


def answered(code: str, content: bytes, certificate: BankCertificate) -> Answer[Any]:
    """The judgement of what came for a request of an interface."""
    request = REQUESTS[code].model_construct()
    return judge(request, SERIAL, Received(200, content, 1), certificate).answer


def signed(body: dict[str, Any], keys: Keys) -> bytes:
    plain = json.loads(as_json(body), parse_float=Decimal)
    return as_json({**body, "RsaSign": sign(keys.bank, canonical_string(plain))})


def amounts(read: Any, said: Any) -> Iterator[tuple[int, Any]]:
    """Every amount of a reply beside what the bank had written there."""
    for name, value in read:
        if isinstance(value, tuple):
            for row, row_said in zip(value, said.get(name) or (), strict=True):
                yield from amounts(row, row_said)
        elif isinstance(value, int):
            yield value, said[name]


@pytest.mark.parametrize("code", REQUESTS)
def test_a_signed_answer_is_read_exactly_or_not_at_all(code: str, keys: Keys, certificate: BankCertificate) -> None:
    dice = Random(code)
    outcomes = set()
    for _ in range(60):
        common = {
            "TxnReturnCode": "000000",
            "TxnReturnMsg": "成功",
            "CnsmrSeqNo": SERIAL,
            "FrontSeqNo": "2411051234567",
        }
        body = {**whole(REQUESTS[code].reply, dice), **common}
        try:
            content = signed(spoiled(body, dice), keys)
        except MessageInvalid:
            # Not even the bank could sign it: half a pair of UTF-16.
            continue
        answer = answered(code, content, certificate)
        outcomes.add(answer.outcome)
        if answer.outcome is Outcome.DONE:
            said = json.loads(content, parse_float=Decimal)
            assert said["TxnReturnCode"] == "000000"
            assert isinstance(answer.reply, Reply)
            for fen, text in amounts(answer.reply, said):
                assert Fraction(str(text)) * 100 == fen
        else:
            assert answer.outcome is Outcome.UNKNOWN
            assert answer.reply is None
    assert Outcome.UNKNOWN in outcomes


@pytest.mark.parametrize("code", REQUESTS)
def test_bytes_that_were_changed_on_the_way_never_bring_about_another_answer(
    code: str, keys: Keys, certificate: BankCertificate
) -> None:
    dice = Random(code)
    for outcome, return_code in ((Outcome.DONE, "000000"), (Outcome.REFUSED, "ERR044")):
        # Of several rows the signature covers the last value of each key alone (transport.md 2.3).
        body = {**whole(REQUESTS[code].reply, dice, 1), "TxnReturnCode": return_code, "CnsmrSeqNo": SERIAL}
        content = signed(body, keys)
        true = answered(code, content, certificate)
        assert true.outcome is outcome
        for _ in range(60):
            answer = answered(code, broken(content, dice), certificate)
            if answer.outcome is not Outcome.UNKNOWN:
                assert (answer.outcome, answer.reply, answer.code) == (true.outcome, true.reply, true.code)


class Liar:
    """Stands before the sandbox and spoils what it signs, every other time; what the bank did stays done.

    It leaves alone what alone says whether the bank acted, and the date of the booking: a bank that signs another one
    says so and is believed.
    """

    KEPT = frozenset({"TxnReturnCode", "TxnReturnMsg", "FrontSeqNo", "TranStatus"})

    def __init__(self, shop: Marketplace, seed: int) -> None:
        self._dice = Random(seed)
        self._handle = shop.sandbox.bank.handle
        self.is_lying = True
        self.lies = 0

    def handle(self, service_id: str, body: Any, told: Told = Told()) -> dict[str, object]:  # noqa: B008
        answer = self._handle(service_id, body, told)
        if not self.is_lying or self._dice.random() < 0.5:
            return answer
        self.lies += 1
        lie = spoiled(answer, self._dice, self.KEPT)
        try:
            canonical_string(json.loads(as_json(lie), parse_float=Decimal))
        except MessageInvalid:
            return answer
        return json.loads(as_json(lie))  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_bank_that_talks_nonsense_makes_the_mirror_post_nothing_wrong(database: str, seed: int) -> None:
    async with open_marketplace(database, resolver={"ask_after_s": 0.3}) as shop:
        await shop.buyer("buyer", 1_000_000, withdrawable=True)
        await shop.merchant("seller", 1_000_000)
        liar = Liar(shop, seed)
        told = set()
        with patch.object(shop.sandbox.bank, "handle", liar.handle):
            for _ in range(60):
                for call in (
                    shop.top_ups.TopUp(shop.top_up_request("buyer", 700, 7), timeout=TIMEOUT_S),
                    shop.payments.Pay(shop.pay_request("buyer", "seller", 1000, 10), timeout=TIMEOUT_S),
                ):
                    try:
                        await call
                    except grpc.aio.AioRpcError as error:
                        told.add(refusal_of(error).reason)
            liar.is_lying = False
            assert await rested(database) == (0, 0)
        assert liar.lies > 20
        assert told == {"BANK_OUTCOME_UNKNOWN"}
        await shop.clear()
        await shop.assert_agrees()
        async with await psycopg.AsyncConnection.connect(database) as connection:
            payments = "SELECT state, count(*) FROM operation WHERE kind = 'PAY_T1' GROUP BY state"
            found = await connection.execute(payments)
            assert await found.fetchall() == [("done", 60)]

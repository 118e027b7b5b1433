"""What the bank, or somebody who passes for it, writes about people into an answer is in no book, log or error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bankclient import HIDDEN, TransactionStatusReply, masked
from jzb.v1 import core_pb2
from ledger.names import Serial
from service.process import evidence
from tests.ledger.bookkeeping import ask
from tests.world import binding
from tests.world.binding import CARD, HOLDER, MOBILE
from tests.world.doubts import STATUS_QUERY, assert_in_doubt
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says
from tests.world.middleman import shop_behind_a_middleman

PAYMENT = "MemberTransaction"
PERSON = "张三丰"
TEXT = f"户名{PERSON} 卡号6222 0210 0111 2223 手机13800138000 证件11010119900307001X"


def everything_stored(dsn: str) -> str:
    """All rows of all tables that have something of an operation, as text."""
    tables = [name for (name,) in ask(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    return "\n".join(row[0] for table in tables for row in ask(dsn, f"SELECT {table}::text FROM {table}"))


def nothing_of_it(text: str) -> bool:
    return not any(part in text for part in ("0210 0111", "13800138000", "110101199003", PERSON))


@pytest.mark.parametrize("is_signed_wrong", [False, True])
async def test_the_words_of_whoever_does_not_sign_are_given_on_to_nobody(
    database: str, capsys: pytest.CaptureFixture[str], is_signed_wrong: bool
) -> None:
    def forged(answer: dict[str, Any]) -> dict[str, Any]:
        words = {"TxnReturnCode": TEXT, "TxnReturnMsg": TEXT, "errorCode": TEXT, "errorMsg": TEXT, TEXT: TEXT}
        return {**words, **({"RsaSign": answer["RsaSign"]} if is_signed_wrong else {})}

    async with shop_behind_a_middleman(database) as (shop, middleman):
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        middleman.change(PAYMENT, forged)
        refusal = await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
        operation = assert_in_doubt(refusal)
        middleman.behave()
        assert (operation.bank_code, operation.bank_message) == ("other", "")
        assert nothing_of_it(f"{refusal} {await shop.operation(operation.operation_id)}")
        assert nothing_of_it(everything_stored(database))
        # JSON of a log line has other characters than ASCII as they are, or escaped.
        logged = capsys.readouterr().out
        assert nothing_of_it(logged)
        assert json.dumps(PERSON)[1:-1] not in logged


async def test_a_signed_refusal_is_shown_without_numbers_and_kept_whole_under_the_vault(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    shop.sandbox.faults.add("lose_after", service_id=PAYMENT)
    lost = assert_in_doubt(
        await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S))
    )
    with bank_says(shop.sandbox, STATUS_QUERY, lambda answer: answer.update(FailMsg=TEXT)):
        done = await shop.resolve(lost.operation_id)
    assert done.state == core_pb2.OPERATION_STATE_DONE
    assert done.bank_message == f"户名{PERSON} 卡号{HIDDEN} 手机{HIDDEN} 证件{HIDDEN}"
    components = shop.service.components
    operation = await components.reads.operation(serial=Serial(lost.serial))
    assert operation is not None
    (decision,) = await components.reads.decisions(operation.id)
    bank = evidence.certificates([shop.sandbox.keyring.bank_certificate_path])
    (one,) = evidence.proved(decision, components.vault, bank)
    assert TEXT.encode() in one.canonical
    stored = everything_stored(shop.dsn)
    assert "13800138000" not in stored
    assert "0210 0111" not in stored


async def test_a_refusal_does_not_repeat_who_the_request_is_about(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    words = {"TxnReturnCode": "ERR111", "TxnReturnMsg": f"{HOLDER}的卡{CARD}与手机{MOBILE}不符"}
    with bank_says(shop.sandbox, "BindRelateAcctUnionPay", lambda answer: answer.update(words)):
        call = shop.cards.CheckCardBySms(binding.sms_request(shop, "buyer"), timeout=TIMEOUT_S)
        refusal = await shop.refusal(call)
    assert refusal.operation.bank_message == f"{HIDDEN}的卡{HIDDEN}与手机{HIDDEN}不符"
    stored = everything_stored(shop.dsn)
    assert not [part for part in (HOLDER, CARD, MOBILE) if part in f"{refusal} {stored}"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("余额不足", "余额不足"),
        ("12345", "12345"),
        ("123456", HIDDEN),
        ("a 6222-0210-0111-2223 b", f"a {HIDDEN} b"),
        ("１３８００１３８０００", HIDDEN),
        ("11010119900307001X", HIDDEN),
    ],
)
def test_six_digits_and_more_are_hidden(text: str, shown: str) -> None:
    assert masked(text) == shown
    status = {"BookingFlag": "2", "TranStatus": "0", "TranAmt": "1.00", "FailMsg": text}
    assert TransactionStatusReply.from_wire(status).FailMsg == shown


def test_the_longer_of_two_names_is_hidden_first() -> None:
    assert masked("张三丰和张三", ["张三", "张三丰", "张"]) == f"{HIDDEN}和{HIDDEN}"

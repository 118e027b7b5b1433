"""docs/operations/questions.md: each question that people ask has one command or RPC, and that answers it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory

from bankclient import BANK_ZONE
from tests.world import binding, orders, suspense, withdrawals
from tests.world.cli import jzb
from tests.world.marketplace import SEAL_KEY, TIMEOUT_S, Marketplace, open_marketplace
from tests.world.process import ROOT

PAGE = ROOT / "docs" / "operations" / "questions.md"

QUESTION = re.compile(r"^\*\*(\d+)\. (.+\?)\*\* (.+？)\n\n    (.+)$", re.MULTILINE)

CALL = re.compile(r"^grpcurl -plaintext -d '(.+)' 127\.0\.0\.1:50051 (jzb\.v1\.\w+)/(\w+)$")

OF_A_SERVICE = ("reconcile", "trial-balance", "balance", "statement", "proposals", "work", "orders", "withdrawals")
"""Commands that ask a running service; the others read the books."""

ANSWERS: Mapping[int, tuple[str, ...]] = {
    1: ("every posting is matched, 0 breaks", "17.34"),
    2: ("{}",),
    3: ("{}",),
    4: ("xlsx",),
    5: ("buyer", "10000"),
    6: ("RECONCILIATION_STATE_CLEAN",),
    7: ("fee", "0.56"),
    8: ("fee", "0.56"),
    9: ("7.77",),
    10: ("900",),
    11: ("balance_fen",),
    12: ("3 entries of member seller",),
    13: ("seller", "11.78"),
    14: ("{}",),
    15: ("{}",),
    16: ("TOP_UP", "100.00"),
    17: ("PAY_T1", "12.34"),
    18: ("RESERVED", "DONE", "000000"),
    19: ("seller", "1.00", "*0048"),
    20: ("seller",),
    21: ("1234",),
    22: ("$ORDER", "5.00", "OPEN"),
    23: ("masked",),
    24: ("1234",),
    25: ("3.21",),
    26: ("next_query_time",),
    27: ("OPERATION_STATE",),
    28: ("no pending",),
    29: ("agree",),
    30: ("RESULT_EQUAL",),
}
"""What the answer to each question holds, in the marketplace of `asked`."""


class Question(NamedTuple):
    """A question of the page, in both languages, and what answers it."""

    number: int
    english: str
    chinese: str
    command: str


def questions() -> list[Question]:
    """All of the page."""
    return [Question(int(number), *texts) for number, *texts in QUESTION.findall(PAGE.read_text("utf-8"))]


def test_the_page_has_thirty_questions_in_two_languages_each_with_one_answer() -> None:
    assert [question.number for question in questions()] == list(range(1, 31))
    assert len(re.findall(r"^    ", PAGE.read_text("utf-8"), re.MULTILINE)) == 30
    assert set(ANSWERS) == set(range(1, 31))


@pytest.mark.soak
async def test_every_question_is_answered_by_its_one_command(database: str, tmp_path: Path) -> None:
    async with open_marketplace(database, {"any_code": True}) as shop:
        values = {**await in_hand(shop), "FOLDER": str(tmp_path / "out")}
        wrong = {}
        for question in questions():
            command = Template(question.command).substitute(values)
            told = await answer(shop, command, tmp_path)
            lacking = [text for text in ANSWERS[question.number] if Template(text).substitute(values) not in told]
            if lacking:
                wrong[question.english] = (lacking, told)
    assert not wrong


async def in_hand(shop: Marketplace) -> dict[str, str]:
    """A marketplace on its second day; returns what the page's words in capitals stand for."""
    topped_up = shop.top_up_request(await shop.buyer("buyer"), 100_00)
    await shop.top_ups.TopUp(topped_up, timeout=TIMEOUT_S)
    await binding.bound(shop, "buyer")
    await shop.merchant("seller")
    paid = await shop.pay("buyer", "seller", 12_34, 56)
    order_no = await orders.prepay(shop, "buyer", "seller", 5_00)
    await shop.clear()
    moment = datetime.now(BANK_ZONE).isoformat(timespec="microseconds")
    await shop.top_up("buyer", 9_00)
    await withdrawals.withdraw(shop, "seller", 1_00)
    await suspense.in_suspense(shop, 7_77)
    doubtful = shop.pay_request("buyer", "seller", 3_21, remark="[[lose_before]]")
    await shop.refusal(shop.payments.Pay(doubtful, timeout=TIMEOUT_S))
    return {
        "BANK_SERIAL": paid.bank_serial,
        "BUYER": "buyer",
        "CHANNEL_NO": topped_up.channel.transaction_no,
        "DAY": paid.bank_day,
        "DOUBTFUL": doubtful.request_id,
        "MOMENT": moment,
        "ORDER": order_no,
        "SELLER": "seller",
        "SERIAL": paid.serial,
    }


async def answer(shop: Marketplace, command: str, folder: Path) -> str:
    """What a command or an RPC of the page prints."""
    if called := CALL.match(command):
        content, service, method = called.groups()
        return await call(shop, service, method, json.loads(content))
    program, *arguments = shlex.split(command)
    assert program == "jzb"
    environment = {}
    if arguments[0] in OF_A_SERVICE:
        arguments += ["--target", f"127.0.0.1:{shop.service.port}"]
    else:
        arguments += ["--data", str(folder)]
        environment = {
            "DATABASE_URL": shop.dsn,
            "JZB_BANK__MRCH_CODE": shop.service.components.settings.platform,
            "JZB_SEAL__KEYS": json.dumps([SEAL_KEY]),
        }
    ended = await jzb(*arguments, environment=environment)
    return f"{ended.out}{ended.error}"


async def call(shop: Marketplace, service: str, method: str, content: dict[str, Any]) -> str:
    """The answers to an RPC as JSON, with the contract's names."""
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    asked, answered = (message_factory.GetMessageClass(one) for one in (described.input_type, described.output_type))
    kind = shop.channel.unary_stream if described.server_streaming else shop.channel.unary_unary
    calling: Any = kind(f"/{service}/{method}", asked.SerializeToString, answered.FromString)
    called = calling(json_format.ParseDict(content, asked()), timeout=TIMEOUT_S)
    answers = [one async for one in called] if described.server_streaming else [await called]
    return "\n".join(json_format.MessageToJson(one, preserving_proto_field_name=True) for one in answers)

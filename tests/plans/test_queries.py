"""The questions to the bank as operations keep them: what was stored once is read for ever, and written the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import questions
from service.inflows.clearing import SweepQuery
from service.inflows.returns import ReturnQuery
from service.plans.plan import Stored
from service.questions import query
from service.questions.acquiring import AcquiredQuery
from service.questions.query import OutcomeQuery

STORED: dict[str, str] = {
    "status": '{"by": "status", "flag": "3", "by_part": false}',
    "status by part": '{"by": "status", "flag": "4", "by_part": true}',
    "member": '{"by": "member", "member_id": "m1", "property": "SH", "opening": true}',
    "sweep": '{"by": "sweep", "bank_day": "2026-11-24"}',
    "resend": '{"by": "resend", "flag": "2", "interface": "6164", "fields": {"ReturnAmt": "1.00", "Remark": "含备注"}}',
    "booked": '{"by": "booked", "sub_account": "9930000000000001"}',
    "return": '{"by": "return", "bank_day": "2026-11-24", "bank_serial": "26112400001"}',
    "card": '{"by": "card", "sub_account": "993", "card_id": "00000000-0000-0000-0000-000000000009", "does": "correct",'
    ' "life_s": 0.0, "pays_out": false, "branch_name": "支行", "cnaps_no": "C1", "super_bank_no": ""}',
    "mobile": '{"by": "mobile", "sub_account": "993", "digest": "0102"}',
    "same name": '{"by": "same-name", "ordinary": "m1", "merchant": "m2"}',
    "acquired": '{"by": "acquired", "channel": "YST1", "order_no": "O1", "amount_fen": 5000, "shares": ['
    '{"order_no": "S1", "sub_account": "993", "amount_fen": 3000, "fee_fen": 300, "is_frozen": true,'
    ' "holds_fee": true}, {"order_no": "S2", "sub_account": "994", "amount_fen": 2000, "fee_fen": 0,'
    ' "is_frozen": false, "holds_fee": false}]}',
    "rebook": '{"by": "rebook", "channel": "04", "order_no": "O1", "sub_account": "993"}',
}
"""Every kind of question as JSON, as operations have it in their plans. A line here is never changed."""


def known_queries() -> dict[str, type[query.Query]]:
    return query._KINDS


def forget(by: str) -> None:
    query._KINDS.pop(by)


def read(text: str) -> Stored:
    return Stored.from_json({"ask": json.loads(text), "drafts": []})


@pytest.mark.parametrize("name", STORED)
def test_a_stored_question_is_read_and_written_the_same(name: str) -> None:
    assert json.dumps(read(STORED[name]).to_json()["ask"], ensure_ascii=False) == STORED[name]


def test_no_two_stored_questions_are_read_as_the_same() -> None:
    queries = [read(text).query for text in STORED.values()]
    assert all(queries.count(one) == 1 for one in queries)


def test_every_question_has_a_stored_form_here() -> None:
    assert {json.loads(text)["by"] for text in STORED.values()} == set(known_queries())


def test_a_share_from_before_fees_could_stay_frozen_does_not_hold_its_fee() -> None:
    stored = (
        '{"by": "acquired", "channel": "YST1", "order_no": "O1", "amount_fen": 3000, "shares": [{"order_no": "S1",'
        ' "sub_account": "993", "amount_fen": 3000, "fee_fen": 300, "is_frozen": true}]}'
    )
    found = read(stored).query
    assert isinstance(found, AcquiredQuery)
    assert [share.holds_fee for share in found.shares] == [False]


NEW = """
from dataclasses import dataclass
from typing import ClassVar

from service.questions.query import OutcomeQuery
from service.questions.results import BankResult, Verdict


@dataclass(frozen=True, slots=True)
class TideQuery(OutcomeQuery):
    by: ClassVar[str] = "{by}"
    height_fen: int

    async def run(self, context):
        return [BankResult(Verdict.DONE)]
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files count as modules of the questions."""
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(tmp_path)])
    before = set(known_queries())
    yield tmp_path
    sys.modules.pop("service.questions.tide", None)
    for by in set(known_queries()) - before:
        forget(by)


def test_a_question_in_a_new_file_is_found(room: Path) -> None:
    (room / "tide.py").write_text(NEW.format(by="tide"), encoding="utf-8")
    questions.load()
    found = read('{"by": "tide", "height_fen": 7}')
    assert type(found.query).__name__ == "TideQuery"
    assert found.to_json()["ask"] == {"by": "tide", "height_fen": 7}


def test_two_questions_cannot_be_stored_as_the_same(room: Path) -> None:
    (room / "tide.py").write_text(NEW.format(by="member"), encoding="utf-8")
    with pytest.raises(TypeError, match="MemberQuery are both stored as 'member'"):
        questions.load()


def test_a_question_that_nobody_knows_is_not_read() -> None:
    with pytest.raises(ValueError, match="horoscope"):
        read('{"by": "horoscope"}')


def test_only_inflows_have_questions_whose_answers_enter_parts_by_themselves() -> None:
    assert {one for one in known_queries().values() if not issubclass(one, OutcomeQuery)} == {SweepQuery, ReturnQuery}

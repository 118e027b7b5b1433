"""What an answer means: every branch of the classification, from bytes alone."""

import dataclasses
import hashlib
import json
from datetime import date
from typing import Any

import pytest

from bankclient import (
    CLEAN_REFUSALS,
    UNKNOWN_CODES,
    Answer,
    AnswerOutcome,
    BankCertificate,
    BankUnavailable,
    Booked,
    Evidence,
    MemberPayment,
    MessageInvalid,
    SubAccountTransactions,
    TransactionStatus,
    canonical_string,
    sign,
)
from bankclient.outcome import (
    NO_RECORD,
    OTHER_CODE,
    JudgedAnswer,
    Received,
    judge,
    not_sent,
    read_json_object,
    read_token,
    unknown,
)
from tests.bankclient.keys import Keys

SERIAL = "X285502411050123456789"

PAYMENT = MemberPayment(
    FunctionFlag="6",
    OutSubAcctNo="9930000000001000",
    OutMemberCode="buyer",
    InSubAcctNo="9930000000001001",
    InMemberCode="seller",
    TranAmt=10_000,
    TranFee=0,
)

SUCCESS = {
    "TxnReturnCode": "000000",
    "TxnReturnMsg": "交易成功",
    "CnsmrSeqNo": SERIAL,
    "FrontSeqNo": "2411051234567890",
}


class SigningBank:
    """Signs bodies as the bank and hands them to the judge."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.certificate = BankCertificate.from_bytes(keys.bank_pem)

    def signed(self, body: dict[str, Any]) -> dict[str, Any]:
        return body | {"RsaSign": sign(self.keys.bank, canonical_string(body))}

    def judge(self, content: bytes | dict[str, Any], status: int = 200) -> JudgedAnswer[Booked]:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return judge(PAYMENT, SERIAL, Received(status, raw, 1), self.certificate)

    def answer(self, content: bytes | dict[str, Any], status: int = 200) -> Answer[Booked]:
        return self.judge(content, status).answer


@pytest.fixture(scope="session")
def bank(keys: Keys) -> SigningBank:
    return SigningBank(keys)


def test_a_signed_success_is_done_with_evidence_and_booking_date(bank: SigningBank) -> None:
    body = bank.signed(SUCCESS)
    answer = bank.answer(body)
    assert answer.outcome is AnswerOutcome.DONE
    assert answer.reply == Booked(FrontSeqNo="2411051234567890")
    assert answer.front_seq_no == "2411051234567890"
    assert answer.booking_date == date(2024, 11, 5)
    assert answer.message == "交易成功"
    signed = canonical_string(SUCCESS) + body["RsaSign"].encode()
    assert answer.evidence == hashlib.sha256(signed).digest()


@pytest.mark.parametrize("code", ["ERR044", "ERR020", "ERR271", "ERR127", "E10002", "EF0048"])
def test_a_signed_refusal_is_refused(bank: SigningBank, code: str) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": code, "TxnReturnMsg": "余额不足"}))
    assert answer.outcome is AnswerOutcome.REFUSED
    assert (answer.code, answer.message, answer.reply) == (code, "余额不足", None)
    assert answer.evidence


EXCEPTIONS = (
    *("ERR025", "ERR108", "ERR923", "ERR957"),
    *("ERR136", "ERR158", "ERR178", "ERR194", "ERR196", "ERR199", "ERR200", "ERR207"),
    *("ERR209", "ERR226", "ERR228", "ERR248"),
    *("ERR160", "ERR229", "ERR275", "EF0027", "EF0058"),
)
"""What transport.md 3.5 calls exceptions, repeated numbers and half-done work."""


CLEAN = (
    *("E10002", "E80001", "E80011", "E90001", "EF0034", "EF0048", "ERR020", "ERR021", "ERR026"),
    *("ERR030", "ERR031", "ERR033", "ERR042", "ERR044", "ERR055", "ERR070", "ERR095", "ERR111"),
    *("ERR114", "ERR115", "ERR125", "ERR126", "ERR127", "ERR130", "ERR131", "ERR132", "ERR133"),
    *("ERR134", "ERR135", "ERR137", "ERR138", "ERR139", "ERR142", "ERR143", "ERR144", "ERR145"),
    *("ERR146", "ERR147", "ERR149", "ERR150", "ERR151", "ERR152", "ERR157", "ERR163", "ERR168"),
    *("ERR170", "ERR175", "ERR176", "ERR177", "ERR180", "ERR181", "ERR183", "ERR190", "ERR191"),
    *("ERR198", "ERR212", "ERR213", "ERR214", "ERR221", "ERR222", "ERR223", "ERR224", "ERR225"),
    *("ERR235", "ERR236", "ERR237", "ERR238", "ERR250", "ERR252", "ERR254", "ERR255", "ERR256"),
    *("ERR257", "ERR258", "ERR260", "ERR263", "ERR264", "ERR265", "ERR269", "ERR270", "ERR271"),
    *("ERR272", "ERR273", "ERR276", "ERR278", "ERR280", "ERR281", "ERR283", "ERR284", "ERR285"),
    *("ERR288", "ERR317", "ERR936"),
)
"""What transport.md 3.5 publishes as found wrong before anything moved. A code too many gives money back that moved."""


def test_the_table_of_clean_refusals_is_that_of_the_published_lists() -> None:
    assert tuple(sorted(CLEAN_REFUSALS)) == CLEAN


def test_the_table_of_exceptions_is_that_of_the_published_lists() -> None:
    assert set(UNKNOWN_CODES) == set(EXCEPTIONS)
    assert not set(CLEAN_REFUSALS) & set(UNKNOWN_CODES)


@pytest.mark.parametrize("code", EXCEPTIONS)
def test_a_signed_code_after_which_the_bank_may_have_acted_is_unknown(bank: SigningBank, code: str) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": code}))
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert answer.evidence


@pytest.mark.parametrize(
    "code", ["", "ERR04", "ERR0444", "err044", "OPEN-E-200001", "000001", "ERR000", "ERR161", "ERR277", "ERR282"]
)
def test_a_signed_code_in_no_table_is_unknown(bank: SigningBank, code: str) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": code}))
    assert answer.outcome is AnswerOutcome.UNKNOWN


def test_no_code_of_the_form_of_a_refusal_is_one_unless_it_is_listed(bank: SigningBank) -> None:
    refused = {
        code
        for code in (f"ERR{number:03d}" for number in range(1000))
        if bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": code})).outcome is AnswerOutcome.REFUSED
    }
    assert refused == {code for code in CLEAN_REFUSALS if code.startswith("ERR")}


@pytest.mark.parametrize("code", ["ERR020", "ERR777", "E12345"])
def test_any_signed_refusal_of_a_question_is_a_plain_refusal_as_a_question_moves_nothing(
    bank: SigningBank, code: str
) -> None:
    content = json.dumps(bank.signed(SUCCESS | {"TxnReturnCode": code})).encode()
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    assert judge(question, SERIAL, Received(200, content, 1), bank.certificate).answer.outcome is AnswerOutcome.REFUSED


def test_a_code_that_the_settings_call_clean_is_a_refusal(bank: SigningBank) -> None:
    content = json.dumps(bank.signed(SUCCESS | {"TxnReturnCode": "ERR777"})).encode()
    received = Received(200, content, 1)
    assert judge(PAYMENT, SERIAL, received, bank.certificate).answer.outcome is AnswerOutcome.UNKNOWN
    clean = {*CLEAN_REFUSALS, "ERR777"}
    assert judge(PAYMENT, SERIAL, received, bank.certificate, clean).answer.outcome is AnswerOutcome.REFUSED


@pytest.mark.parametrize("code", ["000000", "ERR044"])
def test_whatever_is_not_signed_is_unknown(bank: SigningBank, code: str) -> None:
    answer = bank.answer(SUCCESS | {"TxnReturnCode": code})
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert answer.code == code
    assert answer.evidence == b""
    assert answer.front_seq_no is None


@pytest.mark.parametrize("signature", ["", "AAAA", None, 5, ["x"]])
def test_a_wrong_or_odd_signature_is_unknown(bank: SigningBank, signature: object) -> None:
    answer = bank.answer(SUCCESS | {"RsaSign": signature})
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert answer.evidence == b""


def test_a_signature_over_other_content_is_unknown(bank: SigningBank) -> None:
    refused = bank.signed(SUCCESS | {"TxnReturnCode": "ERR044"})
    answer = bank.answer(refused | {"TxnReturnCode": "000000"})
    assert answer.outcome is AnswerOutcome.UNKNOWN


def test_a_refusal_dressed_up_as_a_success_by_a_nested_field_is_unknown(bank: SigningBank) -> None:
    refused = bank.signed(SUCCESS | {"TxnReturnCode": "ERR044"})
    forged = refused | {"TxnReturnCode": "000000", "Txn": {"ReturnCode": "ERR044"}}
    assert bank.certificate.verify(canonical_string(forged), forged["RsaSign"])
    answer = bank.answer(forged)
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert answer.evidence == b""


def test_an_error_code_outside_the_signature_is_no_refusal(bank: SigningBank) -> None:
    body = bank.signed({"CnsmrSeqNo": SERIAL}) | {"errorCode": "ERR044"}
    assert bank.answer(body).outcome is AnswerOutcome.UNKNOWN


@pytest.mark.parametrize("status", [201, 302, 400, 403, 413, 429, 500, 502, 504])
def test_any_status_but_200_is_unknown_even_with_a_signed_success(bank: SigningBank, status: int) -> None:
    answer = bank.answer(bank.signed(SUCCESS), status)
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert str(status) in answer.detail


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b'"000000"',
        b"null",
        b'{"TxnReturnCode":"000000"',
        b'{"a":NaN}',
        b'{"a":1e999999999999999999999}',
        b"\xff\xfe",
        "交易成功".encode("gbk"),
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"RsaSign":"x","a":"\\ud83d"}',
        b'{"errorCode":"x","errorMsg":"\\ud83d"}',
        b'{"errorCode":"x","a":[{"b\\u0000":1}]}',
        b'{"RsaSign":"x","a":[1]}',
        b'{"RsaSign":"x","a":' + b"[" * 50 + b"]" * 50 + b"}",
        b"{" + b" " * (2 * 1024 * 1024) + b"}",
    ],
    ids=lambda content: f"{content[:24]!r} of {len(content)}",
)
def test_what_is_not_a_json_object_is_unknown_and_raises_nothing(bank: SigningBank, content: bytes) -> None:
    answer = bank.answer(content)
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert (answer.evidence, answer.message) == (b"", "")


@pytest.mark.parametrize("text", ["\0", "a\0b"])
def test_a_signed_text_that_cannot_be_stored_is_unknown(bank: SigningBank, text: str) -> None:
    assert bank.answer(bank.signed(SUCCESS | {"ReservedMsg": text})).outcome is AnswerOutcome.UNKNOWN
    assert bank.answer(bank.signed(SUCCESS | {"ReservedMsg": "\\u0000 𠮷"})).outcome is AnswerOutcome.DONE


def test_a_field_named_twice_is_unknown_whichever_is_signed(bank: SigningBank) -> None:
    text = json.dumps(bank.signed(SUCCESS))
    for twice in (
        text.replace('"TxnReturnCode"', '"TxnReturnCode": "ERR044", "TxnReturnCode"'),
        text[:-1] + ', "TxnReturnCode": "000000"}',
        text[:-1] + ', "Row": {"x": "1", "x": "1"}}',
    ):
        answer = bank.answer(twice.encode())
        assert answer.outcome is AnswerOutcome.UNKNOWN
        assert "twice" in answer.detail


@pytest.mark.parametrize("field", ["errorMsg", "errorCode"])
@pytest.mark.parametrize("value", ["[1]", '{"a":' * 40 + "1" + "}" * 40], ids=["a number in an array", "40 deep"])
def test_what_is_never_signed_does_not_touch_a_signed_answer(bank: SigningBank, field: str, value: str) -> None:
    text = json.dumps(bank.signed(SUCCESS))
    answer = bank.answer(f'{text[:-1]}, "{field}": {value}}}'.encode())
    assert (answer.outcome, answer.code) == (AnswerOutcome.DONE, "000000")


@pytest.mark.parametrize(
    ("signed", "moved"),
    [
        ({"TranDate": "20241105"}, {"Tran": {"Date": "20241105"}}),
        ({"TranDate": "20241105"}, {"Tran": [{"Date": "20241105"}]}),
        ({"FailMsg": "x"}, {"": {"FailMsg": "x"}}),
    ],
)
def test_a_field_that_was_moved_into_another_makes_the_answer_unknown(
    bank: SigningBank, signed: dict[str, Any], moved: dict[str, Any]
) -> None:
    status = {"BookingFlag": "2", "TranStatus": "0", "TranAmt": "1.00"}
    body = bank.signed(SUCCESS | status | signed)
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    assert (
        judge(question, SERIAL, Received(200, json.dumps(body).encode(), 1), bank.certificate).answer.outcome
        is AnswerOutcome.DONE
    )
    forged = {name: value for name, value in body.items() if name not in signed} | moved
    assert canonical_string(forged) == canonical_string(body)
    content = json.dumps(forged).encode()
    assert judge(question, SERIAL, Received(200, content, 1), bank.certificate).answer.outcome is AnswerOutcome.UNKNOWN


def test_the_answer_to_another_request_is_unknown(bank: SigningBank) -> None:
    other = bank.signed(SUCCESS | {"CnsmrSeqNo": SERIAL[:-1] + "0"})
    assert bank.answer(other).outcome is AnswerOutcome.UNKNOWN


@pytest.mark.parametrize("echo", ["", None, "null", 5])
def test_an_answer_that_names_no_request_proves_nothing_of_this_one(bank: SigningBank, echo: object) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"CnsmrSeqNo": echo}))
    assert (answer.outcome, answer.evidence, answer.code, answer.message) == (AnswerOutcome.UNKNOWN, b"", "", "")
    del (absent := dict(SUCCESS))["CnsmrSeqNo"]
    assert bank.answer(bank.signed(absent)).outcome is AnswerOutcome.UNKNOWN


STATUS = SUCCESS | {"BookingFlag": "2", "TranStatus": "0", "TranAmt": "1.00", "Added": "x"}
"""A good answer of 6110, with a field that nobody reads in front."""


@pytest.mark.parametrize(
    ("hidden", "forged"),
    [
        (("CnsmrSeqNo",), {"BookingFlag": f"2&CnsmrSeqNo={SERIAL}"}),
        (("BookingFlag", "CnsmrSeqNo"), {"Added": f"x&BookingFlag=2&CnsmrSeqNo={SERIAL}"}),
        (("BookingFlag", "CnsmrSeqNo"), {f"BookingFlag=2&CnsmrSeqNo={SERIAL}&Other": "x"}),
        (("CnsmrSeqNo", "FrontSeqNo"), {f"CnsmrSeqNo={SERIAL}&": {"FrontSeqNo": "2411051234567890"}}),
        (("TranStatus",), {"TranAmt": "1.00&TranStatus=0"}),
        (("Added",), {"": "", "Added=x&BookingFlag": "2"}),
    ],
)
def test_an_answer_whose_signed_text_can_be_cut_into_other_fields_proves_nothing(
    bank: SigningBank, hidden: tuple[str, ...], forged: dict[str, Any]
) -> None:
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    body = {name: value for name, value in STATUS.items() if name not in hidden} | forged
    content = json.dumps(bank.signed(body)).encode()
    answer = judge(question, SERIAL, Received(200, content, 1), bank.certificate).answer
    assert (answer.outcome, answer.evidence, answer.message) == (AnswerOutcome.UNKNOWN, b"", "")


def test_an_and_sign_in_the_banks_words_hides_nothing(bank: SigningBank) -> None:
    for text in ("A&B", "a=b", "a=b&c", "&", "x&Nothing=1"):
        assert bank.answer(bank.signed(SUCCESS | {"TxnReturnMsg": text})).message == text
    for text in ("&FrontSeqNo=1", "a&b&CnsmrSeqNo=", "=&TxnReturnCode=000000"):
        answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnMsg": text}))
        assert (answer.outcome, answer.message) == (AnswerOutcome.UNKNOWN, "")


def test_the_remark_of_whoever_pays_in_does_not_make_a_list_unreadable(bank: SigningBank) -> None:
    row = {"BookingFlag": "2", "TranStatus": "0", "TranAmt": "1.00", "TranDate": "20241105", "TranTime": "000000"}
    row |= {"FrontSeqNo": "2411051234567890", "BookingType": "1"}
    row |= {"Remark": "x&TxnReturnCode=ERR044&TranItemArrayTranAmt=2.00"}
    body = bank.signed(SUCCESS | {"EndFlag": "1", "TranItemArray": [row]})
    question = SubAccountTransactions(FunctionFlag="1", SubAcctNo="1", QueryFlag="2")
    answer = judge(question, SERIAL, Received(200, json.dumps(body).encode(), 1), bank.certificate).answer
    assert answer.reply is not None, answer.detail
    assert answer.reply.rows[0].Remark == row["Remark"]


def test_a_success_without_its_fields_is_unknown_and_names_them(bank: SigningBank) -> None:
    body = {k: v for k, v in SUCCESS.items() if k != "FrontSeqNo"}
    answer = bank.answer(bank.signed(body))
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert "FrontSeqNo" in answer.detail
    assert answer.evidence


@pytest.mark.parametrize("amount", ["1e5", "absurd", "9" * 30, "", "1.001"])
def test_a_success_with_an_absurd_amount_is_unknown(bank: SigningBank, amount: str) -> None:
    body = SUCCESS | {"BookingFlag": "2", "TranStatus": "0", "TranAmt": amount}
    content = json.dumps(bank.signed(body)).encode()
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    answer = judge(question, SERIAL, Received(200, content, 1), bank.certificate).answer
    assert answer.outcome is AnswerOutcome.UNKNOWN
    assert "TranAmt" in answer.detail


@pytest.mark.parametrize("field", ["errorCode", "Code"])
@pytest.mark.parametrize("code", ["OPEN-E-100071", "OPEN-E-100072", "OPEN-E-100073", "E30001"])
@pytest.mark.parametrize("status", [200, 401])
def test_a_refused_token_is_told_apart(bank: SigningBank, field: str, code: str, status: int) -> None:
    verdict = bank.judge({field: code}, status)
    assert verdict.token_refused
    assert verdict.answer.outcome is AnswerOutcome.UNKNOWN


@pytest.mark.parametrize("code", ["OPEN-E-100074", "OPEN-E-000020", "E40000"])
def test_other_gateway_errors_are_unknown_and_keep_the_token(bank: SigningBank, code: str) -> None:
    verdict = bank.judge({"errorCode": code, "errorMsg": "验签失败"})
    assert not verdict.token_refused
    assert (verdict.answer.outcome, verdict.answer.code) == (AnswerOutcome.UNKNOWN, code)


def test_an_ageing_token_does_not_change_the_answer(bank: SigningBank) -> None:
    verdict = bank.judge(bank.signed(SUCCESS | {"tokenExpiryFlag": "true"}))
    assert verdict.token_ageing
    assert verdict.answer.outcome is AnswerOutcome.DONE
    assert not bank.judge(bank.signed(SUCCESS)).token_ageing


@pytest.mark.parametrize("flag", ["tokenExpiryFlag", "TokenExpiryFlag"])
def test_a_signed_expiry_without_a_code_is_a_refused_token(bank: SigningBank, flag: str) -> None:
    verdict = bank.judge(bank.signed({"CnsmrSeqNo": SERIAL, flag: "true"}))
    assert (verdict.token_refused, verdict.answer.outcome) == (True, AnswerOutcome.UNKNOWN)
    assert not bank.judge({"CnsmrSeqNo": SERIAL, flag: "true"}).token_refused
    assert not bank.judge(bank.signed({"CnsmrSeqNo": SERIAL[::-1], flag: "true"})).token_refused
    assert not bank.judge(bank.signed({"CnsmrSeqNo": SERIAL, flag: "false"})).token_refused
    with_code = bank.judge(bank.signed(SUCCESS | {"TxnReturnCode": "ERR044", flag: "true"}))
    assert (with_code.token_refused, with_code.answer.outcome) == (False, AnswerOutcome.REFUSED)


@pytest.mark.parametrize(
    ("code", "message", "pause_s"),
    [
        ("ERR020", "无符合条件记录", 240.0),
        ("ERR143", "该时间不允许交易", 300.0),
        ("ERR152", "清算中", 300.0),
        ("ERR270", "未检索到原交易，正在尝试查询历史数据，请稍后再试", 300.0),
        ("ERR044", "余额不足", None),
    ],
)
def test_the_pause_the_bank_asks_for_is_told(bank: SigningBank, code: str, message: str, pause_s: float | None) -> None:
    body = SUCCESS | {"TxnReturnCode": code, "TxnReturnMsg": message}
    answer = bank.answer(bank.signed(body))
    assert answer.outcome is AnswerOutcome.REFUSED
    assert answer.retry_after_s == pause_s
    assert answer.send_again == (code == "ERR270")


def test_a_success_asks_for_no_pause_whatever_its_text_says(bank: SigningBank) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnMsg": "正在尝试查询历史数据"}))
    assert (answer.outcome, answer.retry_after_s, answer.send_again) == (AnswerOutcome.DONE, None, False)


def test_no_such_record_is_err020() -> None:
    # The quick start, 6110 and every list.
    assert NO_RECORD == "ERR020"
    for outcome in AnswerOutcome:
        for code in ("ERR020", "ERR044"):
            answer: Answer[Booked] = Answer(outcome, code, "", "", 1)
            assert answer.is_no_record == ((outcome, code) == (AnswerOutcome.REFUSED, "ERR020"))


def test_an_outcome_is_named_in_logs_and_metrics_as_it_is_called() -> None:
    assert [outcome.value for outcome in AnswerOutcome] == ["DONE", "REFUSED", "UNKNOWN", "NOT_SENT"]


def test_what_brought_no_answer_proves_nothing() -> None:
    assert unknown("why", 2) == Answer(
        outcome=AnswerOutcome.UNKNOWN,
        code="",
        message="",
        detail="why",
        attempts=2,
        reply=None,
        front_seq_no=None,
        booking_date=None,
        evidence=Evidence(b""),
        retry_after_s=None,
        send_again=False,
    )
    assert not_sent("why", 2, 5.0) == dataclasses.replace(
        unknown("why", 2), outcome=AnswerOutcome.NOT_SENT, retry_after_s=5.0
    )
    verdict: JudgedAnswer[Booked] = JudgedAnswer(unknown("why", 2))
    assert (verdict.token_refused, verdict.token_ageing) == (False, False)


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"<html>", 200, "the answer is not JSON"),
        (b"<html>", 502, "HTTP status 502"),
        (b"{}", 200, "the answer is not signed"),
        (b"{}", 502, "HTTP status 502"),
        (b'{"RsaSign":"AAAA"}', 200, "the signature is wrong"),
        (b'{"RsaSign":"AAAA"}', 502, "HTTP status 502"),
    ],
)
def test_why_an_answer_proves_nothing_is_said(bank: SigningBank, content: bytes, status: int, detail: str) -> None:
    verdict = bank.judge(content, status)
    assert verdict == JudgedAnswer(unknown(detail, 1))


@pytest.mark.parametrize(
    ("code_field", "message_field"), [("TxnReturnCode", "TxnReturnMsg"), ("errorCode", "errorMsg"), ("Code", "Message")]
)
def test_whoever_answers_without_a_signature_is_not_believed_and_its_words_are_not_repeated(
    bank: SigningBank, code_field: str, message_field: str
) -> None:
    unsigned = {code_field: "E40000", message_field: "张三 6222021001112223334"}
    assert bank.judge(unsigned) == JudgedAnswer(unknown("the answer is not signed", 1, "E40000"))
    for text in ("E" * 65, "张三", "6222021001112223334", "E1", "OPEN-E-", "000000\n", "err044"):
        assert bank.judge({code_field: text}) == JudgedAnswer(unknown("the answer is not signed", 1, OTHER_CODE))
    odd = {code_field: 5, message_field: ["x"]}
    assert bank.judge(odd) == JudgedAnswer(unknown("the answer is not signed", 1))


def test_the_words_of_an_answer_whose_signature_is_wrong_are_not_repeated(bank: SigningBank) -> None:
    forged = bank.signed(SUCCESS) | {"TxnReturnMsg": "张三 6222021001112223334"}
    assert bank.judge(forged) == JudgedAnswer(unknown("the signature is wrong", 1, "000000"))


def test_a_signed_code_of_no_known_form_has_no_name(bank: SigningBank) -> None:
    for code in ("张三", "E" * 65, "6222021001112223334", "ERR04 4"):
        answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": code}))
        assert (answer.outcome, answer.code) == (AnswerOutcome.UNKNOWN, OTHER_CODE)


@pytest.mark.parametrize(
    ("front_seq_no", "read", "day"),
    [
        ("2411051234567890", "2411051234567890", date(2024, 11, 5)),
        ("7", "7", None),
        ("9" * 64, "9" * 64, None),
        ("9" * 65, None, None),
        ("7&Front=8", None, None),
        ("", None, None),
        (None, None, None),
        (5, None, None),
    ],
)
def test_the_banks_serial_is_kept_where_it_is_one_and_its_day_where_it_has_one(
    bank: SigningBank, front_seq_no: object, read: str | None, day: date | None
) -> None:
    answer = bank.answer(bank.signed(SUCCESS | {"TxnReturnCode": "ERR044", "FrontSeqNo": front_seq_no}))
    assert (answer.outcome, answer.front_seq_no, answer.booking_date) == (AnswerOutcome.REFUSED, read, day)


def test_a_question_whose_answer_has_no_code_is_not_refused(bank: SigningBank) -> None:
    content = json.dumps(bank.signed({"CnsmrSeqNo": SERIAL})).encode()
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    answer = judge(question, SERIAL, Received(200, content, 1), bank.certificate).answer
    assert (answer.outcome, answer.detail) == (
        AnswerOutcome.UNKNOWN,
        "an answer without a code does not prove that nothing happened",
    )


@pytest.mark.parametrize(
    "name", ["CnsmrSeqNo", "FrontSeqNo", "TokenExpiryFlag", "TxnReturnCode", "TxnReturnMsg", "tokenExpiryFlag"]
)
def test_a_field_of_every_answer_that_was_moved_into_another_makes_it_unknown(bank: SigningBank, name: str) -> None:
    body = bank.signed(
        {"FrontSeqNo": "2411051234567890", "TxnReturnMsg": "x", "TxnReturnCode": "ERR020"} | {name: SERIAL}
    )
    forged = {key: value for key, value in body.items() if key != name} | {name[:5]: {name[5:]: SERIAL}}
    assert canonical_string(forged) == canonical_string(body)
    question = TransactionStatus(FunctionFlag="2", TranNetSeqNo=SERIAL)
    answer = judge(question, SERIAL, Received(200, json.dumps(forged).encode(), 1), bank.certificate).answer
    assert (answer.outcome, answer.detail) == (AnswerOutcome.UNKNOWN, f"fields inside others pass for {name}")


def test_names_of_moved_fields_that_nobody_knows_are_not_repeated(bank: SigningBank) -> None:
    body = bank.signed({"a" * 150: "1", "b" * 150: "1"})
    forged = body | {"": {"a" * 150: "1", "b" * 150: "1"}}
    assert bank.answer(forged).detail == "fields inside others pass for a field that is not read"


def test_numbers_are_read_exactly() -> None:
    assert str(read_json_object(b'{"a":33.10}')["a"]) == "33.10"


def test_the_token_is_taken_from_a_signed_answer_only(bank: SigningBank) -> None:
    good = bank.signed({"appAccessToken": "t" * 32}) | {"errorCode": "OPEN-E-000000"}

    def read(body: dict[str, Any], status: int = 200) -> str:
        return read_token(Received(status, json.dumps(body).encode(), 1), bank.certificate)

    assert read(good) == "t" * 32
    for bad in (
        good | {"RsaSign": "AAAA"},
        {k: v for k, v in good.items() if k != "RsaSign"},
        good | {"appAccessToken": "x"},
        good | {"errorCode": "OPEN-E-100074"},
        bank.signed({"appAccessToken": ""}) | {"errorCode": "OPEN-E-000000"},
    ):
        with pytest.raises(BankUnavailable):
            read(bad)
    with pytest.raises(BankUnavailable, match="500"):
        read(good, 500)


def test_why_there_is_no_token_is_said(bank: SigningBank) -> None:
    good = bank.signed({"appAccessToken": "t" * 32}) | {"errorCode": "OPEN-E-000000"}
    for body, status, why in (
        (good, 500, "the request for a token ended in HTTP status 500"),
        ([], 200, "the request for a token: the answer is not a JSON object"),
        (good | {"errorCode": "OPEN-E-000020"}, 200, "the gateway gives no token: OPEN-E-000020"),
        (good | {"errorCode": "E" * 65}, 200, "the gateway gives no token: other"),
        (good | {"errorCode": 5}, 200, "the gateway gives no token: no code"),
        (good | {"RsaSign": 5}, 200, "the answer with the token is not signed by the bank"),
        (good | {"RsaSign": "AAAA"}, 200, "the answer with the token is not signed by the bank"),
        (
            bank.signed({"appAccessToken": ""}) | {"errorCode": "OPEN-E-000000"},
            200,
            "the answer with the token holds none",
        ),
        (
            bank.signed({"appAccessToken": 5}) | {"errorCode": "OPEN-E-000000"},
            200,
            "the answer with the token holds none",
        ),
    ):
        with pytest.raises(BankUnavailable) as refusal:
            read_token(Received(status, json.dumps(body).encode(), 1), bank.certificate)
        assert str(refusal.value) == why


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "the answer is not JSON"),
        (b"[]", "the answer is not a JSON object"),
        (b'{"a":NaN}', "the answer holds NaN, which is not JSON"),
        (b'{"a":1,"a":1}', "the answer names a field twice"),
        (b'{"a":{"b":1,"b":2}}', "the answer names a field twice"),
        (b'{"a":"x\\u0000"}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"x\\u0000":1}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"a":{"b":"\\u0000"}}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"a":{"\\u0000":1}}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"a":[1,["x","\\u0000"]]}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"a":"\\ud800"}', "a text of the answer holds NUL or half of a UTF-16 pair"),
        (b'{"a":"\\udfff"}', "a text of the answer holds NUL or half of a UTF-16 pair"),
    ],
)
def test_reading_refuses_by_its_own_error(content: bytes, why: str) -> None:
    with pytest.raises(MessageInvalid) as refusal:
        read_json_object(content)
    assert str(refusal.value) == why


def test_texts_on_both_sides_of_the_halves_of_a_pair_are_read() -> None:
    assert read_json_object(b'{"a":"\\ud7ff\\ue000\\ud842\\udfb7"}') == {"a": "\ud7ff\ue000\U00020bb7"}


def test_an_answer_of_2_mib_is_read_and_one_byte_more_is_not() -> None:
    assert read_json_object(b"{" + b" " * (2 * 1024 * 1024 - 2) + b"}") == {}
    with pytest.raises(MessageInvalid, match="longer than 2 MiB"):
        read_json_object(b"{" + b" " * (2 * 1024 * 1024 - 1) + b"}")

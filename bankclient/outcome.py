"""What an answer means for the money: four outcomes, and the tables that decide (transport.md 3).

Pure: bytes and a certificate in, an `Answer` out. Promises that DONE and REFUSED come from a signed
answer to this very request and nothing else; whatever is unsigned, damaged or not in the tables is
UNKNOWN, because the bank may have acted. `judge` must never raise for anything the bank may send.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Final, Generic, NoReturn, cast

from pydantic import ValidationError

from bankclient.canonical import canonical_string, shadowed_fields
from bankclient.errors import BankUnavailable, MessageInvalid
from bankclient.messages.wire import R_co, Request, places
from bankclient.serials import booking_date
from bankclient.signing import BankCertificate

ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024

SUCCESS_CODE: Final = "000000"

TOKEN_GIVEN: Final = "OPEN-E-000000"  # noqa: S105 - a return code

UNKNOWN_CODES: Final[Mapping[str, str]] = {
    # transport.md 3.5: errors inside the bank, after which the booking may exist.
    "ERR025": "core banking error",
    "ERR108": "system error",
    "ERR923": "database error",
    "ERR957": "transaction abnormal, query later",
    # transport.md 3.5: a number repeated; the first try with it may have acted.
    "ERR160": "instruction number repeated",
    "ERR229": "batch number repeated",
    "ERR275": "third-party serial number repeated",
    # transport.md 3.5: half done or timed out inside the bank.
    "EF0027": "order accepted but the money is not in",
    "EF0058": "asynchronous task timed out",
}
"""Signed business codes that do not prove that nothing happened."""

REFUSED_FORM: Final = re.compile(r"ERR[0-9]{3}", re.ASCII)
"""Business refusals; a code of another form is a refusal only if listed below."""

OTHER_REFUSALS: Final[Mapping[str, str]] = {
    # transport.md 3.5
    "E10002": "sub-account does not exist or is invalid",
    "E80001": "member verification failed",
    "E80011": "page number out of range",
    "E90001": "routing number invalid",
    "EF0034": "collection may be refunded only once",
    "EF0048": "payees must be 1 to 5",
}

TOKEN_CODES: Final[Mapping[str, str]] = {
    # transport.md 1.4 and 3.4; the gateway refuses before it passes the request on.
    "OPEN-E-100071": "token does not exist",
    "OPEN-E-100072": "token wrong or expired",
    "OPEN-E-100073": "token wrong or expired",
    "E30001": "token wrong or expired (newer gateways)",
}

RETRY_AFTER_S: Final[Mapping[str, float]] = {
    # Quick start, 6110: ask again every 3 to 5 minutes.
    "ERR020": 240.0,
    # transport.md 3.5: not allowed at this time, market in clearing. The pause is our choice.
    "ERR143": 300.0,
    "ERR152": 300.0,
}

HISTORY_MESSAGE: Final = "正在尝试查询历史数据"
"""Quick start, 6164: the original is being searched in history. The code is not published."""

HISTORY_RETRY_AFTER_S: Final = 300.0


_COMMON_PLACES: Final = {
    name: (name,)
    for name in (
        "CnsmrSeqNo",
        "FrontSeqNo",
        "TokenExpiryFlag",
        "TxnReturnCode",
        "TxnReturnMsg",
        "tokenExpiryFlag",
    )
}
"""Where what is read of every answer stands."""


class Outcome(Enum):
    """What is known about the effect of a call."""

    DONE = "DONE"
    """A signed success. For withdrawals: accepted (quick start, 6033)."""
    REFUSED = "REFUSED"
    """A signed refusal: nothing happened."""
    UNKNOWN = "UNKNOWN"
    """The bank may have acted or not: ask by the serial, or repeat with the same one."""
    NOT_SENT = "NOT_SENT"
    """No connection ever stood: nothing happened."""


@dataclass(frozen=True)
class Answer(Generic[R_co]):
    """The outcome of one call and what proves it."""

    outcome: Outcome
    code: str
    """TxnReturnCode, or the gateway's errorCode; empty when there was no readable answer."""
    message: str
    """The bank's own words, in Chinese; may name a member, so do not log it."""
    detail: str
    """Why this outcome, in English, without personal data."""
    attempts: int
    """How many times the request was tried, connection attempts included."""
    reply: R_co | None = None
    """The business fields; present exactly when the outcome is DONE."""
    front_seq_no: str | None = None
    """The bank's serial, from a verified answer."""
    booking_date: date | None = None
    """The bank's booking date, out of `front_seq_no`."""
    evidence: bytes = b""
    """SHA-256 of canonical string and signature; empty unless the signature verified."""
    retry_after_s: float | None = None
    """How long to wait before the same question or call makes sense again."""
    send_again: bool = False
    """The bank has not acted and wants this very call again, with the same serial (6164, searching its history)."""


@dataclass(frozen=True)
class Verdict(Generic[R_co]):
    """An answer, and what the client should do about its access token."""

    answer: Answer[R_co]
    token_refused: bool = False
    """The gateway refused the token: renew it, then send the same serial once more."""
    token_ageing: bool = False
    """The answer stands; the token should be renewed soon."""


@dataclass(frozen=True)
class Received:
    """A whole HTTP answer of any status; content over ANSWER_BYTES_MAX is cut just behind it."""

    status: int
    content: bytes
    tries: int
    """How many times the request was tried, connection attempts included."""


def judge(request: Request[R_co], serial: str, received: Received, bank: BankCertificate) -> Verdict[R_co]:
    """Classify the answer to a request that was sent with this serial."""
    status, attempts = received.status, received.tries
    try:
        body = read_json_object(received.content)
    except MessageInvalid as error:
        why = str(error) if status == 200 else f"HTTP status {status}"
        return Verdict(unknown(why, attempts))
    signature = body.get("RsaSign")
    if status != 200 or not isinstance(signature, str) or not signature:
        return _judge_unsigned(body, status, attempts)
    try:
        canonical = canonical_string(body)
        shadowed = shadowed_fields(body, _COMMON_PLACES | places(request.reply))
    except MessageInvalid as error:
        return Verdict(unknown(f"the answer cannot be verified: {error}", attempts))
    if not bank.verify(canonical, signature):
        code, message = _code_and_message(body)
        return Verdict(unknown("the signature is wrong", attempts, code, message))
    if shadowed:
        names = ", ".join(sorted(shadowed))[:200]
        return Verdict(unknown(f"fields inside others pass for {names}", attempts))
    evidence = hashlib.sha256(canonical + signature.encode("utf-8")).digest()
    answer = _judge_signed(request, serial, body, evidence, attempts)
    flag = body.get("tokenExpiryFlag", body.get("TokenExpiryFlag"))
    return Verdict(answer, token_ageing=flag == "true")


def read_token(received: Received, bank: BankCertificate) -> str:
    """Take the access token out of the answer to approveDev. Raises BankUnavailable."""
    if received.status != 200:
        raise BankUnavailable(f"the request for a token ended in HTTP status {received.status}")
    try:
        body = read_json_object(received.content)
        canonical = canonical_string(body)
    except MessageInvalid as error:
        raise BankUnavailable(f"the request for a token: {error}") from None
    code = body.get("errorCode")
    if code != TOKEN_GIVEN:
        shown = code[:64] if isinstance(code, str) else "no code"
        raise BankUnavailable(f"the gateway gives no token: {shown}")
    signature = body.get("RsaSign")
    if not isinstance(signature, str) or not bank.verify(canonical, signature):
        raise BankUnavailable("the answer with the token is not signed by the bank")
    token = body.get("appAccessToken")
    if not isinstance(token, str) or not token:
        raise BankUnavailable("the answer with the token holds none")
    return token


def read_json_object(content: bytes) -> dict[str, object]:
    """Parse one JSON object strictly: UTF-8, no key twice, numbers exact, 2 MiB at most, no NUL."""
    if len(content) > ANSWER_BYTES_MAX:
        raise MessageInvalid("the answer is longer than 2 MiB")
    try:
        text = content.decode("utf-8")
        body = json.loads(
            text,
            object_pairs_hook=_object_without_repeats,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
        )
    except MessageInvalid:
        raise
    except (ValueError, ArithmeticError, RecursionError):
        raise MessageInvalid("the answer is not JSON") from None
    if not isinstance(body, dict):
        raise MessageInvalid("the answer is not a JSON object")
    # Only an escape can bring what neither PostgreSQL nor protobuf takes.
    if "\\u" in text and not all(map(_is_storable, _texts_in(body))):
        raise MessageInvalid("a text of the answer holds NUL or half of a UTF-16 pair")
    return body


def unknown(detail: str, attempts: int, code: str = "", message: str = "") -> Answer[R_co]:
    """The answer when a request left, or may have left, and nothing came back that proves more."""
    return Answer(Outcome.UNKNOWN, code, message, detail, attempts)


def not_sent(detail: str, attempts: int, retry_after_s: float | None = None) -> Answer[R_co]:
    """The answer when nothing can have reached the bank."""
    return Answer(Outcome.NOT_SENT, "", "", detail, attempts, retry_after_s=retry_after_s)


def _judge_unsigned(body: Mapping[str, object], status: int, attempts: int) -> Verdict[R_co]:
    code, message = _code_and_message(body)
    why = "the answer is not signed" if status == 200 else f"HTTP status {status}"
    if code in TOKEN_CODES:
        detail = f"the gateway refused the access token: {TOKEN_CODES[code]}"
        return Verdict(unknown(detail, attempts, code, message), token_refused=True)
    return Verdict(unknown(why, attempts, code, message))


def _judge_signed(
    request: Request[R_co],
    serial: str,
    body: Mapping[str, object],
    evidence: bytes,
    attempts: int,
) -> Answer[R_co]:
    # Only these two: errorCode and errorMsg are outside the signature.
    code, message = _texts(body, "TxnReturnCode", "TxnReturnMsg")
    echo = body.get("CnsmrSeqNo", "")
    if echo not in ("", None, serial):
        return unknown("the answer names another CnsmrSeqNo", attempts, code, message)
    front_seq_no, booked = _front_serial(body)

    def answer(outcome: Outcome, detail: str, reply: R_co | None = None) -> Answer[R_co]:
        retry_after_s = RETRY_AFTER_S.get(code)
        searching = HISTORY_MESSAGE in message and outcome is not Outcome.DONE
        if searching:
            retry_after_s = HISTORY_RETRY_AFTER_S
        return Answer(
            outcome=outcome,
            code=code,
            message=message,
            detail=detail,
            attempts=attempts,
            reply=reply,
            front_seq_no=front_seq_no,
            booking_date=booked,
            evidence=evidence,
            retry_after_s=None if outcome is Outcome.DONE else retry_after_s,
            send_again=searching,
        )

    if code == SUCCESS_CODE:
        try:
            reply = cast("R_co", request.reply.from_wire(body))
        except ValidationError as error:
            fields = ", ".join(sorted({str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]}))
            return answer(Outcome.UNKNOWN, f"a success whose fields are wrong: {fields}")
        return answer(Outcome.DONE, "a signed success", reply)
    if code in UNKNOWN_CODES:
        return answer(Outcome.UNKNOWN, f"{code} is not a final answer: {UNKNOWN_CODES[code]}")
    if REFUSED_FORM.fullmatch(code) or code in OTHER_REFUSALS:
        return answer(Outcome.REFUSED, "a signed refusal")
    return answer(Outcome.UNKNOWN, "a signed code that is in no table")


def _code_and_message(body: Mapping[str, object]) -> tuple[str, str]:
    for code_field, message_field in (
        ("TxnReturnCode", "TxnReturnMsg"),
        ("errorCode", "errorMsg"),
        ("Code", "Message"),
    ):
        code, message = _texts(body, code_field, message_field)
        if code:
            return code, message
    return "", ""


def _texts(body: Mapping[str, object], code_field: str, message_field: str) -> tuple[str, str]:
    code, message = body.get(code_field), body.get(message_field)
    return (
        code[:64] if isinstance(code, str) else "",
        message[:1000] if isinstance(message, str) else "",
    )


def _front_serial(body: Mapping[str, object]) -> tuple[str | None, date | None]:
    front_seq_no = body.get("FrontSeqNo")
    if not isinstance(front_seq_no, str) or not 0 < len(front_seq_no) <= 64:
        return None, None
    try:
        return front_seq_no, booking_date(front_seq_no)
    except MessageInvalid:
        return front_seq_no, None


def _texts_in(value: object) -> Iterator[str]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one


def _is_storable(text: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MessageInvalid("the answer names a field twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MessageInvalid(f"the answer holds {name}, which is not JSON")

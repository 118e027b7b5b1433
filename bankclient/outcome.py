"""What an answer means for the money: four outcomes, and the tables that decide (transport.md 3).

Pure: bytes and a certificate in, an `Answer` out. Promises that DONE and REFUSED come from a signed
answer that names the serial of this very request and can be read in one way only, and REFUSED of a
call that changes something from a code that is known to be a clean refusal; whatever is unsigned,
damaged or not in that table is UNKNOWN, because the bank may have acted. No text that is not signed is
given on. `judge` must never raise for anything the bank may send.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Final, Generic, NoReturn, cast

from pydantic import ValidationError

from bankclient.canonical import ONE_FIELD, canonical_string, folded_fields, shadowed_fields
from bankclient.errors import BankUnavailable, MessageInvalid
from bankclient.evidence import NO_EVIDENCE, Evidence
from bankclient.messages.wire import Paged, R_co, Request, paths, personal_texts
from bankclient.serials import booking_date
from bankclient.signing import BankCertificate
from bankclient.words import masked

ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024

SUCCESS_CODE: Final = "000000"

NO_RECORD: Final = "ERR020"
"""How the bank says that it has no such record, or that a list is empty."""

TOKEN_GIVEN: Final = "OPEN-E-000000"  # noqa: S105 - a return code

UNKNOWN_CODES: Final[Mapping[str, str]] = {
    # transport.md 3.5: errors inside the bank, after which the booking may exist.
    "ERR025": "core banking error",
    "ERR108": "system error",
    "ERR923": "database error",
    "ERR957": "transaction abnormal, query later",
    # transport.md 3.5: "exceptions" by the longest published list, no refusals.
    "ERR136": "system busy",
    "ERR158": "other error",
    "ERR178": "exception inside the bank",
    "ERR194": "exception inside the bank",
    "ERR196": "transfer within the bank abnormal",
    "ERR199": "counting failed, perhaps after the booking",
    "ERR200": "counting failed, perhaps after the booking",
    "ERR207": "exception inside the bank",
    "ERR209": "exception inside the bank",
    "ERR226": "sub-transaction failed",
    "ERR228": "exception inside the bank",
    "ERR248": "balance transfer abnormal, a reversal is registered",
    # transport.md 3.5: a number repeated; the first try with it may have acted.
    "ERR160": "instruction number repeated",
    "ERR229": "batch number repeated",
    "ERR275": "third-party serial number repeated",
    # transport.md 3.5: half done or timed out inside the bank.
    "EF0027": "order accepted but the money is not in",
    "EF0058": "asynchronous task timed out",
}
"""Signed business codes that are published as no final answer. No setting makes them one."""

CLEAN_REFUSALS: Final[Mapping[str, str]] = {
    # transport.md 3.5, all of them: what the bank found wrong before it moved anything. Left out on purpose, besides
    # UNKNOWN_CODES: ERR148, ERR161, ERR277 and ERR282 ("cancelled", "done", "adjusted", "reported already"), which
    # the very call may have brought about, ERR189 (an error while it verified) and ERR289 (an opening under way).
    # Asked for wrongly, or not open to the platform.
    NO_RECORD: "no matching record",
    "ERR021": "wrong function code",
    "ERR026": "platform code wrong or service not opened",
    "ERR130": "no authority",
    "ERR132": "function not enabled",
    "ERR191": "platform account must bind its settlement account first",
    "ERR255": "acquiring channel type wrong",
    "ERR256": "supervised account wrong",
    "ERR936": "mandatory element missing",
    "ERR030": "page number wrong",
    "E80011": "page number out of range",
    # Accounts and parties.
    "ERR031": "sub-account does not exist or is invalid",
    "E10002": "sub-account does not exist or is invalid",
    "ERR033": "bound account does not exist",
    "ERR055": "account number wrong",
    "ERR176": "account number does not exist",
    "ERR235": "card binding not found or abnormal",
    "ERR237": "withdrawal account may not be the supervised account",
    "ERR276": "acquiring sub-account missing",
    "ERR095": "cannot close: balance left",
    "ERR214": "cannot close: unfinished orders",
    "ERR252": "cannot close: cards bound",
    "ERR263": "cannot unbind: a withdrawal is in progress",
    "ERR114": "member code exists",
    "ERR142": "member code exists",
    "ERR250": "member code malformed",
    "ERR254": "member code unknown",
    "ERR144": "this identity has signed with the platform already",
    "ERR111": "card holder's data differ",
    "ERR125": "account name differs",
    "ERR150": "identity document or telephone differs",
    "ERR151": "form of the identity card wrong",
    "ERR175": "name differs",
    "ERR260": "document and name differ",
    "ERR134": "account bound already",
    "ERR146": "account bound already",
    "ERR198": "account bound already",
    "ERR238": "account bound already",
    "ERR212": "routing number missing",
    "ERR213": "routing number not configured",
    "ERR236": "one of two routing numbers required",
    "E90001": "routing number invalid",
    # Amounts and balances.
    "ERR042": "amount must be above 0",
    "ERR044": "available balance insufficient",
    "ERR126": "amount differs",
    "ERR133": "single withdrawal over its limit",
    "ERR168": "may not take from the withdrawable balance",
    "ERR177": "amount to freeze must be above 0",
    "ERR271": "refundable amount insufficient",
    "ERR273": "refund fee must be 0",
    "ERR281": "amount differs from the original order",
    "ERR284": "amount differs from the acquiring query",
    "ERR317": "order's available balance insufficient",
    # Orders and originals.
    "ERR070": "serial number does not fit",
    "ERR131": "original serial not found",
    "ERR270": "original transaction not found",
    "ERR115": "order not found",
    "ERR180": "order not found",
    "ERR181": "order exists",
    "ERR127": "order number repeated",
    "ERR149": "sub-account differs from the original order",
    "ERR269": "order data differ",
    "ERR272": "original payer differs",
    "ERR278": "money is not in the channel's sub-account",
    "ERR280": "to be adjusted only after reconciliation",
    "ERR283": "order failed",
    "ERR285": "channel type differs",
    "ERR288": "remark empty or unreadable",
    "EF0034": "collection may be refunded only once",
    "EF0048": "payees must be 1 to 5",
    # Verification of a payer or a card.
    "ERR135": "SMS verification in progress",
    "ERR137": "no such verification",
    "ERR138": "code does not match",
    "ERR139": "the text could not be sent",
    "ERR163": "instruction expired",
    "ERR145": "earlier application still pending",
    "ERR147": "past its time",
    "ERR157": "too many errors",
    "ERR257": "result not there yet",
    "ERR258": "too many tries",
    "ERR264": "no such check",
    "ERR265": "matching in progress",
    "ERR190": "UnionPay verification failed",
    "E80001": "member verification failed",
    # Not now, or not for this account.
    "ERR143": "not allowed at this time",
    "ERR152": "market in clearing",
    "ERR183": "withdrawals closed",
    "ERR221": "sub-account barred from withdrawing",
    "ERR222": "not on the withdrawal white list",
    "ERR223": "sub-account barred from transfers",
    "ERR224": "not on the transfer white list",
    # Files.
    "ERR170": "file encryption failed",
    "ERR225": "file download failed",
}
"""Signed business codes that prove that nothing happened. Whatever is neither here nor in the setting
`BankSettings.clean_refusals` leaves a call that changes something in doubt: it costs a question, not the money."""

TOKEN_CODES: Final[Mapping[str, str]] = {
    # transport.md 1.4 and 3.4; the gateway refuses before it passes the request on.
    "OPEN-E-100071": "token does not exist",
    "OPEN-E-100072": "token wrong or expired",
    "OPEN-E-100073": "token wrong or expired",
    "E30001": "token wrong or expired (newer gateways)",
}

RETRY_AFTER_S: Final[Mapping[str, float]] = {
    # Quick start, 6110: ask again every 3 to 5 minutes.
    NO_RECORD: 240.0,
    # transport.md 3.5: not allowed at this time, market in clearing. The pause is our choice.
    "ERR143": 300.0,
    "ERR152": 300.0,
}

HISTORY_MESSAGE: Final = "正在尝试查询历史数据"
"""Quick start, 6164: the original is being searched in history. The code is not published."""

HISTORY_RETRY_AFTER_S: Final = 300.0


OTHER_SERIAL: Final = "the answer does not name this request's CnsmrSeqNo"

_CODE: Final = re.compile(r"[A-Z]{1,3}[0-9]{3,6}|[0-9]{6}|OPEN-E-[0-9]{5,6}", re.ASCII)
"""The form of every published return code (transport.md 3.3 to 3.5)."""

OTHER_CODE: Final = "other"
"""Stands for a return code of no known form, which could be any text."""

_ONE_FIELD: Final = re.compile(ONE_FIELD)

_COMMON_PATHS: Final = {
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


class AnswerOutcome(Enum):
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

    outcome: AnswerOutcome
    code: str
    """TxnReturnCode, or the gateway's errorCode; empty when there was no readable answer, `OTHER_CODE` when it has no
    known form."""
    message: str
    """The bank's own words, in Chinese, without long numbers and without what the request has of a person. Another name
    may be in them, so do not log it. Empty unless they are signed."""
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
    evidence: Evidence = NO_EVIDENCE
    """SHA-256 of canonical string and signature, with both; empty unless the signature verified."""
    retry_after_s: float | None = None
    """How long to wait before the same question or call makes sense again."""
    send_again: bool = False
    """The bank has not acted and wants this very call again, with the same serial (6164, searching its history)."""

    @property
    def is_no_record(self) -> bool:
        """Whether the bank has said, signed, that it has no such record."""
        return self.outcome is AnswerOutcome.REFUSED and self.code == NO_RECORD


@dataclass(frozen=True)
class JudgedAnswer(Generic[R_co]):
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


def judge(
    request: Request[R_co],
    serial: str,
    received: Received,
    bank: BankCertificate,
    clean_refusals: Collection[str] = CLEAN_REFUSALS,
) -> JudgedAnswer[R_co]:
    """Classify the answer to a request that was sent with this serial.

    Of a call that changes something, only ``clean_refusals`` prove that nothing happened.
    """
    status, attempts = received.status, received.tries
    try:
        body = read_json_object(received.content)
    except MessageInvalid as error:
        why = str(error) if status == 200 else f"HTTP status {status}"
        return JudgedAnswer(unknown(why, attempts))
    signature = body.get("RsaSign")
    if status != 200 or not isinstance(signature, str) or not signature:
        return _judge_unsigned(body, status, attempts)
    try:
        canonical = canonical_string(body)
        read = _COMMON_PATHS | paths(request.reply)
        shadowed = shadowed_fields(body, read)
    except MessageInvalid as error:
        return JudgedAnswer(unknown(f"the answer cannot be verified: {error}", attempts))
    if not bank.verify(canonical, signature):
        return JudgedAnswer(unknown("the signature is wrong", attempts, _unsigned_code(body)))
    if shadowed:
        return JudgedAnswer(unknown(f"fields inside others pass for {_named(shadowed, read.keys())}", attempts))
    # The signature covers one row of a list, so this could not protect a list. And whoever pays in writes the remark in
    # such a row: with this he could make a day's list unreadable.
    folded = folded_fields(body, read.keys(), in_rows=not issubclass(request.reply, Paged))
    if folded:
        return JudgedAnswer(unknown(f"fields may be folded into {_named(folded, read.keys())}", attempts))
    answer = _judge_signed(request, serial, body, Evidence.of(canonical, signature), attempts, clean_refusals)
    expires = body.get("tokenExpiryFlag", body.get("TokenExpiryFlag")) == "true"
    # Signed, with the flag and without a code: the gateway's way to refuse a token (notes.md 13).
    refused = expires and not answer.code and answer.detail != OTHER_SERIAL
    return JudgedAnswer(answer, token_refused=refused, token_ageing=expires and not refused)


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
        raise BankUnavailable(f"the gateway gives no token: {_code(code) or 'no code'}")
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
    return Answer(AnswerOutcome.UNKNOWN, code, message, detail, attempts)


def not_sent(detail: str, attempts: int, retry_after_s: float | None = None) -> Answer[R_co]:
    """The answer when nothing can have reached the bank."""
    return Answer(AnswerOutcome.NOT_SENT, "", "", detail, attempts, retry_after_s=retry_after_s)


def _named(found: Collection[str], read: Collection[str]) -> str:
    """Names that the bank has; others could be any text, and are not repeated."""
    return ", ".join(sorted({name if name in read else "a field that is not read" for name in found}))[:200]


def _judge_unsigned(body: Mapping[str, object], status: int, attempts: int) -> JudgedAnswer[R_co]:
    code = _unsigned_code(body)
    why = "the answer is not signed" if status == 200 else f"HTTP status {status}"
    if code in TOKEN_CODES:
        detail = f"the gateway refused the access token: {TOKEN_CODES[code]}"
        return JudgedAnswer(unknown(detail, attempts, code), token_refused=True)
    return JudgedAnswer(unknown(why, attempts, code))


def _judge_signed(
    request: Request[R_co],
    serial: str,
    body: Mapping[str, object],
    evidence: Evidence,
    attempts: int,
    clean_refusals: Collection[str],
) -> Answer[R_co]:
    # Only these two: errorCode and errorMsg are outside the signature.
    code, message = _code(body.get("TxnReturnCode")), _text(body.get("TxnReturnMsg"))
    if body.get("CnsmrSeqNo") != serial:
        # Whatever the bank has signed there, it is not about this request: an answer to another one, sent again.
        return unknown(OTHER_SERIAL, attempts)
    front_seq_no, booked = _front_serial(body)

    def answer(outcome: AnswerOutcome, detail: str, reply: R_co | None = None) -> Answer[R_co]:
        retry_after_s = RETRY_AFTER_S.get(code)
        searching = HISTORY_MESSAGE in message and outcome is not AnswerOutcome.DONE
        if searching:
            retry_after_s = HISTORY_RETRY_AFTER_S
        return Answer(
            outcome=outcome,
            code=code,
            message=masked(message, personal_texts(request)) if message else "",
            detail=detail,
            attempts=attempts,
            reply=reply,
            front_seq_no=front_seq_no,
            booking_date=booked,
            evidence=evidence,
            retry_after_s=None if outcome is AnswerOutcome.DONE else retry_after_s,
            send_again=searching,
        )

    if code == SUCCESS_CODE:
        try:
            reply = cast("R_co", request.reply.from_wire(body))
        except ValidationError as error:
            fields = ", ".join(sorted({str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]}))
            return answer(AnswerOutcome.UNKNOWN, f"a success whose fields are wrong: {fields}")
        return answer(AnswerOutcome.DONE, "a signed success", reply)
    if code in UNKNOWN_CODES:
        return answer(AnswerOutcome.UNKNOWN, f"{code} is not a final answer: {UNKNOWN_CODES[code]}")
    if code in clean_refusals:
        return answer(AnswerOutcome.REFUSED, "a signed refusal")
    if code and not request.changes:
        return answer(AnswerOutcome.REFUSED, "a question was refused, which moves nothing")
    return answer(AnswerOutcome.UNKNOWN, f"{code or 'an answer without a code'} does not prove that nothing happened")


def _unsigned_code(body: Mapping[str, object]) -> str:
    """What the gateway, or anybody on the way, gives as the code: a hint at what to do about the access token."""
    return next(filter(None, (_code(body.get(name)) for name in ("TxnReturnCode", "errorCode", "Code"))), "")


def _code(value: object) -> str:
    text = _text(value)
    return text if not text or _CODE.fullmatch(text) else OTHER_CODE


def _text(value: object) -> str:
    return value[:1000] if isinstance(value, str) else ""


def _front_serial(body: Mapping[str, object]) -> tuple[str | None, date | None]:
    front_seq_no = body.get("FrontSeqNo")
    if not isinstance(front_seq_no, str) or not 0 < len(front_seq_no) <= 64 or not _ONE_FIELD.match(front_seq_no):
        return None, None
    try:
        return front_seq_no, booking_date(front_seq_no)
    except MessageInvalid:
        return front_seq_no, None


def _texts_in(value: object) -> Iterator[str]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            pending += [*one, *one.values()]
        elif isinstance(one, list):
            pending += one


def _is_storable(text: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MessageInvalid("the answer names a field twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MessageInvalid(f"the answer holds {name}, which is not JSON")

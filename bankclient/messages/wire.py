"""The common ground of all messages: field types, the bases, and both ways over the wire.

Promises that a request that can be built can be sent (lengths, required fields, amounts), and that
a reply that was read holds what its interface requires. Fields keep the bank's names, misspellings
included. In Python an amount is int fen, a count is int, a day is a date; on the wire every value
is text. Fields common to all calls (CnsmrSeqNo, MrchCode, FundSummaryAcctNo, TxnCode, ...) belong
to the client and must never be repeated in a message. Errors must never show the values they
refuse.

Lengths (catalogue.yaml, length_rule): a request is held to the shorter published length. A reply is
read up to the longer one; its free texts have no bound of their own, as a long remark must not hide
an outcome.

The signature covers texts alone, and does not tell their borders (transport.md 2.3): a text with an
& and an = behind it is never sent, and no `Word`. A number in the place of a text makes a
reply unreadable, and the texts that are not signed, "" and "null", say nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)

from bankclient.canonical import ONE_FIELD
from bankclient.money import STATED_FEN_MAX, fen, yuan

FROM_WIRE: Final = "from_wire"

PERSONAL_FIELDS: Final = frozenset(
    {
        "BankCardNo",
        "DrawCode",
        "Email",
        "FilePath",
        "InAcctName",
        "InAcctNo",
        "InSubAcctName",
        "IpAddress",
        "MacAddress",
        "MemberAcctNo",
        "MemberBindAcctNo",
        "MemberGlobalId",
        "MemberName",
        "MessageCheckCode",
        "Mobile",
        "NewMobile",
        "OrderActInSubAcctName",
        "OrderInSubAcctName",
        "OutAmtAcctName",
        "OutSubAcctName",
        "RandomPassword",
        "ReceiveMobile",
        "RecvAcctName",
        "RecvAcctNo",
        "RejectInPayerAcctName",
        "RejectInPayerAcctNo",
        "SubAcctName",
        "TakeCashAcctName",
        "TakeCashAcctNo",
        "UserNickname",
        "WebSign",
    }
)
"""Fields with names, cards, phones, documents or codes: masked in every printed message."""

# 15 characters of text with the decimal point: 999 999 999 999.99 yuan.
REQUEST_FEN_MAX: Final = 99_999_999_999_999


def _on_wire(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get(FROM_WIRE))


def _amount(value: object, info: ValidationInfo) -> int:
    if _on_wire(info) and isinstance(value, str):
        return fen(value)
    if not _on_wire(info) and type(value) is int:
        return value
    raise ValueError("an amount is an int in fen, and text in yuan on the wire")


def _count(value: object, info: ValidationInfo) -> int:
    if _on_wire(info) and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if not _on_wire(info) and type(value) is int:
        return value
    raise ValueError("a count is an int, and digits on the wire")


def _day(value: object, info: ValidationInfo) -> date:
    if _on_wire(info) and isinstance(value, str):
        if len(value) != 8 or not (value.isascii() and value.isdigit()):
            raise ValueError("a day on the wire is yyyyMMdd")
        return date.fromisoformat(value)
    if not _on_wire(info) and isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("a day is a date, and yyyyMMdd on the wire")


_ONE_FIELD: Final = re.compile(ONE_FIELD)


def _sendable(value: str) -> str:
    if not _ONE_FIELD.match(value):
        # It would be signed as if it were two fields, in the request and wherever the bank says it again.
        raise ValueError("the text holds an & with an = behind it, which the bank's signature cannot tell from fields")
    if value == "null":
        # The bank's SDK drops this text from the signature and the ports do not: never send it.
        raise ValueError('the text "null" cannot be signed reliably')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a UTF-16 pair") from None
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ValueError("the text holds a control character")
    return value


def _unread(value: object) -> object:
    return value if isinstance(value, str) else None


# Requests -----------------------------------------------------------------------------------------

Text1 = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_sendable)]
Text2 = Annotated[str, Field(min_length=1, max_length=2), AfterValidator(_sendable)]
Text4 = Annotated[str, Field(min_length=1, max_length=4), AfterValidator(_sendable)]
Text7 = Annotated[str, Field(min_length=1, max_length=7), AfterValidator(_sendable)]
Text11 = Annotated[str, Field(min_length=1, max_length=11), AfterValidator(_sendable)]
Text12 = Annotated[str, Field(min_length=1, max_length=12), AfterValidator(_sendable)]
Text14 = Annotated[str, Field(min_length=1, max_length=14), AfterValidator(_sendable)]
Text20 = Annotated[str, Field(min_length=1, max_length=20), AfterValidator(_sendable)]
Text22 = Annotated[str, Field(min_length=1, max_length=22), AfterValidator(_sendable)]
Text30 = Annotated[str, Field(min_length=1, max_length=30), AfterValidator(_sendable)]
Text32 = Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_sendable)]
Text50 = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_sendable)]
Text64 = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_sendable)]
Text100 = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_sendable)]
Text120 = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_sendable)]
Text256 = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_sendable)]
Text500 = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_sendable)]

Yuan = Annotated[
    int,
    BeforeValidator(_amount),
    Field(ge=0, le=REQUEST_FEN_MAX),
    PlainSerializer(yuan, return_type=str, when_used="json"),
]
"""An amount in a request: int fen, not negative; "12.34" on the wire."""

Count = Annotated[
    int,
    BeforeValidator(_count),
    Field(ge=1, le=999_999),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""A number of rows or of a page: int from 1; digits on the wire."""

Day = Annotated[
    date,
    BeforeValidator(_day),
    PlainSerializer(lambda day: day.isoformat().replace("-", ""), return_type=str, when_used="json"),
]
"""A day of the bank (Asia/Shanghai): date; yyyyMMdd on the wire."""

Rmb = Literal["RMB"]

# Replies ------------------------------------------------------------------------------------------

Prose = str
"""Free text of a reply: names, remarks, reasons, reserved fields."""

Word = Annotated[str, Field(max_length=64, pattern=ONE_FIELD)]
"""A number, code, flag, date or time of a reply, kept as text; wide enough for each published
length. It has no other field folded into it.
"""

SubAccount = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,32}$")]
"""A sub-account that a member is known by from now on, or that a balance is taken for."""

Unread = Annotated[str | None, BeforeValidator(_unread)]
"""What nothing relies on, so that nothing in it makes an answer unreadable."""

ReplyYuan = Annotated[
    int,
    BeforeValidator(_amount),
    Field(ge=-STATED_FEN_MAX, le=STATED_FEN_MAX),
    PlainSerializer(yuan, return_type=str, when_used="json"),
]
"""An amount in a reply: int fen, of either sign ("33.0", "-5.00" on the wire)."""


class Message(BaseModel):
    """What requests, replies and rows share."""

    # Built when the first of its kind is made: a process needs few of them.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_text_is_absence(cls, values: Any, info: ValidationInfo) -> Any:
        # The signature leaves out these texts, so on the wire they say nothing.
        if not _on_wire(info) or not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            name: "" if value == "null" else value
            for name, value in values.items()
            if name in fields and (fields[name].is_required() or value not in ("", "null", None))
        }

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "***" if name in PERSONAL_FIELDS and value is not None else value

    @classmethod
    def from_wire(cls, body: Mapping[str, object]) -> Self:
        """Read this message out of a whole body: texts become amounts, counts and days.

        Fields the message does not know are left alone. Raises pydantic's ValidationError.
        """
        return cls.model_validate(body, context={FROM_WIRE: True})


class Row(Message):
    """One row of an array in a request or reply."""


class RequestRow(Row):
    """One row of an array in a request."""

    model_config = ConfigDict(extra="forbid")


class Reply(Message):
    """The business fields of a successful answer (TxnReturnCode 000000)."""

    model_config = ConfigDict(extra="ignore")


class Accepted(Reply):
    """A reply that says no more than that the bank accepted the request."""

    ReservedMsg: Prose | None = None


class Booked(Reply):
    """A reply with the bank's serial of the booking; its first six digits are the booking date."""

    FrontSeqNo: Word
    ReservedMsg: Prose | None = None


RowT = TypeVar("RowT", bound=Row)


class Paged(Reply, Generic[RowT]):
    """A reply of several pages, with one array of rows. Page by `is_last`.

    The meanings of ResultNum and TotalNum look interchanged in the published documents
    (notes.md 9.21), so they are kept as text and nothing relies on them.
    """

    EndFlag: Word
    ResultNum: Unread = None
    StartRecordNo: Unread = None
    TotalNum: Unread = None
    ReservedMsg: Prose | None = None

    @property
    def rows(self) -> tuple[RowT, ...]:
        """The rows of this page, whatever the interface calls their array."""
        rows: tuple[RowT, ...] = next(value for _, value in self if isinstance(value, tuple))
        return rows

    @property
    def is_last(self) -> bool:
        """Whether no page comes behind this one."""
        return self.EndFlag == "1" or not self.rows


class ListReply(Paged[RowT]):
    """A reply of several pages that calls its array as most do."""

    TranItemArray: tuple[RowT, ...] = ()


@cache
def paths(reply: type[Reply]) -> dict[str, tuple[str, ...]]:
    """Where each field of a reply and its rows stands, by the name under which it is signed."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in reply.model_fields.items():
        found[name] = (name,)
        row = next((kind for kind in get_args(field.annotation) if isinstance(kind, type)), None)
        if row is not None and issubclass(row, Row):
            found |= {name + inside: (name, inside) for inside in row.model_fields}
    return found


R_co = TypeVar("R_co", bound=Reply, covariant=True)


class Request(Message, Generic[R_co]):
    """One call of the bank. The class says which; the instance holds its business fields."""

    model_config = ConfigDict(extra="forbid")

    code: ClassVar[str]
    """The interface code without its prefix: "6034"."""
    service_id: ClassVar[str | None]
    """The last part of the address. None where no public source gives it: the settings must."""
    reply: ClassVar[type[Reply]]
    changes: ClassVar[bool] = True
    """False for a query, which may take any serial and may be repeated freely."""
    needs: ClassVar[Sequence[tuple[str, str, Sequence[str]]]] = ()
    """A flag, those of its values (one character each) that need further fields, and these fields."""
    rows_counted_in: ClassVar[str] = ""
    """The field that says how many rows TranItemArray has."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for flag, values, fields in self.needs:
            value = getattr(self, flag)
            if value in values and any(getattr(self, name) is None for name in fields):
                raise ValueError(f"{flag} {value} needs {' and '.join(fields)}")
        counted_in = self.rows_counted_in
        if counted_in and getattr(self, counted_in) != len(getattr(self, "TranItemArray")):  # noqa: B009
            raise ValueError(f"{counted_in} is not the number of rows")
        return self

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Register a class that says its code; its reply is the R of its Request[R].

        Raises ValueError where another class has the code.
        """
        if arguments := cls.__pydantic_generic_metadata__["args"]:
            cls.reply = arguments[0]
        if "code" not in cls.__dict__:
            return
        if cls.code in REQUESTS:
            raise ValueError(f"{cls.code} has a message already, {REQUESTS[cls.code].__name__}")
        REQUESTS[cls.code] = cls
        if cls.service_id is not None:
            REQUESTS_BY_SERVICE_ID[cls.service_id] = cls


REQUESTS: Final[dict[str, type[Request[Any]]]] = {}
"""By interface code: "6034"."""

REQUESTS_BY_SERVICE_ID: Final[dict[str, type[Request[Any]]]] = {}
"""By service id: "MemberTransaction"."""


def personal_texts(message: Message) -> Iterator[str]:
    """The personal values of a message and its rows (`PERSONAL_FIELDS`)."""
    for name, value in message:
        if isinstance(value, tuple):
            for row in value:
                yield from personal_texts(row)
        elif isinstance(value, str) and name in PERSONAL_FIELDS:
            yield value


def to_wire(message: Message) -> dict[str, object]:
    """Write a message as the bank's JSON object: None dropped, every value text."""
    return message.model_dump(mode="json", exclude_none=True)

"""The frames of the file server: a length, XML, and behind a piece its content (transport.md 5.2).

    uint32 length | <FileRoot>…</FileRoot> [ | uint32 length | content ]

Big-endian. All texts are ASCII in practice, so the encodings that programs disagree about do not show.
Promises to read no more than it was given and to believe no length; document types and entities are
refused, as nothing of the bank's has any.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from bankclient.errors import FileAnswerUnclear

XML_BYTES_MAX: Final = 64 * 1024

EFS_CODES: Final[Mapping[str, str]] = {
    # transport.md 5.2
    "EFS0001": "socket or HTTP error",
    "EFS0002": "socket or HTTP error",
    "EFS0003": "socket or HTTP error",
    "EFS0004": "socket or HTTP error",
    "EFS0005": "socket or HTTP error",
    "EFS0006": "socket or HTTP error",
    "EFS0011": "file operation failed",
    "EFS0012": "file not found",
    "EFS0013": "upload failed",
    "EFS0014": "download failed",
    "EFS0015": "file could not be closed",
    "EFS0016": "file could not be deleted",
    "EFS0017": "file could not be renamed",
    "EFS0018": "MD5 does not match",
    "EFS0019": "file could not be read",
    "EFS0020": "file could not be written",
    "EFS0021": "not a file",
    "EFS0022": "file too large",
    "EFS0023": "session tampered with",
    "EFS0024": "session expired",
    "EFS0025": "wrong type",
    "EFS0041": "conversion failed",
    "EFS0051": "user refused",
    "EFS0052": "token refused",
    "EFS0053": "token missing",
    "EFS0061": "encryption failed",
    "EFS0062": "decryption failed",
    "EFS0063": "configuration error",
    "EFS0064": "configuration error",
    "EFS0065": "XML head wrong",
    "EFS0069": "draw code wrong",
    "EFS0070": "no such session",
    "EFS0071": "already complete",
}
"""What the file server's codes mean, in English; a code that is not here is told as it came."""

_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True)
class Frame:
    """One answer: its fields, and the content behind them if it is a piece."""

    fields: Mapping[str, str]
    content: bytes = b""
    is_cut: bool = False
    """The content is shorter than its own length says."""


def request_frame(fields: Mapping[str, object]) -> bytes:
    """A request. Values are written as text, in the order given."""
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    xml = f'<?xml version="1.0" encoding="UTF-8"?><FileRoot>{inner}</FileRoot>'.encode()
    return _LENGTH.pack(len(xml)) + xml


def read_frame(received: bytes) -> Frame:
    """Read an answer. Raises FileAnswerUnclear for what is no frame."""
    if len(received) < _LENGTH.size:
        raise FileAnswerUnclear("the file server's answer is shorter than a frame")
    (length,) = _LENGTH.unpack_from(received)
    xml = received[_LENGTH.size : _LENGTH.size + length]
    if length > XML_BYTES_MAX or len(xml) < length:
        raise FileAnswerUnclear(f"the file server's answer names an XML length of {length}")
    fields = _fields(xml)
    rest = received[_LENGTH.size + length :]
    if not rest:
        return Frame(fields)
    if len(rest) < _LENGTH.size:
        return Frame(fields, is_cut=True)
    (length,) = _LENGTH.unpack_from(rest)
    content = rest[_LENGTH.size :]
    return Frame(fields, content[:length], is_cut=len(content) < length)


def _fields(xml: bytes) -> dict[str, str]:
    # In UTF-16 a declaration would pass unseen, and every second byte would be NUL.
    if b"<!" in xml or b"\0" in xml:
        raise FileAnswerUnclear("the file server's XML declares a document type, or is not in a form of ASCII")
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 - bounded, and without declarations
    except (ElementTree.ParseError, LookupError, ValueError):
        raise FileAnswerUnclear("the file server's answer is no XML") from None
    if root.tag != "FileRoot":
        raise FileAnswerUnclear("the file server's XML is no FileRoot")
    return {child.tag: (child.text or "").strip() for child in root}

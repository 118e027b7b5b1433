"""One file from the bank's file server, whole or not at all (quick start 2.3, transport.md 5.2).

Authorise with the draw code, fetch piece after piece, compare the MD5 of the encrypted file. Promises
that what it returns is what the server had: neither cut nor changed nor larger than allowed. A refused
token is renewed once; a lost session is opened again, a few times, and the pieces already here are kept
if the server still speaks of the same file. It must never print a draw code, a token or a password.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bankclient.access_token import TokenKeeper
from bankclient.connection import AnswerLost, NeverConnected
from bankclient.errors import (
    DrawCodeWrong,
    FileAnswerUnclear,
    FileChanged,
    FileNotThere,
    FileServerRefused,
    FileTooLarge,
    FileTruncated,
    FileUnavailable,
)
from bankclient.files.frames import EFS_CODES, Frame, read_frame, request_frame
from bankclient.outcome import Received
from bankclient.settings import BankSettings

DOWNLOAD_RIGHT: Final = "102"
PIECE: Final = "202"
GOOD: Final = "000000"

TOKEN_REFUSED: Final = "EFS0052"  # noqa: S105 - a return code
SESSION_LOST: Final = frozenset({"EFS0024", "EFS0070"})
SESSIONS_MAX: Final = 4
PIECES_MAX: Final = 1_000_000
PIECE_BYTES_MAX: Final = 16 * 1024 * 1024
AUTHORISE: Final = "auth"

_ERRORS: Final = {"EFS0069": DrawCodeWrong, "EFS0012": FileNotThere, "EFS0021": FileNotThere}

Post = Callable[[str, bytes, int], Awaitable[Received]]
"""POST a body to a URL, reading at most so many bytes of the answer."""


@dataclass(frozen=True)
class _Session:
    """The right to one file, as the server granted it."""

    fields: Mapping[str, str]
    url: str

    @property
    def size(self) -> int | None:
        text = self.fields.get("FileSize", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None

    @property
    def identity(self) -> tuple[str | None, ...]:
        return tuple(self.fields.get(name) for name in ("FileSize", "PieceNum", "LastUpdateTime"))


class Download:
    """Fetches one file at a time; made for one path and draw code."""

    def __init__(self, settings: BankSettings, tokens: TokenKeeper, post: Post, path: str, draw_code: str) -> None:
        if settings.file_url is None:
            raise FileAnswerUnclear("no file server is configured: set file_url (bank setting)")
        self._settings = settings
        self._base = settings.file_url
        self._tokens = tokens
        self._post = post
        self._path = path
        self._draw_code = draw_code

    async def run(self) -> bytes:
        """The encrypted file. Raises FileError's family, and BankUnavailable without a token."""
        content = bytearray()
        session = await self._authorise()
        sessions, index = 1, 1
        while index <= PIECES_MAX:
            frame = await self._exchange(session.url, self._piece_request(session, index), PIECE_BYTES_MAX)
            code = frame.fields.get("FileMsgFlag", "")
            if code in SESSION_LOST and sessions < SESSIONS_MAX:
                sessions += 1
                renewed = await self._authorise()
                if renewed.identity != session.identity:
                    index = 1
                    content.clear()
                session = renewed
                continue
            if code != GOOD:
                raise _refused(code)
            content += frame.content
            if frame.is_cut:
                raise FileTruncated(len(content), session.size)
            if len(content) > self._settings.file_bytes_max:
                raise FileTooLarge("encrypted", self._settings.file_bytes_max)
            if frame.fields.get("LastPiece") == "true":
                _check(bytes(content), session, frame)
                return bytes(content)
            if not frame.content:
                raise FileTruncated(len(content), session.size)
            index += 1
        raise FileTooLarge("in pieces", PIECES_MAX)

    async def _authorise(self) -> _Session:
        token = await self._tokens.current()
        frame = await self._request_right(token)
        if _token_refused(frame):
            frame = await self._request_right(await self._tokens.after_refusal_of(token))
        fields = frame.fields
        code = fields.get("FileMsgFlag", "")
        if code.startswith("EFS"):
            raise _refused(code)
        if fields.get("AuthFlag") != "true":
            raise _refused("EFS0051")
        if fields.get("authTokenFlag") != "true":
            raise _refused(TOKEN_REFUSED)
        server = fields.get("ServerName", "")
        plain = server.isascii() and server.replace("_", "").replace("-", "").isalnum()
        by_name = self._settings.file_piece_url == "server_name" and plain
        session = _Session(fields, f"{self._base}/{server if by_name else AUTHORISE}")
        if session.size is not None and session.size > self._settings.file_bytes_max:
            raise FileTooLarge("encrypted", self._settings.file_bytes_max)
        return session

    async def _request_right(self, token: str) -> Frame:
        settings = self._settings
        password = settings.uid if settings.file_password is None else settings.file_password.get_secret_value()
        fields = {
            "appID": settings.app_id,
            "token": token,
            "privateAuth": self._draw_code,
            "Uid": settings.uid,
            "Passwd": password,
            "FileMsgFlag": DOWNLOAD_RIGHT,
            "FileName": self._path,
            "FileIndex": 0,
            "FileSize": 0,
            "TmpFileLenth": 0,
            "StartPiece": 0,
            "PieceNum": 0,
            "SDKType": "api",
        }
        return await self._exchange(f"{self._base}/{AUTHORISE}", fields, PIECE_BYTES_MAX)

    def _piece_request(self, session: _Session, index: int) -> dict[str, object]:
        granted = session.fields
        return {
            "Uid": self._settings.uid,
            "sessionID": granted.get("sessionID", ""),
            "privateAuth": self._draw_code,
            "FileName": self._path,
            "ServerName": granted.get("ServerName", ""),
            "FileMsgFlag": PIECE,
            "FileIndex": index,
            "PieceNum": granted.get("PieceNum", ""),
            "StartPiece": granted.get("startPiece", ""),
            "FileSize": granted.get("FileSize", ""),
        }

    async def _exchange(self, url: str, fields: Mapping[str, object], bytes_max: int) -> Frame:
        try:
            received = await self._post(url, request_frame(fields), bytes_max)
        except (NeverConnected, AnswerLost) as error:
            raise FileUnavailable(f"the file server does not answer: {error}") from None
        if received.status != 200:
            raise FileUnavailable(f"the file server answers HTTP {received.status}")
        if len(received.content) > bytes_max:
            raise FileTooLarge("in one piece", bytes_max)
        return read_frame(received.content)


def _token_refused(frame: Frame) -> bool:
    refused = frame.fields.get("authTokenFlag", "true") != "true" and frame.fields.get("AuthFlag") == "true"
    return refused or frame.fields.get("FileMsgFlag") == TOKEN_REFUSED


def _check(content: bytes, session: _Session, last: Frame) -> None:
    if session.size is not None and len(content) < session.size:
        raise FileTruncated(len(content), session.size)
    stated = last.fields.get("Md5", "").lower()
    if not stated:
        raise FileAnswerUnclear("the file server's last piece carries no MD5")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != stated:
        raise FileChanged(stated, found)


def _refused(code: str) -> FileServerRefused:
    return _ERRORS.get(code, FileServerRefused)(code, EFS_CODES.get(code, "unknown code"))

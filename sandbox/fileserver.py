"""The bank's file server: the right to a file, then its pieces, as framed XML over HTTP (transport.md 5.2).

Serves what `sandbox/handlers/files.py` has published, to the holder of the draw code, a token, and
the file user's password. Sessions live in memory. It must never say which of several secrets was wrong
beyond the bank's own codes.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from sandbox.clock import BankClock
from sandbox.filestore import FileStore, Published
from sandbox.settings import SandboxSettings

SERVER_NAME: Final = "FS01"
SESSIONS_KEPT: Final = 1000

GOOD: Final = "000000"
NOT_FOUND: Final = "EFS0012"
WRONG_USER: Final = "EFS0051"
BAD_XML: Final = "EFS0065"
WRONG_DRAW_CODE: Final = "EFS0069"
NO_SESSION: Final = "EFS0070"

_LENGTH: Final = struct.Struct(">I")

Fields = Mapping[str, str]


@dataclass(slots=True)
class _Session:
    path: str
    file: Published


class FileServer:
    """Answers frames; `is_token` says whether an access token is valid."""

    def __init__(
        self, settings: SandboxSettings, store: FileStore, clock: BankClock, is_token: Callable[[str], bool]
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._is_token = is_token
        self._sessions: dict[str, _Session] = {}
        self._lost: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        """The address of the right takes both requests; that of the named server by setting."""
        named = [web.post(f"/file/{SERVER_NAME}", self._serve)] if self._settings.file_pieces_at == "both" else []
        return [web.post("/file/auth", self._serve), *named]

    async def _serve(self, request: web.Request) -> web.Response:
        fields = _read(await request.read())
        if fields is None:
            return _answer({"FileMsgFlag": BAD_XML})
        flag = fields.get("FileMsgFlag")
        if flag == "102":
            return _answer(self._grant(fields))
        if flag == "202":
            return self._piece(fields)
        return _answer({"FileMsgFlag": "EFS0011"})

    def _grant(self, fields: Fields) -> dict[str, str]:
        settings = self._settings
        path = fields.get("FileName", "")
        user = fields.get("Uid") == settings.uid and fields.get("Passwd") == (settings.file_password or settings.uid)
        token = self._is_token(fields.get("token", ""))
        answer = {
            "FileMsgFlag": GOOD,
            "AuthFlag": "true" if user else "false",
            "authTokenFlag": "true" if token else "false",
            "FileName": path,
            "Uid": fields.get("Uid", ""),
        }
        if not user or not token:
            return answer
        file = self._store.get(path)
        if file is None:
            return {"FileMsgFlag": NOT_FOUND}
        if file.refusal:
            return {"FileMsgFlag": file.refusal}
        if fields.get("privateAuth") != file.draw_code:
            return {"FileMsgFlag": WRONG_DRAW_CODE}
        session = secrets.token_hex(12)
        while len(self._sessions) >= SESSIONS_KEPT:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session] = _Session(path, file)
        return answer | {
            "sessionID": session,
            "ServerName": SERVER_NAME,
            "FileSize": str(file.size),
            "PieceNum": str(settings.file_piece_bytes),
            "startPiece": "1",
            "privateAuth": file.draw_code,
            "LastUpdateTime": f"{self._clock.now():%Y%m%d}",
            "EbcdicFlag": "false",
        }

    def _piece(self, fields: Fields) -> web.Response:
        session = self._sessions.get(fields.get("sessionID", ""))
        if session is None or session.path != fields.get("FileName"):
            return _answer({"FileMsgFlag": NO_SESSION})
        file = session.file
        index = fields.get("FileIndex", "")
        if not index.isdigit() or int(index) < 1:
            return _answer({"FileMsgFlag": "EFS0019"})
        number = int(index)
        if number == file.session_ends_at and file.draw_code not in self._lost:
            self._lost.add(file.draw_code)
            self._sessions.clear()
            return _answer({"FileMsgFlag": NO_SESSION})
        size = self._settings.file_piece_bytes
        content = file.content[(number - 1) * size : number * size]
        is_last = number * size >= len(file.content)
        answer = {
            "FileMsgFlag": GOOD,
            "FileIndex": index,
            "ContLen": str(len(content)),
            "LastPiece": "true" if is_last else "false",
        }
        if is_last:
            answer["Md5"] = file.md5
        return _answer(answer, content)


def _read(frame: bytes) -> Fields | None:
    if len(frame) < _LENGTH.size or b"<!" in frame:
        return None
    (length,) = _LENGTH.unpack_from(frame)
    try:
        root = ElementTree.fromstring(frame[_LENGTH.size : _LENGTH.size + length])  # noqa: S314 - no declarations
    except ElementTree.ParseError:
        return None
    return {child.tag: child.text or "" for child in root}


def _answer(fields: Fields, content: bytes | None = None) -> web.Response:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    xml = f"<FileRoot>{inner}</FileRoot>".encode()
    body = _LENGTH.pack(len(xml)) + xml
    if content is not None:
        body += _LENGTH.pack(len(content)) + content
    return web.Response(body=body, content_type="application/octet-stream")

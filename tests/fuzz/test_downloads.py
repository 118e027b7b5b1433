"""A file server that lies: the file as it is there, or an error of the files' own family, and an end in any case."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from bankclient import BankError, BankSettings
from bankclient.access_token import TokenKeeper
from bankclient.files.download import DOWNLOAD_RIGHT, Download
from bankclient.files.frames import read_frame, request_frame
from bankclient.outcome import Received
from tests.bankclient.conftest import make_settings
from tests.bankclient.keys import Keys, make_keys
from tests.fuzz.spoiling import broken

__all__ = ["make_settings"]

FILE = bytes(Random(1).randbytes(1000))
PIECE_BYTES = 150
ASKED_MAX = 200
ODD = ("", "0", "-1", "٣", "9" * 30, "1e3", "x", "true", "TRUE", "EFS0024", "EFS0070", "EFS0052", "000000")


@pytest.fixture(scope="module")
def keys() -> Keys:
    return make_keys()


class Tokens:
    """Always has another one."""

    async def current(self) -> str:
        return "a"

    async def after_refusal_of(self, token: str) -> str:
        return token + "a"


class LyingServer:
    """Serves one file in pieces; spoils so many of its answers in a hundred: a field, the content, or the whole."""

    def __init__(self, dice: Random, lies_in_100: int) -> None:
        self._dice = dice
        self._lies_in_100 = lies_in_100
        self.asked = 0

    async def post(self, url: str, content: bytes, bytes_max: int) -> Received:
        self.asked += 1
        asked = read_frame(content).fields
        fields, piece = (
            self._right() if asked["FileMsgFlag"] == DOWNLOAD_RIGHT else self._piece(int(asked["FileIndex"]))
        )
        answer = request_frame(fields) + (struct.pack(">I", len(piece)) + piece if piece else b"")
        if self._dice.randrange(100) >= self._lies_in_100:
            return Received(200, answer, 1)
        match self._dice.randrange(4):
            case 0:
                return Received(200, broken(answer, self._dice), 1)
            case 1 if piece:
                piece = broken(piece, self._dice)
            case _:
                name = self._dice.choice(list(fields))
                fields[name] = self._dice.choice(ODD)
                if self._dice.random() < 0.3:
                    del fields[name]
        return Received(200, request_frame(fields) + struct.pack(">I", len(piece)) + piece, 1)

    def _right(self) -> tuple[dict[str, object], bytes]:
        return {
            "FileMsgFlag": "000000",
            "AuthFlag": "true",
            "authTokenFlag": "true",
            "sessionID": "s",
            "ServerName": "FS01",
            "FileSize": str(len(FILE)),
            "PieceNum": str(PIECE_BYTES),
            "LastUpdateTime": "1",
        }, b""

    def _piece(self, index: int) -> tuple[dict[str, object], bytes]:
        end = index * PIECE_BYTES
        last = {"LastPiece": "true", "Md5": hashlib.md5(FILE, usedforsecurity=False).hexdigest()}
        is_last = end >= len(FILE)
        fields: dict[str, object] = {"FileMsgFlag": "000000", "FileIndex": str(index), "LastPiece": "false"}
        return fields | (last if is_last else {}), FILE[end - PIECE_BYTES : end]


async def downloaded(settings: BankSettings, server: LyingServer) -> bytes:
    tokens = cast("TokenKeeper", Tokens())
    return await Download(settings, tokens, server.post, "/ejzb/9930/CZ1.txt.enc", "draw").run()


@pytest.mark.parametrize("lies_in_100", [0, 5, 30])
async def test_a_file_comes_as_it_is_or_not_at_all(
    make_settings: Callable[..., BankSettings], tmp_path: Path, lies_in_100: int
) -> None:
    settings = make_settings(file_url="http://127.0.0.1:1/file", file_bytes_max=5000)
    dice = Random(lies_in_100)
    ends: list[Any] = []
    for _ in range(200):
        server = LyingServer(dice, lies_in_100)
        try:
            content = await downloaded(settings, server)
        except BankError as error:
            ends.append(type(error))
        else:
            assert content == FILE
            ends.append(None)
        assert server.asked < ASKED_MAX
    assert ends.count(None) == 200 if lies_in_100 == 0 else 0 < ends.count(None) < 200
    assert len(set(ends)) > 4 or lies_in_100 == 0

"""Errors of the sandbox bank.

    SandboxError
    ├── Refused              the bank says no: a code and its Chinese message, signed; nothing moved
    ├── InsufficientFunds    an account does not hold what a posting takes from it
    ├── GatewayRefusal       OPEN-E-…: the gateway says no, unsigned; the bank never saw the request
    ├── KeysUnusable         key files in the data folder that cannot be read back
    ├── LogInUse             another process has the log open
    └── LogDamaged           the log of applied requests has a line that cannot be read back

They carry values; texts for the wire are made from `codes.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.codes import FAILED_MESSAGE, GATEWAY_MESSAGES, MESSAGES

if TYPE_CHECKING:
    from sandbox.accounts import AccountRef
    from sandbox.records import Record


class SandboxError(Exception):
    """Anything this package raises on purpose."""


class Refused(SandboxError):
    """The bank refuses a request with a business code; `detail` is added to the usual message.

    `keeps` is what it remembers all the same, such as that a code was wrong.
    """

    def __init__(self, code: str, detail: str = "", message: str | None = None, keeps: tuple[Record, ...] = ()) -> None:
        self.code = code
        self.keeps = keeps
        usual = MESSAGES.get(code, FAILED_MESSAGE) if message is None else message
        self.message = f"{usual}：{detail}" if detail else usual
        super().__init__(f"{code} {self.message}")


class InsufficientFunds(SandboxError):
    """`account` holds `balance_fen`, less than the `wanted_fen` a posting takes from it."""

    def __init__(self, account: AccountRef, wanted_fen: int, balance_fen: int) -> None:
        self.account = account
        self.wanted_fen = wanted_fen
        self.balance_fen = balance_fen
        super().__init__(f"{account.kind} holds {balance_fen} fen, wanted {wanted_fen}")


class GatewayRefusal(SandboxError):
    """The gateway refuses before the bank is asked (transport.md 3.4). Answered unsigned."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.message = GATEWAY_MESSAGES[code]
        super().__init__(f"{code} {self.message}")


class KeysUnusable(SandboxError):
    """The key files of an earlier run cannot be read."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        super().__init__(f"keys in {folder}: {reason}")


class LogInUse(SandboxError):
    """Another process keeps its books in the same data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is in use by another sandbox")


class LogDamaged(SandboxError):
    """A line of the log, other than a last one cut short by a crash, cannot be read."""

    def __init__(self, line_number: int, reason: str) -> None:
        self.line_number = line_number
        super().__init__(f"line {line_number}: {reason}")

"""What a user can mend becomes one line on standard error and exit status 1.

A command has loaded whatever it can fail with. So errors are looked for in the modules that are loaded, and none is
loaded for their sake.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import typer

MENDED: Final = (
    ("bankclient", "BankError"),
    ("ledger", "LedgerError"),
    ("service.policy", "PolicyWrong"),
    ("service.problems", "Problem"),
    ("service.process.certificates", "CertificateNotMade"),
    ("service.process.listening", "ListenRefused"),
    ("service.process.stack", "StackNotStarted"),
    ("service.process.trace", "TraceNotFound"),
    ("service.recovery.catch_up", "CatchUpStopped"),
    ("service.secret_files", "SecretFileWrong"),
    ("service.vault", "VaultError"),
)
"""What says by itself what is wrong and what to do, besides OSError: the module and the name of each."""


class complaints:
    """Turns what a user can mend into one line on standard error and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        # What is raised in the midst of a service comes out of the task groups around it.
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is not None and (lines := _lines(error)):
            for line in lines:
                print(f"jzb: {line}", file=sys.stderr)
            raise typer.Exit(1) from None


def _lines(error: BaseException) -> list[str]:
    """What is said of an error; nothing of one that a user cannot mend."""
    if "pydantic" in sys.modules:
        from pydantic import ValidationError

        if isinstance(error, ValidationError):
            return [_setting(one["loc"], one["msg"]) for one in error.errors(include_input=False)]
    if "pydantic_settings" in sys.modules:
        from pydantic_settings import SettingsError

        if isinstance(error, SettingsError):
            # It names the group only; its cause quotes the value.
            group = str(error).partition('"')[2].partition('"')[0].upper()
            return [f"a setting of JZB_{group}: what holds more than one value is written as JSON"]
    if "grpc.aio" in sys.modules:
        import grpc

        if isinstance(error, grpc.aio.AioRpcError):
            return [f"the service answered {error.code().name}: {error.details()}"]
    if "psycopg" in sys.modules:
        import psycopg

        refused = getattr(error, "orig", error)
        if isinstance(refused, psycopg.errors.InsufficientPrivilege):
            return [
                f"PostgreSQL refused: {refused.diag.message_primary}. This command needs a DATABASE_URL of another role"
                " (docs/operations/security.md, Roles of the database)"
            ]
    return [str(error)] if isinstance(error, (OSError, *_loaded())) else []


def _setting(place: tuple[int | str, ...], said: str) -> str:
    name = "__".join(str(part) for part in place).upper()
    prefix = "" if name in ("DATABASE_URL", "JZB_DATABASE_URL") else "JZB_"
    return f"setting {prefix}{name}: {said}"


def _loaded() -> list[type[Exception]]:
    return [getattr(sys.modules[module], name) for module, name in MENDED if module in sys.modules]

"""The log: our lines on standard output, those of libraries on standard error, and both of the same form.

No line shows a number that looks like a card, a mobile or an identity number (`service.personal`), in a traceback
neither.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

from service.personal import masked
from service.settings import TelemetrySettings
from service.telemetry.tracing import trace_id

NOTHING_TO_DO = ("opentelemetry", "grpc")
"""Libraries that call it an error when a collector is away or a caller has left. It is a warning to us."""


def set_up(settings: TelemetrySettings) -> None:
    """Configure the log of this process."""
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*common, structlog.processors.format_exc_info, _without_personal_numbers, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(["why"])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _without_personal_numbers,
                renderer,
            ],
        )
    )
    handler.addFilter(_is_no_error_of_ours)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    for noisy in ("httpx", "httpcore", "alembic", "ledger.database"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _is_no_error_of_ours(record: logging.LogRecord) -> bool:
    if record.levelno > logging.WARNING and record.name.partition(".")[0] in NOTHING_TO_DO:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


OURS = frozenset({"bank_serial", "digest", "operation_id", "serial", "sub_account", "trace_id", "withdrawal"})
"""Fields with numbers that we or the bank have made, which may look like a card's."""


def _without_personal_numbers(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in event.items():
        if isinstance(value, str) and name not in OURS:
            event[name] = masked(value)
    return event


def _add_trace_id(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # An event about an operation has that operation's.
    if current := trace_id():
        event.setdefault("trace_id", current)
    return event

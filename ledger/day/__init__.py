"""The ledger's side of the bank's T+1 reconciliation: files, lines, matching, breaks, sign-off.

It knows neither gRPC nor the bank's wire. Whoever fetches a file gives its plain bytes; `Days` keeps them, encrypted,
types the lines in SQL, matches them with the journal by serial, and says what does not agree. Breaks live
beside the journal: nothing in here posts.

    days = Days(dsn, engine, platform, encrypt=vault.seal_answer, sign=vault.sign_decision)

    await days.tried(bank_day, type, FileState.LATE, "6103 has no answer")     what was tried without a good file
    loaded = await days.load(NewFile(...), content, reading)                   keep, type and match a file
    await days.match(bank_day, type)                                           again, after the journal has changed
    await days.day(bank_day)                                                   states, counts, signatures
    await days.days(before, limit)                                             bank days that anything is known of
    await days.files(bank_day, type)                                           all versions
    await days.lines(file_id, after, limit, states)                            after: the last line number
    days.content(file_id)                                                      sealed pieces, to be opened by the vault
    await days.breaks(wanted, after, limit)                                    after: the last break's id
    await days.events(break_id)
    await days.hold(break_id, by, until, note) · close(break_id, by, note)
    await days.proof(bank_day, after, limit)                                   opening + movements = closing, beside YE
    await days.sign(bank_day, by, note)                                        one of two signatures
    await days.overview()                                                      what is to be done, as numbers

The lines of a list (6050, 6048, 6108, 6109) are given by whoever has asked for it: `written` makes the content of
`ListLine`s. A list is loaded without a ``reading``.
"""

from __future__ import annotations

from ledger.day.days import CUT_OVER, Days, decision, signature
from ledger.day.errors import BreakClosed, BreakUnknown, DayChanged, DayError, DayNotReady, FileUnreadable, SignedBySame
from ledger.day.overview import DaysOverview
from ledger.day.sources import KINDS, LIST_COLUMNS, OUTSIDE, SOURCES, UNSEEN_KINDS, ListLine, Source, written
from ledger.day.values import (
    Attempt,
    BankFile,
    BankLine,
    Break,
    BreakEvent,
    BreakEventKind,
    BreakFilter,
    BreakKind,
    BreakState,
    CloseReason,
    Content,
    Day,
    DayFile,
    FileState,
    FileType,
    LineState,
    Loaded,
    NewFile,
    Piece,
    ProofRow,
    Reading,
    Signatory,
    SignOff,
)

__all__ = [
    "CUT_OVER",
    "KINDS",
    "LIST_COLUMNS",
    "OUTSIDE",
    "SOURCES",
    "UNSEEN_KINDS",
    "Attempt",
    "BankFile",
    "BankLine",
    "Break",
    "BreakClosed",
    "BreakEvent",
    "BreakEventKind",
    "BreakFilter",
    "BreakKind",
    "BreakState",
    "BreakUnknown",
    "CloseReason",
    "Content",
    "Day",
    "DayChanged",
    "DayError",
    "DayFile",
    "DayNotReady",
    "Days",
    "DaysOverview",
    "FileState",
    "FileType",
    "FileUnreadable",
    "LineState",
    "ListLine",
    "Loaded",
    "NewFile",
    "Piece",
    "ProofRow",
    "Reading",
    "SignOff",
    "Signatory",
    "SignedBySame",
    "Source",
    "decision",
    "signature",
    "written",
]

"""Reconciliation files: find (6103), fetch, decrypt, unpack, decode, read (quick start 2.3, transport.md 5)."""

from bankclient.files.envelope import decrypt, open_envelope
from bankclient.files.layouts import (
    LAYOUTS,
    BadRow,
    Column,
    ColumnKind,
    Contradiction,
    Examined,
    FileRow,
    Layout,
    LineReader,
    examine,
)
from bankclient.files.reading import OpenFile, SealedFile, opened
from bankclient.files.reconciliation import NoFile, fetch_sealed, plain_name, remote_path

__all__ = [
    "LAYOUTS",
    "BadRow",
    "Column",
    "ColumnKind",
    "Contradiction",
    "Examined",
    "FileRow",
    "Layout",
    "LineReader",
    "NoFile",
    "OpenFile",
    "SealedFile",
    "decrypt",
    "examine",
    "fetch_sealed",
    "open_envelope",
    "opened",
    "plain_name",
    "remote_path",
]

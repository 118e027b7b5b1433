"""Reconciliation files: find (6103), fetch, decrypt, unpack, decode, read (quick start 2.3, transport.md 5)."""

from bankclient.files.envelope import decrypt, open_envelope
from bankclient.files.layouts import LAYOUTS, BadRow, Column, FileRow, Kind, Layout, Rows, read_rows
from bankclient.files.reconciliation import DayFile, NoFile, fetch_file, plain_name, remote_path

__all__ = [
    "LAYOUTS",
    "BadRow",
    "Column",
    "DayFile",
    "FileRow",
    "Kind",
    "Layout",
    "NoFile",
    "Rows",
    "decrypt",
    "fetch_file",
    "open_envelope",
    "plain_name",
    "read_rows",
    "remote_path",
]

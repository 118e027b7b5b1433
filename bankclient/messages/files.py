"""Where to find the daily reconciliation files: 6103 (quick start 2.3)."""

from typing import Literal

from bankclient.messages.wire import Day, Prose, Reply, Request, Row, Text120, Unread, Word

FileKind = Literal["CZ", "TX", "JY", "YE", "HY", "JQ", "POS", "FZ", "JG", "GJ", "GSLD", "profit"]
"""CZ top-ups, TX withdrawals, JY transactions, YE balances; the others are named, and their columns are not public."""


class ReconciliationFileRow(Row):
    """One file. RandomPassword decrypts it and DrawCode fetches it: both are secrets.

    FilePath may or may not end in the file name already (transport.md 5.1).
    """

    FileName: Prose
    RandomPassword: Prose
    FilePath: Prose
    DrawCode: Word


class ReconciliationFileReply(Reply):
    """The data file and its companion `.ok.enc`; no rows when the day is empty."""

    TranItemArray: tuple[ReconciliationFileRow, ...] = ()
    ResultNum: Unread = None
    ReservedMsg: Prose | None = None


class ReconciliationFile(Request[ReconciliationFileReply]):
    """6103 查询对账文件信息: path, draw code and password of a day's files (quick start 2.3).

    An empty day answers ERR020 or an empty list: both mean no file.
    """

    code = "6103"
    service_id = "ReconciliationDocumentQuery"
    changes = False

    FileType: FileKind
    FileDate: Day
    ReservedMsg: Text120 | None = None

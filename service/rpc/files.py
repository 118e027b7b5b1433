"""FileService: the bank's reconciliation files, fetched and read (6103 and the file server)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import grpc

from bankclient import (
    BadRow,
    BankClient,
    BankUnavailable,
    Contradiction,
    FileAnswerUnclear,
    FileChanged,
    FileError,
    FileKind,
    FileNotOneEntry,
    FilePasswordWrong,
    FileQuestionRefused,
    FileRow,
    FileServerRefused,
    FileTextUnreadable,
    FileTooLarge,
    FileTruncated,
    FileUnavailable,
    FileZipDamaged,
    NoFile,
    OpenFile,
    fetch_sealed,
    opened,
)
from jzb.v1 import file_pb2, file_pb2_grpc
from jzb.v1.names import ErrorReason
from service import problems, telemetry
from service.bankday import days_now
from service.problems import Problem
from service.rpc.context import Context
from service.rpc.dates import bank_day, booked_at

FILES_AT_ONCE = 2
"""So many files are read at once, in a process each when they are large; more callers wait."""

FILE_TYPES: dict[file_pb2.FileType.ValueType, FileKind] = {
    file_pb2.FILE_TYPE_TOP_UPS: "CZ",
    file_pb2.FILE_TYPE_WITHDRAWALS: "TX",
    file_pb2.FILE_TYPE_TRANSACTIONS: "JY",
    file_pb2.FILE_TYPE_BALANCES: "YE",
}

FILE_FAULTS: dict[type[FileError], str] = {
    FileAnswerUnclear: "ANSWER_UNCLEAR",
    FileChanged: "CHANGED",
    FileNotOneEntry: "NOT_ONE_ENTRY",
    FilePasswordWrong: "PASSWORD_WRONG",
    FileTextUnreadable: "TEXT_UNREADABLE",
    FileTooLarge: "TOO_LARGE",
    FileTruncated: "TRUNCATED",
    FileZipDamaged: "ZIP_DAMAGED",
}
"""What is wrong with a file that came, as FILE_DAMAGED names it."""


@dataclass(frozen=True, kw_only=True)
class Files(file_pb2_grpc.FileServiceServicer):
    """See protos/jzb/v1/file.proto."""

    bank: BankClient
    _room: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(FILES_AT_ONCE))

    async def FetchFile(
        self, request: file_pb2.FetchFileRequest, context: Context
    ) -> AsyncIterator[file_pb2.FetchFileResponse]:
        """The whole file is gone through first, then its rows come as the caller takes them."""
        day = bank_day("bank_day", request.bank_day)
        if day > days_now()[1]:
            raise problems.invalid("bank_day", f"{day} is in the future", ErrorReason.BANK_DAY_INVALID)
        file_type = FILE_TYPES[request.type]
        try:
            async with self._room:
                with telemetry.below("fetch file"):
                    sealed = await fetch_sealed(self.bank, file_type, day)
                if isinstance(sealed, NoFile):
                    summary = file_pb2.FileSummary(state=file_pb2.FILE_STATE_NONE)
                    yield file_pb2.FetchFileResponse(summary=summary)
                    return
                async with opened(sealed) as file:
                    async for batch in file.batches:
                        for row in batch:
                            yield file_pb2.FetchFileResponse(row=_row(row))
                    for aside in file.examined.bad:
                        yield file_pb2.FetchFileResponse(quarantined=_aside(aside))
                    for contradiction in file.examined.contradictions:
                        yield file_pb2.FetchFileResponse(contradiction=_contradiction(contradiction))
                    yield file_pb2.FetchFileResponse(summary=_summary(file))
        except BankUnavailable as error:
            raise problems.bank_silent(str(error)) from error
        except FileError as error:
            raise file_problem(error, {"file_type": file_type, "bank_day": day.isoformat()}) from error


def file_problem(error: FileError, metadata: Mapping[str, str]) -> Problem:
    """What a file's error is to a caller."""
    if isinstance(error, (FileQuestionRefused, FileServerRefused)):
        return Problem(
            grpc.StatusCode.FAILED_PRECONDITION,
            ErrorReason.FILE_REFUSED,
            str(error),
            next_step="ask again, which gives a new draw code; if it stays, ask the bank",
            metadata={**metadata, "bank_code": error.code},
        )
    if isinstance(error, FileUnavailable):
        return Problem(
            grpc.StatusCode.UNAVAILABLE,
            ErrorReason.FILE_UNAVAILABLE,
            str(error),
            next_step="nothing has changed anywhere; ask again later",
            metadata=metadata,
            retry_after_s=60.0,
        )
    return Problem(
        grpc.StatusCode.DATA_LOSS,
        ErrorReason.FILE_DAMAGED,
        str(error),
        next_step="ask again, which fetches the file anew; if it stays, ask the bank",
        metadata={**metadata, "fault": FILE_FAULTS.get(type(error), "ANSWER_UNCLEAR")},
    )


def _row(row: FileRow) -> file_pb2.FileRow:
    fields = row.fields
    return file_pb2.FileRow(
        line=row.line,
        member_id=fields.get("member_code") or fields.get("payer_member_code", ""),
        sub_account=fields.get("sub_account") or fields.get("payer_sub_account", ""),
        payee_member_id=fields.get("payee_member_code", ""),
        payee_sub_account=fields.get("payee_sub_account", ""),
        amount_fen=row.amount_fen,
        fee_fen=row.fee_fen,
        book_time=booked_at(fields["day"], fields["time"]) if "day" in fields else None,
        bank_serial=fields.get("front_seq_no", ""),
        serial=fields.get("serial", ""),
        bank_text=fields.get("booking", ""),
        order_no=fields.get("order_no", ""),
        remark=fields.get("remark", ""),
        is_repaired=row.is_repaired,
    )


def _aside(aside: BadRow) -> file_pb2.QuarantinedRow:
    return file_pb2.QuarantinedRow(line=aside.line, reason=aside.reason)


def _contradiction(contradiction: Contradiction) -> file_pb2.FileContradiction:
    return file_pb2.FileContradiction(
        line=contradiction.line, earlier_line=contradiction.earlier_line, reason=contradiction.reason
    )


def _summary(file: OpenFile) -> file_pb2.FileSummary:
    examined = file.examined
    return file_pb2.FileSummary(
        state=file_pb2.FILE_STATE_COMPLETE if file.is_complete else file_pb2.FILE_STATE_INCOMPLETE,
        name=file.sealed.name,
        rows=examined.good_rows,
        quarantined=examined.bad_rows,
        amount_fen=examined.amount_fen,
        fee_fen=examined.fee_fen,
        columns=examined.columns,
        stated_rows=file.sealed.stated_rows,
        repaired=examined.repaired_rows,
        contradictions=examined.contradictions_found,
    )

"""Reconciliation files: 6103 makes a past day's file from the books and publishes it. Quick start 2.3.

A ZIP with one entry in GB18030, 3DES under a random key (transport.md 5.4), and beside it the `.ok` file
with the number of rows. A day without rows has no file, as at the bank; today's is not made before it has
ended. Everything that can go wrong with a file can be asked for (`sandbox/faults.py`, `file_…`), and with its rows
(`sandbox/dayfaults.py`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import zipfile
from dataclasses import replace

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7

from bankclient.messages import ReconciliationFile, ReconciliationFileReply, ReconciliationFileRow
from sandbox import codes
from sandbox.clock import day_text
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.faults import FaultPlan
from sandbox.filestore import Published
from sandbox.handlers.daybook import lines_of
from sandbox.handlers.registry import handles

BOMB_BYTES = 8 * 1024 * 1024
"""What `file_too_large` unpacks to, out of a few kilobytes."""


@handles(ReconciliationFile)
def reconciliation_file(context: Context, request: ReconciliationFile) -> ReconciliationFileReply:
    """6103. FilePath holds the name already or not, by setting: sources differ (transport.md 5.1)."""
    day = day_text(request.FileDate)
    if day > context.today:
        raise Refused(codes.FIELD_INVALID, "FileDate")
    fault_plan = context.fault_plan
    if day >= context.today:
        raise Refused(codes.NO_RECORD)
    telling = context.faults.days.asked(request.FileType, day, day)
    lines = lines_of(context, request.FileType, day, telling)
    if not lines or fault_plan.has("file_empty_day") or telling.has("file_late"):
        raise Refused(codes.NO_RECORD)
    if fault_plan.has("file_bad_row"):
        lines.insert(1, lines[0].replace("&", "&&", 1))
    name = f"{request.FileType}{day}{context.settings.mrch_code}{context.store.next_number('file')}"
    text = "".join(f"{line}\n" for line in lines)
    if telling.has("file_cut"):
        text = text[: len(text) - len(lines[-1]) // 2 - 1]
    rows = [_publish(context, f"{name}.txt", text, fault_plan)]
    if not fault_plan.has("file_without_ok"):
        is_wrong = fault_plan.has("file_wrong_count") or telling.has("file_count")
        stated = len(lines) + 1 if is_wrong else len(lines)
        rows.append(_publish(context, f"{name}.ok", f"{stated}\n", FaultPlan()))
    return ReconciliationFileReply(ResultNum=str(len(rows)), TranItemArray=tuple(rows))


def _publish(context: Context, name: str, text: str, fault_plan: FaultPlan) -> ReconciliationFileRow:
    key = secrets.token_bytes(24)
    content = _encrypted(_packed(name, text, fault_plan), key)
    folder, file_name = f"/ejzb/{context.settings.mrch_code}", f"{name}.enc"
    file = Published(
        path=f"{folder}/{file_name}",
        draw_code=secrets.token_hex(16),
        content=content,
        size=len(content),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        refusal=fault_plan.text("file_refused") or "",
        session_ends_at=int(fault_plan.text("file_session_lost") or 0),
    )
    if fault_plan.has("file_wrong_md5"):
        file = replace(file, content=bytes([content[0] ^ 1]) + content[1:])
    if fault_plan.has("file_truncated"):
        file = replace(file, content=content[: len(content) // 2])
    context.files.put(file)
    given = secrets.token_bytes(24) if fault_plan.has("file_wrong_password") else key
    return ReconciliationFileRow(
        FileName=file_name,
        RandomPassword=base64.b64encode(given).decode("ascii"),
        FilePath=file.path if context.settings.file_path_has_name else folder,
        DrawCode=secrets.token_hex(16) if fault_plan.has("file_wrong_draw_code") else file.draw_code,
    )


def _packed(name: str, text: str, fault_plan: FaultPlan) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        if fault_plan.has("file_too_large"):
            archive.writestr(name, bytes(BOMB_BYTES))
        elif fault_plan.has("file_not_gb18030"):
            archive.writestr(name, text.encode("gb18030") + b"\xff\xff\n")
        else:
            archive.writestr(name, text.encode("gb18030", "surrogateescape"))
        if fault_plan.has("file_two_entries"):
            archive.writestr("another.txt", b"")
    return packed.getvalue()


def _encrypted(packed: bytes, key: bytes) -> bytes:
    padder = PKCS7(64).padder()
    padded = padder.update(packed) + padder.finalize()
    encryptor = Cipher(TripleDES(key), modes.CBC(bytes.fromhex("0102030405060708"))).encryptor()
    return encryptor.update(padded) + encryptor.finalize()

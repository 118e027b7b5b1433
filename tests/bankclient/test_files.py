"""Reconciliation files: the cipher's vector, the envelope's ways to fail, rows by layout."""

from __future__ import annotations

import asyncio
import base64
import struct
from datetime import date
from typing import Any
from unittest.mock import patch

import pytest

from bankclient import (
    FileAnswerUnclear,
    FileNotOneEntry,
    FilePasswordWrong,
    FileTextUnreadable,
    FileTooLarge,
    FileTruncated,
    FileZipDamaged,
)
from bankclient.files import (
    SealedFile,
    decrypt,
    examine,
    open_envelope,
    opened,
    plain_name,
    reading,
    remote_path,
)
from bankclient.files.envelope import Envelope
from bankclient.files.frames import read_frame, request_frame
from bankclient.files.layouts import good_rows
from bankclient.messages import ReconciliationFileRow
from tests.bankclient.files import CZ, CZ_WITHOUT_NAME, JY, PASSWORD, YE, Rows, read_rows, sealed, zipped


def test_the_cipher_vector_of_the_bank_decrypts() -> None:
    plain = decrypt(bytes.fromhex("24fcd0913e986044595be3840f617852"), PASSWORD)
    assert plain == bytes.fromhex("d0f2bac53126b2e2cad4260a")
    assert plain.decode("gb18030") == "序号1&测试&\n"


def test_an_envelope_gives_its_text() -> None:
    assert open_envelope(sealed(zipped(CZ.encode("gb18030"))), PASSWORD, 10_000) == CZ


def test_another_password_says_so_whatever_it_decrypts_to() -> None:
    content = sealed(zipped(CZ.encode("gb18030")))
    other = base64.b64encode(b"x" * 8 + b"y" * 8 + b"z" * 8).decode()
    for wrong in (other, "not base64!", "密码" * 16, base64.b64encode(b"short").decode()):
        with pytest.raises(FilePasswordWrong) as raised:
            open_envelope(content, wrong, 10_000)
        assert wrong not in str(raised.value)


def test_a_file_that_ends_within_a_block_is_cut_short() -> None:
    content = sealed(zipped(b"x"))
    with pytest.raises(FileTruncated):
        open_envelope(content[:-3], PASSWORD, 10_000)


def test_two_entries_or_none_are_refused() -> None:
    for texts in ((), (b"a", b"b")):
        with pytest.raises(FileNotOneEntry) as raised:
            open_envelope(sealed(zipped(*texts)), PASSWORD, 10_000)
        assert raised.value.entries == len(texts)


def test_a_bomb_is_stopped_by_what_it_unpacks_to_not_by_what_it_says() -> None:
    bomb = bytearray(zipped(bytes(100_000)))
    # The directory's own word for the unpacked size: 24 bytes behind its signature.
    place = bomb.index(b"PK\x01\x02") + 24
    bomb[place : place + 4] = struct.pack("<I", 10)
    with pytest.raises((FileTooLarge, FileZipDamaged)):
        open_envelope(sealed(bytes(bomb)), PASSWORD, 50_000)
    with pytest.raises(FileTooLarge):
        open_envelope(sealed(zipped(bytes(100_000))), PASSWORD, 50_000)


def test_a_zip_with_a_changed_byte_fails_its_own_check() -> None:
    packed = bytearray(zipped(CZ.encode("gb18030")))
    packed[45] ^= 0xFF
    with pytest.raises(FileZipDamaged):
        open_envelope(sealed(bytes(packed)), PASSWORD, 10_000)


def test_bytes_that_are_not_gb18030_are_named_with_their_line() -> None:
    text = f"{CZ}\n".encode("gb18030") + b"\xff\xff\n"
    with pytest.raises(FileTextUnreadable) as raised:
        open_envelope(sealed(zipped(text)), PASSWORD, 10_000)
    assert raised.value.line == 2


def test_top_ups_have_thirteen_columns_or_twelve_and_the_rows_say_which() -> None:
    with_name = read_rows("CZ", f"{CZ}\n")
    assert (with_name.columns, with_name.amount_fen, with_name.fee_fen, with_name.bad) == (13, 30000, 150, ())
    assert with_name.good[0].fields["sub_account_name"] == "某某公司"
    assert with_name.good[0].fields["booking"] == "绑卡匹配入金"
    without = read_rows("TX", f"{CZ_WITHOUT_NAME}\r\n")
    assert (without.columns, without.amount_fen) == (12, 30000)
    assert without.good[0].fields["remark"] == "服务费"


def test_transactions_have_sixteen_columns_and_balances_five() -> None:
    payments = read_rows("JY", JY)
    assert (payments.columns, payments.amount_fen, payments.fee_fen) == (16, 100, 1)
    assert payments.good[0].fields["order_no"] == "427191900000000513"
    balances = read_rows("YE", "1&m1&9930000000001000&12.30&&\n2&m2&9930000000001001&0.70&&\n")
    assert (balances.columns, balances.amount_fen) == (5, 1300)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (CZ.replace("1&m1", "1&&m1", 1), "14 columns"),
        (CZ.replace("某某公司", "甲" + "&" * 21), "34 columns"),
        (CZ_WITHOUT_NAME, "12 columns"),
        (CZ + "x", "does not end"),
        (CZ.replace("300.00", "3oo.00"), "amount is no amount"),
        (CZ.replace("300.00", "300.001"), "amount is no amount"),
        (CZ.replace("300.00", "10000000000000.01"), "amount is no amount"),
        (CZ.replace("1.50", "-10000000000000.01"), "fee is no amount"),
        (CZ.replace("20221004&1", "20221341&1"), "day is no day"),
        (CZ.replace("192842", "992842"), "time is no time"),
        (CZ.replace("1&m1", "x&m1", 1), "number is no number"),
    ],
)
def test_a_bad_row_is_put_aside_with_its_line_and_the_rest_goes_on(bad: str, reason: str) -> None:
    rows = read_rows("CZ", f"{CZ}\n{bad}\n{CZ}\n")
    assert [row.line for row in rows.good] == [1, 3]
    (aside,) = rows.bad
    assert aside.line == 2
    assert reason in aside.reason
    assert aside.text == bad
    assert rows.amount_fen == 60000


def test_a_line_separator_of_another_script_does_not_break_a_row() -> None:
    (row,) = read_rows("CZ", CZ.replace("服务费", "a\u2028b\x0bc")).good
    assert row.fields["remark"] == "a\u2028b\x0bc"


def test_a_header_is_skipped_and_said() -> None:
    rows = read_rows("CZ", f"序号&会员代码&\n{CZ}\n")
    assert (rows.has_header, len(rows.good), rows.bad, rows.good[0].line) == (True, 1, (), 2)


@pytest.mark.parametrize("kind", ["CZ", "TX", "JY", "YE"])
@pytest.mark.parametrize("damage", ["\ufeff", "x", "\0", "１", " \ufffd"])
def test_a_damaged_first_row_is_set_aside_and_not_taken_for_a_header(kind: str, damage: str) -> None:
    line = {"JY": JY, "YE": YE}.get(kind, CZ)
    rows = read_rows(kind, f"{damage}{line[1:]}\n{line}\n")
    assert (rows.has_header, len(rows.good), [row.line for row in rows.bad]) == (False, 1, [1])
    assert read_rows(kind, f"{damage}{line}\n").bad[0].line == 1


def test_a_header_with_a_name_for_each_column_is_a_header() -> None:
    names = "&".join(["序号", "会员代码", "子账户", "户名", "金额", "手续费", "日期", "时间", *"abcde"])
    assert read_rows("CZ", f"{names}&\n{CZ}\n").has_header


def test_amounts_that_add_up_to_more_than_there_can_be_are_refused() -> None:
    most = CZ.replace("300.00", "10000000000000.00")
    with pytest.raises(FileAnswerUnclear):
        read_rows("CZ", f"{most}\n" * 9224)


def test_kinds_without_public_columns_are_read_as_plain_columns() -> None:
    rows = read_rows("FZ", "a&b&\nbroken\nc&&\n")
    assert [dict(row.fields) for row in rows.good] == [{"1": "a", "2": "b"}, {"1": "c", "2": ""}]
    assert [row.line for row in rows.bad] == [2]


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/ejzb/9930", "CZ1.txt.enc", "/ejzb/9930/CZ1.txt.enc"),
        ("/ejzb/9930/", "CZ1.txt.enc", "/ejzb/9930/CZ1.txt.enc"),
        ("/ejzb/9930/CZ1.txt.enc", "CZ1.txt.enc", "/ejzb/9930/CZ1.txt.enc"),
        ("/ejzb/9930/CZ1.txt.enc", "CZ1.ok.enc", "/ejzb/9930/CZ1.txt.enc"),
        ("/ejzb/9930/CZ1", "CZ1", "/ejzb/9930/CZ1"),
    ],
)
def test_a_path_with_or_without_the_name_leads_to_one_file(path: str, name: str, expected: str) -> None:
    row = ReconciliationFileRow(FileName=name, RandomPassword="p", FilePath=path, DrawCode="d")
    assert remote_path(row) == expected


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("TX20200731386211.txt.enc", "TX20200731386211.txt"),
        ("../../etc/passwd", "passwd"),
        ("a\\..\\b c.txt.enc", "b_c.txt"),
        ("..", "file"),
        ("账单.txt", "__.txt"),
        ("a" * 500 + ".txt.enc", "a" * 196 + ".txt"),
        ("." * 500, "file"),
    ],
)
def test_a_files_name_never_leads_out_of_its_folder(name: str, written: str) -> None:
    assert plain_name(name) == written


def test_a_frame_is_length_and_xml() -> None:
    frame = request_frame({"Uid": "X28550", "FileName": "/a&b"})
    assert struct.unpack(">I", frame[:4])[0] == len(frame) - 4
    assert dict(read_frame(frame).fields) == {"Uid": "X28550", "FileName": "/a&b"}
    piece = read_frame(frame + struct.pack(">I", 3) + b"abc")
    assert (piece.content, piece.is_cut) == (b"abc", False)
    assert read_frame(frame + struct.pack(">I", 4) + b"abc").is_cut


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"<html>",
        struct.pack(">I", 2**31) + b"<FileRoot/>",
        struct.pack(">I", 50) + b"<FileRoot/>",
        struct.pack(">I", 9) + b"<Other />",
        struct.pack(">I", 30) + b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        *(
            struct.pack(">I", len(xml)) + xml
            for encoding in ("utf-16", "utf-16-be", "utf-16-le")
            for xml in ["<!DOCTYPE FileRoot [<!ENTITY b 'c'>]><FileRoot><a>&b;</a></FileRoot>".encode(encoding)]
        ),
    ],
)
def test_an_answer_that_is_no_frame_is_unclear(received: bytes) -> None:
    with pytest.raises(FileAnswerUnclear):
        read_frame(received)


def test_the_day_of_a_file_is_written_as_the_bank_has_it() -> None:
    from bankclient.messages import ReconciliationFile, to_wire

    assert to_wire(ReconciliationFile(FileType="CZ", FileDate=date(2026, 11, 23)))["FileDate"] == "20261123"


def read_bytes(kind: str, content: bytes, text_bytes_max: int = 10_000_000) -> Rows:
    """The rows of a file as it comes, through cipher and ZIP."""
    envelope = Envelope(sealed(zipped(content)), PASSWORD, text_bytes_max)
    examined = examine(kind, envelope.lines)
    return Rows(tuple(good_rows(kind, envelope.lines, examined)), examined)


def test_a_byte_that_is_not_gb18030_spoils_its_own_row_and_no_other() -> None:
    # The euro of CP936, which some systems write, is none of GB18030.
    spoiled = CZ.encode("gb18030").replace("服务费".encode("gb18030"), b"\x80 5")
    rows = read_bytes("CZ", b"\n".join([CZ.encode("gb18030"), spoiled, CZ.encode("gb18030"), b""]))
    assert [row.line for row in rows.good] == [1, 3]
    (aside,) = rows.bad
    assert (aside.line, aside.reason.endswith("is not GB18030")) == (2, True)
    assert "\\x80 5" in aside.text
    assert rows.amount_fen == 60000


def test_a_line_that_ends_in_the_middle_of_a_character_is_put_aside_alone() -> None:
    cut = CZ.encode("gb18030")[:-1] + b"\xb7"
    rows = read_bytes("CZ", CZ.encode("gb18030") + b"\r\n" + cut + b"\n" + CZ.encode("gb18030"))
    assert ([row.line for row in rows.good], [row.line for row in rows.bad]) == ([1, 3], [2])


@pytest.mark.parametrize(
    ("kind", "line", "written", "fields"),
    [
        ("CZ", CZ, ("某某公司", "甲&乙"), {"sub_account_name": "甲&乙", "remark": "服务费"}),
        ("CZ", CZ, ("服务费", "R&D&"), {"sub_account_name": "某某公司", "remark": "R&D&"}),
        ("TX", CZ_WITHOUT_NAME, ("服务费", "R&D"), {"remark": "R&D"}),
        ("JY", JY, ("&甲&", "&A&B 商行&"), {"payer_name": "A&B 商行", "payee_name": "乙"}),
        ("JY", JY, ("&乙&", "&&乙&&"), {"payer_name": "甲", "payee_name": "&乙&"}),
        ("JY", JY, ("&&4271", "&运费&税&4271"), {"remark": "运费&税", "order_no": "427191900000000513"}),
        ("YE", YE, ("12.30&&", "12.30&x&y&"), {"remark": "x&y"}),
    ],
)
def test_a_row_with_the_separator_in_a_text_is_read_from_both_ends(
    kind: str, line: str, written: tuple[str, str], fields: dict[str, str]
) -> None:
    assert line.count(written[0]) == 1
    shifted = line.replace(*written)
    rows = read_rows(kind, f"{line}\n{line}\n{shifted}\n")
    plain, _, row = rows.good
    assert (plain.is_repaired, row.is_repaired) == (False, True)
    assert (row.amount_fen, row.fee_fen) == (plain.amount_fen, plain.fee_fen)
    for name in ("front_seq_no", "serial", "sub_account", "payer_sub_account", "payee_sub_account"):
        assert row.fields.get(name) == plain.fields.get(name)
    assert {name: row.fields[name] for name in fields} == fields
    assert rows.examined.repaired_rows == 1


def test_a_row_that_comes_twice_and_a_serial_with_two_amounts_are_told() -> None:
    again = CZ.replace("1&m1", "7&m1", 1)
    other = CZ.replace("1&m1", "8&m1", 1).replace("300.00", "300.01")
    third = again.replace("2210044990000001", "2210044990000002")
    rows = read_rows("CZ", "\n".join((CZ, third, again, other)))
    assert (len(rows.good), rows.bad, rows.amount_fen) == (4, (), 120001)
    assert [(one.line, one.earlier_line, one.reason) for one in rows.examined.contradictions] == [
        (3, 1, "the row comes twice"),
        (4, 1, "one front_seq_no has two amounts"),
    ]
    twice = read_rows("YE", f"{YE}\n{YE.replace('12.30', '12.31')}\n").examined.contradictions
    assert [one.reason for one in twice] == ["one sub_account has two amounts"]


def test_of_bad_rows_ten_thousand_are_kept_and_all_are_counted() -> None:
    rows = read_rows("CZ", f"{CZ}\n" + "broken\n" * 10_003)
    assert (len(rows.good), len(rows.bad), rows.examined.bad_rows) == (1, 10_000, 10_003)
    assert rows.bad[-1].line == 10_001


def test_a_line_without_an_end_is_no_row_and_takes_no_room() -> None:
    rows = read_bytes("CZ", CZ.encode("gb18030") + b"\n" + b"x" * 3_000_000)
    assert len(rows.good) == 1
    assert all(len(row.text) <= 400_000 for row in rows.bad)
    assert rows.examined.bad_rows >= 1


def sealed_file(content: bytes, text_bytes_max: int = 2**30) -> SealedFile:
    return SealedFile(
        "CZ", date(2026, 11, 29), "CZ", sealed(zipped(content)), PASSWORD, text_bytes_max, stated_rows=None
    )


async def test_a_large_file_is_read_in_a_process_of_its_own_row_by_row() -> None:
    count = 30_000
    text = "".join(CZ.replace("2210044990000001", f"{number:016}") + "\n" for number in range(count))
    file = sealed_file(text.encode("gb18030") + b"\x80&\n")
    with patch.object(reading, "SMALL_BYTES", 0):
        async with opened(file) as found:
            assert (found.examined.good_rows, found.examined.bad_rows, found.is_complete) == (count, 1, False)
            lines = [row.line async for batch in found.batches for row in batch]
    assert lines == list(range(1, count + 1))
    async with opened(file) as same:
        assert same.examined == found.examined


async def test_the_errors_of_a_large_file_are_those_of_a_small_one() -> None:
    file = sealed_file(b"x" * 100_000, text_bytes_max=50_000)
    for small in (0, 2**20):
        with patch.object(reading, "SMALL_BYTES", small), pytest.raises(FileTooLarge) as raised:
            async with opened(file):
                pass
        assert (raised.value.most, str(raised.value)) == (50_000, "the file is too large unpacked: more than 50000")


async def test_a_reader_who_leaves_ends_the_process() -> None:
    text = "".join(CZ.replace("2210044990000001", f"{number:016}") + "\n" for number in range(5_000))
    processes = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **more: Any) -> Any:
        processes.append(await start(*arguments, **more))
        return processes[-1]

    with patch.object(reading, "SMALL_BYTES", 0), patch.object(asyncio, "create_subprocess_exec", noted):
        async with opened(sealed_file(text.encode("gb18030"))) as found:
            await anext(found.batches)
    (process,) = processes
    assert process.returncode is not None

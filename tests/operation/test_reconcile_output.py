"""Files for finance people: amounts to the fen, texts that do nothing, numbers that keep all digits, any length."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from service.process.output import SHEET_FEN_MAX, Column, Format, Table, csv_cell, written

TABLE = Table("breaks", (Column("bank_serial"), Column("amount", is_amount=True), Column("note"), Column("lines")))
ROW = ("24001126112900000001", 1_234_567_890_123_45, "=HYPERLINK(1)", 7)


def write(folder: Path, wanted: Format, rows: int = 1) -> list[Path]:
    with written(folder, "2026-11-29", wanted) as book:
        table = book.begin(TABLE)
        for _ in range(rows):
            table.add(ROW)
    return sorted(folder.iterdir())


def sheet_of(file: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode()


def test_csv_begins_with_the_mark_by_which_excel_in_china_reads_utf_8(tmp_path: Path) -> None:
    (file,) = write(tmp_path, "csv")
    assert file.name == "2026-11-29-breaks.csv"
    assert file.read_bytes().startswith(b"\xef\xbb\xbfbank_serial,amount,note,lines\r\n")


def test_csv_has_yuan_with_two_decimals_and_texts_that_cannot_act(tmp_path: Path) -> None:
    (file,) = write(tmp_path, "csv")
    rows = list(csv.reader(file.read_text("utf-8-sig").splitlines()))
    assert rows[1] == ["24001126112900000001\t", "1234567890123.45", "'=HYPERLINK(1)", "7"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠A"])
def test_a_text_that_excel_would_take_for_a_formula_is_shown_and_not_run(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_a_negative_amount_stays_a_number() -> None:
    assert csv_cell(-5, is_amount=True) == "-0.05"


def test_a_short_number_has_no_tab_behind_it() -> None:
    assert csv_cell("20261129") == "20261129"


def test_json_lines_have_amounts_as_text_in_yuan_and_texts_as_they_are(tmp_path: Path) -> None:
    (file,) = write(tmp_path, "json")
    assert json.loads(file.read_text("utf-8")) == {
        "bank_serial": "24001126112900000001",
        "amount": "1234567890123.45",
        "note": "=HYPERLINK(1)",
        "lines": 7,
    }


def test_a_sheet_has_the_amount_to_the_fen_and_a_serial_with_all_its_digits(tmp_path: Path) -> None:
    (file,) = write(tmp_path, "xlsx")
    sheet = sheet_of(file)
    assert re.search(r'<c r="B2" s="[0-9]+"><v>1234567890123\.45</v></c>', sheet)
    assert '<c r="A2" t="inlineStr"><is><t>24001126112900000001</t></is></c>' in sheet


def test_no_text_becomes_a_formula_or_a_link_in_a_sheet(tmp_path: Path) -> None:
    (file,) = write(tmp_path, "xlsx")
    assert "<f>" not in sheet_of(file)
    assert '<c r="C2" t="inlineStr"><is><t>=HYPERLINK(1)</t></is></c>' in sheet_of(file)


@pytest.mark.parametrize("fen", [1, -1, 10, 99, 100, 12_345_678_90, SHEET_FEN_MAX, -SHEET_FEN_MAX])
def test_a_sheet_rounds_no_amount(tmp_path: Path, fen: int) -> None:
    with written(tmp_path, "x", "xlsx") as book:
        book.begin(Table("t", (Column("amount", is_amount=True),))).add([fen])
    (found,) = re.findall(r'<c r="A2" s="[0-9]+"><v>(.*?)</v>', sheet_of(tmp_path / "x.xlsx"))
    whole, _, rest = found.lstrip("-").partition(".")
    assert int(whole) * 100 + int(rest.ljust(2, "0")) == abs(fen)


def test_an_amount_that_a_cell_cannot_hold_exactly_is_text(tmp_path: Path) -> None:
    with written(tmp_path, "x", "xlsx") as book:
        book.begin(Table("t", (Column("amount", is_amount=True),))).add([SHEET_FEN_MAX + 1])
    assert "<t>10000000000000.00</t>" in sheet_of(tmp_path / "x.xlsx")


@pytest.mark.parametrize("wanted", ["csv", "xlsx", "json"])
def test_ten_times_the_rows_need_no_more_memory(tmp_path: Path, wanted: Format) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        write(tmp_path / str(rows), wanted, rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(5_000) < peak(500) + 200_000


@pytest.mark.parametrize("wanted", ["csv", "xlsx", "json"])
def test_nothing_stays_of_files_that_were_not_finished(tmp_path: Path, wanted: Format) -> None:
    def interrupted() -> None:
        with written(tmp_path, "x", wanted) as book:
            book.begin(TABLE).add(ROW)
            raise RuntimeError("the service went away")

    with pytest.raises(RuntimeError, match="the service went away"):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", ["csv", "xlsx", "json"])
def test_only_the_owner_may_read_the_files(tmp_path: Path, wanted: Format) -> None:
    (file,) = write(tmp_path, wanted)
    assert file.stat().st_mode & 0o777 == 0o600

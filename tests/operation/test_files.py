"""The bank's files (6103) through the gRPC API and the command line."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

import grpc
import pytest

from jzb.v1 import file_pb2, file_pb2_grpc
from sandbox.records import Member, Trade
from tests.world.marketplace import TIMEOUT_S, Marketplace


async def fetch(
    shop: Marketplace, bank_day: str, file_type: file_pb2.FileType.ValueType
) -> tuple[list[file_pb2.FileRow], list[file_pb2.QuarantinedRow], file_pb2.FileSummary]:
    stub = file_pb2_grpc.FileServiceStub(shop.channel)
    request = file_pb2.FetchFileRequest(bank_day=bank_day, type=file_type)
    answers = [answer async for answer in stub.FetchFile(request, timeout=TIMEOUT_S)]
    *rows, last = answers
    assert last.WhichOneof("content") == "summary"
    return (
        [answer.row for answer in rows if answer.HasField("row")],
        [answer.quarantined for answer in rows if answer.HasField("quarantined")],
        last.summary,
    )


async def a_day(shop: Marketplace) -> str:
    """A day with a top-up and a payment, ended; returns it."""
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    operation = await shop.pay(buyer, seller, 40_00, 4_00)
    await shop.clear()
    return operation.bank_day


async def test_a_files_rows_name_members_and_serials_and_sum_up(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    paid = await shop.pay(buyer, seller, 40_00, 4_00)
    await shop.clear()
    (row,), aside, summary = await fetch(shop, paid.bank_day, file_pb2.FILE_TYPE_TRANSACTIONS)
    assert (row.member_id, row.payee_member_id, row.amount_fen, row.fee_fen) == ("buyer", "seller", 40_00, 4_00)
    assert (row.bank_serial, row.serial) == (paid.bank_serial, paid.serial)
    assert (aside, summary.state, summary.rows, summary.amount_fen, summary.fee_fen) == (
        [],
        file_pb2.FILE_STATE_COMPLETE,
        1,
        40_00,
        4_00,
    )
    assert (summary.columns, summary.stated_rows) == (16, 1)


async def test_the_balance_file_of_a_day_equals_what_the_mirror_had(shop: Marketplace) -> None:
    day = await a_day(shop)
    rows, _, _ = await fetch(shop, day, file_pb2.FILE_TYPE_BALANCES)
    assert {row.member_id: row.amount_fen for row in rows} == {
        member: (await shop.balance(member)).available_fen for member in ("buyer", "seller")
    }


async def test_an_empty_day_has_no_file_and_is_no_error(shop: Marketplace) -> None:
    day = await a_day(shop)
    rows, aside, summary = await fetch(shop, day, file_pb2.FILE_TYPE_WITHDRAWALS)
    assert (rows, aside, summary.state) == ([], [], file_pb2.FILE_STATE_NONE)


async def test_a_bad_row_is_quarantined_with_its_line_and_without_its_text(shop: Marketplace) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add("file_bad_row", code="6103")
    rows, (aside,), summary = await fetch(shop, day, file_pb2.FILE_TYPE_TOP_UPS)
    assert (len(rows), aside.line, aside.reason) == (1, 2, "14 columns, not 13")
    assert (summary.quarantined, summary.state) == (1, file_pb2.FILE_STATE_INCOMPLETE)


@pytest.mark.parametrize(
    ("fault", "code", "reason", "detail"),
    [
        ("file_wrong_md5", grpc.StatusCode.DATA_LOSS, "FILE_DAMAGED", ("fault", "CHANGED")),
        ("file_truncated", grpc.StatusCode.DATA_LOSS, "FILE_DAMAGED", ("fault", "TRUNCATED")),
        ("file_two_entries", grpc.StatusCode.DATA_LOSS, "FILE_DAMAGED", ("fault", "NOT_ONE_ENTRY")),
        ("file_wrong_password", grpc.StatusCode.DATA_LOSS, "FILE_DAMAGED", ("fault", "PASSWORD_WRONG")),
        ("file_wrong_draw_code", grpc.StatusCode.FAILED_PRECONDITION, "FILE_REFUSED", ("bank_code", "EFS0069")),
        ("refuse:ERR130", grpc.StatusCode.FAILED_PRECONDITION, "FILE_REFUSED", ("bank_code", "ERR130")),
        ("bad_signature", grpc.StatusCode.UNAVAILABLE, "FILE_UNAVAILABLE", ("file_type", "CZ")),
    ],
)
async def test_what_is_wrong_with_a_file_is_told(
    shop: Marketplace, fault: str, code: grpc.StatusCode, reason: str, detail: tuple[str, str]
) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add(fault, code="6103")
    refusal = await shop.refusal(fetch(shop, day, file_pb2.FILE_TYPE_TOP_UPS))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.metadata[detail[0]] == detail[1]
    assert (await fetch(shop, day, file_pb2.FILE_TYPE_TOP_UPS))[2].state == file_pb2.FILE_STATE_COMPLETE


async def test_the_command_writes_plain_files_and_a_summary(
    shop: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = await a_day(shop)
    status, said = await command(shop, monkeypatch, day, tmp_path, "CZ", "JY", "TX")
    assert status == 0, said
    written = {path.name[:2]: path for path in written_to(tmp_path) if path.suffix == ".txt"}
    assert sorted(path.name[:2] + path.suffix for path in written_to(tmp_path)) == [
        *("CZ.gb18030", "CZ.txt", "JY.gb18030", "JY.txt")
    ]
    assert "buyer&" in written["CZ"].read_text("utf-8")
    assert written["CZ"].stat().st_mode & 0o077 == 0
    assert "100.00" in said
    assert "none" in said


async def test_a_name_and_an_order_with_the_banks_separator_in_them_shift_no_amount(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    before = await shop.pay("buyer", "seller", 40_00, 4_00)
    member = next(one for one in shop.sandbox.bank.store.all(Member) if one.code == "buyer")
    shop.sandbox.bank.store.put(dataclasses.replace(member, name="A&B 商行"))
    # As the bank has it from somebody else: no request brings it in.
    trade = shop.sandbox.bank.store.get(Trade, before.serial)
    assert trade is not None
    shop.sandbox.bank.store.put(dataclasses.replace(trade, remark="运费&税"))
    await shop.clear()
    rows, aside, summary = await fetch(shop, before.bank_day, file_pb2.FILE_TYPE_TRANSACTIONS)
    (row,) = rows
    assert (row.amount_fen, row.fee_fen, row.bank_serial, row.serial) == (
        40_00,
        4_00,
        before.bank_serial,
        before.serial,
    )
    assert (row.member_id, row.payee_member_id, row.remark, row.is_repaired) == ("buyer", "seller", "运费&税", True)
    assert (aside, summary.repaired, summary.state) == ([], 1, file_pb2.FILE_STATE_COMPLETE)


async def test_a_stray_byte_costs_its_row_and_the_command_keeps_the_raw_file(
    shop: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add("file_not_gb18030", code="6103")
    rows, (aside,), summary = await fetch(shop, day, file_pb2.FILE_TYPE_TOP_UPS)
    assert (len(rows), aside.line, summary.quarantined) == (1, 2, 1)
    assert summary.state == file_pb2.FILE_STATE_INCOMPLETE
    shop.sandbox.faults.add("file_not_gb18030", code="6103")
    status, said = await command(shop, monkeypatch, day, tmp_path, "CZ")
    assert status == 1, said
    (raw,) = (path for path in written_to(tmp_path) if path.suffix == ".gb18030")
    assert raw.read_bytes().endswith(b"\xff\xff\n")
    assert raw.stat().st_mode & 0o077 == 0


async def test_the_command_exits_1_for_a_quarantined_row_and_keeps_its_line(
    shop: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add("file_bad_row", code="6103")
    status, _ = await command(shop, monkeypatch, day, tmp_path, "CZ")
    assert status == 1
    (aside,) = (path for path in written_to(tmp_path) if path.suffix == ".quarantined")
    assert aside.read_text("utf-8").startswith("line 2: 14 columns, not 13\n1&&buyer&")


async def test_the_command_says_in_one_line_what_is_wrong_with_a_file(
    shop: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add("file_wrong_md5", code="6103")
    status, said = await command(shop, monkeypatch, day, tmp_path, "CZ")
    assert status == 1
    assert said.startswith("jzb: the file was changed on the way: MD5 ")
    assert written_to(tmp_path) == []


def written_to(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def command(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch, day: str, out: Path, *kinds: str
) -> tuple[int, str]:
    """Run `jzb files fetch` as a process of its own; its exit status and what it said."""
    monkeypatch.setenv("DATABASE_URL", shop.dsn)
    for name, value in shop.sandbox.client_settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(f"JZB_BANK__{name.upper()}", text)
    arguments = [part for kind in kinds for part in ("--type", kind)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "service.process.cli", "files", "fetch", "--date", day, "--out", str(out), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said.decode()

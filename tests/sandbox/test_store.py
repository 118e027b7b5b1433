from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bankclient.messages import TransactionStatus
from sandbox.errors import LogDamaged, LogInUse
from sandbox.records import RECORDS
from sandbox.store import Log, Store
from tests.sandbox.conftest import Opened
from tests.sandbox.people import shop_and_buyer
from tests.sandbox.requests import freezing, paying, refund, withdrawal
from tests.sandbox.wire import Merchant

BOOKS_0_1_0 = Path(__file__).with_name("books-0.1.0.jsonl")
"""One record of each class, as the sandbox of 0.1.0 wrote it."""


async def closed(bank: Merchant) -> Any:
    """Close the sandbox and return the books it had."""
    assert bank.sandbox is not None
    view = bank.view()
    await bank.sandbox.bank.store.close()
    return view


async def test_books_calls_limits_and_clock_survive_a_restart(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path, withdrawal_delay_s=3600)
    buyer, shop = await shop_and_buyer(bank)
    await bank.control("POST", "clock", {"advance_days": 3})
    direct, out = bank.new_serial(), bank.new_serial()
    front = (await bank.pay("6", buyer, shop, 2000, 200, serial=direct)).FrontSeqNo
    await bank.pay("1", buyer, shop, 1000, order_no="O1")
    await bank.call(freezing("1", buyer, 3000))
    await bank.call(paying(buyer, 100, ("R1", shop, 500)))
    await bank.call(refund("2", direct, buyer, shop, 500, 50))
    await bank.call(withdrawal(buyer, 700), out)
    poor = bank.new_serial()
    assert await bank.refusal(bank.payment("6", buyer, shop, 10**9), poor) == "ERR044"
    before = await closed(bank)

    again = await open_bank(data_dir=tmp_path, withdrawal_delay_s=3600)
    again._number = bank._number
    assert again.view() == before
    again.check_books()
    assert (await again.pay("6", buyer, shop, 2000, 200, serial=direct)).FrontSeqNo == front
    assert await again.refusal(again.payment("6", buyer, shop, 10**9), poor) == "ERR044"
    assert await again.status("2", "R1") == "0"
    assert await again.status("3", out) == "5"
    assert await again.refusal(refund("2", direct, buyer, shop, 1501)) == "ERR271"
    await again.pay("2", buyer, shop, 1000, order_no="O1")
    assert (await again.member("new", "SH")).no == "9930000000001002"
    await again.control("POST", "clock", {"advance_days": 1})
    assert await again.status("3", out) == "0"


async def test_a_line_cut_short_by_a_crash_is_dropped(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    member = await bank.member("a", "00")
    await bank.top_up(member, 100)
    before = await closed(bank)
    with (tmp_path / "books.jsonl").open("ab") as log:
        log.write(b'{"moved":[[["withdrawable"')
    again = await open_bank(data_dir=tmp_path)
    again._number = bank._number
    assert again.view() == before
    serial = await again.top_up(member, 50)
    await closed(again)
    third = await open_bank(data_dir=tmp_path)
    assert await third.balances(member) == (150, 0, 0)
    assert await third.status("4", serial) == "0"


async def test_a_damaged_line_stops_the_start_and_is_named(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    await bank.member("a", "00")
    await closed(bank)
    path = tmp_path / "books.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[1:]))
    with pytest.raises(LogDamaged, match="line 2"):
        await open_bank(data_dir=tmp_path)


async def test_two_sandboxes_do_not_share_their_books(open_bank: Opened, tmp_path: Path) -> None:
    await open_bank(data_dir=tmp_path)
    with pytest.raises(LogInUse):
        await open_bank(data_dir=tmp_path)


async def test_a_line_of_an_older_sandbox_with_other_fields_is_read(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    member = await bank.member("a", "00")
    serial = await bank.top_up(member, 100)
    await closed(bank)
    path = tmp_path / "books.jsonl"
    units = [json.loads(line) for line in path.read_text().splitlines()]
    for unit in units:
        for name, fields in unit["put"]:
            if name == "Trade":
                del fields["fail_message"]
                fields["of_another_version"] = "x"
    path.write_text("".join(json.dumps(unit) + "\n" for unit in units))
    again = await open_bank(data_dir=tmp_path)
    status = await again.call(TransactionStatus(FunctionFlag="4", TranNetSeqNo=serial))
    assert (status.TranStatus, status.TranAmt) == ("0", 100)


def test_every_record_that_0_1_0_wrote_is_read_with_all_its_values(tmp_path: Path) -> None:
    # What is now remaining_fen was left_fen then. Whoever renames a field again adds it to FIELDS_BEFORE.
    written = BOOKS_0_1_0.read_text()
    (tmp_path / "books.jsonl").write_text(written)
    store = Store("waiting_first", Log(tmp_path / "books.jsonl"))
    store.load()
    puts = [put for line in written.splitlines() for put in json.loads(line)["put"]]
    assert len(puts) == 23
    for name, fields in puts:
        (record,) = store.all(RECORDS[name])
        values = [getattr(record, field) for field in record.__match_args__]
        assert {str(value) for value in values} >= {
            str(tuple(value) if isinstance(value, list) else value) for value in fields.values()
        }, name


async def test_keys_and_client_settings_are_private_and_kept(open_bank: Opened, tmp_path: Path) -> None:
    bank = await open_bank(data_dir=tmp_path)
    first = (tmp_path / "merchant.pfx").read_bytes()
    names = os.listdir(tmp_path)
    assert {"merchant.pfx", "bank.cer", "client.json", "client.env", "books.jsonl"} <= set(names)
    for name in names:
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    await closed(bank)
    await open_bank(data_dir=tmp_path)
    assert (tmp_path / "merchant.pfx").read_bytes() == first

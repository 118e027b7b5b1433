"""The bank's client and the sandbox's file server: a day's files from the books, and each way they can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from bankclient import (
    Answer,
    AnswerOutcome,
    DrawCodeWrong,
    FileChanged,
    FileError,
    FileNotOneEntry,
    FilePasswordWrong,
    FileServerRefused,
    FileTooLarge,
    FileTruncated,
    FileUnavailable,
    NoFile,
    ReconciliationFile,
)
from sandbox.clock import day_of
from tests.bankclient.files import DayFile, fetch_file
from tests.sandbox.conftest import Opened
from tests.sandbox.wire import Member, Merchant, client_of


async def a_day(bank: Merchant) -> tuple[date, Member, Member]:
    """A day with a top-up, a payment with a fee and a refused one, ended."""
    buyer, shop = await bank.member("buyer", "00"), await bank.member("shop", "SH")
    await bank.top_up(buyer, 10000, 100)
    await bank.pay("6", buyer, shop, 4000, 40, order_no="O1", remark="两双鞋")
    await bank.refusal(bank.payment("6", buyer, shop, 900_000))
    day = day_of(bank.view()["bank_day"])
    await bank.control("POST", "clock", {"advance_days": 1})
    return day, buyer, shop


async def fetched(bank: Merchant, file_type: Any, day: date, **changed: Any) -> DayFile:
    async with client_of(bank, **changed) as client:
        file = await fetch_file(client, file_type, day)
    assert isinstance(file, DayFile), file
    return file


async def test_a_days_files_tell_what_the_books_tell(bank: Merchant) -> None:
    day, buyer, shop = await a_day(bank)
    top_ups = await fetched(bank, "CZ", day)
    assert (top_ups.rows.amount_fen, top_ups.rows.fee_fen, top_ups.rows.columns) == (10000, 100, 13)
    assert (top_ups.stated_rows, top_ups.is_complete) == (1, True)
    assert top_ups.name.startswith(f"CZ{day:%Y%m%d}9930")
    assert top_ups.rows.good[0].fields["sub_account"] == buyer.no
    payments = await fetched(bank, "JY", day)
    (row,) = payments.rows.good
    assert (row.amount_fen, row.fee_fen, row.fields["payee_sub_account"]) == (4000, 40, shop.no)
    assert (row.fields["remark"], row.fields["order_no"]) == ("两双鞋", "O1")
    balances = await fetched(bank, "YE", day)
    assert {row.fields["member_code"]: row.amount_fen for row in balances.rows.good} == {"buyer": 5900, "shop": 3960}


async def test_a_file_comes_in_pieces(open_bank: Opened) -> None:
    bank = await open_bank(file_piece_bytes=64)
    day, *_ = await a_day(bank)
    assert (await fetched(bank, "JY", day)).is_complete
    # As at the bank, nothing is served under the name of the server.
    with pytest.raises(FileUnavailable):
        await fetched(bank, "JY", day, file_piece_url="server_name")


@pytest.mark.parametrize("url", ["auth", "server_name"])
async def test_a_file_server_of_another_year_serves_pieces_at_both_addresses(open_bank: Opened, url: str) -> None:
    bank = await open_bank(file_piece_bytes=64, file_pieces_at="both")
    day, *_ = await a_day(bank)
    assert (await fetched(bank, "JY", day, file_piece_url=url)).is_complete


async def test_a_path_without_the_name_is_joined(open_bank: Opened) -> None:
    bank = await open_bank(file_path_has_name=False)
    day, *_ = await a_day(bank)
    assert (await fetched(bank, "CZ", day)).is_complete


async def test_an_empty_day_and_today_have_no_file(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    assert bank.sandbox is not None
    async with client_of(bank) as client:
        assert isinstance(await fetch_file(client, "TX", day), NoFile)
        assert isinstance(await fetch_file(client, "CZ", day_of(bank.view()["bank_day"])), NoFile)
        bank.sandbox.faults.add("file_empty_day", code="6103")
        assert isinstance(await fetch_file(client, "CZ", day), NoFile)
        assert isinstance(await fetch_file(client, "CZ", day), DayFile)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("file_wrong_md5", FileChanged),
        ("file_truncated", FileTruncated),
        ("file_wrong_draw_code", DrawCodeWrong),
        ("file_refused:EFS0069", DrawCodeWrong),
        ("file_refused:EFS0020", FileServerRefused),
        ("file_wrong_password", FilePasswordWrong),
        ("file_two_entries", FileNotOneEntry),
        ("file_too_large", FileTooLarge),
    ],
)
async def test_a_file_that_is_not_right_says_which(bank: Merchant, fault: str, error: type[FileError]) -> None:
    day, *_ = await a_day(bank)
    assert bank.sandbox is not None
    bank.sandbox.faults.add(fault, code="6103")
    async with client_of(bank, file_text_bytes_max=1_000_000) as client:
        with pytest.raises(error) as raised:
            await fetch_file(client, "CZ", day)
        assert type(raised.value) is error
        assert isinstance(await fetch_file(client, "CZ", day), DayFile)


async def test_the_download_of_a_file_is_observed_like_any_call(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    seen: list[tuple[str, AnswerOutcome]] = []

    @contextmanager
    def around(interface: str, _: str | None) -> Iterator[Callable[[Answer[Any]], None]]:
        yield lambda answer: seen.append((interface, answer.outcome))

    assert bank.sandbox is not None
    bank.sandbox.faults.add("file_refused:EFS0020", code="6103")
    async with client_of(bank, around=around) as client:
        with pytest.raises(FileServerRefused):
            await fetch_file(client, "CZ", day)
        # The file that states the count comes first.
        assert seen == [("6103", AnswerOutcome.DONE), ("file", AnswerOutcome.DONE), ("file", AnswerOutcome.UNKNOWN)]
        seen.clear()
        assert isinstance(await fetch_file(client, "CZ", day), DayFile)
    assert seen == [("6103", AnswerOutcome.DONE), ("file", AnswerOutcome.DONE), ("file", AnswerOutcome.DONE)]


async def test_an_encrypted_file_over_the_limit_is_not_fetched(bank: Merchant) -> None:
    day = day_of(bank.view()["bank_day"])
    for _ in range(120):
        await bank.member(uuid4().hex, "00")
    await bank.control("POST", "clock", {"advance_days": 1})
    with pytest.raises(FileTooLarge):
        await fetched(bank, "YE", day, file_bytes_max=1024)
    assert len((await fetched(bank, "YE", day)).rows.good) == 120


async def test_a_bad_row_is_put_aside_and_a_count_that_differs_is_told(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    assert bank.sandbox is not None
    bank.sandbox.faults.add("file_bad_row", code="6103")
    file = await fetched(bank, "CZ", day)
    assert (len(file.rows.good), [row.line for row in file.rows.bad], file.is_complete) == (1, [2], False)
    bank.sandbox.faults.add("file_not_gb18030", code="6103")
    file = await fetched(bank, "CZ", day)
    assert (len(file.rows.good), [row.line for row in file.rows.bad], file.is_complete) == (1, [2], False)
    bank.sandbox.faults.add("file_wrong_count", code="6103")
    file = await fetched(bank, "CZ", day)
    assert (file.stated_rows, file.found_rows, file.is_complete) == (2, 1, False)
    bank.sandbox.faults.add("file_without_ok", code="6103")
    file = await fetched(bank, "CZ", day)
    assert (file.stated_rows, file.is_complete) == (None, True)


async def test_a_lost_session_is_opened_again_and_the_file_is_whole(open_bank: Opened) -> None:
    bank = await open_bank(file_piece_bytes=64)
    day, *_ = await a_day(bank)
    assert bank.sandbox is not None
    bank.sandbox.faults.add("file_session_lost:3", code="6103")
    assert (await fetched(bank, "JY", day)).is_complete


async def test_a_token_the_file_server_refuses_is_renewed_once(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    assert bank.sandbox is not None
    async with client_of(bank) as client:
        answer = await client.call(ReconciliationFile(FileType="CZ", FileDate=day))
        assert answer.reply is not None
        await bank.control("DELETE", "tokens")
        row = answer.reply.TranItemArray[0]
        assert await client.download(row.FilePath, row.DrawCode)


async def test_another_file_password_is_refused(open_bank: Opened) -> None:
    bank = await open_bank(file_password="secret")
    day, *_ = await a_day(bank)
    with pytest.raises(FileServerRefused) as raised:
        await fetched(bank, "CZ", day)
    assert raised.value.code == "EFS0051"
    assert (await fetched(bank, "CZ", day, file_password="secret")).is_complete

"""What a file or list says otherwise than the bank's books: each fault in one row, and again in the same way."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from bankclient import NoFile
from bankclient.messages import BankCharges, ClearingResult, TransfersIn
from sandbox.clock import day_of, day_text
from sandbox.dayfaults import FILES, SOURCES_OF, TRADES, DayFaults
from sandbox.records import FAILED, SUCCEEDED, BankCharge, ClearingDay, DayEnd, Inflow, Trade, Withdrawal
from tests.bankclient.files import DayFile, fetch_file
from tests.sandbox.wire import Member, Merchant, client_of


async def a_day(bank: Merchant) -> tuple[date, Member, Member]:
    """A day with two top-ups, three payments, a refused one and two withdrawals, ended; and the day after with one
    payment, ended as well.
    """
    buyer, shop = await bank.member("buyer", "00"), await bank.member("shop", "SH")
    await bank.member("other", "SH")
    await bank.top_up(buyer, 100_00, 1_00)
    await bank.top_up(buyer, 200_00)
    for number in range(3):
        await bank.pay("6", buyer, shop, 10_00 + number, 10)
    await bank.refusal(bank.payment("6", buyer, shop, 9_000_00))
    day = day_of(bank.view()["bank_day"])
    await bank.control("POST", "clock", {"advance_days": 1})
    await bank.pay("6", buyer, shop, 40_00)
    await bank.top_up(buyer, 5_00)
    await bank.control("POST", "clock", {"advance_days": 1})
    return day, buyer, shop


async def asked(bank: Merchant, fault: str, source: str, day: date, **more: Any) -> None:
    """Ask for a fault, as whoever reaches the control plane does."""
    await bank.control("POST", "day-faults", {"fault": fault, "source": source, "day": day.isoformat(), **more})


async def struck(bank: Merchant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await bank.control("GET", "day-faults")
    return found


async def fetched(bank: Merchant, source: Any, day: date) -> DayFile | NoFile:
    async with client_of(bank) as client:
        file = await fetch_file(client, source, day)
    assert isinstance(file, DayFile | NoFile)
    return file


async def rows(bank: Merchant, source: str, day: date) -> list[dict[str, str]]:
    file = await fetched(bank, source, day)
    return [] if isinstance(file, NoFile) else [dict(row.fields) for row in file.rows.good]


SERIAL = "front_seq_no"


def amounts(found: list[dict[str, str]]) -> dict[str, str]:
    return {row.get(SERIAL, row.get("sub_account", "")): row["amount"] for row in found}


async def test_a_clean_day_says_what_the_books_say_and_nothing_is_struck(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    assert [len(await rows(bank, source, day)) for source in ("CZ", "JY")] == [2, 3]
    assert await struck(bank) == []


@pytest.mark.parametrize("source", ["CZ", "JY", "YE"])
@pytest.mark.parametrize("fault", ["row_missing", "row_invented", "row_amount", "row_duplicate"])
async def test_a_row_is_told_otherwise_and_again_in_the_same_way(bank: Merchant, source: str, fault: str) -> None:
    day, *_ = await a_day(bank)
    clean = await rows(bank, source, day)
    await asked(bank, fault, source, day, seed=7, amount_fen=3_33)
    told = await rows(bank, source, day)
    assert [{**row, "number": ""} for row in told] == [
        {**row, "number": ""} for row in await rows(bank, source, day)
    ], "a file that is fetched again is wrong in the same way"
    (one,) = await struck(bank)
    assert (one["fault"], one["source"], one["day"]) == (fault, source, day_text(day))
    more = {"row_missing": -1, "row_invented": 1, "row_amount": 0, "row_duplicate": 1}[fault]
    assert len(told) == len(clean) + more
    before, after = amounts(clean), amounts(told)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed == (set() if fault == "row_duplicate" else {one["row"]})
    difference = {"row_missing": -one["booked_fen"], "row_amount": 3_33, "row_invented": 3_33, "row_duplicate": 0}
    assert one["told_fen"] - one["booked_fen"] == difference[fault]


async def test_a_fee_a_side_and_a_refused_payment_are_told_otherwise(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    clean = {row[SERIAL]: row for row in await rows(bank, "JY", day)}
    for number, fault in enumerate(("row_fee", "row_side", "row_state")):
        await asked(bank, fault, "JY", day, seed=number, amount_fen=77)
    told = {row[SERIAL]: row for row in await rows(bank, "JY", day)}
    fee, side, state = await struck(bank)
    assert len({fee["row"], side["row"], state["row"]}) == 3, "each strikes a row of its own"
    assert (clean[fee["row"]]["fee"], told[fee["row"]]["fee"]) == ("0.10", "0.87")
    was, is_now = clean[side["row"]], told[side["row"]]
    assert was["payee_sub_account"] != is_now["payee_sub_account"]
    assert {**was, "payee_sub_account": "", "payee_member_code": "", "payee_name": ""} == {
        **is_now, "payee_sub_account": "", "payee_member_code": "", "payee_name": ""
    }  # fmt: skip
    assert state["row"] not in clean
    assert (told[state["row"]]["serial"], state["told_fen"], state["booked_fen"]) == (state["serial"], 77, 0)


@pytest.mark.parametrize("source", ["CZ", "JY"])
async def test_a_row_is_shifted_into_the_file_of_the_next_day(bank: Merchant, source: str) -> None:
    day, *_ = await a_day(bank)
    after = date.fromordinal(day.toordinal() + 1)
    clean, clean_after = await rows(bank, source, day), await rows(bank, source, after)
    await asked(bank, "row_shifted", source, day, seed=3)
    told = await rows(bank, source, day)
    told_after = await rows(bank, source, after)
    (one,) = await struck(bank)
    assert [row[SERIAL] for row in told] == [row[SERIAL] for row in clean if row[SERIAL] != one["row"]]
    assert len(told_after) == len(clean_after) + 1
    (came,) = [row for row in told_after if row[SERIAL] == one["row"]]
    assert (came["day"], came["time"]) == (day_text(after), "000007")


@pytest.mark.parametrize(
    ("fault", "source", "is_bad"),
    [
        ("row_short", "JY", True),
        ("row_short", "YE", True),
        ("row_not_gb18030", "CZ", True),
        ("row_not_gb18030", "YE", True),
        ("row_bad_amount", "JY", True),
        ("row_bad_amount", "CZ", True),
        ("row_bad_amount", "YE", True),
        ("row_ampersand", "JY", False),
        ("row_ampersand", "CZ", False),
    ],
)
async def test_a_row_that_cannot_be_read_hides_no_other(bank: Merchant, fault: str, source: str, is_bad: bool) -> None:
    day, *_ = await a_day(bank)
    clean = await rows(bank, source, day)
    await asked(bank, fault, source, day, seed=1)
    file = await fetched(bank, source, day)
    assert isinstance(file, DayFile)
    (one,) = await struck(bank)
    assert (one["fault"], bool(one["row"])) == (fault, True)
    assert file.rows.examined.bad_rows == (1 if is_bad else 0)
    assert file.rows.examined.repaired_rows == (0 if is_bad else 1)
    assert file.rows.examined.good_rows + file.rows.examined.bad_rows == len(clean)


async def test_a_file_comes_late(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    await asked(bank, "file_late", "CZ", day, times=2)
    assert [isinstance(await fetched(bank, "CZ", day), NoFile) for _ in range(3)] == [True, True, False]
    assert isinstance(await fetched(bank, "JY", day), DayFile), "the others are there"


async def test_a_file_is_another_one_when_it_is_fetched_again(bank: Merchant) -> None:
    day, *_ = await a_day(bank)
    clean = amounts(await rows(bank, "JY", day))
    await asked(bank, "row_amount", "JY", day, after=1, amount_fen=1)
    assert amounts(await rows(bank, "JY", day)) == clean
    changed = amounts(await rows(bank, "JY", day))
    assert changed != clean
    assert amounts(await rows(bank, "JY", day)) == changed


@pytest.mark.parametrize("fault", ["file_count", "file_cut"])
async def test_a_file_has_not_as_many_rows_as_the_bank_states(bank: Merchant, fault: str) -> None:
    day, *_ = await a_day(bank)
    await asked(bank, fault, "JY", day)
    file = await fetched(bank, "JY", day)
    assert isinstance(file, DayFile)
    assert not file.is_complete
    assert file.stated_rows == (4 if fault == "file_count" else 3)
    assert file.rows.examined.good_rows == (3 if fault == "file_count" else 2)


async def test_lists_are_told_otherwise(bank: Merchant) -> None:
    day, buyer, _ = await a_day(bank)
    today = day_of(bank.view()["bank_day"])
    for number in range(2):
        await bank.control("POST", "transfers", {"amount_fen": 50_00 + number, "sub_acct_no": buyer.no})
        await bank.control("POST", "charges", {"fee_type": "1", "amount_fen": 3_00 + number})
    await bank.control("POST", "clock", {"advance_days": 1})

    async def transfers() -> dict[str, int]:
        reply = await bank.call(TransfersIn(FunctionFlag="0", StartDate=today, EndDate=today, PageNum=1))
        return {row.FrontSeqNo: row.TranAmt for row in reply.TranItemArray if row.Remark != "跨行支付本金清算"}

    async def charges() -> list[int]:
        reply = await bank.call(BankCharges(FunctionFlag="2", StartDate=today, EndDate=today, PageNum=1))
        return sorted(row.ChargeAmt for row in reply.FeeArray)

    async def clearings() -> dict[str, tuple[int, str]]:
        reply = await bank.call(ClearingResult(FunctionFlag="2", StartDate=day, EndDate=day, PageNum=1))
        return {row.Date: (row.TotalAmt, row.ClearingState) for row in reply.TranItemArray}

    clean, clean_charges, clean_clearings = await transfers(), await charges(), await clearings()
    await asked(bank, "row_missing", "6050", today, seed=1)
    await asked(bank, "row_amount", "6050", today, seed=2, amount_fen=5)
    await asked(bank, "row_amount", "6109", today, amount_fen=7)
    await asked(bank, "row_state", "6108", day)
    told = await transfers()
    missing, amount = (await struck(bank))[:2]
    assert missing["row"] not in told
    assert told == {amount["row"]: clean[amount["row"]] + 5}
    assert sum(await charges()) == sum(clean_charges) + 7
    assert (await clearings())[day_text(day)][1] != clean_clearings[day_text(day)][1]
    assert [one["source"] for one in await struck(bank)] == ["6050", "6050", "6109", "6108"]
    await bank.control("DELETE", "day-faults")
    assert (await transfers(), await charges(), await clearings()) == (clean, clean_charges, clean_clearings)


async def test_a_fault_that_a_source_does_not_have_is_refused(bank: Merchant) -> None:
    day = day_of(bank.view()["bank_day"])
    for fault, source in (("row_fee", "YE"), ("row_state", "6050"), ("file_late", "6108"), ("row_gone", "CZ")):
        with pytest.raises(Exception, match="400"):
            await asked(bank, fault, source, day)


def records(source: str) -> list[Any]:
    """What a source is made of: some records of the day, and one of the day after."""
    found: list[Any] = []
    for number, day in enumerate((DAY, DAY, DAY, AFTER)):
        front, serial = f"{day[2:]}{number:010d}", f"S{number:021d}"
        match source:
            case "YE":
                found.append(DayEnd(f"99300000000010{number:02d}", day, 500, 400, 0, 0, 100, 0))
            case "6050":
                found.append(Inflow(front, day, SIDES[0], 500, "6200000000000000000", "付款人", "银行", ""))
            case "6048":
                found.append(Withdrawal(serial, SIDES[0], 500, 0, "", "", returned_day=day, return_front_seq_no=front))
            case "6108":
                found.append(ClearingDay((DAY, "20260103", "20260104", AFTER)[number], 500, finished_day=AFTER))
            case "6109":
                found.append(BankCharge(number, "1", day, day, day, 500))
            case _:
                at = f"{day_of(day).isoformat()}T10:00:00+08:00"
                found.append(
                    Trade(
                        *(
                            serial,
                            "",
                            "6034",
                            "6",
                            "2",
                            "",
                            SUCCEEDED,
                            at,
                            day,
                            front,
                            SIDES[0],
                            SIDES[1],
                        ),
                        amount_fen=500,
                        fee_fen=5,
                    )
                )
    return found


DAY, AFTER = "20260105", "20260106"
SIDES = [f"99300000000020{number:02d}" for number in range(4)]
REFUSED = Trade("R" + "0" * 21, "", "6034", "", "2", "N", FAILED, f"{day_of(DAY).isoformat()}T10:00:00+08:00", DAY)
ROWS = [
    (fault, source)
    for fault, sources in SOURCES_OF.items()
    for source in sources
    if fault.startswith("row_") and fault not in ("row_short", "row_ampersand", "row_not_gb18030", "row_bad_amount")
]


@pytest.mark.parametrize(("fault", "source"), ROWS)
def test_every_fault_of_a_row_strikes_one_row_and_says_what_it_has_done(fault: str, source: str) -> None:
    def told(seed: int, times: int) -> tuple[list[Any], dict[str, Any]]:
        faults = DayFaults()
        faults.add(fault, source=source, day=day_of(DAY), seed=seed, amount_fen=7)
        found: list[Any] = []
        for _ in range(times):
            telling = faults.asked(source, DAY, DAY)
            refused = [REFUSED] if source in TRADES else []
            found = telling.rows(records(source), day=DAY if source == "YE" else "", sides=SIDES, refused=refused)
        (one,) = faults.struck
        return found, one

    clean, (found, one) = records(source), told(1, 1)
    assert told(1, 3) == (found, one)
    assert (one["fault"], one["source"], one["day"]) == (fault, source, DAY)
    gone = [record for record in clean if record not in found]
    come = [record for record in found if record not in clean]
    expected = {"row_missing": (1, 0), "row_invented": (0, 1), "row_duplicate": (0, 0)}
    if fault == "row_state" and source in TRADES:
        expected["row_state"] = (0, 1)
    assert (len(gone), len(come)) == expected.get(fault, (1, 1))
    assert len(found) - len(clean) == {"row_missing": -1, "row_invented": 1, "row_duplicate": 1}.get(
        fault, expected.get(fault, (0, 0))[1]
    )
    rows_struck = {told(seed, 1)[1]["row"] for seed in range(30)}
    # Of a clearing there is one a day, and one payment was refused.
    is_alone = source == "6108" or (fault == "row_state" and source in TRADES)
    assert is_alone or len(rows_struck) > 1, "the seed picks the row"


def test_no_fault_strikes_a_row_that_another_has_made() -> None:
    faults, wanted = DayFaults(), ("row_invented", "row_duplicate", "row_shifted")
    for number, fault in enumerate((*wanted, "row_amount")):
        faults.add(fault, source="JY", day=day_of(DAY), seed=number)
    for _ in range(2):
        faults.asked("JY", DAY, DAY).rows(records("JY"))
        assert tuple(one["fault"] for one in faults.struck) == wanted, "each of the three rows of the day is struck"
    # Nor one that came from the day before.
    faults.add("row_missing", source="JY", day=day_of(AFTER))
    faults.add("row_amount", source="JY", day=day_of(AFTER))
    faults.asked("JY", AFTER, AFTER).rows(records("JY"))
    assert tuple(one["fault"] for one in faults.struck) == (*wanted, "row_missing")


def test_money_in_suspense_may_be_told_to_be_a_members() -> None:
    faults = DayFaults()
    faults.add("row_side", source="6050", day=day_of(DAY))
    lies = Inflow("2601050000000001", DAY, "", 500, "6200000000000000000", "付款人", "银行", "")
    (told,) = faults.asked("6050", DAY, DAY).rows([lies], sides=SIDES)
    assert told.sub_acct_no in SIDES


def test_each_source_has_its_faults() -> None:
    assert all(set(sources) <= {*FILES, "6050", "6048", "6108", "6109"} for sources in SOURCES_OF.values())
    assert set(TRADES) <= set(SOURCES_OF["row_side"])

"""What the bank's files and lists of a day say otherwise than its books: asked for by day, file or list, and seed.

Asked for by `DayFaults.add`, or `POST /control/day-faults`, and there until deleted, so that a file fetched again is
wrong again in the same way. The books stay as they are. Which row is struck follows from the seed alone; what was done
to it is in `struck` (`GET /control/day-faults`), so that who reconciles can be held against it.

| fault | CZ TX JY | YE | 6050 6048 | 6108 | 6109 | what the file or list says |
|---|---|---|---|---|---|---|
| `row_missing` | x | x | x | x | x | a row is not there |
| `row_invented` | x | x | x | | x | a row that nobody has booked, of `amount_fen` |
| `row_amount` | x | x | x | x | x | `amount_fen` more than was booked; in YE another balance |
| `row_fee` | x | | | | | `amount_fen` more fee than was booked |
| `row_side` | x | | x | | | another member's sub-account |
| `row_state` | x | | | x | x | what was refused is listed as done; 6108 and 6109: another state |
| `row_shifted` | x | | x | | | a row is in the next day's file, with that day (日切) |
| `row_duplicate` | x | x | x | x | x | a row twice |
| `row_short` | x | x | | | | a row without its last columns |
| `row_ampersand` | x | | | | | `&` in a name, which shifts the row |
| `row_not_gb18030` | x | x | | | | a byte that is no GB18030 in a row |
| `row_bad_amount` | x | x | | | | letters where the amount of a row is |
| `file_late` | x | x | | | | 6103 says that there is no file |
| `file_count` | x | x | | | | the `.ok` file says one row more than there are |
| `file_cut` | x | x | | | | the file ends in the middle, and its `.ok` file has all rows |

A fault passes by `after` fetches and strikes `times` (null: all that follow): `file_late` with times 2 is a file that is
there when it is asked for the third time; `row_amount` with after 1 a file that is another one when it is fetched again.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from sandbox.clock import day_of, day_text
from sandbox.records import SUCCEEDED, BankCharge, ClearingDay, DayEnd, Inflow, Trade, Withdrawal

TRADES: Final = ("CZ", "TX", "JY")
FILES: Final = (*TRADES, "YE")
LISTS: Final = ("6050", "6048", "6108", "6109")

SOURCES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "row_missing": (*FILES, *LISTS),
    "row_invented": (*FILES, "6050", "6048", "6109"),
    "row_amount": (*FILES, *LISTS),
    "row_fee": TRADES,
    "row_side": (*TRADES, "6050", "6048"),
    "row_state": (*TRADES, "6108", "6109"),
    "row_shifted": (*TRADES, "6050", "6048"),
    "row_duplicate": (*FILES, *LISTS),
    "row_short": FILES,
    "row_ampersand": TRADES,
    "row_not_gb18030": FILES,
    "row_bad_amount": FILES,
    "file_late": FILES,
    "file_count": FILES,
    "file_cut": FILES,
}
"""Which faults there are, and of which files and lists."""

NO_GB18030: Final = "\udcff"
"""The byte FF, as it is written with `surrogateescape`: it begins no character of GB18030."""

Told: TypeAlias = Trade | DayEnd | Inflow | Withdrawal | ClearingDay | BankCharge
T = TypeVar("T", Trade, DayEnd, Inflow, Withdrawal, ClearingDay, BankCharge)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The fields of a record by which it is known, dated, counted and owned."""

    key: str
    day: str
    amount: str
    side: str = ""


_SHAPES: Final[Mapping[type[Told], _Shape]] = {
    Trade: _Shape("front_seq_no", "day", "amount_fen", "in_sub_acct_no"),
    DayEnd: _Shape("sub_acct_no", "day", "available_fen"),
    Inflow: _Shape("front_seq_no", "day", "amount_fen", "sub_acct_no"),
    Withdrawal: _Shape("return_front_seq_no", "returned_day", "amount_fen", "sub_acct_no"),
    ClearingDay: _Shape("day", "day", "total_fen"),
    BankCharge: _Shape("number", "taken_day", "amount_fen"),
}


@dataclass(frozen=True, slots=True)
class Struck:
    """What a fault has done, in fen: what the books have of the row, and what is told of it. ``row`` is its FrontSeqNo
    or what else it is known by, ``serial`` its CnsmrSeqNo, where it has one.
    """

    fault: str
    source: str
    day: str
    row: str
    serial: str
    sub_acct_no: str
    booked_fen: int
    told_fen: int
    booked_fee_fen: int = 0
    told_fee_fen: int = 0


@dataclass(slots=True)
class DayFault:
    """One fault that was asked for; ``struck`` once it has struck."""

    fault: str
    source: str
    day: str
    seed: int
    amount_fen: int
    after: int
    times: int | None
    row: str = ""
    struck: Struck | None = None

    def strikes(self) -> bool:
        """Whether it strikes this fetch; counts it."""
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            if not self.times:
                return False
            self.times -= 1
        return True


class DayFaults:
    """Everything asked for, of one bank."""

    def __init__(self) -> None:
        self._faults: list[DayFault] = []

    def add(
        self,
        fault: str,
        *,
        source: str,
        day: date,
        seed: int = 0,
        amount_fen: int = 1_00,
        after: int = 0,
        times: int | None = None,
    ) -> None:
        """Ask for a fault of a file or list of a day. ValueError for one that the source does not have."""
        if source not in SOURCES_OF.get(fault, ()):
            raise ValueError(f"{source} has no fault {fault}")
        self._faults.append(DayFault(fault, source, day_text(day), seed, amount_fen, after, times))

    def clear(self) -> None:
        """Forget all."""
        self._faults.clear()

    @property
    def struck(self) -> list[dict[str, Any]]:
        """What was done so far, in the order in which it was asked for."""
        return [asdict(one.struck) for one in self._faults if one.struck is not None]

    def asked(self, source: str, first: str, last: str) -> Telling:
        """The source is asked for these days: what is to go wrong with its answer."""
        mine = [one for one in self._faults if one.source == source]
        here = [one for one in mine if first <= one.day <= last and one.strikes()]
        # What was shifted is in the file of the next day, however often that is fetched.
        shifted = (one for one in mine if one.fault == "row_shifted" and one not in here)
        came = [one for one in shifted if first <= _next(one.day) <= last]
        taken = {(one.day, one.row) for one in mine if one.row}
        return Telling(here + came, taken)


class Telling:
    """One answer of a source, and the faults that strike it."""

    def __init__(self, faults: Sequence[DayFault], taken: set[tuple[str, str]]) -> None:
        self._faults = faults
        self._taken = taken

    def has(self, fault: str) -> bool:
        """Whether the file as a whole is struck so."""
        found = [one for one in self._faults if one.fault == fault]
        for one in found:
            one.struck = Struck(one.fault, one.source, one.day, "", "", "", 0, 0)
        return bool(found)

    def rows(
        self, records: Iterable[T], *, day: str = "", sides: Sequence[str] = (), refused: Iterable[T] = ()
    ) -> list[T]:
        """The records as they are told. ``day`` is that of all of them where they have others; ``sides`` are the
        sub-accounts of all members, ``refused`` what was refused.
        """
        booked = list(records)
        told = list(booked)
        for one in self._faults:
            if one.fault == "row_state" and one.source in TRADES:
                told = self._refused_told(one, told, list(refused))
                continue
            target = self._target(one, booked, told, day)
            if target is not None:
                told = self._changed(one, told, target, sides)
        return told

    def fields(self, record: Told, fields: Sequence[str]) -> list[str]:
        """The fields of a row of a file as they are told."""
        found = list(fields)
        for one in self._faults:
            if one.row != _key(record) or one.fault not in _IN_TEXT:
                continue
            if one.fault == "row_short":
                found = found[: max(2, len(found) - 3)]
            elif one.fault == "row_ampersand":
                # The name of a top-up or withdrawal, or of the payer.
                place = 3 if one.source == "JY" else 2
                found[place] = f"{found[place]}&{found[place]}"
            elif one.fault == "row_not_gb18030":
                found[0] += NO_GB18030
            else:
                place = {"JY": 7, "YE": 2}.get(one.source, 3)
                found[place] = "x" + found[place]
        return found

    def _target(self, one: DayFault, booked: Sequence[Any], told: Sequence[Any], day: str) -> Any:
        """The row of a fault, as it is told so far: never one that another fault has invented or brought here."""
        if one.fault not in _OF_ROWS:
            return None
        if not one.row:
            of_day = [record for record in booked if (day or _day(record)) == one.day]
            free = sorted(key for record in of_day if (one.day, key := _key(record)) not in self._taken)
            if not free:
                return None
            one.row = Random(f"{one.seed} {one.fault} {one.source} {one.day}").choice(free)  # noqa: S311 - to be repeated
            self._taken.add((one.day, one.row))
        return next((record for record in told if _key(record) == one.row), None)

    def _changed(self, one: DayFault, told: Sequence[Any], target: Any, sides: Sequence[str]) -> list[Any]:
        shape = _SHAPES[type(target)]
        others = [record for record in told if record is not target]
        match one.fault:
            case "row_missing":
                one.struck = _struck(one, target, None)
                return others
            case "row_invented":
                made = _invented(one, target)
                one.struck = replace(_struck(one, made, made), booked_fen=0)
                return [*told, made]
            case "row_duplicate":
                one.struck = _struck(one, target, target)
                return [*told, target]
            case "row_amount":
                changed = _with(target, **{shape.amount: getattr(target, shape.amount) + one.amount_fen})
            case "row_fee":
                assert isinstance(target, Trade)
                changed = _with(target, fee_fen=target.fee_fen + one.amount_fen)
            case "row_side":
                is_payers = isinstance(target, Trade) and not target.in_sub_acct_no
                side = "out_sub_acct_no" if is_payers else shape.side
                known = (getattr(target, side), getattr(target, "out_sub_acct_no", ""))
                free = sorted(one_side for one_side in sides if one_side not in known)
                if not free:
                    return list(told)
                changed = _with(target, **{side: Random(one.seed).choice(free)})  # noqa: S311 - to be repeated
            case "row_state":
                changed = _of_other_state(target)
            case "row_shifted":
                changed = _shifted(target, _next(one.day))
            case _:
                changed = target
        one.struck = _struck(one, target, changed)
        return [*others, changed]

    def _refused_told(self, one: DayFault, told: Sequence[Any], refused: Sequence[Any]) -> list[Any]:
        """A row of what was refused, between the sub-accounts of another row."""
        candidates = {record.serial: record for record in refused if record.day == one.day}
        like = next((record for record in told if record.day == one.day), None)
        if not candidates or like is None:
            return list(told)
        one.row = one.row or Random(one.seed).choice(sorted(candidates))  # noqa: S311 - to be repeated
        was = candidates[one.row]
        row = _with(_invented(one, like), serial=was.serial, call_serial=was.call_serial)
        one.struck = replace(_struck(one, row, row), booked_fen=0)
        return [*told, row]


_IN_TEXT: Final = ("row_short", "row_ampersand", "row_not_gb18030", "row_bad_amount")
_OF_ROWS: Final = tuple(fault for fault in SOURCES_OF if fault.startswith("row_"))


def _with(record: T, **changes: Any) -> T:
    # What the fields are called is data here, so that no type checker can look at it.
    make: Any = replace
    changed: T = make(record, **changes)
    return changed


def _key(record: Told) -> str:
    return str(getattr(record, _SHAPES[type(record)].key))


def _day(record: Told) -> str:
    return str(getattr(record, _SHAPES[type(record)].day))


def _next(day: str) -> str:
    return day_text(day_of(day) + timedelta(days=1))


def _invented(one: DayFault, like: T) -> T:
    """A record like another that the books know nothing of."""
    number = Random(f"{one.seed} {one.source} {one.day}").randrange(10**6)  # noqa: S311 - to be repeated
    front_seq_no = f"{one.day[2:]}9{number:09d}"
    shape = _SHAPES[type(like)]
    changes: dict[str, Any] = {shape.amount: one.amount_fen}
    match like:
        case Trade():
            serial = f"{like.serial[:-10]}9{number:09d}"
            changes |= {"front_seq_no": front_seq_no, "serial": serial, "call_serial": serial, "fee_fen": 0}
            changes |= {"status": SUCCEEDED, "order_no": "", "remark": ""}
        case DayEnd():
            changes |= {"sub_acct_no": f"{like.sub_acct_no[:4]}9{number:011d}"}
        case Withdrawal():
            changes |= {"return_front_seq_no": front_seq_no, "serial": f"{like.serial[:-10]}9{number:09d}"}
        case BankCharge():
            changes |= {"number": 10**6 + number}
        case _:
            changes |= {"front_seq_no": front_seq_no}
    return _with(like, **changes)


def _of_other_state(record: T) -> T:
    if isinstance(record, ClearingDay):
        return _with(record, finished_day="" if record.finished_day else record.day)
    if isinstance(record, BankCharge):
        return _with(record, status="1" if record.status == SUCCEEDED else SUCCEEDED)
    return record


def _shifted(record: T, day: str) -> T:
    changes = {_SHAPES[type(record)].day: day}
    if isinstance(record, Trade):
        # Just behind midnight, as the bank's cut-over makes it.
        changes["at"] = f"{day_of(day).isoformat()}T00:00:07+08:00"
    return _with(record, **changes)


def _struck(one: DayFault, was: Told, told: Told | None) -> Struck:
    shape = _SHAPES[type(was)]
    return Struck(
        fault=one.fault,
        source=one.source,
        day=one.day,
        row=_key(was),
        serial=getattr(was, "serial", ""),
        sub_acct_no=getattr(was, shape.side, "") if shape.side else getattr(was, "sub_acct_no", ""),
        booked_fen=getattr(was, shape.amount),
        told_fen=0 if told is None else getattr(told, shape.amount),
        booked_fee_fen=getattr(was, "fee_fen", 0),
        told_fee_fen=0 if told is None else getattr(told, "fee_fen", 0),
    )

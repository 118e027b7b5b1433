"""The ledger's journal held against the bank's own books, request by request and pocket by pocket.

`BankLog` writes down what the bank was asked and what it moved for each request; `differences` compares. It knows the
sandbox's records and the names of the ledger's accounts, and none of the code of either side.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from unittest.mock import patch
from uuid import UUID

from jzb.v1.names import OperationKind
from sandbox.accounts import AccountRef
from sandbox.bank import Bank
from sandbox.books import FEE, IN_TRANSIT, OWN_FUNDS, PARKING, POOLED_SHADOW, SUSPENSE, WITHDRAWAL_IN_TRANSIT, Move
from sandbox.control import books_view
from sandbox.faults import NO_FAULTS, FaultPlan
from sandbox.handlers.transfers import CLEARING_PRINCIPAL
from sandbox.records import FAILED, Call, Credit, Inflow, Member, Payment, SuspenseClearing, Trade, Withdrawal
from simulate.checker import BY_THE_BANK, POCKETS, Journal, Op, Posted, kind_of
from simulate.latecomers import may_differ
from simulate.schedule import SENDER

PLATFORM_ACCOUNTS: Final = {
    "fee": FEE,
    "suspense": SUSPENSE,
    "own-funds": OWN_FUNDS,
    "withdrawing": WITHDRAWAL_IN_TRANSIT,
    "parking": PARKING,
}
"""The platform's own accounts by the bank's suffix; `pooled` is the real account, with its sign turned."""

OK: Final = "000000"
INSUFFICIENT: Final = "ERR044"
OUT_OF_WITHDRAWABLE: Final = (OperationKind.PAY_T0, OperationKind.WITHDRAW)
WITHOUT_MONEY: Final = (OperationKind.OPEN_MEMBER, OperationKind.CLOSE_MEMBER)
WITHOUT_OPERATION: Final = ("6082",)
"""What the bank does and no operation stands for: it texts a code."""
FROM_A_LIST: Final = (OperationKind.RECORD_ORDER,)
"""Entered as 6146 shows it; the bank had moved the money before anybody asked."""

OF_NO_DAY: Final = (OperationKind.REBOOK_ORDER,)
"""Settled by an answer that names no day where the first one was lost (6146): the mirror takes the day on which it
asked, on which the money is not withdrawable before the bank has it so."""

NOBODY: Final[Mapping[str, int]] = {}

_MARK: Final = re.compile(r"rq:([A-Za-z0-9-]+)")
_NAME: Final = re.compile(r'"\w+SubAcctName": "[^"]*"')
"""A member may be called by the request that opened it."""


class Sent(NamedTuple):
    """A request that reached the bank and would change something. ``request_id`` is the caller's, where it is known."""

    serial: str
    request_id: str


class BankLog:
    """What reached the bank, what it moved for it, and what it refused of its own accord."""

    def __init__(self, bank: Bank, on_request: Callable[[str, bool], None]) -> None:
        """``on_request`` hears of each request when it has been acted on: the interface, and whether it changes."""
        self.bank = bank
        self.sent: list[Sent] = []
        self.moved: dict[str, Counter[AccountRef]] = {}
        self.refused: dict[str, str] = {}
        self.had: dict[str, dict[str, tuple[int, int]]] = {}
        """What members had in all, and withdrawable, when the bank refused a serial: by sub-account, in fen."""
        self.days_kept_back = 0
        self._on_request = on_request
        self._moving: Counter[AccountRef] | None = None
        self._asked_for: set[str] = set()
        handle, catch_up, post = bank.handle, bank.catch_up, bank.store.books.post
        self._handle = handle

        def posted(moves: Iterable[Move]) -> Any:
            changes = post(moves)
            if self._moving is not None:
                for place, fen in changes:
                    self._moving[place] += fen
            return changes

        def caught_up() -> None:
            # What time has made due is nobody's request.
            moving, self._moving = self._moving, None
            catch_up()
            self._moving = moving

        for owner, name, watched in (
            (bank, "handle", self._watched),
            (bank, "catch_up", caught_up),
            (bank.store.books, "post", posted),
        ):
            patch.object(owner, name, watched).start()

    def _watched(
        self, service_id: str, body: Mapping[str, Any], fault_plan: FaultPlan = NO_FAULTS
    ) -> dict[str, object]:
        route, serial = self.bank.route(service_id), str(body["CnsmrSeqNo"])
        is_repeated = self.bank.store.get(Call, serial) is not None
        self._moving = Counter()
        answer = self._handle(service_id, body, fault_plan)
        moved, self._moving = self._moving, None
        if route.changes and route.code not in WITHOUT_OPERATION:
            mark = _MARK.search(_NAME.sub("", json.dumps(body)))
            self.sent.append(Sent(serial, mark[1] if mark else ""))
            self._judge(serial, str(answer["TxnReturnCode"]), fault_plan, moved, is_repeated=is_repeated)
        if route.code == "6108":
            rows: Any = answer.get("TranItemArray", ())
            self.days_kept_back += any(row["ClearingState"] == "3" for row in rows)
        self._on_request(str(body.get(SENDER, "")), route.changes)
        return answer

    def _judge(
        self, serial: str, code: str, fault_plan: FaultPlan, moved: Counter[AccountRef], *, is_repeated: bool
    ) -> None:
        call = self.bank.store.get(Call, serial)
        if call is not None and call.return_code == OK:
            if not is_repeated:
                self.moved[serial] = moved
        elif fault_plan.has("refuse"):
            self._asked_for.add(serial)
        elif serial not in self._asked_for and not fault_plan.has("history"):
            self.refused[serial] = code
            books = self.bank.store.books
            there = {one: books.sub_account(one) for one in members_of(self.bank)}
            self.had[serial] = {one: (pockets.available_fen, pockets.withdrawable) for one, pockets in there.items()}


def members_of(bank: Bank) -> dict[str, str]:
    """Member codes by sub-account."""
    return {member.sub_acct_no: member.code for member in bank.store.all(Member)}


def differences(journal: Journal, log: BankLog, spends: str = "waiting_first") -> Iterator[str]:
    """Everything on which the journal and the bank do not agree; ``spends`` is the money that the bank takes first."""
    log.bank.catch_up()
    yield from _acted_wrongly(journal, log)
    yield from _moved_otherwise(journal, log)
    yield from _refused(journal, log, spends)
    yield from not_entered(journal, log.bank)
    yield from _limits(journal, log.bank)
    yield from pockets(journal, books_view(log.bank))


def _acted_wrongly(journal: Journal, log: BankLog) -> Iterator[str]:
    """The bank carried a request out once if it is done, and not at all otherwise."""
    by_serial = {operation.serial: operation.request_id for operation in journal.operations.values()}
    acted: dict[str, set[str]] = {}
    for serial, request_id in log.sent:
        call, withdrawal = log.bank.store.get(Call, serial), log.bank.store.get(Withdrawal, serial)
        if call is not None and call.return_code == OK and (withdrawal is None or withdrawal.status != FAILED):
            name = request_id or by_serial.get(serial, f"a serial that nobody knows, {serial}")
            acted.setdefault(name, set()).add(serial)
    for request_id, serials in acted.items():
        operation = journal.operations.get(request_id)
        if len(serials) > 1:
            yield f"the bank carried {request_id} out {len(serials)} times: {sorted(serials)}"
        elif operation is None or operation.state != "done":
            state = operation.state if operation else "unknown to the ledger"
            yield f"the bank carried {request_id} out under {serials}, and it is {state}"
        elif operation.serial not in serials:
            yield f"the bank carried {request_id} out under {serials}, and the ledger says {operation.serial}"
    reached = {serial for serial, _ in log.sent}
    for operation in journal.operations.values():
        if operation.state == "released" and operation.serial in reached:
            yield f"{operation.kind} {operation.request_id} is released, and {operation.serial} had reached the bank"
        needs_a_call = operation.kind not in (*BY_THE_BANK, *FROM_A_LIST)
        if operation.state == "done" and needs_a_call and operation.request_id not in acted:
            yield f"{operation.kind} {operation.request_id} is done, and the bank never carried it out"


def _moved_otherwise(journal: Journal, log: BankLog) -> Iterator[str]:
    """What the bank moved for a request is what the journal moved: every account, every bank day.

    Which pockets a payment takes first may differ while several are under way, so what a member gives counts as
    available money; only what must be withdrawable is told apart.
    """
    cleared: dict[date, datetime] = {}
    clearings = {one.id for one in journal.operations.values() if one.kind == OperationKind.CLEARING}
    legs: dict[UUID, list[Posted]] = {}
    for leg in journal.legs:
        legs.setdefault(leg.operation, []).append(leg)
        if leg.operation in clearings:
            cleared[leg.bank_day] = min(leg.at, cleared.get(leg.bank_day, leg.at))
    for operation in journal.operations.values():
        theirs = log.moved.get(operation.serial)
        if theirs is None or operation.state != "done" or operation.kind in FROM_A_LIST:
            continue
        ours: Counter[AccountRef] = Counter()
        for leg in legs.get(operation.id, ()):
            if not leg.is_sweep:
                ours[_place(leg.debit, operation)] -= leg.fen
                ours[_landed(leg, _place(leg.credit, operation), theirs, cleared)] += leg.fen
        ours.pop(_NOWHERE, None)
        if operation.kind in OF_NO_DAY:
            ours = _as_early(ours, theirs)
        folded_ours, folded_theirs = _folded(ours, operation), _folded(theirs, operation)
        if folded_ours != folded_theirs:
            yield (
                f"{operation.kind} {operation.request_id} moved {_told(folded_ours)} here,"
                f" and {_told(folded_theirs)} at the bank"
            )


_NOWHERE: Final = AccountRef("", "", "")


def _place(account: str, operation: Op) -> AccountRef:
    kind, _, rest = account.partition(":")
    if kind in POCKETS:
        owner, _, key = rest.partition(":")
        return AccountRef(kind, owner, key)
    if kind == "in-transit":
        return AccountRef("in_transit", IN_TRANSIT, rest)
    if kind == "pooled":
        # The bank lets a withdrawal go by itself, after the call.
        is_withdrawal = operation.kind == OperationKind.WITHDRAW
        return AccountRef("functional", WITHDRAWAL_IN_TRANSIT, "") if is_withdrawal else AccountRef("outside", "", "")
    return AccountRef("functional", PLATFORM_ACCOUNTS[kind], "") if kind in PLATFORM_ACCOUNTS else _NOWHERE


def _landed(
    leg: Posted, place: AccountRef, theirs: Mapping[AccountRef, int], cleared: Mapping[date, datetime]
) -> AccountRef:
    """Uncleared money that was posted after the clearing of its day has gone on to withdrawable already."""
    waiting = AccountRef("waiting", place.owner, f"{leg.bank_day:%Y%m%d}")
    is_cleared = any(day >= leg.bank_day and at <= leg.at for day, at in cleared.items())
    return waiting if place.kind == "withdrawable" and is_cleared and waiting in theirs else place


def _as_early(ours: Mapping[AccountRef, int], theirs: Mapping[AccountRef, int]) -> Counter[AccountRef]:
    """Money that waits for a later day here than at the bank, as if it waited for the bank's."""
    found: Counter[AccountRef] = Counter()
    for place, fen in ours.items():
        at_bank = [one for one in theirs if (one.kind, one.owner) == (place.kind, place.owner)]
        is_later = place.kind == "waiting" and len(at_bank) == 1 and at_bank[0].key < place.key
        found[at_bank[0] if is_later else place] += fen
    return found


def _folded(moved: Mapping[AccountRef, int], operation: Op) -> dict[AccountRef, int]:
    folded: Counter[AccountRef] = Counter()
    for place, fen in moved.items():
        is_given = fen < 0 and place.kind in ("waiting", "withdrawable")
        may_be_any = is_given and operation.kind not in OUT_OF_WITHDRAWABLE
        folded[AccountRef("available", place.owner, "") if may_be_any else place] += fen
    return {place: fen for place, fen in folded.items() if fen}


def _told(moved: Mapping[AccountRef, int]) -> str:
    return ", ".join(f"{':'.join(filter(None, place))} {fen:+}" for place, fen in sorted(moved.items())) or "nothing"


def _refused(journal: Journal, log: BankLog, spends: str) -> Iterator[str]:
    """The bank has the same rules: what it refuses by itself should have been refused here, before it was sent. A
    request that crosses with the closing of its payee is no exception.
    """
    by_serial = {operation.serial: operation for operation in journal.operations.values()}
    for serial, code in log.refused.items():
        operation = by_serial.get(serial)
        is_about_money = operation is None or operation.kind not in WITHOUT_MONEY
        if is_about_money and not (operation and code == INSUFFICIENT and _is_split(operation, journal, log, spends)):
            what = f"{operation.kind} {operation.request_id}" if operation else f"serial {serial}"
            amounts = _amounts(operation, journal, log, spends) if operation and serial in log.had else ""
            yield f"the bank had to refuse {what} with {code}{amounts}"


def _amounts(operation: Op, journal: Journal, log: BankLog, spends: str) -> str:
    """What it needed, what there was in all and withdrawable, and how much of a difference is explained, in fen."""
    had, explained = log.had[operation.serial], may_differ(journal, booked(log), spends)
    return "".join(
        f"; of {owner} it needed {fen} and had {had.get(owner)}, explained are {explained[owner]}"
        for owner, fen in _needed(operation, journal).items()
    )


def _is_split(operation: Op, journal: Journal, log: BankLog, spends: str) -> bool:
    """Whether the money was there, and lacked as withdrawable no more than the bank's order explains."""
    if operation.kind not in OUT_OF_WITHDRAWABLE or spends != "withdrawable_first":
        return False
    needed = _needed(operation, journal)
    otherwise = may_differ(journal, booked(log), spends)
    had = log.had[operation.serial]
    return all(fen <= had[owner][0] and fen - had[owner][1] <= otherwise[owner] for owner, fen in needed.items())


def _needed(operation: Op, journal: Journal) -> Counter[str]:
    needed: Counter[str] = Counter()
    for hold in journal.holds:
        if hold.operation == operation.id and kind_of(hold.account) == "withdrawable":
            needed[hold.account.split(":")[1]] += hold.fen
    return needed


def booked(log: BankLog) -> dict[str, int]:
    """The place of each serial among those that the bank has carried out."""
    return {serial: place for place, serial in enumerate(log.moved)}


def not_entered(journal: Journal, bank: Bank) -> Iterator[str]:
    """Each transfer into the pooled account and each returned withdrawal is here once."""
    inflows = [one for one in bank.store.all(Inflow) if one.remark != CLEARING_PRINCIPAL]
    returned = [one for one in bank.store.all(Withdrawal) if one.returned_day]
    for kind, at_the_bank in ((OperationKind.TRANSFER_IN, inflows), (OperationKind.WITHDRAWAL_RETURN, returned)):
        here = [one for one in journal.operations.values() if one.kind == kind and one.state == "done"]
        if Counter(one.amount_fen for one in here) != Counter(one.amount_fen for one in at_the_bank):
            yield f"{len(here)} {kind} are here and {len(at_the_bank)} at the bank, or their amounts differ"


def spent_late(journal: Journal) -> Counter[str]:
    """What was spent of a day's uncleared money on a later day, by sub-account: the bank may have cleared that day."""
    late: Counter[str] = Counter()
    for leg in journal.legs:
        kind, _, rest = leg.debit.partition(":")
        owner, _, day = rest.partition(":")
        if kind == "waiting" and not leg.is_sweep and day < f"{leg.bank_day:%Y%m%d}":
            late[owner] += leg.fen
    return late


def _limits(journal: Journal, bank: Bank) -> Iterator[str]:
    """What may still be refunded, revoked or put back is the same on both sides."""
    trades = bank.store.all(Trade)
    by_front = {one.front_seq_no: one.serial for one in trades}
    by_order = {(one.code, one.order_no): one.serial for one in trades if one.status != FAILED}
    theirs: dict[str, int] = {}
    for payment in bank.store.all(Payment):
        theirs[f"refundable:{payment.serial}"] = payment.refundable_fen
        theirs[f"refundable-fee:{payment.serial}"] = payment.refundable_fee_fen
    for credit in bank.store.all(Credit):
        serial = by_front.get(credit.name) or by_order["6216", credit.order_no]
        theirs[f"revocable:{serial}"] = credit.remaining_fen
        theirs[f"revocable-fee:{serial}"] = credit.remaining_fee_fen
    for clearing in bank.store.all(SuspenseClearing):
        serial = by_order["6139", clearing.order_no]
        theirs[f"undoable:{serial}"] = clearing.remaining_fen
        theirs[f"undoable-fee:{serial}"] = clearing.remaining_fee_fen
    ours = {name: balance for name, (balance, _) in journal.balances.items() if kind_of(name) in _LIMITS}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name, 0) != theirs.get(name, 0):
            yield f"{name} has {ours.get(name, 0)} fen left here and {theirs.get(name, 0)} at the bank"


_LIMITS: Final = ("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee")


def pockets(journal: Journal, books: Mapping[str, Any], otherwise: Mapping[str, int] = NOBODY) -> Iterator[str]:
    """Every pocket of every sub-account, and the platform's own accounts.

    How a member's available money is split may be ``otherwise``, by so many fen at most; what it is in all may not.
    """
    ours: Counter[str] = Counter()
    platform: Counter[str] = Counter()
    for account, (balance, _) in journal.balances.items():
        kind = kind_of(account)
        if kind in POCKETS:
            # The fee of a frozen share is a pocket of its own here, and no order number has a space.
            ours[account.removesuffix(" fee")] += balance
        elif kind == "pooled":
            platform[POOLED_SHADOW] -= balance
        elif kind == "in-transit":
            platform[IN_TRANSIT] += balance
        elif kind in PLATFORM_ACCOUNTS:
            platform[PLATFORM_ACCOUNTS[kind]] += balance
    theirs: Counter[str] = Counter()
    for number, pockets in books["sub_accounts"].items():
        theirs[f"withdrawable:{number}"] += pockets["withdrawable"]
        for kind, by_key in (
            ("waiting", "waiting_by_day"),
            ("frozen", "frozen_by_order"),
            ("escrow", "escrow_by_order"),
        ):
            for key, fen in pockets[by_key].items():
                theirs[f"{kind}:{number}:{key}"] += fen
    excused = _excused(ours, theirs, otherwise)
    for pocket in sorted(ours.keys() | theirs.keys()):
        if ours[pocket] != theirs[pocket] and pocket not in excused:
            yield f"{pocket} holds {ours[pocket]} fen here and {theirs[pocket]} at the bank"
    for suffix in (*PLATFORM_ACCOUNTS.values(), IN_TRANSIT, POOLED_SHADOW):
        if platform[suffix] != books["functional"][suffix]:
            here, there = platform[suffix], books["functional"][suffix]
            yield f"the platform's account {suffix} holds {here} fen here and {there} at the bank"
    if books["difference"]:
        yield f"the bank's own books differ by {books['difference']} fen"


def _excused(ours: Counter[str], theirs: Counter[str], otherwise: Mapping[str, int]) -> set[str]:
    differing: dict[str, dict[str, int]] = {}
    for pocket in ours.keys() | theirs.keys():
        more = ours[pocket] - theirs[pocket]
        if more and kind_of(pocket) in ("waiting", "withdrawable"):
            differing.setdefault(pocket.split(":")[1], {})[pocket] = more
    excused: set[str] = set()
    for owner, found in differing.items():
        if sum(found.values()) == 0 and sum(fen for fen in found.values() if fen > 0) <= otherwise.get(owner, 0):
            excused.update(found)
    return excused

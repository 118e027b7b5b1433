"""What must hold when the faults have stopped, by SQL and arithmetic of its own: none of the ledger's code is asked.

Reads the journal, the bank's books and what callers were told. `wrong` is a list of sentences, empty when all is well.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from sandbox.bank import Bank
from sandbox.books import FEE, IN_TRANSIT, OWN_FUNDS, PARKING, POOLED_SHADOW, SUSPENSE, WITHDRAWAL_IN_TRANSIT
from sandbox.control import books_view
from sandbox.records import FAILED
from sandbox.records import Call as BankCall
from sandbox.records import Withdrawal as BankWithdrawal
from simulate.callers import Answer, Verdict

NEVER_BELOW: Final = {
    **dict.fromkeys(("withdrawable", "waiting", "frozen", "escrow", "own-funds", "suspense", "parking"), 0),
    **dict.fromkeys(("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee"), 0),
    **dict.fromkeys(("order", "acquired", "rebooked"), -1),
}
"""How far down an account may go, by the first word of its name: once more, apart from the ledger's own table."""

POCKETS: Final = ("withdrawable", "waiting", "frozen", "escrow")
LIMITS: Final = ("refundable", "refundable-fee", "revocable", "revocable-fee", "undoable", "undoable-fee")
COUNTERS: Final = ("order", "acquired", "rebooked", "limits")

PLATFORM_ACCOUNTS: Final = {
    "fee": FEE,
    "suspense": SUSPENSE,
    "own-funds": OWN_FUNDS,
    "withdrawing": WITHDRAWAL_IN_TRANSIT,
    "parking": PARKING,
    "in-transit": IN_TRANSIT,
}
"""The platform's own accounts by the bank's suffix; `pooled` is the real account, with its sign turned."""

BROUGHT_IN: Final = {"TOP_UP": 1, "SPLIT_TOP_UP": 1, "TRANSFER_IN": 1, "WITHDRAWAL_RETURN": 1, "ADOPTION": 1}
TAKEN_OUT: Final = {"REVOKE_TOP_UP": -1, "REVOKE_SPLIT_TOP_UP": -1, "WITHDRAW": -1}

FINAL: Final = ("done", "refused", "released")
BROKEN_CODES: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED")


class Sent(NamedTuple):
    """A request that reached the bank and would change something. ``request_id`` is the caller's, where it is known."""

    serial: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation as it ended."""

    id: UUID
    request_id: str
    kind: str
    serial: str
    state: str
    amount_fen: int


class Movement(NamedTuple):
    """What one account gained, and how much more of it is held, at one time."""

    at: datetime
    account: str
    gained_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True)
class Journal:
    """The ledger's tables, as they are read for the check."""

    operations: Mapping[str, Op]
    legs: Sequence[tuple[UUID, int, str, str, int]]
    """Operation, part, debit, credit, fen."""
    movements: Sequence[Movement]
    balances: Mapping[str, tuple[int, int]]
    """Balance and held by account, as the ledger keeps them."""
    due: int
    once_unknown: int


async def read(dsn: str) -> Journal:
    """The journal of a database that nobody writes to any more."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:

        async def rows(query: str) -> list[Any]:
            return await (await connection.execute(query.encode())).fetchall()

        operations = await rows("SELECT id, request_id, kind, serial, state, amount_fen FROM operation")
        legs = await rows("SELECT operation_id, part, debit, credit, amount_fen FROM leg")
        moved = await rows(
            "SELECT r.at, l.credit, l.amount_fen, 0 FROM leg l JOIN resolution r USING (operation_id, part)"
            " UNION ALL SELECT r.at, l.debit, -l.amount_fen, 0 FROM leg l JOIN resolution r USING (operation_id, part)"
            " UNION ALL SELECT t.reserved_at, h.account, 0, h.amount_fen"
            " FROM hold h JOIN transaction t USING (operation_id, part)"
            " UNION ALL SELECT r.at, h.account, 0, -h.amount_fen"
            " FROM hold h JOIN resolution r USING (operation_id, part)"
        )
        balances = await rows("SELECT name, balance_fen, held_fen FROM account")
        ((due,),) = await rows("SELECT count(*) FROM due")
        ((once_unknown,),) = await rows("SELECT count(DISTINCT operation_id) FROM event WHERE state = 'unknown'")
    return Journal(
        operations={row[1]: Op(*row) for row in operations},
        legs=legs,
        movements=sorted(Movement(*row) for row in moved),
        balances={name: (balance, held) for name, balance, held in balances},
        due=due,
        once_unknown=once_unknown,
    )


def wrong(journal: Journal, bank: Bank, sent: Sequence[Sent], answers: Sequence[Answer]) -> list[str]:
    """Everything that contradicts what is promised."""
    bank.catch_up()
    return [
        *_unbalanced(journal),
        *_below_floor(journal),
        *_unfinished(journal),
        *_made_of_nothing(journal),
        *_acted_wrongly(journal, bank, sent),
        *_unexplained(journal, answers),
        *_different(journal, books_view(bank)),
    ]


def _unbalanced(journal: Journal) -> Iterator[str]:
    """The kept balances are the sums of the legs; of money, and of limits, nothing appears or vanishes."""
    sums: Counter[str] = Counter()
    for _, _, debit, credit, fen in journal.legs:
        sums[debit] -= fen
        sums[credit] += fen
    for account in sums.keys() | journal.balances.keys():
        kept = journal.balances.get(account, (0, 0))[0]
        if sums[account] != kept:
            yield f"{account} is kept as {kept} fen, and its legs sum to {sums[account]}"
    for operation, part, debit, credit, fen in journal.legs:
        if fen <= 0 or (_kind(debit) in (*LIMITS, *COUNTERS)) != (_kind(credit) in (*LIMITS, *COUNTERS)):
            yield f"operation {operation} part {part} moves {fen} fen from {debit} to {credit}"
    money = sum(fen for account, fen in sums.items() if _kind(account) not in (*LIMITS, *COUNTERS))
    if money:
        yield f"all money accounts sum to {money} fen instead of 0"


def _below_floor(journal: Journal) -> Iterator[str]:
    """At every commit, in the order of the journal."""
    free: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for at, moved in itertools.groupby(journal.movements, key=lambda movement: movement.at):
        touched = set()
        for movement in moved:
            free[movement.account] += movement.gained_fen - movement.held_fen
            held[movement.account] += movement.held_fen
            touched.add(movement.account)
        for account in touched:
            floor = NEVER_BELOW.get(_kind(account))
            if floor is not None and free[account] < floor:
                yield f"{account} stood at {free[account]} fen after holds at {at}, its floor is {floor}"
            if held[account] < 0:
                yield f"{account} had {held[account]} fen held at {at}"


def _unfinished(journal: Journal) -> Iterator[str]:
    if journal.due:
        yield f"{journal.due} operations still wait for a question"
    for operation in journal.operations.values():
        if operation.state not in FINAL:
            yield f"{operation.kind} {operation.request_id} rests in state {operation.state}"
    held: Counter[str] = Counter()
    for movement in journal.movements:
        held[movement.account] += movement.held_fen
    for account in held.keys() | journal.balances.keys():
        kept = journal.balances.get(account, (0, 0))[1]
        if held[account] or kept:
            yield f"{account} still has {held[account]} fen held by the journal, {kept} by its balance"


def _made_of_nothing(journal: Journal) -> Iterator[str]:
    """What members and platform own is what was brought in less what was taken out, by the operations that are done."""
    signs = BROUGHT_IN | TAKEN_OUT
    expected = sum(
        signs.get(operation.kind, 0) * operation.amount_fen
        for operation in journal.operations.values()
        if operation.state == "done"
    )
    owned = sum(
        balance
        for account, (balance, _) in journal.balances.items()
        if _kind(account) not in (*LIMITS, *COUNTERS, "pooled", "in-transit")
    )
    if owned != expected:
        yield f"members and platform own {owned} fen, and {expected} were brought in and not taken out"


def _acted_wrongly(journal: Journal, bank: Bank, sent: Sequence[Sent]) -> Iterator[str]:
    """The bank carried a request out once if it is done, and not at all otherwise."""
    by_serial = {operation.serial: operation.request_id for operation in journal.operations.values()}
    acted: defaultdict[str, set[str]] = defaultdict(set)
    for serial, request_id in sent:
        call = bank.store.get(BankCall, serial)
        withdrawal = bank.store.get(BankWithdrawal, serial)
        if call is not None and call.return_code == "000000" and (withdrawal is None or withdrawal.status != FAILED):
            acted[request_id or by_serial.get(serial, f"a serial that nobody knows, {serial}")].add(serial)
    for request_id, serials in acted.items():
        operation = journal.operations.get(request_id)
        if len(serials) > 1:
            yield f"the bank carried {request_id} out {len(serials)} times: {sorted(serials)}"
        elif operation is None or operation.state != "done":
            state = operation.state if operation else "unknown to the ledger"
            yield f"the bank carried {request_id} out under {serials}, and it is {state}"
        elif operation.serial not in serials:
            yield f"the bank carried {request_id} out under {serials}, and the ledger says {operation.serial}"
    asked = {request_id or by_serial.get(serial, "") for serial, request_id in sent}
    for operation in journal.operations.values():
        if operation.state == "done" and operation.request_id in asked and operation.request_id not in acted:
            yield f"{operation.kind} {operation.request_id} is done, and the bank never carried it out"


def _unexplained(journal: Journal, answers: Sequence[Answer]) -> Iterator[str]:
    """Every answer against how its operation ended."""
    by_request: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_request[answer.request_id].append(answer)
        if answer.code in BROKEN_CODES:
            yield f"a caller was told {answer.code}: {answer}"
    for request_id, told in by_request.items():
        operation = journal.operations.get(request_id)
        for answer in told:
            if not _explains(operation, answer, told):
                yield f"{answer} is not explained by {operation}"


def _explains(operation: Op | None, answer: Answer, told: Sequence[Answer]) -> bool:
    state = operation.state if operation is not None else "none"
    is_same = (
        operation is not None
        and answer.operation_id in ("", str(operation.id))
        and (not answer.operation_id or answer.amount_fen == operation.amount_fen)
    )
    match answer.verdict:
        case Verdict.DONE:
            return is_same and state == "done"
        case Verdict.ACCEPTED:
            return is_same and state in ("done", "refused")
        case Verdict.NO_EFFECT if answer.reason == "BANK_REFUSED":
            return is_same and state == "refused"
        case Verdict.NO_EFFECT:
            # A repetition that came later, or was under way, may have done what this one did not.
            return state != "done" or any(other.ended_s > answer.ended_s for other in told)
        case Verdict.UNKNOWN:
            return is_same or not answer.operation_id
        case _:
            return True


def _different(journal: Journal, books: Mapping[str, Any]) -> Iterator[str]:
    """Every pocket of every sub-account, and the platform's own accounts, against the bank's books."""
    ours: Counter[str] = Counter()
    platform: Counter[str] = Counter()
    for account, (balance, _) in journal.balances.items():
        kind = _kind(account)
        if kind in POCKETS:
            ours[account] += balance
        elif kind == "pooled":
            platform[POOLED_SHADOW] -= balance
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
    for pocket in sorted(ours.keys() | theirs.keys()):
        if ours[pocket] != theirs[pocket]:
            yield f"{pocket} holds {ours[pocket]} fen here and {theirs[pocket]} at the bank"
    for suffix in (*PLATFORM_ACCOUNTS.values(), POOLED_SHADOW):
        if platform[suffix] != books["functional"][suffix]:
            here, there = platform[suffix], books["functional"][suffix]
            yield f"the platform's account {suffix} holds {here} fen here and {there} at the bank"
    if books["difference"]:
        yield f"the bank's own books differ by {books['difference']} fen"


def _kind(account: str) -> str:
    return account.partition(":")[0]

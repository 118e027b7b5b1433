"""What a writer remembers of the journal between two batches, so that it reads nothing twice. No database in here.

It is true as long as no other process has written: the platform's batches are counted, and a writer that finds another
count than its own forgets everything. It is also true while a batch is on its way to the disk, so that the next one can
be judged meanwhile; when that batch fails, everything is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ledger.accounts import Account
from ledger.batch import Known, KnownPart, Rows, accounts_of
from ledger.errors import LedgerCorrupt
from ledger.operations import Part, State
from ledger.rules import Balance, Book, Hold, SpendOrder, landing
from ledger.seals import BEGINNING, MICROSECOND, Seal
from ledger.steps import NewOperation, Step

BEFORE_ANYTHING = datetime.min.replace(tzinfo=UTC)

ACCOUNTS_MAX = 50_000
"""Beyond this it starts afresh: some 30 MiB."""


@dataclass(slots=True)
class Missing:
    """What a batch needs and the memory has not: request ids, operations, accounts, sub-accounts with all pockets."""

    requests: set[str] = field(default_factory=set)
    ids: set[UUID] = field(default_factory=set)
    accounts: set[Account] = field(default_factory=set)
    drawn: set[str] = field(default_factory=set)


class Memory:
    """The accounts and the operations under way, as the platform's batch number ``batches`` left them."""

    def __init__(self, spend_order: SpendOrder) -> None:
        self._spend_order: SpendOrder = spend_order
        self._database_time, self._clock_set_at_s = BEFORE_ANYTHING, 0.0
        self.clear()

    def clear(self) -> None:
        """Know nothing."""
        self.batches: int | None = None
        self.sealed = Seal(0, BEFORE_ANYTHING, BEGINNING)
        self.book = Book(spend_order=self._spend_order)
        self.known = Known(BEFORE_ANYTHING)
        self._complete: set[str] = set()

    def set_time(self, now: datetime) -> None:
        """Set the clock by the database's."""
        self._database_time, self._clock_set_at_s = now, time.monotonic()

    def read_clock(self) -> None:
        """The next batch is judged and written as of now, in the database's time.

        Later than the batch before, whatever clocks do: by its time a row is found to be of its batch.
        """
        now = self._database_time + timedelta(seconds=time.monotonic() - self._clock_set_at_s)
        self.known.now = max(now, self.sealed.at + MICROSECOND)

    @property
    def is_full(self) -> bool:
        """Whether it is time to start afresh."""
        return len(self.book.balances) > ACCOUNTS_MAX

    def missing(self, steps: Sequence[Step]) -> Missing:
        """What has to be read before these steps can be judged."""
        missing = Missing()
        named: set[Account] = set()
        for step in steps:
            # Each once: two steps of one operation may come together, and its holds must not be counted twice.
            if isinstance(step.operation, NewOperation):
                if step.operation.request_id not in self.known.by_request:
                    missing.requests.add(step.operation.request_id)
            elif step.operation not in self.known.by_id:
                missing.ids.add(step.operation)
            else:
                parts = self.known.parts.get(step.operation, {})
                for hold in (hold for number in step.void if number in parts for hold in parts[number].holds):
                    named.update(landing(hold.account))
            accounts, drawn = accounts_of(step)
            named |= accounts
            missing.drawn |= drawn
        missing.accounts.update(account for account in named if account not in self.book.balances)
        missing.drawn -= self._complete
        return missing

    def learn_part(self, operation_id: UUID, part: Part) -> None:
        """Take in a transaction of an operation."""
        self.known.parts.setdefault(operation_id, {})[part.part] = KnownPart(part, [])

    def learn_hold(self, missing: Missing, operation_id: UUID, part: int, hold: Hold) -> None:
        """Take in what a transaction holds, or has held. Let go, it may land elsewhere: that was read as well."""
        self.known.parts[operation_id][part].holds.append(hold)
        missing.accounts.update(landing(hold.account))

    def learn_balance(self, account: Account, balance_fen: int, held_fen: int) -> None:
        """Take in an account as the database has it; what is remembered already is newer."""
        self.book.add(Balance(account, balance_fen, held_fen, True, True, balance_fen, held_fen))

    def learn_absent(self, missing: Missing) -> None:
        """What was wanted and has not been learnt does not exist."""
        for account in missing.accounts:
            if account not in self.book.balances:
                self.book.add(Balance(account, is_known=True))
        self._complete |= missing.drawn

    def written(self) -> None:
        """The balances are on their way to the database. What is only ever added to starts from zero again."""
        for account in self.book.touched:
            state = self.book.balances[account]
            if state.is_known:
                state.is_stored = True
                state.written_fen, state.written_held_fen = state.balance_fen, state.held_fen
            elif account.floor is None:
                del self.book.balances[account]
            else:
                raise LedgerCorrupt(f"{account.name} was changed but never read")
        self.book.touched = set()

    def committed(self, rows: Rows, following: Rows | None) -> None:
        """A batch is on the disk: forget the operations that it ended, unless the following batch touched them."""
        if self.batches is not None and rows.events:
            self.batches += 1
        touched: Iterable[UUID] = {*rows.operations_new, *rows.operations_changed}
        if following is not None:
            touched = touched - following.operations_new.keys() - following.operations_changed.keys()
        for operation_id in touched:
            operation = self.known.by_id[operation_id]
            if operation.state is not State.RESERVED:
                self.known.drop(operation)

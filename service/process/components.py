"""The parts of one service process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bankclient import BankClient
from ledger import AuditTrail, Cards, Entries, Lists, Proposals, Reads, Usage, Writer
from service.feed import Feed
from service.inflows.card_list import CardList
from service.inflows.clearing import Clearing
from service.inflows.reconciliation import Reconciliation
from service.inflows.recorder import Recorder
from service.inflows.returns import Returns
from service.inflows.transfers import Transfers
from service.path.admission import Admission
from service.path.proposals import Proposing
from service.path.repeats import Repeats
from service.path.resolver import Resolver
from service.path.runner import Runner
from service.serials import SerialSource
from service.settings import Settings
from service.vault import Vault


@dataclass(frozen=True, slots=True)
class Components:
    """What `service.process.server` assembles. Only the process has all of it: others are given the parts they use."""

    writer: Writer
    runner: Runner
    admission: Admission
    repeats: Repeats
    reads: Reads
    lists: Lists
    entries: Entries
    feed: Feed
    bank: BankClient
    resolver: Resolver
    clearing: Clearing
    settings: Settings
    new_serial: SerialSource
    recorder: Recorder
    returns: Returns
    transfers: Transfers
    reconciliation: Reconciliation
    cards: Cards
    proposals: Proposals
    proposing: Proposing
    trail: AuditTrail
    vault: Vault
    card_list: CardList
    pools: Mapping[str, Callable[[], Usage]]
    """How the connections to PostgreSQL are used, by the names of `service.telemetry.catalogue.POOLS`."""

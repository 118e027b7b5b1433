"""The mirror: a double-entry ledger in PostgreSQL that knows neither gRPC nor the bank.

Money goes in through `Writer.submit`, one `Step` at a time; `Reads` answers; `verify` replays. The rules are in
`ledger.rules`, pure, and are the only place where money is judged.
"""

from __future__ import annotations

from ledger.accounts import Account, Kind
from ledger.answers import Decision, KeptAnswer
from ledger.batch import REASON_FLOOR
from ledger.cards import Card, CardChange, CardState, CheckedBy
from ledger.children import child_environment
from ledger.comparison import Amounts, Comparison, Motion, Position, Result, judge
from ledger.database import (
    Usage,
    connect,
    migrate,
    newest_revision,
    open_pool,
    require_current,
    require_ready,
    sessions_beside,
    usage_of_engine,
    usage_of_pool,
)
from ledger.dependencies import GIVEN_BACK, MONEY, Dependency, Need
from ledger.entries import BEGINNING, Entries, Entry, PastBalance, PastTotals, Place, Pockets
from ledger.errors import (
    Breach,
    DeadlinePassed,
    FloorBroken,
    LedgerBehind,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    LedgerUnavailable,
    LedgerUnfit,
    MemberForged,
    OpeningForged,
    OperationUnknown,
    ProposerApproves,
    ReopeningUnproved,
    RequestIdReused,
)
from ledger.events import EVERYTHING, LAST, Event, Events, Wanted
from ledger.findings import Finding, Summary
from ledger.lists import EXAMINED_MAX, Filter, Found, Listed, Lists, Match, Number
from ledger.lookups import Lookups, MemberBalance
from ledger.macs import SealKeys
from ledger.numbers import SerialNumbers
from ledger.operations import OPEN_STATES, REASON_FAULT, FullOperation, Member, Operation, Part, PartState, State
from ledger.proposals import KeyNeed, Lease, NewProposal, Proposal, ProposalDecision, Proposals, ProposalState
from ledger.reads import (
    CATCH_UP,
    Cards,
    Difference,
    InDoubt,
    Leased,
    Order,
    Overview,
    Payment,
    Reads,
    SpenderAfterClearing,
    Suspended,
    WaitingDay,
)
from ledger.rules import (
    Available,
    Draft,
    Leg,
    OfDay,
    SpendOrder,
    draft_from_json,
    draft_to_json,
    reverse,
)
from ledger.steps import Change, NewOperation, Step, StepOutcome
from ledger.trail import AuditedCall, AuditTrail
from ledger.verify import audit, verify
from ledger.writer import Writer

__all__ = [
    "BEGINNING",
    "CATCH_UP",
    "EVERYTHING",
    "EXAMINED_MAX",
    "GIVEN_BACK",
    "LAST",
    "MONEY",
    "OPEN_STATES",
    "REASON_FAULT",
    "REASON_FLOOR",
    "Account",
    "Amounts",
    "AuditTrail",
    "AuditedCall",
    "Available",
    "Breach",
    "Card",
    "CardChange",
    "CardState",
    "Cards",
    "Change",
    "CheckedBy",
    "Comparison",
    "DeadlinePassed",
    "Decision",
    "Dependency",
    "Difference",
    "Draft",
    "Entries",
    "Entry",
    "Event",
    "Events",
    "Filter",
    "Finding",
    "FloorBroken",
    "Found",
    "FullOperation",
    "InDoubt",
    "KeptAnswer",
    "KeyNeed",
    "Kind",
    "Lease",
    "Leased",
    "LedgerBehind",
    "LedgerBusy",
    "LedgerCorrupt",
    "LedgerError",
    "LedgerUnavailable",
    "LedgerUnfit",
    "Leg",
    "Listed",
    "Lists",
    "Lookups",
    "Match",
    "Member",
    "MemberBalance",
    "MemberForged",
    "Motion",
    "Need",
    "NewOperation",
    "NewProposal",
    "Number",
    "OfDay",
    "OpeningForged",
    "Operation",
    "OperationUnknown",
    "Order",
    "Overview",
    "Part",
    "PartState",
    "PastBalance",
    "PastTotals",
    "Payment",
    "Place",
    "Pockets",
    "Position",
    "Proposal",
    "ProposalDecision",
    "ProposalState",
    "Proposals",
    "ProposerApproves",
    "Reads",
    "ReopeningUnproved",
    "RequestIdReused",
    "Result",
    "SealKeys",
    "SerialNumbers",
    "SpendOrder",
    "SpenderAfterClearing",
    "State",
    "Step",
    "StepOutcome",
    "Summary",
    "Suspended",
    "Usage",
    "WaitingDay",
    "Wanted",
    "Writer",
    "audit",
    "child_environment",
    "connect",
    "draft_from_json",
    "draft_to_json",
    "judge",
    "migrate",
    "newest_revision",
    "open_pool",
    "require_current",
    "require_ready",
    "reverse",
    "sessions_beside",
    "usage_of_engine",
    "usage_of_pool",
    "verify",
]

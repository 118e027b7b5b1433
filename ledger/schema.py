"""The tables of the mirror, for queries and for the check that the migrations made the same.

Every key has the platform in it, so that the tables can be spread by platform, and leads with what tells most: what the
planner takes for a look-up is one, even in a table it knows nothing about yet. `operation` and `account` carry what
can be computed from the journal (`transaction`, `hold`, `resolution`, `leg`, `event`, `membership`, sealed by `seal`),
which is only ever added to: triggers refuse UPDATE and DELETE there. Within the journal there are no foreign keys:
`ledger.verify` looks for rows that name what is not there.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.schema import SchemaItem

from ledger.accounts import CONTROLS, Kind

metadata = MetaData()


def _table(name: str, *items: SchemaItem) -> Table:
    """A table that is kept by platform."""
    return Table(name, metadata, Column("platform", Text, nullable=False), *items)


platform = Table(
    "platform",
    metadata,
    Column("platform", Text, primary_key=True),
    Column("cleared_through", Date),
    Column("batches", BigInteger, nullable=False),
    # Written before there were seals.
    Column("unsealed", BigInteger, nullable=False, server_default=text("0")),
    # Restored from a copy of that time; no service starts on it before it has caught up with the bank.
    Column("behind_since", DateTime(timezone=True)),
)

member = _table(
    "member",
    Column("member_id", Text, nullable=False),
    Column("sub_account", Text, nullable=False),
    Column("property", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("same_name", Text, nullable=False, server_default=""),
    # Over who has which sub-account (`ledger.macs`).
    Column("mac", LargeBinary, nullable=False, server_default=""),
    PrimaryKeyConstraint("platform", "member_id", name="member_pk"),
    UniqueConstraint("platform", "sub_account", name="member_sub_account_once"),
    CheckConstraint("property IN ('00', 'SH')", name="member_property_known"),
)

_MONEY = ", ".join(f"'{kind}'" for kind in Kind if kind not in CONTROLS)

account = _table(
    "account",
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("floor_fen", BigInteger),
    Column("balance_fen", BigInteger, nullable=False),
    Column("held_fen", BigInteger, nullable=False),
    Column("has_money", Boolean, Computed(f"balance_fen <> 0 AND kind IN ({_MONEY})", persisted=True)),
    PrimaryKeyConstraint("name", "platform", name="account_pk"),
    CheckConstraint("held_fen >= 0", name="account_held_not_negative"),
    CheckConstraint("floor_fen IS NULL OR balance_fen - held_fen >= floor_fen", name="account_above_floor"),
    CheckConstraint("floor_fen IS NOT NULL OR held_fen = 0", name="account_held_only_with_floor"),
    # No index may name a balance: PostgreSQL could no longer update hot accounts in place (HOT). `has_money` changes
    # only where an account is emptied, or filled again. Most accounts are empty or limits, and in neither.
    Index("account_by_owner", "owner", "kind", "platform", postgresql_where=text("has_money")),
    Index("account_by_kind", "platform", "kind", "ref", postgresql_where=text("has_money")),
)
"""``has_money`` is whether it is of a kind that holds money and is not zero: whoever asks by owner or kind names it, so
that he reads what is there, however many accounts have been emptied.
"""

operation = _table(
    "operation",
    Column("id", Uuid, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("serial", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("payee", Text, nullable=False),
    Column("order_no", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("breach", JSONB),
    Column("bank_code", Text, nullable=False),
    Column("bank_message", Text, nullable=False),
    Column("bank_serial", Text, nullable=False),
    Column("bank_day", Date),
    Column("trace_id", Text, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("asks", Integer, nullable=False),
    Column("not_found", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("caller", Text, nullable=False, server_default=""),
    Column("person", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("id", "platform", name="operation_pk"),
    UniqueConstraint("request_id", "platform", name="operation_request_id_once"),
    UniqueConstraint("serial", "platform", name="operation_serial_once"),
    CheckConstraint(
        "state IN ('reserved', 'released', 'unknown', 'accepted', 'done', 'refused')", name="operation_state_known"
    ),
    CheckConstraint("amount_fen >= 0 AND fee_fen >= 0", name="operation_amounts_not_negative"),
    Index("operation_by_order", "order_no", "platform", "id", postgresql_where=text("order_no <> ''")),
    Index("operation_by_payer", "payer", "platform", "id", postgresql_where=text("payer <> ''")),
    Index("operation_by_payee", "payee", "platform", "id", postgresql_where=text("payee <> ''")),
    Index("operation_by_kind", "kind", "platform", "id"),
    # No index may name what changes, and a page keeps room for that: an operation that moves on is updated in place.
)

due = _table(
    "due",
    Column("operation_id", Uuid, nullable=False),
    Column("ask_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("operation_id", "platform", name="due_once"),
    Index("due_by_time", "ask_at", "platform"),
)
"""The operations that are not final, and when the bank is asked about each."""

transaction = _table(
    "transaction",
    Column("operation_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("serial", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("payee", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=False),
    Column("corrects", Integer),
    Column("reserved_at", DateTime(timezone=True), nullable=False),
    Column("order_no", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("operation_id", "part", "platform", name="transaction_pk"),
    CheckConstraint("amount_fen >= 0", name="transaction_amount_not_negative"),
    CheckConstraint("fee_fen BETWEEN 0 AND amount_fen", name="transaction_fee_within_amount"),
    Index("transaction_by_serial", "serial", "platform", postgresql_where=text("serial <> ''")),
    Index("transaction_by_order", "order_no", "platform", postgresql_where=text("order_no <> ''")),
)

hold = _table(
    "hold",
    Column("operation_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("operation_id", "part", "account", "platform", name="hold_pk"),
    CheckConstraint("amount_fen > 0", name="hold_amount_positive"),
)

resolution = _table(
    "resolution",
    Column("operation_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("bank_day", Date, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    # The bank's number of the posting, where it has named one. `booking` finds the operation by it.
    Column("bank_serial", Text, nullable=False, server_default=""),
    # The primary key is the rule that a pending transaction ends once.
    PrimaryKeyConstraint("operation_id", "part", "platform", name="resolution_once"),
    CheckConstraint("verdict IN ('posted', 'voided')", name="resolution_verdict_known"),
    # A day is one short key, so that a new row costs next to nothing.
    Index("resolution_by_day", "bank_day", "platform"),
)

leg = _table(
    "leg",
    Column("operation_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("leg", SmallInteger, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("operation_id", "part", "leg", "platform", name="leg_pk"),
    CheckConstraint("amount_fen > 0", name="leg_amount_positive"),
    CheckConstraint("debit <> credit", name="leg_moves_between_accounts"),
)

event = _table(
    "event",
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("bank_code", Text, nullable=False),
    Column("bank_message", Text, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    # Of an event that opens an operation (`ledger.macs`).
    Column("mac", LargeBinary, nullable=False, server_default=""),
    PrimaryKeyConstraint("platform", "seq", name="event_pk"),
    Index("event_by_operation", "operation_id", "platform", "seq"),
    # What ends without effect is rare among much that is done.
    Index(
        "event_without_effect",
        "state",
        "platform",
        "operation_id",
        postgresql_where=text("state IN ('refused', 'released')"),
    ),
)

membership = _table(
    "membership",
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("operation_id", Uuid),
    Column("member_id", Text, nullable=False),
    Column("sub_account", Text, nullable=False),
    Column("property", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("same_name", Text, nullable=False),
    Column("at", DateTime(timezone=True)),
    PrimaryKeyConstraint("platform", "seq", name="membership_pk"),
    Index("membership_by_member", "member_id", "platform"),
)
"""What was written of each member, from which `member` can be computed. What was known before there was this table has
no operation and no time.
"""

card = _table(
    "card",
    Column("card_id", Uuid, nullable=False),
    Column("member_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("masked", Text, nullable=False),
    Column("bank_type", Text, nullable=False),
    Column("branch_name", Text, nullable=False),
    Column("cnaps_no", Text, nullable=False),
    Column("super_bank_no", Text, nullable=False),
    Column("checked_by", Text, nullable=False),
    Column("serial", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("wrong", Integer, nullable=False),
    Column("pay_in_fen", BigInteger, nullable=False),
    Column("ends_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("bound_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("platform", "card_id", name="card_pk"),
    ForeignKeyConstraint(["platform", "member_id"], ["member.platform", "member.member_id"], name="card_of_member"),
    CheckConstraint("state IN ('checking', 'bound', 'unbound', 'failed', 'unsent')", name="card_state_known"),
    CheckConstraint("checked_by IN ('sms', 'pay-out', 'pay-in', 'bank')", name="card_checked_by_known"),
    Index("card_by_digest", "platform", "digest"),
    Index("card_by_member", "platform", "member_id", "card_id"),
    Index("card_by_key", "platform", "key_id", "card_id"),
)

reference = _table(
    "reference",
    Column("operation_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("value", "kind", "platform", "operation_id", name="reference_pk"),
    CheckConstraint(
        "kind IN ('member', 'order', 'channel', 'reference', 'label', 'break')", name="reference_kind_known"
    ),
    Index("reference_by_operation", "operation_id", "platform"),
)
"""What an operation is found by that it has in no column of its own: members and order numbers of its parts, its
channel's transaction number, its caller's own reference and labels, and the break that it adjusts.
"""

booking = _table(
    "booking",
    Column("operation_id", Uuid, nullable=False),
    Column("bank_day", Date, nullable=False),
    Column("bank_serial", Text, nullable=False),
    PrimaryKeyConstraint("bank_day", "platform", "operation_id", "bank_serial", name="booking_pk"),
    Index("booking_by_serial", "bank_serial", "platform", "operation_id", postgresql_where=text("bank_serial <> ''")),
)
"""Where an operation is in the bank's books: the days and serials that the bank gave, those of its parts among them.
The columns of `operation` have the last of them, and could not be indexed without a price for each payment.
"""

comparison = _table(
    "comparison",
    Column("sub_account", Text, nullable=False),
    Column("account_kind", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("compared_at", DateTime(timezone=True), nullable=False),
    *(
        Column(f"{side}_{amount}_fen", BigInteger, nullable=False)
        for side in ("mirror", "bank")
        for amount in ("available", "withdrawable", "frozen")
    ),
    Column("in_doubt_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("sub_account", "platform", name="comparison_pk"),
    CheckConstraint("result IN ('equal', 'under-way', 'clearing', 'differs')", name="comparison_result_known"),
)
"""The last comparison of each sub-account with the bank. ``account_kind`` is empty for a member's."""

seal = _table(
    "seal",
    Column("batch", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False, server_default=""),
    PrimaryKeyConstraint("platform", "batch", name="seal_pk"),
    Index("seal_by_time", "at", "platform"),
)
"""One row a batch (`ledger.seals`). A batch's rows in the other tables are those with its time."""

vouched = _table(
    "vouched",
    Column("subject", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("subject", "platform", "mac", name="vouched_pk"),
)
"""MACs that were put over what was there already (`ledger.vouching`): over a serial's opening, a batch, or the end of
the audit trail."""

_POCKETS = ("withdrawable", "uncleared", "frozen", "escrow")

entry = _table(
    "entry",
    Column("sub_account", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("bank_day", Date, nullable=False),
    *(Column(f"{pocket}_fen", BigInteger, nullable=False) for pocket in _POCKETS),
    *(Column(f"{pocket}_after_fen", BigInteger, nullable=False) for pocket in _POCKETS),
    PrimaryKeyConstraint("sub_account", "platform", "at", "operation_id", "part", name="entry_pk"),
)
"""What a posted part moved on a sub-account, and what was there after it (`ledger.entries`). In the journal's order:
that of its key. Like the three tables that follow it can be computed from the journal.
"""

balance_day = _table(
    "balance_day",
    Column("sub_account", Text, nullable=False),
    Column("bank_day", Date, nullable=False),
    *(Column(f"{pocket}_fen", BigInteger, nullable=False) for pocket in _POCKETS),
    Column("entries", BigInteger, nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("sub_account", "platform", "bank_day", name="balance_day_pk"),
)
"""What the postings of a bank day have moved on a sub-account, how many they are, and between which times."""

kind_day = _table(
    "kind_day",
    Column("bank_day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("debit_fen", BigInteger, nullable=False),
    Column("credit_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("platform", "bank_day", "kind", name="kind_day_pk"),
)
"""What the postings of a bank day have moved on all accounts of a kind."""

filled = _table(
    "filled",
    Column("at", DateTime(timezone=True), nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("debits_fen", ARRAY(BigInteger), nullable=False),
    Column("credits_fen", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("platform", "at", name="filled_pk"),
)
"""How far the three tables go: all batches up to that time, whose last event that is. With all debits and credits up to
there, by kind of account.
"""

audit_entry = _table(
    "audit_entry",
    Column("number", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False, server_default=""),
    PrimaryKeyConstraint("platform", "number", name="audit_entry_pk"),
    Index("audit_entry_by_subject", "subject", "platform", "number"),
)
"""Who has called what is for few, and how it ended (`ledger.trail`); ``began`` numbers the entry that one ends."""

bank_answer = _table(
    "bank_answer",
    Column("digest", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("parts", LargeBinary, nullable=False),
    PrimaryKeyConstraint("digest", "platform", name="bank_answer_pk"),
)
"""The bank's signed answers by their digest, encrypted (`ledger.answers`). Of several answers ``parts`` has the
digests, one behind the other.
"""

proposal = _table(
    "proposal",
    Column("proposal_id", Uuid, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("method", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("payer", Text, nullable=False),
    Column("payee", Text, nullable=False),
    Column("order_no", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("proposed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("proposal_id", "platform", name="proposal_pk"),
    UniqueConstraint("request_id", "platform", name="proposal_request_id_once"),
    UniqueConstraint("proposal_id", "platform", "caller", "person", "expires_at", name="proposal_by_proposer"),
    CheckConstraint("caller <> ''", name="proposal_has_proposer"),
    CheckConstraint("amount_fen >= 0", name="proposal_amount_not_negative"),
)
"""What waits, or has waited, for a second person (`ledger.proposals`). The request is ``sealed`` by the service."""

proposal_decision = _table(
    "proposal_decision",
    Column("proposal_id", Uuid, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("proposer_caller", Text, nullable=False),
    Column("proposer_person", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("mac", LargeBinary, nullable=False),
    # The primary key is the rule that a proposal is decided once.
    PrimaryKeyConstraint("proposal_id", "platform", name="proposal_decided_once"),
    UniqueConstraint("proposal_id", "platform", "verdict", name="proposal_decision_of_verdict"),
    ForeignKeyConstraint(
        ["platform", "proposal_id", "proposer_caller", "proposer_person", "expires_at"],
        [f"proposal.{name}" for name in ("platform", "proposal_id", "caller", "person", "expires_at")],
        name="proposal_decision_names_its_proposer",
    ),
    CheckConstraint("verdict IN ('approved', 'rejected', 'expired')", name="proposal_verdict_known"),
    CheckConstraint(
        "verdict <> 'approved' OR caller <> '' AND CASE WHEN person <> '' AND proposer_person <> ''"
        " THEN person <> proposer_person ELSE caller <> proposer_caller END",
        name="proposal_approved_by_another",
    ),
    CheckConstraint("verdict <> 'approved' OR at < expires_at", name="proposal_approved_in_time"),
    CheckConstraint("verdict <> 'expired' OR at >= expires_at", name="proposal_expired_in_time"),
)

proposal_outcome = _table(
    "proposal_outcome",
    Column("proposal_id", Uuid, nullable=False),
    Column("verdict", Text, nullable=False, server_default="approved"),
    Column("operation_id", Uuid),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("proposal_id", "platform", name="proposal_outcome_once"),
    ForeignKeyConstraint(
        ["platform", "proposal_id", "verdict"],
        [f"proposal_decision.{name}" for name in ("platform", "proposal_id", "verdict")],
        name="proposal_outcome_of_approved",
    ),
    CheckConstraint("verdict = 'approved'", name="proposal_outcome_is_of_approved"),
    CheckConstraint("operation_id IS NOT NULL OR reason <> ''", name="proposal_outcome_is_one"),
)
"""What came of what was approved: an operation, or the reason for which it was refused."""

proposal_due = _table(
    "proposal_due",
    Column("proposal_id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("holder", Uuid),
    PrimaryKeyConstraint("proposal_id", "platform", name="proposal_due_once"),
    Index("proposal_due_by_time", "at", "platform"),
)
"""The proposals that something is still to be done about, and when: they expire, or run."""

bank_file = _table(
    "bank_file",
    Column("file_id", BigInteger, Identity(always=True), nullable=False),
    Column("bank_day", Date, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("stated_rows", BigInteger),
    Column("rows", BigInteger, nullable=False),
    Column("bad_rows", BigInteger, nullable=False),
    Column("repaired_rows", BigInteger, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("matched_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("file_id", "platform", name="bank_file_pk"),
    UniqueConstraint("bank_day", "type", "version", "platform", name="bank_file_version_once"),
    CheckConstraint("type IN ('CZ', 'TX', 'JY', 'YE', '6050', '6048', '6108', '6109')", name="bank_file_type_known"),
    # Whether it is clean or signed follows from its breaks, and from the signatures under the day.
    CheckConstraint("state IN ('loaded', 'totals-right', 'matched')", name="bank_file_state_known"),
)
"""The bank's files and lists of a day (`ledger.day`), a row for each version: what came after another had changed."""

bank_file_attempt = _table(
    "bank_file_attempt",
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("bank_day", Date, nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("bank_day", "type", "number", "platform", name="bank_file_attempt_pk"),
    CheckConstraint("state IN ('none', 'late', 'damaged')", name="bank_file_attempt_state_known"),
)
"""What was tried of a day's files without a good one coming of it."""

bank_file_piece = _table(
    "bank_file_piece",
    Column("file_id", BigInteger, nullable=False),
    Column("piece", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("file_id", "piece", "platform", name="bank_file_piece_pk"),
)
"""What a file held, compressed and then encrypted under the vault as signed answers are; ``digest`` is of the piece
before it was encrypted.
"""

bank_line = _table(
    "bank_line",
    Column("file_id", BigInteger, nullable=False),
    Column("line", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("fault", Text, nullable=False),
    Column("is_repaired", Boolean, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("serial", "bank_serial", "payer", "payer_sub_account", "payee", "payee_sub_account")
    ),
    Column("amount_fen", BigInteger),
    Column("fee_fen", BigInteger),
    Column("day", Date),
    Column("time", Time),
    Column("order_no", Text, nullable=False),
    Column("booking", Text, nullable=False),
    Column("operation_id", Uuid),
    Column("part", Integer),
    Column("agrees", Boolean, nullable=False),
    PrimaryKeyConstraint("file_id", "line", "platform", name="bank_line_pk"),
    Index("bank_line_disagreeing", "file_id", "platform", "line", postgresql_where=text("NOT agrees")),
)
"""The lines of a file, typed, without names; ``operation_id`` and ``part`` are the posting behind one, ``agrees``
whether nothing is to be said of it.
"""

break_ = _table(
    "break",
    Column("break_id", Uuid, nullable=False),
    Column("bank_day", Date, nullable=False),
    Column("type", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("bank_fen", BigInteger),
    Column("ledger_fen", BigInteger),
    Column("file_id", BigInteger),
    Column("line", Integer),
    Column("digest", LargeBinary, nullable=False),
    Column("operation_id", Uuid),
    Column("part", Integer),
    *(
        Column(name, Text, nullable=False)
        for name in ("operation_kind", "serial", "bank_serial", "member", "sub_account", "detail")
    ),
    Column("is_open", Boolean, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("break_id", "platform", name="break_pk"),
    CheckConstraint(
        "kind IN ('missing-here', 'missing-there', 'amount', 'fee', 'member', 'state', 'date-shifted', 'duplicate',"
        " 'unreadable', 'balance')",
        name="break_kind_known",
    ),
    Index("break_by_day", "bank_day", "platform", "type", "break_id"),
    Index("break_open", "platform", "bank_day", "break_id", postgresql_where=text("is_open")),
)
"""What the bank and the journal do not agree on. The id is a digest of what it is about, so that it stays the same over
all versions of a file; ``file_id``, ``line`` and ``is_open`` are as they stand now.
"""

break_event = _table(
    "break_event",
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("break_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("until", Date),
    Column("reason", Text),
    Column("operation_id", Uuid),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("mac", LargeBinary, nullable=False),
    PrimaryKeyConstraint("break_id", "number", "platform", name="break_event_pk"),
    ForeignKeyConstraint(["platform", "break_id"], ["break.platform", "break.break_id"], name="break_event_of_break"),
    CheckConstraint(
        "kind IN ('opened', 'carried', 'raised', 'held', 'closed')",
        name="break_event_kind_known",
    ),
    CheckConstraint(
        "(kind = 'closed') = (reason IS NOT NULL)"
        " AND reason IN ('next-file', 'ended', 'explained', 'superseded', 'adjusted', 'decided')",
        name="break_event_reason_known",
    ),
    CheckConstraint(
        "(kind = 'held' OR coalesce(reason, '') IN ('adjusted', 'decided')) = (caller <> '')",
        name="break_event_by_somebody",
    ),
)
"""What has happened to a break. What somebody has decided has a MAC of the service, as decisions on proposals have; an
adjustment is named, which is sealed with its approval.
"""

sign_off = _table(
    "sign_off",
    Column("bank_day", Date, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("statement", Text, nullable=False),
    Column("first_place", SmallInteger),
    Column("first_caller", Text),
    Column("first_person", Text),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("mac", LargeBinary, nullable=False),
    PrimaryKeyConstraint("bank_day", "digest", "place", "platform", name="sign_off_once"),
    UniqueConstraint("bank_day", "digest", "place", "caller", "person", "platform", name="sign_off_by_signatory"),
    ForeignKeyConstraint(
        ["platform", "bank_day", "digest", "first_place", "first_caller", "first_person"],
        [f"sign_off.{name}" for name in ("platform", "bank_day", "digest", "place", "caller", "person")],
        name="sign_off_names_the_first",
    ),
    CheckConstraint("caller <> ''", name="sign_off_has_signatory"),
    CheckConstraint(
        "place = 1 AND num_nonnulls(first_place, first_caller, first_person) = 0"
        " OR place = 2 AND first_place = 1 AND num_nonnulls(first_caller, first_person) = 2",
        name="sign_off_place_known",
    ),
    CheckConstraint(
        "place = 1 OR CASE WHEN person <> '' AND first_person <> '' THEN person <> first_person"
        " ELSE caller <> first_caller END",
        name="sign_off_by_another",
    ),
)
"""The two signatures under a day. ``statement`` says how the day stood, ``digest`` is its SHA-256."""

work_event = _table(
    "work_event",
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("work_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("work_id", "number", "platform", name="work_event_pk"),
    Index("work_event_by_owner", "owner", "platform", "work_id", postgresql_where=text("owner <> ''")),
    CheckConstraint("kind IN ('assigned', 'noted')", name="work_event_kind_known"),
    CheckConstraint("caller <> ''", name="work_event_by_somebody"),
    CheckConstraint("kind = 'assigned' OR (note <> '' AND owner = '')", name="work_event_says_something"),
)
"""What people say of what waits (`ledger.reads.work`): who takes it, and what he found. Only added to."""

JOURNAL = (transaction, hold, resolution, leg, event, membership, seal, vouched, audit_entry, bank_answer)
PROPOSALS = (proposal, proposal_decision, proposal_outcome)
"""Both are tables that are only ever added to."""
DAY = (bank_file_attempt, bank_file_piece, break_event, sign_off)
"""The tables of reconciliation that are only ever added to."""
WORK = (work_event,)
"""What people say of the queue, only added to as well."""

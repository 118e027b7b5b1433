"""What each role may do with each table: declared here, and brought about by `jzb migrate`.

    jzb_owner      has the tables, and so may change anything; for migrations, restored copies and rotated keys
    jzb_service    what a service needs: it reads, adds to the journal, and updates what can be computed from it
    jzb_reader     reads, for dashboards and `jzb verify`; nothing that is kept of cards

They are roles to be a member of, without a login. Whoever breaks into the service has the rights of jzb_service: no row
of the journal can be changed or removed with those, and no table, trigger or function.

Where the migrator is no superuser it owns the tables itself, or is a member of jzb_owner. Where it may not make roles,
`settle` says what somebody else has to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from ledger import session
from ledger.errors import LedgerUnfit

OWNER: Final = "jzb_owner"
SERVICE: Final = "jzb_service"
READER: Final = "jzb_reader"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a service may do with a table beside reading it.

    ``inserts`` rows, in all columns ``but`` some that PostgreSQL or the owner alone fills; ``updates`` the columns
    named; ``deletes`` rows. ``is_read`` is whether jzb_reader may read it.
    """

    inserts: bool = False
    but: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    deletes: bool = False
    is_read: bool = True


_ADDED_TO: Final = Rights(inserts=True)

TABLES: Final[dict[str, Rights]] = {
    # Neither may a service say that batches need no seal, nor open books that were restored.
    "platform": Rights(inserts=True, but=("unsealed", "behind_since"), updates=("batches", "cleared_through")),
    "member": Rights(inserts=True, updates=("sub_account", "property", "closed_at", "same_name", "mac")),
    "account": Rights(inserts=True, updates=("balance_fen", "held_fen")),
    "operation": Rights(
        inserts=True,
        updates=(
            *("state", "reason", "message", "breach", "bank_code", "bank_message", "bank_serial", "bank_day", "asks"),
            # Of an operation that was released and is opened again; MACs are over these three.
            *("not_found", "updated_at", "serial", "trace_id", "plan"),
        ),
    ),
    "due": Rights(inserts=True, updates=("ask_at",), deletes=True),
    "transaction": _ADDED_TO,
    "hold": _ADDED_TO,
    "resolution": _ADDED_TO,
    "leg": _ADDED_TO,
    # The order of events and memberships is PostgreSQL's to say.
    "event": Rights(inserts=True, but=("seq",)),
    "membership": Rights(inserts=True, but=("seq",)),
    "seal": _ADDED_TO,
    "vouched": Rights(),
    # Nothing personal is in it, and who verifies the books checks it.
    "audit_entry": _ADDED_TO,
    "bank_answer": Rights(inserts=True, is_read=False),
    "card": Rights(
        inserts=True,
        updates=(
            *("state", "wrong", "ends_at", "pay_in_fen", "branch_name", "cnaps_no", "super_bank_no", "bound_at"),
            *("ended_at", "key_id", "digest", "sealed"),
        ),
        is_read=False,
    ),
    "reference": _ADDED_TO,
    "booking": _ADDED_TO,
    "comparison": Rights(
        inserts=True,
        updates=(
            *("account_kind", "result", "compared_at", "in_doubt_fen"),
            *(f"{side}_{kind}_fen" for side in ("mirror", "bank") for kind in ("available", "withdrawable", "frozen")),
        ),
    ),
    # Computed from the journal; who verifies the books computes it again.
    "entry": _ADDED_TO,
    "balance_day": Rights(
        inserts=True,
        updates=("withdrawable_fen", "uncleared_fen", "frozen_fen", "escrow_fen", "entries", "first_at", "last_at"),
    ),
    "kind_day": Rights(inserts=True, updates=("debit_fen", "credit_fen")),
    "filled": _ADDED_TO,
    # When something was proposed, decided or ended is PostgreSQL's to say.
    "proposal": Rights(inserts=True, but=("proposed_at",)),
    "proposal_decision": Rights(inserts=True, but=("at",)),
    "proposal_outcome": Rights(inserts=True, but=("verdict", "at")),
    "proposal_due": Rights(inserts=True, updates=("at", "holder"), deletes=True),
    # What can be loaded again from what was kept of a file, and matched again; nothing of it is ever removed.
    "bank_file": Rights(
        inserts=True,
        but=("file_id", "loaded_at"),
        updates=("state", "matched_at", "stated_rows", "rows", "bad_rows", "repaired_rows", "amount_fen", "fee_fen"),
    ),
    "bank_file_attempt": Rights(inserts=True, but=("number", "at")),
    "bank_file_piece": Rights(inserts=True, is_read=False),
    "bank_line": Rights(inserts=True, updates=("digest", "operation_id", "part", "agrees")),
    # Whether it is open follows from its events; where its line is, from the file that counts.
    "break": Rights(inserts=True, but=("opened_at",), updates=("file_id", "line", "is_open")),
    "break_event": Rights(inserts=True, but=("number", "at")),
    "sign_off": Rights(inserts=True, but=("at",)),
    # What people said, and when, is as it was said.
    "work_event": Rights(inserts=True, but=("number", "at")),
    "alembic_version": Rights(),
}
"""Every table of the schema. One that is not in here is nobody's but the owner's."""

SEQUENCES: Final = ("bank_serial",)
"""Those that a service takes numbers from. The sequence of an identity column needs no right."""

COLUMNS: Final = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY 1
"""

_RIGHTS: Final = """
SELECT c.relname, role.rolname::text, array_agg(DISTINCT right_of.name ORDER BY right_of.name)
FROM pg_class c
CROSS JOIN pg_roles role
CROSS JOIN LATERAL (
  SELECT kind AS name FROM unnest(ARRAY['DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) kind
  WHERE has_table_privilege(role.oid, c.oid, kind)
  UNION ALL
  SELECT kind || ' ' || a.attname
  FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) kind
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE has_column_privilege(role.oid, c.oid, a.attnum, kind)
) right_of
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND role.rolname = ANY (%s)
GROUP BY 1, 2
"""
"""What the roles can do by whatever grants, those to everybody included."""

_TO_OWNER: Final = """
SELECT format('ALTER %%s %%I.%%I OWNER TO %%I', kind, current_schema(), name, %s::text)
FROM (
  SELECT 'TABLE' AS kind, relname AS name, relowner AS owner FROM pg_class
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
  UNION ALL
  SELECT 'SEQUENCE', relname, relowner FROM pg_class c
  WHERE relnamespace = current_schema()::regnamespace AND relkind = 'S'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i')
  UNION ALL
  SELECT 'FUNCTION', proname, proowner FROM pg_proc
  WHERE pronamespace = current_schema()::regnamespace AND proname = 'refuse_change'
) made
JOIN pg_roles had ON had.oid = made.owner
WHERE had.rolsuper OR had.rolname = current_user AND had.rolname <> %s::text
"""
"""What belongs to a superuser, or to a migrator that is a member of the owner."""


def settle(connection: psycopg.Connection[Any]) -> list[str]:
    """Make the roles and give them their rights, where that is not so yet; in the transaction of the caller.

    Returns what has to be run by somebody who may make roles, a statement each.
    """
    missing = sorted({OWNER, SERVICE, READER} - _known(connection))
    if missing and _one(connection, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"):
        for name in missing:
            # Roles are the server's: another of its databases may be migrated at this moment.
            statement = sql.SQL(
                "DO $$ BEGIN CREATE ROLE {} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;"
                " END $$"
            )
            connection.execute(statement.format(sql.Identifier(name)))
        missing = []
    if OWNER not in missing and _one(connection, "SELECT pg_has_role(current_user, %s, 'MEMBER')", OWNER):
        _allow(connection, OWNER, "USAGE", "CREATE")
        for (statement,) in connection.execute(_TO_OWNER, [OWNER, OWNER]).fetchall():
            connection.execute(statement)
    roles = [role for role in (SERVICE, READER) if role not in missing]
    for role in roles:
        _allow(connection, role, "USAGE")
    if roles and _one(connection, "SELECT has_schema_privilege(%s, current_schema(), 'CREATE')", roles[0]):
        # As every database had it before PostgreSQL 15.
        connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC").format(_schema(connection)))
    held = rights(connection, roles)
    for table, columns in connection.execute(COLUMNS).fetchall():
        wanted = {role: wanted_rights(role, table, columns) for role in roles}
        if any(held.get((table, role), set()) != wanted[role] for role in roles):
            _grant(connection, table, wanted)
    for sequence in SEQUENCES if SERVICE in roles else ():
        if not _one(connection, "SELECT has_sequence_privilege(%s, %s, 'USAGE')", SERVICE, sequence):
            names = (sql.Identifier(sequence), sql.Identifier(SERVICE))
            connection.execute(sql.SQL("GRANT USAGE, SELECT ON SEQUENCE {} TO {}").format(*names))
    return [f"CREATE ROLE {name} NOLOGIN;" for name in missing if name != OWNER]


def rights(connection: psycopg.Connection[Any], roles: Sequence[str]) -> dict[tuple[str, str], set[str]]:
    """What these roles can do, by table and role: DELETE and the like; INSERT, SELECT, UPDATE with a column each."""
    return {(table, role): set(held) for table, role, held in connection.execute(_RIGHTS, [list(roles)]).fetchall()}


def wanted_rights(role: str, table: str, columns: Sequence[str]) -> set[str]:
    """What a role is to have on a table of these columns, as `rights` has it. Nothing where none are declared."""
    declared = TABLES.get(table)
    if declared is None or (role == READER and not declared.is_read):
        return set()
    found = {f"SELECT {column}" for column in columns}
    if role == SERVICE:
        found |= {f"INSERT {column}" for column in columns if declared.inserts and column not in declared.but}
        found |= {f"UPDATE {column}" for column in declared.updates}
        found |= {"DELETE"} if declared.deletes else set()
    return found


def require_ordinary(dsn: str) -> None:
    """Refuse to serve with more rights than a service needs: those of whoever breaks into it.

    Raises `LedgerUnfit`, which says what to do; psycopg's errors.
    """
    with session.opened_blocking(dsn) as connection:
        found = connection.execute(_POWER).fetchone()
    assert found is not None
    name, is_super, is_owner, may_change = found
    what = "is a superuser" if is_super else "owns the books" if is_owner else "may change or remove what is booked"
    if is_super or is_owner or may_change:
        raise LedgerUnfit(
            f"the database user {name} {what}: serve as a user that is a member of {SERVICE} and of nothing else."
            f" `jzb migrate` makes that role; then CREATE ROLE ... LOGIN PASSWORD ... IN ROLE {SERVICE}"
            " (docs/operations/security.md)"
        )


_POWER: Final = """
SELECT
  current_user::text, rolsuper, coalesce(bool_or(pg_has_role(current_user, c.relowner, 'MEMBER')), false),
  coalesce(bool_or(
    has_table_privilege(c.oid, 'TRUNCATE') OR c.relname = ANY (ARRAY['event', 'seal', 'transaction'])
      AND (has_any_column_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE'))
  ), false)
FROM pg_roles
LEFT JOIN pg_class c ON c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
WHERE rolname = current_user
GROUP BY 1, 2
"""


def _grant(connection: psycopg.Connection[Any], table: str, wanted: dict[str, set[str]]) -> None:
    name = sql.Identifier(table)
    grantees = sql.SQL(", ").join([sql.SQL("PUBLIC"), *map(sql.Identifier, wanted)])
    connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(name, grantees))
    for role, rights_of in wanted.items():
        by_kind: dict[str, list[str]] = {}
        for one in sorted(rights_of):
            kind, _, column = one.partition(" ")
            by_kind.setdefault(kind, []).extend([column] if column else [])
        for kind, columns in by_kind.items():
            listed = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
            # A reader may also count rows, and a table that gets a column is read whole.
            is_whole = kind == "SELECT" or not columns
            connection.execute(
                sql.SQL("GRANT {}{} ON {} TO {}").format(
                    sql.SQL(kind), sql.SQL("") if is_whole else listed, name, sql.Identifier(role)
                )
            )


def _allow(connection: psycopg.Connection[Any], role: str, *kinds: str) -> None:
    """Let a role into the schema of the books."""
    for kind in kinds:
        if not _one(connection, "SELECT has_schema_privilege(%s, current_schema(), %s)", role, kind):
            names = (sql.SQL(kind), _schema(connection), sql.Identifier(role))
            connection.execute(sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(*names))


def _schema(connection: psycopg.Connection[Any]) -> sql.Identifier:
    return sql.Identifier(_one(connection, "SELECT current_schema()::text"))


def _known(connection: psycopg.Connection[Any]) -> set[str]:
    query = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s)"
    return {name for (name,) in connection.execute(query, [[OWNER, SERVICE, READER]]).fetchall()}


def _one(connection: psycopg.Connection[Any], query: LiteralString, *values: str) -> Any:
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None

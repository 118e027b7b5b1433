"""Alembic's entry: runs the migrations on the connection that `ledger.database.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from ledger.schema import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()

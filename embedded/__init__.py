"""The embedded PostgreSQL: a cluster of our own in one folder, run as a child of this process.

    with EmbeddedPostgres(Path("var/postgres")) as server:
        migrate(server.dsn)

For a newcomer, for tests and for the demo. The ledger knows only a DSN and runs unchanged on any
PostgreSQL. `server` holds the life of the server, `programs` where its programs
come from and how they run.
"""

from embedded.errors import PostgresNotStarted
from embedded.programs import Programs, find_programs
from embedded.server import SETTINGS, EmbeddedPostgres, as_service, let_service_in

__all__ = [
    "SETTINGS",
    "EmbeddedPostgres",
    "PostgresNotStarted",
    "Programs",
    "as_service",
    "find_programs",
    "let_service_in",
]

"""The PostgreSQL that runs beside the service when no DATABASE_URL is given.

A user (`EmbeddedPostgres`) talks to a keeper, one process for each directory, which owns the server:

    user ──connection──▶ keeper ──parent of──▶ postgres

The kernel closes a user's connection however the user ends, and the keeper stops the server with its last user.
"""

from adapters.embedded.embedded_postgres import EmbeddedPostgres
from adapters.embedded.errors import EmbeddedPostgresError

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

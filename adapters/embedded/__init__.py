"""The embedded PostgreSQL, which runs beside the service if DATABASE_URL is not set.

A background process, the daemon, is the parent of PostgreSQL. It stops PostgreSQL when the last client
(`EmbeddedPostgres`) has ended. Clients and daemon share file locks, which the kernel releases for a killed process.
"""

from adapters.embedded.embedded_postgres import EmbeddedPostgres
from adapters.embedded.paths import EmbeddedPostgresError, make_private_directory

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "make_private_directory"]

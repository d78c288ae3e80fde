"""A database under test: its pool, and an administrative connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import URL

from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import Connection, connected, with_driver
from tests.support.polling import wait_until

DRIVERS = ("asyncpg", "psycopg")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# A busy machine must not turn 20 concurrent callers into an overload.
PATIENT = DatabaseOptions(
    pool_size=20,
    pool_timeout=60,
    connect_timeout=60,
    statement_timeout=600,
    attempt_timeout=600,
    idle_in_transaction_timeout=600,
)


@dataclass(frozen=True, slots=True)
class DatabaseFixture:
    """A database through one driver; `admin` is a psycopg connection in autocommit mode."""

    url: URL
    database: Database
    admin: Connection

    @property
    def storage(self) -> SqlAlchemyStorage:
        return SqlAlchemyStorage(self.database)

    def clear(self) -> None:
        """Delete all rows; with few rows, DELETE is faster than TRUNCATE."""
        self.admin.execute(
            "DELETE FROM users; DELETE FROM api_keys; DELETE FROM audit_entries; DELETE FROM erasure_receipts"
        )

    @property
    def checked_out(self) -> int:
        """The number of connections in use."""
        return checked_out(self.database)

    def has_ended(self, pid: int) -> bool:
        """Return True if the server has no process with that id."""
        return self.admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None

    def is_waiting(self) -> bool:
        """Return True if a connection waits for a lock."""
        return self.admin.execute(WAITING).fetchone() != (0,)


def checked_out(database: Database) -> int:
    """Return the number of connections in use."""
    return database.usage.in_use


@asynccontextmanager
async def with_empty_tables(store: DatabaseFixture) -> AsyncIterator[DatabaseFixture]:
    """Yield the store without rows; afterwards require that all connections are back in the pool."""
    store.clear()
    yield store
    await wait_until(lambda: store.checked_out == 0)


@asynccontextmanager
async def opened(url: URL, driver: str, options: DatabaseOptions = PATIENT) -> AsyncIterator[DatabaseFixture]:
    """Open a pool, and close it after the block."""
    url = with_driver(url, driver)
    database = Database(url, options)
    with connected(url) as admin:
        admin.execute("SET lock_timeout = '30s'")
        try:
            yield DatabaseFixture(url, database, admin)
        finally:
            await database.close()

"""Databases for tests: each run migrates one template and clones it.

The databases of a run are named `hexapost_test_<run>_…`. Each process of the run holds an advisory lock of the run.
So the next run can distinguish the databases of a killed run from those of a running one.
"""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL, make_url

from adapters.embedded import EmbeddedPostgres
from adapters.postgres.schema.upgrade import upgrade
from migrations.runner.revisions import Phase

PREFIX = "hexapost_test_"
NAME = re.compile(PREFIX + r"([0-9a-f]{8})_.+")
TEMPLATE_LOCK = 0x7465_7374  # "test"

# Test data need not survive a power failure.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}

Connection = psycopg.Connection[tuple[object, ...]]


def with_driver(url: URL, driver: str | None, database: str | None = None) -> URL:
    """Return the URL for that driver, or for libpq, and for that database or the same."""
    url = url.set(drivername=f"postgresql+{driver}" if driver else "postgresql")
    return url if database is None else url.set(database=database)


@contextmanager
def embedded_server(root: Path) -> Iterator[URL]:
    """Run an embedded PostgreSQL in a directory below `root` during the block, and yield the URL of a database."""
    directory = root / ".hexapost" / "test-postgres"
    with EmbeddedPostgres(directory, settings=FAST, report=lambda _: None) as server:
        yield make_url(server.url("postgres"))


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    """Connect with psycopg in autocommit mode."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        yield connection


def libpq_url(url: URL) -> str:
    """Return the URL for libpq and asyncpg, without SQLAlchemy's driver."""
    # libpq rejects a space, which SQLAlchemy leaves in the name of a database.
    return with_driver(url, None).render_as_string(hide_password=False).replace(" ", "%20")


async def open_server(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a raw connection to the server of the URL."""
    host, port = str(url.host or url.query.get("host", "127.0.0.1")), int(url.port or str(url.query.get("port", 5432)))
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


class Databases:
    """Creates databases on the server; the run id has eight hexadecimal digits."""

    def __init__(self, url: URL, *, run: str, worker: str) -> None:
        self.url = url
        self._run = run
        self._worker = worker
        self._numbers = count(1)
        self._templates: dict[Phase | None, str] = {}

    @contextmanager
    def opened(self) -> Iterator["Databases"]:
        """Drop the databases of killed runs, and hold the lock of this run during the block."""
        try:
            with connected(self.url) as connection:
                connection.execute("SELECT pg_advisory_lock_shared(%s)", [_lock_of(self._run)])
                _drop_leftovers(connection, current_run=self._run)
                yield self
        finally:
            with connected(self.url) as connection:
                _drop_leftovers(connection, current_run="")

    def empty(self) -> URL:
        """Create an empty database."""
        return self._create("template0", "wal_log")

    def clone(self, phase: Phase | None = None) -> URL:
        """Create a database with the schema after a phase, by default after both, and without rows."""
        if phase not in self._templates:
            self._templates[phase] = self._migrated_template(phase)
        return self._create(self._templates[phase], "file_copy")

    def drop(self, url: URL) -> None:
        """Drop a database and terminate its sessions."""
        with connected(self.url) as connection:
            _drop(connection, str(url.database))

    def _create(self, template: str, strategy: str) -> URL:
        name = f"{PREFIX}{self._run}_{self._worker}_{next(self._numbers)}"
        with connected(self.url) as connection:
            connection.execute(
                SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {}").format(
                    Identifier(name), Identifier(template), Identifier(strategy)
                )
            )
        return self.url.set(database=name)

    def _migrated_template(self, phase: Phase | None) -> str:
        name = f"{PREFIX}{self._run}_template" + (f"_{phase}" if phase else "")
        with connected(self.url) as connection:
            # One process of the run creates the template; the rest of them wait.
            connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                url = self.empty()
                migrate(url, phase)
                connection.execute(
                    SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(str(url.database)), Identifier(name))
                )
        return name


def migrate(url: URL, phase: Phase | None = None) -> list[str]:
    """Upgrade to the head in a thread without an event loop; return the reported lines."""
    reported: list[str] = []
    with ThreadPoolExecutor(1) as thread:
        thread.submit(upgrade, with_driver(url, "asyncpg"), reported.append, phase).result()
    return reported


def _drop_leftovers(connection: Connection, *, current_run: str) -> None:
    for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall():
        found = NAME.fullmatch(str(name))
        if found is None or found[1] == current_run:
            continue
        lock = _lock_of(found[1])
        if connection.execute("SELECT pg_try_advisory_lock(%s)", [lock]).fetchone() == (True,):
            _drop(connection, str(name))
            connection.execute("SELECT pg_advisory_unlock(%s)", [lock])


def _drop(connection: Connection, name: str) -> None:
    connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def _lock_of(run: str) -> int:
    return (TEMPLATE_LOCK << 32) | int(run, 16)

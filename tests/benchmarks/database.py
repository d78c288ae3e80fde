"""The database that the services share, as the benchmark itself sees it."""

import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import URL, make_url

from tests.benchmarks.dataset import Dataset, Row
from tests.benchmarks.errors import WrongResponseError

_PREFIX = "hexapost_bench_"
_NAME = re.compile(_PREFIX + "([0-9a-f]{8})")
LOCK = 0x6265_6E63  # "benc"

_REQUIRED = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull"

COMMIT_SECONDS = 5.0
"""How long a row may take to appear: the textbook service commits after its response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchDatabase:
    """A database of the benchmark's own."""

    url: str
    """For SQLAlchemy, with the driver."""
    dsn: str
    """The same for libpq and asyncpg."""

    @classmethod
    def at(cls, url: URL) -> "BenchDatabase":
        """Return the database with this URL."""
        return cls(url=url.render_as_string(hide_password=False), dsn=libpq_url(url))

    def load(self, dataset: Dataset) -> None:
        """Store the rows, and have the planner and the visibility map know them."""
        with closing(self._connect()) as connection:
            _copy(connection, "users", dataset.users)
            _copy(connection, "posts", dataset.posts)
            connection.execute("VACUUM (ANALYZE)")

    def setting(self, name: str) -> str:
        """Return a parameter of the server, such as `server_version`."""
        return str(self._value("SELECT current_setting(%s)", name))

    def count_posts(self) -> int:
        """Return how many posts are stored."""
        return int(str(self._value("SELECT count(*) FROM posts")))

    def await_posts(self, expected: int) -> None:
        """Wait until this number of posts is stored. Raises WrongResponseError for more posts or a timeout."""
        deadline = time.monotonic() + COMMIT_SECONDS
        while (found := self.count_posts()) != expected:
            if found > expected or time.monotonic() > deadline:
                raise WrongResponseError(f"{found} posts are stored where {expected} were acknowledged")
            time.sleep(0.05)

    def await_post(self, post_id: str) -> Row:
        """Return the post as it is stored. Raises WrongResponseError when it is not."""
        deadline = time.monotonic() + COMMIT_SECONDS
        with closing(self._connect()) as connection, connection.cursor(row_factory=dict_row) as cursor:
            while time.monotonic() < deadline:
                row = cursor.execute("SELECT * FROM posts WHERE id = %s", [post_id]).fetchone()
                if row is not None:
                    return row
                time.sleep(0.02)
        raise WrongResponseError(f"the post {post_id} was acknowledged and is not stored")

    def remove_posts_after(self, last: UUID) -> None:
        """Remove the posts that are newer, and leave the table as if they had never been."""
        with closing(self._connect()) as connection:
            connection.execute("DELETE FROM posts WHERE id > %s", [last])
            connection.execute("VACUUM posts")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC")

    def _value(self, statement: LiteralString, *parameters: object) -> object:
        with closing(self._connect()) as connection:
            row = connection.execute(statement, parameters).fetchone()
        return row[0] if row else None


def libpq_url(url: URL) -> str:
    """Return the URL without SQLAlchemy's driver, in the words of libpq."""
    if "ssl" in url.query:
        url = url.update_query_dict({"sslmode": url.query["ssl"]}).difference_update_query(["ssl"])
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def scratch_database(server: URL, template: BenchDatabase | None = None) -> Iterator[BenchDatabase]:
    """Yield a new database on the server, empty or a copy, dropped at the end. The one of the URL is not touched.

    Databases of killed runs are dropped first: their locks are free.
    """
    number = secrets.randbits(31)
    url = server.set(database=f"{_PREFIX}{number:08x}")
    with closing(psycopg.connect(libpq_url(server), autocommit=True)) as connection:
        _drop_leftovers(connection)
        connection.execute("SELECT pg_advisory_lock(%s::int, %s::int)", [LOCK, number])
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        copied = make_url(template.url).database if template else "template1"
        connection.execute(create.format(sql.Identifier(str(url.database)), sql.Identifier(str(copied))))
        try:
            yield BenchDatabase.at(url)
        finally:
            _drop(connection, str(url.database))


def _drop_leftovers(connection: psycopg.Connection) -> None:
    for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall():
        if found := _NAME.fullmatch(name):
            lock = [LOCK, int(found[1], 16)]
            if connection.execute("SELECT pg_try_advisory_lock(%s::int, %s::int)", lock).fetchone() == (True,):
                _drop(connection, name)
                connection.execute("SELECT pg_advisory_unlock(%s::int, %s::int)", lock)


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _copy(connection: psycopg.Connection, table: str, rows: Sequence[Row]) -> None:
    """Store the rows in the columns that the table has; a required column for a normalized email may have any name."""
    required = connection.execute(_REQUIRED, [table]).fetchall()
    values = {name: name for name in rows[0]} | {name: "email" for (name,) in required if name.startswith("email")}
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([row[value] for value in values.values()])

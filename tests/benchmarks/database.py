"""The database that the services share, as the benchmark itself sees it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL

from adapters.testing.template_databases import Connection, connected
from tests.benchmarks.dataset import Dataset, Row
from tests.benchmarks.errors import WrongResponseError

COMMIT_SECONDS = 5.0
"""How long a row may take to appear: the textbook service commits after its response."""
_REQUIRED = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull"


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    url: URL

    def load(self, dataset: Dataset) -> None:
        """Store the rows, and update the statistics of the planner and the visibility map."""
        with connected(self.url) as connection:
            _copy(connection, "users", dataset.users)
            _copy(connection, "posts", dataset.posts)
            connection.execute("VACUUM (ANALYZE)")

    def setting(self, name: str) -> str:
        """Return a parameter of the server, such as `server_version`."""
        with connected(self.url) as connection:
            (value,) = connection.execute("SELECT current_setting(%s)", [name]).fetchone() or ("",)
        return str(value)

    def await_posts(self, expected: int) -> None:
        """Wait until this number of posts is stored. Raises WrongResponseError after a timeout."""
        self._await_row("SELECT FROM posts HAVING count(*) = %s", expected)

    def await_post(self, post_id: str) -> Row:
        """Wait until the post is stored, and return it. Raises WrongResponseError after a timeout."""
        return self._await_row("SELECT * FROM posts WHERE id = %s", post_id)

    def _await_row(self, query: str, parameter: object) -> Row:
        deadline = time.monotonic() + COMMIT_SECONDS
        with connected(self.url) as connection, connection.cursor(row_factory=dict_row) as cursor:
            while (row := cursor.execute(query.encode(), [parameter]).fetchone()) is None:
                if time.monotonic() > deadline:
                    raise WrongResponseError(f"no row after {COMMIT_SECONDS:g} s of {query % parameter}")
                time.sleep(0.02)
        return row

    def remove_posts_after(self, last: UUID) -> None:
        """Remove the posts that are newer, and their traces in the table."""
        with connected(self.url) as connection:
            connection.execute("DELETE FROM posts WHERE id > %s", [last])
            connection.execute("VACUUM posts")


def _copy(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    """Store the rows in the columns that the table has; a required column for a normalized email may have any name."""
    required = [str(name) for (name,) in connection.execute(_REQUIRED, [table])]
    values = {name: name for name in rows[0]} | {name: "email" for name in required if name.startswith("email")}
    statement = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), SQL(", ").join(map(Identifier, values)))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([row[value] for value in values.values()])

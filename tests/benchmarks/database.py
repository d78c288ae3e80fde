"""The database that the services share, as the benchmark itself sees it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL

from adapters.testing.template_databases import Connection, connected
from domain.search_tokens import tokenize
from tests.benchmarks.dataset import Dataset, Row
from tests.benchmarks.errors import WrongResponseError

COMMIT_SECONDS = 5.0
"""How long a row may take to appear: the textbook service commits after its response."""
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    url: URL

    def load(self, dataset: Dataset) -> None:
        """Store the rows, and update the statistics of the planner and the visibility map.

        The baselines store their idempotency records in the table `baseline_records`.
        """
        with connected(self.url) as connection:
            _copy(connection, "users", dataset.users)
            _copy(connection, "posts", [post | _tokens(post) for post in dataset.posts])
            connection.execute("CREATE TABLE original_users AS TABLE users")
            connection.execute("CREATE TABLE baseline_records (key text PRIMARY KEY, response bytea NOT NULL)")
            connection.execute("VACUUM (ANALYZE)")

    def setting(self, name: str) -> str:
        """Return a parameter of the server, such as `server_version`."""
        with connected(self.url) as connection:
            (value,) = connection.execute("SELECT current_setting(%s)", [name]).fetchone() or ("",)
        return str(value)

    def await_writes(self, dataset: Dataset, number: int) -> None:
        """Wait until this number of posts was created or users updated. Raises WrongResponseError after a timeout."""
        stored = len(dataset.posts) + sum(user["version"] for user in dataset.users)
        self._await_row(
            "SELECT FROM users HAVING (SELECT count(*) FROM posts) + sum(users.version) = %s", stored + number
        )

    def await_post(self, post_id: str) -> Row:
        """Wait until the post is stored, and return it. Raises WrongResponseError after a timeout."""
        return self._await_row("SELECT * FROM posts WHERE id = %s", post_id)

    def await_user(self, user_id: str, version: int) -> Row:
        """Wait until this version of the user is stored, and return it. Raises WrongResponseError after a timeout."""
        return self._await_row("SELECT * FROM users WHERE id = %s AND version = %s", user_id, version)

    def _await_row(self, query: str, *parameters: object) -> Row:
        deadline = time.monotonic() + COMMIT_SECONDS
        with connected(self.url) as connection, connection.cursor(row_factory=dict_row) as cursor:
            while (row := cursor.execute(query.encode(), parameters).fetchone()) is None:
                if time.monotonic() > deadline:
                    raise WrongResponseError(f"no row after {COMMIT_SECONDS:g} s of {query % parameters}")
                time.sleep(0.02)
        return row

    def restore(self, dataset: Dataset) -> None:
        """Remove new posts, undo changes of users, and vacuum both tables."""
        with connected(self.url) as connection:
            connection.execute("DELETE FROM posts WHERE id > %s", [dataset.posts[-1]["id"]])
            connection.execute(
                "UPDATE users SET full_name = original.full_name, updated_at = original.updated_at, "
                "version = original.version FROM original_users original "
                "WHERE users.id = original.id AND users.version <> original.version"
            )
            connection.execute("VACUUM posts, users")


def _tokens(post: Row) -> Row:
    """Return the search tokens of a post."""
    title = post["title"]
    return {"title_tokens": " ".join(tokenize(title)), "text_tokens": " ".join(tokenize(f"{title} {post['content']}"))}


def _copy(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    """Store the rows in the columns that the table has; a column for a normalized email may have any name."""
    columns = [str(name) for (name,) in connection.execute(_COLUMNS, [table])]
    values = {name: "email" if name.startswith("email") else name for name in columns}
    values = {name: value for name, value in values.items() if value in rows[0]}
    statement = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), SQL(", ").join(map(Identifier, values)))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([row[value] for value in values.values()])

"""Where backfills stand: a table that is there from the first batch until the revision is stamped.

A backfill is known by its revision and its number in it. What is finished stays as such until the transaction that
stamps the revision, so that a repetition of the revision leaves it out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from migrations.operations.steps import StepRunner
from migrations.runner.lock_retry import LOCK_NOT_AVAILABLE, MigrationError, sqlstate
from migrations.runner.phases import with_ancestors
from migrations.runner.running_revision import RunningRevision

TABLE = "alembic_backfills"
_CREATE_TABLE = f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        revision text, up boolean, number integer, digest text NOT NULL,
        last text[], done bigint NOT NULL DEFAULT 0, finished boolean NOT NULL DEFAULT false,
        PRIMARY KEY (revision, up, number)
    )
"""
_TABLE_EXISTS = f"SELECT 1 WHERE to_regclass('{TABLE}') IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The key of the last row that was looked at, as text, and the number of rows that were updated by then."""

    last_key: Sequence[str] | None
    updated_rows: int
    finished: bool


class CheckpointStore:
    """The place of one backfill, which `description` says in words."""

    def __init__(self, run: StepRunner, under_way: RunningRevision, description: str) -> None:
        under_way.backfills += 1
        self._run = run
        self._name = f"backfill {under_way.backfills} of revision {under_way.revision}"
        self._digest = hashlib.sha256(description.encode()).hexdigest()
        self._key = f"{quote_literal(under_way.revision)}, {under_way.up}, {under_way.backfills}"
        self.row = f"(revision, up, number) = ({self._key})"

    def start_or_resume(self) -> Checkpoint:
        """Return where it stands, which is the beginning at first.

        Raises MigrationError when what stands there was begun with other words.
        """
        self._run.run_concurrently(_CREATE_TABLE)
        self._run.run_concurrently(
            f"INSERT INTO {TABLE} (revision, up, number, digest) VALUES ({self._key}, {quote_literal(self._digest)})"
            " ON CONFLICT DO NOTHING"
        )
        if not self._run.exists(f"FROM {TABLE} WHERE {self.row} AND digest = {quote_literal(self._digest)}"):
            raise MigrationError(
                f"{self._name} was begun as another statement, some of which is done: put the revision back as it was,"
                f" or DELETE FROM {TABLE} WHERE {self.row} to have all rows updated by the new one"
            )
        return self.read()

    def read(self) -> Checkpoint:
        """Return where it stands. Raises MigrationError when nobody knows."""
        row = self._run.fetch_one(f"SELECT last, done, finished FROM {TABLE} WHERE {self.row}")
        if row is None:
            raise MigrationError(f"the place of {self._name} is gone from {TABLE}: somebody else has deleted it")
        return Checkpoint(row.last, row.done, row.finished)

    def finish(self) -> None:
        """Note that no row is left."""
        self._run.run_concurrently(f"UPDATE {TABLE} SET finished = true WHERE {self.row}")


def delete_checkpoints(connection: Connection, under_way: RunningRevision, scripts: ScriptDirectory) -> None:
    """Delete the places of a revision, in the transaction that stamps it.

    When it is undone, what later revisions had begun is, too.
    """
    if connection.execute(text(_TABLE_EXISTS)).first() is None:
        return
    for (revision,) in connection.execute(text(f"SELECT DISTINCT revision FROM {TABLE}")).all():
        known = with_ancestors(scripts, [revision])
        undone = not under_way.up and (not known or under_way.revision in known)
        if undone or revision == under_way.revision:
            connection.execute(text(f"DELETE FROM {TABLE} WHERE revision = :revision"), {"revision": revision})


def drop_empty_table(connection: Connection) -> None:
    """Drop the table when nothing stands in it; when somebody reads it just now, a later migration does."""
    try:
        with connection.begin():
            there = connection.execute(text(_TABLE_EXISTS)).first()
            if there and not connection.execute(text(f"SELECT 1 FROM {TABLE}")).first():
                connection.execute(text(f"DROP TABLE {TABLE}"))
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise


def quote_literal(value: str) -> str:
    """Return a text as SQL."""
    return "'" + value.replace("'", "''") + "'"

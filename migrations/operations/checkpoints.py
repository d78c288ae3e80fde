"""Stores the checkpoints of backfills in a table, until their revision is applied.

The key of a backfill is its revision and its number within it. A finished backfill keeps its checkpoint, so that a
repeated revision skips it. The transaction that stores the schema version deletes the checkpoint.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from migrations.operations.steps import StepRunner, quote_literal, running_revision
from migrations.runner.lock_retry import LOCK_NOT_AVAILABLE, MigrationError, sqlstate
from migrations.runner.phases import with_ancestors

TABLE = "alembic_backfills"
COLUMNS = "last, planned, position, done, finished"
_CREATE_TABLE = f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        revision text, up boolean, number integer, digest text NOT NULL,
        last text[], keys jsonb[], planned integer NOT NULL DEFAULT 0, position integer NOT NULL DEFAULT 0,
        done bigint NOT NULL DEFAULT 0, finished boolean NOT NULL DEFAULT false,
        PRIMARY KEY (revision, up, number)
    )
"""
# The previous release has no chunks: its checkpoint has the last updated row.
_HAS_CHUNKS = f"FROM pg_attribute WHERE attrelid = to_regclass('{TABLE}') AND attname = 'planned'"
_ADD_CHUNKS = f"""
    ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS keys jsonb[],
        ADD COLUMN IF NOT EXISTS planned integer NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS position integer NOT NULL DEFAULT 0
"""
_TABLE_EXISTS = f"SELECT 1 WHERE to_regclass('{TABLE}') IS NOT NULL"


class Checkpoint(NamedTuple):
    """The progress of a backfill: the key of the last planned row, as text, and the number of updated rows.

    `planned` is the number of rows in the current chunk. The batches have updated the first `position` of them.
    """

    last: Sequence[str] | None
    planned: int
    position: int
    done: int
    finished: bool


class CheckpointStore:
    """The checkpoint of one backfill; `condition` selects its row."""

    def __init__(self, run: StepRunner, statement: str) -> None:
        running = run.running
        running.backfills += 1
        self._run = run
        self._name = f"backfill {running.backfills} of revision {running.revision}"
        self._digest = quote_literal(hashlib.sha256(statement.encode()).hexdigest())
        self._key = f"{quote_literal(running.revision)}, {running.up}, {running.backfills}"
        self.condition = f"(revision, up, number) = ({self._key})"

    def start_or_resume(self) -> Checkpoint:
        """Return the checkpoint, created if it is missing.

        Raises MigrationError if it belongs to a backfill with another statement.
        """
        self._run.run_concurrently(_CREATE_TABLE)
        if not self._run.exists(_HAS_CHUNKS):
            self._run.run_blocking(_ADD_CHUNKS)
        self._run.run_concurrently(
            f"INSERT INTO {TABLE} (revision, up, number, digest) VALUES ({self._key}, {self._digest})"
            " ON CONFLICT DO NOTHING"
        )
        if not self._run.exists(f"FROM {TABLE} WHERE {self.condition} AND digest = {self._digest}"):
            raise MigrationError(
                f"{self._name} was started with another statement and has updated some rows. Restore that statement in"
                f" the revision. Or update all rows with the new one: DELETE FROM {TABLE} WHERE {self.condition}"
            )
        return self.read()

    def read(self) -> Checkpoint:
        """Return the checkpoint. Raises MigrationError if it is missing."""
        row = self._run.fetch_one(f"SELECT {COLUMNS} FROM {TABLE} WHERE {self.condition}")
        if row is None:
            raise MigrationError(
                f"The checkpoint of {self._name} is missing from {TABLE}; it was deleted while the migration ran."
            )
        return Checkpoint._make(row)

    def finish(self) -> None:
        """Mark the backfill as finished."""
        self._run.run_concurrently(f"UPDATE {TABLE} SET finished = true WHERE {self.condition}")


def delete_checkpoints(context: MigrationContext) -> None:
    """Delete the checkpoints of the running revision; if it is undone, also those of later revisions."""
    running, connection = running_revision(context), context.connection
    if context.as_sql or connection is None or connection.execute(text(_TABLE_EXISTS)).first() is None:
        return
    for (revision,) in connection.execute(text(f"SELECT DISTINCT revision FROM {TABLE}")).all():
        known = with_ancestors(context.opts["script"], [revision])
        is_undone = not running.up and (not known or running.revision in known)
        if is_undone or revision == running.revision:
            connection.execute(text(f"DELETE FROM {TABLE} WHERE revision = :revision"), {"revision": revision})


def drop_empty_table(connection: Connection) -> None:
    """Drop the table if it is empty. If it is locked, a later migration drops it."""
    try:
        with connection.begin():
            exists = connection.execute(text(_TABLE_EXISTS)).first()
            if exists and not connection.execute(text(f"SELECT 1 FROM {TABLE}")).first():
                connection.execute(text(f"DROP TABLE {TABLE}"))
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise

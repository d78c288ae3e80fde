"""A step of a safe operation: a statement that is committed by itself, within time limits, and can be repeated."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Connection, Executable, Row, TextClause, text
from sqlalchemy.exc import DBAPIError

from migrations.runner.lock_retry import MigrationError, policy_of, retry_on_lock_timeout
from migrations.runner.running_revision import running

NOT_NULL_NOT_VALID = 180000
"""The first server_version_num that takes ADD CONSTRAINT … NOT NULL … NOT VALID."""

_UNLIMITED = {"statement_timeout": 0, "lock_timeout": 0}


class StepRunner:
    """The steps of one safe operation, outside the transaction of the revision.

    What the revision did before is committed by then. When there is no server to ask (`--sql`), nothing is there yet.
    """

    def __init__(self, operations: Operations, connection: Connection | None, current_step: str) -> None:
        self._operations = operations
        self._connection = connection
        self._current_step = current_step
        self._done = 0

    def run_blocking(self, statement: str | Executable) -> None:
        """Run what stops others while it lasts, with a lock_timeout, again and again."""
        self._run(statement, {})

    def run_unlimited(self, statement: str | Executable) -> None:
        """Run what others do not notice: it may queue until autovacuum gives way, and works for as long as it takes."""
        policy = policy_of(self._operations.get_context())
        self._run(statement, {"statement_timeout": 0, "lock_timeout": round(1000 * policy.weak_lock_timeout)})

    def run_concurrently(self, statement: str | Executable, *, after: Callable[[], str | None] = lambda: None) -> None:
        """Run CONCURRENTLY what works for as long as it takes, waiting for older transactions included.

        What `after` returns is run before each attempt.
        """
        self._run(statement, _UNLIMITED, after)

    def try_once(self, statement: str) -> bool:
        """Tell whether it was done at the first attempt, in a few seconds at most."""
        policy = policy_of(self._operations.get_context())
        milliseconds = round(1000 * policy.weak_lock_timeout)
        try:
            with limited(self._operations, dict.fromkeys(_UNLIMITED, milliseconds)):
                self._operations.execute(escaped(statement))
        except DBAPIError:
            return False
        return True

    @property
    def offline(self) -> bool:
        """Tell that there is no server to ask."""
        return self._connection is None

    def fetch_one(self, question: str, **parameters: Any) -> Row[Any] | None:
        """Return the first row of the answer."""
        if self._connection is None:
            return None
        return self._connection.execute(text(question) if parameters else escaped(question), parameters).first()

    def exists(self, condition: str, **parameters: Any) -> bool:
        """Tell whether there is a row for this part of a query, FROM and all."""
        return self.fetch_one(f"SELECT 1 {condition}", **parameters) is not None

    @contextmanager
    def rolled_back_connection(self) -> Iterator[Connection]:
        """Yield another session in a transaction, which is rolled back."""
        if self._connection is None:
            raise MigrationError("there is no server to ask")
        with self._connection.engine.connect() as connection:
            yield connection

    @property
    def server_version(self) -> int:
        """The server_version_num; 0 when there is no server to ask."""
        row = self.fetch_one("SELECT current_setting('server_version_num')::integer")
        return 0 if row is None else int(row[0])

    def _completed_work(self) -> str:
        steps = f" and the first {self._done} of its steps" if self._done else ""
        return f"done is what came before it in the revision{steps}, which a repetition finds"

    def _run(
        self, statement: str | Executable, limits: Mapping[str, int], after: Callable[[], str | None] = lambda: None
    ) -> None:
        context = self._operations.get_context()
        running(context).require_lock()
        executable = escaped(statement) if isinstance(statement, str) else statement

        def attempt() -> None:
            if (before := after()) is not None:
                self._operations.execute(escaped(before))
            self._operations.execute(executable)

        with limited(self._operations, limits):
            retry_on_lock_timeout(
                context, attempt, current_step=self._current_step, completed_work=self._completed_work
            )
        self._done += 1


@contextmanager
def steps(operations: Operations, current_step: str) -> Iterator[StepRunner]:
    """Leave the transaction of the revision for as long as the block."""
    context = operations.get_context()
    running(context).commits = True
    with context.autocommit_block():
        yield StepRunner(operations, None if context.as_sql else context.connection, current_step)


@contextmanager
def limited(operations: Operations, limits: Mapping[str, int]) -> Iterator[None]:
    """Set these time limits, in milliseconds, in the block; those of the migration hold again after it."""
    usual = policy_of(operations.get_context()).limits()
    for name, milliseconds in limits.items():
        operations.execute(f"SET {name} = {milliseconds}")
    try:
        yield
    finally:
        for name in limits:
            operations.execute(f"SET {name} = {usual[name]}")


def escaped(statement: str) -> TextClause:
    """Return the statement as it is: a colon in it begins no parameter."""
    return text(statement.replace(":", r"\:"))

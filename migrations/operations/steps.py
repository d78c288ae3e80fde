"""Runs the steps of a safe operation: each statement is committed, has time limits, and can be repeated."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from alembic import op
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Executable, Row, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import ExecutableDDLElement

from migrations.runner.lock_retry import (
    MigrationError,
    T,
    policy_of,
    request_weak_lock,
    retry_on_lock_timeout,
    tables_in_statement,
)
from migrations.sql.revision_sql import StatementOrigin, statements_from

MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL truncates longer names, and does not find the object under its full name."""


@dataclass(slots=True)
class RunningRevision:
    """A revision while it is applied or undone, retries included.

    `require_lock` raises MigrationError if the migration lock is lost. `commits` is True after the first safe
    operation, which commits the statements before it. `backfills` counts the backfills that this attempt has started.
    """

    revision: str = ""
    up: bool = True
    require_lock: Callable[[], None] = lambda: None
    commits: bool = False
    backfills: int = 0


def running_revision(context: MigrationContext) -> RunningRevision:
    """Return the running revision of a migration context. The linter sets none."""
    running: RunningRevision = context.opts.setdefault("running_revision", RunningRevision())
    return running


class StepRunner:
    """Runs the steps of one safe operation outside the revision's transaction.

    Offline (`--sql`) it writes every step, as if the database had no objects.
    """

    def __init__(self, context: MigrationContext, current_step: str) -> None:
        self._current_step = current_step
        self._completed_steps = 0
        self.context = context
        self.policy = policy_of(context)
        self.running = running_revision(context)
        self.connection = None if context.as_sql else context.connection
        self.offline = self.connection is None

    @property
    def server_version(self) -> int:
        """The server_version_num, or 0 offline."""
        row = self.fetch_one("SELECT current_setting('server_version_num')::integer")
        return 0 if row is None else int(row[0])

    def run_blocking(self, statement: str | Executable) -> None:
        """Run a statement that blocks other sessions, with a short lock_timeout and retries."""
        self._run(statement, {})

    def run_unlimited(self, statement: str | Executable) -> None:
        """Run a long statement that does not block reads or writes; it can wait for autovacuum."""
        self._run(statement, {"statement_timeout": 0, "lock_timeout": round(1000 * self.policy.weak_lock_timeout)})

    def run_concurrently(
        self, statement: str | ExecutableDDLElement, *, before: Callable[[], str | None] = lambda: None
    ) -> None:
        """Run a CONCURRENTLY statement without time limits; it waits for older transactions.

        First wait for the lock of its table, with retries. Each attempt first runs the statement that `before` returns.
        """
        if self.connection is not None:
            sql = statement if isinstance(statement, str) else str(statement.compile(dialect=self.context.dialect))
            connection, names = self.connection, tables_in_statement(sql)
            with statements_from(StatementOrigin.RUNNER):
                self._retry(lambda: request_weak_lock(connection, names, self.policy), names)
        self._run(statement, {"statement_timeout": 0, "lock_timeout": 0}, before)

    def try_once(self, statement: str) -> bool:
        """Run a statement once with the weak lock timeout. Return True if it succeeded."""
        milliseconds = round(1000 * self.policy.weak_lock_timeout)
        try:
            with self.limited(statement_timeout=milliseconds, lock_timeout=milliseconds):
                op.execute(literal_text(statement))
        except DBAPIError:
            return False
        return True

    def fetch_one(self, query: str, **parameters: Any) -> Row[Any] | None:
        """Return the first row of a query, or None offline."""
        return next(iter(self.fetch_all(query, **parameters)), None)

    def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Return the rows of a query, or an empty list offline."""
        if self.connection is None:
            return []
        return self.connection.execute(text(query) if parameters else literal_text(query), parameters).all()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements of the block in one transaction."""
        op.execute("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(DBAPIError):  # the session may be closed
                op.execute("ROLLBACK")
            raise
        op.execute("COMMIT")

    def exists(self, source: str, **parameters: Any) -> bool:
        """Return True if `source`, a query from FROM on, has a row."""
        return self.fetch_one(f"SELECT 1 {source}", **parameters) is not None

    def require_same_definition(
        self, query: str, create: Executable, *, table: str, referent: str | None = None, **parameters: str
    ) -> None:
        """Raise MigrationError if the existing object differs from the one that `create` makes.

        `query` returns the server's text of a definition. `create` runs on empty temporary tables with the same names,
        in a second session that is rolled back. `table` and `referent` are SQL names.
        """
        row, name = self.fetch_one(query, **parameters), parameters["name"]
        if row is None or self.connection is None:
            raise MigrationError(f"{name} on {table} was dropped while the migration ran; run it again")
        tables = list(dict.fromkeys([table, referent or table]))

        def create_and_read(engine: Engine) -> str:
            with engine.connect() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = {self.policy.limits()['lock_timeout']}"))
                for each in tables:
                    keys = " INCLUDING INDEXES" if each == referent else ""
                    connection.execute(text(f"CREATE TEMPORARY TABLE {each} (LIKE {each}{keys})"))
                connection.execute(create)
                return str(connection.execute(text(query), parameters).scalar_one())

        engine = self.connection.engine
        expected = self._retry(lambda: create_and_read(engine), tables)
        if row[0] != expected:
            raise MigrationError(f"{name} on {table} exists with another definition: {row[0]}; expected: {expected}")

    @contextmanager
    def limited(self, **milliseconds: int) -> Iterator[None]:
        """Set timeouts for the block; afterwards the limits of the policy apply again."""
        for name, value in milliseconds.items():
            op.execute(f"SET {name} = {value}")
        try:
            yield
        finally:
            for name in milliseconds:
                op.execute(f"SET {name} = {self.policy.limits()[name]}")

    def quote(self, *names: str) -> str:
        """Return the names as SQL identifiers. Raises MigrationError if PostgreSQL would truncate one."""
        for name in names:
            if len(name.encode()) > MAX_IDENTIFIER_BYTES:
                raise MigrationError(f"the name {name} is longer than {MAX_IDENTIFIER_BYTES} bytes; use a shorter one")
        return ", ".join(self.context.dialect.identifier_preparer.quote(name) for name in names)

    def _completed_work(self) -> str:
        steps = f" and {self._completed_steps} of its steps" if self._completed_steps else ""
        return f"the statements before it{steps} are kept; run the migration again to continue"

    def _run(
        self, statement: str | Executable, limits: dict[str, int], before: Callable[[], str | None] = lambda: None
    ) -> None:
        self.running.require_lock()
        executable = literal_text(statement) if isinstance(statement, str) else statement

        def attempt() -> None:
            if (first := before()) is not None:
                op.execute(literal_text(first))
            op.execute(executable)

        with self.limited(**limits):
            self._retry(attempt)
        self._completed_steps += 1

    def _retry(self, attempt: Callable[[], T], tables: list[str] | None = None) -> T:
        return retry_on_lock_timeout(
            self.context,
            attempt,
            current_step=lambda: self._current_step,
            completed_work=self._completed_work,
            tables=tables,
        )


@contextmanager
def steps(current_step: str) -> Iterator[StepRunner]:
    """Commit the revision's transaction, and yield a runner for steps outside it."""
    context = op.get_context()
    running_revision(context).commits = True
    with statements_from(StatementOrigin.SAFE_OPERATION), context.autocommit_block():
        yield StepRunner(context, current_step)


def literal_text(statement: str) -> TextClause:
    """Return a statement without parameters; a colon in it is plain text."""
    return text(escape_colons(statement))


def escape_colons(sql: str) -> str:
    """Return SQL for `sqlalchemy.text` in which a colon is plain text."""
    return sql.replace(":", r"\:")


def quote_literal(value: str) -> str:
    """Return a string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"

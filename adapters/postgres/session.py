"""The connection of one unit of work. Reads are executed immediately, writes are deferred.

Every write checks the version that it changes, so reads before the first write need no transaction: at READ COMMITTED,
PostgreSQL's default, each statement has a separate snapshot in any case. A unit of work with one write is a single
atomic statement, and saves the round trips of BEGIN and COMMIT. Two writes, or a read after a write, start a
transaction. Without prepared statements all statements are in a transaction, because a pooler in transaction mode could
execute the parts of one statement on different connections.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, LiteralString, NamedTuple, cast

from sqlalchemy import ClauseElement, Integer, Interval, TableClause, bindparam, text
from sqlalchemy.sql import visitors
from typing_extensions import override

from adapters.exception_summary import TABLES_NOTE
from adapters.postgres.coalescing import CoalescedStatement, Coalescer
from adapters.postgres.drivers import Row
from adapters.postgres.event_loop_fairness import SMALL_PAGE_ROWS
from adapters.postgres.pool import Backend, Database, PooledConnection
from adapters.postgres.sqlstate import (
    INTEGRITY_CONSTRAINT_VIOLATION,
    NO_CONSTRAINTS,
    SERVER_REJECTIONS,
    ConstraintErrors,
    sqlstate_of,
    to_port_error,
)
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import (
    CommitFailedError,
    CommitResultUnknownError,
    ConcurrentUpdateError,
    StorageFailedError,
    StorageTimeoutError,
    StorageUnavailableError,
)

TERMINATION_TIMEOUT_MS = 1000
"""The time limit for the end of the backend of a lost connection."""

# A later backend can have the same process ID. The minute is a tolerance for clocks that run at different speeds.
_TERMINATE = text(
    f"SELECT pg_terminate_backend(pid, {TERMINATION_TIMEOUT_MS}) FROM pg_stat_activity WHERE pid = :pid"  # noqa: S608
    " AND usename = current_user AND backend_start < clock_timestamp() - :age + interval '1 minute'"
).bindparams(bindparam("pid", type_=Integer), bindparam("age", type_=Interval))


async def raise_concurrent_update() -> None:
    """Raise ConcurrentUpdateError: the version that a write changes is not stored."""
    raise ConcurrentUpdateError


Statement = ClauseElement | CoalescedStatement


@cache
def _table_names(statement: ClauseElement) -> str:
    return ", ".join(sorted({node.name for node in visitors.iterate(statement) if isinstance(node, TableClause)}))


class Write(NamedTuple):
    """A statement that returns a row per written row, and the function to call if it returns no row."""

    statement: Statement
    parameters: Mapping[str, Any]
    on_no_row: Callable[[], Awaitable[None]] | None


class PgSession:
    """A connection, which is taken from the pool at the first statement and released at the end.

    The session has the time limit of one attempt. After it, the client aborts the connection, so that the driver fails
    at once: a frozen server neither responds nor closes the connection.

    A coalesced statement needs no connection if it is the only write of the session, or a read before the first
    statement that needs one.
    """

    def __init__(
        self,
        database: Database,
        *,
        readonly: bool,
        constraints: ConstraintErrors = NO_CONSTRAINTS,
        coalescer: Coalescer | None = None,
    ) -> None:
        self._database = database
        self._constraints = constraints
        self._readonly = readonly
        self._coalescer = coalescer
        self._begin_command = database.begin_command
        self._due: float | None = None
        self._connection: PooledConnection | None = None
        self._writes: list[Write] = []
        self._begun = False
        self._broken = False
        self._timed_out = False
        self._failure: Exception | None = None

    async def fetch(
        self, statement: Statement, parameters: Mapping[str, Any], *, writes: bool = False
    ) -> Sequence[Row]:
        """Execute a statement immediately, and return its rows. Its error is kept for `end`.

        If it writes, it is executed in the transaction of the unit of work.
        """
        if writes:
            self._require_writable()
        try:
            if writes or self._writes:
                await self._flush(in_transaction=True)
            rows = await self.execute(statement, parameters)
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else StorageUnavailableError()
            raise
        if len(rows) > SMALL_PAGE_ROWS:
            await self._database.scheduler.wait(len(rows))
        return rows

    def write(
        self,
        statement: Statement,
        parameters: Mapping[str, Any],
        on_no_row: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Defer a statement that writes. `on_no_row` is called if it writes no row, and may raise."""
        self._require_writable()
        self._writes.append(Write(statement, parameters, on_no_row))

    async def end_backends(self, backends: Sequence[Backend]) -> None:
        """Terminate the backends of lost connections, because they may still receive statements and hold locks.

        A connection pooler hides the process IDs. With it, all writes are in transactions: an insert waits for an
        earlier attempt to insert the same row.
        """
        if self._database.options.prepared_statements:
            for backend in backends:
                parameters = {"pid": backend.pid, "age": self._database.age_of(backend)}
                if any(not has_ended for (has_ended,) in await self.fetch(_TERMINATE, parameters)):
                    raise StorageUnavailableError

    async def end(self, *, commit: bool) -> None:
        """Commit after the deferred writes or roll back, and release the connection.

        A commit raises an earlier error of the session again, if the block suppressed it: PostgreSQL would execute
        COMMIT as a rollback, without an error. A rollback raises no database error.
        """
        try:
            if commit:
                if self._failure is not None:
                    raise self._failure
                if self._writes:
                    await self._flush(in_transaction=len(self._writes) > 1)
                if self._begun:
                    self._begun = False
                    await self.execute("COMMIT", {}, is_commit=True)
        finally:
            await self._release()

    def _require_writable(self) -> None:
        if self._readonly:
            raise RuntimeError("This unit of work is read-only.")

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self.execute(self._begin_command, {})

    async def _flush(self, *, in_transaction: bool) -> None:
        """Send the deferred writes. Without a transaction, each of them commits."""
        if in_transaction:
            await self._begin()
        writes, self._writes = self._writes, []
        for write in writes:
            rows = await self.execute(write.statement, write.parameters, is_commit=True)
            if not rows and write.on_no_row is not None:
                await write.on_no_row()

    async def connect(self, due: float, max_wait: float | None = None) -> None:
        """Take a connection from the pool within `max_wait` seconds, and abort it at the event-loop time `due`.

        The default of `max_wait` is `pool_timeout`, or the time until `due` if that is shorter: a caller may have
        waited for a shared statement before.
        """
        if max_wait is None:
            max_wait = min(self._database.options.pool_timeout, due - asyncio.get_running_loop().time())
        self._connection = await self._database.connect(due, max_wait)
        self._database.deadlines.add(self._abort, due)
        if not self._database.options.prepared_statements:
            await self._begin()

    async def execute(
        self, statement: Statement | LiteralString, parameters: Mapping[str, Any], *, is_commit: bool = False
    ) -> Sequence[Row]:
        """Execute a statement or a command. `is_commit` is True if it commits, unless a transaction has started."""
        database = self._database
        if self._connection is None:
            if self._due is None:
                self._due = asyncio.get_running_loop().time() + database.options.attempt_timeout
            if isinstance(statement, CoalescedStatement) and self._coalescer and (is_commit or not statement.is_write):
                rows = await self._coalescer.execute(statement, parameters, self._due)
                if rows is not None:
                    return rows
            await self.connect(self._due)
        connection = cast("PooledConnection", self._connection)
        if isinstance(statement, CoalescedStatement):
            statement = statement.one
        try:
            if isinstance(statement, str):
                await database.driver.execute(connection.driver_connection, statement)
                return []
            return await database.driver.fetch(connection.driver_connection, statement, parameters)
        except BaseException as error:
            if isinstance(statement, ClauseElement):
                error.add_note(TABLES_NOTE + _table_names(statement))
            self._handle_error(connection, error, is_commit=is_commit and not self._begun)
            raise

    def _abort(self) -> None:
        if self._connection is not None:
            self._timed_out = self._broken = self._database.is_silent = True
            self._database.driver.abort(self._connection.driver_connection)

    def _handle_error(self, connection: PooledConnection, error: BaseException, *, is_commit: bool) -> None:
        """Mark the connection as broken if needed, and raise the port error of a driver error, if any."""
        state = sqlstate_of(error) or ""
        self._broken = self._broken or not state.startswith(INTEGRITY_CONSTRAINT_VIOLATION)
        if isinstance(error, Exception):
            self._database.report_error(error)
            lost = self._timed_out or self._database.driver.is_closed(connection.driver_connection)
            port_error = to_port_error(error, connection_lost=lost, constraints=self._constraints)
            is_unavailable = isinstance(port_error, StorageUnavailableError)
            # asyncpg raises AttributeError if its connection is aborted between two messages.
            if self._timed_out and (is_unavailable or port_error is None):
                port_error = StorageTimeoutError()
                port_error.lost_connection = connection.backend
                raise port_error from error
            if is_unavailable and is_commit and state not in SERVER_REJECTIONS:
                is_failure = isinstance(port_error, StorageFailedError)
                port_error = CommitFailedError() if is_failure else CommitResultUnknownError()
            if isinstance(port_error, StorageFailedError):
                self._database.failures.report(state)
            elif isinstance(port_error, StorageUnavailableError):
                port_error.lost_connection = connection.backend
            if port_error is not None:
                raise port_error from error

    async def _release(self) -> None:
        """Roll back an open transaction, and return the connection to the pool. Raises no database error."""
        if self._connection is None:
            return
        try:
            if self._begun and not self._broken:
                with suppress(Exception):
                    await self.execute("ROLLBACK", {})
        finally:
            connection, self._connection = self._connection, None
            self._database.deadlines.remove(self._abort)
            if self._broken or not self._database.driver.is_idle(connection.driver_connection):
                await self._database.discard(connection)
            else:
                self._database.release(connection)


class PgSnapshot(PgSession):
    """A session that reads one state of the database. The time limit applies to each statement."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, readonly=True)
        self._begin_command = database.begin_snapshot_command

    @override
    async def connect(self, due: float, max_wait: float | None = None) -> None:
        await super().connect(due, max_wait)
        await self._begin()

    @override
    async def execute(
        self, statement: Statement | LiteralString, parameters: Mapping[str, Any], *, is_commit: bool = False
    ) -> Sequence[Row]:
        database = self._database
        if self._connection is not None:
            due = asyncio.get_running_loop().time() + database.options.attempt_timeout
            database.deadlines.add(self._abort, due)
        try:
            return await super().execute(statement, parameters, is_commit=is_commit)
        finally:
            database.deadlines.remove(self._abort)


class PgRepository:
    """A repository that uses the session of a unit of work."""

    def __init__(self, session: PgSession, actor: Principal = SYSTEM_PRINCIPAL) -> None:
        self._session = session
        self._actor = actor

    @property
    def actor_values(self) -> dict[str, Any]:
        """The parameters of an audit entry that name the actor."""
        actor = self._actor
        return {"actor_kind": str(actor.kind), "actor_id": actor.api_key_id, "request_id": actor.request_id}

    async def _fetch_value(self, statement: Statement, **parameters: Any) -> Any:
        """Return the only value of a query."""
        ((value,),) = await self._session.fetch(statement, parameters)
        return value

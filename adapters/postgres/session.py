"""The connection of one unit of work. Reads are executed immediately, writes are deferred.

Every write checks the version that it changes, so reads before the first write need no transaction: at READ COMMITTED,
PostgreSQL's default, each statement has a separate snapshot in any case. A unit of work with one write is a single
atomic statement, and saves the round trips of BEGIN and COMMIT. Two writes, or a read after a write, start a
transaction. Without prepared statements all statements are in a transaction, because a pooler in transaction mode could
execute the parts of one statement on different connections.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from sqlalchemy import ClauseElement, PoolProxiedConnection

from adapters.postgres.drivers import Row
from adapters.postgres.event_loop_fairness import SMALL_PAGE_ROWS
from adapters.postgres.pool import Database
from adapters.postgres.sqlstate import (
    NO_CONSTRAINTS,
    ConstraintErrors,
    is_integrity_error,
    is_server_rejection,
    to_port_error,
)
from application.ports import (
    CommitResultUnknownError,
    ConcurrentUpdateError,
    StorageTimeoutError,
    StorageUnavailableError,
)


async def raise_concurrent_update() -> None:
    """Raise ConcurrentUpdateError: the version that a write changes is not stored."""
    raise ConcurrentUpdateError


@dataclass(frozen=True, slots=True)
class Write:
    """A statement that returns a row per written row, and the function to call if it returns no row."""

    statement: ClauseElement
    parameters: Mapping[str, Any]
    on_no_row: Callable[[], Awaitable[None]] | None


class PgSession:
    """A connection, which is taken from the pool at the first statement and released at the end.

    The session has the time limit of one attempt. After it, the client aborts the connection, so that the driver fails
    at once: a frozen server neither responds nor closes the connection.
    """

    __slots__ = (
        "_begun",
        "_broken",
        "_connection",
        "_constraints",
        "_database",
        "_failure",
        "_readonly",
        "_timed_out",
        "_timer",
        "_writes",
    )

    def __init__(self, database: Database, *, readonly: bool, constraints: ConstraintErrors = NO_CONSTRAINTS) -> None:
        self._database = database
        self._constraints = constraints
        self._readonly = readonly
        self._connection: PoolProxiedConnection | None = None
        self._writes: list[Write] = []
        self._begun = False
        self._broken = False
        self._timed_out = False
        self._failure: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any], *, in_transaction: bool = False
    ) -> Sequence[Row]:
        """Execute a statement immediately, and return its rows. Its error is kept for `commit`."""
        try:
            if in_transaction or self._writes:
                await self._flush()
            rows = await self._fetch(statement, parameters)
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else StorageUnavailableError()
            raise
        if len(rows) > SMALL_PAGE_ROWS:
            await self._database.scheduler.wait()
        return rows

    def write(
        self,
        statement: ClauseElement,
        parameters: Mapping[str, Any],
        on_no_row: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Defer a statement that writes. `on_no_row` is called if it writes no row, and may raise."""
        self._require_writable()
        self._writes.append(Write(statement, parameters, on_no_row))

    async def write_immediately(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Execute a statement that writes, and return its rows. The writes are committed with the unit of work."""
        self._require_writable()
        return await self.fetch(statement, parameters, in_transaction=True)

    async def commit(self) -> None:
        """Send the deferred writes, commit, and release the connection.

        Raises an earlier error of the session again, if the block suppressed it: PostgreSQL would execute COMMIT as a
        rollback, without an error.
        """
        if self._failure is not None:
            raise self._failure
        if len(self._writes) == 1 and not self._begun:
            await self._send(self._writes.pop(), is_commit=True)
        elif self._writes:
            await self._flush()
        if self._begun:
            await self._execute("COMMIT", is_commit=True)
            self._begun = False
        await self._release()

    async def rollback(self) -> None:
        """Roll back, and release the connection. Raises no database error."""
        try:
            if self._begun and self._connection is not None and not self._broken:
                await self._execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - closing the connection rolls back too
            self._broken = True
        except BaseException:
            self._broken = True
            raise
        finally:
            await self._release()

    def _require_writable(self) -> None:
        if self._readonly:
            raise RuntimeError("This unit of work is read-only.")

    async def _flush(self) -> None:
        await self._begin()
        writes, self._writes = self._writes, []
        for write in writes:
            await self._send(write)

    async def _send(self, write: Write, *, is_commit: bool = False) -> None:
        rows = await self._fetch(write.statement, write.parameters, is_commit=is_commit)
        if not rows and write.on_no_row is not None:
            await write.on_no_row()

    async def _fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any], *, is_commit: bool = False
    ) -> Sequence[Row]:
        """Execute a statement. `is_commit` is True if it commits by itself, unless a transaction has started."""
        connection = self._connection
        if connection is None:
            connection = await self._connect()
        try:
            return await self._database.driver.fetch(connection.driver_connection, statement, parameters)
        except BaseException as error:
            self._handle_error(connection, error, is_commit=is_commit and not self._begun)
            raise

    async def _execute(self, command: LiteralString, *, is_commit: bool = False) -> None:
        connection = self._connection or await self._connect()
        try:
            await self._database.driver.execute(connection.driver_connection, command)
        except BaseException as error:
            self._handle_error(connection, error, is_commit=is_commit)
            raise

    async def _connect(self) -> PoolProxiedConnection:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._database.options.attempt_timeout
        connection = self._connection = await self._database.connect()
        self._timer = loop.call_at(due, self._abort, connection)
        if not self._database.options.prepared_statements:
            await self._begin()
        return connection

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._execute(self._database.begin_command)

    def _abort(self, connection: PoolProxiedConnection) -> None:
        self._timed_out = self._broken = True
        self._database.driver.abort(connection.driver_connection)

    def _handle_error(self, connection: PoolProxiedConnection, error: BaseException, *, is_commit: bool) -> None:
        """Mark the connection as broken if needed, and raise the port error of a driver error, if any."""
        self._broken = self._broken or not is_integrity_error(error)
        if isinstance(error, Exception):
            self._database.report_error(error)
            lost = self._database.driver.is_closed(connection.driver_connection)
            port_error = to_port_error(error, connection_lost=lost or self._timed_out, constraints=self._constraints)
            if isinstance(port_error, StorageUnavailableError):
                if self._timed_out:
                    raise StorageTimeoutError from error
                if is_commit and not is_server_rejection(error):
                    raise CommitResultUnknownError from error
            if port_error is not None:
                raise port_error from error

    async def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._broken or not self._database.driver.is_idle(connection.driver_connection):
            await self._database.discard(connection)
        else:
            self._database.release(connection)


class PgRepository:
    """A repository that uses the session of a unit of work."""

    def __init__(self, session: PgSession) -> None:
        self._session = session

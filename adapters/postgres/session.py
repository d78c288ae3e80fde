"""One unit of work's hold on a connection: reads at once, writes late.

Every write names the version it builds upon, so reads before the first write need no transaction around them: at READ
COMMITTED, PostgreSQL's default, each statement sees its own snapshot either way. A unit of work of one write is then
one statement, which is atomic by itself, and spares the round trips of BEGIN and COMMIT. Two writes, or a read after a
write, begin a transaction. Without prepared statements everything is in a transaction, because a pooler that hands out
server connections by transaction could otherwise part the halves of one statement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from sqlalchemy import ClauseElement, PoolProxiedConnection

from adapters.postgres.database import Database
from adapters.postgres.drivers import Row
from adapters.postgres.errors import NO_CONSTRAINTS, ConstraintErrors, is_integrity_error, is_refusal, translated
from adapters.postgres.turns import FEW
from application.ports import (
    AcknowledgementLostError,
    ConcurrentChangeError,
    StorageSilentError,
    StorageUnavailableError,
)


async def refuse_stale() -> None:
    """Raise ConcurrentChangeError: what a write builds upon is not there any more."""
    raise ConcurrentChangeError


@dataclass(frozen=True, slots=True)
class Write:
    """A statement that returns a row when it wrote one, and what is to be done when it returns none."""

    statement: ClauseElement
    parameters: Mapping[str, Any]
    when_nothing: Callable[[], Awaitable[None]] | None


class Session:
    """A connection, taken from the pool at the first statement and handed back at the end.

    All of it has the time of one attempt. Then the connection is broken off from this side, so that the driver fails
    at once, whatever it waits for: a server that is frozen neither answers nor hangs up.
    """

    __slots__ = (
        "_begun",
        "_broken",
        "_connection",
        "_constraints",
        "_database",
        "_failure",
        "_is_late",
        "_readonly",
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
        self._is_late = False
        self._failure: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def fetch(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows of a statement that only reads."""
        rows = await self._at_once(statement, parameters, in_transaction=bool(self._writes))
        if len(rows) > FEW:
            await self._database.turns.wait()
        return rows

    def write(
        self,
        statement: ClauseElement,
        parameters: Mapping[str, Any],
        when_nothing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Keep a statement until it has to be sent; `when_nothing` is called when it wrote no row, and may raise."""
        self._require_writable()
        self._writes.append(Write(statement, parameters, when_nothing))

    async def write_at_once(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows of a statement that writes; what it wrote lasts when the unit of work does."""
        self._require_writable()
        return await self._at_once(statement, parameters, in_transaction=True)

    async def commit(self) -> None:
        """Send what waits, make it last, and hand the connection back.

        Raises the error again that the block met and did not let through: PostgreSQL would answer COMMIT with a
        rollback, and no error.
        """
        if self._failure is not None:
            raise self._failure
        if len(self._writes) == 1 and not self._begun:
            await self._send(self._writes.pop(), lasts=True)
        elif self._writes:
            await self._flush()
        if self._begun:
            await self._run("COMMIT", lasts=True)
            self._begun = False
        await self._hand_back()

    async def rollback(self) -> None:
        """Undo what was sent, and hand the connection back. Raises nothing of the database's."""
        try:
            if self._begun and self._connection is not None and not self._broken:
                await self._run("ROLLBACK")
        except Exception:  # noqa: BLE001 - what is undone is undone by the end of the connection, too
            self._broken = True
        except BaseException:
            self._broken = True
            raise
        finally:
            await self._hand_back()

    def _require_writable(self) -> None:
        if self._readonly:
            raise RuntimeError("This unit of work only reads.")

    async def _at_once(
        self, statement: ClauseElement, parameters: Mapping[str, Any], *, in_transaction: bool
    ) -> Sequence[Row]:
        """Return the rows of a statement that does not wait, and note its failure for the end."""
        try:
            if in_transaction:
                await self._flush()
            return await self._fetch(statement, parameters)
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else StorageUnavailableError()
            raise

    async def _flush(self) -> None:
        await self._begin()
        writes, self._writes = self._writes, []
        for write in writes:
            await self._send(write)

    async def _send(self, write: Write, *, lasts: bool = False) -> None:
        rows = await self._fetch(write.statement, write.parameters, lasts=lasts)
        if not rows and write.when_nothing is not None:
            await write.when_nothing()

    async def _fetch(
        self, statement: ClauseElement, parameters: Mapping[str, Any], *, lasts: bool = False
    ) -> Sequence[Row]:
        """Return the rows of a statement; `lasts` says that what it writes is stored with it unless one has begun."""
        connection = self._connection
        if connection is None:
            connection = await self._connect()
        try:
            return await self._database.driver.fetch(connection.driver_connection, statement, parameters)
        except BaseException as error:
            self._failed(connection, error, lasts=lasts and not self._begun)
            raise

    async def _run(self, command: LiteralString, *, lasts: bool = False) -> None:
        connection = self._connection or await self._connect()
        try:
            await self._database.driver.run(connection.driver_connection, command)
        except BaseException as error:
            self._failed(connection, error, lasts=lasts)
            raise

    async def _connect(self) -> PoolProxiedConnection:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._database.options.attempt_timeout
        connection = self._connection = await self._database.connect()
        self._timer = loop.call_at(due, self._break_off, connection)
        if not self._database.options.prepared_statements:
            await self._begin()
        return connection

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._run(self._database.begin)

    def _break_off(self, connection: PoolProxiedConnection) -> None:
        self._is_late = self._broken = True
        self._database.driver.break_off(connection.driver_connection)

    def _failed(self, connection: PoolProxiedConnection, error: BaseException, *, lasts: bool) -> None:
        """Decide what an error means for the connection, and raise the error of a port when it means one."""
        self._broken = self._broken or not is_integrity_error(error)
        if isinstance(error, Exception):
            self._database.failed(error)
            lost = self._database.driver.is_closed(connection.driver_connection)
            meaning = translated(error, connection_lost=lost or self._is_late, constraints=self._constraints)
            if isinstance(meaning, StorageUnavailableError):
                if self._is_late:
                    raise StorageSilentError from error
                if lasts and not is_refusal(error):
                    raise AcknowledgementLostError from error
            if meaning is not None:
                raise meaning from error

    async def _hand_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._broken or not self._database.driver.is_idle(connection.driver_connection):
            await self._database.discard(connection)
        else:
            self._database.hand_back(connection)

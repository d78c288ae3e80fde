"""The pool of connections to one database."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, LiteralString, cast

import psycopg
import structlog
from sqlalchemy import URL, AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from adapters.postgres.drivers import DRIVERS, Driver
from adapters.postgres.errors import sqlstate_of
from adapters.postgres.observed import NO_SQLSTATE, ErrorObserver, PoolUsage, StatementObserver, ignore, made_driver
from adapters.postgres.turns import Turns
from application.ports import StorageOverloadedError, StorageSilentError, StorageUnavailableError, TransientError

DISCARD_SECONDS = 0.1
"""How long is waited for the end of a connection: a server that is frozen says nothing to it."""

_WORK_MEMORY = "32MB"
"""For what words were found in: 500,000 pages of posts. Past that, the words of each post on a page are worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How the database is used. Times are in seconds."""

    pool_size: int = 10
    pool_timeout: float = 2.0
    connect_timeout: float = 2.0
    attempt_timeout: float = 2.25
    """Of a unit of work, however many statements it has; the server may not be there to end them."""
    statement_timeout: float = 2.0
    idle_in_transaction_timeout: float = 10.0
    prepared_statements: bool = True
    """False for a connection pooler that hands out a server connection for each transaction, as PgBouncer can."""

    @property
    def server_settings(self) -> Mapping[str, str]:
        """What the server is to do for the service, unlike for migrations; times are in ms, and 0 means never."""
        return {
            "statement_timeout": str(max(1, round(self.statement_timeout * 1000))),
            "idle_in_transaction_session_timeout": str(max(1, round(self.idle_in_transaction_timeout * 1000))),
            "work_mem": _WORK_MEMORY,
        }


class Database:
    """A database and its pool. Nothing is connected before it is needed; `close` ends all."""

    def __init__(
        self,
        url: URL,
        options: DatabaseOptions,
        *,
        errors: ErrorObserver = ignore,
        statements: StatementObserver | None = None,
    ) -> None:
        self.options = options
        self._errors = errors
        self._waiting = 0
        # Whether no connection could be opened for who asked last.
        self._has_failed = False
        self._engine = _engine(url, options)
        self.driver: Driver = made_driver(self._engine.dialect, statements)
        # Who waits for a connection waits here: the wait inside the pool costs a task each.
        self._places = asyncio.Semaphore(options.pool_size)
        self._discarding: set[asyncio.Task[None]] = set()
        self.turns = Turns()
        """For pages of rows, which take long to work on."""
        self.begin = _begin(options)
        """The command that begins a transaction."""

    async def connect(self) -> PoolProxiedConnection:
        """Return a connection out of the pool; the caller hands it back or discards it.

        Raises StorageOverloadedError when none is free in time, StorageUnavailableError when none can be made,
        StorageSilentError when that takes too long.
        """
        if not self._places.locked():
            await self._places.acquire()
            return await self._connection()
        loop = asyncio.get_running_loop()
        due = loop.time() + self.options.attempt_timeout
        await self._wait_for_place()
        try:
            async with asyncio.timeout_at(due):
                return await self._connection()
        except TimeoutError:  # for want of time after the wait: the database had less than its `connect_timeout`
            raise StorageOverloadedError from None

    async def _connection(self) -> PoolProxiedConnection:
        try:
            connection = await self._engine.raw_connection()
        except BaseException as error:
            self._places.release()
            if isinstance(error, self._engine.dialect.loaded_dbapi.Error | OSError):
                self._unopened(error)
                if isinstance(error, TimeoutError | psycopg.errors.ConnectionTimeout):
                    raise StorageSilentError from error
                raise StorageUnavailableError from error
            raise
        self._has_failed = False
        return connection

    def _unopened(self, error: BaseException) -> None:
        self._has_failed = True
        self.failed(error)

    async def opens(self) -> bool:
        """Tell whether connections can be opened, as far as is known; when the last one could not, try again."""
        if self._has_failed and not self._places.locked():
            with suppress(TransientError):
                self.hand_back(await self.connect())
        return not self._has_failed

    async def warm(self) -> int:
        """Open every connection that there is room for, ahead of those who need them; return how many there are."""
        asked = [self.connect() for _ in range(self.options.pool_size)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        opened = [answer for answer in answers if not isinstance(answer, BaseException)]
        for connection in opened:
            self.hand_back(connection)
        return len(opened)

    def beside(self) -> "Database":
        """Return another pool of one connection to the same database, for what must not wait behind requests."""
        return Database(self._engine.url, replace(self.options, pool_size=1))

    async def _wait_for_place(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self.options.pool_timeout):
                await self._places.acquire()
        except TimeoutError:
            raise StorageOverloadedError from None
        finally:
            self._waiting -= 1

    @property
    def usage(self) -> PoolUsage:
        """How much of the pool is in use."""
        pool = cast("AsyncAdaptedQueuePool", self._engine.pool)
        return PoolUsage(self.options.pool_size, pool.checkedout(), self._waiting)

    def failed(self, error: BaseException) -> None:
        """Tell who watches of an error of the driver."""
        self._errors(sqlstate_of(error) or NO_SQLSTATE)

    def hand_back(self, connection: PoolProxiedConnection) -> None:
        """Put a connection that is idle back into the pool."""
        connection.close()
        self._places.release()

    async def discard(self, connection: PoolProxiedConnection) -> None:
        """Break a connection off, and free its place in the pool.

        What the server is still at for it is cancelled there, even when the caller is cancelled again meanwhile, or
        has waited long enough: otherwise the statement would run on and keep its locks.
        """
        # SQLAlchemy closes a connection in its greenlet only; elsewhere it drops it.
        task = asyncio.create_task(greenlet_spawn(connection.invalidate))
        self._discarding.add(task)
        task.add_done_callback(self._discarded)
        await asyncio.wait([task], timeout=DISCARD_SECONDS)

    def _discarded(self, task: asyncio.Task[None]) -> None:
        self._discarding.discard(task)
        self._places.release()
        if not task.cancelled() and task.exception() is not None:
            structlog.get_logger("hexapost").debug("a connection broke off", error=type(task.exception()).__name__)

    async def close(self) -> None:
        """Close every connection that is in the pool; one whose server is silent is broken off."""
        await asyncio.gather(*self._discarding, return_exceptions=True)
        for _ in range(self.options.pool_size):
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS):
                    await self._engine.dispose()
                    return


def _begin(options: DatabaseOptions) -> LiteralString:
    if options.prepared_statements:
        return "BEGIN"
    # A connection that is not ours alone has the settings of whoever had it before.
    settings = {"timezone": "UTC", **options.server_settings}
    local = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())
    return f"BEGIN{local}"


def _close(driver: type[Driver], connecting: asyncio.Task[Any]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        driver.end(connecting.result())


def _engine(url: URL, options: DatabaseOptions) -> AsyncEngine:
    driver = DRIVERS[url.get_dialect().driver]

    async def connect(*args: Any, **arguments: Any) -> Any:
        # The drivers count anew for each address of a host.
        async with asyncio.timeout(options.connect_timeout):
            return await driver.connect(*args, **arguments)

    async def connect_or_close(*args: Any, **arguments: Any) -> Any:
        # psycopg forgets a connection that is cancelled half way, without closing it.
        connecting = asyncio.create_task(connect(*args, **arguments))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(lambda done: _close(driver, done))
            raise

    return create_async_engine(
        url,
        # The connection that was used last is the warmest, and the spare ones can be closed by what stands between.
        pool_use_lifo=True,
        pool_size=options.pool_size,
        max_overflow=0,
        # Only idle connections are handed back, so there is nothing to reset and no round trip to spend on it.
        pool_reset_on_return=None,
        # Transactions are begun and ended by the session, in words.
        isolation_level="AUTOCOMMIT",
        connect_args=driver.connect_args(
            prepared_statements=options.prepared_statements,
            connect_timeout=options.connect_timeout,
            server_settings=options.server_settings,
        )
        | {"async_creator_fn": connect_or_close},
    )

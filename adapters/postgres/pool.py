"""The connection pool of one database."""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any, LiteralString, NamedTuple, cast

import structlog
from sqlalchemy import URL, AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from adapters.deadline_timer import DeadlineTimer
from adapters.postgres.connect_errors import ConnectError
from adapters.postgres.connector import Connector
from adapters.postgres.drivers import Driver, StatementObserver, create_driver
from adapters.postgres.event_loop_fairness import FairScheduler
from adapters.postgres.server_failures import ServerFailures
from adapters.postgres.slots import Slots
from adapters.postgres.sqlstate import sqlstate_of
from application.ports import StorageBusyError, StorageTimeoutError, StorageUnavailableError, TransientStorageError

DISCARD_TIMEOUT_SECONDS = 0.1
"""The time limit of closing a connection: a frozen server does not respond."""

_READ_ONLY_SQL_TRANSACTION = "25006"
_WORK_MEMORY = "32MB"
"""For the bitmap of a search: 500,000 pages of posts. Above it, PostgreSQL reads the tokens of each post on a page."""

ErrorObserver = Callable[[str], None]
"""Receives the SQLSTATE of each database error, or `NO_SQLSTATE`."""

LIFETIME_JITTER = (0.8, 1.0)
"""The range of the random factor of the maximum times of a connection, so that not all connections expire together."""

NO_SQLSTATE = "none"
"""The value for an error without SQLSTATE: the connection was lost, or could not be opened."""


class Backend(NamedTuple):
    """The server process of a connection, and the time when the connection was opened, of a monotonic clock."""

    pid: int
    opened_at: float


class PoolUsage(NamedTuple):
    """The size of the pool, the connections in use, and the units of work that wait for a connection."""

    size: int
    in_use: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """The options of the connection pool. Times are in seconds."""

    pool_size: int = 10
    pool_timeout: float = 2.0
    connect_timeout: float = 2.0
    max_lifetime: float = 1800.0
    """Of a connection. A connection in use is closed later. 0 means no limit."""
    max_idle: float = 600.0
    """Of an unused connection. 0 means no limit."""
    attempt_timeout: float = 2.25
    """Of a whole unit of work. The client enforces it, because a frozen server cannot."""
    statement_timeout: float = 2.0
    idle_in_transaction_timeout: float = 10.0
    prepared_statements: bool = True
    """False for a connection pooler in transaction mode, such as PgBouncer."""

    @property
    def server_settings(self) -> Mapping[str, str]:
        """The server settings of the service, which migrations do not use. Times are in ms; 0 means no limit."""
        return {
            "statement_timeout": str(max(1, round(self.statement_timeout * 1000))),
            "idle_in_transaction_session_timeout": str(max(1, round(self.idle_in_transaction_timeout * 1000))),
            "work_mem": _WORK_MEMORY,
        }


@dataclass(slots=True, eq=False)
class PooledConnection:
    """An open connection of a pool. Times are in seconds of a monotonic clock."""

    proxy: PoolProxiedConnection
    """The connection as SQLAlchemy's pool manages it."""
    driver_connection: Any
    backend: Backend
    ends_at: float
    max_idle: float
    idle_since: float | None = None
    """None while the connection is in use."""

    def has_expired(self, now: float) -> bool:
        """Return True if the connection is not in use and is too old or unused for too long."""
        return self.idle_since is not None and (now >= self.ends_at or now - self.idle_since >= self.max_idle)


class Database:
    """A database and its connection pool. Connections are opened on first use; `close` closes all of them.

    A connection that has expired is replaced when a caller takes it from the pool. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        url: URL,
        options: DatabaseOptions,
        *,
        errors: ErrorObserver = lambda _: None,
        statements: StatementObserver | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.options = options
        self._clock = clock
        self._connections: set[PooledConnection] = set()
        # Idle connections. SQLAlchemy's pool opens and closes them, but its checkout costs 18 µs per unit of work.
        # LIFO: the last used connection has the warmest caches, and proxies can close idle ones.
        self._idle: list[PooledConnection] = []
        self._errors = errors
        self.failures = ServerFailures(clock)
        """The last failure of the server."""
        self.is_silent = False
        """True if a statement got no response in time and no connection was opened since."""
        self.connect_error: ConnectError | None = None
        """The error of the last attempt to open a connection, None if it succeeded."""
        self._url = url
        self._connector = Connector(
            url,
            connect_timeout=options.connect_timeout,
            prepared_statements=options.prepared_statements,
            server_settings=options.server_settings,
        )
        self._engine = _create_engine(self._connector, options)
        self.driver: Driver = create_driver(self._engine.dialect, statements)
        self._discarding: set[asyncio.Task[None]] = set()
        self.scheduler = FairScheduler()
        """Limits the decoding of large results per event-loop iteration."""
        self.deadlines = DeadlineTimer()
        """Aborts the sessions that exceed `attempt_timeout`."""
        # Callers wait here: a wait inside the pool costs a task each.
        self._slots = Slots(options.pool_size, self.deadlines)
        self.begin_command: LiteralString = "BEGIN"
        """The command that starts a transaction."""
        self.begin_snapshot_command: LiteralString = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        """The command that starts a transaction in which all statements read the same state."""
        if not options.prepared_statements:
            # A shared connection can have the settings of a previous client.
            settings = [(name, value.replace("'", "''")) for name, value in self._connector.server_settings.items()]
            values = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings)
            self.begin_command = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {values}"
            self.begin_snapshot_command = f"{self.begin_snapshot_command}; SELECT {values}"

    async def connect(self, due: float | None = None, max_wait: float | None = None) -> PooledConnection:
        """Return a connection from the pool after at most `max_wait` seconds. The caller releases or discards it.

        After a wait, no connection is opened after the event-loop time `due`, by default `attempt_timeout` later. The
        default of `max_wait` is `pool_timeout`.

        Raises StorageBusyError if no connection becomes free in time, StorageUnavailableError if none can be
        opened, and StorageTimeoutError if in addition the server does not respond on an open connection. A connect
        timeout alone can be that of a proxy during a failover, after which a retry succeeds.
        """
        due = due or asyncio.get_running_loop().time() + self.options.attempt_timeout
        has_waited = self._slots.are_occupied
        try:
            await self._slots.acquire(self.options.pool_timeout if max_wait is None else max_wait)
        except TimeoutError:
            raise StorageBusyError from None
        if not has_waited or (self._idle and not self._idle[-1].has_expired(self._clock())):
            return await self._check_out()
        try:
            async with asyncio.timeout_at(due):
                return await self._check_out()
        except TimeoutError:  # the wait left less time than `connect_timeout`
            raise StorageBusyError from None

    async def _check_out(self) -> PooledConnection:
        try:
            connection = self._idle.pop() if self._idle else await self._open()
            if connection.has_expired(self._clock()):
                self.driver.close(connection.driver_connection)  # SQLAlchemy would wait for the server
                self._connections.discard(connection)
                await greenlet_spawn(connection.proxy.invalidate)
                connection = await self._open()
        except BaseException as error:
            self._slots.release()
            if isinstance(error, ConnectError | self._engine.dialect.loaded_dbapi.Error | OSError):
                failure = (
                    error if isinstance(error, ConnectError) else ConnectError([(self._connector.hosts[0], error)])
                )
                self.connect_error = failure
                self.report_error(failure)
                is_silent = failure.is_timeout and (self.is_silent or self._is_in_use)
                kind = StorageTimeoutError if is_silent else StorageUnavailableError
                raise kind(*failure.args) from error
            raise
        connection.idle_since = self.connect_error = None
        return connection

    @property
    def _is_in_use(self) -> bool:
        return len(self._connections) > len(self._idle)

    async def _open(self) -> PooledConnection:
        proxy = await self._engine.raw_connection()
        self.is_silent = False
        factor = random.uniform(*LIFETIME_JITTER)  # noqa: S311 - not used for security
        lifetime, max_idle = factor * self.options.max_lifetime, factor * self.options.max_idle
        driver_connection, now = proxy.driver_connection, self._clock()
        connection = PooledConnection(
            proxy=proxy,
            driver_connection=driver_connection,
            backend=Backend(self.driver.backend_pid(driver_connection), now),
            ends_at=now + (lifetime or math.inf),
            max_idle=max_idle or math.inf,
        )
        self._connections.add(connection)
        return connection

    def age_of(self, backend: Backend) -> timedelta:
        """Return the time since the connection to a backend was opened."""
        return timedelta(seconds=self._clock() - backend.opened_at)

    def close_expired(self) -> None:
        """Close the connections that are not in use and have expired. `connect` replaces them."""
        now = self._clock()
        for connection in self._idle:
            if connection.has_expired(now):
                self.driver.close(connection.driver_connection)

    def expire_connections(self) -> None:
        """Replace all open connections before their next use, because their server became read-only."""
        for connection in self._connections:
            connection.ends_at = -math.inf

    async def can_connect(self) -> bool:
        """Return True if connections can be opened. If the last attempt failed, try again."""
        if self.connect_error and not self._slots.are_occupied:
            with suppress(TransientStorageError):
                self.release(await self.connect())
        return self.connect_error is None

    async def prewarm(self) -> int:
        """Open all connections of the pool, and return their number."""
        connects = [self.connect() for _ in range(self.options.pool_size)]
        results = await asyncio.gather(*connects, return_exceptions=True)
        opened = [result for result in results if not isinstance(result, BaseException)]
        for connection in opened:
            self.release(connection)
        return len(opened)

    def dedicated_pool(self) -> "Database":
        """Return a separate pool with one connection, which does not wait behind requests."""
        return Database(self._url, replace(self.options, pool_size=1), clock=self._clock)

    @property
    def usage(self) -> PoolUsage:
        """The usage of the pool."""
        pool = cast("AsyncAdaptedQueuePool", self._engine.pool)
        return PoolUsage(self.options.pool_size, pool.checkedout() - len(self._idle), self._slots.waiting)

    def report_error(self, error: BaseException) -> None:
        """Report a driver error to the observer. After an error of a read-only server, replace all connections."""
        state = sqlstate_of(error) or NO_SQLSTATE
        self._errors(state)
        if state == _READ_ONLY_SQL_TRANSACTION:
            self.expire_connections()

    def release(self, connection: PooledConnection) -> None:
        """Return an idle connection to the pool."""
        connection.idle_since = self._clock()
        self._idle.append(connection)
        self._slots.release()

    async def discard(self, connection: PooledConnection) -> None:
        """Abort a connection, and free its slot in the pool.

        A statement in progress is cancelled on the server, because it would otherwise continue and keep its locks. This
        happens even if the caller is cancelled again, or does not wait for it.
        """
        # SQLAlchemy closes a connection only inside its greenlet; otherwise it only drops the reference.
        self._connections.discard(connection)
        task = asyncio.create_task(greenlet_spawn(connection.proxy.invalidate))
        self._discarding.add(task)
        task.add_done_callback(self._finish_discard)
        await asyncio.wait([task], timeout=DISCARD_TIMEOUT_SECONDS)

    def _finish_discard(self, task: asyncio.Task[None]) -> None:
        self._discarding.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            structlog.get_logger("hexapost").debug(
                "closing a database connection failed", error_type=type(task.exception()).__name__
            )

    async def close(self) -> None:
        """Close all connections of the pool. Connections to an unresponsive server are aborted."""
        self.deadlines.close()
        await asyncio.gather(*self._discarding, return_exceptions=True)
        while self._idle:
            connection = self._idle.pop()
            self._connections.discard(connection)
            connection.proxy.close()  # returns it to SQLAlchemy's pool, which is disposed
        for _ in range(self.options.pool_size):
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_TIMEOUT_SECONDS):
                    await self._engine.dispose()
                    return


def _create_engine(connector: Connector, options: DatabaseOptions) -> AsyncEngine:
    return create_async_engine(
        f"postgresql+{connector.driver.name}://",
        async_creator=connector.connect,
        pool_size=options.pool_size,
        max_overflow=0,
        # Only idle connections are released, so a reset would be a wasted round trip.
        pool_reset_on_return=None,
        # The session sends BEGIN and COMMIT itself.
        isolation_level="AUTOCOMMIT",
    )

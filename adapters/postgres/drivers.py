"""The two drivers. They execute compiled statements directly on the driver connection.

SQLAlchemy builds and compiles each statement once. The execution bypasses SQLAlchemy, because the greenlet bridge and
the Result layers cost more CPU than the driver and the network together: 703 µs per request instead of 242 µs.
"""

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString, cast
from urllib.parse import urlencode

import asyncpg
from sqlalchemy import URL, ClauseElement, Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from typing_extensions import override

from adapters.database_url import TLS_PARAMETERS
from adapters.postgres.sqlstate import driver_errors

if TYPE_CHECKING:
    import psycopg

Row = Sequence[Any]

SERVER_SETTINGS = {
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
    "gin_fuzzy_search_limit": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    # Interval in milliseconds at which the server checks if the client of a running statement is still connected.
    "client_connection_check_interval": "1000",
}
"""The settings of each connection. They replace the settings of the server, the database and the role.

A connection pooler rejects them at the start of a connection, so each transaction sets them there. A setting that is
missing here does not change results, except `default_transaction_read_only`, which is the operator's decision.
"""

SEARCH_PATH = {"search_path": "public"}
"""The default of the parameter `options` in the URL."""

StatementObserver = Callable[[str], AbstractContextManager[object]]
"""Receives the SQL of each statement, without values. The returned context manager wraps its execution."""

NO_SETTINGS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """SQL in the dialect of the driver, and the names of its parameters in order."""

    sql: str
    parameter_names: tuple[str, ...]


class Driver(ABC):
    """The differences between the drivers. Errors of the driver pass through unchanged."""

    name: ClassVar[str]
    connect: ClassVar[Callable[..., Awaitable[Any]]]
    """Returns a new connection. The arguments are those of the driver."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.compile = cache(self._compile)
        """Returns the compiled statement, from a cache."""

    def _compile(self, statement: ClauseElement) -> CompiledStatement:
        compiled = cast("SQLCompiler", statement.compile(dialect=self._dialect))
        return CompiledStatement(compiled.string, tuple(compiled.positiontup or compiled.binds))

    @staticmethod
    @abstractmethod
    def connect_args(
        url: URL, *, prepared_statements: bool, connect_timeout: float, server_settings: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the arguments for the connect function of the driver, except the host. The timeout is in seconds.

        A connection pooler rejects `server_settings`, so they are used only with prepared statements.
        """

    @abstractmethod
    async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Execute a statement, and return its rows."""

    async def execute(self, connection: Any, command: LiteralString) -> None:
        """Execute a command without parameters and rows."""
        await connection.execute(command)

    @staticmethod
    @abstractmethod
    def backend_pid(connection: Any) -> int:
        """Return the process ID of the backend of an open connection."""

    @abstractmethod
    def is_idle(self, connection: Any) -> bool:
        """Return True if the connection is open, and neither in a transaction nor executing a statement."""

    @staticmethod
    @abstractmethod
    def close(connection: Any) -> None:
        """Close an idle connection without waiting for the server."""

    @staticmethod
    @abstractmethod
    def abort(connection: Any) -> None:
        """Abort the connection locally, so that all waiting calls fail at once."""

    @abstractmethod
    def is_closed(self, connection: Any) -> bool:
        """Return True if the connection is known to be closed."""


class AsyncpgDriver(Driver):
    """`postgresql+asyncpg://`."""

    name = "asyncpg"
    connect = staticmethod(asyncpg.connect)

    @staticmethod
    @override
    def connect_args(
        url: URL, *, prepared_statements: bool, connect_timeout: float, server_settings: Mapping[str, str]
    ) -> dict[str, Any]:
        names = (*TLS_PARAMETERS, "target_session_attrs", "passfile")
        query = {name: url.query[name] for name in names if name in url.query}
        arguments: dict[str, Any] = {"ssl": True} if query.get("sslrootcert") == "system" else {}
        arguments |= {
            "dsn": f"postgresql://?{urlencode(query)}",
            "user": url.username,
            "password": url.password,
            "database": url.database,
            "timeout": connect_timeout,
            "server_settings": {"application_name": str(url.query.get("application_name", "hexapost"))},
        }
        if prepared_statements:
            arguments["server_settings"] |= server_settings
        else:
            arguments |= {"statement_cache_size": 0}
        return arguments

    @override
    async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        query = self.compile(statement)
        rows: Sequence[Row] = await connection.fetch(query.sql, *[parameters[name] for name in query.parameter_names])
        return rows

    @staticmethod
    @override
    def backend_pid(connection: asyncpg.Connection) -> int:
        return int(connection.get_server_pid())

    @override
    def is_idle(self, connection: asyncpg.Connection) -> bool:
        return not connection.is_closed() and not connection.is_in_transaction()

    @staticmethod
    @override
    def abort(connection: asyncpg.Connection) -> None:
        connection.terminate()

    close = abort

    @override
    def is_closed(self, connection: asyncpg.Connection) -> bool:
        return bool(connection.is_closed())


class PsycopgDriver(Driver):
    """`postgresql+psycopg://`."""

    name = "psycopg"

    @staticmethod
    async def connect(**arguments: Any) -> "psycopg.AsyncConnection[Any]":
        """Return a new connection."""
        from psycopg import AsyncConnection  # noqa: PLC0415 - only the processes that use it load it

        return await AsyncConnection.connect(**arguments)

    @staticmethod
    @override
    def connect_args(
        url: URL, *, prepared_statements: bool, connect_timeout: float, server_settings: Mapping[str, str]
    ) -> dict[str, Any]:
        settings = server_settings if prepared_statements else NO_SETTINGS
        return {
            "application_name": "hexapost",
            **{name: value for name, value in url.query.items() if name not in {"host", "port", "load_balance_hosts"}},
            "user": url.username,
            "password": url.password,
            "dbname": url.database,
            "connect_timeout": max(1, round(connect_timeout)),
            "options": " ".join(f"-c {name}={_escape(value)}" for name, value in settings.items()),
            "client_encoding": "UTF8",  # asyncpg sets it by itself
            # Prepare at the first execution, as asyncpg does.
            "prepare_threshold": 0 if prepared_statements else None,
        }

    @override
    async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        cursor = await connection.execute(self.compile(statement).sql, parameters)
        rows: Sequence[Row] = await cursor.fetchall()
        return rows

    @staticmethod
    @override
    def backend_pid(connection: "psycopg.AsyncConnection[Any]") -> int:
        return connection.info.backend_pid

    @override
    def is_idle(self, connection: "psycopg.AsyncConnection[Any]") -> bool:
        return not connection.closed and connection.info.transaction_status.name == "IDLE"

    @staticmethod
    @override
    def close(connection: "psycopg.AsyncConnection[Any]") -> None:
        connection.pgconn.finish()

    @staticmethod
    @override
    def abort(connection: "psycopg.AsyncConnection[Any]") -> None:
        with suppress(OSError, *driver_errors()), socket.socket(fileno=os.dup(connection.pgconn.socket)) as found:
            found.shutdown(socket.SHUT_RDWR)

    @override
    def is_closed(self, connection: "psycopg.AsyncConnection[Any]") -> bool:
        return connection.closed


def _escape(value: str) -> str:
    """Return a value for the `options` of libpq, which a space separates."""
    return value.replace("\\", r"\\").replace(" ", r"\ ")


DRIVERS: Mapping[str, type[Driver]] = {driver.name: driver for driver in (AsyncpgDriver, PsycopgDriver)}


def create_driver(dialect: Dialect, observer: StatementObserver | None) -> Driver:
    """Return the driver of a dialect. Without an observer, statements have no overhead."""
    driver = DRIVERS[dialect.driver]
    if observer is None:
        return driver(dialect)
    observe = observer

    class InstrumentedDriver(driver):  # type: ignore[misc, valid-type]
        """Calls the observer around each statement."""

        async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Any:
            with observe(self.compile(statement).sql):
                return await super().fetch(connection, statement, parameters)

        async def execute(self, connection: Any, command: LiteralString) -> None:
            with observe(command):
                await super().execute(connection, command)

    return InstrumentedDriver(dialect)

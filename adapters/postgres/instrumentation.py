"""Instrumentation of the database: drivers that report each statement to an observer."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, LiteralString, NamedTuple

from sqlalchemy import ClauseElement, Dialect

from adapters.postgres.drivers import DRIVERS, Driver

ErrorObserver = Callable[[str], None]
"""Receives the SQLSTATE of each database error, or `NO_SQLSTATE`."""

StatementObserver = Callable[[str], AbstractContextManager[object]]
"""Receives the SQL of each statement, without values. The returned context manager wraps its execution."""

NO_SQLSTATE = "none"
"""The value for an error without SQLSTATE: the connection was lost, or could not be opened."""


class PoolUsage(NamedTuple):
    """The size of the pool, the connections in use, and the units of work that wait for a connection."""

    size: int
    in_use: int
    waiting: int


def noop_observer(_: str) -> None:
    """Ignore the error."""


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

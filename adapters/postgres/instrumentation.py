"""Instrumentation of the database: drivers that report each statement to an observer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, LiteralString, NamedTuple

from sqlalchemy import ClauseElement, Dialect

from adapters.postgres.drivers import DRIVERS, AsyncpgDriver, Driver, PsycopgDriver, Row

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


class _Instrumented(Driver):
    _observer: StatementObserver

    async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        with self._observer(self.compile(statement).sql):
            return await super().fetch(connection, statement, parameters)  # type: ignore[safe-super]

    async def execute(self, connection: Any, command: LiteralString) -> None:
        with self._observer(command):
            await super().execute(connection, command)  # type: ignore[safe-super]


class _InstrumentedAsyncpgDriver(_Instrumented, AsyncpgDriver):
    pass


class _InstrumentedPsycopgDriver(_Instrumented, PsycopgDriver):
    pass


_INSTRUMENTED: Mapping[str, type[_Instrumented]] = {
    driver.name: driver for driver in (_InstrumentedAsyncpgDriver, _InstrumentedPsycopgDriver)
}


def create_driver(dialect: Dialect, observer: StatementObserver | None) -> Driver:
    """Return the driver of a dialect. Without an observer, statements have no overhead."""
    if observer is None:
        return DRIVERS[dialect.driver](dialect)
    driver = _INSTRUMENTED[dialect.driver](dialect)
    driver._observer = observer  # noqa: SLF001 - a class of this module
    return driver

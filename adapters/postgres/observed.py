"""What is told about the database to those who watch the service, and drivers that tell it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, LiteralString, NamedTuple

from sqlalchemy import ClauseElement, Dialect

from adapters.postgres.drivers import DRIVERS, AsyncpgDriver, Driver, PsycopgDriver, Row

ErrorObserver = Callable[[str], None]
"""Is told the SQLSTATE of each error of the database, or `NO_SQLSTATE`."""

StatementObserver = Callable[[str], AbstractContextManager[object]]
"""Is told the SQL of each statement, without values, and returns what is entered around its execution."""

NO_SQLSTATE = "none"
"""What stands for the SQLSTATE of an error that has none: the connection was lost, or could not be made."""


class PoolUsage(NamedTuple):
    """How many connections there can be, how many are in use, and how many units of work wait for one."""

    size: int
    in_use: int
    waiting: int


def ignore(_: str) -> None:
    """Be told, and do nothing."""


class _Observed(Driver):
    _observer: StatementObserver

    async def fetch(self, connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        with self._observer(self.query(statement).sql):
            return await super().fetch(connection, statement, parameters)  # type: ignore[safe-super]

    async def run(self, connection: Any, command: LiteralString) -> None:
        with self._observer(command):
            await super().run(connection, command)  # type: ignore[safe-super]


class _ObservedAsyncpgDriver(_Observed, AsyncpgDriver):
    pass


class _ObservedPsycopgDriver(_Observed, PsycopgDriver):
    pass


_OBSERVED: Mapping[str, type[_Observed]] = {
    driver.name: driver for driver in (_ObservedAsyncpgDriver, _ObservedPsycopgDriver)
}


def made_driver(dialect: Dialect, observer: StatementObserver | None) -> Driver:
    """Return the driver of the dialect; without an observer it is the plain one, which costs nothing more."""
    if observer is None:
        return DRIVERS[dialect.driver](dialect)
    driver = _OBSERVED[dialect.driver](dialect)
    driver._observer = observer  # noqa: SLF001 - our own
    return driver

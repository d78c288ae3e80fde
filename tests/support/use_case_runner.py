"""Use cases with a body from the test, plain SQL in a unit of work, and a recorder of statements."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar

import pytest
from sqlalchemy import ClauseElement, text

from adapters.postgres.drivers import Row
from adapters.postgres.pool import Database
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional
from tests.support.service_factories import LENIENT_RETRY

T = TypeVar("T")
Body = Callable[[UnitOfWork], Awaitable[T]]


@dataclass
class UseCaseRunner:
    """Runs a body as a use case, and counts the attempts."""

    storage: Storage
    retry: RetryPolicy = LENIENT_RETRY
    attempts: int = 0

    async def change(self, body: Body[T]) -> T:
        return await self._change(SYSTEM_PRINCIPAL, body)

    @transactional
    async def _change(self, work: UnitOfWork, _principal: Principal, body: Body[T]) -> T:
        self.attempts += 1
        return await body(work)

    @readonly
    async def read(self, work: UnitOfWork, body: Body[T]) -> T:
        self.attempts += 1
        return await body(work)


async def fetch(work: UnitOfWork, sql: str, **parameters: Any) -> Sequence[Row]:
    """Run a statement in the unit of work, as its repositories do."""
    rows: Sequence[Row] = await work._session.fetch(text(sql), parameters)  # type: ignore[attr-defined]
    return rows


async def backend(work: UnitOfWork) -> int:
    """Return the process id of the backend of the unit of work."""
    return int((await fetch(work, "SELECT pg_backend_pid()"))[0][0])


def statement_verb(sql: str) -> str:
    """Return the verb of a statement: that of the write if the statement also inserts audit entries."""
    written = re.search(r"\bwritten AS\s+\((\w+)", sql)
    return written[1] if written else sql.split(maxsplit=1)[0].rstrip(";")


@dataclass
class Recorder:
    """The statements that the driver received, in order."""

    statements: list[str] = field(default_factory=list)

    def take(self) -> list[str]:
        """Return the verbs of the statements, and delete the statements."""
        verbs = [statement_verb(statement) for statement in self.statements]
        self.statements.clear()
        return verbs


def record_statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Record the statements that the driver receives from now on."""
    recorder = Recorder()
    driver = database.driver
    fetch_, run_ = driver.fetch, driver.execute

    async def fetch(connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        recorder.statements.append(driver.compile(statement).sql)
        return await fetch_(connection, statement, parameters)

    async def run(connection: Any, command: LiteralString) -> None:
        recorder.statements.append(command)
        await run_(connection, command)

    monkeypatch.setattr(driver, "fetch", fetch)
    monkeypatch.setattr(driver, "execute", run)
    return recorder

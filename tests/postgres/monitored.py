"""A readiness monitor that checks on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import URL

from adapters.postgres.pool import Database
from adapters.postgres.schema.readiness import ReadinessMonitor
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageUnavailableError
from application.transactions import RetryPolicy
from tests.support.database_fixture import PATIENT, checked_out
from tests.support.polling import TIMEOUT_SECONDS
from tests.support.template_databases import with_driver
from tests.support.use_case_runner import UseCaseRunner, backend

OPTIONS = replace(PATIENT, pool_size=2)
READY = {"database": (True, "reachable"), "migrations": (True, "current"), "pool": (True, "opened 2 of 2")}
BROKEN = {"database": (False, "unreachable"), "migrations": (False, "unknown"), "pool": (True, "opened 2 of 2")}
NOT_OPENED = (False, "not opened yet")


@dataclass
class Monitored:
    """A database and its readiness monitor."""

    watch: ReadinessMonitor
    database: Database

    async def look(self) -> object:
        """Return the result of one check."""
        await self.watch.check()
        return self.watch.last_result

    async def look_until(self, expected: object) -> None:
        """Check until the result is as expected: the server counts an ended connection a little longer."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await self.look() != expected:
                pass

    async def query(self) -> int:
        """Run one query through the pool, without a retry."""
        return await UseCaseRunner(SqlAlchemyStorage(self.database), retry=RetryPolicy(max_elapsed=0)).read(backend)

    async def fail_queries(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(StorageUnavailableError):
                await self.query()


@asynccontextmanager
async def monitored(url: URL, driver: str) -> AsyncIterator[Monitored]:
    """Open a database and its monitor; every connection must be back in the pool at the end."""
    database = Database(with_driver(url, driver), OPTIONS)
    watch = ReadinessMonitor(database)
    yield Monitored(watch, database)
    assert checked_out(database) == 0
    await watch._pool.close()
    await database.close()

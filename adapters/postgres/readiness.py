"""Whether the database answers, and has the schema that this release needs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from adapters.postgres.database import Database
from adapters.postgres.migrations import SchemaState, schema_state
from adapters.postgres.schema import SchemaUnreadableError
from application.ports import StorageOverloadedError, TransientError

AHEAD = (True, "ahead of this release")
_SCHEMA = {
    SchemaState.CURRENT: (True, "current"),
    SchemaState.BEHIND: (False, "behind this release: run the migrations"),
    SchemaState.AHEAD: AHEAD,
    SchemaState.TOO_NEW: (False, "without what this release needs: a later one has removed it"),
}

LOOK_SECONDS = 1.0
"""Between two looks."""


async def readiness(database: Database) -> Mapping[str, tuple[bool, str]]:
    """Return, by name, whether each thing is ready that requests need, and a word about it that anyone may read."""
    try:
        schema = await schema_state(database)
    except StorageOverloadedError:
        # Busy is not broken: a service that works at full speed stays in rotation.
        return {"database": (True, "busy"), "migrations": (True, "not asked")}
    except SchemaUnreadableError as error:
        return {"database": (False, str(error)), "migrations": (False, "unknown")}
    except TransientError:
        return {"database": (False, "unreachable"), "migrations": (False, "unknown")}
    return {"database": (True, "reachable"), "migrations": _SCHEMA[schema]}


class Watch:
    """Looks again and again what is ready, so that whoever asks is told at once; opens the pool before all else.

    It has a connection of its own: behind a pool that is busy it would wait, and tell of a database that is broken.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own = database.beside()
        self._opened = 0
        self.seen: Mapping[str, tuple[bool, str]] = {"database": (False, "not asked yet")}
        """Whether each thing was ready at the last look, by name, and a word about it."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look for as long as the block; the first look is over when it begins."""
        await self.look()
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await self._own.close()

    async def look(self) -> None:
        """See what is ready."""
        try:
            found = await readiness(self._own)
            self.seen = {**found, "pool": await self._pool(is_reachable=found["database"][0])}
        except Exception as error:  # noqa: BLE001 - a reason not to be ready, and none to look no more
            self.seen = {"database": (False, "in disorder")}
            structlog.get_logger("hexapost").warning("cannot see what is ready", error=type(error).__name__)

    async def _pool(self, *, is_reachable: bool) -> tuple[bool, str]:
        """Tell whether the pool is ready: opened once, and able to open connections."""
        if is_reachable and not self._opened:
            self._opened = await self._database.warm()
        if not self._opened:
            return False, "not opened yet"
        if is_reachable and not await self._database.opens():
            return False, "cannot open connections"
        return True, f"opened {self._opened} of {self._database.options.pool_size}"

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

"""Whether the pool is ready, after others have taken the connections that the server has."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import URL

from adapters.postgres.database import Database
from adapters.postgres.readiness import Watch
from adapters.postgres.storage import SqlAlchemyStorage
from application.ports import StorageUnavailableError
from application.transactions import Retry
from tests.postgres.test_readiness import FINE, GONE, OPTIONS
from tests.support.databases import with_driver
from tests.support.probes import Probe, backend
from tests.support.roles import Role, a_role
from tests.support.stores import taken
from tests.support.waiting import LONGEST, until

SHUT = {**FINE, "pool": (False, "cannot open connections")}
POOL, OWN, ANY = OPTIONS.pool_size, 1, -1


@pytest.fixture
def role(scratch: URL) -> Iterator[Role]:
    """A role that may read what the service looks at."""
    with a_role(scratch) as made:
        made.grant("alembic_version")
        yield made


@dataclass
class Watched:
    """A database, and a watch that looks when it is told to."""

    watch: Watch
    database: Database

    async def look(self) -> object:
        await self.watch.look()
        return self.watch.seen

    async def look_until(self, seen: object) -> None:
        """Look until this is seen: a connection that has ended counts for the server a moment longer."""
        async with asyncio.timeout(LONGEST):
            while await self.look() != seen:
                pass

    async def ask(self) -> int:
        """Ask through the pool, and not again when that fails."""
        return await Probe(SqlAlchemyStorage(self.database), retry=Retry(deadline=0)).look(backend)

    async def ask_in_vain(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(StorageUnavailableError):
                await self.ask()


@pytest.fixture
async def watched(role: Role, driver: str) -> AsyncIterator[Watched]:
    # Nobody has to answer soon: no test waits for a time to pass.
    options = replace(OPTIONS, connect_timeout=60, attempt_timeout=60)
    database = Database(with_driver(role.url, driver), options)
    watch = Watch(database)
    yield Watched(watch, database)
    assert taken(database) == 0
    await watch._own.close()
    await database.close()


async def test_a_pool_that_gets_no_connection_is_seen_and_so_is_one_that_does_although_nobody_asks(
    role: Role, watched: Watched
) -> None:
    assert await watched.look() == FINE
    role.limit(OWN)
    role.terminate()
    await until(lambda: role.connections == 0)
    assert await watched.look() == GONE
    await watched.look_until(FINE)  # nobody has asked the pool yet
    await watched.ask_in_vain(POOL + 1)
    for _ in range(3):
        assert await watched.look() == SHUT
    role.limit(ANY)
    assert await watched.look() == FINE
    assert await watched.ask()


async def test_a_pool_that_has_some_connections_is_ready(role: Role, watched: Watched) -> None:
    assert await watched.look() == FINE
    connections = [await watched.database.connect() for _ in range(POOL)]
    role.limit(POOL - 1 + OWN)
    await watched.database.discard(connections.pop())
    await watched.ask_in_vain(1)
    for connection in connections:
        watched.database.hand_back(connection)
    assert await watched.look() == FINE


async def test_a_pool_that_is_not_open_yet_is_tried_again(role: Role, watched: Watched) -> None:
    role.limit(OWN)
    assert await watched.look() == {**FINE, "pool": (False, "not opened yet")}
    role.limit(ANY)
    assert await watched.look() == FINE


async def test_a_pool_is_not_tried_while_there_is_no_room_in_it(watched: Watched) -> None:
    connections = [await watched.database.connect() for _ in range(POOL)]
    watched.database._has_failed = True
    assert not await watched.database.opens()
    for connection in connections:
        watched.database.hand_back(connection)
    assert await watched.database.opens()

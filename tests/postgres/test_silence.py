"""A database that takes the connection and says nothing is an error of the database, and a busy pool is none."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from sqlalchemy import URL

from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.observed import NO_SQLSTATE
from application.ports import StorageOverloadedError, StorageSilentError
from tests.support.waiting import until

LONG = 600.0


class Silent:
    """A database that says nothing, with a pool of one connection, and what was told of it."""

    def __init__(self, driver: str, port: int) -> None:
        self._url = URL.create(f"postgresql+{driver}", "x", host="127.0.0.1", port=port, database="x")
        self.told: list[str] = []
        self.database: Database

    def opened(self, *, connect_timeout: float = LONG, attempt_timeout: float = LONG) -> None:
        options = DatabaseOptions(
            pool_size=1, pool_timeout=LONG, connect_timeout=connect_timeout, attempt_timeout=attempt_timeout
        )
        self.database = Database(self._url, options, errors=self.told.append)

    async def connect_after_waiting(self) -> None:
        await self.database._places.acquire()
        task = asyncio.create_task(self.database.connect())
        await until(lambda: self.database.usage.waiting == 1)
        self.database._places.release()
        await task


@pytest.fixture
async def silent(driver: str) -> AsyncIterator[Silent]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        made = Silent(driver, listener.getsockname()[1])
        yield made
        assert made.database.usage == (1, 0, 0)
        assert not made.database._places.locked()
        await made.database.close()


async def test_silence_is_counted_once_for_each_attempt(silent: Silent) -> None:
    silent.opened(connect_timeout=0.1)
    for times in (1, 2):
        with pytest.raises(StorageSilentError):
            await silent.database.connect()
        assert silent.told == [NO_SQLSTATE] * times


async def test_silence_after_a_wait_for_the_pool_is_counted_once(silent: Silent) -> None:
    silent.opened(connect_timeout=0.1)
    with pytest.raises(StorageSilentError):
        await silent.connect_after_waiting()
    assert silent.told == [NO_SQLSTATE]


@pytest.mark.parametrize("attempt_timeout", [0, 0.1])
async def test_want_of_time_after_a_wait_for_the_pool_is_no_silence(silent: Silent, attempt_timeout: float) -> None:
    silent.opened(attempt_timeout=attempt_timeout)
    with pytest.raises(StorageOverloadedError):
        await silent.connect_after_waiting()
    assert silent.told == []
    assert await silent.database.opens()


async def test_who_gives_up_meanwhile_is_not_counted(silent: Silent) -> None:
    silent.opened()
    task = asyncio.create_task(silent.database.connect())
    await until(silent.database._places.locked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert silent.told == []

"""Tests for a server that accepts connections and does not answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from sqlalchemy import URL

from adapters.postgres.instrumentation import NO_SQLSTATE
from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageBusyError, StorageTimeoutError
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner

UNLIMITED = 600.0


class UnresponsiveServer:
    """A pool of one connection to an unresponsive server, and the observed errors."""

    def __init__(self, driver: str, port: int) -> None:
        self._url = URL.create(f"postgresql+{driver}", "x", host="127.0.0.1", port=port, database="x")
        self.errors: list[str] = []
        self.database: Database

    def open(self, *, connect_timeout: float = UNLIMITED, attempt_timeout: float = UNLIMITED) -> None:
        options = DatabaseOptions(
            pool_size=1, pool_timeout=UNLIMITED, connect_timeout=connect_timeout, attempt_timeout=attempt_timeout
        )
        self.database = Database(self._url, options, errors=self.errors.append)

    async def connect_after_waiting(self) -> None:
        await self.database._slots.acquire()
        task = asyncio.create_task(self.database.connect())
        await wait_until(lambda: self.database.usage.waiting == 1)
        self.database._slots.release()
        await task


@pytest.fixture
async def server(driver: str) -> AsyncIterator[UnresponsiveServer]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        made = UnresponsiveServer(driver, listener.getsockname()[1])
        yield made
        assert made.database.usage == (1, 0, 0)
        assert not made.database._slots.locked()
        await made.database.close()


async def test_connect_timeout_is_counted_once_per_attempt(server: UnresponsiveServer) -> None:
    server.open(connect_timeout=0.05)
    for attempts in (1, 2):
        with pytest.raises(StorageTimeoutError):
            await server.database.connect()
        assert server.errors == [NO_SQLSTATE] * attempts


async def test_connect_timeout_is_not_retried(server: UnresponsiveServer) -> None:
    server.open(connect_timeout=0.05)
    probe = UseCaseRunner(SqlAlchemyStorage(server.database))
    with pytest.raises(StorageTimeoutError):
        await asyncio.wait_for(probe.read(lambda work: work.users.list(limit=1)), 30)
    assert probe.attempts == 1


async def test_connect_timeout_after_pool_wait_is_counted_once(server: UnresponsiveServer) -> None:
    server.open(connect_timeout=0.05)
    with pytest.raises(StorageTimeoutError):
        await server.connect_after_waiting()
    assert server.errors == [NO_SQLSTATE]


@pytest.mark.parametrize("attempt_timeout", [0, 0.05])
async def test_attempt_timeout_after_pool_wait_is_overload(server: UnresponsiveServer, attempt_timeout: float) -> None:
    server.open(attempt_timeout=attempt_timeout)
    with pytest.raises(StorageBusyError):
        await server.connect_after_waiting()
    assert server.errors == []
    assert await server.database.can_connect()


async def test_cancelled_connect_is_not_counted_as_error(server: UnresponsiveServer) -> None:
    server.open()
    task = asyncio.create_task(server.database.connect())
    await wait_until(server.database._slots.locked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.errors == []

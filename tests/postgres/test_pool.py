"""Tests for the connection pool: waits, slots, and connections that cannot be opened."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL

from adapters.postgres.pool import NO_SQLSTATE, Database, PooledConnection, PoolUsage
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import Databases, connected, with_driver
from application.ports import StorageBusyError, StorageUnavailableError, UnitOfWork
from domain.users import User
from tests.postgres.failures import CONNECTION_DISCARDED, ONCE, add_two
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out, opened
from tests.support.database_roles import temporary_role
from tests.support.factories import stored_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend

ONE = replace(PATIENT, pool_size=1)


async def _list(work: UnitOfWork) -> Sequence[User]:
    return await work.users.list(limit=9)


@asynccontextmanager
async def _checked_pool(url: URL, **observers: Any) -> AsyncIterator[Database]:
    """Open a pool of one connection; it must be back in the pool at the end."""
    database = Database(url, ONE, **observers)
    yield database
    await wait_until(lambda: checked_out(database) == 0)
    await database.close()


@pytest.mark.parametrize("iterations", range(12))
async def test_pool_slot_is_returned_when_connecting_is_cancelled(store: DatabaseFixture, iterations: int) -> None:
    async with _checked_pool(store.url) as database:
        task = asyncio.create_task(stored_users(SqlAlchemyStorage(database)))
        for _ in range(iterations):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: checked_out(database) == 0)
        assert await stored_users(SqlAlchemyStorage(database)) == []


async def test_pool_slot_is_returned_when_server_rejects_connection(
    scratch: URL, driver: str, databases: Databases
) -> None:
    allow = f'ALTER DATABASE "{scratch.database}" ALLOW_CONNECTIONS '
    end_backend, error = CONNECTION_DISCARDED["ended backend"]
    async with opened(scratch, driver, ONE) as pool:
        probe = UseCaseRunner(pool.storage, retry=ONCE)
        with connected(databases.url) as admin:
            for _ in range(2):
                with pytest.raises(error):
                    await probe.read(end_backend)
                admin.execute(f"{allow} false".encode())
                with pytest.raises((asyncpg.ObjectNotInPrerequisiteStateError, StorageUnavailableError)):
                    await probe.read(_list)
                admin.execute(f"{allow} true".encode())
                assert await probe.read(_list) == []


async def test_pool_serves_waiters_after_cancelled_waiters(single: DatabaseFixture) -> None:
    async with single.storage.readonly() as holder:
        pid = await backend(holder)
        assert single.database.usage == PoolUsage(1, 1, 0)
        waiting = [asyncio.create_task(UseCaseRunner(single.storage).read(backend)) for _ in range(50)]
        await wait_until(lambda: single.database.usage == PoolUsage(1, 1, 50))
        for task in waiting[::2]:
            task.cancel()
        cancelled = await asyncio.gather(*waiting[::2], return_exceptions=True)
        assert single.database.usage == PoolUsage(1, 1, 25)
    assert {type(result) for result in cancelled} == {asyncio.CancelledError}
    assert await asyncio.gather(*waiting[1::2]) == [pid] * 25
    assert single.database.usage == PoolUsage(1, 0, 0)


async def test_exhausted_pool_raises_overloaded_error(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        opened(store.url, driver, replace(ONE, pool_timeout=0.02)) as pool,
        pool.storage.readonly() as holder,
    ):
        await holder.users.list(limit=1)
        connects: list[None] = []
        connect = Database.connect

        async def counted(database: Database, *limits: float) -> PooledConnection:
            connects.append(None)
            return await connect(database, *limits)

        monkeypatch.setattr(Database, "connect", counted)
        probe = UseCaseRunner(pool.storage, retry=ONCE)
        with pytest.raises(StorageBusyError):
            await asyncio.wait_for(probe.read(_list), 30)
        with pytest.raises(StorageBusyError):
            await asyncio.wait_for(probe.change(add_two), 30)
        # Each attempt waits once: a rollback without a transaction needs no connection.
        assert (probe.attempts, len(connects)) == (2, 2)
        assert pool.database.usage == PoolUsage(1, 1, 0)


async def test_wait_for_a_connection_ends_with_the_attempt(store: DatabaseFixture, driver: str) -> None:
    async def list_soon(work: Any) -> Any:
        work._session._due = asyncio.get_running_loop().time() + 0.05
        return await _list(work)

    async with (
        opened(store.url, driver, replace(ONE, pool_timeout=600)) as pool,
        pool.storage.readonly() as holder,
    ):
        await holder.users.list(limit=1)
        with pytest.raises(StorageBusyError):
            await asyncio.wait_for(UseCaseRunner(pool.storage, retry=ONCE).read(list_soon), 60)


async def test_server_connection_limit_is_retried(store: DatabaseFixture, driver: str) -> None:
    with temporary_role(store.url) as role:
        role.limit(1)
        async with _checked_pool(with_driver(role.url, driver)) as database:
            probe = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
            with connected(role.url):
                with pytest.raises(StorageUnavailableError):
                    await probe.read(_list)
                assert probe.attempts == 1
                retrying = UseCaseRunner(SqlAlchemyStorage(database))
                waiting = asyncio.create_task(retrying.read(_list))
                await wait_until(lambda: retrying.attempts > 2)
            assert await waiting == []


def _closed_port(_: Path) -> URL:
    """Return the URL of a port without a listener."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        return URL.create("postgresql", "hexapost", host="127.0.0.1", port=unused.getsockname()[1], database="x")


def _missing_socket(directory: Path) -> URL:
    """Return the URL of a missing socket file."""
    return URL.create("postgresql", "hexapost", database="x", query={"host": str(directory)})


def _closed_socket(directory: Path) -> URL:
    """Return the URL of a socket file without a listener."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(directory / ".s.PGSQL.5432"))
        listener.listen()
    return _missing_socket(directory)


@pytest.mark.parametrize("address", [_closed_port, _missing_socket, _closed_socket])
async def test_missing_server_is_retried_until_the_deadline(
    driver: str, address: Callable[[Path], URL], tmp_path: Path
) -> None:
    observed: list[str] = []
    async with _checked_pool(with_driver(address(tmp_path), driver), errors=observed.append) as database:
        probe = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
        for attempt in (probe.change(add_two), probe.read(_list)):
            with pytest.raises(StorageUnavailableError) as raised:
                await attempt
            assert re.search("connection refused|socket does not exist", str(raised.value))
        assert (probe.attempts, observed) == (2, [NO_SQLSTATE] * 2)
        probe = UseCaseRunner(SqlAlchemyStorage(database))
        looking = asyncio.create_task(probe.read(_list))
        await wait_until(lambda: probe.attempts > 2)
        probe.retry = ONCE
        with pytest.raises(StorageUnavailableError):
            await looking

"""Tests for units of work that get no connection: from the pool, from the server, or without a server."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL, PoolProxiedConnection

from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageBusyError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import User
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out, opened
from tests.support.database_roles import Role, temporary_role
from tests.support.factories import make_user
from tests.support.polling import wait_until
from tests.support.template_databases import connected, with_driver
from tests.support.use_case_runner import UseCaseRunner

ONCE = RetryPolicy(max_elapsed=0)


async def _list(work: UnitOfWork) -> Sequence[User]:
    return await work.users.list(limit=1)


async def _add_two(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await work.users.add(make_user())


async def test_exhausted_pool_raises_overloaded_error(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(PATIENT, pool_size=1, pool_timeout=0.02)
    async with opened(store.url, driver, options) as pool, pool.storage.readonly() as holder:
        await holder.users.list(limit=1)
        connects: list[None] = []
        connect = Database.connect

        async def counted(database: Database) -> PoolProxiedConnection:
            connects.append(None)
            return await connect(database)

        monkeypatch.setattr(Database, "connect", counted)
        probe = UseCaseRunner(pool.storage, retry=ONCE)
        with pytest.raises(StorageBusyError):
            await asyncio.wait_for(probe.read(_list), 30)
        with pytest.raises(StorageBusyError):
            await asyncio.wait_for(probe.change(_add_two), 30)
        # Each attempt waits once: a rollback without a transaction needs no connection.
        assert (probe.attempts, len(connects), pool.checked_out) == (2, 2, 1)


@pytest.fixture
def role(store: DatabaseFixture) -> Iterator[Role]:
    """A role with at most one connection."""
    with temporary_role(store.url) as role:
        role.limit(1)
        yield role


async def test_server_connection_limit_is_retried(role: Role, driver: str) -> None:
    database = Database(with_driver(role.url, driver), PATIENT)
    once = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
    retrying = UseCaseRunner(SqlAlchemyStorage(database))
    with connected(role.url):
        with pytest.raises(StorageUnavailableError):
            await once.read(_list)
        waiting = asyncio.create_task(retrying.read(_list))
        await wait_until(lambda: retrying.attempts > 2)
    assert await waiting == []
    assert (once.attempts, checked_out(database)) == (1, 0)
    await database.close()


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
    database = Database(with_driver(address(tmp_path), driver), PATIENT)
    for mode in ("change", "read"):
        probe = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
        with pytest.raises(StorageUnavailableError):
            await (probe.change(_add_two) if mode == "change" else probe.read(_list))
        assert probe.attempts == 1
    probe = UseCaseRunner(SqlAlchemyStorage(database))
    looking = asyncio.create_task(probe.read(_list))
    await wait_until(lambda: probe.attempts > 2)
    probe.retry = ONCE
    with pytest.raises(StorageUnavailableError):
        await looking
    assert checked_out(database) == 0
    await database.close()

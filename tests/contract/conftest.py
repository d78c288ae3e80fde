"""Fixtures for the storages that have to fulfill the contract of the ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.ports import Storage
from tests.contract.entities import AUTHOR
from tests.support.database_fixture import DRIVERS, DatabaseFixture, with_empty_tables
from tests.support.factories import store
from tests.support.polling import wait_until

MEMORY = "memory"
AGE = "UPDATE idempotency_records SET created_at = created_at - %(time)s, expires_at = expires_at - %(time)s"
Elapse = Callable[[timedelta], None]
AtOnce = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


@pytest.fixture(params=[MEMORY, *DRIVERS])
def shared(request: pytest.FixtureRequest) -> DatabaseFixture | None:
    """Return the database of each driver, and None for the storage in memory."""
    if request.param == MEMORY:
        return None
    stores: Mapping[str, DatabaseFixture] = request.getfixturevalue("stores")
    return stores[request.param]


@pytest.fixture
async def storage(shared: DatabaseFixture | None) -> AsyncIterator[Storage]:
    """Return each storage without entities."""
    if shared is None:
        yield InMemoryStorage()
        return
    async with with_empty_tables(shared) as store:
        yield store.storage


@pytest.fixture
def elapse(shared: DatabaseFixture | None, storage: Storage) -> Elapse:
    """Return a function that lets a time pass for the stored idempotency records. A negative time goes back."""

    def elapse(time: timedelta) -> None:
        if shared is not None:
            shared.admin.execute(AGE, {"time": time})
        elif isinstance(storage, InMemoryStorage):
            records = storage._tables.idempotency_records
            records |= {id_: stored._replace(expires_at=stored.expires_at - time) for id_, stored in records.items()}

    return elapse


@pytest.fixture
def is_waiting(shared: DatabaseFixture | None) -> Callable[[], bool]:
    """Return a function that returns True while a session waits for a lock. In memory, no session waits."""
    return shared.is_waiting if shared else lambda: False


@pytest.fixture
async def kind(request: pytest.FixtureRequest, storage: Storage) -> str:
    """Return the kind of the entities. For posts, store their author first."""
    if request.param == "posts":
        await store(storage, AUTHOR)
    return str(request.param)


@pytest.fixture
def at_once(is_waiting: Callable[[], bool]) -> AtOnce:
    """Return a function that runs a coroutine. It fails if the coroutine waits for a lock."""

    async def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.create_task(coroutine)
        await wait_until(lambda: task.done() or is_waiting())
        waits = not task.done()
        if waits:
            task.cancel()
            await asyncio.wait([task])
        assert not waits, "it waits for the lock of another unit of work"
        return await task

    return run

"""Fixtures for the storages that have to fulfill the contract of the ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from domain.api_keys import ApiKey
from tests.support.examples import a_key, store
from tests.support.services import post_service, user_service
from tests.support.stores import DRIVERS, Store, cleared
from tests.support.waiting import until

MEMORY = "memory"
AtOnce = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


@pytest.fixture(params=[MEMORY, *DRIVERS])
def shared(request: pytest.FixtureRequest) -> Store | None:
    """Return the database of each driver, and None for the storage in memory."""
    if request.param == MEMORY:
        return None
    stores: Mapping[str, Store] = request.getfixturevalue("stores")
    return stores[request.param]


@pytest.fixture
async def storage(shared: Store | None) -> AsyncIterator[Storage]:
    """Return each storage without entities."""
    if shared is None:
        yield InMemoryStorage()
        return
    async with cleared(shared) as store:
        yield store.storage


@pytest.fixture
def is_waiting(shared: Store | None) -> Callable[[], bool]:
    """Return a function that returns True while a session waits for a lock. In memory, no session waits."""
    return shared.is_waiting if shared else lambda: False


@pytest.fixture
def users(storage: Storage) -> UserService:
    return user_service(storage)


@pytest.fixture
def posts(storage: Storage) -> PostService:
    return post_service(storage)


@pytest.fixture
async def key(storage: Storage) -> ApiKey:
    key = a_key()
    await store(storage, key)
    return key


@pytest.fixture
def at_once(is_waiting: Callable[[], bool]) -> AtOnce:
    """Return a function that runs a coroutine. It fails if the coroutine waits for a lock."""

    async def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.create_task(coroutine)
        await until(lambda: task.done() or is_waiting())
        waits = not task.done()
        if waits:
            task.cancel()
            await asyncio.wait([task])
        assert not waits, "it waits for the lock of another unit of work"
        return await task

    return run

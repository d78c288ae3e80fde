"""The storages that keep the contract of the ports."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from adapters.memory.storage import InMemoryStorage
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from tests.support.services import post_service, user_service
from tests.support.stores import DRIVERS, Store, cleared

MEMORY = "memory"


@pytest.fixture(params=[MEMORY, *DRIVERS])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Each storage in turn, empty."""
    if request.param == MEMORY:
        yield InMemoryStorage()
        return
    stores: Mapping[str, Store] = request.getfixturevalue("stores")
    for store in cleared(stores[request.param]):
        yield store.storage


@pytest.fixture
def is_waiting(storage: Storage, request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Tell whether somebody waits for a lock that somebody else holds; in memory nobody ever does."""
    if isinstance(storage, InMemoryStorage):
        return lambda: False
    stores: Mapping[str, Store] = request.getfixturevalue("stores")
    return stores[storage._database.driver.name].is_waiting  # type: ignore[attr-defined]


@pytest.fixture
def users(storage: Storage) -> UserService:
    return user_service(storage)


@pytest.fixture
def posts(storage: Storage) -> PostService:
    return post_service(storage)

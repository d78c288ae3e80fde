from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.http.raw_connection import RawConnection, listening
from tests.http.support import Api, serving
from tests.support.polling import wait_until
from tests.support.principals import CountingStorage
from tests.support.service_factories import START


@pytest.fixture(scope="session")
async def default_api() -> AsyncIterator[Api]:
    """An application with default options; use `api`, which has its own storage and log."""
    async with serving() as made:
        yield made


@pytest.fixture(scope="session")
async def default_wire() -> AsyncIterator[RawConnection]:
    """An application on a port, with small limits; use `wire`, which has its own storage and log."""
    async with listening() as made:
        yield made


@pytest.fixture
def storage() -> CountingStorage:
    """The storage of `api`."""
    return CountingStorage(lambda: START)


@pytest.fixture
async def api(default_api: Api, storage: CountingStorage) -> AsyncIterator[Api]:
    """An application over an empty storage. A test that adds a route needs `serving` instead."""
    async with default_api.over(storage) as made:
        yield made


@pytest.fixture
async def wire(default_wire: RawConnection, storage: CountingStorage) -> AsyncIterator[RawConnection]:
    """An application on a port, over an empty storage."""
    async with default_wire.api.over(storage) as api:
        yield replace(default_wire, api=api)
        default_wire.abort()
        await wait_until(lambda: not default_wire.state.connections and not default_wire.state.tasks)

"""Fixtures for use cases over memory."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.posts import PostService
from application.users import UserService
from tests.application.auth_harness import AuthHarness
from tests.support.service_factories import post_service, user_service


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def users(storage: InMemoryStorage) -> UserService:
    return user_service(storage)


@pytest.fixture
def posts(storage: InMemoryStorage) -> PostService:
    return post_service(storage)


@pytest.fixture
async def auth() -> AsyncIterator[AuthHarness]:
    auth = AuthHarness()
    yield auth
    await auth.authenticator.close()

"""Fixtures for use cases over memory."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from domain.posts import Post
from domain.users import User
from tests.application.auth_harness import AuthHarness
from tests.support.factories import make_post, store


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
async def post(storage: InMemoryStorage, user: User) -> Post:
    post = make_post(user)
    await store(storage, post)
    return post


@pytest.fixture
async def auth() -> AsyncIterator[AuthHarness]:
    auth = AuthHarness()
    yield auth
    await auth.authenticator.close()

"""Fixtures for use cases over memory."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.posts import PostService
from application.users import UserService
from domain.posts import Post
from domain.users import User
from tests.application.auth_harness import AuthHarness
from tests.support.factories import make_post, make_user, store
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
async def user(storage: InMemoryStorage) -> User:
    user = make_user()
    await store(storage, user)
    return user


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

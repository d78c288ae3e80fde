"""Use cases over memory."""

import pytest

from adapters.memory.storage import InMemoryStorage
from application.posts import PostService
from application.users import UserService
from tests.support.services import post_service, user_service


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def users(storage: InMemoryStorage) -> UserService:
    return user_service(storage)


@pytest.fixture
def posts(storage: InMemoryStorage) -> PostService:
    return post_service(storage)

"""Tests for principals that are bound to a user: data of other users is not even loaded."""

from uuid import UUID

import pytest

from adapters.clock import new_id
from adapters.memory.users import InMemoryUserRepository
from application.authorization import SYSTEM_PRINCIPAL
from domain.posts import AuthorNotFoundError, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.principals import CountingStorage, bound_principal
from tests.support.service_factories import post_service, user_service


@pytest.fixture
def storage() -> CountingStorage:
    return CountingStorage()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Return the ids of the users that are loaded. All other queries for users fail."""
    ids: list[UUID] = []
    get = InMemoryUserRepository.get

    async def recorded(self: InMemoryUserRepository, user_id: UUID) -> User:
        ids.append(user_id)
        return await get(self, user_id)

    async def failed(*_: object, **__: object) -> None:
        raise AssertionError("the query could load other users")

    monkeypatch.setattr(InMemoryUserRepository, "get", recorded)
    monkeypatch.setattr(InMemoryUserRepository, "list", failed)
    monkeypatch.setattr(InMemoryUserRepository, "find_by_email", failed)
    return ids


async def test_bound_key_list_loads_only_its_user(storage: CountingStorage, loaded: list[UUID]) -> None:
    users = user_service(storage)
    ada, bob = [await users.create(SYSTEM_PRINCIPAL, email=f"{name}@example.org") for name in ("ada", "bob")]
    for email in (None, ada.email, bob.email, "absent@example.org"):
        await users.list(bound_principal(ada.id), limit=9, email=email)
    assert set(loaded) == {ada.id}


async def test_bound_key_gets_not_found_without_a_lookup(storage: CountingStorage, loaded: list[UUID]) -> None:
    users, posts = user_service(storage), post_service(storage)
    bob = await users.create(SYSTEM_PRINCIPAL, email="bob@example.org")
    before = storage.begun
    with pytest.raises(UserNotFoundError):
        await users.update(bound_principal(new_id()), bob.id, full_name="Eve")
    with pytest.raises(AuthorNotFoundError):
        await posts.create(bound_principal(new_id()), author_id=bob.id, title="T", content="C")
    assert storage.begun == before
    for use_case in (users.get, users.delete):
        with pytest.raises(UserNotFoundError):
            await use_case(bound_principal(new_id()), bob.id)
    assert loaded == []


async def test_hidden_post_raises_the_error_of_a_missing_post(storage: CountingStorage) -> None:
    users, posts = user_service(storage), post_service(storage)
    ada = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    draft = await posts.create(SYSTEM_PRINCIPAL, author_id=ada.id, title="T", content="C", status=PostStatus.DRAFT)
    messages = set()
    for post_id in (draft.id, new_id()):
        with pytest.raises(PostNotFoundError) as raised:
            await posts.get(bound_principal(new_id()), post_id)
        messages.add(str(raised.value))
    assert len(messages) == 1

"""What is another's is not even loaded for a caller who is bound to a user."""

from uuid import UUID

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.memory.users import InMemoryUserRepository
from adapters.system import new_id
from application.access import OPERATOR
from application.posts import PostService
from application.users import UserService
from domain.posts import AuthorNotFoundError, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.callers import CountingStorage, bound
from tests.support.services import post_service, user_service


@pytest.fixture
def storage() -> CountingStorage:
    return CountingStorage()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The ids of the users that are asked for; to ask for users in another way fails."""
    ids: list[UUID] = []
    get = InMemoryUserRepository.get

    async def noted(self: InMemoryUserRepository, user_id: UUID) -> User:
        ids.append(user_id)
        return await get(self, user_id)

    async def failed(*_: object, **__: object) -> None:
        raise AssertionError("others would be loaded")

    monkeypatch.setattr(InMemoryUserRepository, "get", noted)
    monkeypatch.setattr(InMemoryUserRepository, "list", failed)
    monkeypatch.setattr(InMemoryUserRepository, "find_by_email", failed)
    return ids


async def test_no_user_is_loaded_but_oneself(storage: CountingStorage, asked: list[UUID]) -> None:
    users = user_service(storage)
    ada, bob = [await users.register(OPERATOR, email=f"{name}@example.org") for name in ("ada", "bob")]
    for email in (None, ada.email, bob.email, "nobody@example.org"):
        await users.list(bound(ada.id), limit=9, email=email)
    assert set(asked) == {ada.id}


async def test_the_storage_is_not_asked_for_another(storage: CountingStorage, asked: list[UUID]) -> None:
    users, posts = user_service(storage), post_service(storage)
    bob = await users.register(OPERATOR, email="bob@example.org")
    before = storage.begun
    with pytest.raises(UserNotFoundError):
        await users.change(bound(new_id()), bob.id, full_name="Eve")
    with pytest.raises(AuthorNotFoundError):
        await posts.write(bound(new_id()), author_id=bob.id, title="T", content="C")
    assert storage.begun == before
    for use_case in (users.get, users.erase):
        with pytest.raises(UserNotFoundError):
            await use_case(bound(new_id()), bob.id)
    assert asked == []


async def test_a_hidden_post_is_like_one_that_is_not_there(storage: InMemoryStorage) -> None:
    users: UserService = user_service(storage)
    posts: PostService = post_service(storage)
    ada = await users.register(OPERATOR, email="ada@example.org")
    draft = await posts.write(OPERATOR, author_id=ada.id, title="T", content="C", status=PostStatus.DRAFT)
    said = set()
    for post_id in (draft.id, new_id()):
        with pytest.raises(PostNotFoundError) as raised:
            await posts.get(bound(new_id()), post_id)
        said.add(str(raised.value))
    assert len(said) == 1

"""Tests for authorization in every use case."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from adapters.memory.users import InMemoryUserRepository
from application.api_keys import ApiKeyService
from application.authorization import SYSTEM_PRINCIPAL, ForbiddenError, Principal
from application.posts import PostService
from application.users import UserService
from domain.api_keys import NewApiKey, Scope
from domain.posts import AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.factories import stored_posts, stored_users
from tests.support.principals import CountingStorage, bound_principal, principal_without, unbound_principal
from tests.support.service_factories import START, key_service

END = datetime.max.replace(tzinfo=START.tzinfo)
NEW_KEY: NewApiKey = {"name": "K", "scopes": [Scope.USERS_READ]}
TEXT: Any = {"title": "T", "content": "C"}


@dataclass(frozen=True)
class Services:
    users: UserService
    posts: PostService
    keys: ApiKeyService
    ada: User
    bob: User
    draft: Post
    published: Post
    """Ada is the author of both posts."""
    key_id: UUID


@pytest.fixture
def storage() -> CountingStorage:
    return CountingStorage()


@pytest.fixture
async def services(storage: InMemoryStorage, users: UserService, posts: PostService) -> Services:
    ada, bob = [await users.create(SYSTEM_PRINCIPAL, email=f"{name}@example.org") for name in ("ada", "bob")]
    draft, published = [
        await posts.create(SYSTEM_PRINCIPAL, author_id=ada.id, title="T", content="C", status=status)
        for status in (PostStatus.DRAFT, PostStatus.PUBLISHED)
    ]
    keys = key_service(storage)
    issued = await keys.create(SYSTEM_PRINCIPAL, **NEW_KEY)
    return Services(users, posts, keys, ada, bob, draft, published, issued.key.id)


Act = Callable[[Services, Principal], Awaitable[Any]]
Case = tuple[Callable[..., Any], Scope, Act]
USE_CASES: list[Case] = [
    (UserService.create, Scope.USERS_WRITE, lambda s, c: s.users.create(c, email="eve@example.org")),
    (UserService.create_once, Scope.USERS_WRITE, lambda s, c: s.users.create_once(c, None, email="eve@example.org")),
    (UserService.get, Scope.USERS_READ, lambda s, c: s.users.get(c, s.ada.id)),
    (UserService.list, Scope.USERS_READ, lambda s, c: s.users.list(c, limit=9)),
    (UserService.list, Scope.USERS_READ, lambda s, c: s.users.list(c, limit=9, email="ada@example.org")),
    (UserService.update, Scope.USERS_WRITE, lambda s, c: s.users.update(c, s.ada.id, full_name="Ada")),
    (UserService.delete, Scope.USERS_WRITE, lambda s, c: s.users.delete(c, s.ada.id)),
    (PostService.create, Scope.POSTS_WRITE, lambda s, c: s.posts.create(c, author_id=s.ada.id, **TEXT)),
    (
        PostService.create_once,
        Scope.POSTS_WRITE,
        lambda s, c: s.posts.create_once(c, None, author_id=s.ada.id, **TEXT),
    ),
    (PostService.get, Scope.POSTS_READ, lambda s, c: s.posts.get(c, s.draft.id)),
    (PostService.list, Scope.POSTS_READ, lambda s, c: s.posts.list(c, limit=9)),
    (PostService.search, Scope.POSTS_READ, lambda s, c: s.posts.search(c, "t", limit=9)),
    (PostService.update, Scope.POSTS_WRITE, lambda s, c: s.posts.update(c, s.draft.id, title="New")),
    (PostService.delete, Scope.POSTS_WRITE, lambda s, c: s.posts.delete(c, s.draft.id)),
    (ApiKeyService.create, Scope.KEYS_ADMIN, lambda s, c: s.keys.create(c, **NEW_KEY)),
    (ApiKeyService.create_once, Scope.KEYS_ADMIN, lambda s, c: s.keys.create_once(c, None, **NEW_KEY)),
    (ApiKeyService.now, Scope.KEYS_ADMIN, lambda s, c: s.keys.now(c)),
    (ApiKeyService.get, Scope.KEYS_ADMIN, lambda s, c: s.keys.get(c, s.key_id)),
    (ApiKeyService.list, Scope.KEYS_ADMIN, lambda s, c: s.keys.list(c, limit=9)),
    (ApiKeyService.revoke, Scope.KEYS_ADMIN, lambda s, c: s.keys.revoke(c, s.key_id)),
    (ApiKeyService.rotate, Scope.KEYS_ADMIN, lambda s, c: s.keys.rotate(c, s.key_id, until=END)),
]
use_cases = pytest.mark.parametrize("case", USE_CASES, ids=[use_case.__qualname__ for use_case, _, _ in USE_CASES])
NEED_GRANTED_SCOPE = {ApiKeyService.create, ApiKeyService.create_once, ApiKeyService.rotate}


@use_cases
async def test_use_case_raises_forbidden_without_its_scope(
    services: Services, storage: InMemoryStorage, case: Case
) -> None:
    _, scope, act = case
    before = await stored_users(storage), await stored_posts(storage)
    with pytest.raises(ForbiddenError, match=scope) as raised:
        await act(services, principal_without(scope))
    assert raised.value.scope is scope
    assert (await stored_users(storage), await stored_posts(storage)) == before
    assert all(key.is_active(START) for key in (await services.keys.list(SYSTEM_PRINCIPAL, limit=9)).items)


@use_cases
async def test_use_case_succeeds_with_its_scope_alone(services: Services, case: Case) -> None:
    use_case, scope, act = case
    await act(services, unbound_principal(scope, *([Scope.USERS_READ] if use_case in NEED_GRANTED_SCOPE else [])))


def test_use_case_table_is_complete() -> None:
    public = {
        value
        for service in (UserService, PostService, ApiKeyService)
        for name, value in vars(service).items()
        if callable(value) and not name.startswith("_")
    }
    assert public == {use_case for use_case, _, _ in USE_CASES}


async def test_create_user_raises_forbidden_for_bound_key(services: Services, storage: InMemoryStorage) -> None:
    with pytest.raises(ForbiddenError) as raised:
        await services.users.create(bound_principal(services.ada.id), email="eve@example.org")
    assert raised.value.scope is None
    assert len(await stored_users(storage)) == 2


async def test_bound_key_without_scope_gets_forbidden_before_not_found(services: Services) -> None:
    reader = bound_principal(services.bob.id, [Scope.USERS_READ, Scope.POSTS_READ])
    with pytest.raises(ForbiddenError):
        await services.users.delete(reader, services.ada.id)
    with pytest.raises(ForbiddenError):
        await services.posts.create(reader, author_id=services.ada.id, title="T", content="C")


async def test_bound_key_gets_updates_and_deletes_its_user(services: Services) -> None:
    principal = bound_principal(services.ada.id)
    assert await services.users.get(principal, services.ada.id) == services.ada
    assert (await services.users.update(principal, services.ada.id, full_name="Ada")).full_name == "Ada"
    await services.users.delete(principal, services.ada.id)
    with pytest.raises(UserNotFoundError):
        await services.users.get(principal, services.ada.id)
    assert (await services.users.list(principal, limit=9)).items == []


async def test_bound_key_lists_only_its_user(services: Services) -> None:
    ada, bob = services.ada, services.bob
    principal = bound_principal(ada.id)

    async def listed(**filters: Any) -> list[User]:
        page = await services.users.list(principal, limit=1, **filters)
        assert page.next_after is None
        return list(page.items)

    assert await listed() == [ada]
    assert await listed(email="ADA@Example.org") == [ada]
    assert await listed(email=bob.email) == []
    assert await listed(email="absent@example.org") == []
    assert await listed(is_active=True) == [ada]
    assert await listed(is_active=False) == []
    assert await listed(after=bob.id) == [ada]
    assert await listed(after=ada.id) == []
    assert await listed(email=ada.email, is_active=True, after=bob.id) == [ada]
    with pytest.raises(ValueError, match="address"):
        await listed(email="ada")


async def test_bound_key_reads_published_posts_and_its_own(services: Services) -> None:
    posts, ada, bob = services.posts, bound_principal(services.ada.id), bound_principal(services.bob.id)
    own = await posts.create(bob, author_id=services.bob.id, title="T", content="C")
    with pytest.raises(PostNotFoundError):
        await posts.get(bob, services.draft.id)
    visible = {bob: [own, services.published], ada: [services.published, services.draft]}
    for principal, expected in visible.items():
        assert [await posts.get(principal, post.id) for post in expected] == expected
        assert (await posts.list(principal, limit=9)).items == expected
        assert (await posts.search(principal, "t", limit=9)).items == expected
    assert (await posts.list(bob, limit=9, status=PostStatus.DRAFT)).items == [own]
    assert (await posts.search(bob, "t", limit=9, author_id=services.ada.id)).items == [services.published]


async def test_bound_key_creates_posts_only_for_its_user(services: Services, storage: InMemoryStorage) -> None:
    bob = bound_principal(services.bob.id)
    for author_id in (services.ada.id, new_id()):
        with pytest.raises(AuthorNotFoundError):
            await services.posts.create(bob, author_id=author_id, title="T", content="C")
    assert len(await stored_posts(storage)) == 2
    assert (await services.posts.create(bob, author_id=services.bob.id, title="T", content="C")).version == 1


async def test_bound_key_updates_and_deletes_only_its_posts(services: Services, storage: InMemoryStorage) -> None:
    posts, ada, bob = services.posts, bound_principal(services.ada.id), bound_principal(services.bob.id)
    for post in (services.draft, services.published):
        for attempt in (posts.update(bob, post.id, title="Eve"), posts.delete(bob, post.id)):
            with pytest.raises(PostNotFoundError):
                await attempt
    assert await stored_posts(storage) == [services.published, services.draft]
    assert (await posts.update(ada, services.draft.id, title="New")).title == "New"
    await posts.delete(ada, services.published.id)
    assert len(await stored_posts(storage)) == 1


@pytest.mark.parametrize("is_active", [True, False])
async def test_bound_key_update_of_is_active_raises_forbidden(services: Services, is_active: bool) -> None:
    with pytest.raises(ForbiddenError):
        await services.users.update(bound_principal(services.ada.id), services.ada.id, is_active=is_active)
    assert (await services.users.get(SYSTEM_PRINCIPAL, services.ada.id)) == services.ada


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


async def test_bound_key_list_loads_only_its_user(services: Services, loaded: list[UUID]) -> None:
    for email in (None, services.ada.email, services.bob.email, "absent@example.org"):
        await services.users.list(bound_principal(services.ada.id), limit=9, email=email)
    assert set(loaded) == {services.ada.id}


async def test_bound_key_gets_not_found_without_a_lookup(
    services: Services, storage: CountingStorage, loaded: list[UUID]
) -> None:
    principal, bob, before = bound_principal(new_id()), services.bob.id, storage.begun
    with pytest.raises(UserNotFoundError):
        await services.users.update(principal, bob, full_name="Eve")
    with pytest.raises(AuthorNotFoundError):
        await services.posts.create(principal, author_id=bob, **TEXT)
    assert storage.begun == before
    for use_case in (services.users.get, services.users.delete):
        with pytest.raises(UserNotFoundError):
            await use_case(principal, bob)
    assert loaded == []


async def test_hidden_post_raises_the_error_of_a_missing_post(services: Services) -> None:
    messages = set()
    for post_id in (services.draft.id, new_id()):
        with pytest.raises(PostNotFoundError) as raised:
            await services.posts.get(bound_principal(new_id()), post_id)
        messages.add(str(raised.value))
    assert len(messages) == 1

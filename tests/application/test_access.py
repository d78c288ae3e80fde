"""Who may do what: every use case asks, and for a caller who is bound to a user there is nobody else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR, Caller, ForbiddenError
from application.keys import ApiKeyService
from application.posts import PostService
from application.users import UserService
from domain.keys import Scope
from domain.posts import AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.callers import bound, lacking, unbound
from tests.support.examples import stored_posts, stored_users
from tests.support.services import START, key_service


@dataclass(frozen=True)
class House:
    users: UserService
    posts: PostService
    keys: ApiKeyService
    ada: User
    bob: User
    draft: Post
    published: Post
    """Both by Ada."""


@pytest.fixture
async def house(storage: InMemoryStorage, users: UserService, posts: PostService) -> House:
    ada, bob = [await users.register(OPERATOR, email=f"{name}@example.org") for name in ("ada", "bob")]
    draft, published = [
        await posts.write(OPERATOR, author_id=ada.id, title="T", content="C", status=status)
        for status in (PostStatus.DRAFT, PostStatus.PUBLISHED)
    ]
    return House(users, posts, key_service(storage), ada, bob, draft, published)


Act = Callable[[House, Caller], Awaitable[Any]]
END = datetime.max.replace(tzinfo=START.tzinfo)

USE_CASES: dict[str, tuple[Scope, Act]] = {
    "register": (Scope.USERS_WRITE, lambda h, c: h.users.register(c, email="eve@example.org")),
    "get a user": (Scope.USERS_READ, lambda h, c: h.users.get(c, h.ada.id)),
    "list users": (Scope.USERS_READ, lambda h, c: h.users.list(c, limit=9)),
    "list users of an address": (Scope.USERS_READ, lambda h, c: h.users.list(c, limit=9, email="ada@example.org")),
    "change a user": (Scope.USERS_WRITE, lambda h, c: h.users.change(c, h.ada.id, full_name="Ada")),
    "erase a user": (Scope.USERS_WRITE, lambda h, c: h.users.erase(c, h.ada.id)),
    "write": (Scope.POSTS_WRITE, lambda h, c: h.posts.write(c, author_id=h.ada.id, title="T", content="C")),
    "get a post": (Scope.POSTS_READ, lambda h, c: h.posts.get(c, h.draft.id)),
    "list posts": (Scope.POSTS_READ, lambda h, c: h.posts.list(c, limit=9)),
    "search": (Scope.POSTS_READ, lambda h, c: h.posts.search(c, "t", limit=9)),
    "revise": (Scope.POSTS_WRITE, lambda h, c: h.posts.revise(c, h.draft.id, title="New")),
    "remove": (Scope.POSTS_WRITE, lambda h, c: h.posts.remove(c, h.draft.id)),
    "create a key": (Scope.KEYS_ADMIN, lambda h, c: h.keys.create(c, name="K", scopes=[Scope.USERS_READ])),
    "get a key": (Scope.KEYS_ADMIN, lambda h, c: _with_key(h, lambda key_id: h.keys.get(c, key_id))),
    "list keys": (Scope.KEYS_ADMIN, lambda h, c: h.keys.list(c, limit=9)),
    "revoke a key": (Scope.KEYS_ADMIN, lambda h, c: _with_key(h, lambda key_id: h.keys.revoke(c, key_id))),
    "rotate a key": (Scope.KEYS_ADMIN, lambda h, c: _with_key(h, lambda key_id: h.keys.rotate(c, key_id, until=END))),
}
NEEDS_TWO = {"create a key", "rotate a key"}
"""A key can only be made by somebody who may do what it allows."""


async def _with_key(house: House, act: Callable[[UUID], Awaitable[Any]]) -> Any:
    issued = await house.keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ])
    return await act(issued.key.id)


@pytest.mark.parametrize("name", USE_CASES)
async def test_without_its_scope_nothing_is_done(house: House, storage: InMemoryStorage, name: str) -> None:
    scope, act = USE_CASES[name]
    before = await stored_users(storage), await stored_posts(storage)
    with pytest.raises(ForbiddenError, match=scope) as raised:
        await act(house, lacking(scope))
    assert raised.value.scope is scope
    assert (await stored_users(storage), await stored_posts(storage)) == before
    assert all(key.is_live(START) for key in (await house.keys.list(OPERATOR, limit=9)).items)


@pytest.mark.parametrize("name", USE_CASES)
async def test_its_scope_is_all_that_is_needed(house: House, name: str) -> None:
    scope, act = USE_CASES[name]
    await act(house, unbound(scope, *([Scope.USERS_READ] if name in NEEDS_TWO else [])))


def test_every_use_case_is_tried() -> None:
    verbs = {
        name
        for service in (UserService, PostService, ApiKeyService)
        for name, value in vars(service).items()
        if callable(value) and not name.startswith("_")
    }
    assert verbs == {name.split()[0] for name in USE_CASES}


def test_the_operator_may_do_everything() -> None:
    OPERATOR.require(*Scope)
    OPERATOR.require_unbound()
    assert not OPERATOR.is_kept_from(new_id())


@pytest.mark.parametrize("missing", Scope)
def test_the_scope_that_is_missing_is_named(missing: Scope) -> None:
    with pytest.raises(ForbiddenError, match=missing) as raised:
        lacking(missing).require(*Scope)
    assert raised.value.scope is missing


def test_a_caller_who_is_bound_is_kept_from_others() -> None:
    ada = new_id()
    assert not bound(ada).is_kept_from(ada)
    assert bound(ada).is_kept_from(new_id())
    with pytest.raises(ForbiddenError) as raised:
        bound(ada).require_unbound()
    assert raised.value.scope is None


async def test_a_bound_caller_registers_nobody(house: House, storage: InMemoryStorage) -> None:
    with pytest.raises(ForbiddenError) as raised:
        await house.users.register(bound(house.ada.id), email="eve@example.org")
    assert raised.value.scope is None
    assert len(await stored_users(storage)) == 2


async def test_a_bound_caller_is_told_of_a_missing_scope_first(house: House) -> None:
    reader = bound(house.bob.id, [Scope.USERS_READ, Scope.POSTS_READ])
    with pytest.raises(ForbiddenError):
        await house.users.erase(reader, house.ada.id)
    with pytest.raises(ForbiddenError):
        await house.posts.write(reader, author_id=house.ada.id, title="T", content="C")


async def test_a_bound_caller_sees_changes_and_erases_themselves(house: House) -> None:
    caller = bound(house.ada.id)
    assert await house.users.get(caller, house.ada.id) == house.ada
    assert (await house.users.change(caller, house.ada.id, full_name="Ada")).full_name == "Ada"
    await house.users.erase(caller, house.ada.id)
    with pytest.raises(UserNotFoundError):
        await house.users.get(caller, house.ada.id)
    assert (await house.users.list(caller, limit=9)).items == []


async def test_there_are_no_others_for_a_bound_caller(house: House, storage: InMemoryStorage) -> None:
    caller, users = bound(house.bob.id), house.users
    for attempt in (
        users.get(caller, house.ada.id),
        users.change(caller, house.ada.id, full_name="Eve"),
        users.erase(caller, house.ada.id),
    ):
        with pytest.raises(UserNotFoundError):
            await attempt
    assert house.ada in await stored_users(storage)


async def test_a_bound_caller_lists_only_themselves_within_the_filters(house: House) -> None:
    ada, bob = house.ada, house.bob
    caller = bound(ada.id)

    async def listed(**filters: Any) -> list[User]:
        page = await house.users.list(caller, limit=1, **filters)
        assert page.next_after is None
        return list(page.items)

    assert await listed() == [ada]
    assert await listed(email="ADA@Example.org") == [ada]
    assert await listed(email=bob.email) == []
    assert await listed(email="nobody@example.org") == []
    assert await listed(is_active=True) == [ada]
    assert await listed(is_active=False) == []
    assert await listed(after=bob.id) == [ada]
    assert await listed(after=ada.id) == []
    assert await listed(email=ada.email, is_active=True, after=bob.id) == [ada]
    with pytest.raises(ValueError, match="address"):
        await listed(email="nobody")


async def test_a_bound_caller_reads_what_is_published_and_their_own(house: House) -> None:
    posts = house.posts
    assert await posts.get(bound(house.ada.id), house.draft.id) == house.draft
    assert await posts.get(bound(house.bob.id), house.published.id) == house.published
    with pytest.raises(PostNotFoundError):
        await posts.get(bound(house.bob.id), house.draft.id)
    archived = await posts.revise(OPERATOR, house.published.id, status=PostStatus.ARCHIVED)
    with pytest.raises(PostNotFoundError):
        await posts.get(bound(house.bob.id), archived.id)
    assert await posts.get(bound(house.ada.id), archived.id) == archived


async def test_a_bound_caller_lists_what_is_published_and_their_own(house: House) -> None:
    posts, ada, bob = house.posts, bound(house.ada.id), bound(house.bob.id)
    assert (await posts.list(ada, limit=9)).items == [house.published, house.draft]
    assert (await posts.list(bob, limit=9)).items == [house.published]
    assert (await posts.list(bob, limit=9, status=PostStatus.DRAFT)).items == []
    assert (await posts.list(bob, limit=9, author_id=house.ada.id)).items == [house.published]
    own = await posts.write(bob, author_id=house.bob.id, title="T", content="C")
    assert (await posts.list(bob, limit=9, status=PostStatus.DRAFT)).items == [own]
    # The page is cut out of what can be read.
    first = await posts.list(bob, limit=1)
    assert (first.items, first.next_after) == ([own], own.id)
    last = await posts.list(bob, limit=1, after=first.next_after)
    assert (last.items, last.next_after) == ([house.published], None)


async def test_a_bound_caller_finds_what_is_published_and_their_own(house: House) -> None:
    posts, ada, bob = house.posts, bound(house.ada.id), bound(house.bob.id)
    assert (await posts.search(ada, "t", limit=9)).items == [house.published, house.draft]
    assert (await posts.search(bob, "t", limit=9)).items == [house.published]
    assert (await posts.search(bob, "t", limit=9, status=PostStatus.DRAFT)).items == []
    assert (await posts.search(bob, "t", limit=9, author_id=house.ada.id)).items == [house.published]
    own = await posts.write(bob, author_id=house.bob.id, title="Other", content="t")
    assert (await posts.search(bob, "t", limit=9, status=PostStatus.DRAFT)).items == [own]
    # The page is cut out of what can be read.
    first = await posts.search(bob, "t", limit=1)
    assert first.items == [house.published]
    last = await posts.search(bob, "t", limit=1, after=first.next_after)
    assert (last.items, last.next_after) == ([own], None)


async def test_a_bound_caller_writes_only_as_themselves(house: House, storage: InMemoryStorage) -> None:
    for author_id in (house.ada.id, new_id()):
        with pytest.raises(AuthorNotFoundError):
            await house.posts.write(bound(house.bob.id), author_id=author_id, title="T", content="C")
    assert len(await stored_posts(storage)) == 2
    assert (await house.posts.write(bound(house.bob.id), author_id=house.bob.id, title="T", content="C")).version == 1


async def test_a_bound_caller_changes_only_their_own_posts(house: House, storage: InMemoryStorage) -> None:
    for post in (house.draft, house.published):
        for attempt in (
            house.posts.revise(bound(house.bob.id), post.id, title="Eve"),
            house.posts.remove(bound(house.bob.id), post.id),
        ):
            with pytest.raises(PostNotFoundError):
                await attempt
    assert await stored_posts(storage) == [house.published, house.draft]
    assert (await house.posts.revise(bound(house.ada.id), house.draft.id, title="New")).title == "New"
    await house.posts.remove(bound(house.ada.id), house.published.id)
    assert len(await stored_posts(storage)) == 1


async def test_whether_a_user_is_active_is_not_theirs_to_change(house: House) -> None:
    caller = bound(house.ada.id)
    for is_active in (True, False):
        with pytest.raises(ForbiddenError):
            await house.users.change(caller, house.ada.id, is_active=is_active)
    assert (await house.users.change(caller, house.ada.id, full_name="Ada")).is_active

"""Tests for concurrent use cases: the stored entities match the acknowledged writes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from adapters.clock import utc_now
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from domain.api_keys import ApiKeyUserNotFoundError, Scope
from domain.errors import DomainError
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.factories import make_post, make_user, store, stored_api_keys, stored_posts, stored_users
from tests.support.principals import HookedStorage
from tests.support.service_factories import key_service, post_service, user_service
from tests.support.use_case_runner import UseCaseRunner

CALLERS = 20
AUTHOR = make_user(email="ada@example.org")
DRAFT = make_post(AUTHOR, status=PostStatus.DRAFT)
Call = Callable[[Storage, Post], Coroutine[Any, Any, Any]]


def _update_author(**changes: Any) -> Call:
    return lambda storage, draft: _users(storage).update(SYSTEM_PRINCIPAL, draft.author_id, **changes)


def _update_post(**changes: Any) -> Call:
    return lambda storage, draft: post_service(storage, now=utc_now).update(SYSTEM_PRINCIPAL, draft.id, **changes)


def _users(storage: Storage) -> UserService:
    return user_service(storage, now=utc_now)


INTERRUPTIONS: dict[str, Call] = {
    "deactivate author": _update_author(is_active=False),
    "rename author": _update_author(full_name="Renamed"),
    "change e-mail": _update_author(email="new@example.org"),
    "delete author": lambda storage, draft: _users(storage).delete(SYSTEM_PRINCIPAL, draft.author_id),
    "create user": lambda storage, _: _users(storage).create(SYSTEM_PRINCIPAL, email="NEW@example.org"),
    "edit post": _update_post(content="edited"),
}
CALLS: dict[str, Call] = INTERRUPTIONS | {
    "create post": lambda storage, draft: post_service(storage).create(
        SYSTEM_PRINCIPAL, author_id=draft.author_id, title="New", content="x"
    ),
    "create key": lambda storage, draft: key_service(storage).create(
        SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], user_id=draft.author_id
    ),
    "publish post": _update_post(title="New", status=PostStatus.PUBLISHED),
    "rename version 1": _update_author(full_name="Ada L.", expected=[1]),
    "delete version 1": lambda storage, draft: _users(storage).delete(SYSTEM_PRINCIPAL, draft.author_id, expected=[1]),
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("call", CALLS)
async def test_interrupted_call_equals_consecutive_calls(storage: Storage, call: str, interruption: str) -> None:
    async def run(storage: Storage, caller: Storage) -> list[Any]:
        """Return the type of the result, and the fields of all entities."""
        try:
            result = await CALLS[call](caller, DRAFT)
        except DomainError as error:
            result = error
        users, posts = await stored_users(storage), await stored_posts(storage)
        assert result in [*users, *posts] or not isinstance(result, User | Post)
        return [
            type(result),
            [(user.email, user.full_name, user.is_active, user.version) for user in users],
            [(post.title, post.content, post.status, post.version) for post in posts],
            [key.user_id for key in await stored_api_keys(storage)],
        ]

    consecutive = InMemoryStorage()
    for each in (consecutive, storage):
        await store(each, AUTHOR, DRAFT)
    await INTERRUPTIONS[interruption](consecutive, DRAFT)
    interrupted = HookedStorage(storage, within=lambda: INTERRUPTIONS[interruption](storage, DRAFT))
    assert await run(storage, interrupted) == await run(consecutive, consecutive)


def _count(results: Sequence[object]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


async def test_concurrent_updates_of_a_field_are_all_versions(storage: Storage, users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    names = [f"name {number}" for number in range(CALLERS)]
    changed = await asyncio.gather(*[users.update(SYSTEM_PRINCIPAL, user.id, full_name=name) for name in names])
    assert sorted(result.version for result in changed) == list(range(2, CALLERS + 2))
    assert {result.full_name for result in changed} == set(names)
    (stored,) = await stored_users(storage)
    assert stored == max(changed, key=lambda result: result.version)


@pytest.mark.parametrize("verb", ["create", "update"])
async def test_concurrent_use_cases_store_an_email_once(storage: Storage, users: UserService, verb: str) -> None:
    spellings = ["ada@example.org", "ADA@example.org", "\uff41da@EXAMPLE.org", "Ada@Example.Org"] * (CALLERS // 4)
    if verb == "create":
        calls = [users.create(SYSTEM_PRINCIPAL, email=spelling) for spelling in spellings]
    else:
        people = [make_user(email=f"{number}@example.org") for number in range(CALLERS)]
        await store(storage, *people)
        calls = [
            users.update(SYSTEM_PRINCIPAL, user.id, email=email) for user, email in zip(people, spellings, strict=True)
        ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert _count(results) == {"User": 1, EmailAlreadyRegisteredError.__name__: CALLERS - 1}
    winners = [user for user in await stored_users(storage) if user.email in spellings]
    assert winners == [result for result in results if isinstance(result, User)]


async def test_concurrent_retries_of_add_store_the_user_once(storage: Storage) -> None:
    people = [make_user() for _ in range(30)]
    for person in people:  # a retry rarely meets its own insert, so repeat
        runner = UseCaseRunner(storage)
        await asyncio.gather(*[runner.change(lambda work: work.users.add(person)) for _ in range(CALLERS)])  # noqa: B023
    assert await stored_users(storage) == people[::-1]


async def _drafts(storage: Storage) -> list[Post]:
    author = make_user()
    drafts = [make_post(author, status=PostStatus.DRAFT) for _ in range(CALLERS)]
    await store(storage, author, *drafts)
    return drafts


@pytest.mark.parametrize("call", ["create post", "publish post"])
async def test_post_write_fails_after_concurrent_deactivation(storage: Storage, users: UserService, call: str) -> None:
    drafts = await _drafts(storage)

    async def deactivate() -> list[Post]:
        await users.update(SYSTEM_PRINCIPAL, drafts[0].author_id, is_active=False)
        return await stored_posts(storage)

    tasks = [CALLS[call](storage, draft) for draft in drafts]
    *results, before = await asyncio.gather(*tasks, deactivate(), return_exceptions=True)
    assert _count(results).keys() <= {"Post", AuthorInactiveError.__name__}
    # A post that was committed after the deactivation is not in `before`.
    stored = await stored_posts(storage)
    assert stored == before
    assert {post.id for post in stored if post.title == "New"} == {
        result.id for result in results if isinstance(result, Post)
    }


@pytest.mark.parametrize("call", ["create post", "publish post", "create key"])
@pytest.mark.parametrize("attempt", range(3))
async def test_delete_user_deletes_concurrently_written_data(
    storage: Storage, users: UserService, call: str, attempt: int
) -> None:
    drafts = await _drafts(storage)
    tasks = [CALLS[call](storage, draft) for draft in drafts[attempt:]]
    erase = users.delete(SYSTEM_PRINCIPAL, drafts[0].author_id)
    *results, erased = await asyncio.gather(*tasks, erase, return_exceptions=True)
    assert erased is None
    not_found = {error.__name__ for error in (AuthorNotFoundError, PostNotFoundError, ApiKeyUserNotFoundError)}
    assert _count(results).keys() <= {"Post", "CreatedApiKey", *not_found}
    assert (await stored_users(storage), await stored_posts(storage)) == ([], [])
    assert await stored_api_keys(storage) == []


async def test_concurrent_delete_user_succeeds_once(users: UserService, user: User) -> None:
    results = await asyncio.gather(
        *[users.delete(SYSTEM_PRINCIPAL, user.id) for _ in range(CALLERS)], return_exceptions=True
    )
    assert _count(results) == {"NoneType": 1, UserNotFoundError.__name__: CALLERS - 1}


async def test_concurrent_status_updates_follow_the_lifecycle(storage: Storage, posts: PostService, user: User) -> None:
    post = make_post(user)
    await store(storage, post)
    targets = [PostStatus.ARCHIVED, PostStatus.PUBLISHED] * (CALLERS // 2)
    results = await asyncio.gather(*[posts.update(SYSTEM_PRINCIPAL, post.id, status=target) for target in targets])
    history = {result.version: result.status for result in results} | {1: PostStatus.PUBLISHED}
    assert sorted(history) == list(range(1, max(history) + 1))
    assert all(history[version] is not history[version + 1] for version in range(1, max(history)))
    (stored,) = await stored_posts(storage)
    assert (stored.version, stored.status) == (max(history), history[max(history)])
    assert stored.published_at == post.published_at

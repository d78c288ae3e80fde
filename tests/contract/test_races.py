"""Tests for concurrent use cases: the stored entities match the acknowledged writes."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from application.access import OPERATOR
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.examples import a_user, store_users, stored_posts, stored_users
from tests.support.probes import Probe

CALLERS = 20


def outcomes(results: Sequence[object]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


async def test_concurrent_updates_of_one_field_are_all_versions(storage: Storage, users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    names = [f"name {number}" for number in range(CALLERS)]
    changed = await asyncio.gather(*[users.change(OPERATOR, user.id, full_name=name) for name in names])
    assert sorted(result.version for result in changed) == list(range(2, CALLERS + 2))
    assert {result.full_name for result in changed} == set(names)
    (stored,) = await stored_users(storage)
    assert stored == max(changed, key=lambda result: result.version)


async def test_concurrent_updates_of_different_fields_are_merged(storage: Storage, users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org", full_name="Ada")
    await asyncio.gather(
        users.change(OPERATOR, user.id, full_name="Ada L."),
        users.change(OPERATOR, user.id, email="lovelace@example.org"),
        users.change(OPERATOR, user.id, is_active=False),
    )
    (stored,) = await stored_users(storage)
    assert (stored.full_name, stored.email, stored.is_active, stored.version) == (
        "Ada L.",
        "lovelace@example.org",
        False,
        4,
    )


async def test_concurrent_create_user_stores_an_email_once(storage: Storage, users: UserService) -> None:
    spellings = ["ada@example.org", "ADA@example.org", "\uff41da@EXAMPLE.org", "Ada@Example.Org"]
    results = await asyncio.gather(
        *[users.register(OPERATOR, email=spellings[number % 4]) for number in range(CALLERS)], return_exceptions=True
    )
    assert outcomes(results) == {"User": 1, EmailAlreadyRegisteredError.__name__: CALLERS - 1}
    assert await stored_users(storage) == [result for result in results if isinstance(result, User)]


async def test_concurrent_update_user_stores_an_email_once(storage: Storage, users: UserService) -> None:
    people = [a_user() for _ in range(CALLERS)]
    await store_users(storage, *people)
    results = await asyncio.gather(
        *[users.change(OPERATOR, person.id, email="ada@example.org") for person in people], return_exceptions=True
    )
    assert outcomes(results) == {"User": 1, EmailAlreadyRegisteredError.__name__: CALLERS - 1}
    assert [user for user in await stored_users(storage) if user.version > 1] == [
        result for result in results if isinstance(result, User)
    ]


async def test_concurrent_retries_of_add_store_the_user_once(storage: Storage) -> None:
    people = [a_user() for _ in range(30)]

    async def add_often(person: User) -> None:
        probe = Probe(storage)
        await asyncio.gather(*[probe.change(lambda work: work.users.add(person)) for _ in range(CALLERS)])

    for person in people:  # a retry rarely meets its own insert, so repeat
        await add_often(person)
    assert await stored_users(storage) == people[::-1]


async def test_create_post_fails_after_concurrent_deactivation(
    storage: Storage, users: UserService, posts: PostService
) -> None:
    author = await users.register(OPERATOR, email="ada@example.org")

    async def write(number: int) -> Post:
        return await posts.write(OPERATOR, author_id=author.id, title=f"post {number}", content="x")

    async def deactivate() -> set[str]:
        await users.change(OPERATOR, author.id, is_active=False)
        return {post.title for post in await stored_posts(storage)}

    results = await asyncio.gather(*[write(n) for n in range(CALLERS)], deactivate(), return_exceptions=True)
    *written, before = results
    assert outcomes(written).keys() <= {"Post", AuthorInactiveError.__name__}
    # A post that was committed after the deactivation is not in `before`.
    assert {post.title for post in await stored_posts(storage)} == before
    assert before == {result.title for result in written if isinstance(result, Post)}


async def test_publication_fails_after_concurrent_deactivation(
    storage: Storage, users: UserService, posts: PostService
) -> None:
    author = await users.register(OPERATOR, email="ada@example.org")
    drafts = [await posts.write(OPERATOR, author_id=author.id, title=f"{n}", content="x") for n in range(CALLERS)]

    async def deactivate() -> list[Post]:
        await users.change(OPERATOR, author.id, is_active=False)
        return await stored_posts(storage)

    publish = [posts.revise(OPERATOR, draft.id, status=PostStatus.PUBLISHED) for draft in drafts]
    *published, before = await asyncio.gather(*publish, deactivate(), return_exceptions=True)
    assert outcomes(published).keys() <= {"Post", AuthorInactiveError.__name__}
    assert await stored_posts(storage) == before


@pytest.mark.parametrize("attempt", range(3))
async def test_delete_user_deletes_concurrently_created_posts(
    storage: Storage, users: UserService, posts: PostService, attempt: int
) -> None:
    author = await users.register(OPERATOR, email=f"ada{attempt}@example.org")
    tasks = [posts.write(OPERATOR, author_id=author.id, title="x", content="x") for _ in range(CALLERS)]
    *written, erased = await asyncio.gather(*tasks, users.erase(OPERATOR, author.id), return_exceptions=True)
    assert erased is None
    assert outcomes(written).keys() <= {"Post", AuthorNotFoundError.__name__}
    assert (await stored_users(storage), await stored_posts(storage)) == ([], [])


async def test_delete_user_deletes_concurrently_updated_posts(
    storage: Storage, users: UserService, posts: PostService
) -> None:
    author = await users.register(OPERATOR, email="ada@example.org")
    written = [await posts.write(OPERATOR, author_id=author.id, title=f"{n}", content="x") for n in range(CALLERS)]
    revise = [posts.revise(OPERATOR, post.id, title="later", status=PostStatus.PUBLISHED) for post in written]
    *revised, erased = await asyncio.gather(*revise, users.erase(OPERATOR, author.id), return_exceptions=True)
    assert erased is None
    assert outcomes(revised).keys() <= {"Post", PostNotFoundError.__name__}
    assert await stored_posts(storage) == []


async def test_concurrent_delete_user_succeeds_once(users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    results = await asyncio.gather(*[users.erase(OPERATOR, user.id) for _ in range(CALLERS)], return_exceptions=True)
    assert outcomes(results) == {"NoneType": 1, UserNotFoundError.__name__: CALLERS - 1}


async def test_concurrent_status_updates_are_allowed_transitions(
    storage: Storage, users: UserService, posts: PostService
) -> None:
    author = await users.register(OPERATOR, email="ada@example.org")
    post = await posts.write(OPERATOR, author_id=author.id, title="x", content="x", status=PostStatus.PUBLISHED)
    targets = [PostStatus.ARCHIVED, PostStatus.PUBLISHED] * (CALLERS // 2)
    results = await asyncio.gather(*[posts.revise(OPERATOR, post.id, status=target) for target in targets])
    history = {result.version: result.status for result in results} | {1: PostStatus.PUBLISHED}
    assert sorted(history) == list(range(1, max(history) + 1))
    assert all(history[version] is not history[version + 1] for version in range(1, max(history)))
    (stored,) = await stored_posts(storage)
    assert (stored.version, stored.status) == (max(history), history[max(history)])
    assert stored.published_at == post.published_at

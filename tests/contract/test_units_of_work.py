"""Tests for isolation, errors and atomicity of units of work."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from application.ports import ConcurrentUpdateError, Storage, UnitOfWork
from domain.api_keys import ApiKey
from domain.posts import AuthorNotFoundError, PostNotFoundError
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.factories import (
    EXPIRES,
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    next_version,
    store,
    stored_posts,
    stored_users,
)


class UnforeseenError(Exception):
    """Ends a unit of work."""


async def test_unit_of_work_reads_its_writes(storage: Storage) -> None:
    user = make_user()
    post = make_post(user)
    changed, edited = next_version(user, email="new@example.org"), next_version(post, title="edited")
    async with storage.transaction() as work:
        await work.users.add(user)
        assert await work.users.get(user.id) == user
        await work.posts.add(post)
        assert await work.posts.list(limit=9, author_id=user.id) == [post]
        await work.users.update(changed)
        assert await work.users.find_by_email("new@example.org") == changed
        assert await work.users.find_by_email(user.email) is None
        await work.posts.update(edited)
        assert await work.posts.get(post.id) == edited
        await work.posts.delete(edited)
        with pytest.raises(PostNotFoundError):
            await work.posts.get(post.id)
        await work.users.delete(changed)
        with pytest.raises(UserNotFoundError):
            await work.users.get(user.id)
        assert await work.users.list(limit=9) == []
    assert await stored_users(storage) == []


async def test_unit_of_work_write_builds_on_earlier_writes(storage: Storage) -> None:
    user = make_user()
    post = make_post(user)
    async with storage.transaction() as work:
        await work.users.add(user)
        await work.users.update(next_version(user))
        await work.posts.add(post)
        await work.posts.update(next_version(post))
    assert await stored_users(storage) == [next_version(user)]
    assert await stored_posts(storage) == [next_version(post)]


async def test_unit_of_work_hides_uncommitted_writes(storage: Storage) -> None:
    user = make_user()
    async with storage.transaction() as work:
        await work.users.add(user)
        await work.users.get(user.id)
        assert await stored_users(storage) == []
        async with storage.transaction() as other:
            assert await other.users.list(limit=9) == []
    assert await stored_users(storage) == [user]


@pytest.mark.parametrize("mode", ["transaction", "readonly"])
async def test_unit_of_work_reads_data_committed_since_its_begin(storage: Storage, mode: str) -> None:
    user, other = make_user(), make_user()
    async with storage.transaction() if mode == "transaction" else storage.readonly() as work:
        assert await work.users.list(limit=9) == []
        await store(storage, user)
        assert await work.users.list(limit=9) == [user]
        if mode == "transaction":
            await work.users.delete(user)
            await store(storage, other)
            assert await work.users.list(limit=9) == [other]


@pytest.mark.parametrize("look", [False, True], ids=["unsent", "sent"])
@pytest.mark.parametrize("writes", [1, 2])
@pytest.mark.parametrize("error", [UnforeseenError, UserNotFoundError, asyncio.CancelledError])
async def test_unit_of_work_rolls_back_when_its_block_raises(
    storage: Storage, user: User, error: type[BaseException], writes: int, look: bool
) -> None:
    with pytest.raises(error):
        async with storage.transaction() as work:
            for _ in range(writes):
                await work.users.add(make_user())
            await work.users.delete(user)
            if look:
                await work.users.list(limit=9)
            raise error
    assert await stored_users(storage) == [user]


async def test_unit_of_work_rolls_back_when_a_write_fails(storage: Storage, user: User) -> None:
    with pytest.raises(ConcurrentUpdateError):
        async with storage.transaction() as work:
            await work.users.add(make_user())
            await work.users.update(make_user(version=7))
            await work.users.add(make_user())
    with pytest.raises(EmailAlreadyRegisteredError):
        await store(storage, make_user(), make_user(email=user.email))
    with pytest.raises(AuthorNotFoundError):
        async with storage.transaction() as work:
            await work.users.delete(user)
            await work.posts.add(make_post(user))
    assert await stored_users(storage) == [user]


@pytest.mark.parametrize("kind", ["duplicate", "stale"])
async def test_failed_write_raises_at_the_next_read_at_the_latest(storage: Storage, user: User, kind: str) -> None:
    error = EmailAlreadyRegisteredError if kind == "duplicate" else ConcurrentUpdateError

    async def write_and_read(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        if kind == "duplicate":
            await work.users.add(make_user(email=user.email))
        else:
            await work.posts.update(next_version(make_post(user)))
        await work.users.list(limit=9)

    with pytest.raises(error):
        async with storage.transaction() as work:
            await write_and_read(work)
            raise UnforeseenError
    with pytest.raises(error):  # the commit raises the swallowed error again
        async with storage.transaction() as work:
            with pytest.raises(error):
                await write_and_read(work)
            await work.users.add(make_user())
    assert await stored_users(storage) == [user]


async def test_unit_of_work_commits_after_a_not_found_error(storage: Storage) -> None:
    user = make_user()
    async with storage.transaction() as work:
        await work.users.add(user)
        with pytest.raises(PostNotFoundError):
            await work.posts.get(user.id)
    assert await stored_users(storage) == [user]


async def test_readonly_unit_of_work_raises_for_every_write(storage: Storage, user: User, key: ApiKey) -> None:
    post = make_post(user)
    await store(storage, post)
    writes: list[Callable[[UnitOfWork], Awaitable[object]]] = [
        lambda work: work.users.add(make_user()),
        lambda work: work.users.update(next_version(user)),
        lambda work: work.users.delete(user),
        lambda work: work.posts.add(make_post(user)),
        lambda work: work.posts.update(next_version(post)),
        lambda work: work.posts.update(next_version(post), publishes=True),
        lambda work: work.posts.delete(post),
        lambda work: work.api_keys.add(make_api_key()),
        lambda work: work.api_keys.revoke(key.id, now=EXPIRES),
        lambda work: work.api_keys.set_expiry(key.id, at=EXPIRES),
        lambda work: work.api_keys.record_use(key.id, now=EXPIRES),
        lambda work: work.idempotency.add(make_idempotency_record(key)),
        lambda work: work.idempotency.purge(limit=9),
    ]
    for write in writes:
        with pytest.raises(RuntimeError):
            async with storage.readonly() as work:
                await write(work)
    async with storage.readonly() as work:
        for write in writes:
            with pytest.raises(RuntimeError):
                await write(work)
    assert (await stored_users(storage), await stored_posts(storage)) == ([user], [post])


async def test_unit_of_work_without_statements_commits(storage: Storage) -> None:
    async with storage.transaction():
        pass
    async with storage.readonly():
        pass
    assert await stored_users(storage) == []

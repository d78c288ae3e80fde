"""Tests for the active author that creation and publication of a post require."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from application.ports import ConcurrentUpdateError, Storage, UnitOfWork
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post
from domain.users import User
from tests.support.factories import (
    delete,
    make_post,
    make_user,
    next_version,
    store,
    stored_posts,
    stored_users,
    update,
)
from tests.support.polling import wait_until

Guarded = Callable[[UnitOfWork, Post], Awaitable[None]]


async def _add(work: UnitOfWork, post: Post) -> None:
    await work.posts.add(make_post(post.author_id, title="guarded"))


async def _publish(work: UnitOfWork, post: Post) -> None:
    await work.posts.update(next_version(post, title="guarded"), publishes=True)


both = pytest.mark.parametrize("guarded", [pytest.param(_add, id="add"), pytest.param(_publish, id="publish")])


async def _author_with_post(storage: Storage) -> tuple[User, Post]:
    author = make_user(version=2)
    post = make_post(author)
    await store(storage, author, post)
    return author, post


@both
@pytest.mark.parametrize("when", ["before", "after a read", "in the same unit of work"])
async def test_post_write_raises_for_inactive_author(storage: Storage, guarded: Guarded, when: str) -> None:
    author, post = await _author_with_post(storage)
    inactive = next_version(author, is_active=False)
    if when == "before":
        await update(storage, inactive)
    with pytest.raises(AuthorInactiveError):
        async with storage.transaction() as work:
            if when == "after a read":
                assert (await work.users.get(author.id)).is_active
                await update(storage, inactive)
            elif when == "in the same unit of work":
                await work.users.update(inactive)
            await guarded(work, post)
    assert await stored_users(storage) == [author if when == "in the same unit of work" else inactive]
    assert await stored_posts(storage) == [post]


async def test_post_write_raises_for_unknown_author(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    await delete(storage, author)
    with pytest.raises(ConcurrentUpdateError):
        async with storage.transaction() as work:
            await _publish(work, post)
    with pytest.raises(AuthorNotFoundError):
        async with storage.transaction() as work:
            await _add(work, post)
    assert await stored_posts(storage) == []


@both
async def test_post_write_accepts_an_author_updated_since(storage: Storage, guarded: Guarded) -> None:
    author, post = await _author_with_post(storage)
    async with storage.transaction() as work:
        await work.users.get(author.id)
        await update(storage, next_version(author, full_name="renamed"))
        await guarded(work, post)
    assert "guarded" in {stored.title for stored in await stored_posts(storage)}


async def test_stale_publication_raises_before_the_author_check(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    await update(storage, next_version(author, is_active=False))
    with pytest.raises(ConcurrentUpdateError):
        await update(storage, next_version(next_version(post)), publishes=True)


async def test_post_update_without_publication_skips_author_check(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    await update(storage, next_version(author, is_active=False))
    changed = next_version(post, title="edited")
    await update(storage, changed)
    await store(storage, post)  # the retry of an earlier attempt
    assert await stored_posts(storage) == [changed]


@both
@pytest.mark.parametrize("change", ["update", "remove"])
async def test_post_write_locks_the_author_until_commit(
    storage: Storage, guarded: Guarded, change: str, is_waiting: Callable[[], bool]
) -> None:
    author, post = await _author_with_post(storage)
    ended: list[str] = []

    async def change_the_author() -> None:
        async with storage.transaction() as work:
            if change == "update":
                await work.users.update(next_version(author, is_active=False))
            else:
                await work.users.delete(author)
        ended.append("author changed")

    refused = False
    try:
        async with storage.transaction() as work:
            await guarded(work, post)
            await work.posts.get(post.id)  # a read sends the writes before it
            other = asyncio.create_task(change_the_author())
            await wait_until(lambda: other.done() or is_waiting())
            ended.append("work")
    except (AuthorInactiveError, AuthorNotFoundError, ConcurrentUpdateError):
        refused = True
    await other
    # A storage either blocks the change until the commit, or rejects the commit after the change.
    assert refused == (ended == ["author changed", "work"])
    titles = {stored.title for stored in await stored_posts(storage)}
    assert ("guarded" in titles) == (not refused and change == "update")

"""What `PostRepository.add` and a publishing `.update` require of the author, and that they hold the author to it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from adapters.system import new_id
from application.ports import ConcurrentChangeError, Storage, UnitOfWork
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post
from domain.users import User
from tests.support.examples import (
    a_post,
    a_user,
    next_version,
    store_posts,
    store_users,
    stored_posts,
    stored_users,
)
from tests.support.waiting import until

Guarded = Callable[[UnitOfWork, Post], Awaitable[None]]


async def _add(work: UnitOfWork, post: Post) -> None:
    await work.posts.add(a_post(post.author_id, title="guarded"))


async def _publish(work: UnitOfWork, post: Post) -> None:
    await work.posts.update(next_version(post, title="guarded"), publishes=True)


both = pytest.mark.parametrize("guarded", [pytest.param(_add, id="add"), pytest.param(_publish, id="publish")])


async def _author_with_post(storage: Storage) -> tuple[User, Post]:
    author = a_user(version=2)
    post = a_post(author)
    await store_users(storage, author)
    await store_posts(storage, post)
    return author, post


async def _deactivate(storage: Storage, author: User) -> User:
    inactive: User = next_version(author, is_active=False)
    async with storage.transaction() as work:
        await work.users.update(inactive)
    return inactive


@both
async def test_an_inactive_author_is_refused(storage: Storage, guarded: Guarded) -> None:
    author, post = await _author_with_post(storage)
    inactive = await _deactivate(storage, author)
    with pytest.raises(AuthorInactiveError):
        async with storage.transaction() as work:
            await guarded(work, post)
    assert (await stored_users(storage), await stored_posts(storage)) == ([inactive], [post])


async def test_an_author_that_is_not_there_is_refused(storage: Storage) -> None:
    with pytest.raises(AuthorNotFoundError):
        await store_posts(storage, a_post(new_id()))
    assert await stored_posts(storage) == []


async def test_what_an_erased_author_published_is_gone(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    async with storage.transaction() as work:
        await work.users.remove(author)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await _publish(work, post)
    with pytest.raises(AuthorNotFoundError):
        async with storage.transaction() as work:
            await _add(work, post)
    assert await stored_posts(storage) == []


@both
async def test_the_author_counts_as_stored_and_not_as_read(storage: Storage, guarded: Guarded) -> None:
    author, post = await _author_with_post(storage)
    with pytest.raises(AuthorInactiveError):
        async with storage.transaction() as work:
            assert (await work.users.get(author.id)).is_active
            await _deactivate(storage, author)
            await guarded(work, post)
    assert await stored_posts(storage) == [post]


@both
async def test_another_version_of_an_active_author_will_do(storage: Storage, guarded: Guarded) -> None:
    author, post = await _author_with_post(storage)
    async with storage.transaction() as work:
        await work.users.get(author.id)
        async with storage.transaction() as other:
            await other.users.update(next_version(author, full_name="renamed"))
        await guarded(work, post)
    assert "guarded" in {stored.title for stored in await stored_posts(storage)}


@both
async def test_an_author_that_the_same_unit_of_work_deactivates_is_refused(storage: Storage, guarded: Guarded) -> None:
    author, post = await _author_with_post(storage)
    with pytest.raises(AuthorInactiveError):
        async with storage.transaction() as work:
            await work.users.update(next_version(author, is_active=False))
            await guarded(work, post)
    assert (await stored_users(storage), await stored_posts(storage)) == ([author], [post])


async def test_a_stale_post_is_stale_whoever_wrote_it(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    await _deactivate(storage, author)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await _publish(work, next_version(post))


async def test_a_change_that_does_not_publish_asks_nothing_of_the_author(storage: Storage) -> None:
    author, post = await _author_with_post(storage)
    await _deactivate(storage, author)
    changed = next_version(post, title="edited")
    async with storage.transaction() as work:
        await work.posts.update(changed)
    assert await stored_posts(storage) == [changed]


@both
@pytest.mark.parametrize("change", ["update", "remove"])
async def test_the_author_is_held_until_the_unit_of_work_ends(
    storage: Storage, guarded: Guarded, change: str, is_waiting: Callable[[], bool]
) -> None:
    author, post = await _author_with_post(storage)
    ended: list[str] = []

    async def change_the_author() -> None:
        async with storage.transaction() as work:
            if change == "update":
                await work.users.update(next_version(author, is_active=False))
            else:
                await work.users.remove(author)
        ended.append("author changed")

    refused = False
    try:
        async with storage.transaction() as work:
            await guarded(work, post)
            await work.posts.get(post.id)  # a read sees the writes before it: the guard has been asked
            other = asyncio.create_task(change_the_author())
            await until(lambda: other.done() or is_waiting())
            ended.append("work")
    except (AuthorInactiveError, AuthorNotFoundError, ConcurrentChangeError):
        refused = True
    await other
    # Held back, the change comes second. A storage may also let it through and refuse the work that relied on it.
    assert refused == (ended == ["author changed", "work"])
    titles = {stored.title for stored in await stored_posts(storage)}
    assert ("guarded" in titles) == (not refused and change == "update")

"""`list` of users and of posts: order, filters, and pages that neither skip nor repeat."""

from collections.abc import Sequence
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import Storage, UnitOfWork
from domain.posts import Post, PostStatus
from domain.users import User
from tests.support.examples import PUBLISHED, a_post, a_user, newest_first, store_posts, store_users

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


async def _list(storage: Storage, kind: str, **arguments: Any) -> Sequence[Any]:
    async with storage.readonly() as work:
        repository: Any = work.users if kind == "users" else work.posts
        found: Sequence[Any] = await repository.list(**arguments)
        return found


def _post(author: User, status: PostStatus = PostStatus.PUBLISHED, **fields: Any) -> Post:
    published_at = None if status is PostStatus.DRAFT else PUBLISHED
    return a_post(author, status=status, published_at=published_at, **fields)


async def _fill(storage: Storage, kind: str, ids: Sequence[UUID]) -> list[Any]:
    """Store users or posts with these ids in this order."""
    if kind == "users":
        users = [a_user(id=id_) for id_ in ids]
        await store_users(storage, *users)
        return list(users)
    author = a_user()
    await store_users(storage, author)
    posts = [_post(author, id=id_) for id_ in ids]
    await store_posts(storage, *posts)
    return list(posts)


kinds = pytest.mark.parametrize("kind", ["users", "posts"])


@kinds
async def test_an_empty_storage_has_an_empty_list(storage: Storage, kind: str) -> None:
    assert await _list(storage, kind, limit=5) == []
    assert await _list(storage, kind, limit=5, after=new_id()) == []


@kinds
async def test_the_order_is_that_of_the_ids_and_not_of_storing(storage: Storage, kind: str) -> None:
    ids = [new_id() for _ in range(7)]
    shuffled = [ids[place] for place in (3, 0, 6, 1, 5, 2, 4)]
    stored = await _fill(storage, kind, shuffled)
    assert await _list(storage, kind, limit=7) == newest_first(stored)


@kinds
async def test_ids_are_compared_as_unsigned_numbers(storage: Storage, kind: str) -> None:
    ids = [HIGHEST, UUID(int=2**127), UUID(int=2**127 - 1), UUID(int=2**64), UUID(int=2**63), LOWEST]
    await _fill(storage, kind, ids)
    assert [item.id for item in await _list(storage, kind, limit=9)] == ids
    assert [item.id for item in await _list(storage, kind, limit=9, after=UUID(int=2**127))] == ids[2:]


@kinds
@pytest.mark.parametrize("limit", [1, 3, 4, 5])
async def test_there_are_at_most_limit_and_they_are_the_newest(storage: Storage, kind: str, limit: int) -> None:
    stored = await _fill(storage, kind, [new_id() for _ in range(4)])
    assert await _list(storage, kind, limit=limit) == newest_first(stored)[:limit]


@kinds
async def test_after_leaves_only_smaller_ids(storage: Storage, kind: str) -> None:
    stored = newest_first(await _fill(storage, kind, [new_id() for _ in range(4)]))
    for place, item in enumerate(stored):
        assert await _list(storage, kind, limit=9, after=item.id) == stored[place + 1 :]
    assert await _list(storage, kind, limit=2, after=stored[0].id) == stored[1:3]
    assert await _list(storage, kind, limit=9, after=HIGHEST) == stored
    assert await _list(storage, kind, limit=9, after=LOWEST) == []


async def _remove(work: UnitOfWork, item: Any) -> None:
    await (work.users.remove(item) if isinstance(item, User) else work.posts.remove(item))


@kinds
async def test_after_may_name_what_does_not_exist_any_more(storage: Storage, kind: str) -> None:
    stored = newest_first(await _fill(storage, kind, [new_id() for _ in range(4)]))
    async with storage.transaction() as work:
        await _remove(work, stored[1])
    assert await _list(storage, kind, limit=9, after=stored[1].id) == stored[2:]


@kinds
async def test_pages_neither_skip_nor_repeat_while_others_add_and_remove(storage: Storage, kind: str) -> None:
    unseen = newest_first(await _fill(storage, kind, [new_id() for _ in range(20)]))
    seen: list[Any] = []
    expected: list[Any] = []
    while page := await _list(storage, kind, limit=3, after=seen[-1].id if seen else None):
        expected += unseen[: len(page)]
        seen += page
        await _fill(storage, kind, [new_id(), new_id()])
        # the one that the next page starts below, and the one that it would have started with
        gone = [page[-1], *unseen[len(page) : len(page) + 1]]
        async with storage.transaction() as work:
            for item in gone:
                await _remove(work, item)
        unseen = unseen[len(page) + 1 :]
    assert seen == expected
    assert len(seen) == 15


@pytest.mark.parametrize("is_active", [None, True, False])
@pytest.mark.parametrize("from_the_middle", [False, True])
async def test_the_filter_of_users(storage: Storage, is_active: bool | None, from_the_middle: bool) -> None:
    users = [a_user(is_active=number % 3 != 0) for number in range(9)]
    await store_users(storage, *users)
    after = users[5].id if from_the_middle else None
    expected = [
        user
        for user in newest_first(users)
        if (is_active is None or user.is_active == is_active) and (after is None or user.id < after)
    ]
    assert await _list(storage, "users", limit=9, after=after, is_active=is_active) == expected
    assert await _list(storage, "users", limit=2, after=after, is_active=is_active) == expected[:2]


@pytest.mark.parametrize("with_author", [False, True])
@pytest.mark.parametrize("status", [None, *PostStatus])
@pytest.mark.parametrize("from_the_middle", [False, True])
async def test_the_filters_of_posts(
    storage: Storage, with_author: bool, status: PostStatus | None, from_the_middle: bool
) -> None:
    one, two = a_user(), a_user()
    await store_users(storage, one, two)
    posts = [_post(author, kind) for _, kind, author in product(range(3), PostStatus, (one, two))]
    await store_posts(storage, *posts)
    author_id = one.id if with_author else None
    after = posts[11].id if from_the_middle else None
    expected = [
        post
        for post in newest_first(posts)
        if author_id in {None, post.author_id} and status in {None, post.status} and (after is None or post.id < after)
    ]
    found = await _list(storage, "posts", limit=99, after=after, author_id=author_id, status=status)
    assert found == expected
    assert len(expected) >= 1
    assert await _list(storage, "posts", limit=2, after=after, author_id=author_id, status=status) == expected[:2]


async def test_the_posts_of_an_author_that_is_not_there_are_none(storage: Storage) -> None:
    author = a_user()
    await store_users(storage, author)
    await store_posts(storage, a_post(author))
    assert await _list(storage, "posts", limit=9, author_id=new_id()) == []

"""Tests for lists of users, posts and API keys: order, filters, readers and pages."""

from collections.abc import Sequence
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import new_id
from application.ports import Storage
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User
from tests.contract.entities import kinds, listed, make, versioned
from tests.support.factories import PUBLISHED, delete, make_post, make_user, newest_first, store

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)
Filled = tuple[User, User, Sequence[Post]]


async def _fill(storage: Storage, kind: str, ids: Sequence[UUID]) -> list[Any]:
    """Store entities with these ids in this order. Return them from new to old."""
    entities = [make(kind, id=id_) for id_ in ids]
    await store(storage, *entities)
    return newest_first(entities)


@kinds
async def test_list_returns_newest_entities_below_the_cursor(storage: Storage, kind: str) -> None:
    ids = [new_id() for _ in range(7)]
    expected = await _fill(storage, kind, [ids[position] for position in (3, 0, 6, 1, 5, 2, 4)])
    for limit in (1, 3, 7, 9):
        assert await listed(storage, kind, limit=limit) == expected[:limit]
    for position, item in enumerate(expected, start=1):
        assert await listed(storage, kind, limit=9, after=item.id) == expected[position:]
    assert await listed(storage, kind, limit=2, after=expected[0].id) == expected[1:3]
    assert await listed(storage, kind, limit=9, after=HIGHEST) == expected
    assert await listed(storage, kind, limit=9, after=LOWEST) == []


@kinds
async def test_list_compares_ids_as_unsigned_numbers(storage: Storage, kind: str) -> None:
    ids = [HIGHEST, UUID(int=2**127), UUID(int=2**127 - 1), UUID(int=2**64), UUID(int=2**63), LOWEST]
    await _fill(storage, kind, ids)
    assert [item.id for item in await listed(storage, kind)] == ids
    assert [item.id for item in await listed(storage, kind, after=UUID(int=2**127))] == ids[2:]


@versioned
async def test_list_accepts_the_id_of_a_deleted_entity_as_cursor(storage: Storage, kind: str) -> None:
    stored = await _fill(storage, kind, [new_id() for _ in range(4)])
    await delete(storage, stored[1])
    assert await listed(storage, kind, after=stored[1].id) == stored[2:]


@versioned
async def test_list_pages_are_complete_during_concurrent_writes(storage: Storage, kind: str) -> None:
    unseen = await _fill(storage, kind, [new_id() for _ in range(20)])
    seen: list[Any] = []
    expected: list[Any] = []
    while page := await listed(storage, kind, limit=3, after=seen[-1].id if seen else None):
        expected += unseen[: len(page)]
        seen += page
        await store(storage, make(kind), make(kind))
        # the entity of the cursor, and the first entity of the next page
        await delete(storage, page[-1], *unseen[len(page) : len(page) + 1])
        unseen = unseen[len(page) + 1 :]
    assert seen == expected
    assert len(seen) == 15


async def test_list_users_combines_is_active_with_the_cursor(storage: Storage) -> None:
    users = [make_user(is_active=number % 3 != 0) for number in range(9)]
    await store(storage, *users)
    for is_active in (None, True, False):
        for after in (None, users[5].id):
            expected = [
                user
                for user in newest_first(users)
                if is_active in {None, user.is_active} and (after is None or user.id < after)
            ]
            for limit in (9, 2):
                page = await listed(storage, "users", limit=limit, after=after, is_active=is_active)
                assert page == expected[:limit]


def _can_read(reader_id: UUID | None, post: Post) -> bool:
    return reader_id in {None, post.author_id} or post.status is PostStatus.PUBLISHED


@pytest.fixture
async def filled(storage: Storage) -> Filled:
    """Store two authors with three posts each in every status. Return the posts from new to old."""
    one, two = make_user(), make_user()
    await store(storage, one, two)
    posts = [make_post(author, status=status) for _, status, author in product(range(3), PostStatus, (one, two))]
    await store(storage, *posts)
    return one, two, newest_first(posts)


async def test_get_post_applies_author_and_reader(storage: Storage, filled: Filled) -> None:
    one, two, posts = filled
    ids = [None, one.id, two.id, new_id()]
    async with storage.readonly() as work:
        for reader_id, author_id, post in product(ids, ids, posts):
            if author_id in {None, post.author_id} and _can_read(reader_id, post):
                assert await work.posts.get(post.id, author_id=author_id, reader_id=reader_id) == post
            else:
                with pytest.raises(PostNotFoundError):
                    await work.posts.get(post.id, author_id=author_id, reader_id=reader_id)


@pytest.mark.parametrize("status", [None, *PostStatus])
async def test_list_posts_combines_author_status_reader_and_cursor(
    storage: Storage, filled: Filled, status: PostStatus | None
) -> None:
    one, two, posts = filled
    for reader_id, author_id, after in product(
        (None, one.id, two.id, new_id()), (None, one.id, new_id()), (None, posts[5].id)
    ):
        expected = [
            post
            for post in posts
            if _can_read(reader_id, post)
            and author_id in {None, post.author_id}
            and status in {None, post.status}
            and (after is None or post.id < after)
        ]
        for limit in (99, 2):
            filters = {"author_id": author_id, "status": status, "reader_id": reader_id}
            assert await listed(storage, "posts", limit=limit, after=after, **filters) == expected[:limit]


async def test_post_is_visible_to_readers_after_its_publication(storage: Storage, filled: Filled) -> None:
    one, two, posts = filled
    draft = next(post for post in posts if post.author_id == two.id and post.status is PostStatus.DRAFT)
    published = draft.update(now=PUBLISHED, status=PostStatus.PUBLISHED)
    async with storage.transaction() as work:
        with pytest.raises(PostNotFoundError):
            await work.posts.get(draft.id, reader_id=one.id)
        await work.posts.update(published, publishes=True)
        assert await work.posts.get(draft.id, reader_id=one.id) == published
        assert published in await work.posts.list(limit=99, reader_id=one.id)

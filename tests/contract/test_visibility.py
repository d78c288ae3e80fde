"""Tests for the author and reader filters of posts."""

from collections.abc import Sequence
from itertools import product
from uuid import UUID

import pytest

from adapters.clock import new_id
from application.ports import Storage
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User
from tests.contract.entities import listed
from tests.support.factories import PUBLISHED, make_post, make_user, newest_first, store

Filled = tuple[User, User, Sequence[Post]]


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

"""`PostRepository.get` and `.list` for a reader and for an author: what is not theirs to see is not there."""

from collections.abc import Sequence
from itertools import product
from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import Storage
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User
from tests.support.examples import PUBLISHED, a_post, a_user, newest_first, store_posts, store_users

Filled = tuple[User, User, Sequence[Post]]


def _post(author: User, status: PostStatus) -> Post:
    return a_post(author, status=status, published_at=None if status is PostStatus.DRAFT else PUBLISHED)


def _can_read(reader_id: UUID | None, post: Post) -> bool:
    return reader_id in {None, post.author_id} or post.status is PostStatus.PUBLISHED


@pytest.fixture
async def filled(storage: Storage) -> Filled:
    """Two authors with three posts each in every status, the newest first."""
    one, two = a_user(), a_user()
    await store_users(storage, one, two)
    posts = [_post(author, status) for _, status, author in product(range(3), PostStatus, (one, two))]
    await store_posts(storage, *posts)
    return one, two, newest_first(posts)


@pytest.mark.parametrize("with_author", [False, True])
@pytest.mark.parametrize("with_reader", [False, True])
async def test_get_finds_what_is_theirs(storage: Storage, filled: Filled, with_reader: bool, with_author: bool) -> None:
    one, two, posts = filled
    readers = [one.id, two.id, new_id()] if with_reader else [None]
    authors = [one.id, two.id, new_id()] if with_author else [None]
    async with storage.readonly() as work:
        for reader_id, author_id, post in product(readers, authors, posts):
            if author_id in {None, post.author_id} and _can_read(reader_id, post):
                assert await work.posts.get(post.id, author_id=author_id, reader_id=reader_id) == post
            else:
                with pytest.raises(PostNotFoundError):
                    await work.posts.get(post.id, author_id=author_id, reader_id=reader_id)


@pytest.mark.parametrize("with_author", [False, True])
@pytest.mark.parametrize("status", [None, *PostStatus])
@pytest.mark.parametrize("from_the_middle", [False, True])
async def test_list_leaves_out_what_the_reader_cannot_read(
    storage: Storage, filled: Filled, status: PostStatus | None, with_author: bool, from_the_middle: bool
) -> None:
    one, two, posts = filled
    after = posts[5].id if from_the_middle else None
    author_id = one.id if with_author else None
    async with storage.readonly() as work:
        for reader_id in (one.id, two.id, new_id()):
            expected = [
                post
                for post in posts
                if _can_read(reader_id, post)
                and author_id in {None, post.author_id}
                and status in {None, post.status}
                and (after is None or post.id < after)
            ]
            for limit in (99, 2):
                found = await work.posts.list(
                    limit=limit, after=after, author_id=author_id, status=status, reader_id=reader_id
                )
                assert found == expected[:limit]


async def test_a_readers_pages_neither_skip_nor_repeat_while_others_write(storage: Storage, filled: Filled) -> None:
    one, two, posts = filled
    expected = [post for post in posts if _can_read(one.id, post)]
    seen: list[Post] = []
    async with storage.readonly() as work:
        while page := await work.posts.list(limit=2, after=seen[-1].id if seen else None, reader_id=one.id):
            seen += page
            await store_posts(storage, *[_post(author, status) for author in (one, two) for status in PostStatus])
    assert seen == expected


async def test_a_post_comes_into_sight_with_its_publication(storage: Storage, filled: Filled) -> None:
    one, two, posts = filled
    draft = next(post for post in posts if post.author_id == two.id and post.status is PostStatus.DRAFT)
    published = _published(draft)
    async with storage.transaction() as work:
        with pytest.raises(PostNotFoundError):
            await work.posts.get(draft.id, reader_id=one.id)
        await work.posts.update(published, publishes=True)
        assert await work.posts.get(draft.id, reader_id=one.id) == published
        assert published in await work.posts.list(limit=99, reader_id=one.id)


def _published(draft: Post) -> Post:
    return draft.changed(now=PUBLISHED, status=PostStatus.PUBLISHED)

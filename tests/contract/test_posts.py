"""`PostRepository`: each sentence of its docstrings, over every storage. What concerns the author: test_authors.py."""

from dataclasses import replace
from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import ConcurrentChangeError, Storage
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User
from tests.support.examples import (
    a_post,
    a_user,
    next_version,
    store_posts,
    store_users,
    stored_posts,
)

AUTHOR = a_user()


@pytest.fixture
async def author(storage: Storage) -> User:
    await store_users(storage, AUTHOR)
    return AUTHOR


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(a_post(AUTHOR), id="published"),
        pytest.param(a_post(AUTHOR, status=PostStatus.DRAFT, published_at=None), id="draft"),
        pytest.param(a_post(AUTHOR, status=PostStatus.ARCHIVED, version=2_147_483_647), id="archived"),
        pytest.param(a_post(AUTHOR, title="\U0001f989" * 200, content="\U0001f989" * 2000), id="longest"),
        pytest.param(a_post(AUTHOR, title="x", content="y"), id="shortest"),
    ],
)
@pytest.mark.usefixtures("author")
async def test_what_was_added_is_read_as_it_was(storage: Storage, post: Post) -> None:
    await store_posts(storage, post)
    async with storage.readonly() as work:
        read = await work.posts.get(post.id)
        assert read == post
        assert await work.posts.list(limit=1) == [post]
    assert (type(read.status), type(read.title), isinstance(read.id, UUID)) == (PostStatus, str, True)
    assert read.created_at.utcoffset() == read.updated_at.utcoffset() == post.created_at.utcoffset()


async def test_get_raises_when_there_is_no_such_post(storage: Storage, author: User) -> None:
    await store_posts(storage, a_post(author))
    async with storage.readonly() as work:
        with pytest.raises(PostNotFoundError):
            await work.posts.get(new_id())


async def test_add_leaves_a_post_that_is_there_as_it_is(storage: Storage, author: User) -> None:
    post = a_post(author)
    await store_posts(storage, post)
    await store_posts(storage, post)
    await store_posts(storage, replace(post, title="else", content="else", version=9))
    assert await stored_posts(storage) == [post]


async def test_add_leaves_a_post_that_was_changed_since_as_it_is(storage: Storage, author: User) -> None:
    post = a_post(author)
    await store_posts(storage, post)
    changed = next_version(post, title="later")
    async with storage.transaction() as work:
        await work.posts.update(changed)
    await store_posts(storage, post)
    assert await stored_posts(storage) == [changed]


async def test_the_echo_of_an_add_is_no_error_though_the_author_changed_since(storage: Storage, author: User) -> None:
    post = a_post(author)
    await store_posts(storage, post)
    async with storage.transaction() as work:
        await work.users.update(next_version(author, is_active=False))
    await store_posts(storage, post)
    assert await stored_posts(storage) == [post]


@pytest.mark.parametrize("publishes", [False, True])
async def test_update_stores_every_field_that_can_change(storage: Storage, author: User, publishes: bool) -> None:
    post = a_post(author, status=PostStatus.DRAFT, published_at=None)
    bystander = a_post(author)
    await store_posts(storage, post, bystander)
    changed = next_version(
        post, title="new", content="new", status=PostStatus.PUBLISHED, published_at=bystander.published_at
    )
    async with storage.transaction() as work:
        await work.posts.update(changed, publishes=publishes)
    assert await stored_posts(storage) == [bystander, changed]


@pytest.mark.parametrize("publishes", [False, True])
@pytest.mark.parametrize("version", [1, 2, 4, 5])
async def test_update_refuses_all_but_the_next_version(
    storage: Storage, author: User, version: int, publishes: bool
) -> None:
    post = a_post(author, version=2)
    await store_posts(storage, post)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.posts.update(replace(post, title="late", version=version), publishes=publishes)
    assert await stored_posts(storage) == [post]


async def test_update_refuses_a_post_that_is_not_there(storage: Storage, author: User) -> None:
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.posts.update(a_post(author, version=2))
    assert await stored_posts(storage) == []


async def test_remove_removes_the_post_alone(storage: Storage, author: User) -> None:
    post, other = a_post(author), a_post(author)
    await store_posts(storage, post, other)
    async with storage.transaction() as work:
        await work.posts.remove(post)
    assert await stored_posts(storage) == [other]


@pytest.mark.parametrize("version", [1, 3])
async def test_remove_refuses_another_version(storage: Storage, author: User, version: int) -> None:
    post = a_post(author, version=2)
    await store_posts(storage, post)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.posts.remove(replace(post, version=version))
    assert await stored_posts(storage) == [post]


async def test_remove_refuses_a_post_that_is_not_there(storage: Storage, author: User) -> None:
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.posts.remove(a_post(author))

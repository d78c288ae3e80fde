"""Tests for the use cases of posts."""

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.posts import PostService
from application.users import UserService
from domain.posts import AuthorInactiveError, Post, PostStatus
from domain.users import User


@pytest.fixture
async def draft(posts: PostService, user: User) -> Post:
    return await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C")


async def test_create_post_stores_and_returns_the_post(posts: PostService, user: User) -> None:
    post = await posts.create(
        SYSTEM_PRINCIPAL, author_id=user.id, title=" T ", content="C", status=PostStatus.PUBLISHED
    )
    assert (post.author_id, post.title, post.status, post.version) == (user.id, "T", PostStatus.PUBLISHED, 1)
    assert post.published_at == post.created_at
    assert await posts.get(SYSTEM_PRINCIPAL, post.id) == post


async def test_inactive_author_cannot_create_or_publish_posts(
    users: UserService, posts: PostService, user: User, draft: Post
) -> None:
    published = await posts.create(
        SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C", status=PostStatus.PUBLISHED
    )
    await users.update(SYSTEM_PRINCIPAL, user.id, is_active=False)
    assert (await posts.update(SYSTEM_PRINCIPAL, draft.id, title="New")).title == "New"
    assert (await posts.update(SYSTEM_PRINCIPAL, published.id, title="New", status=PostStatus.PUBLISHED)).title == "New"
    with pytest.raises(AuthorInactiveError):
        await posts.update(SYSTEM_PRINCIPAL, draft.id, status=PostStatus.PUBLISHED)
    with pytest.raises(AuthorInactiveError):
        await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C")


async def test_list_posts_applies_its_filters(users: UserService, posts: PostService, user: User) -> None:
    other = await users.create(SYSTEM_PRINCIPAL, email="bob@example.org")
    own = await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C")
    await posts.create(SYSTEM_PRINCIPAL, author_id=other.id, title="T", content="C")
    await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C", status=PostStatus.PUBLISHED)
    filters = {"author_id": user.id, "status": PostStatus.DRAFT}
    assert (await posts.list(SYSTEM_PRINCIPAL, limit=9, **filters)).items == [own]  # type: ignore[arg-type]
    assert (await posts.search(SYSTEM_PRINCIPAL, "t", limit=9, **filters)).items == [own]  # type: ignore[arg-type]
    assert len((await posts.list(SYSTEM_PRINCIPAL, limit=9)).items) == 3

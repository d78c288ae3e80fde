"""Tests for the use cases of posts."""

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.posts import PostService
from application.users import UserService
from domain.errors import FieldValidationError, VersionMismatchError
from domain.posts import AuthorInactiveError, InvalidStatusTransitionError, Post, PostNotFoundError, PostStatus
from domain.users import User


@pytest.fixture
async def author(users: UserService) -> User:
    return await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")


@pytest.fixture
async def draft(posts: PostService, author: User) -> Post:
    return await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C")


async def test_create_post_stores_and_returns_the_post(posts: PostService, author: User) -> None:
    post = await posts.create(
        SYSTEM_PRINCIPAL, author_id=author.id, title=" T ", content="C", status=PostStatus.PUBLISHED
    )
    assert (post.author_id, post.title, post.status, post.version) == (author.id, "T", PostStatus.PUBLISHED, 1)
    assert post.published_at == post.created_at
    assert await posts.get(SYSTEM_PRINCIPAL, post.id) == post


async def test_create_post_makes_a_draft_by_default(draft: Post) -> None:
    assert (draft.status, draft.published_at) == (PostStatus.DRAFT, None)


async def test_create_post_stores_no_invalid_post(posts: PostService, author: User) -> None:
    with pytest.raises(FieldValidationError):
        await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="", content="C")
    assert (await posts.list(SYSTEM_PRINCIPAL, limit=9)).items == []


async def test_update_post_stores_and_returns_the_new_version(posts: PostService, draft: Post) -> None:
    revised = await posts.update(SYSTEM_PRINCIPAL, draft.id, title="New", status=PostStatus.PUBLISHED)
    assert (revised.title, revised.content, revised.status, revised.version) == ("New", "C", PostStatus.PUBLISHED, 2)
    assert revised.published_at == revised.updated_at > draft.updated_at
    assert await posts.get(SYSTEM_PRINCIPAL, draft.id) == revised


async def test_noop_update_of_post_keeps_the_version(posts: PostService, draft: Post) -> None:
    assert await posts.update(SYSTEM_PRINCIPAL, draft.id, title="T", status=PostStatus.DRAFT) == draft
    assert await posts.update(SYSTEM_PRINCIPAL, draft.id) == draft


async def test_update_post_stores_no_invalid_transition(posts: PostService, draft: Post) -> None:
    with pytest.raises(InvalidStatusTransitionError):
        await posts.update(SYSTEM_PRINCIPAL, draft.id, status=PostStatus.ARCHIVED, title="New")
    assert await posts.get(SYSTEM_PRINCIPAL, draft.id) == draft


async def test_inactive_author_cannot_create_or_publish_posts(
    users: UserService, posts: PostService, author: User, draft: Post
) -> None:
    published = await posts.create(
        SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C", status=PostStatus.PUBLISHED
    )
    await users.update(SYSTEM_PRINCIPAL, author.id, is_active=False)
    assert (await posts.update(SYSTEM_PRINCIPAL, draft.id, title="New")).title == "New"
    assert (await posts.update(SYSTEM_PRINCIPAL, published.id, title="New", status=PostStatus.PUBLISHED)).title == "New"
    with pytest.raises(AuthorInactiveError):
        await posts.update(SYSTEM_PRINCIPAL, draft.id, status=PostStatus.PUBLISHED)
    with pytest.raises(AuthorInactiveError):
        await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C")


async def test_post_use_cases_raise_mismatch_for_other_versions(posts: PostService, draft: Post) -> None:
    revised = await posts.update(SYSTEM_PRINCIPAL, draft.id, expected=[1], title="New")
    for wrong in (1, 3):
        with pytest.raises(VersionMismatchError):
            await posts.update(SYSTEM_PRINCIPAL, draft.id, expected=[wrong], title="Newer")
        with pytest.raises(VersionMismatchError):
            await posts.delete(SYSTEM_PRINCIPAL, draft.id, expected=[wrong])
    assert await posts.get(SYSTEM_PRINCIPAL, draft.id) == revised
    await posts.delete(SYSTEM_PRINCIPAL, draft.id, expected=[2])


async def test_post_use_cases_raise_not_found_after_delete(posts: PostService, draft: Post) -> None:
    await posts.delete(SYSTEM_PRINCIPAL, draft.id)
    for attempt in (
        posts.get(SYSTEM_PRINCIPAL, draft.id),
        posts.delete(SYSTEM_PRINCIPAL, draft.id),
        posts.update(SYSTEM_PRINCIPAL, draft.id, title="New"),
    ):
        with pytest.raises(PostNotFoundError):
            await attempt


async def test_list_posts_applies_its_filters(users: UserService, posts: PostService, author: User) -> None:
    other = await users.create(SYSTEM_PRINCIPAL, email="bob@example.org")
    own = await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C")
    await posts.create(SYSTEM_PRINCIPAL, author_id=other.id, title="T", content="C")
    await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C", status=PostStatus.PUBLISHED)
    filters = {"author_id": author.id, "status": PostStatus.DRAFT}
    assert (await posts.list(SYSTEM_PRINCIPAL, limit=9, **filters)).items == [own]  # type: ignore[arg-type]
    assert (await posts.search(SYSTEM_PRINCIPAL, "t", limit=9, **filters)).items == [own]  # type: ignore[arg-type]
    assert len((await posts.list(SYSTEM_PRINCIPAL, limit=9)).items) == 3

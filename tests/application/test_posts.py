"""The use cases about posts, over memory."""

import pytest

from adapters.system import new_id
from application.access import OPERATOR
from application.posts import PostService
from application.users import UserService
from domain.errors import InvalidValueError, VersionMismatchError
from domain.posts import (
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidTransitionError,
    Post,
    PostNotFoundError,
    PostStatus,
)
from domain.users import User


@pytest.fixture
async def author(users: UserService) -> User:
    return await users.register(OPERATOR, email="ada@example.org")


@pytest.fixture
async def draft(posts: PostService, author: User) -> Post:
    return await posts.write(OPERATOR, author_id=author.id, title="T", content="C")


async def test_a_post_that_was_written_can_be_got(posts: PostService, author: User) -> None:
    post = await posts.write(OPERATOR, author_id=author.id, title=" T ", content="C", status=PostStatus.PUBLISHED)
    assert (post.author_id, post.title, post.status, post.version) == (author.id, "T", PostStatus.PUBLISHED, 1)
    assert post.published_at == post.created_at
    assert await posts.get(OPERATOR, post.id) == post


async def test_by_default_a_post_is_a_draft(draft: Post) -> None:
    assert (draft.status, draft.published_at) == (PostStatus.DRAFT, None)


async def test_nobody_can_be_the_author_who_is_not_there(posts: PostService) -> None:
    with pytest.raises(AuthorNotFoundError):
        await posts.write(OPERATOR, author_id=new_id(), title="T", content="C")


async def test_an_inactive_user_cannot_be_the_author(users: UserService, posts: PostService, author: User) -> None:
    await users.change(OPERATOR, author.id, is_active=False)
    with pytest.raises(AuthorInactiveError):
        await posts.write(OPERATOR, author_id=author.id, title="T", content="C")
    assert (await posts.list(OPERATOR, limit=9)).items == []


async def test_what_breaks_a_rule_is_not_stored(posts: PostService, author: User) -> None:
    with pytest.raises(InvalidValueError):
        await posts.write(OPERATOR, author_id=author.id, title="", content="C")
    assert (await posts.list(OPERATOR, limit=9)).items == []


async def test_no_post_is_got_that_is_not_there(posts: PostService) -> None:
    with pytest.raises(PostNotFoundError):
        await posts.get(OPERATOR, new_id())


async def test_a_revision_is_stored_and_returned(posts: PostService, draft: Post) -> None:
    revised = await posts.revise(OPERATOR, draft.id, title="New", status=PostStatus.PUBLISHED)
    assert (revised.title, revised.content, revised.status, revised.version) == ("New", "C", PostStatus.PUBLISHED, 2)
    assert revised.published_at == revised.updated_at > draft.updated_at
    assert await posts.get(OPERATOR, draft.id) == revised


async def test_a_revision_that_changes_nothing_is_none(posts: PostService, draft: Post) -> None:
    assert await posts.revise(OPERATOR, draft.id, title="T", status=PostStatus.DRAFT) == draft
    assert await posts.revise(OPERATOR, draft.id) == draft


async def test_a_step_that_there_is_not_is_refused(posts: PostService, draft: Post) -> None:
    with pytest.raises(InvalidTransitionError):
        await posts.revise(OPERATOR, draft.id, status=PostStatus.ARCHIVED, title="New")
    assert await posts.get(OPERATOR, draft.id) == draft


async def test_an_inactive_author_edits_but_does_not_publish(
    users: UserService, posts: PostService, author: User, draft: Post
) -> None:
    await users.change(OPERATOR, author.id, is_active=False)
    assert (await posts.revise(OPERATOR, draft.id, title="New")).title == "New"
    with pytest.raises(AuthorInactiveError):
        await posts.revise(OPERATOR, draft.id, status=PostStatus.PUBLISHED)


async def test_the_expected_version_has_to_be_the_stored_one(posts: PostService, draft: Post) -> None:
    revised = await posts.revise(OPERATOR, draft.id, expected=[1], title="New")
    for wrong in (1, 3):
        with pytest.raises(VersionMismatchError):
            await posts.revise(OPERATOR, draft.id, expected=[wrong], title="Newer")
        with pytest.raises(VersionMismatchError):
            await posts.remove(OPERATOR, draft.id, expected=[wrong])
    assert await posts.get(OPERATOR, draft.id) == revised
    await posts.remove(OPERATOR, draft.id, expected=[2])


async def test_a_post_that_was_removed_is_gone(posts: PostService, draft: Post) -> None:
    await posts.remove(OPERATOR, draft.id)
    with pytest.raises(PostNotFoundError):
        await posts.remove(OPERATOR, draft.id)
    with pytest.raises(PostNotFoundError):
        await posts.revise(OPERATOR, draft.id, title="New")


async def test_pages_follow_each_other_within_the_filters(users: UserService, posts: PostService, author: User) -> None:
    other = await users.register(OPERATOR, email="bob@example.org")
    mine = []
    for number in range(3):
        mine.append(await posts.write(OPERATOR, author_id=author.id, title=f"{number}", content="C"))
        await posts.write(OPERATOR, author_id=other.id, title="T", content="C")
        await posts.write(OPERATOR, author_id=author.id, title="T", content="C", status=PostStatus.PUBLISHED)
    first = await posts.list(OPERATOR, limit=2, author_id=author.id, status=PostStatus.DRAFT)
    assert (first.items, first.next_after) == ([mine[2], mine[1]], mine[1].id)
    last = await posts.list(OPERATOR, limit=2, author_id=author.id, status=PostStatus.DRAFT, after=first.next_after)
    assert (last.items, last.next_after) == ([mine[0]], None)
    assert len((await posts.list(OPERATOR, limit=9)).items) == 9

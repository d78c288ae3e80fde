"""Something else happens between the read and the write of a use case: it decides anew, on what is so then."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from adapters.system import utc_now
from application.access import OPERATOR
from application.ports import Storage, UnitOfWork
from application.posts import PostService
from application.users import UserService
from domain.errors import VersionMismatchError
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.examples import stored_posts, stored_users
from tests.support.services import post_service, user_service

Between = Callable[[], Awaitable[object]]


class Interrupted(Storage):
    """Another storage; before the first transaction ends, in which nothing is written yet, something else happens."""

    def __init__(self, storage: Storage, between: Between) -> None:
        self._storage = storage
        self._between: Between | None = between

    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._storage.readonly()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._storage.transaction() as work:
            yield work
            between, self._between = self._between, None
            if between is not None:
                await between()


@pytest.fixture
async def author(users: UserService) -> User:
    return await users.register(OPERATOR, email="ada@example.org", full_name="Ada")


@pytest.fixture
async def draft(posts: PostService, author: User) -> Post:
    return await posts.write(OPERATOR, author_id=author.id, title="T", content="C")


async def test_the_author_is_deactivated_while_a_post_is_written(
    storage: Storage, users: UserService, author: User
) -> None:
    service = post_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, is_active=False))
    )
    with pytest.raises(AuthorInactiveError):
        await service.write(OPERATOR, author_id=author.id, title="T", content="C")
    assert await stored_posts(storage) == []


async def test_the_author_is_erased_while_a_post_is_written(storage: Storage, users: UserService, author: User) -> None:
    service = post_service(now=utc_now, storage=Interrupted(storage, lambda: users.erase(OPERATOR, author.id)))
    with pytest.raises(AuthorNotFoundError):
        await service.write(OPERATOR, author_id=author.id, title="T", content="C")
    assert await stored_posts(storage) == []


async def test_the_author_is_renamed_while_a_post_is_written(
    storage: Storage, users: UserService, author: User
) -> None:
    service = post_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, full_name="Ada L."))
    )
    post = await service.write(OPERATOR, author_id=author.id, title="T", content="C")
    assert await stored_posts(storage) == [post]


async def test_the_author_is_deactivated_while_a_draft_is_published(
    storage: Storage, users: UserService, author: User, draft: Post
) -> None:
    service = post_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, is_active=False))
    )
    with pytest.raises(AuthorInactiveError):
        await service.revise(OPERATOR, draft.id, status=PostStatus.PUBLISHED)
    assert await stored_posts(storage) == [draft]


async def test_the_author_is_erased_while_a_draft_is_published(
    storage: Storage, users: UserService, author: User, draft: Post
) -> None:
    service = post_service(now=utc_now, storage=Interrupted(storage, lambda: users.erase(OPERATOR, author.id)))
    with pytest.raises(PostNotFoundError):
        await service.revise(OPERATOR, draft.id, status=PostStatus.PUBLISHED)
    assert await stored_posts(storage) == []


async def test_the_author_is_deactivated_while_a_draft_is_edited(
    storage: Storage, users: UserService, author: User, draft: Post
) -> None:
    service = post_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, is_active=False))
    )
    assert (await service.revise(OPERATOR, draft.id, title="New")).version == 2
    assert [post.title for post in await stored_posts(storage)] == ["New"]


async def test_a_post_is_edited_by_two(storage: Storage, posts: PostService, draft: Post) -> None:
    service = post_service(
        now=utc_now, storage=Interrupted(storage, lambda: posts.revise(OPERATOR, draft.id, content="other"))
    )
    revised = await service.revise(OPERATOR, draft.id, title="New")
    assert (revised.title, revised.content, revised.version) == ("New", "other", 3)
    assert await stored_posts(storage) == [revised]


async def test_a_user_is_changed_by_two(storage: Storage, users: UserService, author: User) -> None:
    service = user_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, email="new@example.org"))
    )
    changed = await service.change(OPERATOR, author.id, full_name="Ada L.")
    assert (changed.email, changed.full_name, changed.version) == ("new@example.org", "Ada L.", 3)
    assert await stored_users(storage) == [changed]


@pytest.mark.parametrize("verb", ["change", "erase"])
async def test_whoever_expected_a_version_is_told_that_it_is_gone(
    storage: Storage, users: UserService, author: User, verb: str
) -> None:
    service = user_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, email="new@example.org"))
    )
    with pytest.raises(VersionMismatchError):
        await (
            service.change(OPERATOR, author.id, expected=[1], full_name="Ada L.")
            if verb == "change"
            else service.erase(OPERATOR, author.id, expected=[1])
        )
    assert [user.email for user in await stored_users(storage)] == ["new@example.org"]


async def test_a_user_is_changed_while_erased(storage: Storage, users: UserService, author: User) -> None:
    service = user_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.change(OPERATOR, author.id, full_name="Ada L."))
    )
    await service.erase(OPERATOR, author.id)
    assert await stored_users(storage) == []


async def test_a_user_is_erased_while_changed(storage: Storage, users: UserService, author: User) -> None:
    service = user_service(now=utc_now, storage=Interrupted(storage, lambda: users.erase(OPERATOR, author.id)))
    with pytest.raises(UserNotFoundError):
        await service.change(OPERATOR, author.id, full_name="Ada L.")
    assert await stored_users(storage) == []


async def test_an_address_is_taken_while_a_user_moves_to_it(storage: Storage, users: UserService, author: User) -> None:
    service = user_service(
        now=utc_now, storage=Interrupted(storage, lambda: users.register(OPERATOR, email="NEW@example.org"))
    )
    with pytest.raises(EmailAlreadyRegisteredError):
        await service.change(OPERATOR, author.id, email="new@example.org")
    assert {user.email for user in await stored_users(storage)} == {"NEW@example.org", "ada@example.org"}

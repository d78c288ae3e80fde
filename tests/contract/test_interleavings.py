"""Tests for writes that another client commits between the read and the write of a use case."""

from collections.abc import Awaitable, Callable

import pytest

from adapters.clock import utc_now
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from domain.errors import VersionMismatchError
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post, PostNotFoundError, PostStatus
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.factories import stored_posts, stored_users
from tests.support.principals import Hook, HookedStorage
from tests.support.service_factories import post_service, user_service

Interruption = Callable[[UserService, User], Awaitable[object]]
Attempt = Callable[[PostService, Post], Awaitable[Post]]

INTERRUPTIONS: dict[str, Interruption] = {
    "deactivate": lambda users, author: users.update(SYSTEM_PRINCIPAL, author.id, is_active=False),
    "delete": lambda users, author: users.delete(SYSTEM_PRINCIPAL, author.id),
    "rename": lambda users, author: users.update(SYSTEM_PRINCIPAL, author.id, full_name="Ada L."),
}
ATTEMPTS: dict[str, Attempt] = {
    "create": lambda posts, draft: posts.create(SYSTEM_PRINCIPAL, author_id=draft.author_id, title="New", content="C"),
    "publish": lambda posts, draft: posts.update(SYSTEM_PRINCIPAL, draft.id, title="New", status=PostStatus.PUBLISHED),
    "edit": lambda posts, draft: posts.update(SYSTEM_PRINCIPAL, draft.id, title="New"),
}


@pytest.fixture
async def author(users: UserService) -> User:
    return await users.create(SYSTEM_PRINCIPAL, email="ada@example.org", full_name="Ada")


@pytest.fixture
async def draft(posts: PostService, author: User) -> Post:
    return await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="T", content="C")


def _posts(storage: Storage, within: Hook) -> PostService:
    return post_service(HookedStorage(storage, within=within), now=utc_now)


def _users(storage: Storage, within: Hook) -> UserService:
    return user_service(HookedStorage(storage, within=within), now=utc_now)


@pytest.mark.parametrize(
    ("attempt", "interruption", "error"),
    [
        ("create", "deactivate", AuthorInactiveError),
        ("create", "delete", AuthorNotFoundError),
        ("create", "rename", None),
        ("publish", "deactivate", AuthorInactiveError),
        ("publish", "delete", PostNotFoundError),
        ("publish", "rename", None),
        ("edit", "deactivate", None),
        ("edit", "delete", PostNotFoundError),
    ],
)
async def test_post_use_case_meets_a_concurrent_change_of_the_author(
    storage: Storage,
    users: UserService,
    draft: Post,
    author: User,
    *,
    attempt: str,
    interruption: str,
    error: type[Exception] | None,
) -> None:
    posts = _posts(storage, lambda: INTERRUPTIONS[interruption](users, author))
    if error is None:
        changed = await ATTEMPTS[attempt](posts, draft)
        assert changed in await stored_posts(storage)
        assert changed.title == "New"
    else:
        with pytest.raises(error):
            await ATTEMPTS[attempt](posts, draft)
        assert await stored_posts(storage) == ([] if interruption == "delete" else [draft])


async def test_update_post_is_merged_with_a_concurrent_update(
    storage: Storage, posts: PostService, draft: Post
) -> None:
    service = _posts(storage, lambda: posts.update(SYSTEM_PRINCIPAL, draft.id, content="other"))
    revised = await service.update(SYSTEM_PRINCIPAL, draft.id, title="New")
    assert (revised.title, revised.content, revised.version) == ("New", "other", 3)
    assert await stored_posts(storage) == [revised]


async def test_update_user_is_merged_with_a_concurrent_update(
    storage: Storage, users: UserService, author: User
) -> None:
    service = _users(storage, lambda: users.update(SYSTEM_PRINCIPAL, author.id, email="new@example.org"))
    changed = await service.update(SYSTEM_PRINCIPAL, author.id, full_name="Ada L.")
    assert (changed.email, changed.full_name, changed.version) == ("new@example.org", "Ada L.", 3)
    assert await stored_users(storage) == [changed]


@pytest.mark.parametrize("verb", ["update", "delete"])
async def test_user_use_case_raises_mismatch_after_concurrent_update(
    storage: Storage, users: UserService, author: User, verb: str
) -> None:
    service = _users(storage, lambda: users.update(SYSTEM_PRINCIPAL, author.id, email="new@example.org"))
    with pytest.raises(VersionMismatchError):
        if verb == "update":
            await service.update(SYSTEM_PRINCIPAL, author.id, expected=[1], full_name="Ada L.")
        else:
            await service.delete(SYSTEM_PRINCIPAL, author.id, expected=[1])
    assert [user.email for user in await stored_users(storage)] == ["new@example.org"]


async def test_delete_user_succeeds_after_a_concurrent_update(
    storage: Storage, users: UserService, author: User
) -> None:
    service = _users(storage, lambda: users.update(SYSTEM_PRINCIPAL, author.id, full_name="Ada L."))
    await service.delete(SYSTEM_PRINCIPAL, author.id)
    assert await stored_users(storage) == []


async def test_update_user_raises_not_found_after_a_concurrent_delete(
    storage: Storage, users: UserService, author: User
) -> None:
    service = _users(storage, lambda: users.delete(SYSTEM_PRINCIPAL, author.id))
    with pytest.raises(UserNotFoundError):
        await service.update(SYSTEM_PRINCIPAL, author.id, full_name="Ada L.")
    assert await stored_users(storage) == []


async def test_update_user_raises_when_new_email_is_taken_meanwhile(
    storage: Storage, users: UserService, author: User
) -> None:
    service = _users(storage, lambda: users.create(SYSTEM_PRINCIPAL, email="NEW@example.org"))
    with pytest.raises(EmailAlreadyRegisteredError):
        await service.update(SYSTEM_PRINCIPAL, author.id, email="new@example.org")
    assert {user.email for user in await stored_users(storage)} == {"NEW@example.org", "ada@example.org"}

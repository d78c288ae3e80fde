"""Tests for writes that another client commits between the read and the write of a use case."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext

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
from tests.support.principals import HookedStorage
from tests.support.service_factories import post_service, user_service

UserCall = Callable[[UserService, User], Awaitable[User | None]]
PostCall = Callable[[PostService, Post], Awaitable[Post]]

USER_CALLS: dict[str, UserCall] = {
    "deactivate": lambda users, ada: users.update(SYSTEM_PRINCIPAL, ada.id, is_active=False),
    "rename": lambda users, ada: users.update(SYSTEM_PRINCIPAL, ada.id, full_name="Ada L."),
    "rename version 1": lambda users, ada: users.update(SYSTEM_PRINCIPAL, ada.id, expected=[1], full_name="Ada L."),
    "move": lambda users, ada: users.update(SYSTEM_PRINCIPAL, ada.id, email="new@example.org"),
    "delete": lambda users, ada: users.delete(SYSTEM_PRINCIPAL, ada.id),
    "delete version 1": lambda users, ada: users.delete(SYSTEM_PRINCIPAL, ada.id, expected=[1]),
    "create another": lambda users, _: users.create(SYSTEM_PRINCIPAL, email="NEW@example.org"),
}
POST_CALLS: dict[str, PostCall] = {
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


@pytest.mark.parametrize(
    ("call", "interruption", "error"),
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
    call: str,
    interruption: str,
    error: type[Exception] | None,
) -> None:
    interrupted = HookedStorage(storage, within=lambda: USER_CALLS[interruption](users, author))
    posts = post_service(interrupted, now=utc_now)
    if error is None:
        changed = await POST_CALLS[call](posts, draft)
        assert changed in await stored_posts(storage)
        assert changed.title == "New"
    else:
        with pytest.raises(error):
            await POST_CALLS[call](posts, draft)
        assert await stored_posts(storage) == ([] if interruption == "delete" else [draft])


async def test_update_post_is_merged_with_a_concurrent_update(
    storage: Storage, posts: PostService, draft: Post
) -> None:
    interrupted = HookedStorage(storage, within=lambda: posts.update(SYSTEM_PRINCIPAL, draft.id, content="other"))
    revised = await post_service(interrupted, now=utc_now).update(SYSTEM_PRINCIPAL, draft.id, title="New")
    assert (revised.title, revised.content, revised.version) == ("New", "other", 3)
    assert await stored_posts(storage) == [revised]


@pytest.mark.parametrize(
    ("call", "interruption", "error", "stored"),
    [
        ("rename", "move", None, ("new@example.org", "Ada L.", 3)),
        ("rename version 1", "move", VersionMismatchError, ("new@example.org", "Ada", 2)),
        ("delete version 1", "move", VersionMismatchError, ("new@example.org", "Ada", 2)),
        ("delete", "rename", None, None),
        ("rename", "delete", UserNotFoundError, None),
        ("move", "create another", EmailAlreadyRegisteredError, ("ada@example.org", "Ada", 1)),
    ],
)
async def test_user_use_case_meets_a_concurrent_change(
    storage: Storage,
    users: UserService,
    author: User,
    *,
    call: str,
    interruption: str,
    error: type[Exception] | None,
    stored: tuple[str, str, int] | None,
) -> None:
    interrupted = HookedStorage(storage, within=lambda: USER_CALLS[interruption](users, author))
    result = None
    with nullcontext() if error is None else pytest.raises(error):
        result = await USER_CALLS[call](user_service(interrupted, now=utc_now), author)
    found = {user.id: user for user in await stored_users(storage)}
    assert len(found) == (stored is not None) + (interruption == "create another")
    changed = found.get(author.id)
    assert stored == (changed and (changed.email, changed.full_name, changed.version))
    assert result == (changed if error is None else None)

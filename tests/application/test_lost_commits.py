"""Tests for retries after a commit with an unknown result."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.clock import utc_now
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import (
    CommitResultUnknownError,
    CommitResultUnresolvableError,
    ConcurrentUpdateError,
    StorageBusyError,
    StorageTimeoutError,
    StorageUnavailableError,
    TransientStorageError,
    UnitOfWork,
)
from application.posts import PostService
from application.transactions import RetryPolicy
from domain.errors import VersionMismatchError
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.factories import make_user, store, stored_posts, stored_users
from tests.support.principals import Hook, HookedStorage, do_nothing, raising
from tests.support.service_factories import post_service, user_service
from tests.support.use_case_runner import UseCaseRunner

LOST = CommitResultUnknownError
QUICK = RetryPolicy(max_elapsed=9, base_delay=0, max_delay=0)
Update = Callable[[], Awaitable[Post]]


def _lossy(
    storage: InMemoryStorage, *, is_committed: bool, error: type[Exception] = LOST, then: Hook = do_nothing
) -> HookedStorage:
    """Raise the error in the first transaction, before or after its commit, when `then` has run."""

    async def fail() -> None:
        await then()
        raise error

    return HookedStorage(storage, after=fail) if is_committed else HookedStorage(storage, within=fail)


def _posts(storage: InMemoryStorage | HookedStorage) -> PostService:
    return post_service(storage, now=utc_now, retry=QUICK)


def _update(storage: InMemoryStorage, post: Post, **changes: Any) -> Update:
    """Return a function that updates the post as another client does."""
    return lambda: post_service(storage, now=utc_now).update(SYSTEM_PRINCIPAL, post.id, **changes)


async def test_delete_succeeds_when_its_first_commit_was_lost(storage: InMemoryStorage, post: Post) -> None:
    lossy = _lossy(storage, is_committed=True)
    await _posts(lossy).delete(SYSTEM_PRINCIPAL, post.id, expected=[post.version])
    lossy.times = 1
    await user_service(lossy, retry=QUICK).delete(SYSTEM_PRINCIPAL, post.author_id, expected=[1])
    assert (await stored_users(storage), await stored_posts(storage)) == ([], [])


@pytest.mark.parametrize("error", [ConcurrentUpdateError, StorageUnavailableError])
async def test_delete_raises_not_found_after_an_earlier_delete(
    storage: InMemoryStorage, user: User, post: Post, error: type[Exception]
) -> None:
    lossy = _lossy(
        storage, is_committed=False, error=error, then=lambda: user_service(storage).delete(SYSTEM_PRINCIPAL, user.id)
    )
    with pytest.raises(UserNotFoundError):
        await user_service(lossy, retry=QUICK).delete(SYSTEM_PRINCIPAL, user.id)
    await store(storage, user, post)
    lossy.times = 1
    with pytest.raises(PostNotFoundError):
        await _posts(lossy).delete(SYSTEM_PRINCIPAL, post.id)


@pytest.mark.parametrize("expected", [None, [1]])
@pytest.mark.parametrize("is_committed", [False, True])
async def test_update_is_made_once_when_its_commit_was_lost(
    storage: InMemoryStorage, user: User, expected: list[int] | None, is_committed: bool
) -> None:
    service = user_service(_lossy(storage, is_committed=is_committed), retry=QUICK)
    changed = await service.update(SYSTEM_PRINCIPAL, user.id, expected=expected, full_name="x")
    assert (changed.version, changed.full_name) == (2, "x")
    assert await stored_users(storage) == [changed]


async def test_update_raises_when_a_lost_commit_cannot_be_resolved(storage: InMemoryStorage, post: Post) -> None:
    archive = _update(storage, post, status=PostStatus.ARCHIVED)
    await archive()
    lossy = _lossy(storage, is_committed=True, then=archive)
    with pytest.raises(CommitResultUnresolvableError):
        await _posts(lossy).update(SYSTEM_PRINCIPAL, post.id, status=PostStatus.PUBLISHED)
    (stored,) = await stored_posts(storage)
    assert (stored.status, stored.version) == (PostStatus.ARCHIVED, 4)


async def test_update_recognizes_its_lost_commit_below_a_later_update(storage: InMemoryStorage, post: Post) -> None:
    lossy = _lossy(storage, is_committed=True, then=_update(storage, post, title="theirs"))
    revised = await _posts(lossy).update(SYSTEM_PRINCIPAL, post.id, content="ours")
    assert (revised.title, revised.content, revised.version) == ("theirs", "ours", 3)


async def test_update_is_retried_on_top_of_an_earlier_update(storage: InMemoryStorage, post: Post) -> None:
    lossy = _lossy(storage, is_committed=False, then=_update(storage, post, title="theirs"))
    revised = await _posts(lossy).update(SYSTEM_PRINCIPAL, post.id, title="ours")
    assert (revised.title, revised.version) == ("ours", 3)


async def test_update_raises_version_mismatch_after_an_earlier_update(storage: InMemoryStorage, post: Post) -> None:
    lossy = _lossy(storage, is_committed=False, then=_update(storage, post, title="theirs"))
    with pytest.raises(VersionMismatchError):
        await _posts(lossy).update(SYSTEM_PRINCIPAL, post.id, expected=[1], title="ours")


async def test_retry_resolves_two_lost_commits_and_a_race(storage: InMemoryStorage) -> None:
    lost: list[int] = []

    async def body(work: UnitOfWork) -> None:
        lost.append(work.lost_commits)
        if len(lost) in {1, 3}:
            raise LOST
        if len(lost) == 2:
            raise ConcurrentUpdateError

    await UseCaseRunner(storage, retry=QUICK).change(body)
    assert lost == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("then", "raised"),
    [
        (StorageBusyError, CommitResultUnknownError),
        (ConcurrentUpdateError, CommitResultUnknownError),
        (TransientStorageError, CommitResultUnknownError),
        (StorageTimeoutError, StorageTimeoutError),
        (StorageUnavailableError, StorageUnavailableError),
    ],
)
async def test_failed_retry_of_a_lost_commit_raises_unavailable(
    storage: InMemoryStorage, then: type[Exception], raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("application.transactions.time", SimpleNamespace(monotonic=lambda: now[0]))
    probe = UseCaseRunner(HookedStorage(storage, after=raising(LOST)), retry=RetryPolicy(max_elapsed=1))
    user = make_user()

    async def body(work: UnitOfWork) -> None:
        if work.lost_commits:
            now[0] += 2
            raise then
        await work.users.add(user)

    with pytest.raises(raised) as found:
        await probe.change(body)
    assert type(found.value) is raised
    assert probe.attempts == 2
    assert await stored_users(storage) == [user]

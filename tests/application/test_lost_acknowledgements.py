"""An attempt whose acknowledgement was lost may have done it all: it counts once, and nobody else's work for ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import utc_now
from application.access import OPERATOR
from application.ports import (
    AcknowledgementLostError,
    ConcurrentChangeError,
    OutcomeUnknownError,
    StorageOverloadedError,
    StorageSilentError,
    StorageUnavailableError,
    TransientError,
    UnitOfWork,
)
from application.posts import PostService
from application.transactions import Retry
from domain.errors import VersionMismatchError
from domain.posts import Post, PostNotFoundError, PostStatus
from domain.users import User, UserNotFoundError
from tests.support.examples import a_post, a_user, store_posts, store_users, stored_posts, stored_users
from tests.support.probes import Probe
from tests.support.services import post_service, user_service

Meanwhile = Callable[[InMemoryStorage], Awaitable[None]]


async def _nothing(_: InMemoryStorage) -> None:
    """Nothing happens meanwhile."""


class LossyStorage(InMemoryStorage):
    """The first transaction ends in an error, after it is stored if that was `late`; then something else happens."""

    def __init__(self, error: type[Exception], *, late: bool, meanwhile: Meanwhile = _nothing) -> None:
        super().__init__()
        self.error: type[Exception] | None = None
        self.planned = error
        self.late = late
        self.meanwhile = meanwhile

    @asynccontextmanager
    async def _failing(self, work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
        error, self.error = self.error, None
        async with work:  # type: ignore[attr-defined]
            yield work
            if error is not None and not self.late:
                await self.meanwhile(self)
                raise error
        if error is not None:
            await self.meanwhile(self)
            raise error

    def transaction(self) -> UnitOfWork:  # type: ignore[override]
        return self._failing(super().transaction())  # type: ignore[return-value]


LOST = AcknowledgementLostError
QUICK = Retry(deadline=9, shortest=0, longest=0)


def _posts(storage: InMemoryStorage) -> PostService:
    return post_service(storage, now=utc_now, retry=QUICK)


async def stored(storage: LossyStorage) -> tuple[User, Post]:
    """Store a user with a published post; the next transaction is the one that fails."""
    user = a_user()
    post = a_post(user)
    await store_users(storage, user)
    await store_posts(storage, post)
    storage.error = storage.planned
    return user, post


async def test_what_was_removed_before_is_removed() -> None:
    storage = LossyStorage(LOST, late=True)
    _, post = await stored(storage)
    await _posts(storage).remove(OPERATOR, post.id, expected=[post.version])
    storage.error = LOST
    (user,) = await stored_users(storage)
    await user_service(storage, retry=QUICK).erase(OPERATOR, user.id, expected=[user.version])
    assert (await stored_users(storage), await stored_posts(storage)) == ([], [])


@pytest.mark.parametrize("error", [ConcurrentChangeError, StorageUnavailableError])
async def test_what_somebody_else_removed_is_not_found(error: type[Exception]) -> None:
    async def erase(storage: InMemoryStorage) -> None:
        for user in await stored_users(storage):
            await user_service(storage).erase(OPERATOR, user.id)

    storage = LossyStorage(error, late=False, meanwhile=erase)
    user, _ = await stored(storage)
    with pytest.raises(UserNotFoundError):
        await user_service(storage, retry=QUICK).erase(OPERATOR, user.id)
    user, post = await stored(storage)
    with pytest.raises(PostNotFoundError):
        await _posts(storage).remove(OPERATOR, post.id)


async def test_what_was_removed_too_late_is_not_found() -> None:
    storage = LossyStorage(LOST, late=True)
    user, post = await stored(storage)
    storage.error = None
    await user_service(storage).erase(OPERATOR, user.id)
    with pytest.raises(PostNotFoundError):
        await _posts(storage).remove(OPERATOR, post.id)


@pytest.mark.parametrize("expected", [None, [1]])
@pytest.mark.parametrize("late", [False, True])
async def test_a_change_is_made_once(expected: list[int] | None, late: bool) -> None:
    storage = LossyStorage(LOST, late=late)
    user, _ = await stored(storage)
    changed = await user_service(storage, retry=QUICK).change(OPERATOR, user.id, expected=expected, full_name="x")
    assert (changed.version, changed.full_name) == (2, "x")
    assert await stored_users(storage) == [changed]


async def _archive(storage: InMemoryStorage) -> None:
    (post,) = await stored_posts(storage)
    await _posts(storage).revise(OPERATOR, post.id, status=PostStatus.ARCHIVED)


async def _rename(storage: InMemoryStorage) -> None:
    (post,) = await stored_posts(storage)
    await _posts(storage).revise(OPERATOR, post.id, title="theirs")


async def test_a_change_that_others_have_built_upon_is_not_made_again() -> None:
    storage = LossyStorage(LOST, late=True, meanwhile=_archive)
    _, post = await stored(storage)
    storage.error = None
    await _archive(storage)
    storage.error = LOST
    with pytest.raises(OutcomeUnknownError):
        await _posts(storage).revise(OPERATOR, post.id, status=PostStatus.PUBLISHED)
    (found,) = await stored_posts(storage)
    assert (found.status, found.version) == (PostStatus.ARCHIVED, 4)


async def test_a_change_that_is_still_there_was_made() -> None:
    storage = LossyStorage(LOST, late=True, meanwhile=_rename)
    _, post = await stored(storage)
    revised = await _posts(storage).revise(OPERATOR, post.id, content="ours")
    assert (revised.title, revised.content, revised.version) == ("theirs", "ours", 3)


async def test_a_change_that_somebody_else_came_before_is_made_upon_theirs() -> None:
    storage = LossyStorage(LOST, late=False, meanwhile=_rename)
    _, post = await stored(storage)
    revised = await _posts(storage).revise(OPERATOR, post.id, title="ours")
    assert (revised.title, revised.version) == ("ours", 3)
    storage = LossyStorage(LOST, late=False, meanwhile=_rename)
    _, post = await stored(storage)
    with pytest.raises(VersionMismatchError):
        await _posts(storage).revise(OPERATOR, post.id, expected=[1], title="ours")


async def test_two_losses_and_a_race_are_no_riddle() -> None:
    storage = InMemoryStorage()
    user = a_user()
    await store_users(storage, user)
    probe = Probe(storage, retry=QUICK)
    seen: list[int] = []

    async def body(work: UnitOfWork) -> None:
        seen.append(work.lost)
        if len(seen) in {1, 3}:
            raise LOST
        if len(seen) == 2:
            raise ConcurrentChangeError

    await probe.change(body)
    assert seen == [0, 1, 1, 2]


async def test_what_did_not_answer_is_not_asked_again() -> None:
    probe = Probe(InMemoryStorage(), retry=QUICK)

    async def body(_: UnitOfWork) -> None:
        raise StorageSilentError

    with pytest.raises(StorageSilentError):
        await asyncio.wait_for(probe.change(body), 30)
    assert probe.attempts == 1


@pytest.mark.parametrize(
    ("then", "raised"),
    [
        (StorageOverloadedError, AcknowledgementLostError),
        (ConcurrentChangeError, AcknowledgementLostError),
        (TransientError, AcknowledgementLostError),
        (StorageSilentError, StorageSilentError),
        (StorageUnavailableError, StorageUnavailableError),
    ],
)
async def test_whoever_cannot_find_out_does_not_say_that_nothing_is_done(
    then: type[Exception], raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("application.transactions.time", SimpleNamespace(monotonic=lambda: now[0]))
    storage = LossyStorage(AcknowledgementLostError, late=True)
    storage.error = storage.planned
    probe = Probe(storage, retry=Retry(deadline=1))
    user = a_user()

    async def body(work: UnitOfWork) -> None:
        if work.lost:
            now[0] += 2
            raise then
        await work.users.add(user)

    with pytest.raises(raised) as found:
        await probe.change(body)
    assert type(found.value) is raised
    assert probe.attempts == 2
    assert await stored_users(storage) == [user]


async def test_what_was_not_lost_says_itself_why_nothing_is_done() -> None:
    probe = Probe(InMemoryStorage(), retry=Retry(deadline=0))

    async def body(_: UnitOfWork) -> None:
        raise ConcurrentChangeError

    with pytest.raises(ConcurrentChangeError):
        await probe.change(body)

"""Tests for statements that concurrent callers share."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ClauseElement

from adapters.postgres.coalescing import MAX_BATCH_SIZE, MAX_BATCHES, _Caller
from adapters.postgres.drivers import Row
from adapters.postgres.pool import Database
from adapters.postgres.repositories import users
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import connected
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import CommitResultUnknownError, StorageBusyError, StorageTimeoutError, StorageUnavailableError
from domain.posts import AuthorInactiveError, AuthorNotFoundError, Post
from domain.users import User, UserNotFoundError
from tests.postgres.failures import ONCE, UnforeseenError
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import make_post, make_user, store_users, stored_posts
from tests.support.polling import wait_until
from tests.support.service_factories import LENIENT_RETRY, user_service
from tests.support.use_case_runner import Recorder, UseCaseRunner, record_statements

TOO_LONG = "x" * 201
INACTIVE = make_user(is_active=False)
AUTHOR, OTHER = make_user(), make_user()
Fetch = Callable[[], Awaitable[Sequence[Row]]]


@pytest.fixture
async def storage(store: DatabaseFixture) -> SqlAlchemyStorage:
    """The storage with an inactive and two active users."""
    await store_users(store.storage, AUTHOR, OTHER, INACTIVE)
    return store.storage


@pytest.fixture
def sent(store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch) -> Recorder:  # noqa: ARG001
    return record_statements(store.database, monkeypatch)


async def _get(storage: SqlAlchemyStorage, user_id: UUID, retry: Any = LENIENT_RETRY) -> User:
    return await UseCaseRunner(storage, retry).read(lambda work: work.users.get(user_id))


async def _add(storage: SqlAlchemyStorage, post: Post, retry: Any = LENIENT_RETRY) -> Post:
    await UseCaseRunner(storage, retry).change(lambda work: work.posts.add(post))
    return post


async def _results(*calls: Awaitable[Any]) -> list[Any]:
    """Return the result or the type of the error of each call."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [type(result) if isinstance(result, BaseException) else result for result in results]


def _intercept(
    store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch, intercept: Callable[[Fetch, Any, bool], Awaitable[Any]]
) -> None:
    """Call `intercept` instead of each fetch, with the original and with True for a statement of a batch."""
    fetch = store.database.driver.fetch

    async def intercepted(connection: Any, statement: ClauseElement, parameters: Mapping[str, Any]) -> Any:
        async def original() -> Sequence[Row]:
            return await fetch(connection, statement, parameters)

        return await intercept(original, connection, isinstance(parameters.get("id"), list))

    monkeypatch.setattr(store.database.driver, "fetch", intercepted)


async def test_concurrent_reads_share_a_statement(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    missing = make_user().id
    found = await _results(*[_get(storage, id_) for id_ in (AUTHOR.id, missing, OTHER.id, AUTHOR.id)])
    assert found == [AUTHOR, UserNotFoundError, OTHER, AUTHOR]
    assert sent.take() == ["SELECT"]


async def test_concurrent_inserts_share_a_statement(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    new = [make_post(author) for author in (AUTHOR, OTHER, AUTHOR)]
    assert await _results(*[_add(storage, post) for post in new]) == new
    assert sent.take() == ["INSERT"]
    assert await stored_posts(storage) == new[::-1]


async def test_finished_callers_are_no_cycle_of_references(storage: SqlAlchemyStorage) -> None:
    gc.collect()
    gc.disable()
    try:
        await _results(*[_get(storage, id_) for id_ in (AUTHOR.id, make_user().id, OTHER.id)])
        await _results(*[_add(storage, make_post(author)) for author in (AUTHOR, INACTIVE, OTHER)])
        await wait_until(lambda: not any(isinstance(one, _Caller) for one in gc.get_objects()))
    finally:
        gc.enable()


async def test_batches_have_a_limited_size(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    number = 2 * MAX_BATCH_SIZE + 1
    assert await _results(*[_get(storage, AUTHOR.id) for _ in range(number)]) == [AUTHOR] * number
    assert sent.take() == ["SELECT"] * 3


Body = Callable[[Post, Any], Awaitable[None]]


async def _statements_of_two_adds(storage: SqlAlchemyStorage, sent: Recorder, body: Body) -> list[str]:
    """Run a unit of work for a new post of each author at the same time, and return the sent statements."""
    new = [make_post(AUTHOR), make_post(OTHER)]
    await asyncio.gather(*[UseCaseRunner(storage).change(partial(body, post)) for post in new])
    statements = sent.take()
    assert await stored_posts(storage) == new[::-1]
    return statements


async def test_reads_before_a_single_write_are_shared(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    async def read_and_add(post: Post, work: Any) -> None:
        assert (await work.users.get(post.author_id)).id == post.author_id
        await work.posts.add(post)

    assert await _statements_of_two_adds(storage, sent, read_and_add) == ["SELECT", "INSERT"]


async def test_statements_of_a_transaction_are_not_shared(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    async def add_and_read(post: Post, work: Any) -> None:
        await work.posts.add(post)
        assert (await work.users.get(post.author_id)).id == post.author_id

    assert sorted(await _statements_of_two_adds(storage, sent, add_and_read)) == [
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "COMMIT",
        "INSERT",
        "INSERT",
        "SELECT",
        "SELECT",
    ]


async def test_statements_are_not_shared_without_prepared_statements(store: DatabaseFixture, driver: str) -> None:
    await store_users(store.storage, AUTHOR)
    async with opened(store.url, driver, replace(PATIENT, prepared_statements=False)) as pool:
        storage, post = pool.storage, make_post(AUTHOR)
        assert storage._coalescer is None
        assert await _results(_get(storage, AUTHOR.id), _get(storage, AUTHOR.id), _add(storage, post)) == [
            AUTHOR,
            AUTHOR,
            post,
        ]


@pytest.mark.parametrize("field", ["title", "content"])
async def test_invalid_rows_do_not_fail_other_inserts(storage: SqlAlchemyStorage, field: str) -> None:
    posts = [make_post(AUTHOR), make_post(AUTHOR, **{field: TOO_LONG * 10}), make_post(OTHER), make_post(OTHER)]
    posts[2] = make_post(OTHER, **{field: "NUL \0"})
    found = await _results(*[_add(storage, post) for post in posts])
    assert [found[0], found[3]] == [posts[0], posts[3]]
    assert all(isinstance(error, type) and issubclass(error, Exception) for error in found[1:3])
    assert await stored_posts(storage) == [posts[3], posts[0]]


async def test_each_insert_has_the_error_of_its_author(storage: SqlAlchemyStorage) -> None:
    posts = [make_post(author) for author in (make_user(), AUTHOR, INACTIVE, OTHER)]
    found = await _results(*[_add(storage, post) for post in posts])
    assert found == [AuthorNotFoundError, posts[1], AuthorInactiveError, posts[3]]
    assert await stored_posts(storage) == [posts[3], posts[1]]


async def test_locked_author_does_not_delay_posts_of_other_authors(
    store: DatabaseFixture, storage: SqlAlchemyStorage
) -> None:
    locked, other = make_post(AUTHOR), make_post(OTHER)
    with connected(store.url) as holder, holder.transaction():
        holder.execute("UPDATE users SET is_active = false WHERE id = %s", [AUTHOR.id])
        waiting = asyncio.create_task(_add(storage, locked))
        assert await _add(storage, other) == other
        await wait_until(store.is_waiting)
    with pytest.raises(AuthorInactiveError):
        await waiting
    assert await stored_posts(storage) == [other]


async def test_stored_post_is_added_again_without_an_effect(storage: SqlAlchemyStorage) -> None:
    first, second = make_post(AUTHOR), make_post(AUTHOR)
    await _add(storage, first)
    assert await _results(_add(storage, first), _add(storage, second)) == [first, second]
    assert await stored_posts(storage) == [second, first]


async def test_read_after_a_write_does_not_join_a_sent_statement(
    store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, may_return = asyncio.Event(), asyncio.Event()

    async def delay_batch(fetch: Fetch, *_: Any) -> Any:
        rows = await fetch()
        if not is_read.is_set():
            is_read.set()
            await may_return.wait()
        return rows

    _intercept(store, monkeypatch, delay_batch)
    early = asyncio.gather(_get(storage, AUTHOR.id), _get(storage, AUTHOR.id))
    await is_read.wait()
    changed = await user_service(store.storage).update(SYSTEM_PRINCIPAL, AUTHOR.id, full_name="Changed")
    assert await _get(storage, AUTHOR.id) == changed
    may_return.set()
    assert list(await early) == [AUTHOR, AUTHOR]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_lost_connection_of_a_batch_is_retried_by_each_caller(
    store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    batches = list[bool]()

    async def lose_connection(fetch: Fetch, connection: Any, is_batch: bool) -> Any:
        if is_batch:
            batches.append(True)
            if when == "after":
                await fetch()
            store.database.driver.abort(connection)
            raise ConnectionResetError
        return await fetch()

    _intercept(store, monkeypatch, lose_connection)
    new = [make_post(AUTHOR) for _ in range(3)]
    adds = [_add(storage, post) for post in new]
    assert await _results(*adds, *[_get(storage, AUTHOR.id) for _ in range(3)]) == [*new, *[AUTHOR] * 3]
    assert await stored_posts(storage) == new[::-1]
    assert len(batches) == 2
    new = [make_post(AUTHOR) for _ in range(2)]
    assert await _results(*[_add(storage, post, ONCE) for post in new]) == [CommitResultUnknownError] * 2


async def test_cancelled_callers_do_not_cancel_a_batch(
    store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_sent, may_return = asyncio.Event(), asyncio.Event()

    async def delay(fetch: Fetch, _: Any, is_batch: bool) -> Any:
        if is_batch:
            is_sent.set()
            await may_return.wait()
        return await fetch()

    _intercept(store, monkeypatch, delay)
    tasks = [asyncio.create_task(_get(storage, AUTHOR.id)) for _ in range(4)]
    await is_sent.wait()
    for task in tasks[:3]:
        task.cancel()
    assert await _results(*tasks[:3]) == [asyncio.CancelledError] * 3
    may_return.set()
    assert await tasks[3] == AUTHOR


async def test_batch_without_callers_is_cancelled(
    store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_sent, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(fetch: Fetch, _: Any, is_batch: bool) -> Any:
        if not is_batch:
            return await fetch()
        is_sent.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    _intercept(store, monkeypatch, hang)
    tasks = [asyncio.create_task(_get(storage, AUTHOR.id)) for _ in range(2)]
    await is_sent.wait()
    for task in tasks:
        task.cancel()
    assert await _results(*tasks) == [asyncio.CancelledError] * 2
    await cancelled.wait()
    await wait_until(lambda: store.checked_out == 0)


async def test_cancelled_waiter_sends_no_statement(storage: SqlAlchemyStorage, sent: Recorder) -> None:
    task = asyncio.create_task(_add(storage, make_post(AUTHOR)))
    await asyncio.sleep(0)
    task.cancel()
    assert await _results(task) == [asyncio.CancelledError]
    assert await _get(storage, AUTHOR.id) == AUTHOR
    assert sent.take() == ["SELECT"]
    assert await stored_posts(storage) == []


@pytest.fixture
async def silent(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DatabaseFixture]:
    """A pool in which batches get no response, with a short time limit of an attempt."""
    await store_users(store.storage, AUTHOR)
    async with opened(store.url, driver, replace(PATIENT, attempt_timeout=0.5)) as pool:
        aborted, abort = list[Any](), pool.database.driver.abort

        def record_abort(connection: Any) -> None:
            aborted.append(connection)
            abort(connection)

        async def hang(fetch: Fetch, connection: Any, is_batch: bool) -> Any:
            if not is_batch:
                return await fetch()
            await wait_until(lambda: connection in aborted)
            raise ConnectionResetError

        monkeypatch.setattr(pool.database.driver, "abort", record_abort)
        _intercept(pool, monkeypatch, hang)
        yield pool


def _due_in(seconds: float, body: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Return a body whose attempt ends so many seconds from now."""
    due = asyncio.get_running_loop().time() + seconds

    async def with_due(work: Any) -> Any:
        work._session._due = due
        return await body(work)

    return with_due


async def test_batch_without_response_raises_timeout_error_in_each_caller(silent: DatabaseFixture) -> None:
    runner = UseCaseRunner(silent.storage)
    for verb, body in (
        (runner.read, lambda work: work.users.get(AUTHOR.id)),
        (runner.change, lambda work: work.posts.add(make_post(AUTHOR))),
    ):
        with_due = _due_in(0.5, body)  # the same time for all callers, even if a pause separates their starts
        assert await _results(*[verb(with_due) for _ in range(3)]) == [StorageTimeoutError] * 3


async def test_late_caller_does_not_fail_with_the_time_limit_of_a_batch(silent: DatabaseFixture) -> None:
    storage, post = silent.storage, make_post(AUTHOR)
    late_read = UseCaseRunner(storage).read(_due_in(600, lambda work: work.users.get(AUTHOR.id)))
    assert await _results(_get(storage, AUTHOR.id), late_read) == [StorageTimeoutError, AUTHOR]
    writer = UseCaseRunner(storage)
    found = await _results(
        _add(storage, make_post(AUTHOR)), writer.change(_due_in(600, lambda work: work.posts.add(post)))
    )
    assert (found, writer.attempts) == ([StorageTimeoutError, None], 2)
    assert post in await stored_posts(storage)


async def test_exhausted_pool_raises_busy_error_in_each_caller(store: DatabaseFixture, driver: str) -> None:
    await store_users(store.storage, AUTHOR)
    async with opened(store.url, driver, replace(PATIENT, pool_size=1, pool_timeout=0.05)) as pool:
        storage = pool.storage
        async with storage.readonly() as holder:
            await holder.users.list(limit=1)
            first = [asyncio.create_task(_get(storage, AUTHOR.id)) for _ in range(3)]
            await wait_until(lambda: pool.database.usage.waiting == 1)
            late = _get(storage, AUTHOR.id), _add(storage, make_post(AUTHOR))
            assert await _results(*first, *late) == [StorageBusyError] * 5
        assert await _get(storage, AUTHOR.id) == AUTHOR


async def test_caller_of_next_batch_waits_no_longer_than_the_pool_timeout(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ends_of_waits = asyncio.get_running_loop(), list[float]()
    async with opened(store.url, driver, replace(PATIENT, pool_size=1, pool_timeout=0.3)) as pool:
        connect = pool.database.connect

        async def connected_within(due: float | None = None, max_wait: float | None = None) -> Any:
            ends_of_waits.append(loop.time() + (pool.database.options.pool_timeout if max_wait is None else max_wait))
            return await connect(due, max_wait)

        async with pool.storage.readonly() as holder:
            await holder.users.list(limit=1)
            monkeypatch.setattr(pool.database, "connect", connected_within)
            first = asyncio.create_task(_get(pool.storage, AUTHOR.id))
            await wait_until(lambda: len(ends_of_waits) == 1)
            late = asyncio.create_task(_get(pool.storage, AUTHOR.id))
            await asyncio.sleep(0)
            late_end = loop.time() + pool.database.options.pool_timeout
            assert await _results(first, late) == [StorageBusyError] * 2
    assert max(ends_of_waits) <= late_end


async def test_missing_server_raises_unavailable_error_in_each_caller(scratch: Any, driver: str) -> None:
    async with opened(scratch, driver) as pool:
        pool.database._connector.hosts[:] = [replace_port(host) for host in pool.database._connector.hosts]
        storage = pool.storage
        assert await _results(*[_get(storage, AUTHOR.id, ONCE) for _ in range(3)]) == [StorageUnavailableError] * 3


def replace_port(host: Any) -> Any:
    """Return the address of a port without a server."""
    return host._replace(name="127.0.0.1", port=1)


@pytest.mark.parametrize("count", [1, 3])
async def test_unforeseen_error_is_raised_in_each_caller(
    storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    async def fail(*_: object) -> None:
        raise UnforeseenError

    monkeypatch.setattr(Database, "connect", fail)
    assert await _results(*[_get(storage, AUTHOR.id) for _ in range(count)]) == [UnforeseenError] * count


async def test_next_caller_replaces_a_cancelled_task(storage: SqlAlchemyStorage) -> None:
    first = asyncio.create_task(_get(storage, AUTHOR.id))
    await asyncio.sleep(0)
    assert storage._coalescer is not None
    task = storage._coalescer._queue_of(users._GET)._task
    assert task is not None
    task.cancel()
    await asyncio.wait([task])
    assert await _results(_get(storage, OTHER.id), first) == [OTHER, AUTHOR]


async def test_callers_wait_when_all_batches_are_in_flight(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_users(store.storage, AUTHOR)
    async with opened(store.url, driver, replace(PATIENT, pool_timeout=0.5)) as pool:
        may_return = asyncio.Event()
        sent = 0

        async def hold(fetch: Fetch, *_: Any) -> Any:
            nonlocal sent
            sent += 1
            await may_return.wait()
            return await fetch()

        _intercept(pool, monkeypatch, hold)
        storage, held = pool.storage, list[asyncio.Task[User]]()
        for number in range(MAX_BATCHES):
            held.append(asyncio.create_task(_get(storage, AUTHOR.id)))
            await wait_until(lambda number=number: sent > number)  # type: ignore[misc]
        assert await _results(_get(storage, AUTHOR.id)) == [StorageBusyError]
        waiting = [asyncio.create_task(_get(storage, AUTHOR.id)) for _ in range(3)]
        await asyncio.sleep(0)
        may_return.set()
        assert await asyncio.gather(*held, *waiting) == [AUTHOR] * (MAX_BATCHES + 3)
        assert sent == MAX_BATCHES + 1


@dataclass
class RandomLoad:
    """Random operations, some of which are cancelled. `added` are posts of finished calls, `open` those of others."""

    storage: SqlAlchemyStorage
    chance: random.Random
    added: set[UUID] = field(default_factory=set)
    open: set[UUID] = field(default_factory=set)

    async def add(self) -> None:
        authors = [(AUTHOR, None), (OTHER, None), (make_user(), AuthorNotFoundError), (INACTIVE, AuthorInactiveError)]
        author, error = self.chance.choice(authors)
        is_valid = error is not None or self.chance.random() < 0.8
        post = make_post(author, title="title" if is_valid else TOO_LONG)
        self.open.add(post.id)
        (found,) = await _results(_add(self.storage, post))
        self.open.remove(post.id)
        assert found == (error or post) if is_valid else isinstance(found, type)
        if found == post:
            self.added.add(post.id)

    async def get(self) -> None:
        user = self.chance.choice([AUTHOR, OTHER, INACTIVE, make_user()])
        is_stored = user in {AUTHOR, OTHER, INACTIVE}
        assert await _results(_get(self.storage, user.id)) == [user if is_stored else UserNotFoundError]

    async def write_and_get(self) -> None:
        user = make_user()
        await store_users(self.storage, user)
        for number in range(3):
            changed = await user_service(self.storage).update(SYSTEM_PRINCIPAL, user.id, full_name=f"Name {number}")
            assert await _get(self.storage, user.id) == changed

    async def run(self) -> None:
        operation = self.chance.choice([self.add, self.add, self.get, self.get, self.write_and_get])
        task = asyncio.create_task(operation())
        if operation != self.write_and_get and self.chance.random() < 0.3:
            for _ in range(self.chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@pytest.mark.parametrize("seed", range(12))
async def test_random_interleavings_keep_results_apart(
    store: DatabaseFixture, storage: SqlAlchemyStorage, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    load = RandomLoad(storage, chance := random.Random(seed))  # noqa: S311 - repeatable

    async def fail_sometimes(fetch: Fetch, connection: Any, is_batch: bool) -> Any:
        if not is_batch or chance.random() < 0.6:
            return await fetch()
        if chance.random() < 0.5:
            await fetch()
        store.database.driver.abort(connection)
        raise ConnectionResetError

    async def run_some() -> None:
        for _ in range(4):
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            await load.run()

    _intercept(store, monkeypatch, fail_sometimes)
    await asyncio.gather(*[run_some() for _ in range(20)])
    await wait_until(lambda: store.checked_out == 0)
    found = {post.id for post in await stored_posts(store.storage)}
    assert load.added <= found <= load.added | load.open

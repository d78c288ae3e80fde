"""Tests for pooled connections after an error, and for connections that break during a write."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import CommitResultUnknownError, StorageFailedError, StorageUnavailableError, UnitOfWork
from tests.postgres.conftest import open_connections
from tests.postgres.failures import (
    CONNECTION_DISCARDED,
    CONNECTION_KEPT,
    KNOWN,
    ONCE,
    OTHER,
    Body,
    Failure,
    UnforeseenError,
    add_two,
)
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out, opened
from tests.support.factories import make_user, next_version, store_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend, fetch, statement_verb


async def _fail(single: DatabaseFixture, body: Body, error: type[Exception]) -> tuple[int, int]:
    """Return the backend on which the body fails, and the backend of the next unit of work."""
    await store_users(single.storage, KNOWN, OTHER)
    pids: list[int] = []

    async def note_and_fail(work: UnitOfWork) -> None:
        pids.append(await backend(work))
        await body(work)

    with pytest.raises(error):
        await UseCaseRunner(single.storage, retry=ONCE).change(note_and_fail)
    async with single.storage.readonly() as work:
        pids.append(await backend(work))
        assert await work.users.list(limit=9) == [OTHER, KNOWN]
    before, after = pids
    return before, after


@pytest.mark.parametrize("failure", CONNECTION_KEPT.values(), ids=CONNECTION_KEPT)
async def test_pool_reuses_connection_after_expected_error(single: DatabaseFixture, failure: Failure) -> None:
    before, after = await _fail(single, *failure)
    assert after == before


@pytest.mark.parametrize("failure", CONNECTION_DISCARDED.values(), ids=CONNECTION_DISCARDED)
async def test_pool_discards_connection_after_unexpected_error(single: DatabaseFixture, failure: Failure) -> None:
    before, after = await _fail(single, *failure)
    assert after != before
    await wait_until(lambda: single.has_ended(before))


async def test_rollback_on_lost_connection_keeps_original_error(single: DatabaseFixture) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        pid = await backend(work)
        single.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        await wait_until(lambda: single.has_ended(pid))
        raise UnforeseenError

    with pytest.raises(UnforeseenError):
        await UseCaseRunner(single.storage).change(body)
    async with single.storage.readonly() as work:
        assert await work.users.list(limit=9) == []


@pytest.mark.parametrize(
    ("body", "verb", "error"),
    [
        (lambda work: work.users.add(make_user()), "INSERT", CommitResultUnknownError),
        (add_two, "COMMIT", CommitResultUnknownError),
        (add_two, "BEGIN", StorageUnavailableError),
        (add_two, "INSERT", StorageUnavailableError),
        (lambda work: fetch(work, "SELECT 1"), "SELECT", StorageUnavailableError),
    ],
)
async def test_lost_response_is_unknown_for_statements_that_commit(
    store: DatabaseFixture, body: Body, verb: str, error: type[Exception]
) -> None:
    @contextmanager
    def lose_response(sql: str) -> Iterator[None]:
        yield
        if statement_verb(sql) == verb:
            raise ConnectionResetError

    database = Database(store.url, PATIENT, statements=lose_response)
    with pytest.raises(StorageUnavailableError) as raised:
        await UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE).change(body)
    assert type(raised.value) is error
    await wait_until(lambda: checked_out(database) == 0)
    await database.close()


async def test_commit_rejected_by_standby_is_not_unknown(single: DatabaseFixture) -> None:
    user = make_user()
    await store_users(single.storage, user)
    read_only = "SELECT set_config('default_transaction_read_only', 'on', false)"
    await UseCaseRunner(single.storage).read(lambda work: fetch(work, read_only))
    with pytest.raises(StorageFailedError) as raised:
        await UseCaseRunner(single.storage, retry=ONCE).change(lambda work: work.users.update(next_version(user)))
    assert type(raised.value) is StorageFailedError
    await UseCaseRunner(single.storage).change(lambda work: work.users.update(next_version(user)))


async def test_write_on_read_only_server_replaces_all_connections(store: DatabaseFixture, driver: str) -> None:
    read_only = "SELECT set_config('default_transaction_read_only', 'on', false)"
    async with opened(store.url, driver, replace(PATIENT, pool_size=2)) as pool:
        probe = UseCaseRunner(pool.storage, retry=ONCE)
        before = await open_connections(probe, 2)
        await probe.read(lambda work: fetch(work, read_only))
        with pytest.raises(StorageUnavailableError):
            await probe.change(lambda work: work.users.add(make_user()))
        assert not before & await open_connections(probe, 2)

"""Tests for retries after real failures of PostgreSQL."""

from collections.abc import Callable

import pytest
from sqlalchemy import URL

from application.ports import ConcurrentUpdateError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import User
from tests.postgres.conftest import open_connections
from tests.support.database_fixture import DatabaseFixture, opened
from tests.support.factories import make_user, store_users, stored_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend

CONFLICT = "RAISE 'no' USING ERRCODE = '40001';"


async def _terminate(store: DatabaseFixture, *pids: int) -> None:
    """Terminate backends and wait for their end."""
    for pid in pids:
        store.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    await wait_until(lambda: all(map(store.has_ended, pids)))


@pytest.mark.parametrize("mode", ["write", "read in a transaction", "read"])
async def test_use_case_is_retried_when_all_pooled_connections_ended(
    store: DatabaseFixture, probe: UseCaseRunner, mode: str
) -> None:
    user, new = make_user(), make_user()
    await store_users(store.storage, user)
    before = await open_connections(probe, 5)
    await _terminate(store, *before)
    if mode == "write":
        await probe.change(lambda work: work.users.add(new))
    else:
        run = probe.read if mode == "read" else probe.change
        assert await run(lambda work: work.users.get(user.id)) == user
    assert await stored_users(store.storage) == ([new, user] if mode == "write" else [user])
    assert not await open_connections(probe, 5) & before


async def test_transaction_is_retried_when_its_connection_ends(store: DatabaseFixture, probe: UseCaseRunner) -> None:
    first, second = make_user(), make_user()

    async def body(work: UnitOfWork) -> None:
        await work.users.add(first)
        pid = await backend(work)
        if probe.attempts == 1:
            await _terminate(store, pid)
        await work.users.add(second)

    await probe.change(body)
    assert (probe.attempts, await stored_users(store.storage)) == (2, [second, first])


@pytest.mark.parametrize("mode", ["change", "read"])
async def test_changed_column_type_is_retried_with_new_plan(scratch: URL, driver: str, mode: str) -> None:
    user, new = make_user(), make_user()
    async with opened(scratch, driver) as store:
        await store_users(store.storage, user)
        probe = UseCaseRunner(store.storage)

        async def get(work: UnitOfWork) -> User:
            return await work.users.get(user.id)

        async def add_and_get(work: UnitOfWork) -> User:
            await work.users.add(new)
            return await work.users.get(user.id)

        await probe.read(get)
        store.admin.execute("ALTER TABLE users ALTER COLUMN full_name TYPE varchar(300)")
        probe.attempts = 0
        assert await (probe.change(add_and_get) if mode == "change" else probe.read(get)) == user
        # Outside a transaction, asyncpg prepares the statement again by itself.
        assert probe.attempts == (1 if (mode, driver) == ("read", "asyncpg") else 2)
        assert len(await stored_users(store.storage)) == (2 if mode == "change" else 1)


async def test_added_column_needs_no_retry(scratch: URL, driver: str) -> None:
    user, new = make_user(), make_user()
    async with opened(scratch, driver) as store:
        await store_users(store.storage, user)
        probe = UseCaseRunner(store.storage, retry=RetryPolicy(max_elapsed=0))

        async def body(work: UnitOfWork) -> None:
            assert await work.users.get(user.id) == user
            await work.users.add(new)
            assert await work.users.get(user.id) == user
            await work.users.delete(new)

        await probe.change(body)
        store.admin.execute("ALTER TABLE users ADD COLUMN column_of_a_later_release text")
        await probe.change(body)
        assert probe.attempts == 2


@pytest.mark.parametrize(("code", "error"), [("RAISE 'no';", Exception), (CONFLICT, ConcurrentUpdateError)])
async def test_failed_commit_stores_nothing(
    store: DatabaseFixture, at_commit: Callable[[str], None], code: str, error: type[Exception]
) -> None:
    at_commit(code)
    with pytest.raises(error):
        await store_users(store.storage, make_user(), make_user())
    assert (await stored_users(store.storage), store.checked_out) == ([], 0)

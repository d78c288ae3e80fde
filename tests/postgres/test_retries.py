"""Tests for retries after real failures of PostgreSQL."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import URL

from application.authorization import SYSTEM_PRINCIPAL
from application.ports import ConcurrentUpdateError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import User
from tests.support.database_fixture import DatabaseFixture, opened
from tests.support.factories import make_user, next_version, store_users, stored_users
from tests.support.polling import wait_until
from tests.support.service_factories import user_service
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

CONFLICT = "RAISE 'no' USING ERRCODE = '40001';"


async def _terminate(store: DatabaseFixture, *pids: int) -> None:
    """Terminate backends and wait for their end."""
    for pid in pids:
        store.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    await wait_until(lambda: all(map(store.has_ended, pids)))


async def _open_connections(probe: UseCaseRunner, number: int) -> set[int]:
    """Use so many connections of the pool at once and return their backends."""
    barrier = asyncio.Barrier(number)

    async def body(work: UnitOfWork) -> int:
        pid = await backend(work)
        await barrier.wait()
        return pid

    return set(await asyncio.gather(*[probe.read(body) for _ in range(number)]))


@pytest.mark.parametrize("mode", ["change", "read"])
async def test_use_case_is_retried_after_serialization_failure(probe: UseCaseRunner, mode: str) -> None:
    async def body(work: UnitOfWork) -> int:
        await fetch(work, "SELECT 1")
        if probe.attempts == 1:
            await fetch(work, "SELECT fail('40001')")
        return probe.attempts

    assert await (probe.change(body) if mode == "change" else probe.read(body)) == 2


@pytest.mark.parametrize("mode", ["change", "read"])
async def test_use_case_is_retried_when_all_pooled_connections_ended(
    store: DatabaseFixture, probe: UseCaseRunner, mode: str
) -> None:
    user = make_user()
    await store_users(store.storage, user)
    before = await _open_connections(probe, 5)
    await _terminate(store, *before)
    run = probe.change if mode == "change" else probe.read
    assert await run(lambda work: work.users.get(user.id)) == user
    assert not await _open_connections(probe, 5) & before


async def test_single_write_is_retried_on_ended_connection(store: DatabaseFixture, probe: UseCaseRunner) -> None:
    user = make_user()
    await _terminate(store, *await _open_connections(probe, 1))
    await user_service(store.storage).create(SYSTEM_PRINCIPAL, email=user.email)
    assert [stored.email for stored in await stored_users(store.storage)] == [user.email]


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


async def test_deadlocked_transactions_both_succeed(store: DatabaseFixture) -> None:
    one, two = make_user(), make_user()
    await store_users(store.storage, one, two)
    both_hold_a_row = asyncio.Barrier(2)

    async def run(first: User, second: User) -> int:
        probe = UseCaseRunner(store.storage)

        async def body(work: UnitOfWork) -> None:
            for user in (first, second):
                await work.users.update(next_version(await work.users.get(user.id)))
                await fetch(work, "SELECT set_config('deadlock_timeout', '20ms', true)")
                if user is first and probe.attempts == 1:
                    await both_hold_a_row.wait()

        await probe.change(body)
        return probe.attempts

    fewest, most = sorted(await asyncio.gather(run(one, two), run(two, one)))
    assert fewest == 1 < most  # the retry may also meet the other commit, and run once more
    assert [user.version for user in await stored_users(store.storage)] == [3, 3]


async def test_repeatable_read_conflict_is_retried(store: DatabaseFixture, single: DatabaseFixture) -> None:
    user, other = make_user(), make_user()
    await store_users(store.storage, user, other)
    isolation = "SELECT set_config('default_transaction_isolation', 'repeatable read', false)"
    await UseCaseRunner(single.storage).read(lambda work: fetch(work, isolation))
    probe = UseCaseRunner(single.storage)

    async def body(work: UnitOfWork) -> User:
        await work.users.update(next_version(await work.users.get(other.id)))
        await fetch(work, "SELECT 1")
        if probe.attempts == 1:
            await user_service(store.storage).update(SYSTEM_PRINCIPAL, user.id, full_name="first")
        changed: User = next_version(await work.users.get(user.id), full_name="second")
        await work.users.update(changed)
        return changed

    changed = await probe.change(body)
    assert (probe.attempts, changed.version) == (2, 3)
    assert await stored_users(store.storage) == [next_version(other), changed]


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


@pytest.mark.parametrize("failures", [1, 2])
async def test_failed_commit_is_retried(
    store: DatabaseFixture, at_commit: Callable[[str], None], failures: int
) -> None:
    # A rollback does not reset a sequence.
    at_commit(f"IF nextval('commits') <= {failures} THEN {CONFLICT} END IF;")
    users = [make_user() for _ in range(failures)]
    probe = UseCaseRunner(store.storage)

    async def body(work: UnitOfWork) -> None:
        await work.users.add(users[0])
        await fetch(work, "SELECT 1")
        for user in users[1:]:
            await work.users.add(user)

    await probe.change(body)
    assert (probe.attempts, store.checked_out) == (failures + 1, 0)
    assert await stored_users(store.storage) == users[::-1]


@pytest.mark.parametrize(("code", "error"), [("RAISE 'no';", Exception), (CONFLICT, ConcurrentUpdateError)])
async def test_failed_commit_stores_nothing(
    store: DatabaseFixture, at_commit: Callable[[str], None], code: str, error: type[Exception]
) -> None:
    at_commit(code)
    with pytest.raises(error):
        await store_users(store.storage, make_user(), make_user())
    assert (await stored_users(store.storage), store.checked_out) == ([], 0)

"""Tests for the cancellation of units of work."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from application.ports import UnitOfWork
from tests.postgres.conftest import open_connections
from tests.postgres.failures import Body, in_transaction
from tests.support.cancellation_load import cancel_many
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import make_user, store_users, stored_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

CANCELLATIONS = 300
POOL_SIZE = 8
PIDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
SESSIONS = """
    SELECT count(*) FILTER (WHERE state <> 'idle'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND pid <> ALL(%s)
"""
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"


async def test_cancelled_operations_leak_no_connection_and_no_result(store: DatabaseFixture, driver: str) -> None:
    before = [pid for (pid,) in store.admin.execute(PIDS).fetchall()]
    async with opened(store.url, driver, replace(PATIENT, pool_size=POOL_SIZE)) as pool:
        users = [make_user() for _ in range(50)]
        await store_users(pool.storage, *users)
        found = await cancel_many(pool.database, users, CANCELLATIONS)
        assert found.cancelled >= CANCELLATIONS
        assert found.answered > 0
        assert found.mismatched == []
        await wait_until(lambda: pool.checked_out == 0)
        assert len(await open_connections(UseCaseRunner(pool.storage), POOL_SIZE)) == POOL_SIZE
        await wait_until(lambda: pool.admin.execute(SESSIONS, [before]).fetchone() == (0, POOL_SIZE))


async def _sleep(work: UnitOfWork) -> None:
    await fetch(work, "SELECT pg_sleep(600)")


SLEEPING_BODIES: dict[str, Body] = {
    "statement": _sleep,
    "statement in a transaction": in_transaction(_sleep),
    "commit": lambda work: work.users.add(make_user()),
}


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("body", SLEEPING_BODIES.values(), ids=SLEEPING_BODIES)
async def test_cancelled_unit_of_work_ends_its_backend_and_stores_nothing(
    single: DatabaseFixture, at_commit: Callable[[str], None], body: Body, times: int
) -> None:
    at_commit("PERFORM pg_sleep(600);")
    probe, pids = UseCaseRunner(single.storage), list[int]()

    async def note(work: UnitOfWork) -> None:
        pids.append(await backend(work))
        await body(work)

    task = asyncio.create_task(probe.change(note))
    await wait_until(lambda: bool(pids) and single.admin.execute(SLEEPING, [pids[0]]).fetchone() == (1,))
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    async with single.storage.readonly() as work:
        assert await backend(work) != pids[0]
    await wait_until(lambda: single.has_ended(pids[0]))
    assert (probe.attempts, await stored_users(single.storage)) == (1, [])


async def test_swallowed_cancellation_stores_nothing(store: DatabaseFixture) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetch(work, "SELECT pg_sleep(600)"), 0.01)
        if probe.attempts == 2:
            raise KeyError
        await work.users.add(make_user())

    probe = UseCaseRunner(store.storage)
    with pytest.raises(KeyError):
        await probe.change(body)
    assert (probe.attempts, await stored_users(store.storage)) == (2, [])

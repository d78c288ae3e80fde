"""Tests for the slots of a pool of one connection."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest
from sqlalchemy import URL

from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import User
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out, opened
from tests.support.factories import stored_users
from tests.support.polling import wait_until
from tests.support.template_databases import Databases, connected
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

ONE = replace(PATIENT, pool_size=1, pool_timeout=20)


async def _list(work: UnitOfWork) -> Sequence[User]:
    return await work.users.list(limit=9)


@pytest.mark.parametrize("iterations", range(12))
async def test_pool_slot_is_returned_when_connecting_is_cancelled(store: DatabaseFixture, iterations: int) -> None:
    database = Database(store.url, ONE)
    storage = SqlAlchemyStorage(database)
    task = asyncio.create_task(stored_users(storage))
    for _ in range(iterations):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: checked_out(database) == 0)
    assert await stored_users(storage) == []
    await database.close()


async def test_pool_slot_is_returned_when_server_rejects_connection(
    scratch: URL, driver: str, databases: Databases
) -> None:
    once = RetryPolicy(max_elapsed=0)
    allow = f'ALTER DATABASE "{scratch.database}" ALLOW_CONNECTIONS '
    async with opened(scratch, driver, ONE) as pool:
        with connected(databases.url) as admin:
            for _ in range(2):
                with pytest.raises(StorageUnavailableError):
                    await UseCaseRunner(pool.storage, retry=once).read(
                        lambda work: fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())")
                    )
                admin.execute(f"{allow} false".encode())
                with pytest.raises((asyncpg.ObjectNotInPrerequisiteStateError, StorageUnavailableError)):
                    await UseCaseRunner(pool.storage, retry=once).read(_list)
                admin.execute(f"{allow} true".encode())
                assert await UseCaseRunner(pool.storage, retry=once).read(_list) == []


async def test_pool_shares_single_connection_among_50_callers(single: DatabaseFixture) -> None:
    pids = await asyncio.gather(*[UseCaseRunner(single.storage).read(backend) for _ in range(50)])
    assert len(set(pids)) == 1


async def test_pool_serves_waiters_after_cancelled_waiters(single: DatabaseFixture) -> None:
    async with single.storage.readonly() as holder:
        await _list(holder)
        waiting = [asyncio.create_task(UseCaseRunner(single.storage).read(_list)) for _ in range(20)]
        await wait_until(lambda: single.database.usage.waiting == 20)
        for task in waiting[::2]:
            task.cancel()
        cancelled = await asyncio.gather(*waiting[::2], return_exceptions=True)
        assert single.checked_out == 1
    assert {type(result) for result in cancelled} == {asyncio.CancelledError}
    assert await asyncio.gather(*waiting[1::2]) == [[]] * 10

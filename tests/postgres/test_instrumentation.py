"""Tests for pool usage, error observers and statement observers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import URL

from adapters.postgres.instrumentation import NO_SQLSTATE, PoolUsage
from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageBusyError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import EmailAlreadyRegisteredError
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import make_user, store_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

ONCE = RetryPolicy(max_elapsed=0)


async def test_pool_usage_counts_connections_and_waiters(driver: str, store: DatabaseFixture) -> None:
    async with opened(store.url, driver, replace(PATIENT, pool_size=2)) as pool:
        probe, release = UseCaseRunner(pool.storage), asyncio.Event()

        async def hold(work: UnitOfWork) -> None:
            await backend(work)
            await release.wait()

        assert pool.database.usage == PoolUsage(2, 0, 0)
        tasks = [asyncio.create_task(probe.read(hold)) for _ in range(5)]
        await wait_until(lambda: pool.database.usage == PoolUsage(2, 2, 3))
        release.set()
        await asyncio.gather(*tasks)
        assert pool.database.usage == PoolUsage(2, 0, 0)


async def test_pool_timeout_is_not_counted_as_waiting(driver: str, store: DatabaseFixture) -> None:
    async with opened(store.url, driver, replace(PATIENT, pool_size=1, pool_timeout=0.02)) as pool:
        probe = UseCaseRunner(pool.storage, retry=ONCE)
        async with pool.storage.readonly() as holder:
            await backend(holder)
            with pytest.raises(StorageBusyError):
                await probe.read(backend)
            assert pool.database.usage == PoolUsage(1, 1, 0)


async def test_error_observer_gets_sqlstates(store: DatabaseFixture) -> None:
    observed: list[str] = []
    database = Database(store.url, PATIENT, errors=observed.append)
    probe = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
    await store_users(probe.storage, make_user())
    with pytest.raises(Exception, match=r"pk_users|uq_users|already"):
        await probe.change(lambda work: fetch(work, "INSERT INTO users SELECT * FROM users RETURNING id"))
    with pytest.raises(StorageUnavailableError):
        await probe.change(lambda work: fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(Exception, match="division by zero"):
        await probe.read(lambda work: fetch(work, "SELECT 1 / 0"))
    # Whether the driver reads the server's last message or the end of the connection first is a race.
    assert observed in [["23505", ended, "22012"] for ended in ("57P01", "08003", NO_SQLSTATE)]
    await database.close()


async def test_error_observer_ignores_domain_errors(store: DatabaseFixture) -> None:
    observed: list[str] = []
    database = Database(store.url, PATIENT, errors=observed.append)
    storage = SqlAlchemyStorage(database)
    await store_users(storage, make_user(email="ada@example.org"))
    with pytest.raises(EmailAlreadyRegisteredError):
        await store_users(storage, make_user(email="ada@example.org"))
    assert observed == []
    await database.close()


async def test_error_observer_gets_no_sqlstate_without_server(driver: str) -> None:
    observed: list[str] = []
    url = URL.create(f"postgresql+{driver}", database="missing", query={"host": "/missing"})
    database = Database(url, PATIENT, errors=observed.append)
    with pytest.raises(StorageUnavailableError):
        await UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE).read(backend)
    assert observed == [NO_SQLSTATE]
    assert database.usage.in_use == 0
    await database.close()


async def test_statement_observer_gets_sql_without_values(store: DatabaseFixture) -> None:
    observed: list[str] = []

    @contextmanager
    def observe(sql: str) -> Iterator[None]:
        observed.append(sql)
        yield
        observed.append("done")

    database = Database(store.url, PATIENT, statements=observe)
    user = make_user(email="canary@example.org")

    async def add_and_get(work: UnitOfWork) -> None:
        await work.users.add(user)
        await work.users.get(user.id)

    await UseCaseRunner(SqlAlchemyStorage(database)).change(add_and_get)
    assert [sql.split()[0] for sql in observed] == [
        verb for statement in ("BEGIN", "INSERT", "SELECT", "COMMIT") for verb in (statement, "done")
    ]
    assert "canary" not in str(observed)
    assert str(user.id) not in str(observed)
    await database.close()

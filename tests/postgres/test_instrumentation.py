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
from tests.support.examples import a_user, store_users
from tests.support.probes import Probe, backend, fetch
from tests.support.stores import PATIENT, Store, opened
from tests.support.waiting import until

ONCE = RetryPolicy(max_elapsed=0)


async def test_pool_usage_counts_connections_and_waiters(driver: str, store: Store) -> None:
    async with opened(store.url, driver, replace(PATIENT, pool_size=2)) as pool:
        probe, release = Probe(pool.storage), asyncio.Event()

        async def hold(work: UnitOfWork) -> None:
            await backend(work)
            await release.wait()

        assert pool.database.usage == PoolUsage(2, 0, 0)
        tasks = [asyncio.create_task(probe.look(hold)) for _ in range(5)]
        await until(lambda: pool.database.usage == PoolUsage(2, 2, 3))
        release.set()
        await asyncio.gather(*tasks)
        assert pool.database.usage == PoolUsage(2, 0, 0)


async def test_pool_timeout_is_not_counted_as_waiting(driver: str, store: Store) -> None:
    async with opened(store.url, driver, replace(PATIENT, pool_size=1, pool_timeout=0.02)) as pool:
        probe = Probe(pool.storage, retry=ONCE)
        async with pool.storage.readonly() as holder:
            await backend(holder)
            with pytest.raises(StorageBusyError):
                await probe.look(backend)
            assert pool.database.usage == PoolUsage(1, 1, 0)


async def test_error_observer_gets_sqlstates(store: Store) -> None:
    observed: list[str] = []
    database = Database(store.url, PATIENT, errors=observed.append)
    probe = Probe(SqlAlchemyStorage(database), retry=ONCE)
    await store_users(probe.storage, a_user())
    with pytest.raises(Exception, match=r"pk_users|uq_users|already"):
        await probe.change(lambda work: fetch(work, "INSERT INTO users SELECT * FROM users RETURNING id"))
    with pytest.raises(StorageUnavailableError):
        await probe.change(lambda work: fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(Exception, match="division by zero"):
        await probe.look(lambda work: fetch(work, "SELECT 1 / 0"))
    # Whether the driver reads the server's last message or the end of the connection first is a race.
    assert observed in [["23505", ended, "22012"] for ended in ("57P01", "08003", NO_SQLSTATE)]
    await database.close()


async def test_error_observer_ignores_domain_errors(store: Store) -> None:
    observed: list[str] = []
    database = Database(store.url, PATIENT, errors=observed.append)
    storage = SqlAlchemyStorage(database)
    await store_users(storage, a_user(email="ada@example.org"))
    with pytest.raises(EmailAlreadyRegisteredError):
        await store_users(storage, a_user(email="ada@example.org"))
    assert observed == []
    await database.close()


async def test_error_observer_gets_no_sqlstate_without_server(driver: str) -> None:
    observed: list[str] = []
    url = URL.create(f"postgresql+{driver}", database="missing", query={"host": "/missing"})
    database = Database(url, PATIENT, errors=observed.append)
    with pytest.raises(StorageUnavailableError):
        await Probe(SqlAlchemyStorage(database), retry=ONCE).look(backend)
    assert observed == [NO_SQLSTATE]
    assert database.usage.in_use == 0
    await database.close()


async def test_statement_observer_gets_sql_without_values(store: Store) -> None:
    observed: list[str] = []

    @contextmanager
    def observe(sql: str) -> Iterator[None]:
        observed.append(sql)
        yield
        observed.append("done")

    database = Database(store.url, PATIENT, statements=observe)
    user = a_user(email="canary@example.org")

    async def add_and_get(work: UnitOfWork) -> None:
        await work.users.add(user)
        await work.users.get(user.id)

    await Probe(SqlAlchemyStorage(database)).change(add_and_get)
    assert [sql.split()[0] for sql in observed] == [
        verb for statement in ("BEGIN", "INSERT", "SELECT", "COMMIT") for verb in (statement, "done")
    ]
    assert "canary" not in str(observed)
    assert str(user.id) not in str(observed)
    await database.close()

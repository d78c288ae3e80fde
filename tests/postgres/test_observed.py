"""What is told about the database: how much of the pool is in use, which errors there were, which statements ran."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import URL

from adapters.postgres.database import Database
from adapters.postgres.observed import NO_SQLSTATE, PoolUsage
from adapters.postgres.storage import SqlAlchemyStorage
from application.ports import StorageOverloadedError, StorageUnavailableError, UnitOfWork
from application.transactions import Retry
from domain.users import EmailAlreadyRegisteredError
from tests.support.databases import with_driver
from tests.support.examples import a_user, store_users
from tests.support.probes import Probe, backend, fetch
from tests.support.stores import PATIENT, Store
from tests.support.waiting import until

ONCE = Retry(deadline=0)


async def test_the_pool_tells_what_is_in_use_and_who_waits(driver: str, scratch: URL) -> None:
    database = Database(with_driver(scratch, driver), replace(PATIENT, pool_size=2))
    probe, release = Probe(SqlAlchemyStorage(database)), asyncio.Event()

    async def hold(work: UnitOfWork) -> None:
        await backend(work)
        await release.wait()

    assert database.usage == PoolUsage(2, 0, 0)
    tasks = [asyncio.create_task(probe.look(hold)) for _ in range(5)]
    await until(lambda: database.usage == PoolUsage(2, 2, 3))
    release.set()
    await asyncio.gather(*tasks)
    assert database.usage == PoolUsage(2, 0, 0)
    await database.close()


async def test_who_gave_up_waiting_waits_no_more(driver: str, scratch: URL) -> None:
    database = Database(with_driver(scratch, driver), replace(PATIENT, pool_size=1, pool_timeout=0.02))
    probe = Probe(SqlAlchemyStorage(database))

    async def meet_another(work: UnitOfWork) -> None:
        await backend(work)
        with pytest.raises(StorageOverloadedError):
            await probe.look(backend)
        assert database.usage == PoolUsage(1, 1, 0)

    await probe.look(meet_another)
    await database.close()


async def test_errors_are_told_by_sqlstate(store: Store) -> None:
    told: list[str] = []
    database = Database(store.url, PATIENT, errors=told.append)
    probe = Probe(SqlAlchemyStorage(database), retry=ONCE)
    user = a_user()
    await store_users(probe.storage, user)

    async def add_again(work: UnitOfWork) -> None:
        await fetch(work, "INSERT INTO users SELECT * FROM users RETURNING id")

    async def end_itself(work: UnitOfWork) -> None:
        await fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())")

    async def divide(work: UnitOfWork) -> None:
        await fetch(work, "SELECT 1 / 0")

    with pytest.raises(Exception, match=r"pk_users|uq_users|already"):
        await probe.change(add_again)
    with pytest.raises(StorageUnavailableError):
        await probe.change(end_itself)
    with pytest.raises(Exception, match="division by zero"):
        await probe.look(divide)
    assert told in [["23505", ended, "22012"] for ended in ("57P01", "08003", NO_SQLSTATE)]  # what was seen first
    await database.close()


async def test_an_address_that_is_taken_is_no_error_of_the_database(store: Store) -> None:
    told: list[str] = []
    database = Database(store.url, PATIENT, errors=told.append)
    storage = SqlAlchemyStorage(database)
    await store_users(storage, a_user(email="ada@example.org"))
    with pytest.raises(EmailAlreadyRegisteredError):
        await store_users(storage, a_user(email="ada@example.org"))
    assert told == []
    await database.close()


async def test_a_database_that_is_not_there_is_an_error_without_sqlstate(driver: str) -> None:
    told: list[str] = []
    url = URL.create(f"postgresql+{driver}", database="nowhere", query={"host": "/nowhere"})
    database = Database(url, PATIENT, errors=told.append)
    with pytest.raises(StorageUnavailableError):
        await Probe(SqlAlchemyStorage(database), retry=ONCE).look(backend)
    assert told == [NO_SQLSTATE]
    assert database.usage.in_use == 0
    await database.close()


async def test_statements_are_told_of_as_they_run_without_their_values(store: Store) -> None:
    told: list[str] = []

    @contextmanager
    def observe(sql: str) -> Iterator[None]:
        told.append(sql)
        yield
        told.append("done")

    database = Database(store.url, PATIENT, statements=observe)
    user = a_user(email="canary@example.org")

    async def add_and_look(work: UnitOfWork) -> None:
        await work.users.add(user)
        await work.users.get(user.id)

    await Probe(SqlAlchemyStorage(database)).change(add_and_look)
    assert [sql.split()[0] for sql in told] == ["BEGIN", "done", "INSERT", "done", "SELECT", "done", "COMMIT", "done"]
    assert "canary" not in str(told)
    assert str(user.id) not in str(told)
    await database.close()

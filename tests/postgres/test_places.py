"""A pool of one: each failure has to give its only place back, or the next caller waits in vain."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg
import psycopg
import pytest
from sqlalchemy import URL

from application.ports import StorageUnavailableError, UnitOfWork
from application.transactions import Retry
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.databases import Databases, connected
from tests.support.examples import a_user, next_version, store_users, stored_users
from tests.support.probes import Body, Probe, backend, fetch
from tests.support.stores import PATIENT, Store, opened
from tests.support.waiting import until

KNOWN, OTHER = a_user(), a_user()
TIMES = 3


@pytest.fixture
async def small(scratch: URL, driver: str) -> AsyncIterator[Store]:
    """A database with KNOWN and OTHER in it, through one connection; whoever waits in vain finds out after a while."""
    async with opened(scratch, driver, replace(PATIENT, pool_size=1, pool_timeout=20)) as store:
        await store_users(store.storage, KNOWN, OTHER)
        yield store


async def _look(work: UnitOfWork) -> Sequence[User]:
    return await work.users.list(limit=9)


async def _works(store: Store) -> None:
    assert await Probe(store.storage, retry=Retry(deadline=0)).look(_look) == [OTHER, KNOWN]


async def _refused(work: UnitOfWork) -> None:
    await work.users.update(next_version(OTHER, email=KNOWN.email))


async def _wrong(work: UnitOfWork) -> None:
    await fetch(work, "SELECT 1 / 0")


async def _lost(work: UnitOfWork) -> None:
    await fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())")


async def _given_up(work: UnitOfWork) -> None:
    await backend(work)
    raise EmailAlreadyRegisteredError


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (_refused, EmailAlreadyRegisteredError),
        (_wrong, (asyncpg.DivisionByZeroError, psycopg.errors.DivisionByZero)),
        (_lost, StorageUnavailableError),
        (_given_up, EmailAlreadyRegisteredError),
    ],
)
async def test_after_an_error(
    small: Store, body: Body[None], errors: type[Exception] | tuple[type[Exception], ...]
) -> None:
    for _ in range(TIMES):
        with pytest.raises(errors):
            await Probe(small.storage, retry=Retry(deadline=0)).change(body)
        await _works(small)


async def test_after_a_cancelled_statement(small: Store) -> None:
    for _ in range(TIMES):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                Probe(small.storage).change(lambda work: fetch(work, "SELECT pg_sleep(600)")), timeout=0.05
            )
        await _works(small)


async def test_cancelled_while_connecting(scratch: URL, driver: str) -> None:
    for turns in range(12):
        async with opened(scratch, driver, replace(PATIENT, pool_size=1, pool_timeout=20)) as store:
            task = asyncio.create_task(stored_users(store.storage))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: store.taken == 0)
            assert await stored_users(store.storage) == []


async def test_after_the_server_let_nobody_in(small: Store, databases: Databases) -> None:
    allow = f'ALTER DATABASE "{small.url.database}" ALLOW_CONNECTIONS '
    with connected(databases.url) as admin:
        for _ in range(TIMES):
            with pytest.raises(StorageUnavailableError):
                await Probe(small.storage, retry=Retry(deadline=0)).look(_lost)
            admin.execute(f"{allow} false".encode())
            with pytest.raises((asyncpg.ObjectNotInPrerequisiteStateError, StorageUnavailableError)):
                await Probe(small.storage, retry=Retry(deadline=0)).look(_look)
            admin.execute(f"{allow} true".encode())
            await _works(small)


async def test_many_share_the_only_place(small: Store) -> None:
    assert await asyncio.gather(*[Probe(small.storage).look(_look) for _ in range(50)]) == [[OTHER, KNOWN]] * 50


async def test_many_that_wait_give_up(small: Store) -> None:
    async with small.storage.readonly() as holder:
        await _look(holder)
        waiting = [asyncio.create_task(Probe(small.storage).look(_look)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        given_up = await asyncio.gather(*waiting[::2], return_exceptions=True)
    assert {type(result) for result in given_up} == {asyncio.CancelledError}
    assert await asyncio.gather(*waiting[1::2]) == [[OTHER, KNOWN]] * 10
    await _works(small)

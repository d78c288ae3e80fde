"""Fixtures for tests of the PostgreSQL adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from application.ports import UnitOfWork
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.polling import TIMEOUT_SECONDS
from tests.support.use_case_runner import UseCaseRunner, backend

FAIL = """
    CREATE OR REPLACE FUNCTION fail(state text) RETURNS integer LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'secret of the database' USING ERRCODE = state; END $$
"""
AT_COMMIT = """
    CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$;
    DROP TRIGGER IF EXISTS at_commit ON users;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()
"""


async def open_connections(probe: UseCaseRunner, number: int) -> set[int]:
    """Use so many connections of the pool at once, and return their backends."""
    barrier = asyncio.Barrier(number)

    async def body(work: UnitOfWork) -> int:
        pid = await backend(work)
        await asyncio.wait_for(barrier.wait(), TIMEOUT_SECONDS)
        return pid

    return set(await asyncio.gather(*[probe.read(body) for _ in range(number)]))


@pytest.fixture
def probe(store: DatabaseFixture) -> UseCaseRunner:
    """Use cases in a database that has the function `fail(sqlstate)`."""
    store.admin.execute(FAIL)
    return UseCaseRunner(store.storage)


@pytest.fixture
async def single(store: DatabaseFixture, driver: str) -> AsyncIterator[DatabaseFixture]:
    """The shared database through a pool of one connection."""
    async with opened(store.url, driver, replace(PATIENT, pool_size=1, pool_timeout=20)) as pool:
        yield pool


@pytest.fixture
def at_commit(store: DatabaseFixture) -> Iterator[Callable[[str], None]]:
    """Set the PL/pgSQL code that each commit of a new user runs."""

    def set_code(code: str) -> None:
        store.admin.execute(AT_COMMIT.format(code).encode())

    yield set_code
    store.admin.execute("DROP FUNCTION IF EXISTS at_commit CASCADE")

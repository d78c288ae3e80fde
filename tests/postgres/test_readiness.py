"""What is ready, as it is seen again and again while the database comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import URL

from adapters.postgres import readiness as module
from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.readiness import LOOK_SECONDS, Watch
from tests.postgres.conftest import FAIL
from tests.support.databases import Connection, Databases, connected, with_driver
from tests.support.proxies import proxied
from tests.support.stores import taken
from tests.support.waiting import until

OPTIONS = DatabaseOptions(pool_size=2, connect_timeout=1, attempt_timeout=1, pool_timeout=0.1)
SOON = LOOK_SECONDS + OPTIONS.attempt_timeout + OPTIONS.connect_timeout + 15
"""Seconds within which what happened is seen; the last of them are for a busy machine."""
FINE = {"database": (True, "reachable"), "migrations": (True, "current"), "pool": (True, "opened 2 of 2")}
GONE = {"database": (False, "unreachable"), "migrations": (False, "unknown"), "pool": (True, "opened 2 of 2")}
BEHIND = {**FINE, "migrations": (False, "behind this release: run the migrations")}
OTHERS = """
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@asynccontextmanager
async def watched(url: URL, driver: str, options: DatabaseOptions = OPTIONS) -> AsyncIterator[tuple[Watch, Database]]:
    """Watch a database for as long as the block."""
    database = Database(with_driver(url, driver), options)
    watch = Watch(database)
    try:
        async with watch.running():
            yield watch, database
    finally:
        await database.close()


async def soon(watch: Watch, seen: object) -> None:
    """Return when this is seen."""
    await asyncio.wait_for(until(lambda: watch.seen == seen), SOON)


def others(admin: Connection) -> int:
    """Return how many connections there are to the database, beside this one."""
    (row,) = admin.execute(f"SELECT count(*) {OTHERS}".encode()).fetchall()
    return int(str(row[0]))


async def test_all_is_known_and_the_pool_open_when_the_block_begins(scratch: URL, driver: str) -> None:
    with connected(scratch) as admin:
        async with watched(scratch, driver) as (watch, database):
            assert watch.seen == FINE
            assert (others(admin), taken(database)) == (3, 0), "those of the pool, and its own"
        await until(lambda: others(admin) == 0)


async def test_nothing_is_ready_before_the_first_look(scratch: URL, driver: str) -> None:
    database = Database(with_driver(scratch, driver), OPTIONS)
    assert not any(ready for ready, _ in Watch(database).seen.values())
    await database.close()


async def test_a_frozen_database_is_seen_and_so_is_its_return(scratch: URL, driver: str) -> None:
    async with proxied(scratch) as (url, proxy), watched(url, driver) as (watch, _):
        proxy.freeze()
        await soon(watch, GONE)
        proxy.thaw()
        await soon(watch, FINE)


async def test_a_database_that_lets_nobody_in_is_seen_and_so_is_its_return(
    databases: Databases, scratch: URL, driver: str
) -> None:
    with connected(databases.url) as server, connected(scratch) as admin:
        async with watched(scratch, driver) as (watch, _):
            server.execute(f"ALTER DATABASE {scratch.database} WITH ALLOW_CONNECTIONS false".encode())
            admin.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}".encode())
            await soon(watch, GONE)
            server.execute(f"ALTER DATABASE {scratch.database} WITH ALLOW_CONNECTIONS true".encode())
            await soon(watch, FINE)


async def test_a_service_that_starts_before_its_database_gets_ready_with_it(scratch: URL, driver: str) -> None:
    async with proxied(scratch) as (url, proxy):
        proxy.freeze()
        async with watched(url, driver) as (watch, _):
            assert watch.seen == {**GONE, "pool": (False, "not opened yet")}
            proxy.thaw()
            await soon(watch, FINE)


async def test_migrations_that_lack_are_seen(scratch: URL, driver: str) -> None:
    with connected(scratch) as admin:
        ((head,),) = admin.execute("DELETE FROM alembic_version RETURNING version_num").fetchall()
        async with watched(scratch, driver) as (watch, _):
            assert watch.seen == BEHIND
            admin.execute("INSERT INTO alembic_version VALUES (%s)", [head])
            await soon(watch, FINE)


async def test_it_does_not_wait_behind_a_pool_that_is_busy(scratch: URL, driver: str) -> None:
    async with watched(scratch, driver, replace(OPTIONS, pool_timeout=60, attempt_timeout=60)) as (watch, database):
        connections = [await database.connect() for _ in range(2)]
        for _ in range(3):
            await asyncio.wait_for(watch.look(), SOON)
            assert watch.seen == FINE
        for connection in connections:
            database.hand_back(connection)


async def test_what_nobody_expected_is_seen_and_not_the_end(
    scratch: URL, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(_: Database) -> object:
        raise RuntimeError("s3cret")

    async with watched(scratch, driver) as (watch, _):
        with monkeypatch.context() as patch:
            patch.setattr(module, "schema_state", failing)
            await soon(watch, {"database": (False, "in disorder")})
        await soon(watch, FINE)


@pytest.mark.parametrize("moment", ["between two looks", "during a look"])
async def test_it_ends_soon_whatever_the_database_does(
    scratch: URL, driver: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    looks = asyncio.Event()
    readiness = module.readiness

    async def noted(database: Database) -> object:
        looks.set()
        return await readiness(database)

    async with proxied(scratch) as (url, proxy), asyncio.timeout(None) as limit, watched(url, driver):
        proxy.freeze()
        if moment == "during a look":
            monkeypatch.setattr(module, "readiness", noted)
            await asyncio.wait_for(looks.wait(), SOON)
        limit.reschedule(asyncio.get_running_loop().time() + SOON)
    await until(lambda: asyncio.all_tasks() <= before)


async def test_what_nobody_expected_is_seen_at_the_first_look(
    scratch: URL, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(_: Database) -> object:
        raise RuntimeError("s3cret")

    with monkeypatch.context() as patch:
        patch.setattr(module, "schema_state", failing)
        async with watched(scratch, driver) as (watch, _):
            assert watch.seen == {"database": (False, "in disorder")}


@pytest.mark.parametrize("state", ["42501", "26000", "42P05"])
async def test_a_database_that_does_not_tell_its_revisions_is_seen(scratch: URL, driver: str, state: str) -> None:
    with connected(scratch) as admin:
        admin.execute(FAIL)
        admin.execute("ALTER TABLE alembic_version RENAME TO revisions")
        admin.execute(f"CREATE VIEW alembic_version AS SELECT CAST(fail('{state}') AS text) AS version_num".encode())
        async with watched(scratch, driver) as (watch, _):
            disorder = {"database": (False, f"in disorder: SQLSTATE {state}"), "migrations": (False, "unknown")}
            assert watch.seen == {**disorder, "pool": (False, "not opened yet")}
            admin.execute("DROP VIEW alembic_version")
            admin.execute("ALTER TABLE revisions RENAME TO alembic_version")
            await soon(watch, FINE)

"""What the server ends by itself, and what is given up when it does not answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import URL

from adapters.http.middleware.limits import RequestLimits
from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.drivers import DRIVERS
from adapters.postgres.storage import SqlAlchemyStorage
from application.ports import StorageOverloadedError, StorageSilentError, StorageUnavailableError, UnitOfWork
from application.transactions import Retry
from tests.http.support import check_problem, serving
from tests.support.databases import connected, with_driver
from tests.support.examples import a_user, next_version, store_users, stored_users
from tests.support.probes import Probe, backend, fetch
from tests.support.proxies import proxied
from tests.support.stores import PATIENT, Store, opened, taken
from tests.support.waiting import LONGEST, until

SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "work_mem")
QUICK = replace(PATIENT, statement_timeout=0.1)
SOON_ALONE = "SELECT set_config('idle_in_transaction_session_timeout', '100ms', true)"


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
async def quick(request: pytest.FixtureRequest, scratch: URL, driver: str) -> AsyncIterator[Store]:
    """A database whose statements have little time."""
    async with opened(scratch, driver, replace(QUICK, prepared_statements=request.param)) as store:
        yield store


async def _shown(store: Store) -> list[str]:
    async def body(work: UnitOfWork) -> list[str]:
        return [(await fetch(work, f"SHOW {name}"))[0][0] for name in SETTINGS]

    return await Probe(store.storage).look(body)


@pytest.mark.parametrize("prepared", [True, False])
async def test_every_connection_has_the_limits(scratch: URL, driver: str, prepared: bool) -> None:
    assert (DatabaseOptions().statement_timeout, DatabaseOptions().idle_in_transaction_timeout) == (2, 10)
    options = replace(PATIENT, statement_timeout=61.5, idle_in_transaction_timeout=70, prepared_statements=prepared)
    async with opened(scratch, driver, options) as store:
        assert await _shown(store) == ["61500ms", "70s", "32MB"]
        assert [row[0] for row in store.admin.execute("SHOW statement_timeout").fetchall()] == ["0"]


def test_a_limit_of_no_time_is_not_no_limit() -> None:
    assert DatabaseOptions(statement_timeout=0.0001).server_settings["statement_timeout"] == "1"


def test_migrations_have_all_the_time_they_need(driver: str) -> None:
    arguments = DRIVERS[driver].connect_args(prepared_statements=True, connect_timeout=1)
    assert "client_connection_check_interval" in repr(arguments)
    assert "statement_timeout" not in repr(arguments)


async def test_a_statement_that_takes_too_long(quick: Store) -> None:
    probe = Probe(quick.storage)
    for _ in range(2):
        with pytest.raises(StorageOverloadedError):
            await probe.look(lambda work: fetch(work, "SELECT pg_sleep(600)"))
    assert probe.attempts == 2
    await until(lambda: quick.taken == 0)


async def test_a_write_that_waits_for_a_lock(quick: Store, scratch: URL, driver: str) -> None:
    user = a_user()
    async with opened(scratch, driver) as patient:
        await store_users(patient.storage, user)
        with connected(with_driver(quick.url, None)) as holder, holder.transaction():
            holder.execute("SELECT FROM users FOR UPDATE")
            with pytest.raises(StorageOverloadedError):
                await Probe(quick.storage).change(lambda work: work.users.update(next_version(user)))
        assert await stored_users(patient.storage) == [user]
    await until(lambda: quick.taken == 0)


async def test_a_transaction_that_is_left_alone_is_run_again(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver) as store:
        user = a_user()

        async def body(work: UnitOfWork) -> None:
            await work.users.add(user)
            pid = await backend(work)
            if probe.attempts == 1:
                await fetch(work, SOON_ALONE)
                await until(lambda: _is_gone(store, pid))
            await fetch(work, "SELECT 1")

        probe = Probe(store.storage)
        await probe.change(body)
        assert (probe.attempts, await stored_users(store.storage), store.taken) == (2, [user], 0)
        probe = Probe(store.storage, retry=Retry(deadline=0))
        with pytest.raises(StorageUnavailableError):
            await probe.change(body)


def _is_gone(store: Store, pid: int) -> bool:
    return store.admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None


async def test_a_request_that_waits_for_a_lock_is_given_up(scratch: URL, driver: str) -> None:
    async with (
        opened(scratch, driver) as store,
        serving(store.storage, limits=RequestLimits(request_timeout=LONGEST)) as patient,
        serving(store.storage, limits=RequestLimits(request_timeout=3)) as api,
    ):
        user = await patient.user()
        path = f"/api/v1/users/{user['id']}"
        with connected(with_driver(store.url, None)) as holder, holder.transaction():
            holder.execute("SELECT FROM users FOR UPDATE")
            changing = asyncio.create_task(api.client.patch(path, json={"full_name": "x"}))
            await until(store.is_waiting)
            check_problem(await changing, 503, "database-unavailable")
            await until(lambda: not store.is_waiting())
        await until(lambda: store.taken == 0)
        assert (await patient.client.get(path)).json() == user


async def test_requests_to_a_frozen_server_are_given_up(scratch: URL, driver: str) -> None:
    async with proxied(scratch) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, pool_size=2, connect_timeout=1))
        storage, limits = SqlAlchemyStorage(database), RequestLimits(request_timeout=LONGEST)
        async with serving(storage, limits=limits) as api:
            await api.user()
        async with serving(storage, limits=RequestLimits(request_timeout=0.2)) as api:
            proxy.freeze()
            loop = asyncio.get_running_loop()
            started = loop.time()
            for response in await asyncio.gather(*[_ask(api.client) for _ in range(4)]):
                check_problem(response, 503, "database-unavailable")
            assert loop.time() - started < 8  # psycopg would wait for 10 s by itself
            proxy.thaw()
            await until(lambda: taken(database) == 0)
        async with serving(storage, limits=limits) as api:
            assert (await _ask(api.client)).status_code == 200
        await database.close()


async def _ask(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/api/v1/users")


async def test_a_frozen_server_is_given_up_by_each_attempt_and_asked_no_more(scratch: URL, driver: str) -> None:
    async with proxied(scratch) as (url, proxy):
        patient = replace(PATIENT, pool_size=3)
        database = Database(with_driver(url, driver), patient)
        assert await database.warm() == 3  # what is connected now is frozen at work
        database.options = replace(patient, pool_timeout=0.3, attempt_timeout=3)
        proxy.freeze()
        loop = asyncio.get_running_loop()
        started = loop.time()
        probes = [Probe(SqlAlchemyStorage(database)) for _ in range(9)]
        gathered = [probe.change(lambda work: work.users.add(a_user())) for probe in probes]
        results = await asyncio.gather(*gathered, return_exceptions=True)
        assert {type(result) for result in results} == {StorageSilentError, StorageOverloadedError}
        assert {probe.attempts for probe in probes} == {1}
        assert loop.time() - started < LONGEST
        proxy.thaw()
        await until(lambda: taken(database) == 0)
        database.options = patient
        await asyncio.gather(*[_asleep(database) for _ in range(3)])
        await database.close()


async def test_a_server_that_freezes_before_it_lets_anybody_in(scratch: URL, driver: str) -> None:
    async with proxied(scratch) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, connect_timeout=0.3))
        proxy.freeze()
        probe = Probe(SqlAlchemyStorage(database))
        with pytest.raises(StorageSilentError):
            await asyncio.wait_for(probe.look(lambda work: work.users.list(limit=1)), 30)
        assert (probe.attempts, taken(database)) == (1, 0)
        await database.close()


async def _asleep(database: Database) -> None:
    await Probe(SqlAlchemyStorage(database)).look(lambda work: fetch(work, "SELECT pg_sleep(0.05)"))

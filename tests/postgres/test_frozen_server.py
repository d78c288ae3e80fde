"""Tests for a server that stops answering on open connections."""

import asyncio
from dataclasses import replace

import pytest

from adapters.http.middleware.request_limits import RequestLimits
from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from tests.http.support import check_problem, serving
from tests.postgres.monitored import BROKEN, READY, monitored
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out
from tests.support.freezing_proxy import proxied
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.template_databases import with_driver

pytestmark = pytest.mark.drill


async def test_frozen_server_gets_503_within_request_timeout(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, pool_size=2, connect_timeout=1))
        storage, limits = SqlAlchemyStorage(database), RequestLimits(request_timeout=TIMEOUT_SECONDS)
        async with serving(storage, limits=limits) as api:
            await api.user()
        async with serving(storage, limits=RequestLimits(request_timeout=0.2)) as api:
            proxy.freeze()
            loop = asyncio.get_running_loop()
            started = loop.time()
            for response in await asyncio.gather(*[api.client.get("/api/v1/users") for _ in range(4)]):
                check_problem(response, 503, "database-unavailable")
            assert loop.time() - started < 8  # psycopg waits for 10 s by itself
            proxy.thaw()
            await wait_until(lambda: checked_out(database) == 0)
        async with serving(storage, limits=limits) as api:
            assert (await api.client.get("/api/v1/users")).status_code == 200
        await database.close()


async def test_readiness_reports_frozen_server_and_recovery(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (url, proxy), monitored(url, driver) as monitor:
        assert await monitor.look() == READY
        own = monitor.watch._pool
        options, own.options = own.options, replace(own.options, attempt_timeout=0.1)
        proxy.freeze()
        assert await monitor.look() == BROKEN
        own.options = options
        proxy.thaw()
        await monitor.look_until(READY)


@pytest.mark.parametrize("during_check", [False, True])
async def test_readiness_monitor_stops_while_server_is_frozen(
    store: DatabaseFixture, driver: str, during_check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    monkeypatch.setattr("adapters.postgres.schema.readiness.CHECK_INTERVAL_SECONDS", 0.01 if during_check else 600)
    async with (
        proxied(store.url) as (url, proxy),
        asyncio.timeout(TIMEOUT_SECONDS),
        monitored(url, driver) as monitor,
        monitor.watch.run(),
    ):
        monitor.watch._pool.options = replace(monitor.watch._pool.options, attempt_timeout=0.2)
        proxy.freeze()
        if during_check:
            await wait_until(lambda: monitor.watch._pool.usage.in_use == 1)
    await wait_until(lambda: asyncio.all_tasks() <= before)

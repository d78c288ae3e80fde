"""Tests for a server that stops answering on open connections."""

import asyncio
from dataclasses import replace

import pytest

from adapters.http.middleware.request_limits import RequestLimits
from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import with_driver
from tests.http.support import check_problem, serving
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out
from tests.support.freezing_proxy import proxied
from tests.support.polling import TIMEOUT_SECONDS, wait_until


@pytest.mark.drill
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

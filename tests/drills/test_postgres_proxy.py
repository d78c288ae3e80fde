"""Tests for the PostgreSQL proxy with each driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import connected, with_driver
from tests.cli.support import queried, rendered
from tests.drills.faults.postgres_proxy import ACK_DROPPED, REQUEST_DROPPED, PostgresProxy
from tests.drills.faults.proxy import HOST, running

Execute = Callable[[str], Awaitable[Any]]
LOST = (OSError, psycopg.OperationalError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
INSERT = "INSERT INTO t VALUES (1)"
WITH = "WITH a AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM a"


@asynccontextmanager
async def _connected(url: URL, driver: str) -> AsyncIterator[Execute]:
    dsn = rendered(with_driver(url, None).difference_update_query(["ssl"]))
    if driver == "asyncpg":
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            yield connection.fetch
        finally:
            connection.terminate()
    else:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one:
            yield lambda statement: one.execute(statement.encode())


@pytest.fixture
def proxy(empty: URL) -> Iterator[PostgresProxy]:
    with connected(empty) as connection:
        connection.execute("CREATE TABLE t (a int)")
    proxy = PostgresProxy(seed="1", server=empty)
    with running(proxy):
        yield proxy


def _rows(proxy: PostgresProxy) -> int:
    (count,) = queried(proxy.server, "SELECT count(*)::int FROM t")
    return int(count)


async def test_postgres_proxy_forwards_traffic_if_not_armed(proxy: PostgresProxy, driver: str) -> None:
    proxy.drop_ack_share = proxy.drop_request_share = 1.0
    async with _connected(proxy.url(driver), driver) as execute:
        for statement in (INSERT, "BEGIN", INSERT, "COMMIT"):
            await execute(statement)
        await execute("INSERT INTO t SELECT generate_series(1, 100000)")
        await execute("SELECT repeat('x', 1000) FROM t")
    assert await asyncio.to_thread(_rows, proxy) == 100_002
    assert not proxy.cuts


@pytest.mark.parametrize(("kind", "rows"), [(ACK_DROPPED, 1), (REQUEST_DROPPED, 0)])
@pytest.mark.parametrize("statements", [[INSERT], [WITH], ["BEGIN", INSERT, "COMMIT"]])
async def test_postgres_proxy_drops_the_request_or_the_response(
    proxy: PostgresProxy, driver: str, kind: str, rows: int, statements: list[str]
) -> None:
    proxy.drop_ack_share = 1.0
    with suppress(*LOST):
        async with _connected(proxy.url(driver), driver) as execute:
            proxy.armed = True
            for statement in statements[:-1]:
                await execute(statement)
            proxy.drop_request_share = float(kind == REQUEST_DROPPED)
            with pytest.raises(LOST):
                await execute(statements[-1])
    assert proxy.cuts == {kind: 1}
    assert await asyncio.to_thread(_rows, proxy) == rows


async def test_postgres_proxy_forwards_cancel_requests(proxy: PostgresProxy) -> None:
    async with _connected(proxy.url("asyncpg"), "asyncpg") as execute:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(execute("SELECT pg_sleep(60)"), 0.2)
        await execute("SELECT 1")


async def test_postgres_proxy_closes_the_connection_without_a_server(empty: URL, unused_tcp_port: int) -> None:
    proxy = PostgresProxy(seed="1", server=empty.set(host=HOST, port=unused_tcp_port, query={}))
    with running(proxy), pytest.raises(LOST):
        async with _connected(proxy.url("asyncpg"), "asyncpg"):
            pytest.fail("connected")

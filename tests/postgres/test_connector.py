"""Tests for connections to several servers, and for parameters of the URL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import URL

from adapters.database_url import parse_database_url
from adapters.postgres.connect_errors import ConnectError
from adapters.postgres.connector import Connector
from adapters.testing.template_databases import with_driver
from tests.support.database_fixture import DatabaseFixture
from tests.support.freezing_proxy import proxied
from tests.support.polling import TIMEOUT_SECONDS

CLOSED = "127.0.0.1:1"


def _with_hosts(url: URL, driver: str, hosts: Sequence[str], **query: str) -> URL:
    given = {name: value for name, value in url.query.items() if name not in {"host", "port"}}
    query = {**given, "host": tuple(hosts), **query}  # type: ignore[dict-item]
    return parse_database_url(with_driver(url, driver).set(host=None, port=None, query=query))


def _address(url: URL) -> str:
    return f"{url.host}:{url.port}"


@asynccontextmanager
async def _connected(connector: Connector) -> AsyncIterator[Any]:
    connection = await asyncio.wait_for(connector.connect(), TIMEOUT_SECONDS)
    yield connection
    connector.driver.close(connection)


@pytest.mark.drill
async def test_frozen_host_does_not_hide_next_hosts(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (frozen, frozen_proxy), proxied(store.url) as (good, _):
        frozen_proxy.freeze()
        url = _with_hosts(store.url, driver, [_address(frozen), CLOSED, _address(good)])
        connector = Connector(url, connect_timeout=12)
        async with _connected(connector):
            assert len(frozen_proxy._serving) == 1
        async with _connected(connector):
            assert len(frozen_proxy._serving) == 1  # the last good host is first now


async def test_connect_timeout_is_divided_among_hosts(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    async def expire(opening: Coroutine[Any, Any, Any], limit: float) -> None:
        opening.close()
        limits.append(limit)
        raise TimeoutError

    monkeypatch.setattr(asyncio, "wait_for", expire)
    url = parse_database_url(f"postgresql+{driver}://a,b,c/x")
    with pytest.raises(ConnectError):
        await Connector(url, connect_timeout=600).connect()
    assert limits == pytest.approx([200, 300, 600], rel=0.2)


async def test_last_good_host_is_first(driver: str, store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxied(store.url) as (good, _):
        url = _with_hosts(store.url, driver, [CLOSED, _address(good)])
        connector = Connector(url, connect_timeout=TIMEOUT_SECONDS)
        connect = connector.driver.connect
        ports: list[int] = []

        def record(**arguments: Any) -> Awaitable[Any]:
            ports.append(arguments["port"])
            return connect(**arguments)

        monkeypatch.setattr(connector.driver, "connect", record)
        for _ in range(2):
            async with _connected(connector):
                pass
    assert ports == [1, good.port, good.port]


async def test_random_hosts_are_all_used(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (first, proxy), proxied(store.url) as (second, other):
        url = _with_hosts(store.url, driver, [_address(first), _address(second)], load_balance_hosts="random")
        connector = Connector(url, connect_timeout=TIMEOUT_SECONDS)
        for _ in range(100):
            async with _connected(connector):
                pass
            if proxy._writers and other._writers:
                break
        assert proxy._writers
        assert other._writers


async def test_all_failed_hosts_raise_last_error(store: DatabaseFixture, driver: str) -> None:
    connector = Connector(_with_hosts(store.url, driver, [CLOSED, CLOSED]), connect_timeout=TIMEOUT_SECONDS)
    with pytest.raises(ConnectError):
        await connector.connect()


async def test_read_only_host_is_skipped(store: DatabaseFixture, scratch: URL, driver: str) -> None:
    store.admin.execute(f'ALTER DATABASE "{scratch.database}" SET default_transaction_read_only = on'.encode())
    url = with_driver(scratch, driver)
    async with _connected(Connector(url, connect_timeout=TIMEOUT_SECONDS)):
        pass
    url = parse_database_url(url.update_query_dict({"target_session_attrs": "read-write"}))
    with pytest.raises(ConnectError):
        await Connector(url, connect_timeout=TIMEOUT_SECONDS).connect()


@pytest.mark.parametrize("parameter", ["sslmode=require", "sslmode=verify-ca"])
async def test_sslmode_requires_tls(store: DatabaseFixture, driver: str, parameter: str) -> None:
    async with proxied(store.url) as (url, _):
        parsed = parse_database_url(with_driver(url, driver).update_query_string(parameter))
        with pytest.raises(ConnectError):
            await Connector(parsed, connect_timeout=TIMEOUT_SECONDS).connect()


async def test_options_of_url_set_search_path(store: DatabaseFixture, driver: str) -> None:
    options = {"options": r"-c search_path=a,\ b -c datestyle=SQL", "application_name": "x y"}
    url = parse_database_url(with_driver(store.url, driver).update_query_dict(options))
    async with _connected(Connector(url, connect_timeout=TIMEOUT_SECONDS)) as connection:
        names = ("search_path", "datestyle", "application_name")
        sql = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        if driver == "asyncpg":
            row = await connection.fetchrow(sql)
        else:
            row = await (await connection.execute(sql)).fetchone()
    assert tuple(row) == ("a, b", "ISO, MDY", "x y")

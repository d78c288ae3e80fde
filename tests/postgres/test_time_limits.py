"""Tests for the time limits of connects, statements, transactions and attempts."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace

import asyncpg
import pytest
from sqlalchemy import URL

from adapters.postgres.connector import Connector
from adapters.postgres.pool import NO_SQLSTATE, Database, DatabaseOptions
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import connected, with_driver
from application.ports import (
    StorageBusyError,
    StorageTimeoutError,
    StorageUnavailableError,
    TransientStorageError,
    UnitOfWork,
)
from tests.postgres.failures import ONCE
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import make_user, next_version, store_users, stored_users
from tests.support.freezing_proxy import proxied
from tests.support.polling import wait_until
from tests.support.service_factories import LENIENT_RETRY
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "work_mem")
SHORT_IDLE_TIMEOUT = "SELECT set_config('idle_in_transaction_session_timeout', '20ms', true)"
either = pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "unprepared"])


async def _sleep(work: UnitOfWork) -> None:
    await fetch(work, "SELECT pg_sleep(600)")


@either
async def test_database_options_set_server_limits(store: DatabaseFixture, driver: str, prepared: bool) -> None:
    assert (DatabaseOptions().statement_timeout, DatabaseOptions().idle_in_transaction_timeout) == (2, 10)
    options = replace(PATIENT, statement_timeout=61.5, idle_in_transaction_timeout=70, prepared_statements=prepared)
    async with opened(store.url, driver, options) as pool, pool.storage.readonly() as work:
        values = [(await fetch(work, f"SHOW {name}"))[0][0] for name in SETTINGS]
    assert values == ["61500ms", "70s", "32MB"]


def test_submillisecond_timeout_rounds_up_to_1_ms() -> None:
    assert DatabaseOptions(statement_timeout=0.0001).server_settings["statement_timeout"] == "1"


def test_migration_connections_have_no_statement_timeout(driver: str) -> None:
    settings = Connector(URL.create(f"postgresql+{driver}", host="x"), connect_timeout=1).server_settings
    assert "client_connection_check_interval" in settings
    assert "statement_timeout" not in settings


@either
async def test_statement_timeout_raises_overloaded_error_without_retry(
    store: DatabaseFixture, driver: str, prepared: bool
) -> None:
    user = make_user()
    await store_users(store.storage, user)
    async with opened(store.url, driver, replace(PATIENT, statement_timeout=0.1, prepared_statements=prepared)) as pool:
        probe = UseCaseRunner(pool.storage)
        with pytest.raises(StorageBusyError):
            await probe.read(_sleep)
        with connected(store.url) as holder, holder.transaction():
            holder.execute("SELECT FROM users FOR UPDATE")
            with pytest.raises(StorageBusyError):
                await probe.change(lambda work: work.users.update(next_version(user)))
        assert (probe.attempts, await stored_users(store.storage)) == (2, [user])
        await wait_until(lambda: pool.checked_out == 0)


async def test_attempt_timeout_raises_timeout_error_without_retry(store: DatabaseFixture, driver: str) -> None:
    async with opened(store.url, driver, replace(PATIENT, attempt_timeout=0.1)) as pool:
        probe = UseCaseRunner(pool.storage)
        with pytest.raises(StorageTimeoutError):
            await probe.read(_sleep)
        assert probe.attempts == 1
        await wait_until(lambda: pool.checked_out == 0)


@pytest.mark.parametrize("driver", ["asyncpg"])
async def test_attempt_timeout_between_two_messages_raises_timeout_error(
    store: DatabaseFixture, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch_from_aborted(connection: asyncpg.Connection, *_: object) -> None:
        await wait_until(connection.is_closed)
        raise AttributeError  # as asyncpg does

    async with opened(store.url, driver, replace(PATIENT, attempt_timeout=0.1)) as pool:
        monkeypatch.setattr(pool.database.driver, "fetch", fetch_from_aborted)
        with pytest.raises(StorageTimeoutError):
            await UseCaseRunner(pool.storage).read(_sleep)


async def test_idle_transaction_timeout_is_retried(store: DatabaseFixture) -> None:
    user = make_user()

    async def body(work: UnitOfWork) -> None:
        await work.users.add(user)
        pid = await backend(work)
        if probe.attempts == 1:
            await fetch(work, SHORT_IDLE_TIMEOUT)
            await wait_until(lambda: store.has_ended(pid))
        await fetch(work, "SELECT 1")

    probe = UseCaseRunner(store.storage)
    await probe.change(body)
    assert (probe.attempts, await stored_users(store.storage), store.checked_out) == (2, [user], 0)
    probe = UseCaseRunner(store.storage, retry=ONCE)
    with pytest.raises(StorageUnavailableError):
        await probe.change(body)


@pytest.fixture
def connect_timeout() -> float:
    """No limit, unless a test sets one."""
    return 600


Unresponsive = tuple[Database, list[str]]


@pytest.fixture
async def unresponsive(driver: str, connect_timeout: float) -> AsyncIterator[Unresponsive]:
    """A pool of one connection to a server that accepts connections and does not respond, and the observed errors."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = URL.create(f"postgresql+{driver}", "x", host="127.0.0.1", port=listener.getsockname()[1], database="x")
        errors: list[str] = []
        options = replace(PATIENT, pool_size=1, pool_timeout=600, connect_timeout=connect_timeout)
        database = Database(url, options, errors=errors.append)
        yield database, errors
        assert database.usage == (1, 0, 0)
        assert not database._slots.are_occupied
        await database.close()


async def _connect_after_waiting(database: Database) -> None:
    await database._slots.acquire(0)
    task = asyncio.create_task(database.connect())
    await wait_until(lambda: database.usage.waiting == 1)
    database._slots.release()
    await task


@pytest.mark.parametrize("connect_timeout", [0.05])
async def test_connect_timeout_of_silent_server_is_not_retried(unresponsive: Unresponsive) -> None:
    database, errors = unresponsive
    database.is_silent = True
    probe = UseCaseRunner(SqlAlchemyStorage(database))
    with pytest.raises(StorageTimeoutError):
        await asyncio.wait_for(probe.read(lambda work: work.users.list(limit=1)), 30)
    assert (probe.attempts, errors) == (1, [NO_SQLSTATE])
    with pytest.raises(StorageTimeoutError):
        await _connect_after_waiting(database)
    assert errors == [NO_SQLSTATE] * 2


async def test_connect_timeout_is_retried(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, connect_timeout=1))
        failures: list[TransientStorageError] = []

        def thaw(failure: TransientStorageError) -> None:
            failures.append(failure)
            proxy.thaw()

        proxy.freeze()
        retry = replace(LENIENT_RETRY, observer=thaw)
        assert await UseCaseRunner(SqlAlchemyStorage(database), retry=retry).read(backend)
        assert type(failures[0]) is StorageUnavailableError
        await database.close()


async def test_connect_timeout_beside_silent_connection_is_not_retried(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, connect_timeout=1))
        connection = await database.connect()
        proxy.freeze()
        with pytest.raises(StorageTimeoutError):
            await database.connect()
        database.release(connection)
        assert not database.is_silent
        await database.close()


async def test_statement_timeout_of_the_client_marks_server_silent(store: DatabaseFixture, driver: str) -> None:
    async with opened(store.url, driver, replace(PATIENT, attempt_timeout=0.1)) as pool:
        with pytest.raises(StorageTimeoutError):
            await UseCaseRunner(pool.storage).read(_sleep)
        assert pool.database.is_silent
        await wait_until(lambda: pool.checked_out == 0)
        pool.database.release(await pool.database.connect())
        assert not pool.database.is_silent


@pytest.mark.parametrize("attempt_timeout", [0, 0.05])
async def test_attempt_timeout_after_pool_wait_is_overload(unresponsive: Unresponsive, attempt_timeout: float) -> None:
    database, errors = unresponsive
    database.options = replace(database.options, attempt_timeout=attempt_timeout)
    with pytest.raises(StorageBusyError):
        await _connect_after_waiting(database)
    assert errors == []
    assert await database.can_connect()


async def test_cancelled_connect_is_not_counted_as_error(unresponsive: Unresponsive) -> None:
    database, errors = unresponsive
    task = asyncio.create_task(database.connect())
    await wait_until(lambda: database._slots.are_occupied)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert errors == []

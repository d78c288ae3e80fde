"""Tests for the time limits of statements, transactions and attempts."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.postgres.drivers import DRIVERS
from adapters.postgres.pool import DatabaseOptions
from application.ports import StorageBusyError, StorageTimeoutError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import make_user, next_version, store_users, stored_users
from tests.support.polling import wait_until
from tests.support.template_databases import connected
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "work_mem")
SHORT_IDLE_TIMEOUT = "SELECT set_config('idle_in_transaction_session_timeout', '20ms', true)"


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
async def quick(request: pytest.FixtureRequest, store: DatabaseFixture, driver: str) -> AsyncIterator[DatabaseFixture]:
    """The shared database through a pool with a short statement timeout."""
    options = replace(PATIENT, statement_timeout=0.1, prepared_statements=request.param)
    async with opened(store.url, driver, options) as pool:
        yield pool


@pytest.mark.parametrize("prepared", [True, False])
async def test_database_options_set_server_limits(store: DatabaseFixture, driver: str, prepared: bool) -> None:
    assert (DatabaseOptions().statement_timeout, DatabaseOptions().idle_in_transaction_timeout) == (2, 10)
    options = replace(PATIENT, statement_timeout=61.5, idle_in_transaction_timeout=70, prepared_statements=prepared)
    async with opened(store.url, driver, options) as pool:

        async def body(work: UnitOfWork) -> list[str]:
            return [(await fetch(work, f"SHOW {name}"))[0][0] for name in SETTINGS]

        assert await UseCaseRunner(pool.storage).read(body) == ["61500ms", "70s", "32MB"]


def test_submillisecond_timeout_rounds_up_to_1_ms() -> None:
    assert DatabaseOptions(statement_timeout=0.0001).server_settings["statement_timeout"] == "1"


def test_migration_connections_have_no_statement_timeout(driver: str) -> None:
    arguments = DRIVERS[driver].connect_args(prepared_statements=True, connect_timeout=1)
    assert "client_connection_check_interval" in repr(arguments)
    assert "statement_timeout" not in repr(arguments)


async def test_statement_timeout_raises_overloaded_error_without_retry(quick: DatabaseFixture) -> None:
    probe = UseCaseRunner(quick.storage)
    with pytest.raises(StorageBusyError):
        await probe.read(lambda work: fetch(work, "SELECT pg_sleep(600)"))
    assert probe.attempts == 1
    await wait_until(lambda: quick.checked_out == 0)


async def test_write_that_waits_for_row_lock_times_out(quick: DatabaseFixture, store: DatabaseFixture) -> None:
    user = make_user()
    await store_users(store.storage, user)
    with connected(store.url) as holder, holder.transaction():
        holder.execute("SELECT FROM users FOR UPDATE")
        with pytest.raises(StorageBusyError):
            await UseCaseRunner(quick.storage).change(lambda work: work.users.update(next_version(user)))
    assert await stored_users(store.storage) == [user]
    await wait_until(lambda: quick.checked_out == 0)


async def test_attempt_timeout_raises_timeout_error_without_retry(store: DatabaseFixture, driver: str) -> None:
    async with opened(store.url, driver, replace(PATIENT, attempt_timeout=0.1)) as pool:
        probe = UseCaseRunner(pool.storage)
        with pytest.raises(StorageTimeoutError):
            await probe.read(lambda work: fetch(work, "SELECT pg_sleep(600)"))
        assert probe.attempts == 1
        await wait_until(lambda: pool.checked_out == 0)


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
    probe = UseCaseRunner(store.storage, retry=RetryPolicy(max_elapsed=0))
    with pytest.raises(StorageUnavailableError):
        await probe.change(body)

"""Tests for the errors of a connection that breaks while PostgreSQL stores a write."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from application.ports import CommitResultUnknownError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_user, next_version, store_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import Body, UseCaseRunner, fetch


def _lose_response(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Abort the connection after the server has executed the next statement that begins with the verb."""
    driver = store.database.driver
    calls: dict[str, Callable[..., Awaitable[Any]]] = {"fetch": driver.fetch, "execute": driver.execute}

    def losing(name: str) -> Callable[..., Awaitable[Any]]:
        async def call(connection: Any, statement: Any, *parameters: Any) -> Any:
            result = await calls[name](connection, statement, *parameters)
            sql = statement if isinstance(statement, str) else driver.compile(statement).sql
            if sql.startswith(verb):
                driver.abort(connection)
                raise ConnectionResetError
            return result

        return call

    for name in calls:
        monkeypatch.setattr(driver, name, losing(name))


async def _add_one(work: UnitOfWork) -> None:
    await work.users.add(make_user())


async def _add_two(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await work.users.add(make_user())


@pytest.mark.parametrize(
    ("body", "verb", "error"),
    [
        (_add_one, "INSERT", CommitResultUnknownError),
        (_add_two, "COMMIT", CommitResultUnknownError),
        (_add_two, "BEGIN", StorageUnavailableError),
        (_add_two, "INSERT", StorageUnavailableError),
        (lambda work: fetch(work, "SELECT 1"), "SELECT", StorageUnavailableError),
    ],
)
async def test_lost_response_is_unknown_for_statements_that_commit(
    store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch, body: Body[Any], verb: str, error: type[Exception]
) -> None:
    _lose_response(store, monkeypatch, verb)
    with pytest.raises(StorageUnavailableError) as raised:
        await UseCaseRunner(store.storage, retry=RetryPolicy(max_elapsed=0)).change(body)
    assert type(raised.value) is error
    await wait_until(lambda: store.checked_out == 0)


async def test_commit_rejected_by_standby_is_not_unknown(single: DatabaseFixture) -> None:
    user = make_user()
    await store_users(single.storage, user)
    read_only = "SELECT set_config('default_transaction_read_only', 'on', false)"
    await UseCaseRunner(single.storage).read(lambda work: fetch(work, read_only))
    with pytest.raises(StorageUnavailableError) as raised:
        await UseCaseRunner(single.storage, retry=RetryPolicy(max_elapsed=0)).change(
            lambda work: work.users.update(next_version(user))
        )
    assert type(raised.value) is StorageUnavailableError
    await UseCaseRunner(single.storage).change(lambda work: work.users.update(next_version(user)))

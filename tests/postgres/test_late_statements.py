"""Tests for statements that reach PostgreSQL after the service lost the connection and repeated them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from adapters.postgres.pool import Backend, Database
from adapters.postgres.session import PgSession
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import with_driver
from application.authorization import SYSTEM_PRINCIPAL
from application.idempotency import create_once
from application.ports import StorageUnavailableError, TransientStorageError, UnitOfWork
from tests.support import factories
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import (
    a_request,
    make_api_key,
    make_idempotency_record,
    make_user,
    replay_error,
    stored_users,
)
from tests.support.freezing_proxy import FreezingProxy, proxied
from tests.support.polling import wait_until
from tests.support.service_factories import LENIENT_RETRY
from tests.support.use_case_runner import Body, UseCaseRunner, backend


@dataclass
class LateProxy:
    """A database behind a proxy that delays the last statement of a first attempt."""

    proxy: FreezingProxy
    storage: SqlAlchemyStorage
    """Through the proxy."""
    direct: DatabaseFixture
    pids: list[int]
    deliver: Callable[[], None] = lambda: None

    async def change(self, body: Body[None], runner: UseCaseRunner) -> None:
        """Run the use case. Its first attempt loses the connection with its last statement, which arrives later."""

        async def freeze_and_run(work: UnitOfWork) -> None:
            self.pids.append(await backend(work))
            await body(work)
            if runner.attempts == 1:
                self.proxy.freeze()

        changing = asyncio.create_task(runner.change(freeze_and_run))
        await wait_until(lambda: self.proxy.held > 0)
        self.deliver = self.proxy.reset_clients()
        await changing

    async def deliver_late(self) -> None:
        """Deliver the late statement, and wait for the end of its backend."""
        self.deliver()
        await wait_until(lambda: self.direct.has_ended(self.pids[0]))


@pytest.fixture
async def late(store: DatabaseFixture, driver: str) -> AsyncIterator[LateProxy]:
    async with proxied(store.url) as (url, proxy):
        database = Database(with_driver(url, driver), PATIENT)
        yield LateProxy(proxy, SqlAlchemyStorage(database), store, [])
        await database.close()


async def test_late_insert_is_discarded_after_retry_and_delete(late: LateProxy) -> None:
    other, user, runner = make_user(), make_user(), UseCaseRunner(late.storage)
    await factories.store(late.storage, other)  # prepares the statement, so that the late message executes it
    await late.change(lambda work: work.users.add(user), runner)
    assert (runner.attempts, await stored_users(late.direct.storage)) == (2, [user, other])
    await UseCaseRunner(late.direct.storage).change(lambda work: work.users.delete(user))
    await late.deliver_late()
    assert await stored_users(late.direct.storage) == [other]


async def test_retry_gets_the_idempotency_lock_of_its_lost_attempt(late: LateProxy) -> None:
    key, user, runner = make_api_key(), make_user(), UseCaseRunner(late.storage)
    await factories.store(late.direct.storage, key)
    record = make_idempotency_record(key)

    async def body(work: UnitOfWork) -> None:
        await work.idempotency.add(record)
        await work.users.add(user)

    await late.change(body, runner)
    assert (runner.attempts, await stored_users(late.direct.storage)) == (2, [user])
    await late.deliver_late()
    assert await replay_error(late.direct.storage, record) == record


async def test_retry_through_a_pooler_waits_for_its_lost_attempt(store: DatabaseFixture, driver: str) -> None:
    user, key, failures = make_user(), make_api_key(), list[TransientStorageError]()
    await factories.store(store.storage, key)
    async with proxied(store.url) as (url, proxy):
        database = Database(with_driver(url, driver), replace(PATIENT, prepared_statements=False))
        service = UseCaseRunner(SqlAlchemyStorage(database), replace(LENIENT_RETRY, observer=failures.append))

        async def add(work: UnitOfWork) -> None:
            await work.users.add(user)
            if not failures:
                proxy.freeze()

        creating = asyncio.create_task(
            create_once(service, SYSTEM_PRINCIPAL, a_request(key), user, add, subject_id=user.id)
        )
        await wait_until(lambda: proxy.held > 0)
        deliver_late = proxy.reset_clients()
        await wait_until(lambda: len(failures) > 1 or creating.done())  # the lost attempt holds the lock
        deliver_late()
        assert await creating == (user, False)
        assert await stored_users(store.storage) == [user]
        await database.close()


@pytest.mark.parametrize(("age", "has_ended"), [(0.0, True), (-3600.0, False)])
async def test_only_backend_of_lost_connection_is_terminated(
    store: DatabaseFixture, single: DatabaseFixture, age: float, has_ended: bool
) -> None:
    pid = await UseCaseRunner(single.storage).read(backend)
    opened_at = store.database._clock() + age
    session = PgSession(store.database, readonly=False)
    await session.end_backends([Backend(pid, opened_at)])
    await session.end(commit=True)
    assert store.has_ended(pid) == has_ended


async def test_retry_raises_when_the_lost_backend_does_not_end(
    store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = PgSession(store.database, readonly=False)

    async def fetch(*_: object) -> list[tuple[bool]]:
        return [(False,)]

    monkeypatch.setattr(session, "fetch", fetch)
    with pytest.raises(StorageUnavailableError):
        await session.end_backends([Backend(1, 0)])


async def test_no_backend_is_terminated_through_a_pooler(
    store: DatabaseFixture, single: DatabaseFixture, driver: str
) -> None:
    pid = await UseCaseRunner(single.storage).read(backend)
    async with opened(store.url, driver, replace(PATIENT, prepared_statements=False)) as pool:
        session = PgSession(pool.database, readonly=False)
        await session.end_backends([Backend(pid, pool.database._clock())])
        await session.end(commit=True)
    assert not store.has_ended(pid)

"""Tests for the maximum lifetime and the maximum idle time of connections."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from adapters.postgres.pool import LIFETIME_JITTER, Database, DatabaseOptions
from adapters.postgres.schema.readiness import ReadinessMonitor
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import with_driver
from tests.postgres.conftest import open_connections
from tests.postgres.failures import ONCE
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend

LIFETIME, IDLE = 1000.0, 100.0


@dataclass
class Pool:
    """A pool whose clock the test sets."""

    database: Database
    store: DatabaseFixture
    now: float = 5.0

    @property
    def runner(self) -> UseCaseRunner:
        return UseCaseRunner(SqlAlchemyStorage(self.database), retry=ONCE)

    async def backend_after(self, seconds: float) -> int:
        """Let the time pass, and return the backend of the next unit of work."""
        self.now += seconds
        return await self.runner.read(backend)

    async def wait_until_ended(self, *backends: int) -> None:
        await wait_until(lambda: all(map(self.store.has_ended, backends)))


@pytest.fixture
async def open_pool(store: DatabaseFixture, driver: str) -> AsyncIterator[Callable[..., Pool]]:
    """A function that returns a pool with these options; afterwards all connections must be back in it."""
    pools: list[Pool] = []

    def open_(size: int = 1, *, lifetime: float = LIFETIME, idle: float = IDLE) -> Pool:
        options: DatabaseOptions = replace(PATIENT, pool_size=size, max_lifetime=lifetime, max_idle=idle)
        database = Database(with_driver(store.url, driver), options, clock=lambda: pools[-1].now)
        pools.append(Pool(database, store))
        return pools[-1]

    yield open_
    for pool in pools:
        assert checked_out(pool.database) == 0
        await pool.database.close()


@pytest.fixture
def without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, high: high)


@pytest.mark.usefixtures("without_jitter")
async def test_connection_is_replaced_after_its_lifetime_although_it_is_used(open_pool: Callable[..., Pool]) -> None:
    pool = open_pool()
    first = await pool.backend_after(0)
    assert {await pool.backend_after(IDLE - 1) for _ in range(10)} == {first}
    second = await pool.backend_after(LIFETIME - 10 * (IDLE - 1))
    assert second != first
    await pool.wait_until_ended(first)
    assert await pool.backend_after(IDLE - 1) == second


@pytest.mark.usefixtures("without_jitter")
async def test_connection_is_replaced_after_its_idle_time(open_pool: Callable[..., Pool]) -> None:
    pool = open_pool()
    first = await pool.backend_after(0)
    second = await pool.backend_after(IDLE)
    assert second != first
    await pool.wait_until_ended(first)


@pytest.mark.usefixtures("without_jitter")
@pytest.mark.parametrize("seconds", [LIFETIME, IDLE], ids=["lifetime", "idle time"])
async def test_monitor_closes_only_expired_connections(open_pool: Callable[..., Pool], seconds: float) -> None:
    pool = open_pool(2, idle=IDLE if seconds == IDLE else 0)
    monitor = ReadinessMonitor(pool.database)
    await monitor.check()
    pool.now += seconds - 1
    await monitor.check()
    before = await open_connections(pool.runner, 2)  # ends the idle time
    pool.now += 1
    await monitor.check()
    if seconds == IDLE:
        assert await open_connections(pool.runner, 2) == before
        pool.now += seconds
        await monitor.check()
    await pool.wait_until_ended(*before)
    assert monitor.last_result["pool"] == (True, "opened 2 of 2")
    assert not before & await open_connections(pool.runner, 2)
    await monitor._pool.close()


@pytest.mark.usefixtures("without_jitter")
async def test_connection_in_use_expires_after_its_unit_of_work(open_pool: Callable[..., Pool]) -> None:
    pool = open_pool()
    first = await pool.backend_after(0)
    async with pool.runner.storage.readonly() as work:
        assert await backend(work) == first
        pool.now += LIFETIME + IDLE
        pool.database.close_expired()
        assert await backend(work) == first
    assert await pool.backend_after(0) != first


@pytest.mark.usefixtures("without_jitter")
async def test_zero_means_no_limit_of_connections(open_pool: Callable[..., Pool]) -> None:
    pool = open_pool(lifetime=0, idle=0)
    first = await pool.backend_after(0)
    pool.now += 1e9
    pool.database.close_expired()
    assert await pool.backend_after(0) == first


async def test_connections_of_a_pool_expire_at_random_times(
    open_pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = [0.8, 0.9, 1.0]
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return factors.pop()

    monkeypatch.setattr(random, "uniform", uniform)
    pool = open_pool(3, idle=0)
    opened = await open_connections(pool.runner, 3)
    ended: list[int] = []
    for seconds in (0.75 * LIFETIME, 0.05 * LIFETIME, 0.1 * LIFETIME, 0.1 * LIFETIME):
        pool.now += seconds
        pool.database.close_expired()
        number = len(ended)
        await wait_until(lambda: sum(map(pool.store.has_ended, opened)) >= min(3, number))  # noqa: B023 - called at once
        ended.append(sum(map(pool.store.has_ended, opened)))
    assert ended == [0, 1, 2, 3]
    assert ranges == [LIFETIME_JITTER] * 3

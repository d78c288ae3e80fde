"""Tests for the limit of result pages per event-loop iteration."""

import asyncio
from collections import Counter

import pytest

from adapters.postgres.event_loop_fairness import MAX_PAGES_PER_ITERATION, SMALL_PAGE_ROWS, FairScheduler
from application.authorization import SYSTEM_PRINCIPAL
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_post, make_user, store_posts, store_users
from tests.support.service_factories import post_service

PAGES = 5 * MAX_PAGES_PER_ITERATION


class IterationCounter:
    """Counts the iterations of the event loop."""

    def __init__(self) -> None:
        self.iteration = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self.iteration += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_fair_scheduler_limits_pages_per_iteration_in_order() -> None:
    turns, counter = FairScheduler(), IterationCounter()
    decoded: list[tuple[int, int]] = []

    async def page(number: int) -> None:
        await turns.wait()
        decoded.append((counter.iteration, number))

    await asyncio.gather(*map(page, range(PAGES)))
    counter.stop()
    assert [number for _, number in decoded] == list(range(PAGES))
    per_iteration = Counter(iteration for iteration, _ in decoded)
    assert max(per_iteration.values()) == MAX_PAGES_PER_ITERATION
    assert len(per_iteration) == PAGES / MAX_PAGES_PER_ITERATION


async def test_fair_scheduler_does_not_delay_a_lone_page() -> None:
    turns = FairScheduler()
    for _ in range(3):
        with pytest.raises(StopIteration):
            turns.wait().send(None)
        await asyncio.sleep(0)


async def test_fair_scheduler_skips_cancelled_pages() -> None:
    turns = FairScheduler()
    tasks = [asyncio.create_task(turns.wait()) for _ in range(PAGES)]
    await asyncio.sleep(0)
    for task in tasks[MAX_PAGES_PER_ITERATION:-1]:
        task.cancel()
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await turns.wait()
    assert [type(result) for result in results].count(asyncio.CancelledError) == PAGES - MAX_PAGES_PER_ITERATION - 1
    assert results[-1] is None


class CountingTurns(FairScheduler):
    __slots__ = ("pages",)

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    async def wait(self) -> None:
        self.pages += 1
        await super().wait()


@pytest.mark.parametrize("driver", ["asyncpg"])
async def test_only_large_pages_use_the_fair_scheduler(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    posts = [make_post(user) for _ in range(SMALL_PAGE_ROWS + 1)]
    await store_users(store.storage, user)
    await store_posts(store.storage, *posts)
    turns = CountingTurns()
    monkeypatch.setattr(store.database, "scheduler", turns)
    service = post_service(store.storage)
    await service.get(SYSTEM_PRINCIPAL, posts[0].id)
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS - 1)).items) == SMALL_PAGE_ROWS - 1
    assert turns.pages == 0
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS + 1)).items) == SMALL_PAGE_ROWS + 1
    assert turns.pages == 1

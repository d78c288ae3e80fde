"""Tests for the limit of result pages per event-loop iteration."""

import asyncio

import pytest

from adapters.postgres.event_loop_fairness import MAX_PAGES_PER_ITERATION, SMALL_PAGE_ROWS, FairScheduler
from application.authorization import SYSTEM_PRINCIPAL
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_post, make_user, store_posts, store_users
from tests.support.service_factories import post_service

PAGES = 5 * MAX_PAGES_PER_ITERATION


async def test_fair_scheduler_limits_pages_per_iteration_in_order() -> None:
    scheduler, loop = FairScheduler(), asyncio.get_running_loop()
    decoded: list[int] = []
    per_iteration: list[int] = []

    def count() -> None:
        """Note the number of decoded pages once per iteration of the event loop."""
        per_iteration.append(len(decoded) - sum(per_iteration))
        if len(decoded) < PAGES:
            loop.call_soon(count)

    async def page(number: int) -> None:
        await scheduler.wait()
        decoded.append(number)

    loop.call_soon(count)
    await asyncio.gather(*map(page, range(PAGES)))
    await asyncio.sleep(0)
    assert decoded == list(range(PAGES))
    assert [pages for pages in per_iteration if pages] == [MAX_PAGES_PER_ITERATION] * (PAGES // MAX_PAGES_PER_ITERATION)


async def test_fair_scheduler_does_not_delay_a_lone_page() -> None:
    scheduler = FairScheduler()
    for _ in range(3):
        with pytest.raises(StopIteration):
            scheduler.wait().send(None)
        await asyncio.sleep(0)


async def test_fair_scheduler_skips_cancelled_pages() -> None:
    scheduler = FairScheduler()
    tasks = [asyncio.create_task(scheduler.wait()) for _ in range(PAGES)]
    await asyncio.sleep(0)
    for task in tasks[MAX_PAGES_PER_ITERATION:-1]:
        task.cancel()
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await scheduler.wait()
    assert [type(result) for result in results].count(asyncio.CancelledError) == PAGES - MAX_PAGES_PER_ITERATION - 1
    assert results[-1] is None


@pytest.mark.parametrize("driver", ["asyncpg"])
async def test_only_large_pages_use_the_fair_scheduler(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    posts = [make_post(user) for _ in range(SMALL_PAGE_ROWS + 1)]
    await store_users(store.storage, user)
    await store_posts(store.storage, *posts)
    pages: list[FairScheduler] = []
    wait = FairScheduler.wait

    async def counted(scheduler: FairScheduler) -> None:
        pages.append(scheduler)
        await wait(scheduler)

    monkeypatch.setattr(FairScheduler, "wait", counted)
    service = post_service(store.storage)
    await service.get(SYSTEM_PRINCIPAL, posts[0].id)
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS - 1)).items) == SMALL_PAGE_ROWS - 1
    assert pages == []
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS + 1)).items) == SMALL_PAGE_ROWS + 1
    assert pages == [store.database.scheduler]

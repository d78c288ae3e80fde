"""Tests for the limit of rows per event-loop iteration."""

import asyncio

import pytest

from adapters.postgres.event_loop_fairness import MAX_ROWS_PER_ITERATION, SMALL_PAGE_ROWS, FairScheduler
from application.authorization import SYSTEM_PRINCIPAL
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_post, make_user, store_posts, store_users
from tests.support.service_factories import post_service

HALF_ROWS = MAX_ROWS_PER_ITERATION // 2
PAGES = 10


@pytest.mark.parametrize(("rows", "pages_per_iteration"), [(HALF_ROWS, 2), (HALF_ROWS + 1, 2), (HALF_ROWS * 20, 1)])
async def test_fair_scheduler_limits_rows_per_iteration_in_order(rows: int, pages_per_iteration: int) -> None:
    scheduler, loop = FairScheduler(), asyncio.get_running_loop()
    decoded: list[int] = []
    per_iteration: list[int] = []

    def count() -> None:
        """Note the number of decoded pages once per iteration of the event loop."""
        per_iteration.append(len(decoded) - sum(per_iteration))
        if len(decoded) < PAGES:
            loop.call_soon(count)

    async def page(number: int) -> None:
        await scheduler.wait(rows)
        decoded.append(number)

    loop.call_soon(count)
    await asyncio.gather(*map(page, range(PAGES)))
    await asyncio.sleep(0)
    assert decoded == list(range(PAGES))
    assert [pages for pages in per_iteration if pages] == [pages_per_iteration] * (PAGES // pages_per_iteration)


async def test_fair_scheduler_does_not_delay_a_lone_page() -> None:
    scheduler = FairScheduler()
    for _ in range(3):
        with pytest.raises(StopIteration):
            scheduler.wait(MAX_ROWS_PER_ITERATION).send(None)
        await asyncio.sleep(0)


async def test_fair_scheduler_skips_cancelled_pages() -> None:
    scheduler = FairScheduler()
    tasks = [asyncio.create_task(scheduler.wait(HALF_ROWS)) for _ in range(PAGES)]
    await asyncio.sleep(0)
    for task in tasks[2:-1]:
        task.cancel()
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await scheduler.wait(HALF_ROWS)
    assert [type(result) for result in results].count(asyncio.CancelledError) == PAGES - 3
    assert results[-1] is None


@pytest.mark.parametrize("driver", ["asyncpg"])
async def test_only_large_pages_use_the_fair_scheduler(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    posts = [make_post(user) for _ in range(SMALL_PAGE_ROWS + 1)]
    await store_users(store.storage, user)
    await store_posts(store.storage, *posts)
    pages: list[tuple[FairScheduler, int]] = []
    wait = FairScheduler.wait

    async def counted(scheduler: FairScheduler, rows: int) -> None:
        pages.append((scheduler, rows))
        await wait(scheduler, rows)

    monkeypatch.setattr(FairScheduler, "wait", counted)
    service = post_service(store.storage)
    await service.get(SYSTEM_PRINCIPAL, posts[0].id)
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS - 1)).items) == SMALL_PAGE_ROWS - 1
    assert pages == []
    assert len((await service.list(SYSTEM_PRINCIPAL, limit=SMALL_PAGE_ROWS + 1)).items) == SMALL_PAGE_ROWS + 1
    assert pages == [(store.database.scheduler, SMALL_PAGE_ROWS + 1)]

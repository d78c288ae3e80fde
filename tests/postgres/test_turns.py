"""Pages of rows take turns, so that a turn of the event loop stays short."""

import asyncio
from collections import Counter

import pytest

from adapters.postgres.turns import FEW, MOST_IN_A_TURN, Turns
from application.access import OPERATOR
from tests.support.examples import a_post, a_user, store_posts, store_users
from tests.support.services import post_service
from tests.support.stores import Store

PAGES = 5 * MOST_IN_A_TURN


class Clock:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.turn = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self.turn += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_so_many_go_on_in_a_turn_in_order() -> None:
    turns, clock = Turns(), Clock()
    went: list[tuple[int, int]] = []

    async def page(number: int) -> None:
        await turns.wait()
        went.append((clock.turn, number))

    await asyncio.gather(*map(page, range(PAGES)))
    clock.stop()
    assert [number for _, number in went] == list(range(PAGES))
    in_a_turn = Counter(turn for turn, _ in went)
    assert max(in_a_turn.values()) == MOST_IN_A_TURN
    assert len(in_a_turn) == PAGES / MOST_IN_A_TURN


async def test_who_comes_alone_does_not_wait() -> None:
    turns = Turns()
    for _ in range(3):
        with pytest.raises(StopIteration):
            turns.wait().send(None)
        await asyncio.sleep(0)


async def test_who_does_not_wait_any_more_takes_no_turn() -> None:
    turns = Turns()
    tasks = [asyncio.create_task(turns.wait()) for _ in range(PAGES)]
    await asyncio.sleep(0)
    for task in tasks[MOST_IN_A_TURN:-1]:
        task.cancel()
    async with asyncio.timeout(10):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in done].count(asyncio.CancelledError) == PAGES - MOST_IN_A_TURN - 1
    assert done[-1] is None
    await asyncio.wait_for(turns.wait(), 10)


class Counting(Turns):
    """Counts who waits."""

    __slots__ = ("pages",)

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    async def wait(self) -> None:
        self.pages += 1
        await super().wait()


async def test_pages_take_turns_and_what_is_small_does_not(store: Store) -> None:
    user = a_user()
    posts = [a_post(user) for _ in range(FEW + 1)]
    await store_users(store.storage, user)
    await store_posts(store.storage, *posts)
    store.database.turns = turns = Counting()
    service = post_service(store.storage)
    await service.get(OPERATOR, posts[0].id)
    assert len((await service.list(OPERATOR, limit=FEW - 1)).items) == FEW - 1
    assert turns.pages == 0
    assert len((await service.list(OPERATOR, limit=FEW + 1)).items) == FEW + 1
    assert turns.pages == 1

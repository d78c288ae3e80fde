"""Tests for slots with a limited wait."""

import asyncio

import pytest

from adapters.deadline_timer import DeadlineTimer
from adapters.postgres.slots import Slots


async def _wait(slots: Slots, number: int, order: list[int]) -> None:
    await slots.acquire(600)
    order.append(number)
    slots.release()


async def _start(slots: Slots, order: list[int], count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(_wait(slots, number, order)) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_slots_are_passed_on_in_the_order_of_arrival() -> None:
    slots, order = Slots(2, DeadlineTimer()), list[int]()
    await slots.acquire(0)
    assert not slots.are_occupied
    await slots.acquire(0)
    tasks = await _start(slots, order, 4)
    assert (slots.are_occupied, slots.waiting, order) == (True, 4, [])
    slots.release()
    await asyncio.gather(*tasks)
    assert (slots.waiting, order) == (0, [0, 1, 2, 3])


async def test_slot_wait_raises_timeout_error_and_is_removed() -> None:
    slots = Slots(1, DeadlineTimer())
    await slots.acquire(0)
    with pytest.raises(TimeoutError):
        await slots.acquire(0.01)
    assert slots.waiting == 0
    slots.release()
    assert not slots.are_occupied


@pytest.mark.parametrize("is_released", [False, True])
async def test_cancelled_wait_loses_no_slot(is_released: bool) -> None:
    slots, order = Slots(1, DeadlineTimer()), list[int]()
    await slots.acquire(0)
    tasks = await _start(slots, order, 3)
    if is_released:
        slots.release()  # to the first waiter, which is cancelled before it continues
    tasks[0].cancel()
    if not is_released:
        await asyncio.sleep(0)
        slots.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert (order, slots.are_occupied, slots.waiting) == ([1, 2], False, 0)

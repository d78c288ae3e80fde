"""Tests for the timer of the time limits of requests and sessions."""

import asyncio

from adapters.deadline_timer import DeadlineTimer
from tests.support.polling import wait_until


async def test_timer_calls_each_function_once() -> None:
    now, timer, calls = asyncio.get_running_loop().time(), DeadlineTimer(), list[int]()
    for number in (3, 1, 2):
        timer.add(lambda number=number: calls.append(number), now + number / 1000)  # type: ignore[misc]
    await wait_until(lambda: len(calls) >= 3)
    assert sorted(calls) == [1, 2, 3]


async def test_timer_calls_an_overdue_function_before_a_later_one() -> None:
    now, timer, calls = asyncio.get_running_loop().time(), DeadlineTimer(), list[str]()
    timer.add(lambda: calls.append("later"), now + 3600)
    timer.add(lambda: calls.append("overdue"), now - 1)
    await wait_until(lambda: len(calls) == 1)
    assert calls == ["overdue"]
    timer.close()


async def test_timer_does_not_call_removed_functions() -> None:
    now, timer, calls = asyncio.get_running_loop().time(), DeadlineTimer(), list[str]()
    removed = [lambda: calls.append("before"), lambda: calls.append("in the same check")]
    timer.add(removed[0], now)
    timer.add(lambda: timer.remove(removed[1]), now)
    timer.add(removed[1], now + 3600)
    timer.remove(removed[0])
    await wait_until(lambda: removed[1] not in timer._deadlines)
    assert calls == []
    timer.close()


async def test_closed_timer_calls_no_function_and_can_be_used_again() -> None:
    now, timer, calls = asyncio.get_running_loop().time(), DeadlineTimer(), list[str]()
    timer.add(lambda: calls.append("closed"), now)
    timer.close()
    timer.add(lambda: calls.append("new"), now)
    await wait_until(lambda: bool(calls))
    assert calls == ["new"]


def test_timer_works_in_a_new_event_loop() -> None:
    timer, calls = DeadlineTimer(), list[tuple[str, bool]]()

    async def use(name: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer.add(lambda: calls.append((name, asyncio.get_running_loop() is loop)), loop.time() + seconds)

    async def wait() -> None:
        await use("new", 0)
        await wait_until(lambda: ("new", True) in calls)

    asyncio.run(use("ended", 0.001))  # after a pause of the process, its own loop calls it
    asyncio.run(wait())
    assert ("ended", False) not in calls

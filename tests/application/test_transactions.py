"""Tests for the retries of `transactional` and `readonly` use cases."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import (
    ConcurrentUpdateError,
    StorageBusyError,
    StorageFailedError,
    StorageTimeoutError,
    StorageUnavailableError,
    TransientStorageError,
    UnitOfWork,
)
from application.transactions import RetryPolicy
from domain.users import UserNotFoundError
from tests.support.factories import make_user, stored_users
from tests.support.principals import HookedStorage, raising
from tests.support.service_factories import user_service
from tests.support.use_case_runner import Body, UseCaseRunner

RETRIED = [TransientStorageError, StorageUnavailableError, ConcurrentUpdateError]
Run = Callable[[UseCaseRunner, Body[Any]], Awaitable[Any]]
modes = pytest.mark.parametrize("run", [UseCaseRunner.change, UseCaseRunner.read])


@dataclass
class FakeTime:
    """Advances only in pauses, and records them."""

    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime()
    monkeypatch.setattr("application.transactions.time", SimpleNamespace(monotonic=lambda: time.now))
    monkeypatch.setattr("application.transactions.asyncio", SimpleNamespace(sleep=time.sleep))
    return time


async def _do_nothing(_: UnitOfWork) -> str:
    return "done"


def _failing(error: type[Exception], times: int) -> HookedStorage:
    return HookedStorage(InMemoryStorage(), before=raising(error), times=times)


@modes
@pytest.mark.parametrize("error", RETRIED)
async def test_use_case_is_retried_after_transient_errors(time: FakeTime, error: type[Exception], run: Run) -> None:
    observed: list[TransientStorageError] = []
    probe = UseCaseRunner(_failing(error, 3), retry=RetryPolicy(max_elapsed=9, observer=observed.append))
    assert await run(probe, _do_nothing) == "done"
    assert (probe.attempts, len(time.pauses)) == (1, 3)
    assert [type(failure) for failure in observed] == [error] * 3


@modes
@pytest.mark.parametrize(
    "error",
    [
        UserNotFoundError,
        StorageBusyError,
        StorageFailedError,
        StorageTimeoutError,
        RuntimeError,
        OSError,
        asyncio.CancelledError,
    ],
)
async def test_use_case_is_not_retried_after_other_errors(time: FakeTime, error: type[BaseException], run: Run) -> None:
    observed: list[TransientStorageError] = []
    probe = UseCaseRunner(InMemoryStorage(), retry=RetryPolicy(max_elapsed=9, observer=observed.append))

    async def body(_: UnitOfWork) -> None:
        raise error

    with pytest.raises(error):
        await run(probe, body)
    assert (probe.attempts, time.pauses, observed) == (1, [], [])


async def test_retry_restarts_the_use_case_without_earlier_writes(time: FakeTime) -> None:
    probe = UseCaseRunner(InMemoryStorage())
    users = [make_user(), make_user()]

    async def body(work: UnitOfWork) -> None:
        await work.users.add(users[0])
        if probe.attempts < 3:
            raise ConcurrentUpdateError
        await work.users.add(users[1])

    await probe.change(body)
    assert (probe.attempts, len(time.pauses)) == (3, 2)
    assert await stored_users(probe.storage) == users[::-1]


@pytest.mark.parametrize("error", RETRIED)
async def test_use_case_is_not_retried_when_deadline_is_zero(time: FakeTime, error: type[Exception]) -> None:
    observed: list[TransientStorageError] = []
    storage = _failing(error, 1)
    with pytest.raises(error):
        await UseCaseRunner(storage, retry=RetryPolicy(max_elapsed=0, observer=observed.append)).read(_do_nothing)
    assert (time.pauses, storage.times, observed) == ([], 0, [])


async def test_retry_starts_no_attempt_after_the_deadline(time: FakeTime) -> None:
    started = time.now
    probe = UseCaseRunner(_failing(StorageUnavailableError, 10**6), retry=RetryPolicy(max_elapsed=2))
    with pytest.raises(StorageUnavailableError):
        await probe.read(_do_nothing)
    assert 1.5 < time.now - started <= 2
    assert len(time.pauses) > 5


async def test_retry_deadline_includes_the_time_of_attempts(time: FakeTime) -> None:
    probe = UseCaseRunner(InMemoryStorage(), retry=RetryPolicy(max_elapsed=5))

    async def body(_: UnitOfWork) -> None:
        time.now += 2
        raise StorageUnavailableError

    with pytest.raises(StorageUnavailableError):
        await probe.change(body)
    assert probe.attempts == 3


async def test_create_user_uses_the_same_id_for_all_attempts(time: FakeTime) -> None:
    storage = InMemoryStorage()
    lossy = HookedStorage(storage, after=raising(StorageUnavailableError))
    ids = iter([new_id()])  # a second call raises StopIteration
    user = await user_service(lossy, ids=lambda: next(ids)).create(SYSTEM_PRINCIPAL, email="ada@example.org")
    assert await stored_users(storage) == [user]
    assert len(time.pauses) == 1


def test_retry_backoff_is_drawn_evenly_below_a_growing_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    lows: set[float] = set()

    def uniform(low: float, high: float) -> float:
        lows.add(low)
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    retry = RetryPolicy(max_elapsed=9, base_delay=0.01, max_delay=0.1)
    assert [retry.backoff(attempt) for attempt in (1, 2, 3, 4, 5, 1000)] == [0.02, 0.04, 0.08, 0.1, 0.1, 0.1]
    assert lows == {0}
    assert RetryPolicy().backoff(9) == 0.25


def test_transactional_keeps_the_name_of_the_use_case() -> None:
    assert UseCaseRunner.change.__name__ == "change"
    assert UseCaseRunner.change.__module__ == UseCaseRunner.__module__

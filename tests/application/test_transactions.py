"""The loop around a use case: what is run again, how often, and after which pause."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR
from application.ports import (
    ConcurrentChangeError,
    StorageOverloadedError,
    StorageUnavailableError,
    TransientError,
    UnitOfWork,
)
from application.transactions import Retry
from domain.users import UserNotFoundError
from tests.support.examples import a_user, stored_users
from tests.support.probes import Probe
from tests.support.services import user_service

ERRORS = [TransientError, StorageUnavailableError, ConcurrentChangeError]


class FailingStorage(InMemoryStorage):
    """Fails as often as it is told, when a unit of work begins or after it was committed."""

    def __init__(self, *, failures: int, error: type[Exception], late: bool = False) -> None:
        super().__init__()
        self.failures = failures
        self.error = error
        self.late = late

    @asynccontextmanager
    async def _failing(self, work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
        self.failures -= 1
        if self.failures >= 0 and not self.late:
            raise self.error
        async with work:  # type: ignore[attr-defined]
            yield work
        if self.failures >= 0:
            raise self.error

    def transaction(self) -> UnitOfWork:  # type: ignore[override]
        return self._failing(super().transaction())  # type: ignore[return-value]

    def readonly(self) -> UnitOfWork:  # type: ignore[override]
        return self._failing(super().readonly())  # type: ignore[return-value]


@dataclass
class Time:
    """Stands still but for the pauses, and remembers them."""

    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("application.transactions.time", SimpleNamespace(monotonic=lambda: time.now))
    monkeypatch.setattr("application.transactions.asyncio", SimpleNamespace(sleep=time.sleep))
    return time


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("mode", ["change", "look"])
async def test_a_transient_failure_is_tried_again(time: Time, error: type[Exception], mode: str) -> None:
    probe = Probe(FailingStorage(failures=3, error=error), retry=Retry(deadline=9))

    async def body(_: UnitOfWork) -> str:
        return "done"

    assert await (probe.change(body) if mode == "change" else probe.look(body)) == "done"
    assert (probe.attempts, len(time.pauses)) == (1, 3)


@pytest.mark.parametrize(
    "error", [UserNotFoundError, StorageOverloadedError, RuntimeError, OSError, asyncio.CancelledError]
)
async def test_nothing_else_is_tried_again(time: Time, error: type[BaseException]) -> None:
    async def body(_: UnitOfWork) -> None:
        raise error

    for probe, run in ((p := Probe(InMemoryStorage()), p.change), (p := Probe(InMemoryStorage()), p.look)):
        with pytest.raises(error):
            await run(body)
        assert (probe.attempts, time.pauses) == (1, [])


async def test_a_failure_in_the_use_case_itself_runs_it_from_the_top(time: Time) -> None:
    probe = Probe(InMemoryStorage())
    users = [a_user(), a_user()]

    async def body(work: UnitOfWork) -> None:
        await work.users.add(users[0])
        if probe.attempts < 3:
            raise ConcurrentChangeError
        await work.users.add(users[1])

    await probe.change(body)
    assert (probe.attempts, len(time.pauses)) == (3, 2)
    assert await stored_users(probe.storage) == users[::-1]


async def test_with_no_time_to_lose_there_is_one_attempt(time: Time) -> None:
    storage = FailingStorage(failures=1, error=StorageUnavailableError)
    with pytest.raises(StorageUnavailableError):
        await user_service(storage, retry=Retry(deadline=0)).get(OPERATOR, new_id())
    assert (time.pauses, storage.failures) == ([], 0)


async def test_no_attempt_starts_after_the_deadline(time: Time) -> None:
    started = time.now
    probe = Probe(FailingStorage(failures=10**6, error=StorageUnavailableError), retry=Retry(deadline=2))
    with pytest.raises(StorageUnavailableError):
        await probe.look(lambda work: work.users.list(limit=1))
    assert 1.5 < time.now - started <= 2
    assert len(time.pauses) > 10


async def test_the_time_that_an_attempt_takes_counts(time: Time) -> None:
    probe = Probe(InMemoryStorage(), retry=Retry(deadline=5))

    async def body(_: UnitOfWork) -> None:
        time.now += 2
        raise StorageUnavailableError

    with pytest.raises(StorageUnavailableError):
        await probe.change(body)
    assert probe.attempts == 3


async def test_an_add_whose_acknowledgement_was_lost_is_no_duplicate(time: Time) -> None:
    storage = FailingStorage(failures=1, error=StorageUnavailableError, late=True)
    ids = iter([new_id()])  # a second one would be missing
    user = await user_service(storage, ids=lambda: next(ids)).register(OPERATOR, email="ada@example.org")
    assert await stored_users(storage) == [user]
    assert len(time.pauses) == 1


def test_pauses_grow_and_are_drawn_evenly_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    retry = Retry(deadline=9, shortest=0.01, longest=0.1)
    assert [retry.pause(attempt) for attempt in (1, 2, 3, 4, 5, 1000)] == [0.02, 0.04, 0.08, 0.1, 0.1, 0.1]
    assert {low for low, _ in drawn} == {0}


def test_a_pause_is_not_always_the_same() -> None:
    pauses = {Retry().pause(9) for _ in range(20)}
    assert len(pauses) > 10
    assert all(0 <= pause <= 0.25 for pause in pauses)


def test_a_use_case_keeps_its_name_and_its_words() -> None:
    assert Probe.change.__name__ == "change"
    assert Probe.change.__module__ == Probe.__module__


@pytest.mark.parametrize("error", ERRORS)
async def test_who_watches_is_told_of_each_failure_that_another_attempt_follows(error: type[Exception]) -> None:
    told: list[TransientError] = []
    storage = FailingStorage(failures=2, error=error)
    await Probe(storage, retry=Retry(deadline=60, observer=told.append)).look(_nothing)
    assert [type(failure) for failure in told] == [error, error]


async def test_who_watches_is_not_told_of_the_last_failure() -> None:
    told: list[TransientError] = []
    for error in (StorageUnavailableError, StorageOverloadedError):
        with pytest.raises(error):
            await Probe(FailingStorage(failures=1, error=error), retry=Retry(deadline=0, observer=told.append)).look(
                _nothing
            )
    assert told == []


async def _nothing(_: UnitOfWork) -> None:
    """Nothing to do."""

"""What has expired is removed, batch by batch."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.outcomes import InMemoryOutcomeRepository
from adapters.memory.storage import InMemoryStorage
from application.access import OPERATOR
from application.idempotency import Outcome
from application.retention import BATCH, RetentionService
from domain.keys import Scope
from tests.support.callers import CountingStorage
from tests.support.services import START, key_service

SECOND = timedelta(seconds=1)


async def a_key(storage: InMemoryStorage) -> UUID:
    return (await key_service(storage).create(OPERATOR, name="K", scopes=[Scope.USERS_WRITE])).key.id


async def store(storage: InMemoryStorage, key_id: UUID, ends: list[datetime]) -> None:
    outcome = Outcome(
        key_id=key_id,
        name=b"",
        fingerprint=b"f",
        answer=b"a",
        subject_id=None,
        created_at=START - SECOND,
        expires_at=START,
    )
    async with storage.transaction() as work:
        for number, end in enumerate(ends):
            await work.outcomes.add(replace(outcome, name=b"%d" % number, expires_at=end))


@pytest.mark.parametrize(("expired", "batches"), [(0, 1), (2, 1), (3, 2), (7, 3)])
async def test_all_that_has_expired_is_removed_in_batches(
    expired: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = CountingStorage()
    ends = [START - number * SECOND for number in range(expired)]
    await store(storage, await a_key(storage), [*ends, START + SECOND, START + 2 * SECOND])
    asked: list[tuple[datetime, int]] = []
    purge = InMemoryOutcomeRepository.purge

    async def noted(self: InMemoryOutcomeRepository, *, now: datetime, limit: int) -> int:
        asked.append((now, limit))
        return await purge(self, now=now, limit=limit)

    monkeypatch.setattr(InMemoryOutcomeRepository, "purge", noted)
    before = storage.begun
    service = RetentionService(storage=storage, now=lambda: START, batch=3)
    assert await service.purge() == expired
    assert storage.begun - before == len(asked) == batches
    assert set(asked) == {(START, 3)}
    assert {outcome.expires_at for outcome in storage._tables.outcomes.values()} == {
        START + SECOND,
        START + 2 * SECOND,
    }
    assert await service.purge() == 0


async def test_a_batch_that_was_removed_stays_removed_when_the_next_one_fails(
    storage: InMemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(storage, await a_key(storage), [START] * 4)
    purge, calls = InMemoryOutcomeRepository.purge, 0

    async def failing(self: InMemoryOutcomeRepository, *, now: datetime, limit: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError
        return await purge(self, now=now, limit=limit)

    monkeypatch.setattr(InMemoryOutcomeRepository, "purge", failing)
    with pytest.raises(RuntimeError):
        await RetentionService(storage=storage, now=lambda: START, batch=3).purge()
    assert len(storage._tables.outcomes) == 1


def test_a_batch_is_short(storage: InMemoryStorage) -> None:
    assert RetentionService(storage=storage, now=lambda: START).batch == BATCH == 500

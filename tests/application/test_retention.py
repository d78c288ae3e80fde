"""Tests for the purge of expired idempotency records."""

from datetime import datetime, timedelta
from itertools import count

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.retention import PURGE_BATCH_SIZE, RetentionService
from tests.support.factories import make_api_key, make_idempotency_record, store
from tests.support.principals import CountingStorage, HookedStorage
from tests.support.service_factories import START

SECOND = timedelta(seconds=1)


async def _store(storage: InMemoryStorage, expiries: list[datetime]) -> None:
    key = make_api_key()
    await store(storage, key)
    await store(storage, *[make_idempotency_record(key, ttl=at - START) for at in expiries])


@pytest.mark.parametrize(("expired", "batches"), [(0, 1), (2, 1), (3, 2), (7, 3)])
async def test_purge_deletes_all_expired_records_in_batches(expired: int, batches: int) -> None:
    storage = CountingStorage(clock=lambda: START)
    active = [START + SECOND, START + 2 * SECOND]
    await _store(storage, [*[START - number * SECOND for number in range(expired)], *active])
    before = storage.begun
    service = RetentionService(storage=storage, batch_size=3)
    assert await service.purge() == expired
    assert storage.begun - before == batches
    assert [record.expires_at for record in storage._tables.idempotency_records.values()] == active
    assert await service.purge() == 0


async def test_purge_keeps_earlier_batches_when_a_batch_fails(storage: InMemoryStorage) -> None:
    await _store(storage, [START] * 4)
    batches = count(1)

    async def fail_in_second_batch() -> None:
        if next(batches) == 2:
            raise RuntimeError

    failing = HookedStorage(storage, within=fail_in_second_batch, times=2)
    with pytest.raises(RuntimeError):
        await RetentionService(storage=failing, batch_size=3).purge()
    assert len(storage._tables.idempotency_records) == 1


def test_purge_batch_size_is_500(storage: InMemoryStorage) -> None:
    assert RetentionService(storage=storage).batch_size == PURGE_BATCH_SIZE == 500

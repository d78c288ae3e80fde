"""Tests for the purge of expired idempotency records."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from application.ports import Storage
from application.retention import RetentionRule, RetentionService
from domain.api_keys import ApiKey
from tests.contract.conftest import AtOnce, Elapse
from tests.support.factories import TTL, make_idempotency_record, replay_error, store
from tests.support.service_factories import LENIENT_RETRY

HOUR = timedelta(hours=1)


async def _purge(storage: Storage, limit: int) -> int:
    async with storage.transaction() as work:
        return await work.idempotency.purge(limit=limit)


@pytest.mark.parametrize("limit", [1, 3, 4, 5])
async def test_purge_deletes_the_oldest_expired_records(
    storage: Storage, key: ApiKey, elapse: Elapse, limit: int
) -> None:
    expired = [make_idempotency_record(key, ttl=HOUR * hours) for hours in (3, 1, 4, 2)]
    kept = make_idempotency_record(key, ttl=HOUR * 5)
    await store(storage, kept, *expired)
    elapse(HOUR * 4)
    assert await _purge(storage, limit) == min(limit, 4)
    elapse(-HOUR * 4)
    oldest_first = sorted(expired, key=lambda outcome: outcome.ttl)
    left = [outcome for outcome in oldest_first if await replay_error(storage, outcome) is not None]
    assert left == oldest_first[limit:]
    assert await replay_error(storage, kept) == kept


async def test_purge_counts_records_of_the_same_unit_of_work(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    outcomes = [make_idempotency_record(key, ttl=timedelta()) for _ in range(3)]
    async with storage.transaction() as work:
        for outcome in outcomes:
            await work.idempotency.add(outcome)
        assert await work.idempotency.purge(limit=2) == 2
        assert await work.idempotency.purge(limit=2) == 1
        assert await work.idempotency.purge(limit=2) == 0
    elapse(-HOUR)
    assert [await replay_error(storage, outcome) for outcome in outcomes] == [None] * 3


async def test_rolled_back_purge_deletes_no_record(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    outcome = make_idempotency_record(key)
    await store(storage, outcome)
    elapse(TTL)
    with pytest.raises(KeyError):
        async with storage.transaction() as work:
            assert await work.idempotency.purge(limit=9) == 1
            raise KeyError
    elapse(-TTL)
    assert await replay_error(storage, outcome) == outcome


async def test_concurrent_purges_skip_the_records_of_each_other(
    storage: Storage, key: ApiKey, at_once: AtOnce, elapse: Elapse
) -> None:
    outcomes = [make_idempotency_record(key, ttl=HOUR * hours) for hours in (1, 2, 3, 4, 5)]
    await store(storage, *outcomes)
    elapse(HOUR * 5)

    with pytest.raises(KeyError):
        async with storage.transaction() as first:
            assert await first.idempotency.purge(limit=2) == 2
            assert await at_once(_purge(storage, 2)) == 2
            assert await at_once(_purge(storage, 9)) == 1
            raise KeyError
    elapse(-HOUR * 5)
    assert [await replay_error(storage, outcome) for outcome in outcomes] == [*outcomes[:2], None, None, None]


async def test_purge_skips_a_record_that_is_being_replaced(
    storage: Storage, key: ApiKey, at_once: AtOnce, elapse: Elapse
) -> None:
    first, second = (make_idempotency_record(key) for _ in range(2))
    await store(storage, first, second)
    elapse(TTL)
    after = replace(first, response=b"after")

    async with storage.transaction() as work:
        await work.idempotency.add(after)
        await work.users.list(limit=1)
        assert await at_once(_purge(storage, 9)) == 1
    assert await _purge(storage, 9) == 0
    elapse(-TTL)
    assert (await replay_error(storage, after), await replay_error(storage, second)) == (after, None)


async def test_concurrent_batched_purges_delete_each_record_once(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    expired = [make_idempotency_record(key) for _ in range(60)]
    kept = [make_idempotency_record(key, ttl=TTL + HOUR) for _ in range(7)]
    await store(storage, *expired, *kept)
    elapse(TTL)
    services = [RetentionService(storage=storage, retry=LENIENT_RETRY, batch_size=7) for _ in range(5)]
    removed = await asyncio.gather(*[service.purge() for service in services])
    assert sum(rows[RetentionRule.IDEMPOTENCY_RECORDS] for rows in removed) == len(expired)
    elapse(-TTL)
    assert [await replay_error(storage, outcome) for outcome in kept] == kept
    assert [await replay_error(storage, outcome) for outcome in expired] == [None] * len(expired)


async def test_purge_lag_is_the_age_of_the_oldest_record(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    retention = RetentionService(storage=storage, retry=LENIENT_RETRY)
    assert await retention.purge_lag() == timedelta()
    await store(storage, *[make_idempotency_record(key, ttl=HOUR * hours) for hours in (5, 4, 6)])
    elapse(HOUR * 3)
    assert await retention.purge_lag() == timedelta()
    elapse(HOUR * 4)
    assert HOUR * 3 <= await retention.purge_lag() < HOUR * 4

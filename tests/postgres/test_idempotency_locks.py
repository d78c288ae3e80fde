"""Tests for the advisory locks of idempotent requests."""

import asyncio

import pytest

from adapters.clock import new_id
from adapters.postgres.repositories.idempotency import _lock_id
from application.idempotency import IdempotencyRecord
from application.ports import UnitOfWork
from tests.postgres.failures import CONNECTION_DISCARDED, EXPECTED, KNOWN, ONCE, Failure
from tests.support import factories
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_api_key, make_idempotency_record, replay_error
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

HELD = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""


def _held(store: DatabaseFixture) -> int:
    (number,) = store.admin.execute(HELD).fetchone() or (0,)
    return int(str(number))


@pytest.fixture
async def outcome(store: DatabaseFixture) -> IdempotencyRecord:
    key = make_api_key()
    await factories.store(store.storage, key, KNOWN)
    return make_idempotency_record(key)


async def _cancel(work: UnitOfWork) -> None:
    await asyncio.wait_for(fetch(work, "SELECT pg_sleep(600)"), 0.01)


FAILURES: dict[str, Failure] = EXPECTED | CONNECTION_DISCARDED | {"cancellation": (_cancel, TimeoutError)}


@pytest.mark.parametrize("name", ["duplicate e-mail", "division by zero", "ended backend", "cancellation"])
async def test_idempotency_lock_is_released_after_failure(
    store: DatabaseFixture, outcome: IdempotencyRecord, name: str
) -> None:
    body, error = FAILURES[name]

    async def add_and_fail(work: UnitOfWork) -> None:
        await work.idempotency.add(outcome)
        await backend(work)
        assert _held(store) == 1
        await body(work)

    with pytest.raises(error):
        await UseCaseRunner(store.storage, retry=ONCE).change(add_and_fail)
    await wait_until(lambda: _held(store) == 0)
    assert await replay_error(store.storage, outcome) is None


async def test_idempotency_lock_differs_from_bigint_lock(store: DatabaseFixture, outcome: IdempotencyRecord) -> None:
    lock = _lock_id(outcome)
    number = lock["lock_high"] << 32 | lock["lock_low"] & 0xFFFF_FFFF
    store.admin.execute("SELECT pg_advisory_lock(%s)", [number])
    try:
        await factories.store(store.storage, outcome)
    finally:
        store.admin.execute("SELECT pg_advisory_unlock(%s)", [number])
    assert await replay_error(store.storage, outcome) == outcome
    assert _held(store) == 0


def test_idempotency_lock_is_unique_per_request() -> None:
    key_ids = [new_id() for _ in range(100)]
    hashes = [number.to_bytes() * 32 for number in range(100)]
    locks = {
        tuple(_lock_id(make_idempotency_record(key_id, key_hash=key_hash)).values())
        for key_id in key_ids
        for key_hash in hashes
    }
    assert len(locks) == 100 * 100
    assert all(-(2**31) <= number < 2**31 for lock in locks for number in lock)

"""Tests for the advisory locks of idempotent requests."""

import asyncio
from dataclasses import replace

import pytest

from adapters.clock import new_id
from adapters.postgres.repositories.idempotency import _lock_id
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord
from application.ports import StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import EmailAlreadyRegisteredError
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import (
    make_api_key,
    make_idempotency_record,
    make_user,
    replay_error,
    store_api_keys,
    store_idempotency_records,
    store_users,
)
from tests.support.polling import wait_until
from tests.support.use_case_runner import Body, UseCaseRunner, backend, fetch

HELD = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""
KNOWN = make_user()


def _held(store: DatabaseFixture) -> int:
    (number,) = store.admin.execute(HELD).fetchone() or (0,)
    return int(str(number))


@pytest.fixture
async def outcome(store: DatabaseFixture) -> IdempotencyRecord:
    key = make_api_key()
    await store_api_keys(store.storage, key)
    await store_users(store.storage, KNOWN)
    return make_idempotency_record(key)


async def _add_duplicate_email(work: UnitOfWork) -> None:
    await work.users.add(make_user(email=KNOWN.email))


async def _divide_by_zero(work: UnitOfWork) -> None:
    await fetch(work, "SELECT 1 / 0")


async def _terminate_backend(work: UnitOfWork) -> None:
    await fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())")


async def _cancel(work: UnitOfWork) -> None:
    await asyncio.wait_for(fetch(work, "SELECT pg_sleep(600)"), 0.01)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (_add_duplicate_email, EmailAlreadyRegisteredError),
        (_divide_by_zero, Exception),
        (_terminate_backend, StorageUnavailableError),
        (_cancel, TimeoutError),
    ],
)
async def test_idempotency_lock_is_released_after_failure(
    store: DatabaseFixture, outcome: IdempotencyRecord, body: Body[None], error: type[Exception]
) -> None:
    async def add_and_fail(work: UnitOfWork) -> None:
        await work.idempotency.add(outcome)
        await backend(work)
        assert _held(store) == 1
        await body(work)

    with pytest.raises(error):
        await UseCaseRunner(store.storage, retry=RetryPolicy(max_elapsed=0)).change(add_and_fail)
    await wait_until(lambda: _held(store) == 0)
    assert await replay_error(store.storage, outcome) is None


async def test_idempotency_lock_is_released_after_commit_and_rejection(
    store: DatabaseFixture, outcome: IdempotencyRecord
) -> None:
    await store_idempotency_records(store.storage, outcome)
    assert _held(store) == 0
    assert await store_idempotency_records(store.storage, replace(outcome, response=b"again")) == outcome
    with pytest.raises(UnauthenticatedError):
        await store_idempotency_records(store.storage, make_idempotency_record(new_id()))
    second = make_idempotency_record(outcome.api_key_id)
    async with store.storage.transaction() as work:
        await work.idempotency.add(second)
        await backend(work)
        assert _held(store) == 1
        with pytest.raises(IdempotencyInFlightError):
            await store_idempotency_records(store.storage, second)
    assert _held(store) == 0


async def test_idempotency_lock_differs_from_bigint_lock(store: DatabaseFixture, outcome: IdempotencyRecord) -> None:
    lock = _lock_id(outcome)
    number = lock["lock_high"] << 32 | lock["lock_low"] & 0xFFFF_FFFF
    store.admin.execute("SELECT pg_advisory_lock(%s)", [number])
    try:
        await store_idempotency_records(store.storage, outcome)
    finally:
        store.admin.execute("SELECT pg_advisory_unlock(%s)", [number])
    assert await replay_error(store.storage, outcome) == outcome


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

"""Tests for the storage in memory."""

from adapters.memory.tables import Tables
from adapters.memory.unit_of_work import InMemoryStorage
from tests.support.factories import (
    CREATED,
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    next_version,
    replay_error,
    store,
)


async def test_memory_storage_keeps_only_audit_of_deleted_user() -> None:
    storage = InMemoryStorage()
    user = make_user()
    await store(storage, user)
    await store(storage, make_post(user))
    key = make_api_key(user)
    await store(storage, key)
    await store(storage, make_idempotency_record(key, subject_id=user.id))
    changed = next_version(user, email="new@example.org")
    async with storage.transaction() as work:
        await work.users.update(changed)
        await work.users.delete(changed)
    kept = Tables(
        audit_entries=storage._tables.audit_entries,
        erasure_receipts={user.id: storage._tables.erasure_receipts[user.id]},
    )
    assert storage._tables == kept


async def test_memory_storage_releases_locks_of_ended_units_of_work() -> None:
    now = CREATED
    storage = InMemoryStorage(clock=lambda: now)
    key = make_api_key()
    await store(storage, key)
    outcome = make_idempotency_record(key)
    await store(storage, outcome)
    assert await replay_error(storage, outcome) == outcome
    now += outcome.ttl
    async with storage.transaction() as work:
        assert await work.idempotency.purge(limit=1) == 1
        assert len(storage._locks) == 1
    assert storage._locks == {}

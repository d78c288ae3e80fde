"""Tests for the repository of API keys."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import Storage, UnitOfWork
from domain.keys import ApiKey, ApiKeyNotFoundError, KeyUserNotFoundError
from tests.support.examples import (
    EXPIRES,
    REVOKED,
    USED,
    a_key,
    a_user,
    store_keys,
    store_users,
    stored_keys,
    stored_users,
)
from tests.support.probes import Probe

SECOND = timedelta(seconds=1)

Change = Callable[[UnitOfWork, UUID], Awaitable[None]]
KNOWN_CHANGES: list[Change] = [
    lambda work, key_id: work.keys.revoke(key_id, now=REVOKED),
    lambda work, key_id: work.keys.end(key_id, at=EXPIRES),
]


async def _after(storage: Storage, key: ApiKey, *changes: Change) -> ApiKey:
    """Store the key, make each change in a separate unit of work, and return the stored key."""
    bystander = a_key()
    await store_keys(storage, key, bystander)
    for change in changes:
        async with storage.transaction() as work:
            await change(work, key.id)
    assert bystander in await stored_keys(storage)
    async with storage.readonly() as work:
        return await work.keys.get(key.id)


async def test_key_add_raises_for_unknown_user(storage: Storage) -> None:
    owner = a_user()
    await store_users(storage, owner)
    with pytest.raises(KeyUserNotFoundError):
        await store_keys(storage, a_key(a_user()))
    with pytest.raises(KeyUserNotFoundError):
        await store_keys(storage, a_key(owner), a_key(a_user()))
    assert await stored_keys(storage) == []


async def test_key_add_accepts_a_user_of_the_same_unit_of_work(storage: Storage) -> None:
    user = a_user()
    key = a_key(user)
    async with storage.transaction() as work:
        await work.users.add(user)
        await work.keys.add(key)
        assert await work.keys.get(key.id) == key
    assert await stored_keys(storage) == [key]


async def test_revoke_stores_the_time(storage: Storage) -> None:
    key = a_key()
    assert await _after(storage, key, lambda work, id_: work.keys.revoke(id_, now=REVOKED)) == key.revoked(REVOKED)


@pytest.mark.parametrize("later", [-SECOND, SECOND])
async def test_revoke_keeps_an_earlier_revocation(storage: Storage, later: timedelta) -> None:
    key = a_key(revoked_at=REVOKED)
    assert await _after(storage, key, lambda work, id_: work.keys.revoke(id_, now=REVOKED + later)) == key


@pytest.mark.parametrize("later", [-SECOND, timedelta(0), SECOND])
@pytest.mark.parametrize("expires_at", [EXPIRES, None])
async def test_set_expiry_stores_the_earlier_time(storage: Storage, expires_at: object, later: timedelta) -> None:
    key = a_key(expires_at=expires_at)
    ended = await _after(storage, key, lambda work, id_: work.keys.end(id_, at=EXPIRES + later))
    assert ended == key.ending(EXPIRES + later)
    assert ended.expires_at == (EXPIRES + later if expires_at is None else min(EXPIRES, EXPIRES + later))


@pytest.mark.parametrize("later", [-SECOND, timedelta(0), SECOND])
@pytest.mark.parametrize("last_used_at", [USED, None])
async def test_record_use_stores_the_later_time(storage: Storage, last_used_at: object, later: timedelta) -> None:
    key = a_key(last_used_at=last_used_at)
    used = await _after(storage, key, lambda work, id_: work.keys.note_use(id_, now=USED + later))
    assert used == key.used(USED + later)
    assert used.last_used_at == (USED + later if last_used_at is None else max(USED, USED + later))


async def test_key_changes_keep_other_fields(storage: Storage) -> None:
    key = a_key(expires_at=None, last_used_at=None)
    changed = await _after(storage, key, *reversed(KNOWN_CHANGES), lambda work, id_: work.keys.note_use(id_, now=USED))
    assert changed == replace(key, revoked_at=REVOKED, expires_at=EXPIRES, last_used_at=USED)


async def test_set_expiry_raises_not_found_for_revoked_key(storage: Storage) -> None:
    key = a_key(revoked_at=REVOKED)
    await store_keys(storage, key)
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await work.keys.end(key.id, at=EXPIRES)
            await work.keys.add(a_key())
    assert await stored_keys(storage) == [key]


@pytest.mark.parametrize("change", KNOWN_CHANGES, ids=["revoke", "end"])
async def test_key_change_raises_not_found_and_rolls_back(storage: Storage, change: Change) -> None:
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await change(work, new_id())
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await work.users.add(a_user())
            await change(work, new_id())
    assert await stored_users(storage) == []


async def test_record_use_of_unknown_key_succeeds(storage: Storage) -> None:
    async with storage.transaction() as work:
        await work.keys.note_use(new_id(), now=USED)
    assert await stored_keys(storage) == []


async def test_concurrent_key_changes_store_the_extreme_times(storage: Storage) -> None:
    key = a_key()
    await store_keys(storage, key)
    times = [SECOND * number for number in range(-9, 10)]

    async def change(time: timedelta) -> None:
        await Probe(storage).change(lambda work: work.keys.note_use(key.id, now=USED + time))
        await Probe(storage).change(lambda work: work.keys.end(key.id, at=EXPIRES + time))

    await asyncio.gather(*[change(time) for time in times])
    assert await stored_keys(storage) == [replace(key, last_used_at=USED + times[-1], expires_at=EXPIRES + times[0])]


async def test_concurrent_revocations_store_one_time(storage: Storage) -> None:
    key = a_key()
    await store_keys(storage, key)
    seen: set[object] = set()

    async def revoke(number: int) -> None:
        await Probe(storage).change(lambda work: work.keys.revoke(key.id, now=REVOKED + SECOND * number))
        async with storage.readonly() as work:
            seen.add((await work.keys.get(key.id)).revoked_at)

    await asyncio.gather(*[revoke(number) for number in range(20)])
    assert len(seen) == 1

"""Tests for the repository of API keys."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import new_id, utc_now
from application.ports import Storage, UnitOfWork
from domain.api_keys import ApiKey, ApiKeyNotFoundError, ApiKeyUserNotFoundError
from tests.support.factories import (
    EXPIRES,
    REVOKED,
    USED,
    make_api_key,
    make_user,
    store,
    stored_api_keys,
    stored_users,
)
from tests.support.use_case_runner import UseCaseRunner

SECOND = timedelta(seconds=1)

Change = Callable[[UnitOfWork, UUID, datetime], Awaitable[None]]
Rule = Callable[[ApiKey, datetime], ApiKey]
CHANGES: dict[str, tuple[Change, Rule, str, datetime]] = {
    "revoke": (lambda work, id_, at: work.api_keys.revoke(id_, now=at), ApiKey.revoke, "revoked_at", REVOKED),
    "set expiry": (lambda work, id_, at: work.api_keys.set_expiry(id_, at=at), ApiKey.expire_at, "expires_at", EXPIRES),
    "record use": (
        lambda work, id_, at: work.api_keys.record_use(id_, now=at),
        ApiKey.record_use,
        "last_used_at",
        USED,
    ),
}


async def _change(storage: Storage, key: ApiKey, verb: str, at: datetime) -> None:
    await UseCaseRunner(storage).change(lambda work: CHANGES[verb][0](work, key.id, at))


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("is_set", [False, True])
@pytest.mark.parametrize("later", [-SECOND, timedelta(0), SECOND])
async def test_key_change_follows_the_domain_rule(storage: Storage, verb: str, is_set: bool, later: timedelta) -> None:
    _, rule, field, time = CHANGES[verb]
    fields: dict[str, Any] = {field: time if is_set else None}
    key, bystander = make_api_key(**fields), make_api_key()
    await store(storage, key, bystander)
    await _change(storage, key, verb, time + later)
    assert await stored_api_keys(storage) == [bystander, rule(key, time + later)]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"family_id": new_id()}, id="successor"),
        pytest.param({"family_id": None, "family_secret": None}, id="without a family"),
    ],
)
async def test_key_keeps_its_family(storage: Storage, fields: dict[str, Any]) -> None:
    key = make_api_key(**fields)
    await store(storage, key)
    assert await stored_api_keys(storage) == [key]


async def test_key_is_returned_with_the_time_of_the_storage(storage: Storage, key: ApiKey) -> None:
    before = utc_now()
    async with storage.readonly() as work:
        found, now = await work.api_keys.get_with_time(key.id)
        assert timedelta() <= await work.api_keys.now() - now < timedelta(hours=1)
        with pytest.raises(ApiKeyNotFoundError):
            await work.api_keys.get_with_time(new_id())
    assert found == key
    assert abs(now - before) < timedelta(hours=1)  # the server can have a different clock


async def test_key_add_raises_for_unknown_user(storage: Storage) -> None:
    owner = make_user()
    await store(storage, owner)
    with pytest.raises(ApiKeyUserNotFoundError):
        await store(storage, make_api_key(make_user()))
    with pytest.raises(ApiKeyUserNotFoundError):
        await store(storage, make_api_key(owner), make_api_key(make_user()))
    assert await stored_api_keys(storage) == []


@pytest.mark.parametrize("effects", [0, 1])
@pytest.mark.parametrize(("verb", "is_revoked"), [("revoke", False), ("set expiry", False), ("set expiry", True)])
async def test_key_change_raises_not_found_and_rolls_back(
    storage: Storage, verb: str, is_revoked: bool, effects: int
) -> None:
    revoked = make_api_key(revoked_at=REVOKED)
    await store(storage, revoked)
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            for _ in range(effects):
                await work.users.add(make_user())
            await CHANGES[verb][0](work, revoked.id if is_revoked else new_id(), EXPIRES)
    assert (await stored_users(storage), await stored_api_keys(storage)) == ([], [revoked])


async def test_record_use_of_unknown_key_succeeds(storage: Storage) -> None:
    await _change(storage, make_api_key(), "record use", USED)
    assert await stored_api_keys(storage) == []


async def test_concurrent_key_changes_store_the_extreme_times(storage: Storage, key: ApiKey) -> None:
    times = [SECOND * number for number in range(-9, 10)]

    async def change(time: timedelta) -> None:
        await _change(storage, key, "record use", USED + time)
        await _change(storage, key, "set expiry", EXPIRES + time)

    await asyncio.gather(*[change(time) for time in times])
    assert await stored_api_keys(storage) == [
        replace(key, last_used_at=USED + times[-1], expires_at=EXPIRES + times[0])
    ]


async def test_concurrent_revocations_store_a_single_time(storage: Storage, key: ApiKey) -> None:
    seen: set[object] = set()

    async def revoke(number: int) -> None:
        await _change(storage, key, "revoke", REVOKED + SECOND * number)
        seen.update(stored.revoked_at for stored in await stored_api_keys(storage))

    await asyncio.gather(*[revoke(number) for number in range(20)])
    assert len(seen) == 1

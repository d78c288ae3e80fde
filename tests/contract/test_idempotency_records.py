"""Tests for the repository of idempotency records. See also test_purges.py."""

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.clock import new_id
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyKeyReusedError, IdempotencyRecord
from application.ports import Storage, StorageUnavailableError
from domain.api_keys import ApiKey
from domain.users import EmailAlreadyRegisteredError
from tests.contract.conftest import AtOnce, Elapse
from tests.support.factories import (
    TTL,
    a_request,
    make_api_key,
    make_idempotency_record,
    make_user,
    replay_error,
    store,
    stored_users,
)
from tests.support.principals import HookedStorage, raising
from tests.support.service_factories import user_service

HOUR = timedelta(hours=1)
CALLERS = 20


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="without a subject"),
        pytest.param({"subject_id": new_id()}, id="with a subject"),
        pytest.param({"response": bytes(range(256)) * 256}, id="longest response"),
        pytest.param({"key_hash": b"\xff" * 32, "fingerprint": b"\0" * 32}, id="highest name"),
    ],
)
async def test_repeated_request_gets_the_stored_record(storage: Storage, key: ApiKey, fields: dict[str, Any]) -> None:
    outcome = make_idempotency_record(key, **fields)
    await store(storage, outcome, make_idempotency_record(key))
    stored = await replay_error(storage, outcome)
    assert stored == outcome
    assert isinstance(stored, IdempotencyRecord)
    assert {type(stored.key_hash), type(stored.fingerprint), type(stored.response)} == {bytes}


@pytest.mark.parametrize("effects", [0, 1])
async def test_record_add_succeeds_when_the_attempt_is_retried(storage: Storage, key: ApiKey, effects: int) -> None:
    outcome, users = make_idempotency_record(key), [make_user()] * effects
    for _ in range(3):
        await store(storage, outcome, *users)
    assert await replay_error(storage, outcome) == outcome
    assert await stored_users(storage) == users


@pytest.mark.parametrize("effects", [0, 1])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"response": b"other"}, None),
        ({"ttl": TTL + HOUR}, None),
        ({"fingerprint": b"\1" * 32}, IdempotencyKeyReusedError),
    ],
)
async def test_record_add_returns_the_earlier_record_of_the_same_request(
    storage: Storage, key: ApiKey, fields: dict[str, Any], error: type[Exception] | None, effects: int
) -> None:
    outcome = make_idempotency_record(key)
    await store(storage, outcome)
    with nullcontext() if error is None else pytest.raises(error):
        assert await store(storage, replace(outcome, **fields), *[make_user()] * effects) == outcome
    assert (await replay_error(storage, outcome), await stored_users(storage)) == (outcome, [])


async def test_record_add_replaces_an_expired_record(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    before = make_idempotency_record(key, subject_id=new_id())
    after = replace(before, fingerprint=b"\1" * 32, response=b"after", ttl=TTL + HOUR)
    await store(storage, before)
    elapse(TTL)
    await store(storage, after)
    elapse(TTL)
    assert await replay_error(storage, after) == after


async def test_record_replays_until_its_expiry(storage: Storage, key: ApiKey, elapse: Elapse) -> None:
    outcome = make_idempotency_record(key)
    await store(storage, outcome)
    elapse(TTL - HOUR)
    assert await replay_error(storage, outcome) == outcome
    elapse(HOUR)
    assert await replay_error(storage, outcome) is None


async def test_record_expires_at_the_end_of_its_ttl(storage: Storage, key: ApiKey) -> None:
    outcome = make_idempotency_record(key, ttl=timedelta())
    async with storage.transaction() as work:  # in PostgreSQL, the time does not change in a transaction
        for _ in range(2):
            assert await work.idempotency.add(replace(outcome, response=b"x")) is None


@pytest.mark.parametrize("is_replacement", [False, True])
async def test_rolled_back_request_changes_no_record(
    storage: Storage, key: ApiKey, is_replacement: bool, elapse: Elapse
) -> None:
    expired, user = make_idempotency_record(key), make_user()
    await store(storage, user, *[expired] * is_replacement)
    elapse(TTL)
    with pytest.raises(EmailAlreadyRegisteredError):
        await store(storage, replace(expired, response=b"x"), make_user(email=user.email))
    elapse(-TTL)
    assert await replay_error(storage, expired) == (expired if is_replacement else None)
    assert await stored_users(storage) == [user]


async def test_create_user_executes_once_when_its_commit_is_lost(storage: Storage, key: ApiKey) -> None:
    lossy = HookedStorage(storage, after=raising(StorageUnavailableError))
    user, is_replay = await user_service(lossy).create_once(SYSTEM_PRINCIPAL, a_request(key), email="ada@example.org")
    assert not is_replay
    assert (lossy.times, await stored_users(storage)) == (-1, [user])


@pytest.mark.parametrize("effects", [0, 1])
async def test_record_add_raises_unauthenticated_for_unknown_key(storage: Storage, effects: int) -> None:
    with pytest.raises(UnauthenticatedError):
        await store(storage, make_idempotency_record(new_id()), *[make_user()] * effects)
    assert await stored_users(storage) == []


@pytest.mark.parametrize("expired", [False, True], ids=["new", "replaces an expired record"])
@pytest.mark.parametrize("effects", [0, 1])
@pytest.mark.parametrize("same", [False, True], ids=["other fingerprint", "same record"])
async def test_second_record_raises_in_flight_without_waiting(
    storage: Storage, key: ApiKey, at_once: AtOnce, *, same: bool, effects: int, expired: bool
) -> None:
    outcome, user = make_idempotency_record(key), make_user()
    if expired:
        await store(storage, replace(outcome, ttl=timedelta()))
    second = outcome if same else replace(outcome, fingerprint=b"\1" * 32)
    async with storage.transaction() as work:
        await work.idempotency.add(outcome)
        await work.users.add(user)
        await work.users.get(user.id)  # a read sends the writes before it
        with pytest.raises(IdempotencyInFlightError):
            await at_once(store(storage, second, *[make_user()] * effects))
    assert (await replay_error(storage, outcome), await stored_users(storage)) == (outcome, [user])


async def test_record_of_another_key_or_name_is_not_in_flight(storage: Storage, key: ApiKey, at_once: AtOnce) -> None:
    other_key = make_api_key()
    await store(storage, other_key)
    outcome = make_idempotency_record(key)
    others = [replace(outcome, api_key_id=other_key.id), replace(outcome, key_hash=b"n" * 32)]
    async with storage.transaction() as work:
        await work.idempotency.add(outcome)
        await work.users.list(limit=1)
        for other in others:
            await at_once(store(storage, other))
    assert [await replay_error(storage, each) for each in (outcome, *others)] == [outcome, *others]


@pytest.mark.parametrize("end", [None, KeyError, asyncio.CancelledError])
async def test_record_is_not_in_flight_after_its_unit_of_work_ends(
    storage: Storage, key: ApiKey, end: type[BaseException] | None
) -> None:
    outcome = make_idempotency_record(key)
    repetition = replace(outcome, response=b"again")
    with suppress(KeyError, asyncio.CancelledError):
        async with storage.transaction() as work:
            await work.idempotency.add(outcome)
            await work.users.list(limit=1)
            if end is not None:
                raise end
    assert await replay_error(storage, repetition) == (outcome if end is None else None)


async def test_record_is_not_in_flight_after_task_cancellation(storage: Storage, key: ApiKey, at_once: AtOnce) -> None:
    outcome = make_idempotency_record(key)
    is_added = asyncio.Event()

    async def add_and_wait() -> None:
        async with storage.transaction() as work:
            await work.idempotency.add(outcome)
            await work.users.list(limit=1)
            is_added.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(add_and_wait())
        await is_added.wait()
        with pytest.raises(IdempotencyInFlightError):
            await at_once(replay_error(storage, outcome))
        task.cancel()
    assert await replay_error(storage, outcome) is None


async def test_swallowed_in_flight_error_still_rolls_back(storage: Storage, key: ApiKey, at_once: AtOnce) -> None:
    outcome = make_idempotency_record(key)
    with pytest.raises(IdempotencyInFlightError):
        async with storage.transaction() as work:
            with pytest.raises(KeyError):
                async with storage.transaction() as first:
                    await first.idempotency.add(outcome)
                    await first.users.list(limit=1)
                    await work.idempotency.add(outcome)
                    with pytest.raises(IdempotencyInFlightError):
                        await at_once(work.users.list(limit=1))
                    raise KeyError
            await work.users.add(make_user())
    assert (await replay_error(storage, outcome), await stored_users(storage)) == (None, [])


@pytest.mark.parametrize("is_replacement", [False, True])
async def test_concurrent_duplicates_execute_once(
    storage: Storage, key: ApiKey, is_replacement: bool, elapse: Elapse
) -> None:
    expired = make_idempotency_record(key)
    await store(storage, *[expired] * is_replacement)
    elapse(TTL)
    people = [make_user(email="ada@example.org") for _ in range(CALLERS)]
    tries = [replace(expired, response=user.id.bytes, subject_id=user.id) for user in people]
    calls = [store(storage, each, user) for each, user in zip(tries, people, strict=True)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = await stored_users(storage)
    stored = tries[people.index(winner)]
    assert results.pop(people.index(winner)) is None
    assert await replay_error(storage, expired) == stored
    assert all(result == stored or isinstance(result, IdempotencyInFlightError) for result in results)


async def test_concurrent_retries_of_an_attempt_execute_once(storage: Storage, key: ApiKey) -> None:
    for _ in range(10):
        outcome, user = make_idempotency_record(key), make_user()
        calls = [store(storage, outcome, user) for _ in range(CALLERS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), IdempotencyInFlightError}
        assert None in results
        assert await replay_error(storage, outcome) == outcome
        assert user in await stored_users(storage)

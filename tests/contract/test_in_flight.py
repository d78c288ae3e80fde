"""Tests for idempotency records in concurrent units of work."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from application.idempotency import IdempotencyInFlightError
from application.ports import Storage
from domain.api_keys import ApiKey
from tests.contract.conftest import AtOnce
from tests.support.factories import (
    EXPIRES,
    make_api_key,
    make_idempotency_record,
    make_user,
    replay_error,
    store,
    stored_users,
)

CALLERS = 20


@pytest.mark.parametrize("expired", [False, True], ids=["new", "replaces an expired record"])
@pytest.mark.parametrize("effects", [0, 1])
@pytest.mark.parametrize("same", [False, True], ids=["other fingerprint", "same record"])
async def test_second_record_raises_in_flight_without_waiting(
    storage: Storage, key: ApiKey, at_once: AtOnce, *, same: bool, effects: int, expired: bool
) -> None:
    outcome, user = make_idempotency_record(key), make_user()
    if expired:
        await store(storage, replace(outcome, expires_at=outcome.created_at))
    second = outcome if same else replace(outcome, fingerprint=b"\1" * 32)
    async with storage.transaction() as work:
        await work.idempotency.add(outcome)
        await work.users.add(user)
        await work.users.get(user.id)  # a read sends the writes before it
        with pytest.raises(IdempotencyInFlightError):
            await at_once(store(storage, second, *[make_user()] * effects))
    assert (await replay_error(storage, outcome), await stored_users(storage)) == (outcome, [user])


async def test_records_of_other_keys_and_names_are_not_in_flight(
    storage: Storage, key: ApiKey, at_once: AtOnce
) -> None:
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
    try:
        async with storage.transaction() as work:
            await work.idempotency.add(outcome)
            await work.users.list(limit=1)
            if end is not None:
                raise end
    except (KeyError, asyncio.CancelledError):
        pass
    assert await replay_error(storage, repetition) == (outcome if end is None else None)


async def test_record_is_not_in_flight_after_its_task_is_cancelled(
    storage: Storage, key: ApiKey, at_once: AtOnce
) -> None:
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
async def test_concurrent_duplicates_execute_once(storage: Storage, key: ApiKey, is_replacement: bool) -> None:
    expired = make_idempotency_record(key)
    await store(storage, *[expired] * is_replacement)
    people = [make_user(email="ada@example.org") for _ in range(CALLERS)]
    later = replace(expired, created_at=EXPIRES, expires_at=EXPIRES + timedelta(days=1))
    tries = [replace(later, response=user.id.bytes, subject_id=user.id) for user in people]
    calls = [store(storage, each, user) for each, user in zip(tries, people, strict=True)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = await stored_users(storage)
    stored = tries[people.index(winner)]
    assert results.pop(people.index(winner)) is None
    assert await replay_error(storage, later) == stored
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

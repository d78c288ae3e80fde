"""Tests for the repository of idempotency records. See also test_in_flight.py and test_purges.py."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.clock import new_id
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.idempotency import IdempotencyKeyReusedError, IdempotencyRecord
from application.ports import Storage, StorageUnavailableError
from domain.api_keys import ApiKey
from domain.users import EmailAlreadyRegisteredError
from tests.support.factories import (
    CREATED,
    EXPIRES,
    a_request,
    make_idempotency_record,
    make_user,
    replay_error,
    store,
    stored_users,
)
from tests.support.principals import HookedStorage, raising
from tests.support.service_factories import user_service

INSTANT = timedelta(microseconds=1)


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
        ({"created_at": CREATED + INSTANT}, None),
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


async def test_record_add_replaces_an_expired_record(storage: Storage, key: ApiKey) -> None:
    before = make_idempotency_record(key, subject_id=new_id())
    expires_at = EXPIRES + timedelta(days=1)
    after = replace(before, fingerprint=b"\1" * 32, response=b"after", created_at=EXPIRES, expires_at=expires_at)
    await store(storage, before)
    await store(storage, after)
    assert await replay_error(storage, after) == after


async def test_record_replays_until_its_expiry(storage: Storage, key: ApiKey) -> None:
    outcome = make_idempotency_record(key)
    await store(storage, outcome)
    assert await replay_error(storage, replace(outcome, created_at=EXPIRES - INSTANT)) == outcome
    assert await replay_error(storage, replace(outcome, created_at=EXPIRES)) is None


@pytest.mark.parametrize("is_replacement", [False, True])
async def test_rolled_back_request_leaves_records_as_they_were(
    storage: Storage, key: ApiKey, is_replacement: bool
) -> None:
    expired, user = make_idempotency_record(key), make_user()
    await store(storage, user, *[expired] * is_replacement)
    with pytest.raises(EmailAlreadyRegisteredError):
        await store(storage, replace(expired, response=b"x", created_at=EXPIRES), make_user(email=user.email))
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

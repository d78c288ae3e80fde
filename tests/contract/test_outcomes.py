"""Tests for the repository of idempotency records. See also test_in_flight.py and test_purges.py."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.system import new_id
from application.access import OPERATOR, UnauthenticatedError
from application.idempotency import IdempotencyKeyReusedError, Once, Outcome, RepeatedError
from application.ports import Storage, StorageUnavailableError
from domain.keys import ApiKey
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.callers import HookedStorage, raising
from tests.support.examples import (
    CREATED,
    EXPIRES,
    a_key,
    a_user,
    an_outcome,
    store_keys,
    store_outcomes,
    store_users,
    stored_users,
    told,
)
from tests.support.services import user_service

INSTANT = timedelta(microseconds=1)


def once(key: ApiKey, *, name: int = 1, fingerprint: int = 1, lasts: timedelta = timedelta(days=1)) -> Once[User]:
    return Once(
        key_id=key.id,
        name=bytes([name]) * 32,
        fingerprint=bytes([fingerprint]) * 32,
        lasts=lasts,
        answer=lambda user: user.email.encode(),
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="without a subject"),
        pytest.param({"subject_id": new_id()}, id="with a subject"),
        pytest.param({"answer": bytes(range(256)) * 256}, id="longest response"),
        pytest.param({"name": b"\xff" * 32, "fingerprint": b"\0" * 32}, id="highest name"),
    ],
)
async def test_repeated_request_gets_the_stored_record(
    storage: Storage, key: ApiKey, fields: dict[str, object]
) -> None:
    outcome = an_outcome(key, **fields)
    await store_outcomes(storage, outcome, an_outcome(key))
    stored = await told(storage, outcome)
    assert stored == outcome
    assert isinstance(stored, Outcome)
    assert {type(stored.name), type(stored.fingerprint), type(stored.answer)} == {bytes}


@pytest.mark.parametrize("effect", [False, True], ids=["alone", "with an effect"])
async def test_record_add_succeeds_when_the_attempt_is_retried(storage: Storage, key: ApiKey, effect: bool) -> None:
    outcome, user = an_outcome(key), a_user()
    for _ in range(3):
        async with storage.transaction() as work:
            await work.outcomes.add(outcome)
            if effect:
                await work.users.add(user)
    assert await told(storage, outcome) == outcome
    assert await stored_users(storage) == [user] * effect


@pytest.mark.parametrize("effect", [False, True], ids=["alone", "with an effect"])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"answer": b"other"}, RepeatedError),
        ({"created_at": CREATED + INSTANT}, RepeatedError),
        ({"fingerprint": b"\1" * 32}, IdempotencyKeyReusedError),
    ],
)
async def test_repeated_request_raises_and_rolls_back(
    storage: Storage, key: ApiKey, fields: dict[str, object], error: type[Exception], effect: bool
) -> None:
    outcome = an_outcome(key)
    await store_outcomes(storage, outcome)
    with pytest.raises(error):
        async with storage.transaction() as work:
            await work.outcomes.add(replace(outcome, **fields))  # type: ignore[arg-type]
            if effect:
                await work.users.add(a_user())
    assert (await told(storage, outcome), await stored_users(storage)) == (outcome, [])


async def test_record_is_identified_by_api_key_and_name(storage: Storage, key: ApiKey) -> None:
    other_key = a_key()
    await store_keys(storage, other_key)
    outcome = an_outcome(key)
    others = [replace(outcome, key_id=other_key.id), replace(outcome, name=b"n" * 32)]
    await store_outcomes(storage, outcome, *[replace(other, fingerprint=b"f" * 32) for other in others])
    assert await told(storage, outcome) == outcome


async def test_record_add_replaces_an_expired_record(storage: Storage, key: ApiKey) -> None:
    before = an_outcome(key, subject_id=new_id())
    after = replace(
        before,
        fingerprint=b"\1" * 32,
        answer=b"after",
        subject_id=new_id(),
        created_at=EXPIRES,
        expires_at=EXPIRES + timedelta(days=1),
    )
    await store_outcomes(storage, before)
    await store_outcomes(storage, after)
    assert await told(storage, after) == after


async def test_record_replays_until_its_expiry(storage: Storage, key: ApiKey) -> None:
    outcome = an_outcome(key)
    await store_outcomes(storage, outcome)
    assert await told(storage, replace(outcome, created_at=EXPIRES - INSTANT)) == outcome
    assert await told(storage, replace(outcome, created_at=EXPIRES)) is None


async def test_rolled_back_request_leaves_no_record(storage: Storage, key: ApiKey) -> None:
    outcome, user = an_outcome(key), a_user()
    await store_users(storage, user)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with storage.transaction() as work:
            await work.outcomes.add(outcome)
            await work.users.add(a_user(email=user.email))
    assert (await told(storage, outcome), await stored_users(storage)) == (None, [user])


async def test_rolled_back_replacement_keeps_the_expired_record(storage: Storage, key: ApiKey) -> None:
    before, user = an_outcome(key), a_user()
    await store_outcomes(storage, before)
    await store_users(storage, user)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with storage.transaction() as work:
            await work.outcomes.add(replace(before, answer=b"x", created_at=EXPIRES))
            await work.users.add(a_user(email=user.email))
    assert await told(storage, before) == before


async def test_create_user_executes_once_when_its_commit_is_lost(storage: Storage, key: ApiKey) -> None:
    lossy = HookedStorage(storage, after=raising(StorageUnavailableError))
    user = await user_service(lossy).register(OPERATOR, email="ada@example.org", once=once(key))
    assert (lossy.times, await stored_users(storage)) == (-1, [user])


async def test_record_add_raises_unauthenticated_for_unknown_key(storage: Storage) -> None:
    with pytest.raises(UnauthenticatedError):
        await store_outcomes(storage, an_outcome(new_id()))
    with pytest.raises(UnauthenticatedError):
        async with storage.transaction() as work:
            await work.outcomes.add(an_outcome(new_id()))
            await work.users.add(a_user())
    assert await stored_users(storage) == []

"""Tests for idempotency records in use cases."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.idempotency import (
    Created,
    IdempotencyKeyReusedError,
    IdempotencyRecordErasedError,
    IdempotentRequest,
    create_once,
)
from application.ports import StorageUnavailableError, TransientStorageError
from application.users import UserService
from domain.api_keys import ApiKey, Scope
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.factories import (
    a_request,
    make_idempotency_record,
    make_user,
    store,
    stored_api_keys,
    stored_posts,
    stored_users,
    values,
)
from tests.support.polling import wait_until
from tests.support.principals import HookedStorage, raising
from tests.support.service_factories import LENIENT_RETRY, key_service, post_service, user_service

HOUR = timedelta(hours=1)
STORED = make_idempotency_record(new_id(), subject_id=new_id(), ttl=HOUR)


async def test_idempotency_record_holds_the_request_and_its_result(storage: InMemoryStorage, key: ApiKey) -> None:
    user, once = make_user(), a_request(key, ttl=HOUR)
    created = await create_once(
        user_service(storage), SYSTEM_PRINCIPAL, once, "result", lambda work: work.users.add(user), subject_id=user.id
    )
    assert created == ("result", False)
    assert await stored_users(storage) == [user]
    expected = replace(
        STORED, api_key_id=key.id, key_hash=once.key_hash, fingerprint=once.fingerprint, subject_id=user.id
    )
    earlier = await store(storage, replace(expected, response=b"another"))
    assert earlier is not None
    assert earlier == replace(expected, response=earlier.response)
    assert once.seal.unseal(earlier.response) == "result"


def test_idempotency_record_hides_its_result() -> None:
    assert "sealed" not in repr(STORED)


Create = Callable[[InMemoryStorage, User, IdempotentRequest[Any]], Awaitable[Created[Any]]]
CREATE: dict[str, Create] = {
    "user": lambda storage, _, once: user_service(storage).create_once(SYSTEM_PRINCIPAL, once, email="ada@example.org"),
    "post": lambda storage, user, once: post_service(storage).create_once(
        SYSTEM_PRINCIPAL, once, author_id=user.id, title="T", content="C"
    ),
    "key": lambda storage, user, once: key_service(storage).create_once(
        SYSTEM_PRINCIPAL, once, name="K", scopes=[Scope.USERS_READ], user_id=user.id
    ),
}


async def _count(storage: InMemoryStorage) -> int:
    return len([*await stored_users(storage), *await stored_posts(storage), *await stored_api_keys(storage)])


@pytest.mark.parametrize("create", CREATE.values(), ids=CREATE)
async def test_create_executes_once_per_idempotency_key(
    storage: InMemoryStorage, user: User, key: ApiKey, create: Create
) -> None:
    result = await create(storage, user, a_request(key))
    assert not result.is_replay
    assert await create(storage, user, a_request(key)) == (result.value, True)
    with pytest.raises(IdempotencyKeyReusedError):
        await create(storage, user, a_request(key, fingerprint=b"else"))
    assert await _count(storage) == 3


@pytest.mark.parametrize("create", CREATE.values(), ids=CREATE)
async def test_idempotent_result_is_erased_with_its_user(
    storage: InMemoryStorage, user: User, key: ApiKey, create: Create
) -> None:
    result = (await create(storage, user, a_request(key))).value
    await user_service(storage).delete(SYSTEM_PRINCIPAL, result.id if isinstance(result, User) else user.id)
    with pytest.raises(IdempotencyRecordErasedError):
        await create(storage, user, a_request(key))


class LostConnectionError(StorageUnavailableError):
    """The connection was lost in an attempt."""

    lost_connection = "a connection"


@pytest.mark.parametrize("is_stored", [False, True])
async def test_retry_after_a_lost_connection_waits_for_the_request_in_progress(
    storage: InMemoryStorage, key: ApiKey, is_stored: bool
) -> None:
    failures, user, once = list[TransientStorageError](), make_user(), a_request(key)
    retry = replace(LENIENT_RETRY, observer=failures.append)
    service = user_service(HookedStorage(storage, before=raising(LostConnectionError)), retry=retry)
    sealed = once.seal.seal("earlier")
    record = make_idempotency_record(key, **values(once, ["key_hash", "fingerprint"]), response=sealed)
    with suppress(KeyError):
        async with storage.transaction() as earlier:
            await earlier.idempotency.add(record)
            creating = asyncio.create_task(
                create_once(service, SYSTEM_PRINCIPAL, once, "new", lambda work: work.users.add(user), subject_id=None)
            )
            await wait_until(lambda: len(failures) > 2)
            if not is_stored:
                raise KeyError
    assert await creating == (("earlier", True) if is_stored else ("new", False))
    assert await stored_users(storage) == ([] if is_stored else [user])


async def test_rejected_create_leaves_no_idempotency_record(users: UserService, key: ApiKey) -> None:
    await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    for _ in range(2):
        with pytest.raises(EmailAlreadyRegisteredError):
            await users.create_once(SYSTEM_PRINCIPAL, a_request(key), email="ada@example.org")
    assert not (await users.create_once(SYSTEM_PRINCIPAL, a_request(key), email="bob@example.org")).is_replay

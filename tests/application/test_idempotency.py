"""Tests for idempotency records in use cases."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR
from application.idempotency import (
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    Once,
    OutcomeErasedError,
    RepeatedError,
    outcome_of,
    require_echo,
)
from application.users import UserService
from domain.errors import ConflictError, NotFoundError
from domain.keys import Scope
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.examples import a_user, an_outcome, store, stored_keys, stored_posts, stored_users
from tests.support.services import START, key_service, post_service, user_service

HOUR = timedelta(hours=1)
STORED = an_outcome(new_id(), subject_id=new_id(), created_at=START, expires_at=START + HOUR)
AGAIN = replace(STORED, answer=b"another", subject_id=new_id(), created_at=START + HOUR, expires_at=START + 2 * HOUR)


def _once(key_id: UUID, *, name: bytes = b"name", fingerprint: bytes = b"fingerprint") -> Once[Any]:
    return Once(
        key_id=key_id, name=name, fingerprint=fingerprint, lasts=HOUR, answer=lambda result: repr(result).encode()
    )


@pytest.mark.parametrize(
    ("stored", "repeated", "error"),
    [
        pytest.param(STORED, AGAIN, RepeatedError, id="replay"),
        pytest.param(STORED, replace(AGAIN, fingerprint=b"else"), IdempotencyKeyReusedError, id="reuse"),
        pytest.param(replace(STORED, answer=b""), AGAIN, OutcomeErasedError, id="erased"),
        pytest.param(
            replace(STORED, answer=b""),
            replace(AGAIN, fingerprint=b"else"),
            IdempotencyKeyReusedError,
            id="reuse after erasure",
        ),
    ],
)
def test_stored_idempotency_record_raises(stored: Any, repeated: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        require_echo(stored, repeated)
    if isinstance(raised.value, RepeatedError):
        assert raised.value.outcome is stored


def test_stored_idempotency_record_accepts_the_same_attempt() -> None:
    require_echo(STORED, replace(STORED))


def test_idempotency_record_holds_the_request_and_its_response() -> None:
    once = _once(STORED.key_id)
    record = outcome_of(once, "result", subject_id=STORED.subject_id, now=START)
    assert record == replace(STORED, name=b"name", fingerprint=b"fingerprint", answer=b"'result'")
    assert outcome_of(None, "result", subject_id=None, now=START) is None


def test_idempotency_errors_have_kinds_and_hide_the_response() -> None:
    assert isinstance(IdempotencyInFlightError(), ConflictError)
    assert isinstance(OutcomeErasedError(), NotFoundError)
    assert not isinstance(IdempotencyKeyReusedError(), ConflictError)
    assert "answer" not in repr(STORED)
    assert "answer" not in str(RepeatedError(STORED))


Create = Callable[[InMemoryStorage, User, Once[Any]], Awaitable[Any]]
CREATE: dict[str, Create] = {
    "user": lambda storage, _, once: user_service(storage).register(OPERATOR, email="ada@example.org", once=once),
    "post": lambda storage, user, once: post_service(storage).write(
        OPERATOR, author_id=user.id, title="T", content="C", once=once
    ),
    "key": lambda storage, user, once: key_service(storage).create(
        OPERATOR, name="K", scopes=[Scope.USERS_READ], user_id=user.id, once=once
    ),
}


async def _count(storage: InMemoryStorage) -> int:
    return len([*await stored_users(storage), *await stored_posts(storage), *await stored_keys(storage)])


@pytest.mark.parametrize("create", CREATE.values(), ids=CREATE)
async def test_create_executes_once_per_idempotency_key(storage: InMemoryStorage, create: Create) -> None:
    user = a_user()
    await store(storage, user)
    key_id = (await key_service(storage).create(OPERATOR, name="K", scopes=[Scope.USERS_WRITE])).key.id
    result = await create(storage, user, _once(key_id))
    with pytest.raises(RepeatedError) as raised:
        await create(storage, user, _once(key_id))
    assert raised.value.outcome.answer == repr(result).encode()
    assert raised.value.outcome.subject_id == (result.id if isinstance(result, User) else user.id)
    with pytest.raises(IdempotencyKeyReusedError):
        await create(storage, user, _once(key_id, fingerprint=b"else"))
    assert await _count(storage) == 3


async def test_rejected_create_leaves_no_idempotency_record(storage: InMemoryStorage, users: UserService) -> None:
    key_id = (await key_service(storage).create(OPERATOR, name="K", scopes=[Scope.USERS_WRITE])).key.id
    await users.register(OPERATOR, email="ada@example.org")
    for _ in range(2):
        with pytest.raises(EmailAlreadyRegisteredError):
            await users.register(OPERATOR, email="ada@example.org", once=_once(key_id))
    await users.register(OPERATOR, email="bob@example.org", once=_once(key_id))
    assert len(await stored_users(storage)) == 2

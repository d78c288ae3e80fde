"""`OutcomeRepository`: each sentence of its docstrings, over every storage. With others at once: test_in_flight.py;
`purge`: test_purges.py."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.system import new_id
from application.access import OPERATOR, UnauthenticatedError
from application.idempotency import IdempotencyKeyReusedError, Once, Outcome, OutcomeErasedError, RepeatedError
from application.ports import Storage, StorageUnavailableError, UnitOfWork
from application.users import UserService
from domain.keys import ApiKey
from domain.users import EmailAlreadyRegisteredError, User
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


class AcknowledgementLost(Storage):
    """Another storage; that its first transaction was stored is never heard."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.lost = 0

    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._storage.readonly()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._storage.transaction() as work:
            yield work
        if not self.lost:
            self.lost += 1
            raise StorageUnavailableError


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
        pytest.param({}, id="about nobody"),
        pytest.param({"subject_id": new_id()}, id="about somebody"),
        pytest.param({"answer": bytes(range(256)) * 256}, id="longest"),
        pytest.param({"name": b"\xff" * 32, "fingerprint": b"\0" * 32}, id="highest name"),
    ],
)
async def test_a_repetition_is_told_what_came_of_it(storage: Storage, key: ApiKey, fields: dict[str, object]) -> None:
    outcome = an_outcome(key, **fields)
    await store_outcomes(storage, outcome, an_outcome(key))
    stored = await told(storage, outcome)
    assert stored == outcome
    assert isinstance(stored, Outcome)
    assert {type(stored.name), type(stored.fingerprint), type(stored.answer)} == {bytes}


@pytest.mark.parametrize("effect", [False, True], ids=["alone", "with an effect"])
async def test_the_very_outcome_is_an_echo(storage: Storage, key: ApiKey, effect: bool) -> None:
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
async def test_a_repetition_is_refused_with_its_effect(
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


async def test_another_key_and_another_name_are_another_request(storage: Storage, key: ApiKey) -> None:
    other_key = a_key()
    await store_keys(storage, other_key)
    outcome = an_outcome(key)
    others = [replace(outcome, key_id=other_key.id), replace(outcome, name=b"n" * 32)]
    await store_outcomes(storage, outcome, *[replace(other, fingerprint=b"f" * 32) for other in others])
    assert await told(storage, outcome) == outcome


async def test_an_outcome_that_has_expired_is_replaced(storage: Storage, key: ApiKey) -> None:
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


async def test_an_outcome_lasts_to_the_last_instant(storage: Storage, key: ApiKey) -> None:
    outcome = an_outcome(key)
    await store_outcomes(storage, outcome)
    assert await told(storage, replace(outcome, created_at=EXPIRES - INSTANT)) == outcome
    assert await told(storage, replace(outcome, created_at=EXPIRES)) is None


async def test_a_request_that_comes_to_nothing_leaves_no_outcome(storage: Storage, key: ApiKey) -> None:
    outcome, user = an_outcome(key), a_user()
    await store_users(storage, user)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with storage.transaction() as work:
            await work.outcomes.add(outcome)
            await work.users.add(a_user(email=user.email))
    assert (await told(storage, outcome), await stored_users(storage)) == (None, [user])


async def test_what_was_replaced_by_a_request_that_came_to_nothing_is_still_there(
    storage: Storage, key: ApiKey
) -> None:
    before, user = an_outcome(key), a_user()
    await store_outcomes(storage, before)
    await store_users(storage, user)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with storage.transaction() as work:
            await work.outcomes.add(replace(before, answer=b"x", created_at=EXPIRES))
            await work.users.add(a_user(email=user.email))
    assert await told(storage, before) == before


async def test_the_effect_of_a_lost_acknowledgement_is_not_repeated(storage: Storage, key: ApiKey) -> None:
    losing = AcknowledgementLost(storage)
    user = await user_service(losing).register(OPERATOR, email="ada@example.org", once=once(key))
    assert (losing.lost, await stored_users(storage)) == (1, [user])


async def test_a_use_case_is_carried_out_once(storage: Storage, users: UserService, key: ApiKey) -> None:
    user = await users.register(OPERATOR, email="ada@example.org", once=once(key))
    with pytest.raises(RepeatedError) as raised:
        await users.register(OPERATOR, email="ada@example.org", once=once(key))
    assert (raised.value.outcome.answer, raised.value.outcome.subject_id) == (b"ada@example.org", user.id)
    with pytest.raises(IdempotencyKeyReusedError):
        await users.register(OPERATOR, email="eve@example.org", once=once(key, fingerprint=2))
    assert await stored_users(storage) == [user]
    await users.erase(OPERATOR, user.id)
    with pytest.raises(OutcomeErasedError):
        await users.register(OPERATOR, email="ada@example.org", once=once(key))
    assert await stored_users(storage) == []


async def test_a_key_that_is_not_there_any_more_is_nobody(storage: Storage) -> None:
    with pytest.raises(UnauthenticatedError):
        await store_outcomes(storage, an_outcome(new_id()))
    with pytest.raises(UnauthenticatedError):
        async with storage.transaction() as work:
            await work.outcomes.add(an_outcome(new_id()))
            await work.users.add(a_user())
    assert await stored_users(storage) == []

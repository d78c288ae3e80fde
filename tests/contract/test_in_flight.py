"""`OutcomeRepository` with several units of work at once: one is let through, none is kept waiting, nothing is left."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from application.access import OPERATOR
from application.idempotency import IdempotencyInFlightError, Outcome, RepeatedError
from application.ports import Storage
from application.users import UserService
from domain.keys import ApiKey
from domain.users import User
from tests.contract.conftest import AtOnce
from tests.contract.test_outcomes import once
from tests.support.examples import (
    EXPIRES,
    a_key,
    a_user,
    an_outcome,
    store_keys,
    store_outcomes,
    stored_users,
    told,
)

CALLERS = 20


class _GivenUpError(Exception):
    """Raised in the middle of a unit of work."""


async def _with_effect(storage: Storage, outcome: Outcome, user: User) -> None:
    async with storage.transaction() as work:
        await work.outcomes.add(outcome)
        await work.users.add(user)


@pytest.mark.parametrize("expired", [False, True], ids=["new", "in the place of an expired one"])
@pytest.mark.parametrize("effect", [False, True], ids=["alone", "with an effect"])
@pytest.mark.parametrize("same", [False, True], ids=["repeated", "echoed"])
async def test_the_second_of_two_is_refused_and_not_kept_waiting(
    storage: Storage, key: ApiKey, at_once: AtOnce, *, same: bool, effect: bool, expired: bool
) -> None:
    outcome, user = an_outcome(key), a_user()
    if expired:
        await store_outcomes(storage, replace(outcome, expires_at=outcome.created_at))
    second = outcome if same else replace(outcome, fingerprint=b"\1" * 32)
    async with storage.transaction() as work:
        await work.outcomes.add(outcome)
        await work.users.add(user)
        await work.users.get(user.id)  # a read sees the writes before it: they have been made
        with pytest.raises(IdempotencyInFlightError):
            await at_once(_with_effect(storage, second, a_user()) if effect else store_outcomes(storage, second))
    assert (await told(storage, outcome), await stored_users(storage)) == (outcome, [user])


async def test_requests_of_other_names_and_other_keys_do_not_meet(
    storage: Storage, key: ApiKey, at_once: AtOnce
) -> None:
    other_key = a_key()
    await store_keys(storage, other_key)
    outcome = an_outcome(key)
    others = [replace(outcome, key_id=other_key.id), replace(outcome, name=b"n" * 32)]
    async with storage.transaction() as work:
        await work.outcomes.add(outcome)
        await work.users.list(limit=1)
        for other in others:
            await at_once(store_outcomes(storage, other))
    assert [await told(storage, each) for each in (outcome, *others)] == [outcome, *others]


@pytest.mark.parametrize("end", [None, _GivenUpError, asyncio.CancelledError, RepeatedError])
async def test_whichever_way_the_first_one_ends_the_next_one_is_not_in_flight(
    storage: Storage, key: ApiKey, end: type[BaseException] | None
) -> None:
    outcome = an_outcome(key)
    repetition = replace(outcome, answer=b"again")
    if end is RepeatedError:
        await store_outcomes(storage, outcome)
    try:
        async with storage.transaction() as work:
            await work.outcomes.add(repetition if end is RepeatedError else outcome)
            await work.users.list(limit=1)
            if end is not None:
                raise end
    except (_GivenUpError, asyncio.CancelledError, RepeatedError):
        pass
    assert await told(storage, repetition) == (outcome if end in {None, RepeatedError} else None)


async def test_a_task_that_was_cancelled_leaves_nothing_in_flight(
    storage: Storage, key: ApiKey, at_once: AtOnce
) -> None:
    outcome = an_outcome(key)
    has_added = asyncio.Event()

    async def add_and_wait() -> None:
        async with storage.transaction() as work:
            await work.outcomes.add(outcome)
            await work.users.list(limit=1)
            has_added.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(add_and_wait())
    try:
        await has_added.wait()
        with pytest.raises(IdempotencyInFlightError):
            await at_once(told(storage, outcome))
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await told(storage, outcome) is None


async def test_a_refusal_that_was_swallowed_still_keeps_everything_from_being_stored(
    storage: Storage, key: ApiKey, at_once: AtOnce
) -> None:
    outcome = an_outcome(key)
    with pytest.raises(IdempotencyInFlightError):
        async with storage.transaction() as work:
            with pytest.raises(_GivenUpError):
                async with storage.transaction() as first:
                    await first.outcomes.add(outcome)
                    await first.users.list(limit=1)
                    await work.outcomes.add(outcome)
                    with pytest.raises(IdempotencyInFlightError):
                        await at_once(work.users.list(limit=1))
                    raise _GivenUpError
            await work.users.add(a_user())
    assert (await told(storage, outcome), await stored_users(storage)) == (None, [])


async def test_one_of_many_requests_at_once_is_carried_out(storage: Storage, key: ApiKey) -> None:
    outcome = an_outcome(key)
    people = [a_user() for _ in range(CALLERS)]
    tries = [replace(outcome, answer=user.id.bytes, subject_id=user.id) for user in people]
    results = await asyncio.gather(
        *[_with_effect(storage, each, user) for each, user in zip(tries, people, strict=True)], return_exceptions=True
    )
    (winner,) = await stored_users(storage)
    stored = tries[people.index(winner)]
    assert results[people.index(winner)] is None
    assert await told(storage, outcome) == stored
    others = [result for result in results if result is not None]
    assert Counter(map(type, others)).keys() <= {IdempotencyInFlightError, RepeatedError}
    assert {error.outcome for error in others if isinstance(error, RepeatedError)} <= {stored}
    assert len(others) == CALLERS - 1


async def test_many_echoes_at_once_are_one(storage: Storage, key: ApiKey) -> None:
    for _ in range(10):
        outcome, user = an_outcome(key), a_user()
        calls = [_with_effect(storage, outcome, user) for _ in range(CALLERS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), IdempotencyInFlightError}
        assert None in results
        assert await told(storage, outcome) == outcome
        assert user in await stored_users(storage)


async def test_one_of_many_that_replace_an_expired_outcome_is_carried_out(storage: Storage, key: ApiKey) -> None:
    before = an_outcome(key)
    await store_outcomes(storage, before)
    people = [a_user() for _ in range(CALLERS)]
    fields = {"created_at": EXPIRES, "expires_at": EXPIRES + timedelta(days=1)}
    tries = [replace(before, answer=user.id.bytes, **fields) for user in people]  # type: ignore[arg-type]
    calls = [_with_effect(storage, each, user) for each, user in zip(tries, people, strict=True)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = await stored_users(storage)
    assert await told(storage, tries[0]) == tries[people.index(winner)]
    assert {type(result) for result in results} <= {type(None), IdempotencyInFlightError, RepeatedError}
    assert results.count(None) == 1


async def test_one_of_many_calls_of_a_use_case_is_carried_out(
    storage: Storage, users: UserService, key: ApiKey
) -> None:
    calls = [users.register(OPERATOR, email="ada@example.org", once=once(key)) for _ in range(CALLERS)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result for result in results if isinstance(result, User)] == await stored_users(storage)
    assert {type(result) for result in results} <= {User, IdempotencyInFlightError, RepeatedError}
    assert len(await stored_users(storage)) == 1

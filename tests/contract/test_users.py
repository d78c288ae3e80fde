"""Tests for the repository of users: normalized e-mail addresses, and deletion of all data about a user."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyKeyReusedError, IdempotencyRecordErasedError
from application.ports import ConcurrentUpdateError, Storage
from domain.api_keys import ApiKey, ApiKeyUserNotFoundError
from domain.posts import AuthorNotFoundError
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.factories import (
    delete,
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    newest_first,
    next_version,
    replay_error,
    store,
    stored_api_keys,
    stored_posts,
    stored_users,
    update,
)
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner


async def test_user_repository_compares_normalized_emails(storage: Storage) -> None:
    one, other = "zo\u00eb@b\u00fccher.example", "ZOE\u0308@xn--bcher-kva.example"
    user, second = make_user(email=one), make_user()
    await store(storage, user, second)
    async with storage.readonly() as work:
        assert await work.users.find_by_email(other) == user
    with pytest.raises(EmailAlreadyRegisteredError):
        await store(storage, make_user(email=other))
    with pytest.raises(EmailAlreadyRegisteredError):
        await update(storage, next_version(second, email=other))
    assert await stored_users(storage) == [second, user]
    respelled = next_version(user, email=other)
    await update(storage, respelled)
    assert await stored_users(storage) == [second, respelled]


async def test_find_by_email_returns_null_for_unknown_email(storage: Storage, user: User) -> None:
    await store(storage, make_user(id=user.id, email="else@example.org"))
    async with storage.readonly() as work:
        assert await work.users.find_by_email("absent@example.org") is None
        assert await work.users.find_by_email("else@example.org") is None


@pytest.mark.parametrize("change", ["update", "delete"])
async def test_email_is_free_after_update_or_delete_of_its_user(storage: Storage, change: str) -> None:
    user, successor = make_user(), make_user(email="Ada@example.org")
    await store(storage, user)
    await update(storage, next_version(user, email="ada@example.org", full_name=None))
    async with storage.readonly() as work:
        assert await work.users.find_by_email(user.email) is None
        owner = await work.users.find_by_email("ADA@example.org")
    assert owner == next_version(user, email="ada@example.org", full_name=None)
    if change == "update":
        await update(storage, next_version(owner, email="new@example.org"))
    else:
        await delete(storage, owner)
    await store(storage, successor)
    async with storage.readonly() as work:
        assert await work.users.find_by_email("ada@example.org") == successor


@pytest.fixture
async def user(storage: Storage) -> User:
    user = make_user(version=2)
    await store(storage, user)
    return user


async def _erase(storage: Storage, user: User) -> None:
    await UseCaseRunner(storage).change(lambda work: work.users.delete(user))


async def test_delete_user_deletes_posts_keys_and_their_records(storage: Storage, user: User, key: ApiKey) -> None:
    bystander = make_user()
    kept = make_post(bystander)
    own, others = make_api_key(user), make_api_key(bystander)
    outcomes = [make_idempotency_record(each) for each in (own, others, key)]
    await store(storage, bystander, make_post(user), kept, own, others, *outcomes)
    await _erase(storage, user)
    assert (await stored_users(storage), await stored_posts(storage)) == ([bystander], [kept])
    assert await stored_api_keys(storage) == newest_first([key, others])
    assert [await replay_error(storage, outcome) for outcome in outcomes[1:]] == outcomes[1:]
    with pytest.raises(UnauthenticatedError):
        await store(storage, outcomes[0])


async def test_delete_user_erases_responses_about_the_user(storage: Storage, user: User, key: ApiKey) -> None:
    about = [make_idempotency_record(key, subject_id=user.id) for _ in range(3)]
    kept = [make_idempotency_record(key), make_idempotency_record(key, subject_id=make_user().id)]
    await store(storage, *about, *kept)
    await _erase(storage, user)
    assert [await replay_error(storage, outcome) for outcome in about] == [IdempotencyRecordErasedError] * 3
    assert [await replay_error(storage, outcome) for outcome in kept] == kept
    with pytest.raises(IdempotencyRecordErasedError):  # a retry of the same attempt, too
        await store(storage, about[0], user)
    with pytest.raises(IdempotencyKeyReusedError):
        await store(storage, replace(about[0], fingerprint=b"\1" * 32))
    assert await stored_users(storage) == []


async def test_stale_delete_of_user_erases_no_data(storage: Storage, user: User, key: ApiKey) -> None:
    own, post, outcome = make_api_key(user), make_post(user), make_idempotency_record(key, subject_id=user.id)
    await store(storage, own, post, outcome)
    for version in (1, 3):
        with pytest.raises(ConcurrentUpdateError):
            await delete(storage, replace(user, version=version))
    assert await replay_error(storage, outcome) == outcome
    assert (await stored_users(storage), await stored_posts(storage)) == ([user], [post])
    assert await stored_api_keys(storage) == [own, key]


async def test_rolled_back_delete_of_user_erases_no_data(storage: Storage, user: User, key: ApiKey) -> None:
    outcome = make_idempotency_record(key, subject_id=user.id)
    await store(storage, outcome)
    with pytest.raises(KeyError):
        async with storage.transaction() as work:
            await work.users.delete(user)
            await work.users.list(limit=1)
            raise KeyError
    assert (await replay_error(storage, outcome), await stored_users(storage)) == (outcome, [user])


@pytest.mark.parametrize("effect", ["post", "key"])
async def test_delete_user_erases_response_of_concurrent_request(
    storage: Storage, user: User, key: ApiKey, effect: str, is_waiting: Callable[[], bool]
) -> None:
    outcome = make_idempotency_record(key, subject_id=user.id)
    try:
        async with storage.transaction() as work:
            await work.idempotency.add(outcome)
            await (work.posts.add(make_post(user)) if effect == "post" else work.api_keys.add(make_api_key(user)))
            await work.users.list(limit=1)  # a read sends the writes before it
            erasing = asyncio.create_task(_erase(storage, user))
            await wait_until(lambda: erasing.done() or is_waiting())
    except (AuthorNotFoundError, ApiKeyUserNotFoundError):
        assert await replay_error(storage, outcome) is None
    else:
        await erasing
        assert await replay_error(storage, outcome) is IdempotencyRecordErasedError
    await erasing
    assert (await stored_users(storage), await stored_posts(storage), await stored_api_keys(storage)) == ([], [], [key])


async def test_delete_user_erases_response_of_the_same_unit_of_work(storage: Storage, user: User, key: ApiKey) -> None:
    outcome = make_idempotency_record(key, subject_id=user.id)
    changed = next_version(user)
    async with storage.transaction() as work:
        await work.idempotency.add(outcome)
        await work.users.update(changed)
        await work.users.delete(changed)
    assert await replay_error(storage, outcome) is IdempotencyRecordErasedError

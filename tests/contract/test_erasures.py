"""Tests for the receipts of erased users."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from adapters.clock import new_id, utc_now
from application.authorization import PURGE_PRINCIPAL, SYSTEM_PRINCIPAL, Principal
from application.ports import ConcurrentUpdateError, Storage
from application.retention import RetentionRule, RetentionService
from domain.audit import ActorKind, ErasureNotFoundError, ErasureReceipt
from domain.posts import AuthorNotFoundError, Post
from domain.users import User
from tests.support.factories import (
    a_request,
    delete,
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    store,
    stored_posts,
    stored_users,
)
from tests.support.principals import unbound_principal
from tests.support.service_factories import post_service, user_service

DAY = timedelta(days=1)
ACTOR = replace(unbound_principal(), request_id="request-1")
NO_DATA = {"users": 1, "posts": 0, "api_keys": 0, "idempotency_records": 0}


async def _erase(storage: Storage, user: User, actor: Principal = ACTOR) -> None:
    async with storage.transaction(actor) as work:
        await work.users.delete(user)


async def _receipt(storage: Storage, user_id: UUID) -> ErasureReceipt:
    async with storage.readonly() as work:
        return await work.audit.get_erasure(user_id)


async def test_receipt_counts_the_rows_of_the_user_only(storage: Storage) -> None:
    user, other = make_user(), make_user()
    key = make_api_key()
    for owner, posts in ((user, 3), (other, 1)):
        own = make_api_key(owner)
        await store(storage, owner, *[make_post(owner) for _ in range(posts)], own, make_api_key(owner))
        await store(storage, make_idempotency_record(own, subject_id=owner.id))
    await store(storage, key, make_idempotency_record(key, subject_id=user.id), make_idempotency_record(key))
    started = utc_now() - timedelta(minutes=5)
    await _erase(storage, user)
    receipt = await _receipt(storage, user.id)
    assert started < receipt.erased_at < utc_now() + timedelta(minutes=5)
    assert receipt == ErasureReceipt(
        user_id=user.id,
        erased_at=receipt.erased_at,
        actor_kind=ActorKind.API_KEY,
        actor_id=ACTOR.api_key_id,
        erased_rows={"users": 1, "posts": 3, "api_keys": 2, "idempotency_records": 2},
    )
    assert await stored_users(storage) == [other]
    with pytest.raises(ErasureNotFoundError):
        await _receipt(storage, other.id)


@pytest.mark.parametrize("actor", [SYSTEM_PRINCIPAL, PURGE_PRINCIPAL], ids=["operator", "purge"])
async def test_receipt_names_an_actor_without_a_key(storage: Storage, actor: Principal) -> None:
    await store(storage, user := make_user())
    await _erase(storage, user, actor)
    receipt = await _receipt(storage, user.id)
    assert (receipt.actor_kind, receipt.actor_id, receipt.erased_rows) == (actor.kind, None, NO_DATA)


async def test_purge_of_inactive_users_stores_receipts(storage: Storage) -> None:
    old = utc_now() - 2 * DAY
    users = [make_user(is_active=False, created_at=old, updated_at=old) for _ in range(2)]
    await store(storage, *users, make_api_key(users[0]))
    await RetentionService(storage=storage, policy={RetentionRule.INACTIVE_USERS: DAY}).purge()
    receipts = [await _receipt(storage, user.id) for user in users]
    assert [receipt.erased_rows["api_keys"] for receipt in receipts] == [1, 0]
    assert {receipt.actor_kind for receipt in receipts} == {ActorKind.PURGE}


async def test_failed_erasure_leaves_no_receipt(storage: Storage) -> None:
    await store(storage, user := make_user())
    with pytest.raises(ConcurrentUpdateError):
        await _erase(storage, replace(user, version=2))
    with pytest.raises(KeyError):
        async with storage.transaction() as work:
            await work.users.delete(user)
            await work.users.list(limit=1)
            raise KeyError
    for user_id in (user.id, new_id()):
        with pytest.raises(ErasureNotFoundError):
            await _receipt(storage, user_id)


async def test_receipt_is_visible_in_its_own_unit_of_work(storage: Storage) -> None:
    await store(storage, user := make_user())
    async with storage.transaction() as work:
        await work.users.delete(user)
        assert (await work.audit.get_erasure(user.id)).erased_rows == NO_DATA


async def test_second_erasure_of_an_id_keeps_the_first_receipt(storage: Storage) -> None:
    """A late retry of its creation can store a user again."""
    await store(storage, user := make_user(), make_post(user))
    await _erase(storage, user)
    first = await _receipt(storage, user.id)
    await store(storage, user)
    await delete(storage, user)
    assert (await _receipt(storage, user.id), await stored_users(storage)) == (first, [])


async def test_receipt_counts_all_posts_of_concurrent_requests(storage: Storage) -> None:
    await store(storage, user := make_user(), key := make_api_key())
    posts = post_service(storage, now=utc_now)

    async def create() -> Post:
        once = a_request(key, key_hash=sha256(new_id().bytes).digest())
        return (await posts.create_once(SYSTEM_PRINCIPAL, once, author_id=user.id, title="x", content="x")).value

    first = [asyncio.create_task(create()) for _ in range(20)]
    await first[0]
    erasing = user_service(storage).delete(SYSTEM_PRINCIPAL, user.id)
    *results, _ = await asyncio.gather(*first, *[create() for _ in range(20)], erasing, return_exceptions=True)
    assert {type(result) for result in results} <= {Post, AuthorNotFoundError}
    stored = sum(isinstance(result, Post) for result in results)
    assert (await _receipt(storage, user.id)).erased_rows == {
        "users": 1, "posts": stored, "api_keys": 0, "idempotency_records": stored
    }  # fmt: skip
    assert await stored_posts(storage) == []

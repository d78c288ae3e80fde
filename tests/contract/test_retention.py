"""Tests for the retention of posts and users by their last change."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import utc_now
from application.idempotency import IdempotencyRecordErasedError
from application.ports import Storage
from application.retention import RetentionRule, RetentionService
from domain.posts import Post, PostStatus
from domain.users import User
from tests.contract.conftest import AtOnce
from tests.contract.entities import AUTHOR
from tests.support.factories import (
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    replay_error,
    store,
    stored_api_keys,
    stored_posts,
    stored_users,
    update,
)
from tests.support.service_factories import LENIENT_RETRY

DAY = timedelta(days=1)
EXPIRING = [PostStatus.DRAFT, PostStatus.ARCHIVED]


def _aged(created: float, updated: float | None = None) -> dict[str, Any]:
    """Return the times of an entity that was created and updated so many days ago."""
    now = utc_now()
    return {"created_at": now - DAY * created, "updated_at": now - DAY * (created if updated is None else updated)}


async def _purge(storage: Storage, status: PostStatus, limit: int = 99) -> int:
    async with storage.transaction() as work:
        return await work.posts.purge(status=status, unchanged_for=DAY, limit=limit)


async def _counts(storage: Storage) -> tuple[int, int, int]:
    async with storage.readonly() as work:
        posts = [await work.posts.count_expired(status=status, unchanged_for=DAY) for status in EXPIRING]
        return posts[0], posts[1], await work.users.count_expired(unchanged_for=DAY)


async def _purge_users(storage: Storage) -> User | None:
    async with storage.transaction() as work:
        user = await work.users.find_expired(unchanged_for=DAY)
        if user is not None:
            await work.users.delete(user)
        return user


async def _store_posts(storage: Storage, *posts: Post) -> None:
    await store(storage, AUTHOR)
    await store(storage, *posts)


def _ids(entities: Sequence[Any]) -> set[Any]:
    return {entity.id for entity in entities}


@pytest.mark.parametrize("status", EXPIRING)
async def test_purge_deletes_posts_of_a_status_unchanged_for_long(storage: Storage, status: PostStatus) -> None:
    expired = [make_post(AUTHOR, status=status, **_aged(days)) for days in (1.1, 30)]
    other = [make_post(AUTHOR, status=other, **_aged(30)) for other in PostStatus if other is not status]
    changed = make_post(AUTHOR, status=status, **_aged(30, updated=0.9))
    kept = [*other, changed, make_post(AUTHOR, status=status, **_aged(0.9))]
    await _store_posts(storage, *expired, *kept)
    count = (await _counts(storage))[EXPIRING.index(status)]
    assert count == await _purge(storage, status) == 2
    assert _ids(await stored_posts(storage)) == _ids(kept)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_purge_deletes_the_oldest_expired_posts(storage: Storage, limit: int) -> None:
    posts = [make_post(AUTHOR, status=PostStatus.DRAFT, **_aged(days)) for days in (3, 4, 2)]
    await _store_posts(storage, *posts)
    assert await _purge(storage, PostStatus.DRAFT, limit) == limit
    kept = sorted(posts, key=lambda post: post.created_at)[limit:]
    assert _ids(await stored_posts(storage)) == _ids(kept)


async def test_concurrent_purges_skip_the_posts_of_each_other(storage: Storage, at_once: AtOnce) -> None:
    await _store_posts(storage, *[make_post(AUTHOR, status=PostStatus.DRAFT, **_aged(days)) for days in (2, 3, 4)])
    with pytest.raises(KeyError):
        async with storage.transaction() as work:
            assert await work.posts.purge(status=PostStatus.DRAFT, unchanged_for=DAY, limit=2) == 2
            assert await at_once(_purge(storage, PostStatus.DRAFT)) == 1
            raise KeyError
    assert len(await stored_posts(storage)) == 2


async def test_find_expired_returns_the_oldest_inactive_user(storage: Storage) -> None:
    active = make_user(**_aged(9))
    expired = [make_user(is_active=False, **_aged(days)) for days in (3, 4, 2)]
    recent = [make_user(is_active=False, **_aged(created, updated=0.9)) for created in (9, 0.9)]
    await store(storage, active, *expired, *recent)
    assert await _counts(storage) == (0, 0, 3)
    assert [await _purge_users(storage) for _ in range(4)] == [expired[1], expired[0], expired[2], None]
    assert _ids(await stored_users(storage)) == _ids([active, *recent])


async def test_concurrent_purges_skip_the_users_of_each_other(storage: Storage, at_once: AtOnce) -> None:
    first, second = [make_user(is_active=False, **_aged(days)) for days in (3, 2)]
    await store(storage, first, second)
    async with storage.transaction() as work:
        assert await work.users.find_expired(unchanged_for=DAY) == first
        assert await at_once(_purge_users(storage)) == second
        assert await at_once(_purge_users(storage)) is None
    assert await stored_users(storage) == [first]
    assert await _purge_users(storage) == first


async def test_retention_erases_inactive_users_completely(storage: Storage) -> None:
    user, other_key = make_user(**_aged(2)), make_api_key()
    await store(storage, user, other_key)
    key = make_api_key(user)
    await store(storage, key, make_post(user))
    about = make_idempotency_record(other_key, subject_id=user.id)
    await store(storage, about, make_idempotency_record(key))
    await update(storage, replace(user, is_active=False, version=2))
    deleted: list[UUID] = []
    policy = {RetentionRule.INACTIVE_USERS: DAY}
    service = RetentionService(storage=storage, policy=policy, retry=LENIENT_RETRY, on_delete_user=deleted.append)
    assert await service.purge() == {RetentionRule.IDEMPOTENCY_RECORDS: 0, RetentionRule.INACTIVE_USERS: 1}
    assert deleted == [user.id]
    assert [*await stored_users(storage), *await stored_posts(storage)] == []
    assert await stored_api_keys(storage) == [other_key]
    assert await replay_error(storage, about) is IdempotencyRecordErasedError


async def test_concurrent_purges_delete_each_row_once(storage: Storage) -> None:
    await _store_posts(storage, *[make_post(AUTHOR, status=PostStatus.ARCHIVED, **_aged(2)) for _ in range(40)])
    await store(storage, *[make_user(is_active=False, **_aged(2)) for _ in range(10)])
    policy = {RetentionRule.ARCHIVED_POSTS: DAY, RetentionRule.INACTIVE_USERS: DAY}
    service = RetentionService(storage=storage, policy=policy, retry=LENIENT_RETRY, batch_size=7)
    results = await asyncio.gather(*[service.purge() for _ in range(4)])
    assert {rule: sum(rows[rule] for rows in results) for rule in policy} == dict(zip(policy, (40, 10), strict=True))
    assert (await stored_users(storage), await stored_posts(storage)) == ([AUTHOR], [])
